"""Layers of saf: the image pyramid, the cost volume and the state that one pyramid level hands to the next.

Cost of displacement d at cell p, from features a, b of the two frames, N(p) the 5x5 window around p:

    c(p, d) = mean over q in N(p) and features of (a(q) - b(q + d))^2 / mean of the same over all d
    match(p) = sum_d d softmax_d(-s c(p, d)),   s a learned sharpness (soft argmin, Kendall et al. 2017, GC-Net, eq. 1)

The division makes 0 a perfect match and 1 an average one at every contrast.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx

from smarthdr_cli.models.tensor_ops import box_mean

CELL = 4  # pixels along the side of a cell, the unit in which trust is decided and features are folded
COARSEST_SIDE = 16  # cells; the short side of the coarsest level is below it
COST_WINDOW = 5  # cells
COST_FLOOR = 1e-4  # squared feature difference: keeps the division finite where two images are equal


@dataclass(frozen=True)
class Motion:
    """State of one pyramid level for P frame pairs.

    ``flow``: (P, 2, h, w) displacement (x, y) in that level's pixels. ``logit``: (P, 1, h, w) trust. ``hidden``:
    (P, C, h, w) recurrent features.
    """

    flow: Tensor
    logit: Tensor
    hidden: Tensor


def fold(planes: Tensor) -> Tensor:
    """(P, C, H, W) to (P, C * CELL**2, H / CELL, W / CELL): ``pixel_unshuffle``, faster in bfloat16 on a CPU."""
    p, c, h, w = planes.shape
    cells = planes.view(p, c, h // CELL, CELL, w // CELL, CELL).permute(0, 1, 3, 5, 2, 4)
    return cells.reshape(p, c * CELL * CELL, h // CELL, w // CELL)


def pyramid(image: Tensor, finest: int = CELL) -> list[Tensor]:
    """Box-averaged levels of (P, 3, H, W), from the coarsest (short side 8 to 15) to cells of ``finest`` pixels."""
    levels = [F.avg_pool2d(image, CELL)]
    while min(levels[-1].shape[-2:]) >= COARSEST_SIDE:
        levels.append(F.avg_pool2d(levels[-1], 2))
    finer = [F.avg_pool2d(image, side) for side in (2, 1) if finest <= side]
    return levels[::-1] + finer


def upsample(state: Motion, factor: int) -> Motion:
    """The state of a level at ``factor`` times its resolution."""
    planes = (state.flow * factor, state.logit, state.hidden)
    return Motion(*(F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False) for x in planes))


def cost_volume(a: Tensor, b: Tensor, radius: int) -> Tensor:
    """c: (P, C, h, w) features to (P, (2r+1)**2, h, w) float32 costs of all displacements of ``b`` up to ``radius``."""
    cost = box_mean(squared_differences(a, b, radius), COST_WINDOW)
    return cost / (cost.mean(dim=1, keepdim=True) + COST_FLOOR)


def squared_differences(a: Tensor, b: Tensor, radius: int) -> Tensor:
    """(P, (2r+1)**2, h, w) mean over features of (a - displaced b)**2, row by row; edges are repeated."""
    padded = F.pad(b, (radius,) * 4, mode="replicate")
    differences: Tensor = _SquaredDifferences.apply(a, padded)  # type: ignore[no-untyped-call]
    return differences


class _SquaredDifferences(torch.autograd.Function):
    """One displacement at a time, forward and backward.

    All displacements at once are a hundred megabytes per training crop; a CPU needs longer to write and read them than
    for the convolutions around them.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, a: Tensor, padded: Tensor) -> Tensor:
        ctx.save_for_backward(a, padded)
        return torch.stack([(a - view).square_().mean(dim=1) for view in _displaced(padded, a)], dim=1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        a, padded = ctx.saved_tensors
        grad_a, grad_padded = torch.zeros_like(a), torch.zeros_like(padded)
        scaled = grads[0] * (2 / a.shape[1])
        views = zip(_displaced(padded, a), _displaced(grad_padded, a), strict=True)
        for displacement, (view, grad_view) in enumerate(views):
            slope = (a - view).mul_(scaled[:, displacement : displacement + 1])
            grad_a += slope
            grad_view -= slope
        return grad_a, grad_padded


def _displaced(padded: Tensor, like: Tensor) -> list[Tensor]:
    """Views of ``padded`` with the size of ``like``, one for each displacement, row by row."""
    h, w = like.shape[-2:]
    rows, columns = padded.shape[-2] - h + 1, padded.shape[-1] - w + 1
    return [padded[..., y : y + h, x : x + w] for y in range(rows) for x in range(columns)]


def soft_argmin(cost: Tensor, radius: int, sharpness: Tensor) -> Tensor:
    """match: (P, 2, h, w) expected displacement (x, y) in cells under softmax(-sharpness * cost)."""
    step = torch.arange(-radius, radius + 1, device=cost.device, dtype=torch.float32)
    y, x = (v.flatten().view(1, -1, 1, 1) for v in torch.meshgrid(step, step, indexing="ij"))
    probability = torch.softmax(-sharpness * cost, dim=1)
    return torch.cat([(probability * x).sum(dim=1, keepdim=True), (probability * y).sum(dim=1, keepdim=True)], dim=1)
