"""Tone curves against closed forms, box filters against torch's pooling."""

import math

import pytest
import torch
import torch.nn.functional as F

from smarthdr_cli.models.tensor_ops import box_max, box_mean, encode, inverse_mu_law, mu_law
from smarthdr_cli.radiometry import MU

pytestmark = pytest.mark.unit


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


def test_the_gamma_code_has_a_finite_slope_at_0():
    x = torch.tensor([0.0, 0.2, 1.0, 1.5], requires_grad=True)
    code = encode(x)
    assert code[1].item() == pytest.approx(0.2 ** (1 / 2.2))
    assert code[2] == code[3] == 1
    code.sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("side", [3, 5, 17])
@pytest.mark.parametrize("shape", [(1, 1, 40, 33), (2, 3, 17, 20), (1, 2, 5, 9), (1, 1, 1, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_box_filters_equal_the_pooling_of_torch(side, shape, dtype):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(side), dtype=dtype)
    before = x.clone()
    with torch.no_grad():
        mean, maximum = box_mean(x, side), box_max(x, side)
    assert torch.allclose(mean, F.avg_pool2d(x, side, 1, side // 2, count_include_pad=False), atol=1e-6)
    assert torch.equal(maximum, F.max_pool2d(x, side, 1, side // 2))
    assert torch.equal(x, before)


def test_box_filters_have_gradients():
    x = torch.randn(1, 1, 6, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: box_mean(v, 3), x)
    assert torch.autograd.gradcheck(lambda v: box_max(v, 3), x)
