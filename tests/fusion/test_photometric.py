"""photometric.py: what the grid takes for a difference of exposures, and what it does not."""

import cv2
import numpy as np
import pytest

from smarthdr_cli.fusion.noise_model import FrameNoise
from smarthdr_cli.fusion.photometric import fit_grid

pytestmark = pytest.mark.unit
CELL = 4


class Noiseless:
    """A camera without noise."""

    def at(self, light, channel):
        return np.full(np.shape(light), 1e-10, np.float32)


def cells(picture):
    return cv2.resize(np.clip(picture, 0, 1), None, fx=1 / CELL, fy=1 / CELL, interpolation=cv2.INTER_AREA)


def windows(rng):
    """Light from a dark room with bright windows of many sizes, sharp to the pixel; reference clip 1."""
    light = np.full((480, 640, 3), 0.3, np.float32) * rng.uniform(0.5, 2, (1, 1, 3)).astype(np.float32)
    light *= np.exp(cv2.GaussianBlur(rng.normal(size=(480, 640, 1)).astype(np.float32), (0, 0), 6) * 2)[..., None]
    for _ in range(60):
        y, x = rng.integers(0, 440), rng.integers(0, 600)
        light[y : y + rng.integers(14, 40), x : x + rng.integers(14, 40)] = 6
    return light


def test_cells_that_clip_in_part_are_no_gain_of_the_shorter_frame():
    light = windows(np.random.default_rng(0))
    ref, other = cells(light), cells(light / 8)
    noise: tuple[FrameNoise, FrameNoise] = (Noiseless(), Noiseless())  # type: ignore[assignment]
    gain = fit_grid(ref, other, np.ones(ref.shape[:2], bool), 1 / 8, noise, CELL).gain
    np.testing.assert_allclose(gain, 1, atol=0.02)


@pytest.mark.parametrize("factor", [0.9, 1.15])
def test_a_misstated_exposure_is_a_gain_everywhere(factor):
    light = windows(np.random.default_rng(1))
    ref, other = cells(light), cells(light / 8 * factor)
    noise: tuple[FrameNoise, FrameNoise] = (Noiseless(), Noiseless())  # type: ignore[assignment]
    gain = fit_grid(ref, other, np.ones(ref.shape[:2], bool), 1 / 8, noise, CELL).gain
    np.testing.assert_allclose(gain, 1 / factor, rtol=0.02)
