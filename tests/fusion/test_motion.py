"""Coarse motion: where a displacement is kept, and that windows are parts of the whole."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from smarthdr_cli.aligned_burst import Window
from smarthdr_cli.fusion.fuser import load_network
from smarthdr_cli.fusion.motion import PairMotion, coarse_motions
from smarthdr_cli.fusion.motion_refinement import CoarseMotion
from smarthdr_cli.fusion.tiles import cells_of
from smarthdr_cli.models.saf_layers import CELL, Motion, upsample
from tests.support import bursts

SIZE = (160, 192)
WHOLE = Window(0, 0, *SIZE)


def smooth_light(seed=3):
    small = bursts.texture(SIZE[0] // 4, SIZE[1] // 4, seed=seed)
    return cv2.resize(small, SIZE[::-1], interpolation=cv2.INTER_CUBIC).clip(0.02, 0.9)


def displacement(light, moved, flow=0.4):
    """Of a frame one stop darker that shows ``moved``, by a network that predicts motion everywhere."""
    frames = [bursts.burst_of(x, (ev, ev + 1), 0).frames[0] for x, ev in ((moved, -1.0), (light, 0.0))]
    source = bursts.aligned(bursts.Burst(tuple(frames), 1))
    with torch.inference_mode():
        found = bursts.motion_of(bursts.random_network(flow=flow), source).displacement(WHOLE)
    return np.zeros((*SIZE, 2)) if found is None else found


def state_of(flow):
    """A state of the network with ``flow`` in its cells, and random logits and hidden channels."""
    generator = torch.Generator().manual_seed(1)
    logit, hidden = (torch.randn(1, channels, *flow.shape[-2:], generator=generator) for channels in (1, 4))
    return Motion(flow, logit, hidden)


@pytest.mark.parametrize("side", [4, 8, 16])
def test_the_state_of_a_window_is_part_of_that_of_the_whole(side):
    flow = torch.randn(1, 2, 8, 12, generator=torch.Generator().manual_seed(0))
    coarse = CoarseMotion(state_of(flow), torch.zeros(1, 2, 8 * side // CELL, 12 * side // CELL), side)
    whole = upsample(coarse.state, side // CELL)
    for window in (Window(0, 0, 16, 20), Window(12, 20, 8, 12), Window(16, 32, 8 * side - 16, 12 * side - 32)):
        part, at = coarse.state_in(window), (..., *cells_of(window))
        for name in ("flow", "logit", "hidden"):
            torch.testing.assert_close(getattr(part, name), getattr(whole, name)[at])


def test_a_static_textured_frame_does_not_move():
    """The network predicts wrong displacements; the frame agrees better without."""
    light = smooth_light()
    assert np.abs(displacement(light, light)).mean() < 0.1


def test_what_the_reference_clips_moves_as_its_surroundings_do():
    light = smooth_light()
    light[40:120, 60:140] = 1.5
    assert np.abs(displacement(light, light)[50:110, 70:130]).mean() < 0.1
    shift = np.roll(light, 6, axis=1)
    frames = [bursts.burst_of(x, (ev, ev + 1), 0).frames[0] for x, ev in ((shift, -1.0), (light, 0.0))]
    source = bursts.aligned(bursts.Burst(tuple(frames), 1))
    network = load_network(None, torch.device("cpu"), "fp32").model
    with torch.inference_mode():
        cells = {index: source.downsample(index, CELL) for index in (0, 1)}
        coarse = coarse_motions(network, cells, (1, 0), source.burst.evs, torch.device("cpu"), 1, lambda _: None)[1]
    clipped = coarse.flow[0, 0, 14:26, 19:31]
    assert abs(float(clipped.mean()) - 6) < 2


def test_the_displacement_of_a_window_is_part_of_the_whole():
    generator = torch.Generator().manual_seed(0)
    flow = torch.randn(1, 2, 26, 30, generator=generator) * 3
    motion = PairMotion(CoarseMotion(state_of(flow / CELL), flow, CELL))
    whole = motion.displacement(Window(0, 0, 104, 120))
    assert whole.shape == (104, 120, 2)
    for window in (Window(0, 0, 40, 48), Window(32, 40, 24, 36), Window(64, 80, 40, 40)):
        rows = slice(window.top, window.top + window.height)
        columns = slice(window.left, window.left + window.width)
        assert np.abs(motion.displacement(window) - whole[rows, columns]).max() < 1e-5


@pytest.mark.parametrize("length", [0.0, 0.1])
def test_displacements_in_the_dead_zone_are_none(length):
    flow = torch.full((1, 2, 26, 30), length)
    motion = PairMotion(CoarseMotion(state_of(flow / CELL), flow, CELL))
    assert motion.displacement(Window(0, 0, 104, 120)) is None
    moving = PairMotion(replace(motion.coarse, flow=flow + 3))
    assert moving.displacement(Window(0, 0, 104, 120)) is not None
