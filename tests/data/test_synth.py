"""Synthetic bursts: repeatable, and true to what they say of themselves."""

from dataclasses import fields, replace

import pytest
import torch

from smarthdr_cli.data.synth import SynthConfig, exposures, make_batch, make_bursts, render
from smarthdr_cli.models.compare import warp
from smarthdr_cli.models.tone import mu_law

CONFIG = SynthConfig(height=64, width=80)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_one_seed_is_one_burst(bank):
    a, b, c = (make_bursts(bank, CONFIG, seeded(s), 2, oracle=True) for s in (3, 3, 4))
    for field in fields(a):
        assert torch.equal(getattr(a, field.name), getattr(b, field.name)), field.name
    assert not torch.equal(a.codes, c.codes)


def test_no_global_random_state_is_read_or_changed(bank):
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    a = make_bursts(bank, CONFIG, seeded(), 1)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(make_bursts(bank, CONFIG, seeded(), 1).codes, a.codes)


@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_exposures_are_relative_to_the_reference(count):
    evs, times = exposures(CONFIG, seeded(), 64, count)
    assert (evs[:, 0] == 0).all()
    assert (times[:, 0] == 0).all()
    ordered = evs.sort(dim=1).values
    assert (ordered.diff(dim=1) > 0.8).all()
    assert (ordered.diff(dim=1) < 3.6).all()
    assert torch.equal(times.sort(dim=1).values.diff(dim=1), torch.ones(64, count - 1))
    assert torch.equal(evs.argsort(dim=1), times.argsort(dim=1))  # frames are taken from dark to bright
    if count > 2:
        places = (evs < 0).sum(dim=1)
        assert (places.min(), places.max()) == (0, count - 1)  # the reference is drawn, now and then from the ends
        middle, _ = exposures(replace(CONFIG, reference="middle"), seeded(), 64, count)
        assert ((middle < 0).sum(dim=1) == (count - 1) // 2).all()


@pytest.mark.parametrize("shake", ["aligned", "handheld"])
def test_the_true_displacement_brings_the_others_onto_the_reference(bank, shake):
    """Radiance without a camera: seen through the flow, the other frames show what the reference shows."""
    config = SynthConfig(height=128, width=160, shake=shake, shake_px=10)
    frames, _, flow, visible, moving = render(bank, config, seeded(7), *exposures(config, seeded(), 4, 3))
    assert flow.shape == (4, 2, 2, 128, 160)
    inner = torch.zeros(1, 1, 128, 160)
    inner[..., 6:-6, 6:-6] = 1
    before, after = [], []
    for n in range(2):
        other, ref = frames[:, n + 1], frames[:, 0]
        level = ref.flatten(1).median(dim=1).values.view(-1, 1, 1, 1) * 4
        seen = visible[:, n] * inner
        # Where objects' edges mix two surfaces within a pixel nothing is exact: look at the insides.
        seen = -torch.nn.functional.max_pool2d(-seen, 5, 1, 2)
        for found, kept in ((other, before), (warp(other, flow[:, n]), after)):
            gap = (mu_law(found / level) - mu_law(ref / level)).abs().mean(dim=1, keepdim=True)
            kept.append(float((gap * seen).sum() / seen.sum()))
    assert max(after) < 0.02
    assert sum(after) < 0.4 * sum(before)
    assert 0 < moving.float().mean() < 0.9
    assert ((visible == 0) | (visible == 1)).all()


def test_nothing_moves_where_it_should_not(bank):
    """Without objects and shake there is no flow, all is visible, and every frame is the reference."""
    config = replace(CONFIG, objects=0, height=24, width=24)
    frames, still, flow, visible, moving = render(bank, config, seeded(11), *exposures(config, seeded(), 64, 3))
    stood = flow.abs().amax(dim=(2, 3, 4)) == 0
    assert stood.any()  # "sometimes nothing at all"
    for b, n in stood.nonzero().tolist():
        assert torch.allclose(frames[b, n + 1], frames[b, 0], rtol=1e-4)
        assert visible[b, n].all()
    assert torch.equal(still, frames[:, 0])
    assert not (moving & (visible.amin(dim=1) > 0.5)).any()


@pytest.mark.parametrize("kind", ["gamma16", "camera8", "mixed"])
def test_the_camera_saw_the_target(bank, kind):
    """Well exposed pixels of the reference, linearised by the true curve, are the target up to noise and codes."""
    config = replace(CONFIG, kind=kind, iso_low=100, iso_high=100, simulate_jpeg=False)
    burst = make_bursts(bank, config, seeded(5), 4, oracle=True)
    assert burst.codes.min() >= 0
    assert burst.codes.max() <= 1
    ceiling = torch.exp2(-burst.evs.amin(dim=1)).view(-1, 1, 1, 1)
    assert (burst.target <= ceiling * (1 + 1e-6)).all()
    assert (burst.target >= 0).all()
    reference = burst.linear[:, 0]
    mid = (reference > 0.1) & (reference < 0.8)
    assert mid.float().mean() > 0.05
    ratio = (reference / burst.target.clamp(min=1e-6))[mid]
    assert float(ratio.median()) == pytest.approx(1, abs=0.01)
    assert float((ratio - 1).abs().median()) < 0.03
    for n in range(3):  # the oracle's frames: the same scene at each exposure, nothing moving
        gain = torch.exp2(burst.evs[:, n]).view(-1, 1, 1, 1)
        frame = burst.still[:, n]
        mid = (frame > 0.1) & (frame < 0.8)
        assert float((frame / gain / burst.target.clamp(min=1e-6))[mid].median()) == pytest.approx(1, abs=0.02)


def test_one_seed_is_one_scene_in_every_kind(bank):
    a, b = (make_bursts(bank, replace(CONFIG, kind=kind), seeded(9), 2) for kind in ("gamma16", "camera8"))
    assert torch.equal(a.target, b.target)
    assert torch.equal(a.flow, b.flow)
    assert torch.equal(a.evs, b.evs)
    assert not torch.equal(a.codes, b.codes)


def test_stated_exposures_are_wrong_by_little_and_never_for_the_reference(bank):
    config = replace(CONFIG, ev_error=0.05, height=24, width=24)
    error = torch.cat([(b.stated_evs - b.evs) for b in (make_bursts(bank, config, seeded(s), 8) for s in range(2))])
    assert (error[:, 0] == 0).all()
    assert 0 < error.abs().max() < 0.3
    assert (error == 0).all(dim=1).any()
    exact = make_bursts(bank, replace(CONFIG, ev_error=0.0), seeded(), 4)
    assert torch.equal(exact.stated_evs, exact.evs)


def test_a_batch_is_what_fusion_is_handed(bank):
    batch = make_batch(bank, replace(CONFIG, frames=(4,)), seeded(), 2)
    assert batch.frames.shape == (2, 4, 3, 64, 80)
    assert batch.evs.shape == (2, 4)
    assert batch.flow.shape == (2, 3, 2, 64, 80)
    assert batch.visible.shape == (2, 3, 1, 64, 80)
    assert batch.frames.min() >= 0
    assert batch.frames.max() <= 1
    assert torch.allclose(batch.scale_short, torch.exp2(batch.evs.amin(dim=1)))
    assert batch.to(torch.device("cpu")).flow.shape == batch.flow.shape
    plain = make_batch(bank, replace(CONFIG, frames=(4,), curve_residue=0.0), seeded(), 2)
    assert 0 < (plain.frames - batch.frames).abs().mean() < 0.05
