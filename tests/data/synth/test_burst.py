"""Synthetic bursts: repeatable, and true to what they say of themselves."""

from dataclasses import asdict, fields, replace

import pytest
import torch

from smarthdr_cli.data.synth.burst import SynthConfig, exposures, make_batch, make_bursts, render, some
from smarthdr_cli.data.synth.export import benchmark_config
from smarthdr_cli.data.synth.geometry import Blur
from smarthdr_cli.data.synth.variety import RICH, Variety
from smarthdr_cli.models.pairwise import warp
from smarthdr_cli.models.tensor_ops import mu_law

CONFIG = SynthConfig(height=64, width=80)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_one_seed_is_one_burst(bank):
    a, b, c = (make_bursts(bank, CONFIG, seeded(s), 2, oracle=True) for s in (3, 3, 4))
    for field in fields(a):
        assert torch.equal(getattr(a, field.name), getattr(b, field.name)), field.name
    assert not torch.equal(a.codes, c.codes)


def test_benchmarks_are_what_they_were(bank):
    """Means of a burst as the maker of the frozen sets made it: no number is drawn for variety that is off."""
    for kind, code in (("gamma16", 0.551391), ("camera8", 0.537540)):
        burst = make_bursts(bank, benchmark_config(kind, (96, 128)), seeded(7), 1, oracle=True)
        found = [burst.codes, burst.target, burst.flow.abs(), burst.visible, burst.moving.float()]
        wanted = [code, 0.270330, 1.678010, 0.965251, 0.130615]
        assert [float(each.mean()) for each in found] == pytest.approx(wanted, rel=2e-4)
        assert burst.evs[0].tolist() == pytest.approx([0.0, -2.09785, 2.09639], abs=1e-4)
    burst = make_bursts(bank, SynthConfig(height=96, width=96), seeded(7), 3)
    found = [burst.codes, burst.target, burst.flow.abs(), burst.visible, burst.moving.float(), burst.stated_evs]
    wanted = [0.384507, 0.177090, 3.042823, 0.909867, 0.208804, 0.062861]
    assert [float(each.mean()) for each in found] == pytest.approx(wanted, rel=2e-4)


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


KINDS = {
    "depth": Variety(depth=1.0), "limbs": Variety(limbs=1.0), "twigs": Variety(twigs=1.0),
    "swarms": Variety(swarms=1.0), "large": Variety(large=1.0), "fast": Variety(fast=1.0), "lamps": Variety(lamps=1.0),
    "across": Variety(across=1.0), "soft": Variety(soft=1.0, depth=0.5), "rich": replace(RICH, flicker=0.0, blur=0.0),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_the_truth_holds_for_every_kind(bank, name):
    """Radiance without a camera: where a surface is seen in both, the flow brings the other frame's onto it."""
    objects = 2 if name in ("large", "fast", "lamps", "across", "rich") else 0
    config = SynthConfig(height=96, width=112, objects=objects, variety=KINDS[name])
    frames, _, flow, visible, moving = render(bank, config, seeded(7), *exposures(config, seeded(), 6, 3))
    assert visible.mean() > 0.3
    assert moving.any(dim=-1).any(dim=-1).all()  # every burst has something that moves
    before, after, inside = [], [], []
    for n in range(2):
        other, ref = frames[:, n + 1], frames[:, 0]
        level = ref.flatten(1).median(dim=1).values.view(-1, 1, 1, 1) * 4
        seen = visible[:, n] * moving.float()  # still background would hide what is wrong
        warped, unwarped = (
            (mu_law(each / level) - mu_law(ref / level)).abs().mean(1, keepdim=True)
            for each in (warp(other, flow[:, n]), other)
        )
        inner = -torch.nn.functional.max_pool2d(-seen, 5, 1, 2)
        before.append(float((unwarped * seen).sum() / seen.sum()))
        after.append(float((warped * seen).sum() / seen.sum()))
        if inner.sum() > 200:  # nothing thin has an inside
            inside.append(float((warped * inner).sum() / inner.sum()))
    assert sum(after) < 0.6 * sum(before)
    assert all(gap < 0.02 for gap in inside)


@pytest.mark.parametrize("count", [2, 9])
def test_richer_bursts_are_as_repeatable_and_as_whole(bank, count):
    every = Variety(**dict.fromkeys(asdict(Variety()), 0.5))
    config = replace(CONFIG, height=40, width=48, objects=2, frames=(count,), variety=every)
    a, b = (make_bursts(bank, config, seeded(s), 3, oracle=True) for s in (3, 3))
    for field in fields(a):
        assert torch.equal(getattr(a, field.name), getattr(b, field.name)), field.name
        assert torch.isfinite(getattr(a, field.name)).all(), field.name
    assert a.codes.shape == (3, count, 3, 40, 48)
    assert a.flow.shape == (3, count - 1, 2, 40, 48)


def test_exposures_may_be_uneven_and_span_no_more_than_a_scene():
    config = replace(CONFIG, ev_steps=(1.0, 4.0), variety=Variety(uneven=0.5))
    evs, _ = exposures(config, seeded(), 200, 3)
    gaps = evs.sort(dim=1).values.diff(dim=1)
    uneven = (gaps[:, 0] / gaps[:, 1]).log2().abs() > 1
    assert 0.15 < uneven.float().mean() < 0.4  # half are drawn one by one, and half of these come out alike
    wide, _ = exposures(config, seeded(), 50, 9)
    assert (wide.amax(dim=1) - wide.amin(dim=1)).max() <= 8.001
    assert (wide.sort(dim=1).values.diff(dim=1) > 0.1).all()


def test_only_the_brightest_frame_is_blurred(bank, monkeypatch):
    """A long exposure is its middle, smeared; flow, sight and the other frames are as without."""
    config = replace(CONFIG, objects=2, reference="middle", variety=Variety(fast=1.0, flicker=0.5, blur=1.0))
    evs, times = exposures(config, seeded(), 4, 3)
    blurred, still, *truth = render(bank, config, seeded(2), evs, times)
    monkeypatch.setattr(Blur, "integrated", lambda _, moments: moments[:, :3])
    sharp, still_too, *truth_too = render(bank, config, seeded(2), evs, times)
    assert torch.equal(still, still_too)
    for one, other in zip(truth, truth_too, strict=True):
        assert torch.equal(one, other)
    long = evs.argmax(dim=1)
    rows = torch.arange(4)
    assert torch.equal(blurred[:, 0], sharp[:, 0])
    assert torch.equal(blurred[rows, 3 - long], sharp[rows, 3 - long])
    mine, middle = blurred[rows, long], sharp[rows, long]
    detail = [each.log().diff(dim=-1).abs().mean() for each in (mine.clamp(min=1e-4), middle.clamp(min=1e-4))]
    assert detail[0] < 0.95 * detail[1]
    gap = (mu_law(mine / 8) - mu_law(middle / 8)).abs().mean()
    assert 1e-4 < gap < 0.05


def test_shares_are_kept_and_0_draws_nothing():
    generator = seeded()
    before = generator.get_state()
    assert len(some(generator, 1000, 0.0)) == 0
    assert torch.equal(generator.get_state(), before)
    assert 150 < len(some(generator, 1000, 0.2)) < 250
    assert len(some(generator, 10, 1.0)) == 10


def test_blemishes_are_in_the_frames_and_not_in_the_truth(bank):
    config = replace(CONFIG, objects=0, shake="handheld", shake_px=1.01, kind="gamma16", iso_low=100, iso_high=100)
    config = replace(config, variety=Variety(hot=1.0, drift=1.0, misstated=1.0))
    burst = make_bursts(bank, config, seeded(8), 6, oracle=True)
    assert 0.2 < (burst.stated_evs - burst.evs).abs().max() < 1 / 3 + 0.3
    reference = burst.linear[:, 0]
    hot = (reference > 2 * burst.target + 0.05) & (reference > 0.1)
    assert 3 <= hot.sum() < 6 * 24 * 5
    assert (burst.still[:, 0][hot] > burst.target[hot]).all()  # the same camera on a tripod has them too
    cool = ~hot & (reference > 0.1) & (reference < 0.8)
    assert float((reference / burst.target.clamp(min=1e-6))[cool].median()) == pytest.approx(1, abs=0.01)


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


@pytest.mark.parametrize("variety", [Variety(), RICH])
def test_one_seed_is_one_scene_in_every_kind(bank, variety):
    config = replace(CONFIG, variety=variety)
    a, b = (make_bursts(bank, replace(config, kind=kind), seeded(9), 2) for kind in ("gamma16", "camera8"))
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
