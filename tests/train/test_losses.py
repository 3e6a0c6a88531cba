"""The losses against independent formulas, their weighted sum, and masks that let nothing through."""

import math
from dataclasses import replace

import pytest
import torch

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.models.base import MergeDetail, Prediction
from smarthdr_cli.models.tensor_ops import mu_law
from smarthdr_cli.train import losses
from smarthdr_cli.train.config import train_config
from smarthdr_cli.train.forward import forward
from smarthdr_cli.train.losses import objective
from smarthdr_cli.train.perceptual_losses import BLOCKS, VGGFeatures
from smarthdr_cli.train.state import new_state
from tests.support.training import hole, pair

CPU = torch.device("cpu")
FACTORS = {"reconstruction": 1.0, "square": 5.0, "uncertainty": 0.3, "merged": 0.7, "vgg": 0.2, "motion": 0.8,
           "trust": 0.9}  # fmt: skip
WEIGHTS = {f"weight_{name}": factor for name, factor in FACTORS.items() if name != "reconstruction"}


def sample(seed=0, size=6):
    generator = torch.Generator().manual_seed(seed)
    predicted = torch.rand(2, 3, size, size, generator=generator) * 4
    target = torch.rand(2, 3, size, size, generator=generator) * 4
    log_sigma = torch.randn(2, 1, size, size, generator=generator) - 3
    return predicted, target, log_sigma, torch.tensor([0.25, 0.5])


@pytest.mark.parametrize(("name", "of"), [("reconstruction", torch.abs), ("squared", torch.square)])
def test_l1_and_mean_square_are_measured_on_the_mu_law(name, of):
    predicted, target, _, scale = sample()
    total = 0.0
    for b in range(2):
        p, t = (torch.log1p(5000 * x[b] * scale[b]) / math.log(5001) for x in (predicted, target))
        total += float(of(p - t).mean()) / 2
    assert float(getattr(losses, name)(predicted, target, scale)) == pytest.approx(total, rel=1e-5)


def test_uncertainty_is_a_normal_likelihood_up_to_a_constant():
    predicted, target, log_sigma, scale = sample()
    s = scale.view(-1, 1, 1, 1)
    error = (mu_law(predicted * s) - mu_law(target * s)).abs().mean(dim=1, keepdim=True)
    normal = torch.distributions.Normal(torch.zeros_like(error), log_sigma.exp())
    expected = -normal.log_prob(error).mean() - 0.5 * math.log(2 * math.pi)
    assert torch.allclose(losses.uncertainty(predicted, target, log_sigma, scale), expected, rtol=1e-5)


def test_uncertainty_is_minimal_where_sigma_equals_the_error():
    predicted, target, _, scale = sample()
    s = scale.view(-1, 1, 1, 1)
    error = (mu_law(predicted * s) - mu_law(target * s)).abs().mean(dim=1, keepdim=True)
    best = error.log().requires_grad_()
    losses.uncertainty(predicted, target, best, scale).backward()
    assert best.grad.abs().max() < 1e-6


def test_detach_stops_the_gradient_of_the_uncertainty_term():
    predicted, target, log_sigma, scale = sample()
    for detach in (True, False):
        leaf = predicted.clone().requires_grad_()
        sigma = log_sigma.clone().requires_grad_()
        losses.uncertainty(leaf, target, sigma, scale, detach=detach).backward()
        assert sigma.grad.abs().max() > 0
        assert (leaf.grad is None) == detach


@pytest.mark.parametrize("name", ["reconstruction", "squared", "uncertainty"])
def test_masked_pixels_reach_neither_value_nor_gradient(name):
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

    clean, gradients = value(predicted, target, log_sigma)
    for bad in (math.nan, math.inf, 7.0):
        dirty = [
            torch.where(hidden[:, : x.shape[1]], torch.full_like(x, bad), x) for x in (predicted, target, log_sigma)
        ]
        result, again = value(*dirty)
        assert result == pytest.approx(clean, rel=1e-6)
        for one, other in zip(gradients, again, strict=True):
            assert torch.equal(one, other)
            assert (other[hidden[:, : other.shape[1]]] == 0).all()


def test_masked_mean_divides_by_the_kept_elements():
    value = torch.tensor([1.0, 2.0, 6.0, math.nan])
    assert losses.masked_mean(value, torch.tensor([1.0, 0, 1, 0])) == 3.5
    assert losses.masked_mean(value, torch.zeros(4)) == 0
    assert losses.masked_mean(value[:3], None) == 3
    wide = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    assert losses.masked_mean(wide, torch.tensor([[[1.0, 0.0]]])) == 2


def test_weighted_mean_equals_masked_mean_for_binary_weights():
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


def test_uncertainty_is_the_kl_divergence_of_a_narrow_normal_up_to_a_constant():
    """KL(N(error, d) || N(0, sigma)) = error^2 / 2 sigma^2 + log sigma + d^2 / 2 sigma^2 - log d - 1/2."""
    predicted, target, log_sigma, scale = sample(3)
    s = scale.view(-1, 1, 1, 1)
    error = (mu_law(predicted * s) - mu_law(target * s)).abs().mean(dim=1, keepdim=True).double()
    d = torch.full_like(error, 1e-6)
    wide = torch.distributions.Normal(torch.zeros_like(error), log_sigma.double().exp())
    divergence = torch.distributions.kl_divergence(torch.distributions.Normal(error, d), wide).mean()
    expected = float(divergence) + math.log(1e-6) + 0.5
    assert float(losses.uncertainty(predicted, target, log_sigma, scale)) == pytest.approx(expected, rel=1e-4)


def test_floor_bounds_the_loss_of_an_overconfident_pixel():
    predicted, target = torch.zeros(1, 3, 1, 1), torch.full((1, 3, 1, 1), 0.01)
    log_sigma, scale = torch.full((1, 1, 1, 1), math.log(1e-4)), torch.ones(1)
    error = math.log1p(50) / math.log1p(5000)
    expected = 0.5 * error**2 / (1e-8 + 1e-6) + 0.5 * math.log(1e-8 + 1e-6)
    assert float(losses.uncertainty(predicted, target, log_sigma, scale, floor=1e-3)) == pytest.approx(
        expected, rel=1e-4
    )


def test_end_point_error_is_the_capped_distance_to_the_true_flow(batch):
    flow, visible = batch.flow.flatten(0, 1), batch.visible.flatten(0, 1)
    levels = []
    for factor in (8, 4):
        area = torch.nn.functional.avg_pool2d(visible, factor)
        levels.append(torch.nn.functional.avg_pool2d(flow * visible, factor) / area.clamp(min=1e-3) / factor)
    assert float(losses.end_point_error(levels, batch)) == pytest.approx(0.01, abs=1e-3)  # the root's smoothing
    off = [level + torch.tensor([3.0, 4.0]).view(1, 2, 1, 1) for level in levels]
    assert float(losses.end_point_error(off, batch)) == pytest.approx(5, abs=1e-3)
    far = [level + 1000 for level in levels]
    assert float(losses.end_point_error(far, batch)) == pytest.approx(8)  # capped


def detail(batch, logit, flow=None):
    b, n, _, h, w = batch.frames.shape
    zeros = torch.zeros(b * (n - 1), 2, h // 4, w // 4)
    logits = torch.full((b, n - 1, 1, h, w), logit)
    nothing = torch.zeros(0)
    return MergeDetail(nothing, torch.sigmoid(logits), logits, nothing, (zeros if flow is None else flow,))


def test_trust_is_learned_where_the_warped_frame_shows_the_truth(batch):
    gain = torch.exp2(batch.evs).view(2, -1, 1, 1, 1)
    frames = (batch.target[:, None] * gain).clamp(max=1)
    right = replace(batch, frames=frames)
    assert losses.trust(detail(right, 6.0), right) < losses.trust(detail(right, -6.0), right) / 5
    wrong = frames.clone()
    wrong[:, 1:] = wrong[:, 1:].flip(-1) * 0.3  # neither the truth nor as near to it as the reference
    wrong = replace(batch, frames=wrong)
    assert losses.trust(detail(wrong, -6.0), wrong) < losses.trust(detail(wrong, 6.0), wrong) / 2


@pytest.fixture(scope="module")
def vgg():
    """A network of two features a layer."""
    draw, state, width = torch.Generator().manual_seed(0), {}, 3
    for number in (n for block in BLOCKS for n in block):
        state[f"features.{number}.weight"] = torch.randn(2, width, 3, 3, generator=draw) / 5
        state[f"features.{number}.bias"] = torch.rand(2, generator=draw)
        width = 2
    return VGGFeatures(state)


def test_the_loss_is_the_weighted_sum_of_its_named_terms(values, batch, vgg):
    config = train_config(values | WEIGHTS)
    out = forward(new_state(config, CPU).student, batch)
    total, terms = objective(out, batch, config, vgg=vgg)
    assert terms.keys() == FACTORS.keys()
    assert float(total.detach()) == pytest.approx(sum(FACTORS[k] * float(v) for k, v in terms.items()), rel=1e-5)
    assert not any(v.requires_grad for v in terms.values())
    plain = losses.reconstruction(out.radiance, batch.target, batch.scale_short)
    assert terms["reconstruction"] == plain


@pytest.mark.parametrize(
    ("without", "names"),
    [
        ({"weight_vgg": 0.0}, {"vgg"}),
        ({"weight_merged": 0.0, "weight_square": 0.0}, {"merged", "square"}),
    ],
)
def test_terms_without_weight_or_truth_are_left_out(values, batch, vgg, without, names):
    config = train_config(values | WEIGHTS | without)
    _, terms = objective(forward(new_state(config, CPU).student, batch), batch, config, vgg=vgg)
    assert terms.keys() == FACTORS.keys() - names
    real = replace(batch, flow=None, visible=None)
    _, terms = objective(forward(new_state(config, CPU).student, real), real, config)
    assert terms.keys() == FACTORS.keys() - names - {"vgg", "motion", "trust"}


def test_detach_keeps_the_uncertainty_term_from_the_prediction(values):
    predicted, target = pair()
    evs = torch.tensor([[0.0, -1.0, 1.0]] * 2)
    batch = Batch(target[:, None].expand(-1, 3, -1, -1, -1), evs, torch.ones(2, 3, 1, 48, 56), target)
    gradients = {}
    for detach in (True, False):
        config = train_config(values | {"detach": detach, "weight_uncertainty": 1.0})
        light = predicted.clone().requires_grad_()
        sigma = torch.full((2, 1, 48, 56), -3.0, requires_grad=True)
        objective(Prediction(light, sigma), batch, config)[0].backward()
        assert sigma.grad.abs().sum() > 0
        gradients[detach] = light.grad
    light = predicted.clone().requires_grad_()
    losses.reconstruction(light, target, batch.scale_short).backward()
    torch.testing.assert_close(gradients[True], light.grad)
    assert (gradients[False] - light.grad).abs().max() > 1e-6


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf, 1e30])
def test_no_term_reads_a_target_of_weight_0(values, batch, vgg, bad):
    """Value and gradients of all weights are the same bit for bit, whatever the target holds there."""
    config = train_config(values | WEIGHTS)
    real = replace(batch, flow=None, visible=None)
    weight = hole(real.target)
    hidden = (weight == 0).expand_as(real.target)
    result = []
    for content in (real.target, torch.where(hidden, bad, real.target)):
        student = new_state(config, CPU).student
        given = replace(real, target=content)
        total, _ = objective(forward(student, given), given, config, weight, vgg)
        total.backward()
        result.append((total.detach(), [p.grad for p in student.parameters()]))
    assert torch.equal(result[0][0], result[1][0])
    for one, two in zip(result[0][1], result[1][1], strict=True):
        assert (one is None) == (two is None)
        assert one is None or (torch.equal(one, two) and one.isfinite().all())
