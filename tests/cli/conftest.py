"""A small burst with EXIF, untrained weights, and the command run in this process."""

import json
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from smarthdr_cli.cli.app import app
from smarthdr_cli.data.synth.export import write_radiance
from smarthdr_cli.data.synth.sources import HELD_OUT
from smarthdr_cli.models.base import build_model
from smarthdr_cli.models.checkpoint import save_checkpoint
from tests.support.shoots import TIMES, jpeg, scene, srgb

WIDTH, HEIGHT = 160, 120
STAGE = re.compile(r" *\d+\.\d s  \w")  # a line of the progress without a terminal
SEED = 3  # of the scene of every burst here

Run = Callable[..., Result]
Refused = Callable[..., str]
Fuse = Callable[..., dict[str, Any]]
WriteBurst = Callable[..., list[Path]]


@pytest.fixture(autouse=True)
def isolated_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SMARTHDR_HOME", "SMARTHDR_HUB_REPO", "SMARTHDR_TRACEBACK"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """saf before training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        model = build_model({"name": "saf"})
    path = tmp_path_factory.mktemp("weights") / "stand-in.safetensors"
    save_checkpoint(path, model.state_dict(), {"name": "saf"}, licence="CC0-1.0")
    return path


@pytest.fixture(scope="session")
def panoramas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small HDR images; the name of one marks it as held out of training."""
    folder = tmp_path_factory.mktemp("hdri")
    for name, seed in (("mine", 0), (HELD_OUT[0], 1)):
        write_radiance(folder / f"{name}.exr", scene(seed, 256, 128))
    return folder


@pytest.fixture
def write_burst(tmp_path: Path) -> WriteBurst:
    """Write the frames of the scene, shifted by ``shift`` pixels from one to the next.

    ``true``: their exposure times in the pixels; ``stated``: those in EXIF, None for no EXIF.
    """

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
        wide = scene(SEED, width + 2 * shift * len(true), height)
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
    """Run the command in this process; a traceback fails the test."""

    def run(*arguments: object) -> Result:
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        assert "Traceback" not in result.stderr
        assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
        return result

    return run


@pytest.fixture
def fuse(smarthdr: Run, weights: Path, tmp_path: Path) -> Fuse:
    """``fuse(files, *options)`` with the untrained weights into out.exr; returns the JSON report."""

    def run(files: list[Path], *options: object, out: str = "out.exr") -> dict[str, Any]:
        result = smarthdr("fuse", *files, "-o", tmp_path / out, "--weights", weights, "--json", "--overwrite", *options)
        assert result.exit_code == 0, result.stderr
        return parse(result.stdout)

    return run


@pytest.fixture
def refused(smarthdr: Run) -> Refused:
    """``refused(code, *arguments)``: the one message on stderr of a command that ends with this code."""

    def run(code: int, *arguments: object) -> str:
        result = smarthdr(*arguments)
        assert result.exit_code == code, (result.exit_code, result.stderr)
        assert result.stdout == ""
        lines = messages(result)
        assert len(lines) == 1, result.stderr
        assert lines[0].startswith("smarthdr: ")
        return lines[0]

    return run


def messages(result: Result) -> list[str]:
    """The lines on stderr but for those that tell of the stages."""
    return [line for line in result.stderr.splitlines() if not STAGE.match(line)]


def parse(stdout: str) -> dict[str, Any]:
    """The one JSON object on stdout; NaN and infinity fail the test."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    assert stdout.count("\n") == 1
    assert stdout.endswith("\n")
    value = json.loads(stdout, parse_constant=refuse)
    assert isinstance(value, dict)
    return value
