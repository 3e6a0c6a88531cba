"""Means and maxima over square windows, the part outside the picture left out.

Without gradients they are sums of shifted rows and columns: 2n additions a pixel where torch's pooling on a CPU makes
n * n, ten times faster for the windows used here. With gradients torch's own are used, whose derivative is cheap.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def box_mean(x: Tensor, side: int) -> Tensor:
    """(..., C, H, W) mean over ``side`` x ``side`` pixels around each (odd), of those inside the picture."""
    if torch.is_grad_enabled():
        return F.avg_pool2d(x, side, 1, side // 2, count_include_pad=False)
    total = _slide(_slide(x, side, -2, 0.0, Tensor.add_), side, -1, 0.0, Tensor.add_)
    return total.mul_(_share(x, side, -2)).mul_(_share(x, side, -1))


def box_max(x: Tensor, side: int) -> Tensor:
    """(..., C, H, W) maximum over ``side`` x ``side`` pixels around each (odd), of those inside the picture."""
    if torch.is_grad_enabled():
        return F.max_pool2d(x, side, 1, side // 2)

    def larger(a: Tensor, b: Tensor) -> Tensor:
        return torch.maximum(a, b, out=a)

    return _slide(_slide(x, side, -2, -torch.inf, larger), side, -1, -torch.inf, larger)


def _slide(x: Tensor, side: int, axis: int, outside: float, join: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """``join`` of the ``side`` neighbours along one axis, itself in the middle; ``outside`` beyond the edges."""
    half = side // 2
    padded = F.pad(x, (0, 0, half, half) if axis == -2 else (half, half, 0, 0), value=outside)
    length = x.shape[axis]
    out = padded.narrow(axis, 0, length).clone()
    for place in range(1, side):
        join(out, padded.narrow(axis, place, length))
    return out


def _share(x: Tensor, side: int, axis: int) -> Tensor:
    """One over how many of the ``side`` neighbours along an axis lie inside, to be multiplied with."""
    length, half = x.shape[axis], side // 2
    at = torch.arange(length, device=x.device)
    inside = (at + half).clamp(max=length - 1) - (at - half).clamp(min=0) + 1
    share = inside.to(x.dtype).reciprocal()
    return share[:, None] if axis == -2 else share
