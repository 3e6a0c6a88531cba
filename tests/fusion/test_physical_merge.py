"""The merge by physics: a pixel does not depend on the tile that it lies in."""

import numpy as np
import pytest

from smarthdr_cli.aligned_burst import Window
from smarthdr_cli.fusion.burst_model import fit_burst
from smarthdr_cli.fusion.physical_merge import PhysicalMerger
from smarthdr_cli.fusion.pixel_kernel import CELL, MARGIN
from tests.support import bursts

ORDER = (1, 0, 2)
SIZE = (112, 144)


def handheld(bits: int) -> PhysicalMerger:
    """Three frames of a burst from the hand; in the brightest a patch has changed."""
    scene = bursts.texture(*SIZE, seed=3, low=0.01, high=1.4)
    burst = bursts.with_changed_patch(bursts.noisy(scene, bits=bits), 2, (40, 50, 24, 30), 0.5)
    shifts = [bursts.shift_homography(3.3, -2.6), np.eye(3), bursts.shift_homography(-1.7, 4.2)]
    burst = bursts.aligned(burst, homographies=shifts)
    model = fit_burst(burst, ORDER, {index: burst.downsample(index, CELL) for index in ORDER}, {})
    return PhysicalMerger(burst, model, {})


@pytest.mark.parametrize("bits", [8, 16])
def test_a_window_equals_the_same_pixels_of_the_picture(bits: int) -> None:
    """To the last bit, where the window reaches MARGIN pixels beyond them."""
    merger = handheld(bits)
    core = Window(44, 48, 32, 44)
    window = Window(core.top - MARGIN, core.left - MARGIN, core.height + 2 * MARGIN, core.width + 2 * MARGIN)
    picture, part = merger.window(Window(0, 0, *SIZE)), merger.window(window)
    inner = np.s_[MARGIN:-MARGIN, MARGIN:-MARGIN]
    outer = np.s_[core.top : core.top + core.height, core.left : core.left + core.width]
    assert picture.trust[2][outer].min() < 0.1 < 0.9 < picture.trust[2][outer].max()
    for name in ("light", "sigma", "lost", "clipped"):
        np.testing.assert_array_equal(getattr(part, name)[inner], getattr(picture, name)[outer], err_msg=name)
    for name in ("frames", "trust", "place", "variance"):
        whole, cut = getattr(picture, name), getattr(part, name)
        np.testing.assert_array_equal(cut[:, *inner], whole[:, *outer], err_msg=name)


def test_a_window_may_leave_the_picture_by_more_than_a_cell() -> None:
    """As where its sides are multiples of 8 pixels and those of the picture of 4."""
    merger = handheld(8)
    inside, beyond = merger.window(Window(80, 104, 32, 40)), merger.window(Window(80, 104, 40, 48))
    kept = np.s_[MARGIN : 32 - MARGIN // 2, MARGIN : 40 - MARGIN // 2]
    assert np.isfinite(beyond.light).all()
    np.testing.assert_allclose(beyond.light[kept], inside.light[kept], rtol=0.02)
    assert not beyond.place[1:, 32:].max() > 0


@pytest.mark.parametrize("static", [False, True])
def test_a_picture_is_the_same_in_any_tiles(static: bool) -> None:
    merger = handheld(8)
    whole, cut = (merger.picture(tile, static=static) for tile in (0, 64))
    for name in ("radiance", "sigma"):
        np.testing.assert_array_equal(getattr(cut.image, name), getattr(whole.image, name), err_msg=name)
    np.testing.assert_array_equal(cut.summary, whole.summary)
    np.testing.assert_array_equal(cut.classical, whole.classical)
