"""Fusion by saf: tiles against one tile, one tile against ``SAF.forward``, gate, bounds and evidence."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from smarthdr_cli.aligned_burst import Window
from smarthdr_cli.fusion.motion import PairMotion
from smarthdr_cli.fusion.network_fusion import fuse_members
from smarthdr_cli.fusion.stillness import Likeness
from smarthdr_cli.models.tensor_ops import mu_law
from smarthdr_cli.models.uncertainty_calibration import Calibration
from tests.support import bursts

TURN = np.array([[0.9998, -0.0175, 5.0], [0.0175, 0.9998, -3.0], [1e-6, -2e-6, 1.0]])


def ghosted(height, width, evs=(-2.0, 0.0, 2.0), bits=16, reference=1):
    """A textured burst; a bright square stands elsewhere in every frame."""
    frames = []
    for place, ev in enumerate(evs):
        light = bursts.texture(height, width, high=1.6)
        top, left = height // 4, width // 6 + place * max(4, width // 8)
        light[top : top + height // 3, left : left + width // 5] = (1.4, 0.9, 0.3)
        frames.append(bursts.burst_of(light, (ev, ev + 1), 0, bits).frames[0])
    return bursts.Burst(tuple(frames), reference)


def run(model, source, size=0, *, members=None, evidence=(), strong=False, calibration=None, corrected=True):
    members = tuple(range(len(source.burst))) if members is None else members
    network = bursts.saf_fuser(model, model.residual_head.weight.dtype, calibration)
    return fuse_members(network, source, members, evidence, size, strong=strong, corrected=corrected)


def short_mu(outcome, source):
    return bursts.mu(outcome.image.radiance * 2.0 ** source.burst.evs.min())


@pytest.mark.parametrize(("size", "bits", "turned"), [((201, 217), 8, True), ((150, 250), 16, False)])
def test_tiles_equal_the_whole(size, bits, turned):
    homographies = [np.eye(3), np.eye(3), TURN] if turned else None
    source = bursts.aligned(ghosted(*size, bits=bits), homographies=homographies)
    model = bursts.random_network(flow=0.2)
    whole, tiled = run(model, source), run(model, source, 128)
    assert np.abs(short_mu(whole, source) - short_mu(tiled, source)).max() <= 1e-3
    assert np.abs(np.log(whole.image.sigma) - np.log(tiled.image.sigma)).max() < 0.02
    assert whole.statistics.mean_trust == pytest.approx(tiled.statistics.mean_trust, abs=0.05)
    network_did = np.abs(short_mu(whole, source) - short_mu(run(bursts.random_network(heads=0.0), source), source))
    assert network_did.max() > 0.05  # the network changes something in the first place


def test_tiles_equal_the_whole_in_bf16():
    source = bursts.aligned(ghosted(200, 210, bits=8))
    model = bursts.random_network(heads=0.1, flow=0.05).to(torch.bfloat16)
    whole, tiled = run(model, source), run(model, source, 128)
    gap = np.abs(short_mu(whole, source) - short_mu(tiled, source))
    assert gap.max() <= 5e-3
    assert gap.mean() <= 5e-4


@pytest.mark.parametrize("size", [(50, 50), (101, 77), (33, 500), (9, 8), (5, 3)])
@pytest.mark.parametrize("reference", [0, 1])
def test_odd_and_tiny_sizes(size, reference):
    source = bursts.aligned(ghosted(*size, evs=(-1.0, 1.5), reference=reference))
    outcome = run(bursts.random_network(flow=0.2), source, 128)
    assert outcome.image.radiance.shape == (*size, 3)
    assert np.isfinite(outcome.image.radiance).all()
    assert (outcome.image.radiance >= 0).all()
    assert ((outcome.image.sigma > 0) & (outcome.image.sigma <= 1)).all()


@pytest.mark.parametrize("reference", [0, 4, 8])
def test_nine_frames_and_any_reference(reference):
    light = np.exp2(bursts.texture(64, 80, low=-6.0, high=1.5) - 1.0)
    source = bursts.aligned(bursts.burst_of(light, tuple(np.linspace(-4, 4, 9)), reference))
    gain = 2.0 ** source.burst.frames[reference].exposure.ev
    wild = run(bursts.random_network(heads=1.0, flow=0.0), source).image.radiance / gain
    exposed = (light * gain).max(axis=2) < 0.96
    assert exposed.mean() > 0.02
    assert np.abs(wild / light - 1)[exposed].max() < 0.01
    mild = run(bursts.random_network(heads=0.0, flow=0.0), source).image.radiance / gain
    assert np.abs(mild / light - 1).max() < 0.08  # trust of 0.95: a twentieth of a clipped reference


def test_one_tile_equals_forward_without_resampling():
    """With displacements of 0 and without corrections."""
    source = bursts.aligned(ghosted(64, 96))
    model = bursts.random_network(flow=0.0)
    frames = torch.stack([torch.from_numpy(source.read(i, Window(0, 0, 64, 96))[0]) for i in (1, 0, 2)])
    frames = frames.permute(0, 3, 1, 2)[None]
    with torch.inference_mode():
        wanted = model(frames, torch.tensor([[0.0, -2.0, 2.0]]), torch.ones(1, 3, 1, 64, 96))
    outcome = run(model, source, corrected=False)
    assert (mu_law(wanted.radiance / 4) - mu_law(wanted.detail.merged / 4)).abs().max() > 0.05
    light, sigma = wanted.radiance[0].permute(1, 2, 0).numpy(), wanted.log_sigma[0, 0].exp().numpy()
    assert np.abs(bursts.mu(outcome.image.radiance / 4) - bursts.mu(light / 4)).max() < 1e-4
    unflagged = outcome.image.sigma < 1
    assert unflagged.mean() > 0.5
    assert np.abs(outcome.image.sigma / sigma - 1)[unflagged].max() < 1e-2


def test_with_motion_one_tile_is_close_to_forward():
    """With motion the two differ by bicubic against bilinear resampling only."""
    light = cv2.resize(bursts.texture(32, 48, high=0.9), (192, 128), interpolation=cv2.INTER_CUBIC).clip(0.01, 1)
    source = bursts.aligned(bursts.burst_of(light, (-1.0, 0.0, 1.0), 1))
    model = bursts.random_network(heads=0.0, flow=0.1)
    frames = torch.stack([torch.from_numpy(source.read(i, Window(0, 0, 128, 192))[0]) for i in (1, 0, 2)])
    with torch.inference_mode():
        wanted = model(
            frames.permute(0, 3, 1, 2)[None], torch.tensor([[0.0, -1.0, 1.0]]), torch.ones(1, 3, 1, 128, 192)
        )
    assert wanted.detail.flows[-1].abs().max() * 4 > 2
    found = run(model, source)
    gap = np.abs(bursts.mu(found.image.radiance / 2) - bursts.mu(wanted.radiance[0].permute(1, 2, 0).numpy() / 2))
    assert gap.mean() < 0.01


@pytest.mark.parametrize("seed", range(3))
def test_a_static_well_exposed_burst_keeps_its_radiance(seed):
    """16 bits, tripod, fp32: within 0.1 % of true radiance, whatever the network's heads say."""
    light = bursts.texture(120, 136, seed=seed, low=0.05, high=0.7)
    source = bursts.aligned(bursts.burst_of(light, (-2.0, 0.0, 2.0), 1))
    outcome = run(bursts.random_network(seed, heads=3.0, flow=0.0), source, 128)
    assert np.abs(outcome.image.radiance / light - 1).max() < 1e-3
    assert outcome.statistics.difference.changed == 0


@pytest.mark.parametrize("bits", [8, 16])
def test_where_every_frame_clips_the_result_is_the_neutral_short_clip_with_sigma_1(bits):
    light = bursts.texture(96, 96, high=0.7)
    light[30:60, 30:60] = (9.0, 30.0, 12.0)
    source = bursts.aligned(bursts.burst_of(light, (-2.0, 0.0, 2.0), 1, bits))
    outcome = run(bursts.random_network(heads=1.0, flow=0.0), source, 128)
    inner = outcome.image.radiance[34:56, 34:56]
    assert np.abs(inner - 4.0).max() < 1e-3
    assert (outcome.image.sigma[34:56, 34:56] == 1).all()
    assert (outcome.image.sigma[:20] < 1).all()


def test_where_only_the_reference_has_data_the_result_is_the_reference():
    """Frames that look elsewhere altogether: nothing of them is in the picture."""
    away = np.array([[1.0, 0, 500.0], [0, 1, 0], [0, 0, 1]])
    source = bursts.aligned(ghosted(64, 96), homographies=[away, np.eye(3), away])
    outcome = run(bursts.random_network(heads=0.0, flow=0.0), source)
    reference, _ = source.read(1, Window(0, 0, 64, 96))
    assert np.abs(outcome.image.radiance - reference).max() < 1e-4
    clipped = reference.max(axis=2) >= 0.995
    assert clipped.mean() > 0.02
    assert (outcome.image.sigma[clipped] == 1).all()


def test_a_strip_beyond_the_long_frame_takes_nothing_from_it():
    """The long frame's repeated edge must not speak for the clipped reference against the short frame, which saw it."""
    light = np.full((64, 128, 3), 0.1, np.float32)
    light[:, 96:] = (2.0, 2.4, 3.0)  # sky: clipped in the reference, not in the short
    burst = bursts.burst_of(light, (-2.0, 0.0, 2.0), 1)
    long = burst.frames[2].codes.copy()
    long[:, 96:] = long[:, :1]
    frames = (*burst.frames[:2], bursts.frame(np.roll(long, 40, axis=1), 2.0))
    shift = np.array([[1.0, 0, 40.0], [0, 1, 0], [0, 0, 1]])
    source = bursts.aligned(bursts.Burst(frames, 1), homographies=[np.eye(3), np.eye(3), shift])
    outcome = run(bursts.random_network(heads=0.0, flow=0.0), source)
    assert np.abs(outcome.image.radiance[8:-8, 104:120] / light[8:-8, 104:120] - 1).max() < 0.08


def test_clipped_pixels_have_sigma_1_whatever_the_calibration():
    source = bursts.aligned(ghosted(64, 64))
    plain = run(bursts.random_network(), source)
    calibrated = run(bursts.random_network(), source, calibration=Calibration((1e-3, 0.1), (2e-3, 0.2)))
    noise = run(bursts.random_network(), source, calibration=Calibration((1e-3, 0.1), (1e-4, 1.01e-4))).image.sigma
    flagged = plain.image.sigma == 1
    inner = ~flagged & (plain.image.sigma > 1e-3) & (plain.image.sigma < 0.1) & (noise < 2 * plain.image.sigma)
    assert inner.mean() > 0.8
    assert np.allclose(calibrated.image.sigma[inner], 2 * plain.image.sigma[inner], rtol=1e-3)
    assert (calibrated.image.sigma[flagged] == 1).all()


def test_strong_deghosting_lowers_the_mean_trust():
    source = bursts.aligned(ghosted(64, 96))
    assert (
        run(bursts.random_network(), source, strong=True).statistics.mean_trust
        < run(bursts.random_network(), source).statistics.mean_trust - 0.01
    )


def test_the_statistics_measure_the_change_by_the_network():
    source = bursts.aligned(ghosted(96, 96))
    guard = run(bursts.random_network(heads=0.0, flow=0.0), source).statistics.difference
    assert guard.changed > 0.05  # trust removes the squares; the classical merge shows them
    assert guard.largest >= guard.mean > 0.01
    same = bursts.aligned(bursts.burst_of(bursts.texture(96, 96, low=0.05, high=0.7), (-2.0, 0.0, 2.0), 1))
    assert run(bursts.random_network(heads=0.0, flow=0.0), same).statistics.difference.changed == 0


def test_progress_rises_to_1():
    shares = []
    source = bursts.aligned(ghosted(200, 200))
    fuse_members(
        bursts.saf_fuser(bursts.random_network()), source, (0, 1, 2), (), 128, strong=False, on_progress=shares.append
    )
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    assert len(shares) == 2 + 4


def test_the_displacement_of_a_window_is_part_of_the_whole():
    generator = torch.Generator().manual_seed(0)
    flow = torch.randn(1, 2, 26, 30, generator=generator) * 3
    motion = PairMotion(
        flow, *(torch.zeros(1, c, 26, 30) for c in (1, 4, 3)), torch.ones(1, 1, 26, 30), Likeness(None, torch.zeros(3))
    )
    whole = motion.displacement(Window(0, 0, 104, 120))
    assert whole.shape == (104, 120, 2)
    for window in (Window(0, 0, 40, 48), Window(32, 40, 24, 36), Window(64, 80, 40, 40)):
        rows = slice(window.top, window.top + window.height)
        columns = slice(window.left, window.left + window.width)
        assert np.abs(motion.displacement(window) - whole[rows, columns]).max() < 1e-5
    still = replace(motion, flow=torch.full((1, 2, 26, 30), 0.1))
    assert still.displacement(Window(0, 0, 104, 120)) is None


def test_evidence_is_added_only_where_it_agrees():
    """13 frames, nine of them for the network; four noisy ones and a ghost in one of them."""
    rng = np.random.default_rng(0)
    light = bursts.texture(64, 80, low=0.05, high=0.6)
    frames = []
    for place, ev in enumerate(np.linspace(-3, 3, 13)):
        linear = np.clip(light * 2.0**ev + rng.normal(0, 0.004, light.shape), 0, 1)
        if place == 6 + 1:
            linear[10:30, 10:30] = 0.9
        frames.append(bursts.frame(np.round(linear ** (1 / 2.2) * 65535).astype(np.uint16), float(ev)))
    burst = bursts.Burst(tuple(frames), 6)
    source = bursts.aligned(burst)
    evidence = (3, 5, 7, 9)
    members = tuple(i for i in range(13) if i not in evidence)
    model = bursts.random_network(heads=0.0, flow=0.0)
    alone, joined = run(model, source, members=members), run(model, source, members=members, evidence=evidence)
    outside = np.ones((64, 80), bool)
    outside[8:32, 8:32] = False
    before, after = (np.abs(o.image.radiance / light - 1).mean(axis=2) for o in (alone, joined))
    assert after[outside].mean() < before[outside].mean()
    assert after[12:28, 12:28].mean() < before[12:28, 12:28].mean() * 1.05
    assert np.abs(joined.image.radiance - alone.image.radiance)[12:28, 12:28].max() < 0.05


def test_bursts_outside_the_trained_range_have_no_residual():
    """A frame 10 EV below the reference: its mu-law step is several times what the shadows hold."""
    for ev, share in ((-2.0, 1), (-4.0, 1), (-8.0, 0), (-10.0, 0)):
        source = bursts.aligned(ghosted(64, 96, evs=(ev, 0.0, 2.0)))
        with_it, without = (run(bursts.random_network(heads=1.0, flow=0.0, residual=r), source) for r in (1.0, 0.0))
        gap = np.abs(with_it.image.radiance - without.image.radiance).max()
        assert gap > 0.01 if share else gap == 0


def test_a_wide_static_bracket_equals_the_classical_merge():
    """Seven frames over 12 EV: the outer ones are compared with the light of the inner ones."""
    evs = (-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0)
    light = bursts.texture(64, 96, low=0.01, high=1.0) ** 6 * 30
    source = bursts.aligned(bursts.burst_of(light, evs, 3))
    model = bursts.random_network(heads=0.0, flow=0.0)
    model.verify_head.bias.data[:-1] = 20.0  # trusts what it cannot compare, where the reference is clipped
    plane = run(model, source).image
    assert np.abs(bursts.mu(plane.radiance / 64) - bursts.mu(light / 64)).max() < 1e-3
    assert plane.sigma.max() < 1


@pytest.mark.parametrize("far", [0, 6])
def test_a_ghost_in_a_far_frame_is_filled_with_the_merge_so_far(far):
    """In neither end of the stack does a thing that only stood there show, nor the clip of the reference in its place;
    sigma says that something was overruled."""
    evs = (-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0)
    light = np.full((64, 96, 3), 8.0 if far == 0 else 0.01, np.float32)
    light[:, :40] = bursts.texture(64, 40, seed=2, low=0.1)
    frames = list(bursts.burst_of(light, evs, 3).frames)
    ghost = light.copy()
    ghost[20:44, 60:84] *= 0.25 if far == 0 else 0.1
    frames[far] = bursts.burst_of(ghost, evs, 3).frames[far]
    source = bursts.aligned(bursts.Burst(tuple(frames), 3))
    plane = run(bursts.random_network(heads=0.0, flow=0.0, verify=0.0), source).image
    inner = plane.radiance[24:40, 64:80]
    assert np.abs(bursts.mu(inner / 64) - bursts.mu(light[24:40, 64:80] / 64)).max() < 0.02
    assert plane.sigma[24:40, 64:80].min() >= plane.sigma[5:15, 64:80].max()


def test_in_wider_brackets_than_trained_sigma_is_at_most_the_largest_calibrated_value():
    for evs, wanted in (((-2.0, 0.0, 2.0), 0.5), ((-9.0, -6.0, -3.0, 0.0, 3.0), 0.03)):
        source = bursts.aligned(bursts.burst_of(bursts.texture(64, 96), evs, evs.index(0.0)))
        model = bursts.random_network(heads=0.0, flow=0.0)
        model.judge.last.bias.data[:] = 20.0  # sigma = 1 everywhere, which the curve takes to a half
        curve = Calibration((0.01, 0.06), (0.01, 0.03))
        sigma = fuse_members(
            bursts.saf_fuser(model, calibration=curve), source, tuple(range(len(evs))), (), 0, strong=False
        ).image.sigma
        assert np.median(sigma) == pytest.approx(wanted, rel=0.02)


def test_in_wider_brackets_than_trained_sigma_is_at_least_the_scatter_of_the_merge():
    evs = (-9.0, -6.0, -3.0, 0.0, 3.0)
    light = bursts.texture(64, 96)
    frames = list(bursts.burst_of(light, evs, 3).frames)
    frames[4] = bursts.burst_of(light * 1.2, evs, 3).frames[4]
    model = bursts.random_network(heads=0.0, flow=0.0, verify=0.0)
    model.judge.last.bias.data[:] = -20.0  # sigma = 1e-4 everywhere
    model.verify_head.bias.data[:-1] = 20.0
    sigma = run(model, bursts.aligned(bursts.Burst(tuple(frames), 3))).image.sigma
    assert np.median(sigma) > 1e-3


@pytest.mark.parametrize("bits", [8, 16])
def test_beside_a_clipped_channel_16_bit_files_keep_the_measured_channels(bits):
    """A wild network distrusts nothing; the square moves, and where it stands the reference clips in red alone."""
    source = bursts.aligned(ghosted(96, 128, bits=bits))
    reference = source.read(1, Window(0, 0, 96, 128))[0]
    outcome = run(bursts.random_network(heads=3.0, flow=0.3), source)
    beside = (reference[..., 0] > 0.97) & (reference[..., 2] > 0.05) & (reference[..., 2] < 0.5)
    assert beside.sum() > 50
    off = np.abs(outcome.image.radiance - reference)[..., 2][beside]
    assert (off.max() < 0.08) == (bits == 16)
