"""Clipped and black shares, sharpness and exposure ratios against plain computations and known scenes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from smarthdr_cli.burst.burst import CaptureMetadata, Exposure, Frame
from smarthdr_cli.burst.image_statistics import (
    MAX_REDUCED_SIDE,
    ev_between,
    linearize_assumed,
    measured_evs,
    reduce_frame,
    relative_sharpness,
)
from smarthdr_cli.colorspace import SRGB
from tests.support.files import random_scene, srgb_codes

pytestmark = pytest.mark.unit


def frame(codes: NDArray[Any], white: float = 255, encoding: Any = "display", ev: float = 0.0) -> Frame:
    return Frame(Path("a"), codes, white, encoding, Exposure(ev), SRGB, CaptureMetadata(), "0", "array")


def test_the_assumed_curve_is_srgb() -> None:
    light = np.clip(random_scene(), 0, 1)
    codes = srgb_codes(light)
    back = linearize_assumed(codes, frame(codes))
    assert np.abs(back - light).max() < 0.5 / 255 * 2.4  # half a code times the curve's steepest slope
    wide = codes.astype(np.uint16) * 257
    np.testing.assert_allclose(linearize_assumed(wide, frame(wide, 65535)), back, atol=1e-6)
    np.testing.assert_allclose(linearize_assumed(codes, frame(codes, encoding="linear")), codes / 255, atol=1e-6)


@pytest.mark.parametrize(
    "shape", [(5, 7), (100, 90), (MAX_REDUCED_SIDE * 2 + 3, 40), (1, MAX_REDUCED_SIDE * 3), (900, 1700)]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_shares_and_cells_against_a_plain_count(shape: tuple[int, int], dtype: Any) -> None:
    rng = np.random.default_rng(3)
    white = {np.uint8: 255, np.uint16: 65535, np.float32: 1.0}[dtype]
    codes = (rng.choice([0.0, 0.002, 0.3, 0.999, 1.0], (*shape, 3), p=[0.3, 0.1, 0.4, 0.1, 0.1]) * white).astype(dtype)
    codes[:, : shape[1] // 2] = np.asarray(white * 0.2).astype(dtype)
    result = reduce_frame(frame(codes, white, "linear"))
    assert result.clipped_share == (codes >= white).any(-1).mean()
    black = codes == 0 if dtype == np.uint8 else codes < white / 255
    assert result.black_share == black.all(-1).mean()
    factor = max(1, -(-max(shape) // MAX_REDUCED_SIDE))
    fy, fx = min(factor, shape[0]), min(factor, shape[1])
    rows, columns = max(shape[0] // factor, 1), max(shape[1] // factor, 1)
    cut = codes[: rows * fy, : columns * fx].reshape(rows, fy, columns, fx, 3)
    assert result.linear.shape == (rows, columns, 3)
    np.testing.assert_allclose(result.linear, (cut / white).mean((1, 3)), atol=2e-5)
    np.testing.assert_array_equal(result.clipped, (cut >= white).any((1, 3, 4)))


def test_a_clip_mask_precedes_the_codes() -> None:
    codes = np.full((4, 4, 3), 65535, np.uint16)
    mask = np.zeros((4, 4), bool)
    mask[0, :2] = True
    assert reduce_frame(replace(frame(codes, 65535, "linear"), clipped=mask)).clipped_share == 2 / 16


@pytest.mark.parametrize("ev", [0.5, 1.0, 2.0, 3.0])
def test_ev_between_two_exposures(ev: float) -> None:
    light = random_scene(300, 400)
    dark, bright = (reduce_frame(frame(srgb_codes(light * gain))) for gain in (0.5, 0.5 * 2**ev))
    assert ev_between(dark, bright) == pytest.approx(ev, abs=0.03)
    assert ev_between(bright, dark) == pytest.approx(-ev, abs=0.03)


def test_a_moving_quarter_does_not_bias_the_ratio() -> None:
    light = random_scene(300, 400)
    moved = light.copy()
    moved[:150, :200] = random_scene(150, 200, seed=9) * 2
    assert ev_between(
        reduce_frame(frame(srgb_codes(light))), reduce_frame(frame(srgb_codes(moved * 4)))
    ) == pytest.approx(2, abs=0.1)


def test_without_common_pixels_the_ratio_is_unknown() -> None:
    dark = reduce_frame(frame(np.zeros((40, 40, 3), np.uint8)))
    bright = reduce_frame(frame(np.full((40, 40, 3), 255, np.uint8)))
    middle = reduce_frame(frame(np.full((40, 40, 3), 120, np.uint8)))
    assert ev_between(dark, bright) is None
    assert measured_evs([bright, middle, middle, dark], [1, 2, 0, 3]) == [None, 0.0, 0.0, None]


def test_sharpness_does_not_depend_on_exposure_or_curve() -> None:
    light = cv2.GaussianBlur(random_scene(600, 760), (0, 0), 1.0)
    frames = [reduce_frame(frame(srgb_codes(light * 2.0**ev))) for ev in (-2, 0, 2)]
    np.testing.assert_allclose(relative_sharpness(frames), 1, atol=0.2)
    curved = [reduce_frame(frame(srgb_codes(np.clip(light * 2.0**ev, 0, 1) ** 1.3))) for ev in (-1, 0, 1)]
    np.testing.assert_allclose(relative_sharpness(curved), 1, atol=0.2)


def test_blur_lowers_sharpness_at_any_exposure() -> None:
    light = cv2.GaussianBlur(random_scene(600, 760), (0, 0), 0.7)
    blurred = cv2.GaussianBlur(light, (0, 0), 2.0)
    scores = relative_sharpness([reduce_frame(frame(srgb_codes(x))) for x in (light / 2, blurred, light * 2)])
    assert scores[1] < 0.6
    assert min(scores[0], scores[2]) > 0.95


def test_sharpness_without_well_exposed_pixels_is_1() -> None:
    black = frame(np.zeros((40, 40, 3), np.uint8))
    assert relative_sharpness([reduce_frame(black), reduce_frame(black)]) == [1, 1]
