"""``smarthdr train`` on folders of scenes: every option, the files of a run, resuming, and errors."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from smarthdr_cli.cli import training
from smarthdr_cli.cli.training_display import TrainingDisplay
from smarthdr_cli.data.synth import sources
from smarthdr_cli.data.synth.config import SynthConfig
from smarthdr_cli.data.synth.export import benchmark_config, cached_benchmark, write_benchmark
from smarthdr_cli.data.synth.sources import bank_from_images, procedural_scene
from smarthdr_cli.models.checkpoint import load_checkpoint
from smarthdr_cli.train import scene_data
from smarthdr_cli.train.config import train_config
from smarthdr_cli.train.perceptual_losses import BLOCKS

from .conftest import Run, WriteBurst, messages, parse

CONFIG = """
precision = "fp32"
validate_every = 4
batch_unlabeled = 2
crop = 32
refresh = 3
warmup = 1
labelled_first = 0.25
[model]
name = "saf"
encoder = 8
motion = 12
hidden = 4
match = 4
verify = 12
refine = 12
[masks]
side = 16
"""
TINY = ("--batch", 2, "--device", "cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven scenes to train on and two to measure on, 96x128."""
    root = tmp_path_factory.mktemp("scenes")
    _write_scenes(root, benchmark_config("gamma16", (96, 128)))
    return root


def _write_scenes(root: Path, config: SynthConfig) -> None:
    rng = np.random.default_rng(3)
    bank = bank_from_images(["a", "b"], [procedural_scene(rng, 96, 160) for _ in range(2)])
    for part, count, seed in (("Training", 7, 1), ("Test", 2, 2)):
        write_benchmark(root / part, bank, count, seed, config)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def _cached(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setenv("SMARTHDR_HOME", str(cache))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def trained(smarthdr: Run, data: Path, config: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """``trained(*options)``: the summary of a quiet run on the scenes."""

    def run(*options: object, on: Path = data) -> dict[str, Any]:
        where = () if "-o" in options else ("-o", tmp_path / "run")
        scenes_ = () if "--resume" in options else ("--data", on, "--config", config, *TINY)
        result = smarthdr("train", *scenes_, *where, *options, "-q", "--json")
        assert result.exit_code == 0, result.stderr
        assert result.stderr == ""
        return parse(result.stdout)

    return run


def test_a_run_from_five_labels_to_a_fused_picture(
    smarthdr: Run, fuse: Callable[..., dict[str, Any]], burst: list[Path], data: Path, config: Path, tmp_path: Path
) -> None:
    run = tmp_path / "deep" / "run"
    result = smarthdr("train", "--data", data, "--labeled", 5, "-o", run, "--config", config, "--iterations", 8, *TINY,
                      "--decay", 0.5, "--seed", 1, "--tensorboard", "--json")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    summary = parse(result.stdout)
    record = summary["record"]
    assert (record["method"], record["steps"], record["data"]) == ("smarthdr", 8, data.name)
    assert (record["config"]["decay"], record["config"]["seed"]) == (0.5, 1)
    # So small a picture may be aligned by what moves in it, and its exposures seem misstated then.
    lines = [line for line in messages(result) if not line.startswith("note: scene")]
    assert lines[0].startswith("note: no --vgg")
    names = {role: [part["name"] for part in parts] for role, parts in record["split"].items()}
    assert (len(names["labeled"]), len(names["held_out"]), len(names["unlabeled"])) == (4, 1, 2)
    assert lines[1] == f"labelled: {', '.join(names['labeled'])}; held out: {names['held_out'][0]}"
    assert lines[2] == "unlabelled: 2 scenes; test, never opened: 2"
    labels = "pseudo-labels of scene 1 of 2"
    assert [line.split(":")[0] for line in lines[3:]] == [labels, "step 4", labels, "step 8"]
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in logged] == [4, 8]
    assert {"validation_psnr_mu", "validation_student", "kept", "kept_patches"} <= set(logged[-1])
    left = {path.name for path in run.iterdir()}
    assert left == {"state.pt", "metrics.jsonl", "run.json", "board", "model.safetensors", "teacher.safetensors"}
    student, teacher = (load_checkpoint(run / f"{name}.safetensors") for name in ("model", "teacher"))
    assert (student.record["weights"], teacher.record["weights"]) == ("student", "teacher")
    assert any(not torch.equal(value, teacher.state[name]) for name, value in student.state.items())
    assert fuse(burst, "--weights", run)["model"]["sha256"] == summary["sha256"] == student.sha256


def test_an_interrupted_run_is_resumed_to_the_same_weights(
    smarthdr: Run,
    trained: Callable[..., dict[str, Any]],
    data: Path,
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = ("--labeled", 5, "--iterations", 9, *TINY)
    uninterrupted = trained(*options, "-o", tmp_path / "whole")

    @contextlib.contextmanager
    def interrupting(_iterations: int, _minutes: float | None, *, quiet: bool) -> Iterator[TrainingDisplay]:
        assert not quiet
        yield TrainingDisplay(lambda record: os.kill(os.getpid(), signal.SIGINT) if record["step"] == 5 else None)

    run = tmp_path / "stopped"
    with monkeypatch.context() as patched:
        patched.setattr(training, "training_display", interrupting)
        stopped = smarthdr("train", "-o", run, "--data", data, "--config", config, *options)
    assert stopped.exit_code == 0, stopped.stderr
    assert stopped.stderr.splitlines()[-1] == f"note: stopped at step 5 of 9; continue with -o {run} --resume"
    assert load_checkpoint(run / "model.safetensors").record["steps"] == 5
    assert (run / "pseudo").is_dir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    ended = trained("-o", run, "--resume", "--device", "cpu")
    assert ended["record"]["config"] == uninterrupted["record"]["config"]
    assert ended["record"]["split"] == uninterrupted["record"]["split"]
    for file in ("model", "teacher"):
        one, two = (load_checkpoint(folder / f"{file}.safetensors").state for folder in (run, tmp_path / "whole"))
        assert all(torch.equal(value, two[name]) for name, value in one.items())
    assert not (run / "pseudo").exists()
    longer = trained("-o", run, "--resume", "--iterations", 10, "--decay", 2, "--labeled", 5, "--data", data,
                     "--backbone", "saf", "--seed", 0)  # fmt: skip
    assert longer["record"]["steps"] == 10
    assert longer["record"]["config"] == uninterrupted["record"]["config"] | {"iterations": 10, "decay": 2.0}


def test_minutes_end_a_run_and_folders_are_numbered(
    smarthdr: Run, data: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("train", "--data", data, "--labeled", 5, "--config", config, *TINY)
    first = smarthdr(*options, "--minutes", 0.01)
    assert first.exit_code == 0, first.stderr
    assert "run: runs/001" in first.stderr.splitlines()
    assert "of 12000; continue with -o runs/001 --resume" in first.stderr
    second = smarthdr(*options, "--iterations", 1, "--method", "supervised", "--json", "-q")
    assert parse(second.stdout)["weights"] == str(Path("runs/002/model.safetensors"))
    failed = smarthdr(*options, "--init", data / "nothing.safetensors")
    assert failed.exit_code == 4
    assert sorted(path.name for path in Path("runs").iterdir()) == ["001", "002"]


def test_without_data_it_renders_synthetic_scenes(
    smarthdr: Run, panoramas: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMARTHDR_HOME", str(tmp_path / "home"))
    small = partial(cached_benchmark, train=3, test=1, size=(64, 96))
    monkeypatch.setattr(scene_data, "cached_benchmark", small)
    monkeypatch.setattr(sources, "procedural_scene", lambda rng: procedural_scene(rng, 64, 128))
    options = ("train", "--labeled", 2, "--config", config, *TINY, "--iterations", 1, "--json")
    first = smarthdr(*options, "-o", tmp_path / "a")
    assert first.exit_code == 0, first.stderr
    (benchmark,) = (tmp_path / "home" / "cache").glob("benchmark-*")
    assert f"note: no --data: trained on synthetic scenes, kept in {benchmark}" in first.stderr.splitlines()
    assert "(70%)" in first.stderr
    assert load_checkpoint(tmp_path / "a" / "model.safetensors").licence == "CC0-1.0"
    made = {path: path.stat().st_mtime_ns for path in benchmark.rglob("*.tif")}
    assert len(made) == 12
    assert smarthdr(*options, "-o", tmp_path / "b").exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in benchmark.rglob("*.tif")} == made
    third = smarthdr(*options, "-o", tmp_path / "c", "--panoramas", panoramas)
    assert third.exit_code == 0, third.stderr
    assert len(list((tmp_path / "home" / "cache").glob("benchmark-*"))) == 2
    assert smarthdr("train", "-o", tmp_path / "c", "--resume", "--iterations", 2).exit_code == 0


def test_unlabelled_bursts_and_labels_by_name(
    trained: Callable[..., dict[str, Any]], write_burst: WriteBurst, weights: Path, tmp_path: Path
) -> None:
    mine = [tmp_path / "one", tmp_path / "two"]
    for folder in mine:
        folder.mkdir()
        write_burst(f"{folder.name}/burst")
    ids = tmp_path / "ids.txt"
    ids.write_text("003\n005  # bright\n")
    model = tmp_path / "saf.toml"
    model.write_text(CONFIG.partition("[model]")[0])
    summary = trained("--labeled", ids, "--unlabeled", mine[0], "--unlabeled", mine[1],
                      "--init", weights, "--iterations", 2, "--config", model)  # fmt: skip
    split = summary["record"]["split"]
    assert [part["name"] for part in split["labeled"]] in (
        [f"Training/{n}" for n in pair] for pair in (("003", "005"), ("005", "003"))
    )
    assert len(split["unlabeled"]) == 7
    assert summary["record"]["config"]["model"] == load_checkpoint(weights).config


@pytest.mark.parametrize("method", ["supervised", "smae", "fshdr", "selfhdr"])
def test_methods(trained: Callable[..., dict[str, Any]], tmp_path: Path, method: str) -> None:
    labels = 0 if method == "selfhdr" else 5
    summary = trained("--method", method, "--labeled", labels, "--iterations", 4, "--tensorboard")
    assert summary["record"]["method"] == method
    assert summary["record"]["config"]["method"] == method
    assert len(list((tmp_path / "run" / "board").iterdir())) == 1


def test_training_with_all_labels(trained: Callable[..., dict[str, Any]]) -> None:
    assert trained("--iterations", 1)["record"]["method"] == "supervised"


def test_epochs_gfhdr_and_perceptual_features(trained: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    tiny = tmp_path / "gfhdr.toml"
    sizes = "\n[model]\ndim = 8\nblocks = 1\ndepth = 1\nheads = 2\nwindow = 4\nsqueeze = 2\n"
    settings = CONFIG.partition("[model]")[0]
    for one, other in (("crop = 32", "crop = 64"), ("unlabeled = 2", "unlabeled = 4"), ("refresh = 3", "")):
        settings = settings.replace(one, other)
    tiny.write_text(settings + sizes)
    state, width = {}, 3
    for number in (n for block in BLOCKS for n in block):
        state[f"features.{number}.weight"] = torch.full((2, width, 3, 3), 0.1)
        state[f"features.{number}.bias"], width = torch.zeros(2), 2
    file = tmp_path / "vgg.safetensors"
    safetensors.torch.save_file(state, file)
    summary = trained("--labeled", 1, "--backbone", "gfhdr", "--config", tiny, "--vgg", file, "--epochs", "1+1",
                      "--batch", 3, "--minutes", 1)  # fmt: skip
    config = summary["record"]["config"]
    assert config["model"] == {"name": "gfhdr", "dim": 8, "blocks": 1, "depth": 1, "heads": 2, "window": 4,
                               "squeeze": 2}  # fmt: skip
    assert (config["vgg"], config["weight_vgg"]) == (str(file), 0.01)
    labelled, unlabelled = 1 * 3 // 3, 6 * 2 * 3 // 4  # 67 of 96 rows are trained on; crops of 64 every 32 pixels
    assert config["iterations"] == labelled + unlabelled
    assert round(config["labelled_first"] * config["iterations"]) == labelled
    assert summary["record"]["vgg"]["sha256"]


def test_a_dry_run_trains_nothing(smarthdr: Run, data: Path, config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = ("train", "--data", data, "--labeled", 5, "--config", config, *TINY, "--iterations", 40, "--dry-run",
               "-o", run, "--seed", 1)  # fmt: skip
    result = smarthdr(*options, "--json", "-q")
    assert result.exit_code == 0, result.stderr
    found = parse(result.stdout)
    assert found["data"]["unlabeled"] == 2
    assert found["data"]["test"] == 2
    assert (len(found["data"]["labeled"]), len(found["data"]["held_out"])) == (4, 1)
    assert found["steps_of_a_pass"] == {"labeled": 4 * 5 * 7 // 2, "unlabeled": 2 * 5 * 7 // 2}
    cost = found["cost"]
    assert [(phase["phase"], phase["steps"]) for phase in cost["phases"]] == [("labelled", 10), ("smarthdr", 30)]
    assert all(0 < phase["seconds_per_update"] < 10 for phase in cost["phases"])
    assert (cost["refresh"], cost["pseudo_labels"]["times"], cost["validation"]["times"]) == (3, 10, 10)
    parts = sum(phase["steps"] * phase["seconds_per_update"] for phase in cost["phases"])
    parts += sum(cost[name]["times"] * cost[name]["seconds"] for name in ("pseudo_labels", "validation"))
    assert cost["seconds"] == pytest.approx(parts)
    text = smarthdr(*options).stdout
    assert "# held_out: " + found["data"]["held_out"][0]["name"] in text.splitlines()
    assert "# smarthdr: 30 updates of " in text
    again = train_config(tomllib.loads(text))
    assert again == train_config(found["config"] | {"weight_vgg": 0.01})
    assert not run.exists()
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_prepares_a_few_scenes_and_counts_them_all(
    smarthdr: Run, data: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMARTHDR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    options = ("train", "--data", data, "--labeled", 5, "--config", config, *TINY, "--iterations", 4, "--dry-run")
    found = parse(smarthdr(*options, "--json", "-q").stdout)
    assert len(found["data"]["labeled"]) == 4
    assert found["steps_of_a_pass"]["labeled"] == 4 * 5 * 7 // 2
    prepared = {path.parent.name for path in tmp_path.rglob("frames.npy")}
    assert len(prepared) == 2 + 2 + 1  # labelled, unlabelled, held out


def test_errors_of_a_new_run(
    refused: Callable[..., str], data: Path, config: Path, panoramas: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    start = ("train", "-o", run, "--config", config, *TINY, "--iterations", 1, "-q")
    assert "'learning_rate'" in refused(2, *start, "--data", data, "--config", _toml(tmp_path, "learning_rat = 1"))
    assert "only 7" in refused(2, *start, "--data", data, "--labeled", 8)
    assert "--labeled" in refused(2, *start, "--data", data, "--labeled", -1)
    assert "selfhdr does without" in refused(2, *start, "--data", data, "--labeled", 0)
    assert "every scene is labelled" in refused(2, *start, "--data", data, "--method", "smae")
    assert "--panoramas" in refused(2, *start, "--data", data, "--panoramas", panoramas)
    for wrong in ("30", "30+", "+170", "a+b", "0+0", "-1+2", "1+2+3"):
        assert f"--epochs {wrong}" in refused(2, *start[:-3], "-q", "--data", data, "--epochs", wrong)
    assert "--iterations" in refused(2, *start, "--data", data, "--epochs", "1+1")
    assert "-o RUN" in refused(2, "train", "--resume")
    refused(2, *start, "--data", data, "--device", "abacus")
    refused(3, *start, "--data", tmp_path / "nowhere")
    refused(3, *start, "--data", data, "--labeled", tmp_path / "ids.txt")
    refused(3, *start, "--labeled", 2, "--panoramas", tmp_path / "nowhere")
    refused(3, *start, "--data", data, "--labeled", 2, "--unlabeled", tmp_path / "nowhere")
    refused(4, *start, "--data", data, "--labeled", 2, "--vgg", tmp_path / "vgg.safetensors")
    refused(4, *start, "--data", data, "--labeled", 2, "--init", "nowhere")
    ids = tmp_path / "ids.txt"
    ids.write_text("Test/001\n")
    assert "test scene" in refused(2, *start, "--data", data, "--labeled", ids)
    assert not run.exists()
    assert "not a folder" in refused(5, "train", "-o", config, "--data", data, "--labeled", 5)


def test_tensorboard_that_is_not_installed(
    refused: Callable[..., str], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    line = refused(2, "train", "--data", data, "--labeled", 5, "-o", tmp_path / "run", "--tensorboard")
    assert "smarthdr[tensorboard]" in line
    assert not (tmp_path / "run").exists()


def test_options_that_a_run_is_not_resumed_with(
    refused: Callable[..., str],
    trained: Callable[..., dict[str, Any]],
    write_burst: WriteBurst,
    data: Path,
    config: Path,
    panoramas: Path,
    tmp_path: Path,
) -> None:
    own = tmp_path / "set"
    for number in ("001", "002", "003", "004", "005"):
        shutil.copytree(data / "Training" / number, own / "Training" / number)
    run = tmp_path / "run"
    trained("--labeled", 3, "--iterations", 1, on=own)
    go_on = ("train", "-o", run, "--resume", "-q")
    assert "--resume" in refused(2, "train", "-o", run, "--data", own, "--config", config)
    assert str(own) in refused(2, *go_on, "--data", data)
    assert "--labeled: " in refused(2, *go_on, "--labeled", 2)
    assert "--unlabeled: " in refused(2, *go_on, "--unlabeled", tmp_path)
    assert "--panoramas: " in refused(2, *go_on, "--panoramas", panoramas)
    assert "--seed 1" in refused(2, *go_on, "--seed", 1)
    assert "another network (saf)" in refused(2, *go_on, "--backbone", "gfhdr")
    wider = _toml(tmp_path, '[model]\nname = "saf"\nencoder = 16')
    assert "another network (saf)" in refused(2, *go_on, "--config", wider)
    shutil.rmtree(own / "Training" / "004")
    assert "(Training/004)" in refused(3, *go_on)
    (run / "run.json").write_text("{}")
    assert "run.json" in refused(3, *go_on)
    (run / "run.json").unlink()
    assert "streamed" in refused(2, *go_on, "--data", own)
    (run / "state.pt").unlink()
    assert "state.pt" in refused(3, *go_on)


def test_only_the_first_notes_on_scenes_are_printed(
    smarthdr: Run, data: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_run = training.prepare_run

    def noted(*arguments: Any, **options: Any) -> Any:
        planned = prepare_run(*arguments, **options)
        held = tuple(replace(s, notes=("blurred", "dark")) for s in planned.data.held_out)
        labeled = tuple(replace(s, notes=("blurred",)) for s in planned.data.labeled)
        return replace(planned, data=replace(planned.data, held_out=held, labeled=labeled))

    monkeypatch.setattr(training, "prepare_run", noted)
    options = ("--labeled", 3, "--config", config, *TINY, "--iterations", 1)  # three scenes, each held out in part
    lines = smarthdr("train", "--data", data, "-o", tmp_path / "run", *options).stderr.splitlines()
    notes = [line for line in lines if line.startswith("note: scene ")]
    assert len(notes) == 3
    assert all(line.endswith(": blurred") for line in notes)
    assert "note: and 3 more of that kind" in lines


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="gloo over sockets")
def test_two_processes_print_and_train_as_one(
    trained: Callable[..., dict[str, Any]], config: Path, tmp_path: Path
) -> None:
    pytest.importorskip("accelerate")
    # Where pixels are left out each process takes the mean over its own, which is not the mean over all. Masks leave
    # some out, and the borders of aligned frames; pictures of less than 48 pixels are not aligned.
    data = tmp_path / "still"
    _write_scenes(data, benchmark_config("gamma16", (44, 64)))
    plain = tmp_path / "plain.toml"
    settings = 'views = 1\nweight_cells = 0.0\nfill = "none"\n' + config.read_text()  # ends in the table of the masks
    plain.write_text(settings + "patch = false\npixel = false\n")
    options = ("--labeled", 5, "--iterations", 6, "--config", plain)
    one = trained(*options, on=data)
    run = tmp_path / "two"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    command = [
        *launch,
        "smarthdr_cli",
        "train",
        "-o",
        run,
        "--data",
        data,
        "--config",
        config,
        *TINY,
        *options,
        "--json",
    ]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    two = parse(done.stdout)
    assert two["record"]["split"] == one["record"]["split"]
    lines = done.stderr.splitlines()
    for words in ("labelled: ", "unlabelled: ", "step 4: "):
        assert len([line for line in lines if line.startswith(words)]) == 1, done.stderr
    expected = load_checkpoint(tmp_path / "run" / "model.safetensors").state
    for name, value in load_checkpoint(run / "model.safetensors").state.items():
        torch.testing.assert_close(value, expected[name], rtol=2e-3, atol=1e-5)
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 2


def _toml(folder: Path, text: str) -> Path:
    path = folder / "other.toml"
    path.write_text(text)
    return path
