"""Pyramid, folded cells and the cost volume, against torch and plain loops."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from smarthdr_cli.models.saf_layers import (
    Motion,
    cost_volume,
    fold,
    pyramid,
    soft_argmin,
    squared_differences,
    upsample,
)

pytestmark = pytest.mark.unit


def test_the_short_side_of_the_coarsest_level_is_below_16():
    shapes = [tuple(level.shape[-2:]) for level in pyramid(torch.rand(1, 3, 256, 192))]
    assert shapes == [(16, 12), (32, 24), (64, 48)]
    assert 8 <= min(shapes[0]) < 16
    finer = [tuple(level.shape[-2:]) for level in pyramid(torch.rand(1, 3, 256, 192), 1)]
    assert finer == [*shapes, (128, 96), (256, 192)]
    assert len(pyramid(torch.rand(1, 3, 256, 192), 2)) == len(shapes) + 1


def test_an_upsampled_state_keeps_its_displacement_in_image_pixels():
    state = upsample(Motion(torch.full((1, 2, 4, 5), 1.5), torch.ones(1, 1, 4, 5), torch.zeros(1, 3, 4, 5)), 2)
    assert (state.flow == 3).all()
    assert state.flow.shape[-2:] == state.logit.shape[-2:] == state.hidden.shape[-2:] == (8, 10)


def test_folding_is_pixel_unshuffle():
    planes = torch.rand(2, 3, 12, 20, generator=torch.Generator().manual_seed(3))
    assert torch.equal(fold(planes), torch.nn.functional.pixel_unshuffle(planes, 4))


def unfolded(a: Tensor, b: Tensor, radius: int) -> Tensor:
    """All displacements of all features at once, for autograd to differentiate."""
    p, c, h, w = a.shape
    side = 2 * radius + 1
    shifted = F.unfold(F.pad(b, (radius,) * 4, mode="replicate"), side).view(p, c, side * side, h, w)
    return (a[:, :, None] - shifted).square().mean(dim=1)


def test_squared_differences_and_gradients_equal_those_of_all_displacements_at_once():
    generator = torch.Generator().manual_seed(7)
    a, b, weight = (torch.rand(2, n, 13, 10, generator=generator, dtype=torch.float64) for n in (5, 5, 25))
    slopes = []
    for differences in (squared_differences, unfolded):
        inputs = a.clone().requires_grad_(), b.clone().requires_grad_()
        result = differences(*inputs, 2)
        torch.testing.assert_close(result, unfolded(a, b, 2))
        slopes.append(torch.autograd.grad((result * weight).sum(), inputs))
    torch.testing.assert_close(slopes[0], slopes[1])


def test_the_cost_volume_by_loops():
    generator = torch.Generator().manual_seed(2)
    a, b = (torch.rand(1, 4, 9, 11, generator=generator) for _ in range(2))
    volume = cost_volume(a, b, 2)
    assert volume.shape == (1, 25, 9, 11)

    def cost(y, x, dy, dx):
        total, count = 0.0, 0
        for v in range(max(y - 2, 0), min(y + 3, 9)):
            for u in range(max(x - 2, 0), min(x + 3, 11)):
                at = b[0, :, min(max(v + dy, 0), 8), min(max(u + dx, 0), 10)]
                total, count = total + float((a[0, :, v, u] - at).square().mean()), count + 1
        return total / count

    for y, x in ((0, 0), (4, 5), (8, 10)):
        every = [cost(y, x, tap // 5 - 2, tap % 5 - 2) for tap in range(25)]
        for tap in (0, 7, 12, 24):
            assert volume[0, tap, y, x].item() == pytest.approx(every[tap] / (np.mean(every) + 1e-4), rel=1e-4)


def test_the_soft_argmin_is_the_true_shift():
    generator = torch.Generator().manual_seed(3)
    a = torch.rand(1, 6, 24, 24, generator=generator)
    b = torch.roll(a, (1, -2), (2, 3))  # what stood at (x, y) stands at (x - 2, y + 1)
    match = soft_argmin(cost_volume(a, b, 2), 2, torch.tensor(50.0))[..., 5:-5, 5:-5]
    assert torch.allclose(match[:, 0], torch.full_like(match[:, 0], -2.0), atol=1e-3)
    assert torch.allclose(match[:, 1], torch.full_like(match[:, 1], 1.0), atol=1e-3)
