"""Fusion by gfhdr: physics where the frames agree, elsewhere the network within the bounds of the reference."""

import math

import numpy as np
import pytest
import torch

from smarthdr_cli.aligned_burst import Window
from smarthdr_cli.errors import MemoryLimitError
from smarthdr_cli.fusion.gfhdr_fusion import (
    BYTES_PER_PIXEL,
    FIXED_BYTES,
    MAX_TILE,
    OVERLAP,
    GFHDRFuser,
    clamp_to_reference_frame,
    fading_window,
    tile_within,
)
from smarthdr_cli.fusion.result import FuserRecord
from smarthdr_cli.fusion.tiles import MIN_TILE, to_tensor
from smarthdr_cli.models.gfhdr import GFHDR, GFHDRConfig, pack_frames
from smarthdr_cli.models.merge import clamp_to_reference_strict
from tests.support import bursts

SMALL = GFHDRConfig(dim=12, blocks=1, depth=2, heads=3, window=4, squeeze=4)
EVS = (-2.0, 0.0, 2.0)
CHANGED = (60, 80, 40, 48)  # top, left, height, width of what one frame shows otherwise


@pytest.fixture(scope="module")
def fuser():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = GFHDR(SMALL).eval()
    torch.nn.init.zeros_(network.backbone.conv_last.bias)  # half of the shortest frame's clip, twice the reference's
    record = FuserRecord({"name": "test", "network": "gfhdr", "sha256": "0" * 64}, "cpu", "fp32")
    return GFHDRFuser(network, torch.device("cpu"), torch.float32, None, record)


def moving(evs=EVS):
    """A burst whose reference clips in part; there a shorter frame shows something else."""
    light = bursts.texture(150, 203, high=0.8)
    light[50:120, 70:140] *= 4
    return bursts.with_changed_patch(bursts.burst_of(light, evs, 1), 0, CHANGED, 0.1)


def inside(image, margin=8):
    top, left, height, width = CHANGED
    return image[top + margin : top + height - margin, left + margin : left + width - margin]


def test_where_the_frames_agree_the_network_is_not_asked(fuser):
    light = bursts.texture(64, 80, high=0.9)
    shares = []
    source = bursts.aligned(bursts.burst_of(light, EVS, 1))
    fusion = bursts.fused(fuser, source, on_progress=shares.append)
    np.testing.assert_allclose(fusion.image.radiance, light, atol=2e-3)
    assert (fusion.statistics.network_share, fusion.statistics.convolved_megapixels) == (0, 0)
    assert shares[-1] == 1
    assert shares == sorted(shares)


def test_where_they_do_not_its_answer_stands_within_the_bounds_of_the_reference(fuser):
    source = bursts.aligned(moving())
    fusion = bursts.fused(fuser, source)
    statistics = fusion.statistics
    assert 0.02 < statistics.network_share < 0.5
    assert statistics.network_share * 150 * 203 / 1e6 < statistics.convolved_megapixels < 150 * 203 / 1e6
    window = Window(CHANGED[0] - OVERLAP, CHANGED[1] - OVERLAP, CHANGED[2] + 2 * OVERLAP, CHANGED[3] + 2 * OVERLAP)
    frames = torch.stack([to_tensor(source.read(i, window)[0]) for i in range(3)], dim=1)
    with torch.inference_mode():
        output = fuser.model.predict(pack_frames(frames, torch.tensor([EVS])))
    raw = output.radiance * 4
    wanted = clamp_to_reference_strict(raw, frames[:, 1])[0].permute(1, 2, 0).numpy()
    wanted = wanted[OVERLAP:-OVERLAP, OVERLAP:-OVERLAP][8:-8, 8:-8]
    assert np.abs(inside(fusion.image.radiance) - wanted).mean() < 0.02  # attention pools over the window
    static = bursts.static_merged(source)
    assert np.abs(inside(static.radiance) - wanted).mean() > 0.5


def test_adjoining_windows_give_nearly_what_one_does(fuser):
    light = bursts.texture(280, 300, high=0.8)
    light[20:260, 20:280] *= 4
    burst = bursts.with_changed_patch(bursts.burst_of(light, EVS, 1), 0, (30, 30, 220, 240), 0.1)
    source = bursts.aligned(burst)
    whole, tiled = (bursts.fused(fuser, source, tile) for tile in (0, 128))
    assert tiled.statistics.convolved_megapixels > whole.statistics.convolved_megapixels
    assert np.abs(whole.image.radiance - tiled.image.radiance).mean() < 1e-2
    assert np.isfinite(tiled.image.radiance).all()
    assert ((tiled.image.sigma > 0) & (tiled.image.sigma <= 1)).all()


def test_strong_deghosting_asks_the_network_more_often(fuser):
    burst = bursts.noisy(bursts.texture(96, 128, high=0.8))
    source = bursts.aligned(bursts.with_changed_patch(burst, 2, (20, 20, 48, 64), 1.12))
    trust = [bursts.fused(fuser, source, strong=strong).statistics.mean_trust for strong in (False, True)]
    assert trust[1] < trust[0]


def test_an_answer_fades_out_around_its_window():
    window, weight = fading_window(Window(100, 0, 48, 96), (400, 100))
    assert window == Window(100 - OVERLAP, 0, 48 + 2 * OVERLAP, 100)
    assert (weight[OVERLAP:-OVERLAP, :96] == 1).all()
    assert (np.diff(weight[:OVERLAP, 0]) > 0).all()
    assert weight.min() > 0
    assert weight[0].max() < 0.05


def test_tiles_with_their_surroundings_fit_the_available_memory():
    assert tile_within(0, math.inf, 10**8, 2) == 0
    assert tile_within(4096, math.inf, 10**8, 2) == MAX_TILE
    assert tile_within(256, math.inf, 10**8, 2) == 256
    for workers, spare in ((1, 8e8), (1, 1e9), (2, 1.4e9)):
        side = tile_within(4096, spare, 10**8, workers)
        assert MIN_TILE <= side < MAX_TILE
        assert FIXED_BYTES + workers * (side + 2 * OVERLAP) ** 2 * BYTES_PER_PIXEL <= spare
    for spare in (6.5e8, 0.0, -1e9):
        with pytest.raises(MemoryLimitError, match=r"max-memory .* 0.7G"):
            tile_within(4096, spare, 10**8, 1)
    assert tile_within(0, 2e9, 10**5, 2) == 0
    with pytest.raises(MemoryLimitError, match="36G under --tile 0"):
        tile_within(0, 2e9, 10**7, 2)


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
