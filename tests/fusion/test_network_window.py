"""One window by the network, at full size and at means of 2x2 pixels."""

import numpy as np
import pytest
import torch

from smarthdr_cli.aligned_burst import Window
from smarthdr_cli.fusion.network_fusion import fit
from smarthdr_cli.fusion.network_window import SHARP_PIXELS, WindowNetwork, network_side
from tests.support import bursts

SIZE = (116, 140)  # no multiples of 8
WINDOW = Window(40, 40, 80, 104)


def answers(side):
    """Light and sigma of a window, of smooth detail with a patch that only the brightest frame shows."""
    scene = bursts.texture(*SIZE, seed=4, low=0.02, high=0.2)
    source = bursts.aligned(bursts.with_changed_patch(bursts.noisy(scene, well=50_000.0), 2, (60, 60, 24, 30), 3.0))
    fuser = bursts.saf_fuser(bursts.random_network(heads=0.0, flow=0.0))
    merger = fit(fuser, source, 1, False, lambda _share: None)
    network = WindowNetwork(fuser.model, torch.device("cpu"), None, merger, list(merger.motions), False, side)
    light, sigma, _ = network.fuse(WINDOW, WINDOW)
    return light, sigma, scene


def test_above_10_megapixels_the_network_sees_means_of_2x2():
    side = int(SHARP_PIXELS**0.5)
    assert network_side((side, side)) == 1
    assert network_side((side + 1, side + 1)) == 2


@pytest.mark.parametrize("side", [1, 2])
def test_the_merge_is_made_of_full_size_pixels(side):
    """Beside the patch the light is that of the scene, pixel by pixel, whatever the network sees."""
    light, sigma, scene = answers(side)
    assert light.shape == (80, 104, 3)
    assert ((sigma > 0) & (sigma <= 1)).all()
    beside = np.s_[8:16, 8:92]
    expected = scene[40:, 40:][beside]
    means = expected.reshape(4, 2, 42, 2, 3).mean((1, 3)).repeat(2, 0).repeat(2, 1)
    error = np.abs(light[beside] / expected - 1).mean()
    assert error < 0.04
    assert error < 0.5 * np.abs(means / expected - 1).mean()


def test_both_sizes_agree():
    (full, *_), (reduced, *_) = answers(1), answers(2)
    assert np.abs(bursts.mu(full / 4) - bursts.mu(reduced / 4))[:76, :100].mean() < 0.01
