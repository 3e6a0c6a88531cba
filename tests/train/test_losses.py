"""The losses against independent formulas, and masks that let nothing through."""

import math

import pytest
import torch

from smarthdr_cli.models.base import MergeDetail
from smarthdr_cli.models.tensor_ops import mu_law
from smarthdr_cli.train import losses


def sample(seed=0, size=6):
    generator = torch.Generator().manual_seed(seed)
    predicted = torch.rand(2, 3, size, size, generator=generator) * 4
    target = torch.rand(2, 3, size, size, generator=generator) * 4
    log_sigma = torch.randn(2, 1, size, size, generator=generator) - 3
    return predicted, target, log_sigma, torch.tensor([0.25, 0.5])


@pytest.mark.parametrize(("name", "of"), [("reconstruction", torch.abs), ("squared", torch.square)])
def test_l1_and_the_mean_square_are_of_the_mu_law(name, of):
    predicted, target, _, scale = sample()
    total = 0.0
    for b in range(2):
        p, t = (torch.log1p(5000 * x[b] * scale[b]) / math.log(5001) for x in (predicted, target))
        total += float(of(p - t).mean()) / 2
    assert float(getattr(losses, name)(predicted, target, scale)) == pytest.approx(total, rel=1e-5)


def test_uncertainty_is_a_normal_likelihood_up_to_its_constant():
    predicted, target, log_sigma, scale = sample()
    s = scale.view(-1, 1, 1, 1)
    error = (mu_law(predicted * s) - mu_law(target * s)).abs().mean(dim=1, keepdim=True)
    normal = torch.distributions.Normal(torch.zeros_like(error), log_sigma.exp())
    wanted = -normal.log_prob(error).mean() - 0.5 * math.log(2 * math.pi)
    assert torch.allclose(losses.uncertainty(predicted, target, log_sigma, scale), wanted, rtol=1e-5)


def test_uncertainty_is_least_where_sigma_is_the_error():
    predicted, target, _, scale = sample()
    s = scale.view(-1, 1, 1, 1)
    error = (mu_law(predicted * s) - mu_law(target * s)).abs().mean(dim=1, keepdim=True)
    best = error.log().requires_grad_()
    losses.uncertainty(predicted, target, best, scale).backward()
    assert best.grad.abs().max() < 1e-6


def test_the_prediction_learns_from_uncertainty_only_when_asked():
    predicted, target, log_sigma, scale = sample()
    for detach in (True, False):
        leaf = predicted.clone().requires_grad_()
        sigma = log_sigma.clone().requires_grad_()
        losses.uncertainty(leaf, target, sigma, scale, detach=detach).backward()
        assert sigma.grad.abs().max() > 0
        assert (leaf.grad is None) == detach


@pytest.mark.parametrize("name", ["reconstruction", "squared", "uncertainty"])
def test_masked_pixels_reach_neither_value_nor_gradient_even_as_nan(name):
    predicted, target, log_sigma, scale = sample()
    mask = (torch.rand(2, 1, 6, 6, generator=torch.Generator().manual_seed(9)) > 0.4).float()
    hidden = (mask == 0).expand_as(predicted)

    def value(p, t, s):
        leaves = [x.clone().requires_grad_() for x in (p, s)]
        if name != "uncertainty":
            out = getattr(losses, name)(leaves[0], t, scale, mask)
        else:
            out = losses.uncertainty(leaves[0], t, leaves[1], scale, detach=False, mask=mask)
        out.backward()
        return float(out.detach()), [x.grad for x in leaves if x.grad is not None]

    clean, slopes = value(predicted, target, log_sigma)
    for bad in (math.nan, math.inf, 7.0):
        dirty = [
            torch.where(hidden[:, : x.shape[1]], torch.full_like(x, bad), x) for x in (predicted, target, log_sigma)
        ]
        found, again = value(*dirty)
        assert found == pytest.approx(clean, rel=1e-6)
        for one, other in zip(slopes, again, strict=True):
            assert torch.equal(one, other)
            assert (other[hidden[:, : other.shape[1]]] == 0).all()


def test_a_masked_mean_counts_what_it_keeps():
    value = torch.tensor([1.0, 2.0, 6.0, math.nan])
    assert losses.masked_mean(value, torch.tensor([1.0, 0, 1, 0])) == 3.5
    assert losses.masked_mean(value, torch.zeros(4)) == 0
    assert losses.masked_mean(value[:3], None) == 3
    wide = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    assert losses.masked_mean(wide, torch.tensor([[[1.0, 0.0]]])) == 2


def test_a_weighted_mean_is_the_masked_one_for_zeros_and_ones_and_weighs_fractions():
    value = torch.tensor([1.0, 2.0, 6.0, math.nan])
    mask = torch.tensor([1.0, 0, 1, 0])
    assert losses.weighted_mean(value, mask) == losses.masked_mean(value, mask)
    assert losses.weighted_mean(value, mask * 0.25) == 0.25 * 3.5  # a distrusted batch counts little
    assert losses.weighted_mean(value, torch.tensor([0.5, 1.0, 0, math.nan])) == (0.5 * 1 + 2) / 2
    assert losses.weighted_mean(value, torch.zeros(4)) == 0
    assert losses.weighted_mean(value[:3], None) == 3


def test_losses_take_fractional_weights():
    predicted, target, log_sigma, scale = sample()
    half = torch.full((2, 1, 6, 6), 0.5)
    plain, weighted = (losses.reconstruction(predicted, target, scale, m) for m in (None, half))
    assert float(weighted) == pytest.approx(0.5 * float(plain), rel=1e-5)
    plain, weighted = (losses.uncertainty(predicted, target, log_sigma, scale, mask=m) for m in (None, half))
    assert float(weighted) == pytest.approx(0.5 * float(plain), rel=1e-5)


def test_uncertainty_is_the_divergence_of_a_narrow_normal_up_to_its_constant():
    """KL(N(error, d) || N(0, sigma)) = error^2 / 2 sigma^2 + log sigma + d^2 / 2 sigma^2 - log d - 1/2."""
    predicted, target, log_sigma, scale = sample(3)
    s = scale.view(-1, 1, 1, 1)
    error = (mu_law(predicted * s) - mu_law(target * s)).abs().mean(dim=1, keepdim=True).double()
    d = torch.full_like(error, 1e-6)
    wide = torch.distributions.Normal(torch.zeros_like(error), log_sigma.double().exp())
    divergence = torch.distributions.kl_divergence(torch.distributions.Normal(error, d), wide).mean()
    wanted = float(divergence) + math.log(1e-6) + 0.5
    assert float(losses.uncertainty(predicted, target, log_sigma, scale)) == pytest.approx(wanted, rel=1e-4)


def test_a_floor_under_sigma_bounds_the_surprise():
    predicted, target = torch.zeros(1, 3, 1, 1), torch.full((1, 3, 1, 1), 0.01)
    log_sigma, scale = torch.full((1, 1, 1, 1), math.log(1e-4)), torch.ones(1)
    error = math.log1p(50) / math.log1p(5000)
    wanted = 0.5 * error**2 / (1e-8 + 1e-6) + 0.5 * math.log(1e-8 + 1e-6)
    assert float(losses.uncertainty(predicted, target, log_sigma, scale, floor=1e-3)) == pytest.approx(wanted, rel=1e-4)


def test_motion_is_0_at_the_truth_and_the_distance_elsewhere(batch):
    flow, seen = batch.flow.flatten(0, 1), batch.visible.flatten(0, 1)
    levels = []
    for factor in (8, 4):
        area = torch.nn.functional.avg_pool2d(seen, factor)
        levels.append(torch.nn.functional.avg_pool2d(flow * seen, factor) / area.clamp(min=1e-3) / factor)
    assert float(losses.motion(levels, batch)) == pytest.approx(0.01, abs=1e-3)  # the root's smoothing
    off = [level + torch.tensor([3.0, 4.0]).view(1, 2, 1, 1) for level in levels]
    assert float(losses.motion(off, batch)) == pytest.approx(5, abs=1e-3)
    far = [level + 1000 for level in levels]
    assert float(losses.motion(far, batch)) == pytest.approx(8)  # capped


def prediction(batch, logit, flow=None):
    b, n, _, h, w = batch.frames.shape
    zeros = torch.zeros(b * (n - 1), 2, h // 4, w // 4)
    logits = torch.full((b, n - 1, 1, h, w), logit)
    nothing = torch.zeros(0)
    return MergeDetail(nothing, torch.sigmoid(logits), logits, nothing, (zeros if flow is None else flow,))


def test_trust_is_wanted_where_the_moved_frame_shows_the_truth(batch):
    from dataclasses import replace

    gain = torch.exp2(batch.evs).view(2, -1, 1, 1, 1)
    frames = (batch.target[:, None] * gain).clamp(max=1)
    right = replace(batch, frames=frames)
    assert losses.trust(prediction(right, 6.0), right) < losses.trust(prediction(right, -6.0), right) / 5
    wrong = frames.clone()
    wrong[:, 1:] = wrong[:, 1:].flip(-1) * 0.3  # neither the truth nor as near to it as the reference
    wrong = replace(batch, frames=wrong)
    assert losses.trust(prediction(wrong, -6.0), wrong) < losses.trust(prediction(wrong, 6.0), wrong) / 2
