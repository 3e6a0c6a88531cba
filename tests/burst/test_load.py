"""Files to a burst: order, exposures, reference, and inputs that make no burst."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from smarthdr_cli.burst.load import load_burst
from smarthdr_cli.errors import InputError, UsageError
from tests.support.files import exif_block, random_scene, srgb_codes

Write = Callable[..., Path]
EVS = (-2, 0, 2)


@pytest.fixture
def bracket(jpeg: Write) -> Callable[..., list[Path]]:
    """Three JPEGs two EV apart, in shuffled order (bright, dark, middle), with EXIF unless ``tags`` is None."""

    def write(tags: dict[str, Any] | None = None, *, plain: bool = False) -> list[Path]:
        light = cv2.GaussianBlur(random_scene(120, 160), (0, 0), 1.0)
        paths = []
        for name, ev in (("x.jpg", 2), ("y.jpg", -2), ("z.jpg", 0)):
            block = (
                None if plain else exif_block(ExposureTime=(2 ** (ev + 2), 400), ISOSpeedRatings=100, **(tags or {}))
            )
            paths.append(jpeg(name, srgb_codes(light * 2.0**ev), block))
        return paths

    return write


def names(paths: Any) -> list[str]:
    return [frame.path.name for frame in paths.frames]


def test_frames_are_sorted_by_exposure(bracket: Callable[..., list[Path]]) -> None:
    burst, notes = load_burst(bracket({"FNumber": (8, 1)}))
    assert names(burst) == ["y.jpg", "z.jpg", "x.jpg"]
    np.testing.assert_allclose(burst.evs, EVS, atol=1e-9)
    assert burst.reference == 1
    assert notes == ()


def test_notes_of_assumptions(bracket: Callable[..., list[Path]]) -> None:
    assert "no aperture" in load_burst(bracket()).notes[0]


def test_overrides_in_argument_order(bracket: Callable[..., list[Path]]) -> None:
    burst, _ = load_burst(bracket(), evs=(0, 5, 1))
    assert names(burst) == ["x.jpg", "z.jpg", "y.jpg"]
    assert [frame.exposure.source for frame in burst.frames] == ["ev"] * 3


def test_reference_counts_from_one_in_argument_order(bracket: Callable[..., list[Path]]) -> None:
    for place, name in enumerate(("x.jpg", "y.jpg", "z.jpg"), start=1):
        burst, _ = load_burst(bracket(), reference=place)
        assert burst.frames[burst.reference].path.name == name
        assert burst.evs[burst.reference] == 0


def test_without_exif_the_pixels_give_the_order(bracket: Callable[..., list[Path]]) -> None:
    burst, notes = load_burst(bracket(plain=True))
    assert names(burst) == ["y.jpg", "z.jpg", "x.jpg"]
    assert {frame.exposure.source for frame in burst.frames} == {"none"}
    np.testing.assert_allclose(burst.evs, EVS, atol=0.2)
    assert "measured from the pixels" in notes[-1]


def test_sidecar(bracket: Callable[..., list[Path]]) -> None:
    paths = bracket(plain=True)
    (paths[0].parent / "exposure.txt").write_text("4\n0\n2\n")  # x, y, z
    burst, notes = load_burst(paths)
    np.testing.assert_allclose(burst.evs, EVS)
    assert notes == ("exposures taken from exposure.txt",)


@pytest.mark.parametrize(
    "options",
    [
        {"evs": (0, 1)},
        {"times": (1, 2, 3, 4)},
        {"reference": 4},
        {"reference": 0},
        {"evs": (0, 1, 2), "times": (1, 2, 4)},
    ],
)
def test_overrides_are_checked_before_any_file_is_opened(options: dict[str, Any], tmp_path: Path) -> None:
    missing = [tmp_path / name for name in ("a.jpg", "b.jpg", "c.jpg")]
    with pytest.raises(UsageError):
        load_burst(missing, **options)
    with pytest.raises(UsageError):
        load_burst([])


def test_missing_file(bracket: Callable[..., list[Path]], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.jpg does not exist"):
        load_burst([*bracket(), tmp_path / "gone.jpg"])


def test_one_frame_equal_exposures_and_other_sizes_are_errors(bracket: Callable[..., list[Path]], jpeg: Write) -> None:
    paths = bracket()
    with pytest.raises(InputError, match="at least two"):
        load_burst(paths[:1])
    with pytest.raises(InputError, match=r"are equal, but their pixels differ by 4\.0 EV .*--exposure-check fix"):
        load_burst(paths, evs=(1, 1, 1))
    small = jpeg("small.jpg", np.zeros((40, 40, 3), np.uint8), exif_block(ExposureTime=(1, 9)))
    with pytest.raises(InputError, match="differ in size"):
        load_burst([*paths, small])


def test_identical_files_are_an_error(bracket: Callable[..., list[Path]], tmp_path: Path) -> None:
    paths = bracket()
    copy = tmp_path / "copy.jpg"
    copy.write_bytes(paths[1].read_bytes())
    with pytest.raises(InputError, match=r"y\.jpg and .*copy\.jpg hold the same picture"):
        load_burst([*paths, copy])


def test_equal_exposures_are_replaced_by_those_of_the_pixels(bracket: Callable[..., list[Path]]) -> None:
    paths = bracket()
    burst, notes = load_burst(paths, evs=(1, 1, 1), exposure_check="fix")
    stated, _ = load_burst(paths)
    assert [frame.path for frame in burst.frames] == [frame.path for frame in stated.frames]
    assert {frame.exposure.source for frame in burst.frames} == {"none"}
    np.testing.assert_allclose(burst.evs, stated.evs, atol=0.1)
    assert "the stated exposures are equal and the pixels are not" in notes


@pytest.mark.parametrize("lacking", [0, 1, 2])
def test_a_frame_without_a_time_is_measured_against_the_others(
    bracket: Callable[..., list[Path]], jpeg: Write, lacking: int
) -> None:
    paths = bracket()
    stated, _ = load_burst(paths)
    with Image.open(paths[lacking]) as picture:
        paths[lacking] = jpeg(f"bare{lacking}.jpg", np.asarray(picture))
    burst, _ = load_burst(paths)
    assert sorted(frame.exposure.source for frame in burst.frames) == ["exif", "exif", "none"]
    np.testing.assert_allclose(np.diff(burst.evs), np.diff(stated.evs), atol=0.15)


def test_a_file_given_twice_is_an_error_before_any_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(UsageError, match=r"a\.jpg is given twice"):
        load_burst([tmp_path / "a.jpg", tmp_path / "a.jpg"])


def test_colour_spaces_and_encodings_must_agree(
    bracket: Callable[..., list[Path]], jpeg: Write, tmp_path: Path
) -> None:
    paths = bracket()
    adobe = jpeg("adobe.jpg", np.full((120, 160, 3), 9, np.uint8), exif_block(ColorSpace=2, ExposureTime=(1, 9)))
    with pytest.raises(InputError, match="colour space"):
        load_burst([*paths, adobe])
    Image.fromarray(np.full((120, 160), 0.5, np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(InputError, match="encoding"):
        load_burst([*paths, tmp_path / "float.tif"], evs=(2, -2, 0, 5))


def test_a_blurred_frame_is_not_the_reference(jpeg: Write) -> None:
    light: NDArray[np.float64] = cv2.GaussianBlur(random_scene(240, 320), (0, 0), 0.7)
    blurred = cv2.GaussianBlur(light, (0, 0), 3.0)
    paths = [jpeg(n, srgb_codes(x)) for n, x in (("a.jpg", light / 1.5), ("b.jpg", blurred), ("c.jpg", light * 4))]
    burst, _ = load_burst(paths, evs=(-0.6, 0, 2))
    assert burst.frames[burst.reference].path.name == "a.jpg"
