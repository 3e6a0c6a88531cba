"""Methods that only the benchmarks have: the true curve of a camera, exposure fusion."""

import numpy as np
import pytest

from benchmarks.lib.methods import curve_from_truth, mertens
from tests.support.gamma_frames import expose, smooth_radiance

pytestmark = pytest.mark.unit

TIMES = (1.0, 4.0, 16.0)


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return smooth_radiance()


def test_mertens_gives_a_display_image(truth: np.ndarray) -> None:
    image = mertens([expose(truth, t, np.uint16) for t in TIMES])
    assert image.shape == truth.shape
    assert image.min() >= 0
    assert 0.5 < image.max() <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_curve_from_truth_is_the_cameras_without_moving_pixels(truth: np.ndarray, dtype: type) -> None:
    exposed = np.clip(truth * np.float32(4), 0, 1)
    codes = expose(truth, 4, dtype)
    codes[:20, :, 1] = np.iinfo(dtype).max // 3
    static = np.ones(truth.shape[:2], bool)
    static[:20] = False
    table = curve_from_truth(codes, exposed, static).table
    grid = np.linspace(0, 1, table.shape[1])
    sampled = (grid > 0.15) & (grid < 0.95)
    assert np.abs(table - grid**2.2)[:, sampled].max() < 6e-3
    assert (table[:, 0] == 0).all()
    assert (table[:, -1] == 1).all()
