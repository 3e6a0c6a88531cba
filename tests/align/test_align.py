"""Alignment of whole bursts against known homographies, and never worse than no alignment."""

import warnings

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smarthdr_cli.align import Alignment, align_burst
from smarthdr_cli.align.pyramid_view import translation
from smarthdr_cli.burst.burst import Burst
from tests.support.registration import (
    expose,
    grid_error,
    make_burst,
    make_frame,
    make_texture,
    random_motion,
    warp_cubic,
)


def errors(alignment, truth, size):
    """Pixels, of each frame."""
    return [grid_error(homography, true, size) for homography, true in zip(alignment.homographies, truth, strict=True)]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("curve", "noise"), [("gamma", 0.01), ("s", 0.01), ("gamma", 0.04)])
def test_shift_rotation_and_exposure_are_found_to_a_pixel(seed, curve, noise):
    burst, truth = make_burst(480, 720, seed, shift=20, degrees=3, curve=curve, noise=noise)
    alignment = align_burst(burst)
    assert alignment.moved == (True, False, True)
    assert max(errors(alignment, truth, burst.size)) < 1.0
    assert all(after < before for before, after in (alignment.scores[0], alignment.scores[2]))


@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_a_tripod_burst_keeps_the_identity(noise):
    burst, _ = make_burst(480, 720, 3, noise=noise)
    alignment = align_burst(burst)
    assert alignment.moved == (False, False, False)
    np.testing.assert_array_equal(alignment.homographies, np.tile(np.eye(3), (3, 1, 1)))
    assert all(before == after for before, after in alignment.scores)


def test_frames_far_from_the_reference_are_aligned_through_their_neighbours():
    burst, truth = make_burst(480, 720, 4, evs=(-6.0, -3.0, 0.0, 2.0), shift=12, degrees=1, moving=False)
    assert max(errors(align_burst(burst), truth, burst.size)) < 1.0


def test_a_frame_that_shares_too_little_with_the_reference_is_aligned_through_its_neighbour():
    burst, truth = make_burst(300, 400, 4, evs=(0.0, 3.5, 7.0), shift=12, degrees=1, moving=False)
    true = truth[2] @ np.linalg.inv(truth[0])
    alignment = align_burst(Burst(burst.frames, 0))
    assert alignment.moved == (False, True, True)
    assert grid_error(alignment.homographies[2], true, burst.size) < 2.0
    without_neighbour = align_burst(Burst((burst.frames[0], burst.frames[2]), 0))
    assert without_neighbour.moved == (False, False)


def test_texture_in_one_corner_gives_a_shift_without_perspective():
    rng = np.random.default_rng(16)
    height, width = 400, 600
    world = np.full((height + 40, width + 40), -3.0, np.float32)
    world[60:240, 60:240] = make_texture(180, 180, rng)
    frames = [
        make_frame(expose(world[y : y + height, x : x + width], ev, rng), ev)
        for ev, x, y in ((0.0, 20, 20), (1.5, 27, 16))
    ]
    alignment = align_burst(Burst(tuple(frames), 0))
    assert alignment.moved == (False, True)
    assert np.all(alignment.homographies[1][2, :2] == 0)
    assert grid_error(alignment.homographies[1], translation(-7, 4), (height, width)) < 1.0


def test_stated_exposures_are_not_needed():
    burst, truth = make_burst(480, 720, 5, shift=15, degrees=1)
    guessed = Burst(tuple(make_frame(f.codes, index) for index, f in enumerate(burst.frames)), burst.reference)
    assert max(errors(align_burst(guessed), truth, burst.size)) < 1.0


def test_linear_16_bit_frames_with_a_clip_mask_are_aligned():
    burst, truth = make_burst(400, 600, 6, evs=(-2.0, 0.0, 2.0), shift=10, degrees=1, noise=0.003)
    frames = []
    for frame in burst.frames:
        codes = np.rint((frame.codes / 255.0) ** 2.2 * 16000).astype(np.uint16)
        clipped = np.any(frame.codes == 255, axis=2)
        frames.append(make_frame(codes, frame.exposure.ev, 16000.0, encoding="linear", kind="raw", clipped=clipped))
    alignment = align_burst(Burst(tuple(frames), burst.reference))
    assert max(errors(alignment, truth, burst.size)) < 1.0


def test_mode_none_and_frames_too_small_give_the_identity():
    burst, _ = make_burst(200, 300, 8, shift=9)
    tiny = Burst(tuple(make_frame(f.codes[:32, :32], f.exposure.ev) for f in burst.frames), 1)
    for alignment in (align_burst(burst, mode="none"), align_burst(tiny)):
        assert alignment.moved == (False,) * 3
        np.testing.assert_array_equal(alignment.homographies, np.tile(np.eye(3), (3, 1, 1)))


@pytest.mark.parametrize("kind", ["black", "white", "flat", "stripes", "noise", "half noise"])
def test_scenes_without_structure_keep_the_identity(kind):
    rng = np.random.default_rng(9)
    y, x = np.mgrid[:120, :160]
    constant = {"black": 0 * x, "white": 0 * x + 255, "flat": 0 * x + 90, "stripes": 60 + 60 * (x // 8 % 2)}
    frames = []
    for ev in (0.0, 2.0):
        grey = constant.get(kind, rng.integers(0, 255, x.shape) * (1 if kind == "noise" else y < 60))
        frames.append(make_frame(np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2), ev))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alignment = align_burst(Burst(tuple(frames), 0))
    np.testing.assert_array_equal(alignment.homographies, np.tile(np.eye(3), (2, 1, 1)))


@settings(max_examples=12, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    shift=st.sampled_from([0.0, 0.3, 2.0, 9.0]),
    degrees=st.sampled_from([0.0, 2.0]),
    share=st.sampled_from([0.0, 0.25, 0.6, 1.0]),
    ev=st.floats(0.5, 4.0),
    noise=st.sampled_from([0.005, 0.08]),
)
def test_never_worse_than_unaligned(seed, shift, degrees, share, ev, noise):
    """Of the noise-free scenes, whatever the ``share`` of the picture that moves by itself."""
    rng = np.random.default_rng(seed)
    height, width, pad = 160, 200, 24
    world, other = (make_texture(height + 2 * pad, width + 2 * pad, rng) for _ in range(2))
    true = random_motion(height, width, shift, degrees, rng)
    second = warp_cubic(world, translation(pad, pad) @ np.linalg.inv(true), (height, width))
    first = world[pad : pad + height, pad : pad + width].copy()
    rows = int(share * height)
    second[:rows] = other[5 : rows + 5, 9 : width + 9]
    first[:rows] = other[:rows, :width]
    frames = (make_frame(expose(first, 0.0, rng, noise), 0.0), make_frame(expose(second, ev, rng, noise, "s"), ev))

    def misfit(homography):
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        warped = cv2.warpPerspective(second, homography, (width, height), flags=flags, borderValue=float("nan"))
        return np.nanmedian(np.abs(warped - first))

    assert misfit(align_burst(Burst(frames, 0)).homographies[1]) <= misfit(np.eye(3)) + 0.02


@pytest.mark.slow
def test_24_megapixels_100_pixels_3_degrees_3_ev():
    burst, truth = make_burst(4000, 6000, 14, shift=100, degrees=3)
    assert max(errors(align_burst(burst), truth, burst.size)) < 1.0


def test_the_identity_alignment_moves_nothing():
    alignment = Alignment.identity(3)
    assert alignment.homographies.shape == (3, 3, 3)
    assert (alignment.homographies == np.eye(3)).all()
    assert alignment.moved == (False, False, False)


def test_an_alignment_is_reordered_with_its_frames():
    homographies = np.stack([translation(n, 0) for n in range(3)])
    alignment = Alignment(homographies, (True, False, True), ((1.0, 0.5), (0.0, 0.0), (2.0, 0.5)))
    reordered = alignment.reordered([2, 0, 1])
    assert reordered.homographies[:, 0, 2].tolist() == [2, 0, 1]
    assert reordered.moved == (True, True, False)
    assert reordered.scores == ((2.0, 0.5), (1.0, 0.5), (0.0, 0.0))
    assert Alignment(homographies, (True, False, True)).reordered([2, 0, 1]).scores == ()
