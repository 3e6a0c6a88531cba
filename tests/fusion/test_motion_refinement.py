"""Displacement to single pixels: which places are searched, what is found there, and that no seams are left."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from smarthdr_cli.aligned_burst import Window
from smarthdr_cli.fusion.motion import PairMotion
from smarthdr_cli.fusion.motion_refinement import (
    UNIQUENESS_MARGIN,
    CoarseMotion,
    FlowRefinement,
    RefinementConfig,
    refine_motion,
    refined_share,
    uniquely_mapped,
    worst_windows,
)
from smarthdr_cli.models.saf_layers import Motion
from tests.support import bursts

EVERYWHERE = RefinementConfig(threshold=-1.0, missed=-1.0)


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


def refined(source, side=4, shift=(0.0, 0.0), config=EVERYWHERE):
    """All of the darker frame of ``source``, from a coarse motion that is ``shift`` px everywhere, on cells of ``side``
    px.
    """
    height, width = (-(-length // side) for length in source.burst.size)
    flow = torch.tensor(shift).view(1, 2, 1, 1).expand(1, 2, height, width) / side
    state = Motion(flow, torch.ones(1, 1, height, width), torch.zeros(1, 4, height, width))
    cells = torch.tensor(shift).view(1, 2, 1, 1).expand(1, 2, height * side // 4, width * side // 4)
    everywhere = np.ones((height * side // 4, width * side // 4), np.float32)
    motion = CoarseMotion(state, cells.clone(), side)
    return PairMotion(motion, refine_motion(source, 0, motion, -1.0, everywhere, everywhere, 1, config))


@pytest.mark.parametrize(
    ("side", "shift", "within"), [(4, (3.0, -2.0), 0.1), (4, (1.6, 0.7), 0.1), (16, (3.0, -2.0), 0.3)]
)
def test_the_displacement_of_a_rectangle_is_found(side, shift, within):
    """The oracle is the shift itself; coarse cells say that nothing moves."""
    found = refined(shifted_source(160, 192, shift, only=(40, 48, 80, 96)), side)
    flow = found.displacement(Window(0, 0, 160, 192))
    inner = flow[56:104, 64:128]
    assert np.abs(np.median(inner, axis=(0, 1)) - shift).max() < within
    assert np.percentile(np.abs(inner - shift), 90) < 3 * within
    assert not flow[:20].any()


def test_the_search_begins_at_the_coarse_displacement():
    """A shift by half of the picture is beyond what it would find by itself."""
    source = shifted_source(128, 160, (60.0, 0.0))
    inner = np.s_[32:96, 16:80]
    flow = refined(source, shift=(58.5, 0.5)).displacement(Window(0, 0, 128, 160))[inner]
    assert np.abs(np.median(flow, axis=(0, 1)) - (60, 0)).max() < 0.2


def test_what_a_frame_hides_is_not_found_far_aside():
    """Two windows in a wall; in the darker frame something is before the left one. Its place does not show the right
    one, which the search finds for half of it.
    """
    wall = cv2.GaussianBlur(bursts.texture(128, 160, seed=3).clip(0.02, 0.3), (0, 0), 2)
    left, right = np.s_[40:88, 48:62], np.s_[40:88, 70:84]
    light, hidden = wall.copy(), wall.copy()
    light[left] = light[right] = hidden[right] = 0.9
    hidden[left] = 0.05
    frames = [bursts.burst_of(picture, (ev, ev + 1), 0).frames[0] for picture, ev in ((hidden, -1.0), (light, 0.0))]
    flow = refined(bursts.aligned(bursts.Burst(tuple(frames), 1))).displacement(Window(0, 0, 128, 160))
    assert (np.linalg.norm(flow[left], axis=2) > 12).mean() < 0.02
    assert not flow[right].any()


@given(st.integers(0, 1_000_000), st.integers(1, 9), st.integers(1, 9), st.floats(0, 5))
def test_uniqueness_by_a_slow_twin(seed, height, width, reach):
    rng = np.random.default_rng(seed)
    difference = rng.uniform(0, 4 * UNIQUENESS_MARGIN, (height, width)).astype(np.float32)
    flow = rng.normal(0, reach, (2, height, width)).astype(np.float32)
    expected = np.ones((height, width), bool)
    places = {
        (y, x): (min(max(round(y + float(flow[1, y, x])), 0), height - 1),
                 min(max(round(x + float(flow[0, y, x])), 0), width - 1))
        for y in range(height) for x in range(width)
    }  # fmt: skip
    for place, target in places.items():
        rivals = [p for p, t in places.items() if max(abs(t[0] - target[0]), abs(t[1] - target[1])) <= 1]
        expected[place] = difference[place] <= min(difference[p] for p in rivals) + np.float32(UNIQUENESS_MARGIN)
    assert np.array_equal(uniquely_mapped(difference, flow), expected)


def test_the_same_whatever_the_number_of_threads():
    source = shifted_source(160, 192)
    before, flows = cv2.getNumThreads(), []
    try:
        for threads in (1, 2, 4):
            cv2.setNumThreads(threads)
            flows.append(refined(source).displacement(Window(0, 0, 160, 192)))
    finally:
        cv2.setNumThreads(before)
    assert np.array_equal(flows[0], flows[1])
    assert np.array_equal(flows[0], flows[2])


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
    rng = np.random.default_rng(0)
    places = (Window(0, 0, 32, 40), Window(40, 64, 24, 32), Window(64, 64, 32, 32))
    found = FlowRefinement(
        tuple((w, rng.normal(size=(2, w.height, w.width)).astype(np.float16)) for w in places)
    )  # fmt: skip
    whole = found.within(Window(0, 0, 96, 96))
    assert np.array_equal(whole[:, 40:64, 64:], found.parts[1][1])
    assert not whole[:, :32, 40:].any()
    for window in (Window(4, 8, 40, 60), Window(60, 50, 36, 46), Window(88, 80, 8, 16)):
        rows = slice(window.top, window.top + window.height)
        columns = slice(window.left, window.left + window.width)
        assert np.array_equal(found.within(window), whole[:, rows, columns])
    assert found.within(Window(0, 40, 24, 20)) is None


def test_windows_join_without_a_seam():
    """The displacement of windows, each searched with its surroundings, is nearly that of one window."""
    source = shifted_source(160, 192)
    whole, cut = (refined(source, config=replace(EVERYWHERE, largest=largest)) for largest in (1024, 96))
    assert len(whole.refinement.parts) == 1
    assert len(cut.refinement.parts) == 4
    one, four = (found.displacement(Window(0, 0, 160, 192)) for found in (whole, cut))
    assert np.percentile(np.abs(one - four)[16:-16, 16:-16], 99) < 0.15


def test_tiles_equal_the_whole():
    source = shifted_source(200, 280, only=(40, 190, 90, 80))  # across the border of two blocks
    model = bursts.random_network(flow=0.1)
    whole, tiled = (bursts.fused(model, source, size).image.radiance for size in (0, 128))
    assert np.abs(bursts.mu(whole / 2) - bursts.mu(tiled / 2)).max() <= 1e-3


@pytest.mark.parametrize("size", [(50, 50), (101, 77), (33, 500), (9, 8), (5, 3), (300, 270)])
def test_odd_and_tiny_sizes(size):
    light = bursts.texture(*size, high=1.6)
    frames = [
        bursts.burst_of(picture, (ev, ev + 1), 0).frames[0] for picture, ev in ((light[::-1], -1.0), (light, 1.5))
    ]
    source = bursts.aligned(bursts.Burst(tuple(frames), 1))
    plane = bursts.fused(bursts.random_network(flow=0.2), source, 128).image
    assert plane.radiance.shape == (*size, 3)
    assert np.isfinite(plane.radiance).all()


def test_nothing_is_searched_where_nothing_differs():
    still = bursts.aligned(bursts.burst_of(bursts.texture(96, 128, high=0.9), (-1.0, 0.0), 1))
    assert bursts.motion_of(bursts.random_network(flow=0.0), still).refinement is None


@pytest.mark.parametrize(("scale", "missed"), [(1.0, False), (0.1, True)])
def test_a_frame_is_refined_only_where_the_reference_alone_is_uncertain(scale, missed):
    """Something else in each frame, and no clipping: the longer one is missed only where light is scarce."""
    light = bursts.texture(128, 160, high=0.2) * np.float32(scale)
    still, other = (
        bursts.noisy(picture, (0.0, 2.0), well=1e4, seed=k) for k, picture in enumerate((light, light[::-1]))
    )
    source = bursts.aligned(bursts.Burst((still.frames[0], other.frames[1]), 0))
    found = bursts.motion_of(bursts.random_network(flow=0.0), source)
    assert (found.refinement is not None) == missed


def test_a_pair_that_moves_only_in_refined_windows():
    """A coarse displacement of 0 does not hide the refinement."""
    flat = torch.zeros(1, 2, 16, 16)
    found = FlowRefinement(((Window(0, 32, 32, 32), np.full((2, 32, 32), 3, np.float16)),))
    state = Motion(flat, torch.ones(1, 1, 16, 16), torch.zeros(1, 4, 16, 16))
    motion = PairMotion(CoarseMotion(state, flat, 4), found)
    moved = motion.displacement(Window(0, 0, 64, 64))
    assert (moved[:32, 32:] == 3).all()
    assert not moved[32:].any()
    assert motion.displacement(Window(32, 0, 32, 64)) is None
