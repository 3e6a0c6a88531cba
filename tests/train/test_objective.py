"""The sum of the terms, and that a pixel of weight 0 is in none of them."""

from dataclasses import replace

import pytest
import torch
import train_pictures as made

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.models.base import Prediction
from smarthdr_cli.train import losses
from smarthdr_cli.train.config import train_config
from smarthdr_cli.train.estimate import estimate
from smarthdr_cli.train.objective import objective
from smarthdr_cli.train.perceptual_losses import BLOCKS, Source, VGGFeatures
from smarthdr_cli.train.state import new_state

CPU = torch.device("cpu")
FACTORS = {"reconstruction": 1.0, "square": 5.0, "uncertainty": 0.3, "merged": 0.7, "vgg": 0.2, "motion": 0.8,
           "trust": 0.9}  # fmt: skip
WEIGHTS = {f"weight_{name}": factor for name, factor in FACTORS.items() if name != "reconstruction"}


@pytest.fixture(scope="module")
def vgg():
    """A network of two features a layer."""
    draw, state, width = torch.Generator().manual_seed(0), {}, 3
    for number in (n for block in BLOCKS for n in block):
        state[f"features.{number}.weight"] = torch.randn(2, width, 3, 3, generator=draw) / 5
        state[f"features.{number}.bias"] = torch.rand(2, generator=draw)
        width = 2
    return VGGFeatures(state, Source("test", ""))


def test_the_loss_is_the_weighted_sum_of_its_named_terms(values, batch, vgg):
    config = train_config(values | WEIGHTS)
    out = estimate(new_state(config, CPU).student, batch)
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
def test_a_term_without_weight_is_not_computed(values, batch, vgg, without, names):
    config = train_config(values | WEIGHTS | without)
    _, terms = objective(estimate(new_state(config, CPU).student, batch), batch, config, vgg=vgg)
    assert terms.keys() == FACTORS.keys() - names
    real = replace(batch, flow=None, visible=None)
    _, terms = objective(estimate(new_state(config, CPU).student, real), real, config)
    assert terms.keys() == FACTORS.keys() - names - {"vgg", "motion", "trust"}


def test_the_judge_moves_the_prediction_only_where_asked_to(values):
    predicted, target = made.pair()
    evs = torch.tensor([[0.0, -1.0, 1.0]] * 2)
    batch = Batch(target[:, None].expand(-1, 3, -1, -1, -1), evs, torch.ones(2, 3, 1, 48, 56), target)
    slopes = {}
    for detach in (True, False):
        config = train_config(values | {"detach": detach, "weight_uncertainty": 1.0})
        light = predicted.clone().requires_grad_()
        sigma = torch.full((2, 1, 48, 56), -3.0, requires_grad=True)
        objective(Prediction(light, sigma), batch, config)[0].backward()
        assert sigma.grad.abs().sum() > 0
        slopes[detach] = light.grad
    light = predicted.clone().requires_grad_()
    losses.reconstruction(light, target, batch.scale_short).backward()
    torch.testing.assert_close(slopes[True], light.grad)
    assert (slopes[False] - light.grad).abs().max() > 1e-6


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf, 1e30])
def test_no_term_knows_what_stands_in_a_target_where_its_weight_is_0(values, batch, vgg, bad):
    """Value and the gradients of all weights are the same, bit for bit, whatever is there."""
    config = train_config(values | WEIGHTS)
    real = replace(batch, flow=None, visible=None)
    weight = made.hole(real.target)
    hidden = (weight == 0).expand_as(real.target)
    found = []
    for content in (real.target, torch.where(hidden, bad, real.target)):
        student = new_state(config, CPU).student
        given = replace(real, target=content)
        total, _ = objective(estimate(student, given), given, config, weight, vgg)
        total.backward()
        found.append((total.detach(), [p.grad for p in student.parameters()]))
    assert torch.equal(found[0][0], found[1][0])
    for one, two in zip(found[0][1], found[1][1], strict=True):
        assert (one is None) == (two is None)
        assert one is None or (torch.equal(one, two) and one.isfinite().all())
