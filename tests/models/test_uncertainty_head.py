"""The uncertainty head: its equation written out, its bounds and its initial output."""

import math

import pytest
import torch

from smarthdr_cli.models.uncertainty_head import SIGMA_MAX, SIGMA_MIN, UncertaintyHead

pytestmark = pytest.mark.unit


def _features(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("channels", "hidden"), [(60, None), (8, None), (8, 16), (1, None)])
def test_an_untrained_head_of_any_width_gives_one_channel_near_the_middle(channels: int, hidden: int | None) -> None:
    log_sigma = UncertaintyHead(channels, hidden)(_features(2, channels, 9, 11))
    assert log_sigma.shape == (2, 1, 9, 11)
    middle = math.log(math.sqrt(SIGMA_MIN * SIGMA_MAX))
    assert (log_sigma - middle).abs().max() < 1.0


@torch.no_grad()
def test_the_output_is_the_sigmoid_between_the_bounds_on_a_log_scale() -> None:
    head = UncertaintyHead(4)
    x = _features(1, 4, 6, 5)
    first, _, second = head.branch
    y = torch.nn.functional.conv2d(x, first.weight, first.bias, padding=1)
    y = torch.nn.functional.conv2d(torch.where(y > 0, y, 0.1 * y), second.weight, second.bias, padding=1) + x
    y = torch.nn.functional.conv2d(torch.where(y > 0, y, 0.1 * y), head.last.weight, head.last.bias, padding=1)
    s = 1 / (1 + (-y).exp())
    torch.testing.assert_close(head(x).exp(), SIGMA_MIN ** (1 - s) * SIGMA_MAX**s)


@torch.no_grad()
@pytest.mark.parametrize(("bias", "sigma"), [(-1e4, SIGMA_MIN), (1e4, SIGMA_MAX)])
def test_extreme_logits_stop_at_the_bounds(bias: float, sigma: float) -> None:
    head = UncertaintyHead(4)
    head.last.bias.fill_(bias)
    torch.testing.assert_close(head(_features(1, 4, 5, 5)).exp(), torch.full((1, 1, 5, 5), sigma))


def test_output_is_float32_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert UncertaintyHead(8)(_features(1, 8, 8, 8)).dtype == torch.float32


def test_every_parameter_learns_and_the_receptive_radius_is_three() -> None:
    head = UncertaintyHead(3, 5)
    x = _features(1, 3, 15, 15).requires_grad_()
    head(x)[0, 0, 7, 7].backward()
    assert all(p.grad is not None and p.grad.any() for p in head.parameters())
    assert x.grad is not None
    reached = x.grad[0].abs().sum(0).nonzero()
    assert reached.min() == 4
    assert reached.max() == 10


def test_several_outputs_are_one_map_each() -> None:
    log_sigma = UncertaintyHead(8, outputs=4)(_features(1, 8, 6, 7))
    assert log_sigma.shape == (1, 4, 6, 7)
    assert not torch.allclose(log_sigma[:, 0], log_sigma[:, 1])
