"""Window means and maxima against torch's pooling, the plain slow twin."""

import pytest
import torch
import torch.nn.functional as F

from smarthdr_cli.models.tensor_ops import box_max, box_mean


@pytest.mark.parametrize("side", [3, 5, 17])
@pytest.mark.parametrize("shape", [(1, 1, 40, 33), (2, 3, 17, 20), (1, 2, 5, 9), (1, 1, 1, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shifted_sums_are_the_pooling_of_torch(side, shape, dtype):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(side), dtype=dtype)
    before = x.clone()
    with torch.no_grad():
        mean, most = box_mean(x, side), box_max(x, side)
    assert torch.allclose(mean, F.avg_pool2d(x, side, 1, side // 2, count_include_pad=False), atol=1e-6)
    assert torch.equal(most, F.max_pool2d(x, side, 1, side // 2))
    assert torch.equal(x, before)


def test_with_gradients_they_can_be_differentiated():
    x = torch.randn(1, 1, 6, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: box_mean(v, 3), x)
    assert torch.autograd.gradcheck(lambda v: box_max(v, 3), x)
