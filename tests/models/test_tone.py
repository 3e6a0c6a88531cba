"""Tone curves against closed forms."""

import math

import pytest
import torch

from smarthdr_cli.models.tensor_ops import encode, inverse_mu_law, mu_law
from smarthdr_cli.radiometry import MU


def test_mu_law_and_its_inverse():
    h = torch.tensor([0.0, 1e-6, 1e-3, 0.5, 1.0, 4.0])
    wanted = [math.log(1 + MU * v) / math.log(1 + MU) for v in h.tolist()]
    assert torch.allclose(mu_law(h), torch.tensor(wanted), atol=1e-6)
    assert torch.allclose(inverse_mu_law(mu_law(h)), h, rtol=1e-4, atol=1e-9)
    assert mu_law(torch.tensor([-1.0])) == 0


def test_mu_law_has_a_gradient_at_0():
    h = torch.zeros(3, requires_grad=True)
    mu_law(h).sum().backward()
    assert torch.allclose(h.grad, torch.full((3,), MU / math.log(1 + MU)))


def test_encoding_is_the_gamma_code_with_a_finite_slope():
    x = torch.tensor([0.0, 0.2, 1.0, 1.5], requires_grad=True)
    code = encode(x)
    assert code[1].item() == pytest.approx(0.2 ** (1 / 2.2))
    assert code[2] == code[3] == 1
    code.sum().backward()
    assert x.grad.isfinite().all()
