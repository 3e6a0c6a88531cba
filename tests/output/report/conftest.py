"""A fusion of a small bracket with its registration, and its page."""

from pathlib import Path

import pytest

from smarthdr_cli import fuse
from smarthdr_cli.fusion.result import FusionResult
from smarthdr_cli.output.write import write_report
from tests.support.shoots import TIMES, jpeg, scene, srgb

WIDTH, HEIGHT, SHIFT = 200, 150, 3


@pytest.fixture(scope="session")
def fused(tmp_path_factory: pytest.TempPathFactory) -> FusionResult:
    """Three frames, each shifted by SHIFT pixels from the one before, merged without the network."""
    folder = tmp_path_factory.mktemp("report")
    wide = scene(3, WIDTH + 2 * SHIFT, HEIGHT)
    paths = []
    for n, time in enumerate(TIMES):
        path = folder / f"img{n + 1}.jpg"
        view = wide[:, n * SHIFT : n * SHIFT + WIDTH]
        path.write_bytes(jpeg(srgb(view * float(time / TIMES[1])), time, quality=100))
        paths.append(path)
    return fuse(paths, deghost="off", device="cpu", reference=2, response="srgb")


@pytest.fixture(scope="session")
def page(fused: FusionResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "evening.html"
    assert write_report(fused, path) == []
    return path
