"""The parts of sigma: uncertainty head, calibration, noise floor, frames outside the trained range."""

import pytest
import torch

from smarthdr_cli.fusion.uncertainty import calibrated_sigma, sigma_of_rejected_frames
from smarthdr_cli.models.merge import merge
from smarthdr_cli.models.tensor_ops import mu_law
from smarthdr_cli.models.uncertainty_calibration import Calibration

HALVED = Calibration((1e-3, 1e-1), (5e-4, 5e-2), 0.68, 1000)
EVS = torch.tensor([[0.0, -1.0, 1.0]])
TRUST = torch.ones(1, 2, 1, 32, 32)
pytestmark = pytest.mark.unit


def stack_of(noise, evs=EVS):
    generator = torch.Generator().manual_seed(0)
    light = torch.full((1, 3, 32, 32), 0.1)
    exposed = torch.stack([light * 2.0 ** float(ev) for ev in evs[0]], dim=1)
    return (exposed + noise * torch.randn(exposed.shape, generator=generator)).clamp(0, 1)


def sigma_of(stack, calibration, log_sigma=-4.0, evs=EVS, floor=0.0):
    output, floor = torch.full((1, 1, 32, 32), log_sigma), torch.as_tensor(floor).expand(1, 1, 32, 32)
    return calibrated_sigma(output, calibration, stack, evs, TRUST, merge(stack, evs, TRUST)[0], floor)


def test_a_clean_burst_has_the_calibrated_sigma():
    sigma = sigma_of(stack_of(0.0), HALVED)
    assert float(sigma.min()) == pytest.approx(float(torch.tensor(-4.0).exp()) / 2, rel=1e-5)
    assert float(sigma.max()) == pytest.approx(float(sigma.min()))


def test_sigma_is_at_least_the_floor():
    floor = torch.linspace(0, 0.1, 32).expand(1, 1, 32, 32)
    plain = sigma_of(stack_of(0.0), HALVED)
    assert torch.equal(sigma_of(stack_of(0.0), HALVED, floor=floor), torch.maximum(plain, floor))


def test_without_a_calibration_there_is_no_floor():
    assert torch.allclose(sigma_of(stack_of(0.0), None, floor=0.5), torch.full((1, 1, 32, 32), -4.0).exp())


def test_in_wider_brackets_than_trained_sigma_is_at_most_the_largest_calibrated_value():
    evs = torch.tensor([[0.0, -8.0, 1.0]])
    sigma = sigma_of(stack_of(0.0, evs), HALVED, log_sigma=-0.1, evs=evs)
    assert float(sigma.max()) == pytest.approx(5e-2, rel=1e-4)


def test_rejected_frames_raise_sigma_by_their_effect_on_the_merge():
    stack = stack_of(0.0)
    unfilled = stack.clone()
    unfilled[:, 2, ..., 16:] = 0.6  # instead of 0.2: 0.3 in reference units
    sigma = sigma_of_rejected_frames(stack, unfilled, EVS, TRUST, None)
    other = merge(unfilled, EVS, TRUST)[0][..., -1, -1]
    expected = (mu_law(other * 0.5) - mu_law(torch.tensor(0.1) * 0.5)).abs().mean()
    assert float(sigma[..., :16].max()) < 1e-6
    assert float(sigma[..., -1, -1]) == pytest.approx(float(expected), rel=1e-4)
