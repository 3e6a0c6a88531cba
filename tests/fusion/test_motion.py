"""Displacements where the reference clips."""

import numpy as np
import torch

from smarthdr_cli.aligned_burst import Window
from smarthdr_cli.fusion.motion import matchable
from tests.support import bursts

SIZE = (160, 200)
WHOLE = Window(0, 0, *SIZE)


def displacement(ev, homography=None):
    """Of a frame ``ev`` from a reference whose right half clips, by a network that predicts motion everywhere."""
    light = bursts.texture(*SIZE, low=0.05, high=0.6)
    light[:, 100:] = 1.5 + bursts.texture(160, 100, seed=1)
    moved, still = (bursts.burst_of(x, (ev, 0.0), 1).frames for x in (np.roll(light, 24, axis=1), light))
    burst = bursts.Burst((moved[0], still[1]), 1)
    source = bursts.aligned(burst, homographies=[np.array(np.eye(3) if homography is None else homography), np.eye(3)])
    with torch.inference_mode():
        motion = bursts.motion_of(bursts.random_network(flow=0.4), source)
    return np.abs(motion.displacement(WHOLE)).max(axis=2)


def test_on_a_tripod_clipped_places_do_not_move():
    found = displacement(-2.0)
    assert found[:, 128:].max() == 0
    assert found[:, :80].mean() > 0.5


def test_with_a_moving_camera_clipped_places_take_the_network_displacement():
    turned = [[1.0, 0.0, 2.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0]]
    assert displacement(-2.0, turned)[:, 128:].mean() > 0.1


def test_only_windows_without_an_unclipped_cell_cannot_be_matched():
    ref = torch.full((1, 3, 20, 30), 0.5)
    ref[:, 0, :, 15:] = 0.9  # one channel is enough
    ref[..., 5, 5] = 1.0
    seen = matchable(ref, -torch.ones(1))
    assert seen[0, 0, :, :14].min() == 1
    assert seen[0, 0, :, 17:].max() == 0
    assert bool((seen[0, 0, 10].diff() <= 0).all())
    assert matchable(ref, torch.ones(1)).min() == 1  # a brighter frame clips there itself and has no weight
