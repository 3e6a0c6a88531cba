"""What noise is taken to be where no two frames tell, against noise of known size."""

import numpy as np
import pytest
import torch

from smarthdr_cli.aligned_burst import Window
from smarthdr_cli.fusion.network_fusion import fuse_members
from smarthdr_cli.fusion.noise import noise_floor, parts, solved
from smarthdr_cli.fusion.static_merge import reference_first
from smarthdr_cli.fusion.usual import ACROSS, SIDE, _windows, usual_noise
from smarthdr_cli.models.merge import merge
from smarthdr_cli.models.uncertainty_calibration import Calibration
from tests.support import bursts

SIZE = (160, 192)
WELL, READ = 3000.0, 6.0  # electrons
EVS = (-2.0, 0.0, 2.0)


def noisy(light, evs=EVS, well=WELL, read=READ, seed=0):
    """A burst of 16 bits as a camera of that full well and read noise sees it."""
    draw = np.random.default_rng(seed)
    frames = []
    for ev in evs:
        exposed = light * 2.0**ev
        seen = exposed + np.sqrt(exposed / well + (read / well) ** 2) * draw.standard_normal(light.shape)
        frames.append(bursts.frame(np.round(np.clip(seen, 0, 1) ** (1 / 2.2) * 65535).astype(np.uint16), ev))
    return bursts.aligned(bursts.Burst(tuple(frames), len(evs) // 2))


def at(source):
    return reference_first(source, tuple(range(len(source.burst))))


@pytest.mark.parametrize(("low", "high"), [(0.02, 0.2), (0.02, 0.9), (0.1, 0.11)])
def test_it_is_the_cameras_noise(low, high):
    source = noisy(bursts.texture(*SIZE, low=low, high=high))
    photons, _ = solved(usual_noise(source, *at(source)))
    assert float(photons) == pytest.approx(1 / WELL, rel=0.1)


@pytest.mark.parametrize("level", [0.0, 0.05])
def test_a_flat_bar_does_not_say_that_there_is_none(level):
    source = noisy(bursts.texture(*SIZE, low=0.02, high=0.2))
    for frame, ev in zip(source.burst.frames, EVS, strict=True):
        frame.codes[:40] = round((level * 2.0**ev) ** (1 / 2.2) * 65535)
    photons, _ = solved(usual_noise(source, *at(source)))
    assert float(photons) == pytest.approx(1 / WELL, rel=0.1)


def test_what_moved_hardly_counts():
    light = bursts.texture(*SIZE, low=0.02, high=0.2)
    still, moved = noisy(light), noisy(light)
    moved.burst.frames[2].codes[20:100, 20:100] = np.random.default_rng(1).integers(0, 40000, (80, 80, 3))
    one, other = (float(solved(usual_noise(source, *at(source)))[0]) for source in (still, moved))
    assert other == pytest.approx(one, rel=0.2)


def test_frames_that_share_nothing_tell_nothing():
    source = noisy(np.full((*SIZE, 3), 0.9, np.float32), (-2.0, 2.0))  # the longer one is clipped everywhere
    assert usual_noise(source, *at(source)) is None


@pytest.mark.parametrize("size", [(8, 8), (40, 300), (63, 64), (1000, 700)])
def test_windows_lie_inside_and_reach_both_ends(size):
    windows = list(_windows(size))
    assert 1 <= len(windows) <= ACROSS**2
    for w in windows:
        assert w.top % 4 == w.left % 4 == w.height % 4 == w.width % 4 == 0
        assert w.top + w.height <= size[0]
        assert w.left + w.width <= size[1]
        assert max(w.height, w.width) <= SIDE
    assert min(w.top for w in windows) == min(w.left for w in windows) == 0
    assert max(w.top + w.height for w in windows) > size[0] - 4
    assert max(w.left + w.width for w in windows) > size[1] - 4


def test_a_floor_has_no_hole_where_one_frame_alone_shows_a_place():
    """A sky that clips in one channel of all but the shortest frame."""
    light = bursts.texture(*SIZE, low=0.1, high=0.3)
    light[:, 96:] += [0.5, 0.6, 0.9]
    source = noisy(light)
    indices, evs = at(source)
    whole = Window(0, 0, *SIZE)
    frames = torch.stack([torch.tensor(source.read(i, whole)[0]).permute(2, 0, 1) for i in indices])[None]
    trust = torch.ones(1, 2, 1, *SIZE)
    merged, _ = merge(frames, evs, trust)
    scale = 2.0 ** float(evs.min())
    each = parts(frames, evs, trust)
    without = noise_floor(frames, evs, trust, merged, scale, each)
    usual = usual_noise(source, indices, evs)
    floor = noise_floor(frames, evs, trust, merged, scale, each, usual)
    assert float(without[..., 120:].max()) == 0
    truth = torch.tensor(light).permute(2, 0, 1)[None]
    error = bursts.mu((merged * scale).numpy()) - bursts.mu((truth * scale).numpy())
    below = np.abs(error).mean(axis=1) < floor[:, 0].numpy()
    assert 0.58 < below[..., 120:].mean() < 0.78
    assert torch.equal(floor[..., :64], without[..., :64])  # where frames tell, nothing changes


def test_sigma_has_it_too():
    light = bursts.texture(*SIZE, low=0.1, high=0.3)
    light[:, 96:, 2] = 1.3
    sure = Calibration(raw=(1e-4, 1.0), calibrated=(1e-4, 1.1e-4))
    network = bursts.saf_fuser(bursts.random_network(heads=0.0, flow=0.0), calibration=sure)
    sigma = fuse_members(network, noisy(light), (0, 1, 2), (), 0, strong=False).image.sigma
    assert sigma[:, 120:].min() > 5e-4
