"""What limits the confidence of a set: images that differ, missing EXIF, and missing frames."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from PIL.TiffImagePlugin import IFDRational

from smarthdr_cli.grouping.confidence import MIN_CONFIDENCE
from smarthdr_cli.grouping.group import group_files
from tests.support.camera_files import Shoot

AEB = {"mode": 2}


def badge(seed: int) -> Image.Image:
    """A graphic in colours of its own: a disc on a plain ground, three squares on the disc."""
    rng = np.random.default_rng(seed)

    def colour() -> tuple[int, ...]:
        return tuple(int(value) for value in rng.integers(0, 256, 3))

    image = Image.new("RGB", (96, 64), colour())
    draw = ImageDraw.Draw(image)
    draw.ellipse((20, 4, 76, 60), fill=colour())
    for _ in range(3):
        x, y, side = (int(rng.integers(*bounds)) for bounds in ((28, 60), (12, 44), (3, 16)))
        draw.rectangle((x, y, x + side, y + side), fill=colour())
    return image


@pytest.mark.parametrize("count", [3, 4])
@pytest.mark.parametrize("has_exif", [False, True], ids=["no EXIF", "the same EXIF"])
def test_graphics_of_one_layout_are_never_certain(tmp_path: Path, count: int, has_exif: bool) -> None:
    """Named img1, img2 and on, all of their folder; without EXIF, or with 1/100 s in each."""
    exif = Image.Exif()
    if has_exif:
        exif.get_ifd(0x8769)[0x829A] = IFDRational(1, 100)
    certain = []
    for number in range(60):
        folder = tmp_path / str(number)
        folder.mkdir()
        files = [folder / f"img{index + 1}.png" for index in range(count)]
        for index, path in enumerate(files):
            badge(1000 * count + 10 * number + index).save(path, exif=exif)
        certain += [(number, s.confidence, s.reasons) for s in group_files(files).sets if not s.ambiguous]
    assert certain == []


@pytest.mark.parametrize("seed", range(6))
def test_different_views_are_never_certain_whatever_headers_say(tmp_path: Path, seed: int) -> None:
    """The camera calls three frames a bracket, times and exposures agree, and the user asks for sets of three."""
    shoot = Shoot(tmp_path)
    files = []
    for number, ev in enumerate((0, -2, 2, 0)):
        shoot.view = 10 * seed + number
        tags = AEB if number < 3 else {"mode": 0}
        files.append(shoot.wait(0.2).take(ev, bias=ev, pixel_ev=0, name=f"img{number + 1}", **tags))
    sets = group_files(files, bracket=3).sets
    assert [(s.confidence < MIN_CONFIDENCE, s.ambiguous) for s in sets] == [(True, True)] * len(sets)
    assert all(any("the pictures differ" in reason for reason in s.reasons) for s in sets)


@pytest.mark.parametrize(("without_exif", "confidence"), [(False, 0.95), (True, MIN_CONFIDENCE)])
def test_one_view_is_certain(tmp_path: Path, without_exif: bool, confidence: float) -> None:
    shoot = Shoot(tmp_path)
    files = [
        shoot.wait(0.2).take(ev, bias=ev, without_exif=without_exif, name=f"img{ev + 3}", **AEB) for ev in (-2, 0, 2)
    ]
    (bracket_set,) = group_files(files).sets
    assert list(bracket_set.frames) == files
    assert bracket_set.confidence > confidence
    assert not bracket_set.ambiguous


def test_images_that_cannot_be_decoded_leave_a_set_ambiguous(tmp_path: Path) -> None:
    shoot = Shoot(tmp_path)
    files = [shoot.wait(3).take(ev, mode=1, bias=0.0, suffix=".NEF") for ev in (-2, 0, 2)]
    sets = group_files(files).sets
    assert [(list(s.frames), s.ambiguous, s.reasons[-1]) for s in sets] == [(files, True, "the evidence is thin")]
