"""Real static stacks, stood in for by a scene shot through a known curve."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from smarthdr_cli.burst.burst import CaptureMetadata, Exposure, Frame
from smarthdr_cli.colorspace import SRGB
from smarthdr_cli.errors import InputError
from smarthdr_cli.evaluate import protocol, stacks

EXPOSURE_TIME = 0x829A


def scene() -> np.ndarray:
    y, x = np.mgrid[0:120, 0:160].astype(np.float64)
    base = np.exp(-3 + 2.5 * np.sin(x / 23) * np.cos(y / 17) + 0.3 * np.sin(x / 5 + y / 7))
    return np.clip(np.stack([base, 0.9 * base, 0.8 * base], 2), 0.002, 0.95)


def srgb(linear: np.ndarray) -> np.ndarray:
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def write_stack(folder: Path, evs: list[int]) -> None:
    for i, ev in enumerate(evs):
        picture = Image.fromarray(np.round(srgb(scene() * 2.0**ev) * 255).astype(np.uint8))
        exif = Image.Exif()
        exif.get_ifd(0x8769)[EXPOSURE_TIME] = IFDRational(int(2.0 ** (ev + 5)), 3200)
        picture.save(folder / f"{i}.jpg", quality=98, subsampling=0, exif=exif)


def frame(ev: float, code: int) -> Frame:
    codes = np.full((16, 16, 3), code, np.uint8)
    return Frame(Path("x.jpg"), codes, 255.0, "display", Exposure(ev), SRGB, CaptureMetadata(), "", "jpeg")


def test_frames_are_read_in_any_order_and_sorted(tmp_path: Path) -> None:
    write_stack(tmp_path, [2, -1, 4, 0])
    stack = stacks.read_stack(tmp_path)
    assert stacks.relative_times(stack.frames) == pytest.approx([1, 2, 8, 32])
    assert stack.times[0] == 1.0
    assert [f.path.name for f in stack.frames] == ["1.jpg", "3.jpg", "0.jpg", "2.jpg"]


def test_three_are_the_best_exposed_and_two_and_a_half_ev_to_each_side() -> None:
    frames = [frame(ev, code) for ev, code in ((-4, 5), (-3, 20), (-2, 50), (-1, 80), (0, 105), (2, 180), (3, 220))]
    assert stacks.choose_three(frames) == (1, 4, 5)  # -3 and -2 are equally far from -2.5: the darker one
    # The best exposed frame is the darkest: the next has neighbours on both sides.
    assert stacks.choose_three([frame(0, 107), frame(1, 180), frame(2, 230)]) == (0, 1, 2)


def test_a_stack_without_times_or_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least three"):
        stacks.read_stack(tmp_path)
    for name in "abc":
        Image.new("RGB", (16, 16)).save(tmp_path / f"{name}.jpg")
    with pytest.raises(InputError, match=r"a\.jpg: no exposure time"):
        stacks.read_stack(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"text")
    with pytest.raises(InputError, match=r"a\.jpg"):
        stacks.read_stack(tmp_path)


def test_thinning_keeps_values_and_bounds_the_count() -> None:
    image = np.arange(2000 * 1600 * 3, dtype=np.float32).reshape(2000, 1600, 3)
    small = stacks.thin(image)
    assert small.shape == (1000, 800, 3)
    assert (small == image[::2, ::2]).all()
    assert stacks.thin(image[:1000, :1000]).shape == (1000, 1000, 3)


def test_the_truth_of_a_stack_is_the_radiance_it_was_made_from(tmp_path: Path) -> None:
    write_stack(tmp_path, [-3, -1, 1, 3, 5])
    stack = stacks.read_stack(tmp_path)
    short = stack.chosen[0].exposure.ev + np.log2(100)
    truth = np.clip(scene() * 2.0**short, 0, 1).astype(np.float32)
    middle = cv2.imread(str(stack.chosen[1].path))
    assert 0.3 < middle.mean() / 255 < 0.6
    for name, found in stacks.truths(stack).items():
        scores = protocol.score(np.clip(found, 0, 1), truth, reference_time=stack.times[1])
        assert scores["scale"] == pytest.approx(1.0, abs=0.15), name
        assert scores["psnr_mu"] > {"own": 40, "Debevec": 30}[name], name
