"""Block statistics of aligned frames."""

from dataclasses import replace

import numpy as np
import pytest

from smarthdr_cli.align import Alignment
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.response.samples import MAX_BLOCKS, sample_blocks
from tests.support.responses import CURVES, make_burst, make_frame, samples_of

pytestmark = pytest.mark.unit


def burst_of(*codes):
    return Burst(tuple(make_frame(c, ev, ev) for ev, c in enumerate(codes)), 0)


def test_blocks_have_the_mean_and_the_deviation_of_their_pixels():
    codes = np.random.default_rng(0).integers(40, 200, (30, 45, 3)).astype(np.uint8)
    samples = sample_blocks(burst_of(codes, codes), Alignment.identity(2), max_blocks=150)
    blocks = codes.reshape(10, 3, 15, 3, 3) / 255
    assert samples.grid == (10, 15)
    np.testing.assert_allclose(samples.code[0], blocks.mean((1, 3)).reshape(-1, 3), atol=1e-6)
    np.testing.assert_allclose(samples.spread[1], blocks.std((1, 3)).reshape(-1, 3), atol=1e-5)
    assert samples.valid.all()


def test_a_clipped_pixel_or_one_outside_the_frame_makes_its_block_invalid():
    codes = np.full((30, 45, 3), 120, np.uint8)
    clipped = codes.copy()
    clipped[4, 7, 2] = 255
    dark = codes.copy()
    dark[20:, :, 1] = 1
    shifted = Alignment(np.stack([np.eye(3), np.array([[1, 0, 5.0], [0, 1, 0], [0, 0, 1]])]), (False, True))
    valid = sample_blocks(burst_of(clipped, dark), shifted, max_blocks=150).valid.reshape(2, 10, 15, 3)
    assert not valid[0, 1, 2].any()  # one clipped channel makes all three invalid
    assert valid[0].sum() == valid[0].size - 3
    assert not valid[1, :, 13:].any()  # beyond the right edge of the second frame
    assert not valid[1, 7:, :, 1].any()
    assert valid[1, :6, :13].all()


def test_a_flow_leads_to_what_has_moved():
    codes = np.random.default_rng(0).integers(40, 200, (36, 48, 3)).astype(np.uint8)
    moved = codes.copy()
    moved[:, 24:] = np.roll(codes, 6, axis=0)[:, 24:]
    flow = np.zeros((9, 12, 2), np.float32)
    flow[:, 6:] = 0, 6
    samples = sample_blocks(burst_of(codes, moved), Alignment.identity(2), max_blocks=192, flows={1: flow})
    valid = samples.valid.all(axis=(0, 2))
    assert valid.mean() > 0.8
    np.testing.assert_allclose(samples.code[0, valid], samples.code[1, valid], atol=1e-6)


def test_the_number_of_blocks_does_not_grow_with_the_picture():
    codes = np.full((1500, 2000, 3), 90, np.uint8)
    samples = samples_of(burst_of(codes, codes))
    assert 0.9 * MAX_BLOCKS < samples.code.shape[1] <= MAX_BLOCKS


def test_pixels_of_the_clip_mask_are_invalid():
    codes = np.full((60, 90, 3), 30_000, np.uint16)
    mask = np.zeros((60, 90), bool)
    mask[:30] = True
    frames = (make_frame(codes, 0, clipped=mask), make_frame(codes, 1))
    valid = samples_of(Burst(frames, 0)).valid.reshape(2, 20, 30, 3)
    assert not valid[0, :10].any()
    assert valid[0, 10:].all()
    assert valid[1].all()


def test_a_subset_of_frames_is_what_would_be_sampled_of_them_alone():
    burst = make_burst(CURVES["contrast"])
    alone = samples_of(replace(burst, frames=burst.frames[1:], reference=0))
    subset = samples_of(burst).of_frames([1, 2])
    np.testing.assert_array_equal(subset.code, alone.code)
    np.testing.assert_array_equal(subset.spread, alone.spread)
    np.testing.assert_array_equal(subset.valid, alone.valid)
    assert subset.grid == alone.grid


def test_masked_blocks_are_invalid_and_the_others_as_before():
    samples = samples_of(make_burst(CURVES["contrast"]))
    blocks = np.arange(samples.code.shape[1]) % 3 == 0
    masked = samples.mask_blocks(blocks)
    np.testing.assert_array_equal(masked.valid[:, blocks], samples.valid[:, blocks])
    assert not masked.valid[:, ~blocks].any()
