"""A small burst with EXIF, untrained weights, and the command run in this process."""

import io
import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import IFDRational
from typer.testing import CliRunner, Result

from smarthdr_cli.cli.app import app
from smarthdr_cli.data.synth.export import write_radiance
from smarthdr_cli.data.synth.sources import HELD_OUT
from smarthdr_cli.models.base import build_model
from smarthdr_cli.models.checkpoint import save_checkpoint

WIDTH, HEIGHT = 160, 120
TIMES = (Fraction(1, 400), Fraction(1, 100), Fraction(1, 25))  # two stops apart

Run = Callable[..., Result]
WriteBurst = Callable[..., list[Path]]


def scene(width: int, height: int, seed: int = 3) -> NDArray[np.float32]:
    """(H, W, 3) linear, 1 = the clip of the middle frame: texture, a dark half and a window four stops up."""
    rng = np.random.default_rng(seed)
    texture = sum(
        cv2.resize(rng.uniform(0, 1, (height // s, width // s, 3)), (width, height), interpolation=cv2.INTER_CUBIC) * w
        for s, w in ((3, 0.4), (9, 0.4), (30, 0.2))
    )
    light = np.where(np.arange(width)[None, :, None] < width // 2, 0.05, 0.6)
    picture = np.clip(texture, 0.05, 1) * light
    picture[height // 5 : height // 3, width // 2 : width // 2 + width // 5] *= 6
    return np.asarray(picture, np.float32)


def srgb(linear: NDArray[Any]) -> NDArray[np.uint8]:
    x = np.clip(linear, 0, 1)
    return np.asarray(np.round(np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055) * 255), np.uint8)


def jpeg(pixels: NDArray[np.uint8], time: Fraction | tuple[int, int] | None) -> bytes:
    """A JPEG that states f/4, ISO 100 and ``time`` seconds, or nothing where it is None."""
    exif = Image.Exif()
    if time is not None:
        above, below = (time.numerator, time.denominator) if isinstance(time, Fraction) else time
        exif[0x010F], exif[0x0110], exif[0x0132] = "Maker", "Model X", "2026:05:06 07:08:09"
        details = exif.get_ifd(0x8769)
        details[0x829A] = IFDRational(above, below)
        details[0x829D] = IFDRational(4, 1)
        details[0x8827] = 100
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95, subsampling=0, exif=exif)
    return stream.getvalue()


@pytest.fixture(autouse=True)
def _only_what_the_test_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SMARTHDR_HOME", "SMARTHDR_HUB_REPO", "SMARTHDR_TRACEBACK"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """saf as it is before training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        model = build_model({"name": "saf"})
    path = tmp_path_factory.mktemp("weights") / "stand-in.safetensors"
    save_checkpoint(path, model.state_dict(), {"name": "saf"}, licence="CC0-1.0")
    return path


@pytest.fixture(scope="session")
def panoramas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small sources, one of them by its name for measuring only."""
    folder = tmp_path_factory.mktemp("hdri")
    for name, seed in (("mine", 0), (HELD_OUT[0], 1)):
        write_radiance(folder / f"{name}.exr", scene(256, 128, seed))
    return folder


@pytest.fixture
def write_burst(tmp_path: Path) -> WriteBurst:
    """Write the scene's frames: ``true`` exposure times in the pixels, ``stated`` ones in EXIF, ``shift`` pixels a
    frame."""

    def write(
        folder: str = "burst",
        *,
        true: Sequence[Fraction] = TIMES,
        stated: Sequence[Any] | None = TIMES,
        shift: int = 0,
        size: tuple[int, int] = (WIDTH, HEIGHT),
    ) -> list[Path]:
        where = tmp_path / folder
        where.mkdir()
        width, height = size
        wide = scene(width + 2 * shift * len(true), height)
        paths = []
        for n, time in enumerate(true):
            view = wide[:, n * shift : n * shift + width]
            path = where / f"img{n + 1}.jpg"
            path.write_bytes(jpeg(srgb(view * float(time / TIMES[1])), None if stated is None else stated[n]))
            paths.append(path)
        return paths

    return write


@pytest.fixture
def burst(write_burst: WriteBurst) -> list[Path]:
    return write_burst()


@pytest.fixture
def smarthdr() -> Run:
    """Run the command in this process; a traceback is a failure of the test, whatever else happens."""

    def run(*arguments: object) -> Result:
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        assert "Traceback" not in result.stderr
        assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
        return result

    return run


@pytest.fixture
def fuse(smarthdr: Run, weights: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """``fuse(files, *options)`` with the stand-in weights into out.exr; returns the JSON report."""

    def run(files: list[Path], *options: object, out: str = "out.exr") -> dict[str, Any]:
        result = smarthdr("fuse", *files, "-o", tmp_path / out, "--weights", weights, "--json", "--overwrite", *options)
        assert result.exit_code == 0, result.stderr
        return parse(result.stdout)

    return run


@pytest.fixture
def refused(smarthdr: Run) -> Callable[..., str]:
    """``refused(code, *arguments)``: the command ends with that code and one line on stderr, which is returned."""

    def run(code: int, *arguments: object) -> str:
        result = smarthdr(*arguments)
        assert result.exit_code == code, (result.exit_code, result.stderr)
        assert result.stdout == ""
        lines = result.stderr.splitlines()
        assert len(lines) == 1, result.stderr
        assert lines[0].startswith("smarthdr: ")
        return lines[0]

    return run


def parse(stdout: str) -> dict[str, Any]:
    """The one JSON object that stdout holds, with nothing that JSON does not know."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    assert stdout.count("\n") == 1
    assert stdout.endswith("\n")
    value = json.loads(stdout, parse_constant=refuse)
    assert isinstance(value, dict)
    return value
