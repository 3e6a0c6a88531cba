"""Where a cell went, by its features: a volume of costs over small displacements, and what it expects."""

import torch
import torch.nn.functional as F
from torch import Tensor

from smarthdr_cli.models.windows import box_mean


def cost_volume(a: Tensor, b: Tensor, radius: int) -> Tensor:
    """(P, (2r+1)**2, h, w) float32: how much ``b`` displaced by up to ``radius`` differs from ``a``.

    Mean squared difference of features in a 5x5 window, divided by its mean over all displacements, so that 0 is a
    perfect match and 1 an ordinary one, whatever the contrast.
    """
    gaps = squared_gaps(a, b, radius) if torch.is_grad_enabled() else squared_gaps_lean(a, b, radius)
    cost = box_mean(gaps, 5)
    return cost / (cost.mean(dim=1, keepdim=True) + 1e-4)


def squared_gaps(a: Tensor, b: Tensor, radius: int) -> Tensor:
    """(P, (2r+1)**2, h, w) mean over features of (a - displaced b)**2, row by row; quick to differentiate."""
    p, c, h, w = a.shape
    side = 2 * radius + 1
    shifted = F.unfold(F.pad(b, (radius,) * 4, mode="replicate"), side).view(p, c, side * side, h, w)
    return (a[:, :, None] - shifted).square().mean(dim=1)


def squared_gaps_lean(a: Tensor, b: Tensor, radius: int) -> Tensor:
    """The same without holding every displacement of every feature at once."""
    h, w = a.shape[-2:]
    padded = F.pad(b, (radius,) * 4, mode="replicate")
    side = 2 * radius + 1
    taps = [(a - padded[..., y : y + h, x : x + w]).square_().mean(dim=1) for y in range(side) for x in range(side)]
    return torch.stack(taps, dim=1)


def best_match(cost: Tensor, radius: int, sharpness: Tensor) -> Tensor:
    """(P, 2, h, w) expected displacement (x, y) in cells under softmax(-sharpness * cost)."""
    step = torch.arange(-radius, radius + 1, device=cost.device, dtype=torch.float32)
    y, x = (v.flatten().view(1, -1, 1, 1) for v in torch.meshgrid(step, step, indexing="ij"))
    share = torch.softmax(-sharpness * cost, dim=1)
    return torch.cat([(share * x).sum(dim=1, keepdim=True), (share * y).sum(dim=1, keepdim=True)], dim=1)
