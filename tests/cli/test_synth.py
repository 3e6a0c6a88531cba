"""``smarthdr synth``: a folder of scenes that smarthdr itself can read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from smarthdr_cli.data.synth import sources

from .conftest import Run

SMALL = ("--size", "96x64", "-q")


@pytest.mark.parametrize(("kind", "suffix"), [("gamma16", ".tif"), ("camera8", ".jpg")])
def test_scenes_of_each_kind(
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


def test_one_seed_is_one_set(smarthdr: Run, panoramas: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        options = ("--scenes", 0, "--test", 1, "--seed", seed, "--frames", 2, "--panoramas", panoramas)
        assert smarthdr("synth", tmp_path / name, *options, *SMALL).exit_code == 0
    assert not (tmp_path / "a" / "Training").exists()
    a, b, c = ((tmp_path / name / "Test/001/2.tif").read_bytes() for name in "abc")
    assert a == b
    assert a != c
    assert not (tmp_path / "a/Test/001/3.tif").exists()


def test_without_panoramas_it_makes_its_own_scenes(
    smarthdr: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = sources.procedural_scene
    monkeypatch.setattr(sources, "procedural_scene", lambda rng: whole(rng, 64, 128))
    assert smarthdr("synth", tmp_path / "set", "--scenes", 1, "--test", 0, *SMALL).exit_code == 0
    assert (tmp_path / "set/Training/001/HDRImg.exr").exists()


def test_errors(refused: Callable[..., str], smarthdr: Run, panoramas: Path, tmp_path: Path) -> None:
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
