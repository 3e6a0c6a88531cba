"""What a description says is what the checkpoint holds; the card is found beside the file and by its sha256."""

import shutil
from pathlib import Path

import pytest
import torch

from smarthdr_cli.errors import ModelError
from smarthdr_cli.models import weights
from smarthdr_cli.models.base import build_model
from smarthdr_cli.models.catalog import describe
from smarthdr_cli.models.checkpoint import save_checkpoint
from smarthdr_cli.models.uncertainty_calibration import Calibration
from smarthdr_cli.models.weights import ManifestEntry

SMALL = {"name": "saf", "encoder": 8, "motion": 8, "hidden": 4, "verify": 8, "refine": 8}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    path = shipped / "base.safetensors"
    curve = Calibration((0.01, 0.02), (0.005, 0.03), samples=1234, eight_bit=Calibration((0.01,), (0.02,), samples=5))
    save_checkpoint(
        path, build_model(SMALL).state_dict(), SMALL, {"steps": 7, "config": {"batch": 4}}, curve, "MIT", {"psnr": 30.0}
    )
    (shipped / "manifest.toml").write_text(ManifestEntry.of(path, "base", "MIT", default=True).to_toml())
    (shipped / "base.md").write_text("# base\n\nσ is calibrated.\n", "utf-8")
    monkeypatch.setattr(weights, "weights_dir", lambda: shipped)
    for name in ("SMARTHDR_HOME", "SMARTHDR_HUB_REPO"):
        monkeypatch.delenv(name, raising=False)
    return shipped


@pytest.mark.usefixtures("folder")
def test_it_says_what_the_file_holds() -> None:
    found = describe("base")
    assert found.item.name == "base"
    assert found.config["encoder"] == 8
    assert found.config["limit"] == 4.0  # a default that the file does not state
    assert found.record == {"steps": 7, "config": {"batch": 4}}
    assert found.metrics == {"psnr": 30.0}
    assert found.calibration == {
        "quantile": 0.68, "samples": 1234, "knots": 2, "lowest": 0.005, "highest": 0.03,
        "eight_bit": {"quantile": 0.68, "samples": 5, "knots": 1, "lowest": 0.02, "highest": 0.02},
    }  # fmt: skip
    model = build_model(SMALL)
    assert found.parts["judge"] == sum(value.numel() for value in model.judge.parameters())  # type: ignore[union-attr]
    assert sum(found.parts.values()) == found.item.parameters
    assert found.card == "# base\n\nσ is calibrated.\n"
    assert set(found.to_dict()) >= {"name", "sha256", "path", "bytes", "parts", "config", "record", "card"}


def test_a_copy_has_the_card_of_the_listed_one(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "cache" / "0123abcd.safetensors"
    elsewhere.parent.mkdir()
    shutil.copy(folder / "base.safetensors", elsewhere)
    assert describe(elsewhere).card == describe("base").card
    elsewhere.with_suffix(".md").write_text("its own")
    assert describe(elsewhere).card == "its own"
    save_checkpoint(elsewhere, build_model(SMALL).state_dict(), SMALL)  # another network under that name
    elsewhere.with_suffix(".md").unlink()
    found = describe(elsewhere)
    assert (found.card, found.calibration, found.item.state) == (None, None, "unlisted")


def test_a_card_that_is_no_text(folder: Path) -> None:
    (folder / "base.md").write_bytes(b"\xff\xfe")
    with pytest.raises(ModelError, match=r"base\.md: cannot be read"):
        describe()


def test_gfhdr_is_described_too(tmp_path: Path) -> None:
    config = {"name": "gfhdr", "dim": 12, "blocks": 1, "depth": 1, "heads": 2}
    with torch.random.fork_rng(devices=[]):
        model = build_model(config)
    save_checkpoint(tmp_path / "g.safetensors", model.state_dict(), config)
    found = describe(tmp_path / "g.safetensors")
    assert set(found.parts) == {"backbone", "judge"}
    assert found.item.network == found.config["name"] == "gfhdr"
