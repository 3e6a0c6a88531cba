"""The view of a frame: clipping, windows and changes of coordinates."""

import numpy as np
import pytest

from smarthdr_cli.align.pyramid_view import (
    CLIP_CODE_SHARE,
    LOG_FLOOR,
    make_view,
    project,
    read_windows,
    scaling,
    translation,
    warp,
    warp_mask,
)
from smarthdr_cli.radiometry import named_response, srgb_to_linear
from tests.support.registration import make_burst, make_frame, random_motion

pytestmark = pytest.mark.unit


def test_a_clipped_channel_clips_the_pixel_and_dark_pixels_are_invalid():
    codes = np.full((64, 64, 3), 120, np.uint8)
    codes[:8, :, 2], codes[8:16] = 255, 2
    view = make_view(make_frame(codes, 0.0))
    assert not view.valid[:16].any()
    assert view.valid[16:].all()
    log = read_windows(view, np.zeros((1, 2)), 24)[0][0]
    assert np.all(log[:8] == 0)
    assert np.all(log[16:] < view.ceiling)
    light = named_response("srgb").table[0, 120]
    np.testing.assert_allclose(log[16:], np.log2(light + LOG_FLOOR), atol=1e-5)


def test_a_clip_mask_clips_whatever_the_codes():
    codes = np.full((64, 64, 3), 20_000, np.uint16)
    clipped = np.zeros((64, 64), bool)
    clipped[:20] = True
    view = make_view(make_frame(codes, 0.0, 65535.0, encoding="linear", clipped=clipped))
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
    view = make_view(make_frame(np.full((*size, 3), 90, np.uint8), 0.0))
    assert view.log.shape == working
    assert view.coarse.log.shape == coarse


def test_small_frames_have_no_coarse_view():
    assert make_view(make_frame(np.full((150, 400, 3), 90, np.uint8), 0.0)).coarse is None


def test_scaling_maps_pixel_centres_of_an_area_average():
    points = np.array([[0.5, 0.5], [2.5, 4.5]])  # centres of 2x2 blocks
    np.testing.assert_allclose(project(scaling((10, 20), (5, 10)), points), [[0, 0], [1, 2]])


def test_homographies_change_coordinates_and_back():
    burst, _ = make_burst(1200, 1600, 1, evs=(0.0, 1.0), moving=False)
    first, second = (make_view(frame) for frame in burst.frames)
    true = random_motion(1200, 1600, 20.0, 2.0, np.random.default_rng(0))
    point = np.array([[700.0, 300.0]])
    for there, back, to_level in (
        (first.full_to_working, first.working_to_full, first.to_working),
        (first.full_to_coarse, first.coarse_to_full, scaling((1200, 1600), first.coarse.frame.size)),
    ):
        local = there(second, true)
        np.testing.assert_allclose(project(local, project(to_level, point)), project(to_level, project(true, point)))
        np.testing.assert_allclose(back(second, local), true / true[2, 2], atol=1e-9)


def test_warped_windows_are_crops_of_the_warped_picture():
    burst, _ = make_burst(120, 160, 11)
    view = make_view(burst.frames[1])
    H = random_motion(120, 160, 6.0, 2.0, np.random.default_rng(1))
    corners = np.array([[30, 40], [96, 0], [-3, 56]])
    logs, masks = read_windows(view, corners, 64, H)
    code = view.frame.codes.max(axis=2) / 255
    light = np.where(code >= CLIP_CODE_SHARE, 0, np.log2(srgb_to_linear(code) + LOG_FLOOR))
    picture = warp(light.astype(np.float32), H, (160, 120))
    shown = warp_mask(np.full_like(view.valid, 255), H, (160, 120))
    for (x, y), log, mask in zip(corners, logs, masks, strict=True):
        at = np.s_[y : y + 64, max(x, 0) : x + 64]
        inside = mask[:, max(-x, 0) :] > 0
        assert np.mean(inside == (shown[at] > 0)) > 0.999  # OpenCV rounds coordinates to a 32nd of a pixel
        difference = np.abs(log[:, max(-x, 0) :] - picture[at])[inside]
        assert difference.max() < 0.03


def test_windows_of_a_clip_mask_are_clipped():
    codes = np.full((64, 64, 3), 20_000, np.uint16)
    clipped = np.zeros((64, 64), bool)
    clipped[:, 40:] = True
    view = make_view(make_frame(codes, 0.0, 65535.0, encoding="linear", clipped=clipped))
    log, _ = read_windows(view, np.array([[30, 10]]), 20, translation(2.0, 0.0))
    assert np.all(log[0, :, 8:] == 0)
    assert np.all(log[0, :, :8] < view.ceiling)


def test_a_warped_mask_excludes_pixels_interpolated_across_its_border():
    mask = warp_mask(np.full((8, 10), 255, np.uint8), translation(0.5, 0), (10, 8))
    assert (mask[:, :9] == 255).all()
    assert (mask[:, 9] == 0).all()


def test_a_window_outside_the_frame_is_masked():
    view = make_view(make_frame(np.full((64, 64, 3), 90, np.uint8), 0.0))
    log, mask = read_windows(view, np.zeros((1, 2)), 20, translation(200, 0))
    assert log.shape == mask.shape == (1, 20, 20)
    assert not mask.any()


def test_what_lies_behind_the_camera_is_masked():
    view = make_view(make_frame(np.full((64, 64, 3), 90, np.uint8), 0.0))
    tilted = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [-1 / 16, 0.0, 1.0]])  # the depth is 0 at x = 16
    log, mask = read_windows(view, np.zeros((1, 2)), 40, tilted)
    assert np.isfinite(log).all()
    assert mask[0, :, 0].all()
    assert not mask[0, :, 16:].any()
