"""``smarthdr evaluate``: metrics on stdout and in files. ``smarthdr synth``: scenes that smarthdr reads."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from smarthdr_cli.cli.evaluate import CLASSICAL_METHODS, parse_size
from smarthdr_cli.data.synth import sources
from smarthdr_cli.data.synth.export import benchmark_config, write_benchmark
from smarthdr_cli.data.synth.sources import bank_from_images
from smarthdr_cli.errors import UsageError
from smarthdr_cli.evaluate import methods

from .conftest import Run, messages, parse

FAST = ("--device", "cpu", "--precision", "fp32", "--align", "none")
NAMES = ["results.json", "sheet.png", "sparsification.png", "table.md"]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two test scenes; the second has frames, exposures and truth only."""
    root = tmp_path_factory.mktemp("set")
    source = np.random.default_rng(2).lognormal(0, 1.2, (64, 128, 3)).astype(np.float32)
    bank = bank_from_images(["noise"], [cv2.GaussianBlur(source, (0, 0), 2)])
    write_benchmark(root / "Test", bank, 2, 4, benchmark_config("gamma16", (64, 96)))
    for extra in ("moving.png", *(f"oracle_{n}.npy" for n in (1, 2, 3))):
        (root / "Test" / "002" / extra).unlink()
    return root


def test_table_json_and_files_agree(smarthdr: Run, weights: Path, scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "results"
    arguments = ("evaluate", weights, "--data", scenes, "--split", "test", *FAST)
    table = smarthdr(*arguments, "-o", out)
    assert (table.exit_code, messages(table)) == (0, [])
    assert sorted(path.name for path in out.iterdir()) == NAMES
    assert table.stdout == (out / "table.md").read_text()
    assert table.stdout.startswith("# stand-in on 2 test scenes of ")
    printed = smarthdr(*arguments, "--json", "-q")
    assert (printed.exit_code, printed.stderr) == (0, "")
    one, other = parse(printed.stdout), json.loads((out / "results.json").read_text())
    assert one.pop("outputs") == []
    for found in (one, other):
        for scene in found["scenes"].values():
            for method in scene["methods"].values():
                assert method.pop("seconds") > 0
        for method in found["methods"].values():
            assert method.pop("seconds_median") > 0
    assert one == other
    assert list(one["methods"]) == ["stand-in", *methods.BASELINES, "oracle"]
    assert "oracle" not in one["scenes"]["Test/002"]["methods"]
    assert one["scenes"]["Test/002"]["moving_from"] == "the burst"
    assert one["checkpoints"]["stand-in"]["network"] == "saf"


def test_rivals_limit_and_protocol(smarthdr: Run, weights: Path, scenes: Path) -> None:
    arguments = ("evaluate", weights, "--data", scenes, *FAST, "--scenes", 1, "--json")
    found = parse(smarthdr(*arguments, "--rivals", "static, reference", "--protocol", "fitted").stdout)
    assert list(found["methods"]) == ["stand-in", "reference", "static", "oracle"]
    assert list(found["scenes"]) == ["Test/001"]
    assert found["protocol"] == "fitted"
    assert found["methods"]["stand-in"]["psnr_mu_interval"] == [None, None]
    alone = parse(smarthdr(*arguments, "--rivals", "none", "--split", "all").stdout)
    assert list(alone["methods"]) == ["stand-in", "oracle"]


def test_existing_outputs_are_not_replaced(smarthdr: Run, refused: Callable[..., str], weights: Path, scenes: Path,
                                     tmp_path: Path) -> None:  # fmt: skip
    (tmp_path / "table.md").write_text("mine")
    arguments = ("evaluate", weights, "--data", scenes, *FAST, "--scenes", 1, "--rivals", "none", "-o", tmp_path)
    assert "table.md exists already" in refused(5, *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["table.md"]
    assert smarthdr(*arguments, "--overwrite").exit_code == 0
    assert (tmp_path / "table.md").read_text().startswith("# stand-in")


def test_errors_of_evaluate(
    refused: Callable[..., str], smarthdr: Run, weights: Path, scenes: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    data = ("--data", scenes, "-o", out)
    assert "unknown rival 'mertens'" in refused(2, "evaluate", weights, *data, "--rivals", "mertens")
    assert "--overwrite" in refused(2, "evaluate", weights, "--data", scenes, "--overwrite")
    assert "given already" in refused(2, "evaluate", weights, weights, *data)
    assert "abacus" in refused(2, "evaluate", weights, *data, "--device", "abacus")
    assert "no train scenes" in refused(3, "evaluate", weights, *data, "--split", "train")
    assert "does not exist" in refused(3, "evaluate", weights, "--data", tmp_path / "none")
    assert "nothing-of-it" in refused(4, "evaluate", "nothing-of-it", *data)
    refused(4, "evaluate", tmp_path / "absent", *data)
    assert not out.exists()
    (tmp_path / "file").touch()
    assert "not a folder" in refused(5, "evaluate", weights, "--data", scenes, "-o", tmp_path / "file")
    assert smarthdr("evaluate", "--data", scenes).exit_code == 2
    assert smarthdr("evaluate", weights).exit_code == 2
    assert smarthdr("evaluate", weights, *data, "--scenes", 0).exit_code == 2
    assert smarthdr("evaluate", weights, *data, "--protocol", "own").exit_code == 2


def test_a_missing_cvvdp_is_an_error(
    refused: Callable[..., str], weights: Path, scenes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert "pip install cvvdp" in refused(2, "evaluate", weights, "--data", scenes, "--cvvdp")


def test_a_scene_that_cannot_be_fused_is_named(
    refused: Callable[..., str], weights: Path, scenes: Path, tmp_path: Path
) -> None:
    import shutil

    broken = Path(shutil.copytree(scenes, tmp_path / "set"))
    data = (broken / "Test/002/3.tif").read_bytes()
    (broken / "Test/002/3.tif").write_bytes(data[: len(data) // 3])
    line = refused(3, "evaluate", weights, "--data", broken, *FAST, "--rivals", "none", "-o", tmp_path / "out")
    assert "scene Test/002: " in line
    assert "3.tif" in line
    assert not (tmp_path / "out").exists()


def test_the_default_rivals_are_those_of_the_code() -> None:
    assert CLASSICAL_METHODS.split(",") == list(methods.BASELINES)


SLOW = """
import sys, time
from pathlib import Path
import smarthdr_cli.evaluate.evaluate as run

def slow(*arguments, **options):
    Path(sys.argv[1]).touch()
    time.sleep(60)

run.score_method = slow
from smarthdr_cli.cli.app import app
app(sys.argv[2:])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_an_interrupted_evaluation_leaves_no_files(weights: Path, scenes: Path, tmp_path: Path) -> None:
    marker, out = tmp_path / "begun", tmp_path / "out"
    arguments = [str(marker), "evaluate", str(weights), "--data", str(scenes), "-o", str(out), *FAST]
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    deadline = time.monotonic() + 100
    while not marker.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert out.is_dir()
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stdout == ""
    assert stderr.splitlines()[-1] == "smarthdr: interrupted; nothing was left half-written"
    assert not out.exists()


SMALL = ("--size", "96x64", "-q")


@pytest.mark.parametrize(("kind", "suffix"), [("gamma16", ".tif"), ("camera8", ".jpg")])
def test_synthetic_scenes_of_each_kind(
    smarthdr: Run, fuse: Callable[..., dict[str, Any]], panoramas: Path, tmp_path: Path, kind: str, suffix: str
) -> None:
    out = tmp_path / "set"
    result = smarthdr("synth", out, "--scenes", 1, "--test", 1, "--kind", kind, "--panoramas", panoramas, *SMALL)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    for part in ("Training", "Test"):
        folder = out / part / "001"
        frames = [folder / f"{n}{suffix}" for n in (1, 2, 3)]
        for path in frames:
            assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).shape == (64, 96, 3)
        evs = [float(line) for line in (folder / "exposure.txt").read_text().split()]
        assert evs[0] == 0
        assert evs == sorted(evs)
        report = fuse(frames, "--deghost", "off")
        np.testing.assert_allclose(np.subtract(report["evs"], report["evs"][0]), evs, atol=0.01)


def test_equal_seeds_give_equal_scenes(smarthdr: Run, panoramas: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        options = ("--scenes", 0, "--test", 1, "--seed", seed, "--frames", 2, "--panoramas", panoramas)
        assert smarthdr("synth", tmp_path / name, *options, *SMALL).exit_code == 0
    assert not (tmp_path / "a" / "Training").exists()
    a, b, c = ((tmp_path / name / "Test/001/2.tif").read_bytes() for name in "abc")
    assert a == b
    assert a != c
    assert not (tmp_path / "a/Test/001/3.tif").exists()


def test_without_panoramas_scenes_are_procedural(
    smarthdr: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    procedural_scene = sources.procedural_scene
    monkeypatch.setattr(sources, "procedural_scene", lambda rng: procedural_scene(rng, 64, 128))
    assert smarthdr("synth", tmp_path / "set", "--scenes", 1, "--test", 0, *SMALL).exit_code == 0
    assert (tmp_path / "set/Training/001/HDRImg.exr").exists()


def test_errors_of_synth(refused: Callable[..., str], smarthdr: Run, panoramas: Path, tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    (tmp_path / "empty").mkdir()
    assert "not an empty folder" in refused(5, "synth", tmp_path / "used")
    assert "not an empty folder" in refused(5, "synth", tmp_path / "used" / "file")
    below = tmp_path / "used" / "file" / "below"
    refused(5, "synth", below, "--scenes", 1, "--test", 0, "--panoramas", panoramas, *SMALL)
    assert "WIDTHxHEIGHT" in refused(2, "synth", tmp_path / "new", "--size", "9x9")
    assert "both 0" in refused(2, "synth", tmp_path / "new", "--scenes", 0, "--test", 0)
    refused(3, "synth", tmp_path / "new", "--panoramas", tmp_path / "empty")
    assert smarthdr("synth", tmp_path / "new", "--frames", 1).exit_code == 2
    assert smarthdr("synth", tmp_path / "new", "--kind", "raw").exit_code == 2
    assert smarthdr("synth", tmp_path / "new", "--seed", -1).exit_code == 2
    assert not (tmp_path / "new").exists()


def test_size() -> None:
    assert parse_size("640x480") == (480, 640)
    assert parse_size("64X64") == (64, 64)
    for text in ("640", "640x", "x480", "63x64", "640x480x3", "²x64", "-64x64"):
        with pytest.raises(UsageError, match="--size"):
            parse_size(text)
