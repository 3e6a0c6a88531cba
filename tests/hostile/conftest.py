"""The command as tests/cli runs it, and bursts of odd files."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.burst.conftest import dng  # noqa: F401 - a fixture
from tests.cli.conftest import isolated_environment, refused, smarthdr  # noqa: F401 - fixtures

from . import corpus

OFF = ("--deghost", "off", "--align", "none", "--response", "srgb", "--device", "cpu")
STATED = ("--ev", ",".join(map(str, corpus.EVS)))


@pytest.fixture
def frames(tmp_path: Path) -> Callable[..., list[Path]]:
    """``frames(name, ...)``: the scene's three exposures, each made as ``READ`` of that name says, in a folder."""

    def write(*names: str, folder: str = "in") -> list[Path]:
        where = tmp_path / folder
        where.mkdir(exist_ok=True)
        paths = []
        for number, ev in enumerate(corpus.EVS):
            name = names[number % len(names)]
            path = where / f"{number}-{name}"
            path.write_bytes(corpus.READ[name](ev))
            paths.append(path)
        return paths

    return write
