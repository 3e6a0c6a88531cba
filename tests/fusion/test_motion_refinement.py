"""The finest motion levels: which places are refined, their displacement, and that no seams are left."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from smarthdr_cli.aligned_burst import Window
from smarthdr_cli.fusion.motion import PairMotion
from smarthdr_cli.fusion.motion_refinement import (
    CoarseMotion,
    FlowRefinement,
    RefinementConfig,
    finer_sides,
    refined_share,
    worst_windows,
)
from smarthdr_cli.models.saf_layers import LEVEL_RADIUS, Motion
from tests.support import bursts

FINEST = replace(bursts.SMALL, finest=1)
EVERYWHERE = RefinementConfig(threshold=-1.0, missed=-1.0, margin=LEVEL_RADIUS, moved=-1.0)
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
    [(4, 4, ()), (4, 2, (2,)), (4, 1, (2, 1)), (8, 1, (4, 2, 1)), (8, 4, (4,)), (16, 1, (8, 4)), (32, 1, (16, 8))],
)
def test_levels_below_the_last_one(side, finest, wanted):
    assert finer_sides(side, finest) == wanted


def test_the_pairs_of_a_burst_share_its_pixels():
    config = RefinementConfig(pixels=2e6, cells=4e5, cuda_cells=32e6)
    assert [config.max_pixels(1, pairs, CPU) for pairs in (1, 2, 8)] == [2e6, 1e6, 0.25e6]
    assert config.max_pixels(4, 1, CPU) == 6.4e6
    assert config.max_pixels(1, 2, torch.device("cuda")) == 16e6


def test_places_of_distrust_are_refined_with_what_surrounds_them():
    distrust = np.zeros((64, 96), np.float32)
    distrust[20:30, 40:60] = 1
    everywhere = np.ones_like(distrust)
    share = refined_share(distrust, everywhere, RefinementConfig(ring=4))
    assert (share[16:34, 36:64] > 0.6).all()
    assert not share[:12].any()
    assert not share[:, 72:].any()
    assert not refined_share(0.1 * distrust, everywhere).any()
    assert not refined_share(distrust, 0 * everywhere).any()  # nobody misses the frame
    distrust[:] = 0
    distrust[20:22, 40:42] = 1  # four cells are noise
    assert not refined_share(distrust, everywhere).any()


def test_of_too_much_distrust_the_worst_is_refined():
    distrust = np.full((64, 96), 0.5, np.float32)
    distrust[:8, 8:16] = 1
    cores = [Window(0, 0, 32, 32), Window(0, 32, 32, 32), Window(64, 0, 64, 64)]
    assert worst_windows(cores, distrust, 8, 48 * 48) == [cores[1]]
    assert worst_windows(cores, distrust, 8, 1e9) == [cores[1], cores[0], cores[2]]


def test_the_refinement_of_a_window_is_part_of_the_whole():
    generator = torch.Generator().manual_seed(0)
    places = (Window(0, 0, 32, 40), Window(40, 64, 24, 32), Window(64, 64, 32, 32))
    found = FlowRefinement(tuple((w, torch.randn(1, 2, w.height, w.width, generator=generator).half()) for w in places))
    whole = found.within(Window(0, 0, 96, 96))
    assert torch.equal(whole[..., 40:64, 64:], found.parts[1][1].float())
    assert not whole[..., :32, 40:].any()
    for window in (Window(4, 8, 40, 60), Window(60, 50, 36, 46), Window(88, 80, 8, 16)):
        rows = slice(window.top, window.top + window.height)
        columns = slice(window.left, window.left + window.width)
        assert torch.equal(found.within(window), whole[..., rows, columns])
    assert found.within(Window(0, 40, 24, 20)) is None


def test_windows_equal_one_window():
    """The displacement of windows, each computed with its surroundings, is that of the whole image."""
    source = shifted_source(160, 192)
    model = bursts.random_network(heads=0.0, flow=0.05, config=FINEST)
    window = Window(0, 0, 160, 192)
    with torch.inference_mode():
        whole = bursts.motion_of(model, source, EVERYWHERE).displacement(window)
        cut = bursts.motion_of(model, source, replace(EVERYWHERE, largest=48))
    assert len(cut.refinement.parts) == 4
    assert np.abs(cut.displacement(window) - whole).max() < 0.02  # half precision, and no more


def test_single_pixels_follow_only_where_cells_of_two_moved():
    """Without any, the displacement is that of a network whose last level has cells of 2 pixels."""
    source = shifted_source(160, 192)
    window = Window(0, 0, 160, 192)
    model, coarser = (
        bursts.random_network(heads=0.0, flow=0.05, config=replace(FINEST, finest=finest)) for finest in (1, 2)
    )
    nowhere = bursts.motion_of(model, source, replace(EVERYWHERE, moved=np.inf)).displacement(window)
    wanted = bursts.motion_of(coarser, source, EVERYWHERE).displacement(window)
    everywhere = bursts.motion_of(model, source, EVERYWHERE).displacement(window)
    assert np.array_equal(nowhere, wanted)
    assert np.abs(everywhere - wanted).max() > 0.1


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


def test_no_refinement_without_finer_levels_or_differences():
    source = shifted_source(96, 128)
    assert bursts.motion_of(bursts.random_network(), source).refinement is None
    still = bursts.aligned(bursts.burst_of(bursts.texture(96, 128, high=0.9), (-1.0, 0.0), 1))
    found = bursts.motion_of(bursts.random_network(flow=0.0, config=FINEST), still)
    assert found.refinement is None


@pytest.mark.parametrize(("scale", "missed"), [(1.0, False), (0.1, True)])
def test_a_frame_is_refined_only_where_the_reference_alone_is_uncertain(scale, missed):
    """Something else in each frame, and no clipping: the longer one is missed only where light is scarce."""
    light = bursts.texture(128, 160, high=0.2) * np.float32(scale)
    still, other = (
        bursts.noisy(picture, (0.0, 2.0), well=1e4, seed=k) for k, picture in enumerate((light, light[::-1]))
    )
    source = bursts.aligned(bursts.Burst((still.frames[0], other.frames[1]), 0))
    found = bursts.motion_of(bursts.random_network(flow=0.0, config=FINEST), source)
    assert (found.refinement is not None) == missed


def test_a_pair_that_moves_only_in_refined_windows():
    """A coarse displacement of 0 does not hide the refinement."""
    flat = torch.zeros(1, 2, 16, 16)
    found = FlowRefinement(((Window(0, 32, 32, 32), torch.full((1, 2, 32, 32), 3.0).half()),))
    state = Motion(flat, torch.ones(1, 1, 16, 16), torch.zeros(1, 4, 16, 16))
    motion = PairMotion(CoarseMotion(state, flat, 4), found)
    moved = motion.displacement(Window(0, 0, 64, 64))
    assert (moved[:32, 32:] == 3).all()
    assert not moved[32:].any()
    assert motion.displacement(Window(32, 0, 32, 64)) is None
