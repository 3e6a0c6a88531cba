"""``smarthdr train`` on streamed bursts: a few steps, resuming, and errors."""

import json
import tomllib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import typer

from smarthdr_cli.cli.app import app
from smarthdr_cli.cli.train import ConfigFlags, command
from smarthdr_cli.data.synth import sources
from smarthdr_cli.data.synth.sprites import write_sprite
from smarthdr_cli.models.base import network_types
from smarthdr_cli.train.config import SCENE_DEFAULTS, TrainConfig, train_config
from smarthdr_cli.train.methods import METHODS
from tests.support.people import rectangle_sprite

from .conftest import Refused, Run, messages, parse

CONFIG = """
precision = "fp32"
validation_bursts = 2
validate_every = 2
pool = 2
[model]
name = "saf"
encoder = 8
motion = 16
hidden = 8
verify = 8
refine = 8
[synth]
height = 64
width = 64
frames = [2]
objects = 1
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(CONFIG)
    return path


def test_a_run_on_nothing_says_what_is_missing(refused: Refused, tmp_path: Path) -> None:
    line = refused(2, "train", "-o", tmp_path / "run")
    assert [flag for flag in ("--unlabeled", "--data", "--panoramas", "--minutes") if flag not in line] == []
    assert not (tmp_path / "run").exists()


def test_a_run_is_resumed_and_its_weights_fuse(
    smarthdr: Run,
    fuse: Callable[..., dict[str, Any]],
    burst: list[Path],
    panoramas: Path,
    config: Path,
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    tiny = (
        "train",
        "-o",
        run,
        "--panoramas",
        panoramas,
        "--config",
        config,
        "--batch",
        1,
        "--seed",
        3,
        "--device",
        "cpu",
        "--json",
    )
    first = smarthdr(*tiny, "--iterations", 2, "--decay", 1)
    assert first.exit_code == 0, first.stderr
    assert messages(first)[0].startswith("step 2: ")
    summary = parse(first.stdout)
    assert summary["record"]["steps"] == 2
    assert summary["record"]["config"]["seed"] == 3
    assert summary["record"]["config"]["decay"] == 1
    assert Path(summary["weights"]) == run / "model.safetensors"
    assert [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()] == [2]

    again = smarthdr(*tiny, "--iterations", 3)
    assert again.exit_code == 2
    assert "--resume" in again.stderr

    resumed = smarthdr(*tiny, "--iterations", 3, "--resume", "-q")
    assert resumed.exit_code == 0, resumed.stderr
    assert resumed.stderr == ""
    assert parse(resumed.stdout)["record"]["steps"] == 3

    report = fuse(burst[:2], "--weights", run)
    assert report["model"]["sha256"] == parse(resumed.stdout)["sha256"]

    other = smarthdr("train", "-o", tmp_path / "next", *tiny[3:], "--iterations", 1, "--init", run, "--minutes", 5,
                      "--cooldown", 2)  # fmt: skip
    assert other.exit_code == 0, other.stderr
    assert parse(other.stdout)["record"]["steps"] == 1


def test_without_panoramas_scenes_are_procedural(
    smarthdr: Run, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    procedural_scene = sources.procedural_scene
    monkeypatch.setattr(sources, "procedural_scene", lambda rng: procedural_scene(rng, 64, 128))
    options = ("--config", config, "--batch", 1, "--iterations", 1, "--json")
    result = smarthdr("train", "-o", tmp_path / "run", *options)
    assert result.exit_code == 0, result.stderr
    assert parse(result.stdout)["record"]["sources"] == 24


def test_people_walk_through_the_bursts(
    smarthdr: Run, refused: Refused, panoramas: Path, config: Path, tmp_path: Path
) -> None:
    people = tmp_path / "people"
    options = ("train", "-o", tmp_path / "run", "--panoramas", panoramas, "--config", config, "--people", people)
    assert f"{people}: no sprites" in refused(3, *options, "--iterations", 1)
    people.mkdir()
    write_sprite(people / "0000.npz", rectangle_sprite())
    assert "--people belongs to a run on streamed bursts" in refused(2, "train", "--labeled", 2, "--people", people)
    plan = smarthdr(*options, "--iterations", 1, "--dry-run", "--json")
    assert parse(plan.stdout)["data"]["people"] == str(people)
    result = smarthdr(*options, "--batch", 1, "--iterations", 1, "--json")
    assert result.exit_code == 0, result.stderr
    assert parse(result.stdout)["record"]["people"] == 1


def test_errors(refused: Refused, panoramas: Path, config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    wrong = tmp_path / "wrong.toml"
    for text, message in (("learning_rat = 1", "'learning_rate'"), ("[synth]\nframe = [2]", "'frames'")):
        wrong.write_text(text)
        assert message in refused(2, "train", "-o", run, "--config", wrong)
    for text in ("= 3", "x = " + "[" * 100_000, "x = " + "9" * 5000):
        wrong.write_text(text)
        assert "wrong.toml" in refused(3, "train", "-o", run, "--config", wrong)
    refused(3, "train", "-o", run, "--config", tmp_path / "absent.toml")
    assert "state.pt" in refused(3, "train", "-o", run, "--config", config, "--resume")
    assert "--init" in refused(2, "train", "-o", run, "--config", config, "--resume", "--init", "x")
    for minutes in ((), ("--minutes", 1)):
        assert "--cooldown 2" in refused(2, "train", "-o", run, "--config", config, "--cooldown", 2, *minutes)
    refused(4, "train", "-o", run, "--config", config, "--panoramas", panoramas, "--init", "nowhere")
    refused(2, "train", "-o", run, "--config", config, "--device", "abacus")
    refused(3, "train", "-o", run, "--config", config, "--panoramas", tmp_path / "nowhere")
    assert not run.exists()
    assert "not a folder" in refused(5, "train", "-o", config, "--config", config)
    options = ("--config", config, "--panoramas", panoramas, "--iterations", 1, "--batch", 1)
    refused(5, "train", "-o", config / "below", *options)


def test_a_damaged_state_is_refused(refused: Refused, panoramas: Path, config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "state.pt").write_bytes(b"nothing of the kind")
    options = ("--config", config, "--panoramas", panoramas, "--resume")
    assert "state.pt" in refused(3, "train", "-o", run, *options)


def test_help_states_the_real_defaults() -> None:
    """They are in TrainConfig and SCENE_DEFAULTS, which --help must not import."""
    group = typer.main.get_command(app)
    parameters = group.commands["train"].params  # type: ignore[attr-defined]
    stated = {p.name: p.show_default for p in parameters if isinstance(getattr(p, "show_default", None), str)}
    defaults = TrainConfig()
    assert {name: stated[name] for name in ("iterations", "decay", "batch")} == {
        name: f"{getattr(defaults, name)}; on scenes {SCENE_DEFAULTS[name]}"
        for name in ("iterations", "decay", "batch")
    }
    assert stated["seed"] == str(defaults.seed)
    assert stated["method"] == f"{SCENE_DEFAULTS['method']} on scenes"
    assert stated["backbone"] == defaults.model["name"]
    kinds = get_type_hints(command)
    choices = {name: get_args(get_args(kinds[name])[0]) for name in ("method", "backbone")}  # of Literal | None
    assert choices == {"method": tuple(METHODS), "backbone": tuple(network_types())}


def test_flags_of_the_config_have_its_names() -> None:
    assert {flag.name for flag in fields(ConfigFlags)} <= {option.name for option in fields(TrainConfig)}


def test_dry_run_of_a_stream(smarthdr: Run, panoramas: Path, config: Path, tmp_path: Path) -> None:
    options = ("train", "--panoramas", panoramas, "--config", config, "--batch", 1, "--iterations", 7, "--dry-run")
    result = smarthdr(*options, "--json", "-o", tmp_path / "run")
    assert result.exit_code == 0, result.stderr
    found = parse(result.stdout)
    assert found["config"]["iterations"] == 7
    assert found["data"] == {"streamed": str(panoramas)}
    (phase,) = found["cost"]["phases"]
    assert (phase["phase"], phase["steps"]) == ("all", 7)
    assert found["cost"]["validation"]["times"] == 4
    parts = 7 * phase["seconds_per_update"] + 4 * found["cost"]["validation"]["seconds"]
    assert found["cost"]["seconds"] == pytest.approx(parts)
    assert not (tmp_path / "run").exists()
    text = smarthdr(*options).stdout
    assert "# all: 7 updates of " in text
    assert train_config(tomllib.loads(text)).to_dict() == train_config(found["config"]).to_dict()


def test_a_stream_with_tensorboard_is_resumed_with_its_own_options(
    smarthdr: Run, panoramas: Path, config: Path, tmp_path: Path
) -> None:
    run, options = tmp_path / "run", ("--panoramas", panoramas, "--device", "cpu", "-q", "--json")
    first = smarthdr("train", "-o", run, "--config", config, "--iterations", 2, "--batch", 1, "--precision", "fp32",
                     "--tensorboard", "--backbone", "saf", *options)  # fmt: skip
    assert first.exit_code == 0, first.stderr
    assert len(list((run / "board").iterdir())) == 1
    again = smarthdr("train", "-o", run, "--resume", "--iterations", 4, *options)
    assert again.exit_code == 0, again.stderr
    expected = parse(first.stdout)["record"]["config"] | {"iterations": 4}
    assert parse(again.stdout)["record"]["config"] == expected


def test_options_of_scenes_are_refused_on_streams(refused: Refused, config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for option, value in (("--epochs", "1+1"), ("--vgg", "vgg.safetensors")):
        assert option in refused(2, "train", "-o", run, "--config", config, option, value)
    assert "--labeled" in refused(2, "train", "--config", config)
    assert "[model]" in refused(2, "train", "-o", run, "--config", config, "--backbone", "gfhdr")
    nameless = tmp_path / "nameless.toml"
    nameless.write_text("[model]\nencoder = 8\n")
    assert "--backbone" in refused(2, "train", "-o", run, "--config", nameless)
    nameless.write_text("[model]\nencodr = 8\n")
    assert "'encoder'" in refused(4, "train", "-o", run, "--config", nameless, "--backbone", "saf")
    assert not run.exists()
