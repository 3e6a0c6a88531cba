"""Windows and the motion fitted to their displacements."""

import numpy as np
import pytest

from smarthdr_cli.align.block_matching import choose_windows, match_windows
from smarthdr_cli.align.brightness_transfer import estimate_transfer
from smarthdr_cli.align.pyramid_view import make_view, translation
from tests.support.registration import expose, grid_error, make_burst, make_frame, make_texture

pytestmark = pytest.mark.unit


def pair(seed=30, **how):
    burst, truth = make_burst(320, 480, seed, evs=(-1.5, 0.0), **how)
    return make_view(burst.frames[1]), make_view(burst.frames[0]), truth[0], burst.size


def windows_of(first, second, homography):
    return choose_windows(first, second, homography, estimate_transfer(first, second, homography))


def test_windows_lie_within_the_frame_and_half_of_them_are_held_out():
    first, second, true, (height, width) = pair(shift=10, degrees=1)
    windows = windows_of(first, second, true)
    assert abs(len(windows.fit) - len(windows.held_out)) <= 0.2 * len(windows.fit)
    corners = np.vstack([windows.fit, windows.held_out])
    assert len(np.unique(corners, axis=0)) == len(corners) > 20
    assert (corners >= 0).all()
    assert (corners + windows.side <= [width, height]).all()


def test_windows_lie_on_texture_that_both_frames_show():
    rng = np.random.default_rng(31)
    log = np.full((320, 480), -3.0, np.float32)
    log[:, 100:300] = make_texture(320, 200, rng)
    first = make_view(make_frame(expose(log, 0.0, rng, noise=0.0), 0.0))
    windows = windows_of(first, first, translation(200, 0))  # the second frame ends at column 280 of the first
    corners = np.vstack([windows.fit, windows.held_out])
    assert len(corners) > 0
    assert (corners[:, 0] + windows.side > 100).all()
    assert (corners[:, 0] + 0.6 * windows.side <= 282).all()


def test_the_motion_is_found_to_a_fraction_of_a_pixel():
    first, second, true, size = pair(shift=3, degrees=0.3, moving=False)
    fit = match_windows(first, second, np.eye(3))
    assert fit.reliable
    assert fit.inliers <= fit.tried == len(windows_of(first, second, fit.homography).fit)
    assert grid_error(fit.homography, true, size) < 0.5


def test_a_motion_beyond_the_search_is_not_found():
    first, second, true, size = pair(shift=30, moving=False)
    fit = match_windows(first, second, np.eye(3))
    assert fit is None or not fit.reliable
    assert grid_error(match_windows(first, second, true @ translation(2, 1)).homography, true, size) < 0.5


def test_frames_of_different_scenes_have_no_motion():
    first, second = pair(seed=32)[0], pair(seed=33)[1]
    fit = match_windows(first, second, np.eye(3))
    assert fit is None or not fit.reliable
