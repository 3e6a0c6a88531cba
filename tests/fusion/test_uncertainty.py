"""What sigma is made of: the judge, its calibration, noise, and what lies beyond the network's reach."""

import pytest
import torch

from smarthdr_cli.fusion.uncertainty import calibrated_sigma, sigma_of_rejected_frames
from smarthdr_cli.models.merge import merge
from smarthdr_cli.models.tensor_ops import mu_law
from smarthdr_cli.models.uncertainty_calibration import Calibration

HALVED = Calibration((1e-3, 1e-1), (5e-4, 5e-2), 0.68, 1000)
EVS = torch.tensor([[0.0, -1.0, 1.0]])
TRUST = torch.ones(1, 2, 1, 32, 32)


def stack_of(noise, evs=EVS):
    draw = torch.Generator().manual_seed(0)
    light = torch.full((1, 3, 32, 32), 0.1)
    shown = torch.stack([light * 2.0 ** float(ev) for ev in evs[0]], dim=1)
    return (shown + noise * torch.randn(shown.shape, generator=draw)).clamp(0, 1)


def judged_of(stack, calibration, log_sigma=-4.0, evs=EVS, floor=0.0):
    said, floor = torch.full((1, 1, 32, 32), log_sigma), torch.as_tensor(floor).expand(1, 1, 32, 32)
    return calibrated_sigma(said, calibration, stack, evs, TRUST, merge(stack, evs, TRUST)[0], floor)


def test_a_clean_burst_has_the_calibrated_sigma():
    sigma = judged_of(stack_of(0.0), HALVED)
    assert float(sigma.min()) == pytest.approx(float(torch.tensor(-4.0).exp()) / 2, rel=1e-5)
    assert float(sigma.max()) == pytest.approx(float(sigma.min()))


def test_sigma_is_no_less_than_the_floor():
    floor = torch.linspace(0, 0.1, 32).expand(1, 1, 32, 32)
    plain = judged_of(stack_of(0.0), HALVED)
    assert torch.equal(judged_of(stack_of(0.0), HALVED, floor=floor), torch.maximum(plain, floor))


def test_without_a_calibration_the_floor_is_left_out():
    assert torch.allclose(judged_of(stack_of(0.0), None, floor=0.5), torch.full((1, 1, 32, 32), -4.0).exp())


def test_beyond_reach_the_judge_says_no_more_than_it_was_calibrated_on():
    evs = torch.tensor([[0.0, -8.0, 1.0]])
    sigma = judged_of(stack_of(0.0, evs), HALVED, log_sigma=-0.1, evs=evs)
    assert float(sigma.max()) == pytest.approx(5e-2, rel=1e-4)


def test_overruled_is_what_they_would_have_changed():
    stack = stack_of(0.0)
    meant = stack.clone()
    meant[:, 2, ..., 16:] = 0.6  # not 0.2: would have been 0.3 in the reference's units
    sigma = sigma_of_rejected_frames(stack, meant, EVS, TRUST, None)
    other = merge(meant, EVS, TRUST)[0][..., -1, -1]
    expected = (mu_law(other * 0.5) - mu_law(torch.tensor(0.1) * 0.5)).abs().mean()
    assert float(sigma[..., :16].max()) < 1e-6
    assert float(sigma[..., -1, -1]) == pytest.approx(float(expected), rel=1e-4)
