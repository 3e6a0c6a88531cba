"""Fusion by saf: the merge where frames agree, the network where they do not, whatever the tiles."""

import numpy as np
import pytest
import torch

from smarthdr_cli.aligned_burst import Window
from smarthdr_cli.models.uncertainty_calibration import Calibration
from tests.support import bursts

TURN = np.array([[0.9998, -0.0175, 5.0], [0.0175, 0.9998, -3.0], [1e-6, -2e-6, 1.0]])
EVS = (-2.0, 0.0, 2.0)


def ghosted(height, width, evs=EVS, bits=16, reference=1):
    """A textured burst; a bright square stands elsewhere in every frame."""
    frames = []
    for position, ev in enumerate(evs):
        light = bursts.texture(height, width, high=1.6)
        top, left = height // 4, width // 6 + position * max(4, width // 8)
        light[top : top + height // 3, left : left + width // 5] = (1.4, 0.9, 0.3)
        frames.append(bursts.burst_of(light, (ev, ev + 1), 0, bits).frames[0])
    return bursts.Burst(tuple(frames), reference)


def short_mu(outcome, source):
    return bursts.mu(outcome.image.radiance * 2.0 ** source.burst.evs.min())


@pytest.mark.parametrize(("size", "bits", "turned"), [((201, 217), 8, True), ((150, 250), 16, False)])
def test_tiles_equal_the_whole(size, bits, turned):
    homographies = [np.eye(3), np.eye(3), TURN] if turned else None
    source = bursts.aligned(ghosted(*size, bits=bits), homographies=homographies)
    model = bursts.random_network(flow=0.2)
    whole, tiled = bursts.fused(model, source), bursts.fused(model, source, 128)
    assert np.abs(short_mu(whole, source) - short_mu(tiled, source)).max() <= 1e-3
    assert np.abs(np.log(whole.image.sigma) - np.log(tiled.image.sigma)).max() < 0.05
    assert whole.statistics.mean_trust == pytest.approx(tiled.statistics.mean_trust, abs=0.05)
    assert whole.statistics.network_share > 0.05
    without = bursts.fused(bursts.random_network(heads=0.0), source)
    assert np.abs(short_mu(whole, source) - short_mu(without, source)).max() > 0.05  # the network changes something


def test_tiles_equal_the_whole_in_bf16():
    source = bursts.aligned(ghosted(200, 210, bits=8))
    model = bursts.random_network(heads=0.1, flow=0.05).to(torch.bfloat16)
    whole, tiled = bursts.fused(model, source), bursts.fused(model, source, 128)
    difference = np.abs(short_mu(whole, source) - short_mu(tiled, source))
    assert difference.max() <= 5e-3
    assert difference.mean() <= 5e-4


@pytest.mark.parametrize("size", [(50, 50), (101, 77), (33, 500), (9, 8), (5, 3), (1, 1)])
@pytest.mark.parametrize("reference", [0, 1])
def test_odd_and_tiny_sizes(size, reference):
    source = bursts.aligned(ghosted(*size, evs=(-1.0, 1.5), reference=reference))
    outcome = bursts.fused(bursts.random_network(flow=0.2), source, 128)
    assert outcome.image.radiance.shape == (*size, 3)
    assert np.isfinite(outcome.image.radiance).all()
    assert (outcome.image.radiance >= 0).all()
    assert ((outcome.image.sigma > 0) & (outcome.image.sigma <= 1)).all()


@pytest.mark.parametrize("seed", range(3))
def test_a_static_well_exposed_burst_keeps_its_radiance(seed):
    """16 bits, tripod, fp32: within 0.1 % of true radiance, whatever the network's heads predict."""
    light = bursts.texture(120, 136, seed=seed, low=0.05, high=0.7)
    source = bursts.aligned(bursts.burst_of(light, EVS, 1))
    outcome = bursts.fused(bursts.random_network(seed, heads=3.0, flow=0.0), source, 128)
    assert np.abs(outcome.image.radiance / light - 1).max() < 1e-3
    assert outcome.statistics.difference.changed == 0
    assert outcome.statistics.network_share == 0
    assert outcome.statistics.convolved_megapixels == 0


@pytest.mark.parametrize("evs", [EVS, (-1.5, 0.0), (-6.0, -4.0, -2.0, 0.0, 2.0)])
def test_a_tripod_burst_in_noise_and_clipped_light_is_the_static_merge(evs):
    source = bursts.aligned(bursts.noisy(bursts.bright(160, 192), evs))
    outcome = bursts.fused(bursts.random_network(heads=1.0, flow=0.0), source)
    scale = 2.0 ** min(evs)
    expected = bursts.static_merged(source).radiance
    difference = np.abs(bursts.mu(outcome.image.radiance * scale) - bursts.mu(expected * scale))
    assert outcome.statistics.network_share < 0.02
    assert np.quantile(difference, 0.98) < 2e-3


def test_the_network_fuses_what_moves_and_nothing_else():
    """Where a square moves over a dark, noisy reference the network decides; elsewhere the merge does."""
    burst = bursts.noisy(bursts.texture(160, 192, seed=4, low=0.005, high=0.02), (0.0, 3.0), well=400.0)
    source = bursts.aligned(bursts.with_changed_patch(burst, 1, (40, 40, 40, 40), 4.0))
    wild = bursts.fused(bursts.random_network(heads=1.0, flow=0.0), source)
    mild = bursts.fused(bursts.random_network(heads=0.0, flow=0.0), source)
    difference = np.abs(short_mu(wild, source) - short_mu(mild, source)).max(axis=2)
    assert 0.02 < wild.statistics.network_share < 0.4
    assert difference[44:76, 44:76].mean() > 0.01
    assert difference[:, 120:].max() == 0


@pytest.mark.parametrize("reference", [0, 4, 8])
def test_nine_frames_and_any_reference(reference):
    light = np.exp2(bursts.texture(64, 80, low=-6.0, high=1.5) - 1.0)
    source = bursts.aligned(bursts.burst_of(light, tuple(np.linspace(-4, 4, 9)), reference))
    gain = 2.0 ** source.burst.frames[reference].exposure.ev
    radiance = bursts.fused(bursts.random_network(heads=1.0, flow=0.0), source).image.radiance / gain
    assert np.abs(radiance / light - 1).max() < 0.01


@pytest.mark.parametrize("bits", [8, 16])
def test_where_every_frame_clips_the_result_is_the_neutral_short_clip_with_sigma_1(bits):
    light = bursts.texture(96, 96, high=0.7)
    light[30:60, 30:60] = (9.0, 30.0, 12.0)
    source = bursts.aligned(bursts.burst_of(light, EVS, 1, bits))
    outcome = bursts.fused(bursts.random_network(heads=1.0, flow=0.0), source, 128)
    inner = outcome.image.radiance[34:56, 34:56]
    assert np.abs(inner - 4.0).max() < 1e-3
    assert (outcome.image.sigma[34:56, 34:56] == 1).all()
    assert (outcome.image.sigma[:20] < 1).all()


def test_where_only_the_reference_has_data_the_result_is_the_reference():
    """Frames that look elsewhere altogether: nothing of them is in the picture."""
    away = np.array([[1.0, 0, 500.0], [0, 1, 0], [0, 0, 1]])
    source = bursts.aligned(ghosted(64, 96), homographies=[away, np.eye(3), away])
    outcome = bursts.fused(bursts.random_network(heads=0.0, flow=0.0), source)
    reference, _ = source.read(1, Window(0, 0, 64, 96))
    assert np.abs(outcome.image.radiance - reference).max() < 1e-4
    clipped = reference.max(axis=2) >= 0.995
    assert clipped.mean() > 0.02
    assert (outcome.image.sigma[clipped] == 1).all()


def test_a_strip_beyond_the_long_frame_takes_nothing_from_it():
    """The long frame's repeated edge has no weight against the short frame, which saw the sky."""
    light = np.full((64, 128, 3), 0.1, np.float32)
    light[:, 96:] = (2.0, 2.4, 3.0)  # sky: clipped in the reference, not in the short frame
    burst = bursts.burst_of(light, EVS, 1)
    long = burst.frames[2].codes.copy()
    long[:, 96:] = long[:, :1]
    frames = (*burst.frames[:2], bursts.frame(np.roll(long, 40, axis=1), 2.0))
    source = bursts.aligned(
        bursts.Burst(frames, 1), homographies=[np.eye(3), np.eye(3), bursts.shift_homography(-40, 0)]
    )
    outcome = bursts.fused(bursts.random_network(heads=0.0, flow=0.0), source)
    assert np.abs(outcome.image.radiance[8:-8, 104:120] / light[8:-8, 104:120] - 1).max() < 0.08


def test_clipped_pixels_have_sigma_1_whatever_the_calibration():
    light = bursts.texture(64, 64, high=1.6)
    light[8:24, 8:24] = 9.0
    source = bursts.aligned(bursts.with_changed_patch(bursts.burst_of(light, EVS, 1), 2, (4, 4, 30, 30), 0.3))
    model = bursts.random_network()
    plain, calibrated = (
        bursts.fused(bursts.saf_fuser(model, calibration=curve), source).image.sigma
        for curve in (None, Calibration((1e-3, 0.1), (4e-3, 0.4)))
    )
    assert (calibrated[plain == 1] == 1).all()
    assert (plain == 1).any()
    assert calibrated.mean() > plain.mean()


@pytest.mark.parametrize("bits", [8, 16])
def test_8_bit_files_have_their_own_calibration(bits):
    curve = Calibration((1e-3,), (4e-3,), eight_bit=Calibration((1e-3,), (6e-3,)))
    burst = bursts.noisy(bursts.texture(160, 192, seed=4, low=0.005, high=0.02), (0.0, 3.0), well=400.0)
    burst = bursts.with_changed_patch(burst, 1, (40, 40, 40, 40), 4.0)
    frames = list(burst.frames)
    if bits == 8:
        frames[1] = bursts.frame((frames[1].codes // 257).astype(np.uint8), 3.0)
    source = bursts.aligned(bursts.Burst(tuple(frames), 0), response=bursts.GAMMA)
    model = bursts.random_network(heads=0.0, flow=0.0)
    model.judge.last.bias.data[:] = 0.7  # above what the noise of the merge makes of it
    raw, calibrated = (
        bursts.fused(bursts.saf_fuser(model, calibration=c), source).image.sigma[50:70, 50:70] for c in (None, curve)
    )
    assert np.median(calibrated / raw) == pytest.approx(6 if bits == 8 else 4, rel=0.05)


def test_strong_deghosting_lowers_the_mean_trust():
    source = bursts.aligned(bursts.noisy(bursts.texture(64, 96)))
    strong, plain = (bursts.fused(bursts.random_network(), source, strong=s).statistics for s in (True, False))
    assert strong.mean_trust < plain.mean_trust - 0.005


def test_the_statistics_measure_the_change_by_deghosting():
    source = bursts.aligned(ghosted(96, 96))
    difference = bursts.fused(bursts.random_network(heads=0.0, flow=0.0), source).statistics.difference
    assert difference.changed > 0.03  # trust removes the squares; the classical merge shows them
    assert difference.largest >= difference.mean > 0.01


def test_progress_rises_to_1():
    shares = []
    source = bursts.aligned(ghosted(200, 200))
    bursts.fused(bursts.random_network(), source, 128, on_progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    assert len(shares) > 6


def test_more_than_nine_frames_lower_the_noise_and_show_no_ghost():
    """13 frames, nine of them for the network; noise, and a ghost in one of the other four."""
    rng = np.random.default_rng(0)
    light = bursts.texture(64, 80, low=0.05, high=0.6)
    frames = []
    for position, ev in enumerate(np.linspace(-3, 3, 13)):
        linear = np.clip(light * 2.0**ev + rng.normal(0, 0.004, light.shape), 0, 1)
        if position == 7:
            linear[10:30, 10:30] = 0.9
        frames.append(bursts.frame(np.round(linear ** (1 / 2.2) * 65535).astype(np.uint16), float(ev)))
    nine = [frame for n, frame in enumerate(frames) if n not in (3, 5, 7, 9)]
    model = bursts.random_network(heads=0.0, flow=0.0)
    alone = bursts.fused(model, bursts.aligned(bursts.Burst(tuple(nine), 4)))
    joined = bursts.fused(model, bursts.aligned(bursts.Burst(tuple(frames), 6)))
    assert (joined.statistics.network_frames, joined.statistics.other_frames) == (9, 4)
    before, after = (np.abs(o.image.radiance / light - 1).mean(axis=2) for o in (alone, joined))
    assert after[34:].mean() < before[34:].mean()
    assert after[12:28, 12:28].max() < 0.1


def test_a_wide_static_bracket_equals_the_truth():
    """Seven frames over 12 EV: the outer ones are compared with their neighbours."""
    evs = (-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0)
    light = bursts.texture(64, 96, low=0.01, high=1.0) ** 6 * 30
    image = bursts.fused(
        bursts.random_network(heads=0.0, flow=0.0), bursts.aligned(bursts.burst_of(light, evs, 3))
    ).image
    assert np.abs(bursts.mu(image.radiance / 64) - bursts.mu(light / 64)).max() < 6e-3
    assert image.sigma.max() < 1


@pytest.mark.parametrize("far", [0, 6])
def test_a_ghost_in_a_far_frame_does_not_show(far):
    """At neither end of the stack does a thing show that only stood there; sigma is no lower for it."""
    evs = (-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0)
    light = np.full((64, 96, 3), 8.0 if far == 0 else 0.01, np.float32)
    light[:, :40] = bursts.texture(64, 40, seed=2, low=0.1)
    frames = list(bursts.burst_of(light, evs, 3).frames)
    ghost = light.copy()
    ghost[20:44, 60:84] *= 0.25 if far == 0 else 0.1
    frames[far] = bursts.burst_of(ghost, evs, 3).frames[far]
    source = bursts.aligned(bursts.Burst(tuple(frames), 3))
    image = bursts.fused(bursts.random_network(heads=0.0, flow=0.0), source).image
    inner = image.radiance[24:40, 64:80]
    assert np.abs(bursts.mu(inner / 64) - bursts.mu(light[24:40, 64:80] / 64)).max() < 0.02
    assert image.sigma[24:40, 64:80].mean() >= image.sigma[5:15, 64:80].mean()


def test_beside_a_clipped_channel_16_bit_files_keep_the_measured_channels():
    """A wild network; the square moves, and where it stands the reference clips in red alone."""
    source = bursts.aligned(ghosted(96, 128))
    reference = source.read(1, Window(0, 0, 96, 128))[0]
    outcome = bursts.fused(bursts.random_network(heads=3.0, flow=0.3), source)
    beside = (reference[..., 0] > 0.97) & (reference[..., 2] > 0.05) & (reference[..., 2] < 0.5)
    assert beside.sum() > 50
    assert np.abs(outcome.image.radiance - reference)[..., 2][beside].max() < 0.08
