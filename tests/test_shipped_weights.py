"""The weights that ship: listed, whole, licensed, and the ones ``smarthdr fuse`` takes."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from smarthdr_cli.cli.app import app
from smarthdr_cli.models.checkpoint import load_model
from smarthdr_cli.models.weights import find_weights, read_manifest, weights_dir

ENTRIES = {entry.name: entry for entry in read_manifest(weights_dir())}


@pytest.fixture(autouse=True)
def _only_what_ships(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SMARTHDR_HOME", "SMARTHDR_HUB_REPO"):
        monkeypatch.delenv(name, raising=False)


def test_there_is_one_default() -> None:
    assert [entry.name for entry in ENTRIES.values() if entry.default] == ["saf-base"]
    assert find_weights() == weights_dir() / ENTRIES["saf-base"].file


def test_nothing_lies_there_unlisted() -> None:
    assert {path.name for path in weights_dir().glob("*.safetensors")} == {entry.file for entry in ENTRIES.values()}


@pytest.mark.parametrize("name", ENTRIES)
def test_they_load_and_say_where_they_come_from(name: str) -> None:
    model, checkpoint = load_model(name)
    assert checkpoint.sha256 == ENTRIES[name].sha256
    assert checkpoint.licence == ENTRIES[name].licence
    assert checkpoint.calibration is not None
    assert checkpoint.record["steps"] > 0
    assert sum(value.numel() for value in model.parameters()) > 10_000


def test_fuse_takes_the_default(tmp_path: Path) -> None:
    for n, gain in enumerate((0.25, 1.0, 4.0)):
        ramp = np.linspace(0.02, 1.6, 96, dtype=np.float32)[None, :, None] * np.ones((64, 1, 3), np.float32)
        pixels = np.round(np.clip(ramp * gain, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{n}.png")
    files = [str(tmp_path / f"{n}.png") for n in range(3)]
    options = ["--ev", "-2,0,2", "--response", "gamma2.2", "--json", "-o", str(tmp_path / "o.exr")]
    result = CliRunner().invoke(app, ["fuse", *files, *options])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["model"]["name"] == Path(ENTRIES["saf-base"].file).stem
