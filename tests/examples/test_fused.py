"""The command in examples/README.md reaches the figures of its table."""

from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from PIL import Image
from typer.testing import CliRunner

from smarthdr_cli.cli.app import app
from smarthdr_cli.evaluate import protocol

BURST = Path(__file__).parents[2] / "examples" / "burst"
SHORT_CLIP = 8.0  # the reference clips at 1, the short frame is 3 EV darker
FRAMES = [str(BURST / f"img{n}.jpg") for n in (1, 2, 3)]


def scores(path: Path) -> dict[str, float]:
    with OpenEXR.File(str(path)) as file, OpenEXR.File(str(BURST / "truth.exr")) as truth_file:
        result, truth = (np.asarray(f.channels()["RGB"].pixels, np.float32) / SHORT_CLIP for f in (file, truth_file))
    moving = np.asarray(Image.open(BURST / "moving.png").convert("L")) > 127
    return protocol.score(result, truth, reference_time=SHORT_CLIP, moving=moving)


def test_the_command_of_the_readme(tmp_path: Path) -> None:
    outputs = ["-o", tmp_path / "out.exr", "--uncertainty", tmp_path / "heat.png", "--preview", tmp_path / "out.jpg"]
    done = CliRunner().invoke(app, ["fuse", *FRAMES, *map(str, outputs)])
    assert done.exit_code == 0, done.output
    result = scores(tmp_path / "out.exr")
    assert result["psnr_mu"] > 38.8  # measured 39.28
    assert result["psnr_mu_moving"] > 35.7  # measured 36.18
    assert result["psnr_l"] > 36.0  # measured 36.71
    for name, size in (("heat.png", (1200, 900)), ("out.jpg", (1200, 900))):
        with Image.open(tmp_path / name) as picture:
            assert picture.size == size


@pytest.mark.slow
def test_the_plain_merge_leaves_ghosts(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["fuse", *FRAMES, "-o", str(tmp_path / "off.exr"), "--deghost", "off"])
    assert done.exit_code == 0, done.output
    assert scores(tmp_path / "off.exr")["psnr_mu"] < 31.5  # measured 30.0
