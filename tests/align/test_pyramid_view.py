"""The view of a frame: clipping, windows and changes of coordinates."""

import cv2
import numpy as np
import pytest

from smarthdr_cli.align.pyramid_view import (
    LOG_FLOOR,
    make_view,
    project,
    read_warped_window,
    read_window,
    scaling,
    translation,
    warp_mask,
)
from smarthdr_cli.radiometry import named_response
from tests.support.registration import make_burst, make_frame, random_motion

pytestmark = pytest.mark.unit


def test_a_clipped_channel_clips_the_pixel_and_dark_pixels_are_invalid():
    codes = np.full((64, 64, 3), 120, np.uint8)
    codes[:8, :, 2], codes[8:16] = 255, 2
    view = make_view(make_frame(codes, 0.0), None)
    assert not view.valid[:16].any()
    assert view.valid[16:].all()
    log = read_window(view, 0, 0, 64, 24)
    assert np.all(log[:8] == 0)
    assert np.all(log[16:] < view.ceiling)
    light = named_response("srgb").table[0, 120]
    np.testing.assert_allclose(log[16:], np.log2(light + LOG_FLOOR), atol=1e-5)


def test_a_clip_mask_clips_whatever_the_codes():
    codes = np.full((64, 64, 3), 20_000, np.uint16)
    clipped = np.zeros((64, 64), bool)
    clipped[:20] = True
    view = make_view(make_frame(codes, 0.0, 65535.0, encoding="linear", clipped=clipped), None)
    assert np.all(view.log[:20] == 0)
    assert not view.valid[:20].any()
    assert view.valid[20:].all()


@pytest.mark.parametrize(
    ("size", "working", "coarse"),
    [
        ((300, 400), (300, 400), (150, 200)),
        ((1200, 1600), (866, 1155), (433, 577)),  # hardly larger than the working picture: half of it
        ((1800, 2400), (866, 1155), (866, 1155)),
    ],
)
def test_the_working_picture_has_at_most_about_a_megapixel(size, working, coarse):
    view = make_view(make_frame(np.full((*size, 3), 90, np.uint8), 0.0), None)
    assert view.log.shape == working
    assert view.coarse.log.shape == coarse


def test_small_frames_have_no_coarse_view():
    assert make_view(make_frame(np.full((150, 400, 3), 90, np.uint8), 0.0), None).coarse is None


def test_scaling_maps_pixel_centres_of_an_area_average():
    points = np.array([[0.5, 0.5], [2.5, 4.5]])  # centres of 2x2 blocks
    np.testing.assert_allclose(project(scaling((10, 20), (5, 10)), points), [[0, 0], [1, 2]])


def test_homographies_change_coordinates_and_back():
    burst, _ = make_burst(1200, 1600, 1, evs=(0.0, 1.0), moving=False)
    first, second = (make_view(frame, None) for frame in burst.frames)
    true = random_motion(1200, 1600, 20.0, 2.0, np.random.default_rng(0))
    point = np.array([[700.0, 300.0]])
    for there, back, to_level in (
        (first.full_to_working, first.working_to_full, first.to_working),
        (first.full_to_coarse, first.coarse_to_full, scaling((1200, 1600), first.coarse.frame.size)),
    ):
        local = there(second, true)
        np.testing.assert_allclose(project(local, project(to_level, point)), project(to_level, project(true, point)))
        np.testing.assert_allclose(back(second, local), true / true[2, 2], atol=1e-9)


def test_a_warped_window_is_a_crop_of_the_warped_picture():
    burst, _ = make_burst(120, 160, 11)
    view = make_view(burst.frames[1], None)
    H = random_motion(120, 160, 6.0, 2.0, np.random.default_rng(1))
    log, mask = read_warped_window(view, H, 30, 40, 94, 104)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    picture = cv2.warpPerspective(view.log, H, (160, 120), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    inside = warp_mask(np.full_like(view.valid, 255), H, (160, 120))
    np.testing.assert_array_equal(mask > 0, inside[40:104, 30:94] > 0)
    np.testing.assert_allclose(log[mask > 0], picture[40:104, 30:94][mask > 0], atol=0.02)


def test_a_warped_mask_excludes_pixels_interpolated_across_its_border():
    mask = warp_mask(np.full((8, 10), 255, np.uint8), translation(0.5, 0), (10, 8))
    assert (mask[:, :9] == 255).all()
    assert (mask[:, 9] == 0).all()


def test_a_window_outside_the_frame_is_masked():
    view = make_view(make_frame(np.full((64, 64, 3), 90, np.uint8), 0.0), None)
    log, mask = read_warped_window(view, translation(200, 0), 0, 0, 20, 20)
    assert log.shape == mask.shape == (20, 20)
    assert not mask.any()
