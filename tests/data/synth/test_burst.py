"""Synthetic bursts: repeatable, and consistent with their ground truth."""

from dataclasses import asdict, fields, replace

import pytest
import torch

from smarthdr_cli.data.synth.burst import draw_exposures, draw_rows, make_batch, make_bursts, render
from smarthdr_cli.data.synth.config import TRAINING_VARIETY, SynthConfig, Variety
from smarthdr_cli.data.synth.export import benchmark_config
from smarthdr_cli.data.synth.geometry import MotionBlur
from smarthdr_cli.models.pairwise import warp
from smarthdr_cli.models.tensor_ops import mu_law

CONFIG = SynthConfig(height=64, width=80)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_seed_gives_the_same_burst(bank):
    first, same, other = (make_bursts(bank, CONFIG, seeded(s), 2, oracle=True) for s in (3, 3, 4))
    for field in fields(first):
        assert torch.equal(getattr(first, field.name), getattr(same, field.name)), field.name
    assert not torch.equal(first.codes, other.codes)


def test_frozen_benchmarks_can_be_made_again(bank):
    """Means of bursts from when the frozen sets were made: effects that are off draw no random number."""
    for kind, code in (("gamma16", 0.551391), ("camera8", 0.537540)):
        burst = make_bursts(bank, benchmark_config(kind, (96, 128)), seeded(7), 1, oracle=True)
        tensors = [burst.codes, burst.target, burst.flow.abs(), burst.visible, burst.moving.float()]
        means = [code, 0.270330, 1.678010, 0.965251, 0.130615]
        assert [float(tensor.mean()) for tensor in tensors] == pytest.approx(means, rel=2e-4)
        assert burst.evs[0].tolist() == pytest.approx([0.0, -2.09785, 2.09639], abs=1e-4)
    burst = make_bursts(bank, SynthConfig(height=96, width=96), seeded(7), 3)
    tensors = [burst.codes, burst.target, burst.flow.abs(), burst.visible, burst.moving.float(), burst.stated_evs]
    means = [0.384507, 0.177090, 3.042823, 0.909867, 0.208804, 0.062861]
    assert [float(tensor.mean()) for tensor in tensors] == pytest.approx(means, rel=2e-4)


def test_the_global_random_state_is_neither_read_nor_changed(bank):
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    burst = make_bursts(bank, CONFIG, seeded(), 1)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(make_bursts(bank, CONFIG, seeded(), 1).codes, burst.codes)


@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_exposures_are_relative_to_the_reference(count):
    evs, times = draw_exposures(CONFIG, seeded(), 64, count)
    assert (evs[:, 0] == 0).all()
    assert (times[:, 0] == 0).all()
    ordered = evs.sort(dim=1).values
    assert (ordered.diff(dim=1) > 0.8).all()
    assert (ordered.diff(dim=1) < 3.6).all()
    assert torch.equal(times.sort(dim=1).values.diff(dim=1), torch.ones(64, count - 1))
    assert torch.equal(evs.argsort(dim=1), times.argsort(dim=1))  # frames are captured from dark to bright
    if count > 2:
        darker = (evs < 0).sum(dim=1)
        assert (darker.min(), darker.max()) == (0, count - 1)  # any frame may be the reference
        middle, _ = draw_exposures(replace(CONFIG, reference="middle"), seeded(), 64, count)
        assert ((middle < 0).sum(dim=1) == (count - 1) // 2).all()


def warping_errors(rendered, weight):
    """Weighted mean mu-law differences from the reference of every other frame before and after warping by the flow,
    and after it away from the weight's edges, where mixed pixels match nothing (None where the weight has no inside).
    """
    reference = rendered.radiance[:, 0]
    level = reference.flatten(1).median(dim=1).values.view(-1, 1, 1, 1) * 4
    before, after, inside = [], [], []
    for n in range(rendered.flow.shape[1]):
        other, w = rendered.radiance[:, n + 1], weight[:, n]
        difference, warped_difference = (
            (mu_law(image / level) - mu_law(reference / level)).abs().mean(dim=1, keepdim=True)
            for image in (other, warp(other, rendered.flow[:, n]))
        )
        before.append(float((difference * w).sum() / w.sum()))
        after.append(float((warped_difference * w).sum() / w.sum()))
        w = -torch.nn.functional.max_pool2d(-w, 5, 1, 2)
        inside.append(float((warped_difference * w).sum() / w.sum()) if w.sum() > 200 else None)
    return before, after, inside


@pytest.mark.parametrize("shake", ["aligned", "handheld"])
def test_the_flow_registers_the_frames(bank, shake):
    config = SynthConfig(height=128, width=160, shake=shake, shake_px=10)
    rendered = render(bank, config, seeded(7), *draw_exposures(config, seeded(), 4, 3))
    assert rendered.flow.shape == (4, 2, 2, 128, 160)
    inner = torch.zeros(1, 1, 128, 160)
    inner[..., 6:-6, 6:-6] = 1
    before, _, inside = warping_errors(rendered, rendered.visible * inner)
    assert max(inside) < 0.02
    assert sum(inside) < 0.4 * sum(before)
    assert 0 < rendered.moving.float().mean() < 0.9
    assert ((rendered.visible == 0) | (rendered.visible == 1)).all()


EFFECTS = {
    "depth": Variety(depth=1.0), "limbs": Variety(limbs=1.0), "twigs": Variety(twigs=1.0),
    "swarms": Variety(swarms=1.0), "large": Variety(large=1.0), "fast": Variety(fast=1.0), "lamps": Variety(lamps=1.0),
    "across": Variety(across=1.0), "soft": Variety(soft=1.0, depth=0.5),
    "training": replace(TRAINING_VARIETY, flicker=0.0, blur=0.0),
}  # fmt: skip


@pytest.mark.parametrize("name", EFFECTS)
def test_the_flow_registers_moving_surfaces_of_every_effect(bank, name):
    objects = 2 if name in ("large", "fast", "lamps", "across", "training") else 0
    config = SynthConfig(height=96, width=112, objects=objects, variety=EFFECTS[name])
    rendered = render(bank, config, seeded(7), *draw_exposures(config, seeded(), 6, 3))
    assert rendered.visible.mean() > 0.3
    assert rendered.moving.flatten(1).any(dim=1).all()
    before, after, inside = warping_errors(rendered, rendered.visible * rendered.moving[:, None].float())
    assert sum(after) < 0.6 * sum(before)
    assert all(error < 0.02 for error in inside if error is not None)  # thin objects have no inside


@pytest.mark.parametrize("count", [2, 9])
def test_bursts_with_every_effect_are_repeatable_and_finite(bank, count):
    variety = Variety(**dict.fromkeys(asdict(Variety()), 0.5))
    config = replace(CONFIG, height=40, width=48, objects=2, frames=(count,), variety=variety)
    first, same = (make_bursts(bank, config, seeded(s), 3, oracle=True) for s in (3, 3))
    for field in fields(first):
        assert torch.equal(getattr(first, field.name), getattr(same, field.name)), field.name
        assert torch.isfinite(getattr(first, field.name)).all(), field.name
    assert first.codes.shape == (3, count, 3, 40, 48)
    assert first.flow.shape == (3, count - 1, 2, 40, 48)


def test_exposures_may_be_uneven_and_span_at_most_8_ev():
    config = replace(CONFIG, ev_steps=(1.0, 4.0), variety=Variety(uneven=0.5))
    evs, _ = draw_exposures(config, seeded(), 200, 3)
    gaps = evs.sort(dim=1).values.diff(dim=1)
    uneven = (gaps[:, 0] / gaps[:, 1]).log2().abs() > 1
    assert 0.15 < uneven.float().mean() < 0.4  # half have independent steps, equal in half of these
    wide, _ = draw_exposures(config, seeded(), 50, 9)
    assert (wide.amax(dim=1) - wide.amin(dim=1)).max() <= 8.001
    assert (wide.sort(dim=1).values.diff(dim=1) > 0.1).all()


def test_only_the_brightest_frame_is_blurred(bank, monkeypatch):
    config = replace(CONFIG, objects=2, reference="middle", variety=Variety(fast=1.0, flicker=0.5, blur=1.0))
    evs, times = draw_exposures(config, seeded(), 4, 3)
    blurred = render(bank, config, seeded(2), evs, times)
    monkeypatch.setattr(MotionBlur, "integrate", lambda _, moments: moments[:, :3])
    sharp = render(bank, config, seeded(2), evs, times)
    for name in ("flow", "visible", "moving"):
        assert torch.equal(getattr(blurred, name), getattr(sharp, name))
    rows, long = torch.arange(4), evs.argmax(dim=1)
    for frame in (0, 3 - long):
        assert torch.equal(blurred.radiance[rows, frame], sharp.radiance[rows, frame])
    blurred_long, sharp_long = blurred.radiance[rows, long], sharp.radiance[rows, long]
    detail = [image.clamp(min=1e-4).log().diff(dim=-1).abs().mean() for image in (blurred_long, sharp_long)]
    assert detail[0] < 0.95 * detail[1]
    assert 1e-4 < (mu_law(blurred_long / 8) - mu_law(sharp_long / 8)).abs().mean() < 0.05


def test_probability_0_draws_no_random_number():
    generator = seeded()
    before = generator.get_state()
    assert len(draw_rows(generator, 1000, 0.0)) == 0
    assert torch.equal(generator.get_state(), before)
    assert 150 < len(draw_rows(generator, 1000, 0.2)) < 250
    assert len(draw_rows(generator, 10, 1.0)) == 10


def test_degradations_are_in_the_frames_and_not_in_the_truth(bank):
    config = replace(CONFIG, objects=0, shake="handheld", shake_px=1.01, kind="gamma16", iso_low=100, iso_high=100)
    config = replace(config, variety=Variety(hot=1.0, drift=1.0, misstated=1.0))
    burst = make_bursts(bank, config, seeded(8), 6, oracle=True)
    assert 0.2 < (burst.stated_evs - burst.evs).abs().max() < 1 / 3 + 0.3
    reference = burst.linear[:, 0]
    hot = (reference > 2 * burst.target + 0.05) & (reference > 0.1)
    assert 3 <= hot.sum() < 6 * 24 * 5
    assert (burst.static[:, 0][hot] > burst.target[hot]).all()  # the oracle has the same camera
    normal = ~hot & (reference > 0.1) & (reference < 0.8)
    assert float((reference / burst.target.clamp(min=1e-6))[normal].median()) == pytest.approx(1, abs=0.01)


def test_frames_without_motion_equal_the_reference(bank):
    config = replace(CONFIG, objects=0, height=24, width=24)
    rendered = render(bank, config, seeded(11), *draw_exposures(config, seeded(), 64, 3))
    static = rendered.flow.abs().amax(dim=(2, 3, 4)) == 0
    assert static.any()
    for b, n in static.nonzero().tolist():
        assert torch.allclose(rendered.radiance[b, n + 1], rendered.radiance[b, 0], rtol=1e-4)
        assert rendered.visible[b, n].all()
    assert not (rendered.moving & (rendered.visible.amin(dim=1) > 0.5)).any()


@pytest.mark.parametrize("kind", ["gamma16", "camera8", "mixed"])
def test_well_exposed_pixels_equal_the_target(bank, kind):
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
    for n in range(3):  # the oracle: the reference view at every exposure
        gain = torch.exp2(burst.evs[:, n]).view(-1, 1, 1, 1)
        frame = burst.static[:, n]
        mid = (frame > 0.1) & (frame < 0.8)
        assert float((frame / gain / burst.target.clamp(min=1e-6))[mid].median()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("variety", [Variety(), TRAINING_VARIETY])
def test_a_seed_is_the_same_scene_in_every_kind(bank, variety):
    config = replace(CONFIG, variety=variety)
    gamma16, camera8 = (make_bursts(bank, replace(config, kind=k), seeded(9), 2) for k in ("gamma16", "camera8"))
    assert torch.equal(gamma16.target, camera8.target)
    assert torch.equal(gamma16.flow, camera8.flow)
    assert torch.equal(gamma16.evs, camera8.evs)
    assert not torch.equal(gamma16.codes, camera8.codes)


def test_stated_exposures_have_small_errors_except_for_the_reference(bank):
    config = replace(CONFIG, ev_error=0.05, height=24, width=24)
    bursts = [make_bursts(bank, config, seeded(s), 8) for s in range(2)]
    error = torch.cat([burst.stated_evs - burst.evs for burst in bursts])
    assert (error[:, 0] == 0).all()
    assert 0 < error.abs().max() < 0.3
    assert (error == 0).all(dim=1).any()
    exact = make_bursts(bank, replace(CONFIG, ev_error=0.0), seeded(), 4)
    assert torch.equal(exact.stated_evs, exact.evs)


def test_a_batch_has_the_residues_of_registration(bank):
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
