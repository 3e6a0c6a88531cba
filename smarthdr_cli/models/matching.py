"""Where a cell went, by its features: a volume of costs over small displacements, and what it expects."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx

from smarthdr_cli.models.tensor_ops import box_mean


def cost_volume(a: Tensor, b: Tensor, radius: int) -> Tensor:
    """(P, (2r+1)**2, h, w) float32: how much ``b`` displaced by up to ``radius`` differs from ``a``.

    Mean squared difference of features in a 5x5 window, divided by its mean over all displacements, so that 0 is a
    perfect match and 1 an ordinary one, whatever the contrast.
    """
    cost = box_mean(squared_gaps(a, b, radius), 5)
    return cost / (cost.mean(dim=1, keepdim=True) + 1e-4)


def squared_gaps(a: Tensor, b: Tensor, radius: int) -> Tensor:
    """(P, (2r+1)**2, h, w) mean over features of (a - displaced b)**2, row by row; edges repeated."""
    gaps: Tensor = _SquaredGaps.apply(a, F.pad(b, (radius,) * 4, mode="replicate"))  # type: ignore[no-untyped-call]
    return gaps


class _SquaredGaps(torch.autograd.Function):
    """One displacement after the other, forward and backward: all of them at once are a hundred megabytes for a crop,
    which a CPU writes and reads again in more time than the convolutions around it take.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, a: Tensor, padded: Tensor) -> Tensor:
        ctx.save_for_backward(a, padded)
        return torch.stack([(a - part).square_().mean(dim=1) for part in _displaced(padded, a)], dim=1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        a, padded = ctx.saved_tensors
        of_a, of_padded = torch.zeros_like(a), torch.zeros_like(padded)
        share = grads[0] * (2 / a.shape[1])
        for tap, (part, into) in enumerate(zip(_displaced(padded, a), _displaced(of_padded, a), strict=True)):
            slope = (a - part).mul_(share[:, tap : tap + 1])
            of_a += slope
            into -= slope
        return of_a, of_padded


def _displaced(padded: Tensor, like: Tensor) -> list[Tensor]:
    """Views of ``padded`` of the size of ``like``, one for each displacement, row by row."""
    h, w = like.shape[-2:]
    rows, columns = padded.shape[-2] - h + 1, padded.shape[-1] - w + 1
    return [padded[..., y : y + h, x : x + w] for y in range(rows) for x in range(columns)]


def best_match(cost: Tensor, radius: int, sharpness: Tensor) -> Tensor:
    """(P, 2, h, w) expected displacement (x, y) in cells under softmax(-sharpness * cost)."""
    step = torch.arange(-radius, radius + 1, device=cost.device, dtype=torch.float32)
    y, x = (v.flatten().view(1, -1, 1, 1) for v in torch.meshgrid(step, step, indexing="ij"))
    share = torch.softmax(-sharpness * cost, dim=1)
    return torch.cat([(share * x).sum(dim=1, keepdim=True), (share * y).sum(dim=1, keepdim=True)], dim=1)
