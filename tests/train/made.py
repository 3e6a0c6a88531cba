"""Pairs of pictures for the losses, and the one property all of them share."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def pair(height=48, width=56, seed=0):
    """Prediction and target (2, 3, H, W), smooth enough to look like pictures."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(2, 2, 3, height // 4, width // 4, generator=generator)
    big = torch.nn.functional.interpolate(coarse.flatten(0, 1), size=(height, width), mode="bilinear").view(
        2, 2, 3, height, width
    )
    big = big + 0.1 * torch.rand(big.shape, generator=generator)
    return big[0] * 2, big[1] * 2


def hole(predicted: Tensor) -> Tensor:
    """A mask with a block missing and one pixel far from it."""
    keep = torch.ones_like(predicted[:, :1])
    keep[:, :, 4:9, 6:15] = 0
    keep[0, :, 30, 40] = 0
    return keep


def check_masked_pixels_do_not_exist(loss: Loss, predicted: Tensor, target: Tensor, keep: Tensor) -> None:
    """Whatever stands in masked pixels of either picture, value and gradient are the same, and none of it reaches."""
    hidden = (keep == 0).expand_as(predicted)
    found = []
    for bad in (0.3, math.nan, math.inf, -math.inf, 1e30):
        leaf = torch.where(hidden, torch.full_like(predicted, bad), predicted).requires_grad_()
        value = loss(leaf, torch.where(hidden, torch.full_like(target, bad), target), keep)
        (slope,) = torch.autograd.grad(value, leaf)
        assert (slope[hidden] == 0).all(), bad
        assert slope.abs().sum() > 0
        assert torch.isfinite(slope).all()
        found.append((value.detach(), slope))
    for value, slope in found[1:]:
        assert torch.allclose(value, found[0][0], rtol=1e-5), value
        assert torch.allclose(slope, found[0][1], rtol=1e-3, atol=1e-7)
    assert loss(predicted, predicted.detach(), keep) == 0
    nothing = loss(predicted.clone().requires_grad_(), target, torch.zeros_like(keep))
    assert nothing == 0
    nan = torch.where(keep > 0, keep, torch.full_like(keep, math.nan))
    assert torch.allclose(loss(predicted, target, nan), loss(predicted, target, keep))
