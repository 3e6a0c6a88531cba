import numpy as np
from response_bursts import frame, make, srgb_encode

from smarthdr_cli.align import Alignment
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.response.samples import MAX_BLOCKS, draw


def burst_of(*codes):
    return Burst(tuple(frame(code, ev, ev) for ev, code in enumerate(codes)), 0)


def test_blocks_are_the_means_and_spreads_of_their_pixels():
    codes = np.random.default_rng(0).integers(40, 200, (30, 45, 3)).astype(np.uint8)
    samples = draw(burst_of(codes, codes), Alignment.identity(2), max_blocks=150)
    blocks = codes.reshape(10, 3, 15, 3, 3) / 255
    np.testing.assert_allclose(samples.code[0], blocks.mean((1, 3)).reshape(-1, 3), atol=1e-6)
    np.testing.assert_allclose(samples.spread[1], blocks.std((1, 3)).reshape(-1, 3), atol=1e-5)
    assert samples.good.all()


def test_one_clipped_or_unseen_pixel_spoils_its_block():
    codes = np.full((30, 45, 3), 120, np.uint8)
    bright = codes.copy()
    bright[4, 7, 2] = 255
    dark = codes.copy()
    dark[20:, :, 1] = 1
    shifted = Alignment(np.stack([np.eye(3), np.array([[1, 0, 5.0], [0, 1, 0], [0, 0, 1]])]), (False, True))
    good = draw(burst_of(bright, dark), shifted, max_blocks=150).good.reshape(2, 10, 15, 3)
    assert not good[0, 1, 2].any()  # clipped in blue: none of its channels is trusted
    assert good[0].sum() == good[0].size - 3
    assert not good[1, :, 13:].any()  # looks past the right edge
    assert not good[1, 7:, :, 1].any()
    assert good[1, :6, :13].all()


def test_the_number_of_blocks_does_not_grow_with_the_picture():
    codes = np.full((1500, 2000, 3), 90, np.uint8)
    samples = draw(burst_of(codes, codes), Alignment.identity(2))
    assert 0.9 * MAX_BLOCKS < samples.code.shape[1] <= MAX_BLOCKS


def test_camera_space_clipping_is_kept_out():
    burst = make(lambda x, c: srgb_encode(x), evs=(0, 1), bits=16)
    frames = list(burst.frames)
    mask = np.zeros(burst.size, bool)
    mask[: burst.size[0] // 2] = True
    object.__setattr__(frames[0], "clipped", mask)
    samples = draw(burst, Alignment.identity(2))
    half = samples.good.shape[1] // 2
    assert not samples.good[0, : half - 400].any()
    assert samples.good[0, half + 400 :].any()
    assert samples.good[1, : half - 400].any()
