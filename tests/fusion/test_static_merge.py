"""The static merge, its sigma, and the difference of a result from it."""

from dataclasses import replace

import numpy as np
import pytest

from smarthdr_cli.fusion.static_merge import difference_from_classical
from smarthdr_cli.radiometry import radiance_per_mu_law
from tests.support import bursts


def test_a_static_burst_keeps_its_radiance():
    light = bursts.texture(120, 150, low=0.02, high=3.5)
    image = bursts.static_merged(bursts.aligned(bursts.burst_of(light, (-2.0, 0.0, 2.0), 1)), 128)
    assert np.abs(image.radiance / light - 1).max() < 2e-3
    assert image.sigma.max() < 0.05


def test_tiles_equal_one_tile():
    source = bursts.aligned(bursts.burst_of(bursts.texture(101, 177, high=3.0), (-2.0, 0.0, 2.0), 1, bits=8))
    whole, tiled = bursts.static_merged(source), bursts.static_merged(source, 64)
    np.testing.assert_array_equal(whole.radiance, tiled.radiance)
    np.testing.assert_array_equal(whole.sigma, tiled.sigma)


def test_where_every_frame_clips_the_result_is_the_short_clip_with_sigma_1():
    light = bursts.texture(60, 60, high=0.8)
    light[20:40, 20:40] = (5.0, 8.0, 40.0)
    image = bursts.static_merged(bursts.aligned(bursts.burst_of(light, (-2.0, 0.0, 1.0), 1)))
    assert np.allclose(image.radiance[20:40, 20:40], 4.0)
    assert (image.sigma[20:40, 20:40] == 1).all()
    assert (image.sigma == 1).mean() == pytest.approx(400 / 3600)


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
    image = bursts.static_merged(bursts.aligned(burst))
    assert np.abs(image.radiance / gain / light - 1).mean() < 0.005
    assert np.isfinite(image.sigma).all()


def test_the_error_of_the_curve_is_part_of_sigma():
    light = bursts.texture(48, 64, low=0.1, high=0.8)
    burst = bursts.aligned(bursts.noisy(light))
    known, estimated = (bursts.static_merged(replace(burst, curve_error_ev=ev)).sigma for ev in (0.0, 0.1))
    relative = np.log(2) * 0.1 * light.mean(-1) / 4 / radiance_per_mu_law(light.mean(-1) / 4)
    np.testing.assert_allclose(estimated, np.hypot(known, relative), rtol=0.02)


def test_a_strip_beyond_every_other_frame_is_the_reference():
    shift = bursts.shift_homography(-40, 0)
    light = bursts.texture(40, 100, high=0.9)
    light[:, :40] *= 2  # the reference clips there, and the frame whose homography is wrong decides
    burst = bursts.burst_of(light, (-1.0, 0.0, 1.0), 1)
    image = bursts.static_merged(bursts.aligned(burst, homographies=[shift, np.eye(3), shift]))
    assert np.abs(image.radiance[:, 61:] / light[:, 61:] - 1).max() < 1e-3
    assert np.abs(image.radiance[:, :40] / light[:, :40] - 1).max() > 0.1  # the homographies are wrong


@pytest.mark.parametrize("factor", [0.2, 0.5, 2.0])
def test_sigma_covers_a_ghost(factor):
    """The ghost of another moment is an error, however low the noise of its frame."""
    light, patch = bursts.texture(96, 128, low=0.01, high=0.1), (slice(30, 60), slice(40, 70))
    still = bursts.noisy(light, evs=(-2.0, 0.0, 2.0), well=10_000.0)
    moved = bursts.static_merged(bursts.aligned(bursts.with_changed_patch(still, 2, (30, 40, 30, 30), factor)))
    error = np.abs(bursts.mu(moved.radiance / 4) - bursts.mu(light / 4)).mean(axis=2)
    assert error[patch].mean() > 0.01
    assert moved.sigma[patch].mean() > 0.95 * error[patch].mean()
    assert moved.sigma[patch].mean() < 1.5 * error[patch].mean()


def test_sigma_is_at_least_that_of_the_default_on_a_moving_burst():
    """Otherwise a limit on the uncertainty would pass the ghosts and stop the clean result."""
    still = bursts.noisy(bursts.texture(160, 192, low=0.02, high=0.6), evs=(-2.0, 0.0, 2.0))
    source = bursts.aligned(bursts.with_changed_patch(still, 2, (30, 40, 60, 70), 0.3))
    default = bursts.fused(bursts.random_network(heads=0.0, flow=0.0), source)
    assert bursts.static_merged(source).sigma.mean() > default.image.sigma.mean()


def test_a_static_burst_stays_calibrated():
    light = bursts.texture(96, 128, low=0.002, high=3.0)
    image = bursts.static_merged(bursts.aligned(bursts.noisy(light, well=10_000.0)))
    error = np.abs(bursts.mu(image.radiance / 4) - bursts.mu(light / 4)).mean(axis=2)
    for part in np.array_split(np.argsort(image.sigma, axis=None), 10):
        assert (error < image.sigma).ravel()[part].mean() > 0.6
        assert image.sigma.ravel()[part].mean() < 4 * error.ravel()[part].mean()


def test_a_coloured_highlight_that_clips_in_all_channels_is_no_ghost():
    """RAW frames read 1 in all channels where one is clipped."""
    lamp = np.broadcast_to(np.array([3.0, 0.4, 0.2], np.float32), (8, 8, 3))
    clipped = bursts.frame(lamp.clip(0, 1), 0.0, clipped=np.ones((8, 8), bool))
    image = bursts.static_merged(bursts.aligned(bursts.Burst((bursts.frame(lamp / 4, -2.0), clipped), 1)))
    np.testing.assert_allclose(image.radiance, lamp, rtol=1e-4)
    assert image.sigma.max() < 0.02


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
    difference = difference_from_classical(a, b, 0.25)
    expected = bursts.mu(0.1) - bursts.mu(0.05)
    assert difference.changed == pytest.approx(0.1)
    assert difference.mean == pytest.approx(expected, rel=1e-4)
    assert difference.largest == pytest.approx(expected, rel=1e-4)
