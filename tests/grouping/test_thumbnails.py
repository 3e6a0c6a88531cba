"""Similarity of thumbnails: blind to exposure and small shifts, low between views, silent where nothing is exposed."""

from pathlib import Path

import numpy as np
import pytest

from smarthdr_cli.grouping.header import Header, read_header
from smarthdr_cli.grouping.thumbnails import Thumbnail, compare, make_thumbnail, read_thumbnail
from tests.support.camera_files import Shoot, picture

pytestmark = pytest.mark.unit


def thumbnail(view: int, ev: float, shift: int = 0) -> Thumbnail:
    return make_thumbnail(np.asarray(picture(view, ev, shift).convert("L")))


@pytest.mark.parametrize("ev", [-3.0, -1.0, 1.0, 2.0])
@pytest.mark.parametrize("shift", [-8, 0, 7])
def test_similarity_ignores_exposure_and_small_shifts(ev: float, shift: int) -> None:
    comparison = compare(thumbnail(1, 0), thumbnail(1, ev, shift))
    assert comparison.similarity is not None
    assert comparison.similarity > 0.9
    assert comparison.ev == pytest.approx(ev, abs=0.25)


def test_views_differ() -> None:
    similarities = [compare(thumbnail(a, 0), thumbnail(b, 1)).similarity for a in range(6) for b in range(6, 10)]
    compared = [value for value in similarities if value is not None]
    assert len(compared) == len(similarities)
    assert max(compared) <= 0.75
    assert float(np.median(compared)) < 0.5


def test_sizes_that_differ_are_different_views() -> None:
    upright = make_thumbnail(np.asarray(picture(1, 0, turned=True).convert("L")))
    assert compare(thumbnail(1, 0), upright).similarity == 0


def test_black_white_and_walls_cannot_be_compared() -> None:
    black, white, wall = (make_thumbnail(np.full((64, 96), code, np.uint8)) for code in (0, 255, 100))
    assert [compare(wall, other).similarity for other in (black, white, wall)] == [None] * 3
    assert compare(black, white).ev > 10


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
def test_formats_that_can_be_read(tmp_path: Path, name: str) -> None:
    picture(1, 0).save(tmp_path / name)
    read = read_thumbnail(read_header(tmp_path / name))
    assert read is not None
    assert compare(read, thumbnail(1, 0)).similarity == pytest.approx(1, abs=0.01)


def test_an_image_above_the_limit_is_not_decoded(tmp_path: Path) -> None:
    header = read_header(Shoot(tmp_path).take(0))
    assert read_thumbnail(header, max_pixels=96 * 64) is not None
    assert read_thumbnail(header, max_pixels=96 * 64 - 1) is None


def test_damaged_files_are_read_without_messages(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither warnings, which are errors here, nor libjpeg's own messages; some damage leaves an image."""
    rng = np.random.default_rng(0)
    original = Shoot(tmp_path).take(0).read_bytes()
    readable = 0
    for number in range(150):
        damaged = np.frombuffer(original, np.uint8).copy()
        damaged[rng.integers(0, len(damaged), 20)] = rng.integers(0, 256, 20)
        data = damaged.tobytes()
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(data[: rng.integers(100, len(data))] if number % 4 == 0 else data)
        readable += read_thumbnail(Header(path, file_size=len(data), size=(96, 64))) is not None
    assert 0 < readable < 150
    assert capfd.readouterr() == ("", "")
