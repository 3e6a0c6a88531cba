"""Fusion by gfhdr: the network's output within the bounds of the reference, and tiles that blend."""

import math

import numpy as np
import pytest
import torch

from smarthdr_cli.errors import MemoryLimitError
from smarthdr_cli.fusion.gfhdr_fusion import (
    BYTES_PER_PIXEL,
    FIXED_BYTES,
    MAX_TILE,
    OVERLAP,
    GFHDRFuser,
    blend_weight,
    clamp_to_reference_frame,
    fuse_three,
    tile_within,
)
from smarthdr_cli.fusion.result import FuserRecord
from smarthdr_cli.fusion.tiles import MIN_TILE, tile_grid, to_tensor
from smarthdr_cli.models.gfhdr import GFHDR, GFHDRConfig, pack_frames
from smarthdr_cli.models.merge import clamp_to_reference_strict
from tests.support import bursts

SMALL = GFHDRConfig(dim=12, blocks=1, depth=2, heads=3, window=4, squeeze=4)
EVS = (-2.0, 0.0, 2.0)


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return GFHDR(SMALL).eval()


def run(network, source, size=0):
    shares = []
    record = FuserRecord({"name": "test", "network": "gfhdr", "sha256": "0" * 64}, "cpu", "fp32")
    fuser = GFHDRFuser(network, torch.device("cpu"), torch.float32, None, record)
    image = fuse_three(fuser, source, (0, 1, 2), size, shares.append)
    assert shares[-1] == pytest.approx(1.0)
    assert shares == sorted(shares)
    return image


def test_one_tile_is_the_output_of_the_network_within_the_bounds_of_the_reference(network):
    source = bursts.aligned(bursts.burst_of(bursts.texture(64, 80, high=2.0), EVS, 1))
    image = run(network, source)
    frames = torch.stack([to_tensor(source.downsample(i, 1)) for i in range(3)], dim=1)
    with torch.inference_mode():
        out = network.predict(pack_frames(frames, torch.tensor([EVS])))
    raw = out.radiance * 4
    wanted = clamp_to_reference_strict(raw, frames[:, 1])
    assert (raw - wanted).abs().mean() > 0.05  # an untrained network is far off
    np.testing.assert_allclose(to_tensor(image.radiance), wanted, atol=1e-4)
    assert image.sigma.shape == (64, 80)


def test_tiles_blend_and_cover_the_image(network):
    source = bursts.aligned(bursts.burst_of(bursts.texture(150, 203, high=2.0), EVS, 1))
    whole, tiled = run(network, source), run(network, source, 96)
    assert np.abs(whole.radiance - tiled.radiance).mean() < 1e-2  # attention pools over the tile
    assert np.isfinite(tiled.radiance).all()
    assert ((tiled.sigma > 0) & (tiled.sigma <= 1)).all()


def test_blend_weights_fall_only_where_tiles_overlap():
    for tile in tile_grid(200, 300, 96, margin=OVERLAP):
        weight = blend_weight(tile, 200, 300)[..., 0]
        assert weight.max() <= 1
        assert weight.min() > 0
        if tile.window.top == 0 and tile.window.left == 0:
            assert weight[0, 0] == 1
            assert weight[-1, 0] < 0.05


def test_a_tile_with_its_overlap_fits_the_available_memory():
    assert tile_within(0, math.inf, 10**8) == 0
    assert tile_within(4096, math.inf, 10**8) == MAX_TILE
    assert tile_within(256, math.inf, 10**8) == 256
    for spare in (8e8, 1e9, 1.4e9):
        side = tile_within(4096, spare, 10**8)
        assert MIN_TILE <= side < MAX_TILE
        assert FIXED_BYTES + (side + 2 * OVERLAP) ** 2 * BYTES_PER_PIXEL <= spare
    for spare in (6.5e8, 0.0, -1e9):
        with pytest.raises(MemoryLimitError, match="max-memory"):
            tile_within(4096, spare, 10**8)
    assert tile_within(0, 2e9, 10**5) == 0
    with pytest.raises(MemoryLimitError, match="36G under --tile 0"):
        tile_within(0, 2e9, 10**7)


def test_of_a_clipped_raw_pixel_only_the_brightest_channel_is_known():
    light = torch.tensor([0.2, 0.4, 0.8]).view(1, 3, 1, 1).expand(1, 3, 1, 3).clone()
    light[..., 2] *= 3
    seen = torch.ones_like(light)
    seen[..., 0] = 0.5
    codes = np.zeros((1, 3, 3), np.uint16)
    raw = clamp_to_reference_frame(light, seen, bursts.frame(codes, 0.0, clipped=np.array([[False, True, True]])))
    torch.testing.assert_close(raw[..., 0], clamp_to_reference_strict(light, seen)[..., 0])
    torch.testing.assert_close(raw[0, :, 0, 1], torch.tensor([0.25, 0.5, 1.0]))  # the hue is kept
    assert torch.equal(raw[..., 2], light[..., 2])
    developed = clamp_to_reference_frame(light, seen, bursts.frame(codes, 0.0))
    assert (developed[0, :, 0, 1] > 0.98).all()
