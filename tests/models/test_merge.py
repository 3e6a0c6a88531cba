"""The physical merge against a per-pixel twin, and the bounds that the reference sets."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from smarthdr_cli.models.merge import (
    CHANNEL_TAPER_END,
    CHANNEL_TAPER_START,
    GRADIENT_LEAK,
    READ_FLOOR,
    STRICT_NOISE,
    clamp_to_reference_strict,
    clip_taper,
    exposure_weight,
    merge,
    radiance,
)

pytestmark = pytest.mark.unit


def pixel(values, evs, trust, factors=None):
    """One pixel in plain numbers: (N, 3) frame values, N evs, N-1 trusts, N factors of their weights -> 3 channels and
    the share removed."""
    weights = []
    for value, ev, factor in zip(values, evs, factors or [1.0] * len(evs), strict=True):
        t = min(max((max(value) - 0.80) / 0.17, 0.0), 1.0)
        weight = 4.0**ev / (sum(value) / 3 + READ_FLOOR) * (1 - t * t * (3 - 2 * t)) * factor
        if ev == min(evs):
            weight += 1e-4 * 4.0**ev
        weights.append(weight)
    light = [[v / 2.0**ev for v in value] for value, ev in zip(values, evs, strict=True)]
    removed = sum(w * (1 - t) for w, t in zip(weights[1:], trust, strict=True))
    kept = [weights[0] + removed, *(w * t for w, t in zip(weights[1:], trust, strict=True))]
    total = sum(weights)
    return [sum(w * one[c] for w, one in zip(kept, light, strict=True)) / total for c in range(3)], removed / total


def draw(count, seed=0, size=6, spread=3.0):
    generator = torch.Generator().manual_seed(seed)
    frames = torch.rand(2, count, 3, size, size, generator=generator) ** 2
    frames = torch.where(torch.rand(2, count, 1, size, size, generator=generator) < 0.2, 1.0, frames)
    evs = (torch.rand(2, count, generator=generator) - 0.5) * 2 * spread
    evs[:, 0] = 0
    trust = torch.rand(2, count - 1, 1, size, size, generator=generator)
    return frames, evs, trust


@pytest.mark.parametrize("count", range(2, 10))
def test_equals_the_twin_for_2_to_9_frames(count):
    frames, evs, trust = draw(count, seed=count)
    merged, share = merge(frames, evs, trust)
    for b, y, x in np.ndindex(2, 6, 6):
        wanted, removed = pixel(frames[b, :, :, y, x].tolist(), evs[b].tolist(), trust[b, :, 0, y, x].tolist())
        assert np.allclose(merged[b, :, y, x], wanted, rtol=2e-5, atol=1e-7)
        assert share[b, 0, y, x] == pytest.approx(removed, abs=2e-6)


def test_every_weight_is_multiplied_by_its_factor():
    frames, evs, trust = draw(4, seed=11)
    factors = 3 * torch.rand(2, 4, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    merged, removed = merge(frames, evs, trust, factors)
    for b, y, x in np.ndindex(2, 6, 6):
        one = (part[b, :, 0, y, x].tolist() for part in (trust, factors))
        wanted, share = pixel(frames[b, :, :, y, x].tolist(), evs[b].tolist(), *one)
        assert np.allclose(merged[b, :, y, x], wanted, rtol=2e-5, atol=1e-7)
        assert removed[b, 0, y, x] == pytest.approx(share, abs=2e-6)


def test_is_convex():
    frames, evs, trust = draw(5)
    merged, share = merge(frames, evs, trust)
    light = torch.stack([radiance(frames[:, i], evs[:, i]) for i in range(5)], dim=1)
    assert (merged >= light.amin(dim=1) * (1 - 1e-5)).all()
    assert (merged <= light.amax(dim=1) * (1 + 1e-5)).all()
    assert ((share >= 0) & (share <= 1)).all()


def test_without_trust_it_is_the_reference():
    frames, evs, trust = draw(4)
    merged, share = merge(frames, evs, torch.zeros_like(trust))
    assert torch.allclose(merged, frames[:, 0], rtol=1e-5)
    assert (share > 0).all()
    _, kept = merge(frames, evs, torch.ones_like(trust))
    assert (kept == 0).all()


@pytest.mark.parametrize("reference", [0, 1, 2], ids=["short", "middle", "long"])
def test_where_every_frame_clips_the_shortest_decides(reference):
    evs = torch.tensor([[-2.0, 0.0, 3.0]])
    evs = evs - evs[:, reference : reference + 1]
    order = [reference, *(i for i in range(3) if i != reference)]
    merged, share = merge(torch.ones(1, 3, 3, 4, 4), evs[:, order], torch.ones(1, 2, 1, 4, 4))
    assert torch.allclose(merged, torch.exp2(-evs.min()).expand_as(merged))
    assert (share == 0).all()


def test_a_pixel_clipped_in_one_channel_loses_all_three():
    frame = torch.full((1, 3, 2, 2), 0.4)
    frame[:, 0] = 1.0
    assert (exposure_weight(frame, torch.zeros(1)) == 0).all()
    assert (clip_taper(frame) == 0).all()
    assert (clip_taper(torch.full((1, 3, 2, 2), 0.79)) == 1).all()


def test_is_equivariant_to_the_scale_of_the_exposures():
    """Measuring every EV from another exposure scales the result and nothing else."""
    frames, evs, trust = draw(4)
    merged, share = merge(frames, evs, trust)
    again, same = merge(frames, evs + 1.5, trust)
    assert torch.allclose(again * 2**1.5, merged, rtol=1e-5)
    assert torch.allclose(same, share, atol=1e-6)


def test_the_order_of_the_others_changes_nothing():
    frames, evs, trust = draw(6)
    order = [3, 0, 4, 1, 2]
    merged, share = merge(frames, evs, trust)
    turned = [0, *(i + 1 for i in order)]
    again, same = merge(frames[:, turned], evs[:, turned], trust[:, order])
    assert torch.allclose(again, merged, rtol=1e-5)
    assert torch.allclose(same, share, atol=1e-6)


def test_fifteen_stops_and_black_frames():
    evs = torch.tensor([[0.0, *(float(e) for e in range(-7, 9) if e)]])
    truth = torch.logspace(-4, 1.8, 32).view(1, 1, 1, 32).expand(1, 3, 1, 32)
    frames = torch.stack([(truth * 2.0**e).clamp(max=1) for e in evs[0].tolist()], dim=1)
    merged, _ = merge(frames, evs, torch.ones(1, 15, 1, 1, 32))
    assert torch.allclose(merged, truth, rtol=1e-4)
    merged, share = merge(torch.zeros_like(frames), evs, torch.ones(1, 15, 1, 1, 32))
    assert (merged == 0).all()
    assert (share == 0).all()


def test_weights_are_the_inverse_variance_in_reference_units():
    """Photon noise: the variance of a frame's radiance estimate is level * 2**(-2 ev), up to one constant."""
    generator = torch.Generator().manual_seed(0)
    well = 20000.0
    for level, ev in ((0.5, 1.0), (0.05, 1.0), (0.2, -2.0)):
        electrons = torch.poisson(torch.full((200000,), level * well), generator=generator)
        variance = float((electrons / well * 2.0**-ev).var())
        weight = float(exposure_weight(torch.full((1, 3, 1, 1), level), torch.tensor([ev])))
        assert variance * weight * well == pytest.approx(level / (level + READ_FLOOR), rel=0.03)


def _grey(value: float) -> torch.Tensor:
    return torch.full((1, 3, 1, 1), value)


@given(st.floats(0, 16), st.floats(0, 1))
def test_results_stay_within_the_noise_of_the_reference(light: float, measured: float) -> None:
    result = float(clamp_to_reference_strict(_grey(light), _grey(measured))[0, 0, 0, 0])
    deviations, well = STRICT_NOISE
    slack = deviations * ((measured + READ_FLOOR) / well) ** 0.5
    assert result >= measured - slack - 1e-5
    if measured < CHANNEL_TAPER_START:
        assert result <= measured + slack + 1e-5
    if measured > CHANNEL_TAPER_END and light > measured:
        assert abs(result - light) < 1e-5 * max(1, light)
    if abs(light - measured) <= slack * 0.999:
        assert abs(result - light) < 1e-5


def test_a_clipped_channel_is_not_bounded_from_above() -> None:
    reference = torch.tensor([1.0, 0.5, 0.02]).view(1, 3, 1, 1)
    result = clamp_to_reference_strict(_grey(8.0), reference).flatten()
    assert result[0] == 8.0
    assert 0.5 < result[1] < 0.55
    assert 0.02 < result[2] < 0.04
    assert float(clamp_to_reference_strict(_grey(0.1), reference).flatten()[0]) > 0.9  # but from below


def test_the_upper_bound_ends_without_a_step() -> None:
    levels = torch.linspace(0.5, 0.9, 401).view(1, 1, 1, -1).expand(1, 3, 1, -1)
    result = clamp_to_reference_strict(torch.full_like(levels, 2.0), levels)[0, 0, 0]
    assert (result.diff().abs() < 0.03).all()
    assert (result.diff() > 0).sum() > 280


def test_outside_the_bounds_a_share_of_the_gradient_remains() -> None:
    light = torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1).requires_grad_()
    clamp_to_reference_strict(light, _grey(0.5)).sum().backward()
    torch.testing.assert_close(light.grad.flatten(), torch.tensor([GRADIENT_LEAK, 1 + GRADIENT_LEAK, GRADIENT_LEAK]))
