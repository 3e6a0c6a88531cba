"""The static merge, its sigma, and the difference of a result from it."""

import numpy as np
import pytest
import torch

from smarthdr_cli.fusion.border import blank, lowest_peak
from smarthdr_cli.fusion.static_merge import difference_from_classical, flag_clipped, spread, static_merge
from tests.support import bursts


def test_a_static_burst_keeps_its_radiance():
    light = bursts.texture(120, 150, low=0.02, high=3.5)
    source = bursts.aligned(bursts.burst_of(light, (-2.0, 0.0, 2.0), 1))
    plane = static_merge(source, 64)
    assert np.abs(plane.radiance / light - 1).max() < 1e-3
    assert plane.sigma.max() < 0.05


def test_tiles_equal_one_tile():
    source = bursts.aligned(bursts.burst_of(bursts.texture(101, 77, high=3.0), (-2.0, 0.0, 2.0), 1, bits=8))
    whole, tiled = static_merge(source, 0), static_merge(source, 32)
    assert np.abs(whole.radiance - tiled.radiance).max() < 1e-6
    assert np.abs(whole.sigma - tiled.sigma).max() < 1e-6


def test_where_every_frame_clips_the_result_is_the_short_clip_with_sigma_1():
    light = bursts.texture(60, 60, high=0.8)
    light[20:40, 20:40] = (5.0, 8.0, 40.0)
    plane = static_merge(bursts.aligned(bursts.burst_of(light, (-2.0, 0.0, 1.0), 1)), 0)
    assert np.allclose(plane.radiance[20:40, 20:40], 4.0)
    assert (plane.sigma[20:40, 20:40] == 1).all()
    assert (plane.sigma == 1).mean() == pytest.approx(400 / 3600)


def test_more_frames_than_the_network_takes():
    """17 frames over 15 stops, the noise of each averaged away."""
    rng = np.random.default_rng(0)
    light = bursts.texture(48, 64, low=0.01, high=2.0)
    evs = tuple(np.linspace(-9, 6, 17))
    frames = []
    for ev in evs:
        linear = np.clip(light * 2.0**ev, 0, 1)
        linear = np.clip(linear + rng.normal(0, 1, light.shape) * np.sqrt(linear / 6e4 + 1e-8), 0, 1)
        frames.append(bursts.frame(np.round(linear ** (1 / 2.2) * 65535).astype(np.uint16), ev))
    burst = bursts.Burst(tuple(frames), 9)
    gain = 2.0 ** burst.frames[9].exposure.ev
    plane = static_merge(bursts.aligned(burst), 0)
    assert np.abs(plane.radiance / gain / light - 1).mean() < 0.005
    assert np.isfinite(plane.sigma).all()


def test_a_strip_beyond_every_other_frame_is_the_reference():
    shift = np.array([[1.0, 0, 40.0], [0, 1, 0], [0, 0, 1]])
    light = bursts.texture(40, 100, high=0.9)
    burst = bursts.burst_of(light, (-1.0, 0.0, 1.0), 1)
    plane = static_merge(bursts.aligned(burst, homographies=[shift, np.eye(3), shift]), 0)
    assert np.abs(plane.radiance[:, 61:] / light[:, 61:] - 1).max() < 1e-3
    assert np.abs(plane.radiance[:, :59] / light[:, :59] - 1).max() > 0.1  # the homographies are wrong


def test_invalid_pixels_have_no_weight():
    frames = torch.full((1, 3, 3, 2, 2), 0.3)
    valid = torch.ones(1, 2, 1, 2, 2)
    valid[:, 0, :, 0] = 0
    out = blank(frames, valid)
    assert (out[:, 1, :, 0] == 1).all()
    assert (out[:, 1, :, 1] == 0.3).all()
    assert torch.equal(out[:, [0, 2]], frames[:, [0, 2]])


def test_sigma_grows_with_disagreement_and_covers_the_noise():
    rng = np.random.default_rng(1)
    light = np.full((64, 64, 3), 0.2, np.float32)
    frames = []
    for ev in (-2.0, 0.0, 2.0):
        linear = light * 2.0**ev
        linear = linear + rng.normal(0, 1, light.shape) * np.sqrt(linear / 1e4)
        frames.append(bursts.frame(np.clip(linear, 0, 1).astype(np.float32), ev))
    plane = static_merge(bursts.aligned(bursts.Burst(tuple(frames), 1)), 0)
    error = np.abs(bursts.mu(plane.radiance / 4) - bursts.mu(light / 4)).mean(axis=2)
    assert float((error < plane.sigma).mean()) > 0.5
    assert plane.sigma.mean() < 20 * error.mean()
    stack = torch.full((1, 2, 3, 1, 2), 0.2)
    stack[:, 1, :, :, 1] = 0.5
    merged = stack.mean(dim=1)
    sigma = spread(stack, torch.zeros(1, 2), torch.ones(1, 1, 1, 1, 2), merged, 1.0)
    assert sigma[..., 1] > 10 * sigma[..., 0]


@pytest.mark.parametrize("factor", [0.2, 0.5, 2.0])
def test_sigma_covers_a_ghost(factor):
    """The ghost of another moment is an error, however low the noise of its frame."""
    light, patch = bursts.texture(96, 128, low=0.02, high=0.3), (slice(30, 70), slice(40, 90))
    still = bursts.noisy(light, evs=(-3.0, 0.0, 3.0), well=10_000.0)
    moved = static_merge(bursts.aligned(bursts.with_changed_patch(still, 2, (30, 40, 40, 50), factor)), 0)
    error = np.abs(bursts.mu(moved.radiance / 8) - bursts.mu(light / 8)).mean(axis=2)
    assert (error < moved.sigma)[patch].mean() > 0.68
    assert moved.sigma[patch].mean() < 1.5 * error[patch].mean()
    seen = np.ones((96, 128), bool)
    seen[patch] = False
    np.testing.assert_array_equal(moved.sigma[seen], static_merge(bursts.aligned(still), 0).sigma[seen])


def test_a_static_burst_stays_calibrated():
    light = bursts.texture(96, 128, low=0.002, high=3.0)
    plane = static_merge(bursts.aligned(bursts.noisy(light, well=10_000.0)), 0)
    error = np.abs(bursts.mu(plane.radiance / 4) - bursts.mu(light / 4)).mean(axis=2)
    for part in np.array_split(np.argsort(plane.sigma, axis=None), 10):
        assert 0.55 < (error < plane.sigma).ravel()[part].mean() < 0.95


@pytest.mark.parametrize(("before", "error"), [(0.5, True), (0.9, True), (1.5, False), (3.0, False)])
def test_a_clipped_reference_bounds_the_light_from_below(before, error):
    """The frame that is not clipped shows what was there at its own moment: darker than a clipped reference allows?"""
    frames = [bursts.frame(np.full((8, 8, 3), value, np.float32), ev) for value, ev in ((before / 4, -2.0), (1.0, 0.0))]
    sigma = static_merge(bursts.aligned(bursts.Burst(tuple(frames), 1)), 0).sigma
    expected = bursts.mu(1 / 4) - bursts.mu(before / 4) if error else 0.0
    assert sigma.mean() == pytest.approx(expected, abs=0.004)


def test_a_coloured_highlight_that_clips_in_all_channels_is_no_ghost():
    """RAW frames read 1 in all channels where one is clipped."""
    lamp = np.broadcast_to(np.array([3.0, 0.4, 0.2], np.float32), (8, 8, 3))
    clipped = bursts.frame(lamp.clip(0, 1), 0.0, clipped=np.ones((8, 8), bool))
    plane = static_merge(bursts.aligned(bursts.Burst((bursts.frame(lamp / 4, -2.0), clipped), 1)), 0)
    np.testing.assert_allclose(plane.radiance, lamp, rtol=1e-4)
    assert plane.sigma.max() < 0.004


def test_sigma_is_1_where_the_result_or_every_frame_clips():
    sigma, light = torch.full((1, 1, 1, 3), 0.1), torch.tensor([0.5, 3.99, 0.9]).view(1, 1, 1, 3).expand(1, 3, 1, 3)
    assert flag_clipped(sigma, light, 0.25).flatten().tolist() == pytest.approx([0.1, 1, 0.1])
    frames = torch.full((1, 2, 3, 1, 3), 0.4)
    frames[:, :, 1, :, 2] = 1.0  # one channel is enough
    assert flag_clipped(sigma, light, 0.25, lowest_peak(frames)).flatten().tolist() == pytest.approx([0.1, 1, 1])


def test_the_difference_from_classical_is_in_the_mu_law_domain():
    a = np.full((10, 10, 3), 0.2, np.float32)
    b = a.copy()
    assert difference_from_classical(a, b, 0.25).to_dict() == {
        "changed_share": 0.0,
        "mean_change": 0.0,
        "largest_change": 0.0,
    }
    b[:2, :5] = 0.4
    b[5, 5] = 0.201  # too little to count
    guard = difference_from_classical(a, b, 0.25)
    gap = bursts.mu(0.1) - bursts.mu(0.05)
    assert guard.changed == pytest.approx(0.1)
    assert guard.mean == pytest.approx(gap, rel=1e-4)
    assert guard.largest == pytest.approx(gap, rel=1e-4)
