"""Fusion by gfhdr: the network's own answer within the reference's bounds, tiles that fade into each other."""

import math

import fusion_bursts as made
import numpy as np
import pytest
import torch

from smarthdr_cli.errors import MemoryLimitError
from smarthdr_cli.fusion.gfhdr_fusion import (
    BYTES_PER_PIXEL,
    LARGEST,
    OVERLAP,
    SCRATCH,
    blend_weight,
    clamp_to_reference_frame,
    fuse_three,
    tile_within,
)
from smarthdr_cli.fusion.tiles import MIN_TILE, tile_grid, to_tensor
from smarthdr_cli.models.gfhdr import GFHDR, GFHDRConfig, pack_frames
from smarthdr_cli.models.merge import clamp_to_reference_strict

SMALL = GFHDRConfig(dim=12, blocks=1, depth=2, heads=3, window=4, squeeze=4)
EVS = (-2.0, 0.0, 2.0)


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return GFHDR(SMALL).eval()


def run(network, source, size=0):
    told = []
    outcome = fuse_three(network, torch.device("cpu"), torch.float32, None, source, (0, 1, 2), size, told.append)
    assert told[-1] == pytest.approx(1.0)
    assert told == sorted(told)
    return outcome


def test_the_whole_picture_is_what_the_network_says_within_what_the_reference_measured(network):
    source = made.source_of(made.burst_of(made.texture(64, 80, high=2.0), EVS, 1))
    outcome = run(network, source)
    frames = torch.stack([to_tensor(source.downsample(i, 1)) for i in range(3)], dim=1)
    with torch.inference_mode():
        out = network(pack_frames(frames, torch.tensor([EVS])))
    raw = out.radiance * 4
    wanted = clamp_to_reference_strict(raw, frames[:, 1])
    assert (raw - wanted).abs().mean() > 0.05  # an untrained network is far out
    np.testing.assert_allclose(to_tensor(outcome.plane.radiance), wanted, atol=1e-4)
    assert outcome.plane.sigma.shape == (64, 80)


def test_tiles_fade_into_each_other_and_cover_everything(network):
    source = made.source_of(made.burst_of(made.texture(150, 203, high=2.0), EVS, 1))
    whole, tiled = run(network, source), run(network, source, 96)
    assert np.abs(whole.plane.radiance - tiled.plane.radiance).mean() < 1e-2  # attention pools over what it sees
    assert np.isfinite(tiled.plane.radiance).all()
    assert ((tiled.plane.sigma > 0) & (tiled.plane.sigma <= 1)).all()


def test_ramps_fall_where_tiles_overlap_only():
    for tile in tile_grid(200, 300, 96, margin=OVERLAP):
        weight = blend_weight(tile, 200, 300)[..., 0]
        assert weight.max() <= 1
        assert weight.min() > 0
        if tile.window.top == 0 and tile.window.left == 0:
            assert weight[0, 0] == 1
            assert weight[-1, 0] < 0.05


def test_a_tile_with_its_margins_fits_into_what_is_spare():
    assert tile_within(0, math.inf, 10**8) == 0
    assert tile_within(4096, math.inf, 10**8) == LARGEST
    assert tile_within(256, math.inf, 10**8) == 256
    for spare in (8e8, 1e9, 1.4e9):
        side = tile_within(4096, spare, 10**8)
        assert MIN_TILE <= side < LARGEST
        assert SCRATCH + (side + 2 * OVERLAP) ** 2 * BYTES_PER_PIXEL <= spare
    for spare in (6.5e8, 0.0, -1e9):
        with pytest.raises(MemoryLimitError, match="max-memory"):
            tile_within(4096, spare, 10**8)
    assert tile_within(0, 2e9, 10**5) == 0
    with pytest.raises(MemoryLimitError, match="26G under --tile 0"):
        tile_within(0, 2e9, 10**7)


def test_of_a_clipped_raw_pixel_only_the_brightest_channel_is_known():
    light = torch.tensor([0.2, 0.4, 0.8]).view(1, 3, 1, 1).expand(1, 3, 1, 3).clone()
    light[..., 2] *= 3
    seen = torch.ones_like(light)
    seen[..., 0] = 0.5
    codes = np.zeros((1, 3, 3), np.uint16)
    raw = clamp_to_reference_frame(light, seen, made.frame(codes, 0.0, clipped=np.array([[False, True, True]])))
    torch.testing.assert_close(raw[..., 0], clamp_to_reference_strict(light, seen)[..., 0])
    torch.testing.assert_close(raw[0, :, 0, 1], torch.tensor([0.25, 0.5, 1.0]))  # its hue is kept
    assert torch.equal(raw[..., 2], light[..., 2])
    developed = clamp_to_reference_frame(light, seen, made.frame(codes, 0.0))
    assert (developed[0, :, 0, 1] > 0.98).all()
