"""The finest motion levels: which blocks are refined, their displacement, and that no seams are left."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from smarthdr_cli.aligned_burst import Window
from smarthdr_cli.fusion.motion import PairMotion
from smarthdr_cli.fusion.motion_refinement import (
    FlowRefinement,
    RefinementConfig,
    fade_weight,
    finer_sides,
    select_blocks,
)
from smarthdr_cli.models.saf_layers import CELL
from tests.support import bursts

FINEST = replace(bursts.SMALL, finest=1)
EVERY_BLOCK = RefinementConfig(min_distrust=-1.0)
CPU = torch.device("cpu")


def shifted_source(height, width, shift=(3.0, -2.0), only=None, evs=(-1.0, 0.0)):
    """Two exposures of smooth detail, the darker displaced by ``shift``, in the rectangle ``only`` or all over."""
    light = cv2.resize(bursts.texture(height // 4, width // 4, seed=3), (width, height), interpolation=cv2.INTER_CUBIC)
    light = light.clip(0.01, 0.9)
    moved = cv2.warpAffine(light, np.array([[1, 0, shift[0]], [0, 1, shift[1]]]), (width, height),
                           flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)  # fmt: skip
    if only is not None:
        y, x, h, w = only
        moved = np.where(
            np.pad(np.ones((h, w, 1)), ((y, height - y - h), (x, width - x - w), (0, 0))) > 0, moved, light
        )
    frames = [bursts.burst_of(picture.clip(0.01, 0.9), (ev, ev + 1), 0).frames[0]
              for picture, ev in zip((moved, light), evs, strict=True)]  # fmt: skip
    return bursts.aligned(bursts.Burst(tuple(frames), 1))


@pytest.mark.parametrize(
    ("side", "finest", "wanted"),
    [(4, 4, ()), (4, 2, (2,)), (4, 1, (2, 1)), (8, 1, (4,)), (8, 4, (4,)), (16, 1, (8,))],
)
def test_levels_below_the_last_one(side, finest, wanted):
    assert finer_sides(side, finest) == wanted


def test_the_pairs_of_a_burst_share_its_blocks():
    assert [RefinementConfig().max_blocks(1, pairs, CPU) for pairs in (1, 2, 8, 40)] == [32, 16, 4, 3]
    assert [RefinementConfig().max_blocks(4, pairs, CPU) for pairs in (1, 2, 8)] == [6, 3, 3]
    assert RefinementConfig().max_blocks(1, 2, torch.device("cuda")) == 256


def test_blocks_with_the_largest_distrust_come_first_and_others_are_left_out():
    distrust = torch.zeros(1, 1, 64, 96)
    for (row, column), width in {(0, 2): 16, (1, 0): 4, (1, 1): 32}.items():
        distrust[..., row * 32 : row * 32 + 32, column * 32 : column * 32 + width] = 1.0
    size = (64 * CELL, 96 * CELL)
    assert select_blocks(distrust, 32 * CELL, size, 8, 0.01) == [(1, 1), (0, 2), (1, 0)]
    assert select_blocks(distrust, 32 * CELL, size, 2, 0.01) == [(1, 1), (0, 2)]
    assert select_blocks(distrust, 32 * CELL, size, 8, 0.3) == [(1, 1), (0, 2)]
    assert select_blocks(distrust, 32 * CELL, (32 * CELL - 3, 96 * CELL), 8, 0.01) == [(0, 2)]  # padding does not count


def test_a_block_fades_towards_neighbours_without_refinement():
    block, width = 48, 16
    selected = [(0, 0), (0, 1), (1, 1)]
    weight = fade_weight((0, 1), selected, (2, 3), block, width)
    y, x = np.mgrid[0:block, 0:block] + 0.5
    steps = [block - x, np.maximum(x, block - y), np.maximum(block - x, block - y)]  # right, lower left, lower right
    slow = np.minimum.reduce([np.minimum(step / width, 1) for step in steps])
    np.testing.assert_allclose(weight.numpy(), slow, atol=1e-6)
    assert fade_weight((0, 0), [(0, 0)], (1, 1), block, width).min() == 1  # not towards the image's own edge


def test_the_refinement_of_a_window_is_part_of_the_whole():
    generator = torch.Generator().manual_seed(0)
    found = FlowRefinement(
        32, {at: torch.randn(1, 2, 32, 32, generator=generator).half() for at in ((0, 0), (1, 2), (2, 2))}
    )
    whole = found.within(Window(0, 0, 96, 96))
    assert torch.equal(whole[..., 32:64, 64:], found.blocks[1, 2].float())
    assert not whole[..., :32, 32:].any()
    for window in (Window(4, 8, 40, 60), Window(60, 50, 36, 46), Window(88, 80, 40, 40)):
        rows = slice(window.top, min(window.top + window.height, 96))
        columns = slice(window.left, min(window.left + window.width, 96))
        part = found.within(window)
        assert part.shape[-2:] == (window.height, window.width)
        inner = part[..., : rows.stop - rows.start, : columns.stop - columns.start]
        assert torch.equal(inner, whole[..., rows, columns])
    assert found.within(Window(0, 40, 24, 20)) is None


def test_blocks_equal_one_block():
    """The displacement of blocks, each computed with its surroundings, is that of the whole image."""
    source = shifted_source(160, 192)
    model = bursts.random_network(heads=0.0, flow=0.05, config=FINEST)
    window = Window(0, 0, 160, 192)
    with torch.inference_mode():
        whole = bursts.motion_of(model, source, EVERY_BLOCK).displacement(window)
        cut = bursts.motion_of(model, source, replace(EVERY_BLOCK, block_cells=64))
    assert len(cut.refinement.blocks) == 9
    assert np.abs(cut.displacement(window) - whole).max() < 0.02  # half precision, and no more


def test_tiles_equal_the_whole():
    source = shifted_source(200, 280, only=(40, 190, 90, 80))  # across the border of two blocks
    model = bursts.random_network(flow=0.1, config=FINEST)
    whole, tiled = (bursts.fused(model, source, size).image.radiance for size in (0, 128))
    assert np.abs(bursts.mu(whole / 2) - bursts.mu(tiled / 2)).max() <= 1e-3


@pytest.mark.parametrize("size", [(50, 50), (101, 77), (33, 500), (9, 8), (5, 3), (300, 270)])
def test_odd_and_tiny_sizes(size):
    light = bursts.texture(*size, high=1.6)
    frames = [
        bursts.burst_of(picture, (ev, ev + 1), 0).frames[0] for picture, ev in ((light[::-1], -1.0), (light, 1.5))
    ]
    source = bursts.aligned(bursts.Burst(tuple(frames), 1))
    plane = bursts.fused(bursts.random_network(flow=0.2, config=FINEST), source, 128).image
    assert plane.radiance.shape == (*size, 3)
    assert np.isfinite(plane.radiance).all()


def test_no_refinement_without_finer_levels_or_differing_blocks():
    source = shifted_source(96, 128)
    assert bursts.motion_of(bursts.random_network(), source).refinement is None
    still = bursts.aligned(bursts.burst_of(bursts.texture(96, 128, high=0.9), (-1.0, 0.0), 1))
    found = bursts.motion_of(bursts.random_network(flow=0.0, config=FINEST), still)
    assert found.refinement is None


def test_a_pair_that_moves_only_in_refined_blocks():
    """A coarse displacement of 0 does not hide the refinement."""
    flat = torch.zeros(1, 2, 16, 16)
    ones = torch.ones(1, 1, 16, 16)
    found = FlowRefinement(32, {(0, 1): torch.full((1, 2, 32, 32), 3.0).half()})
    motion = PairMotion(flat, ones, torch.zeros(1, 4, 16, 16), found)
    moved = motion.displacement(Window(0, 0, 64, 64))
    assert (moved[:32, 32:] == 3).all()
    assert not moved[32:].any()
    assert motion.displacement(Window(32, 0, 32, 64)) is None
