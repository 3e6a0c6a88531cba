"""Tone curves and box filters on tensors.

- mu-law: T(h) = log(1 + mu h) / log(1 + mu), mu = 5000 (Kalantari and Ramamoorthi 2017, eq. 5): the domain of losses,
  metrics and sigma;
- gamma code: clip(x, 0, 1) ** (1 / 2.2): the input of the networks;
- mean and maximum over a square window, of the pixels that lie inside the image.

Without gradients the box filters add shifted rows, then shifted columns: 2n operations per pixel instead of the n * n
of torch's pooling on a CPU, ten times faster for the windows used here. With gradients they are torch's pooling.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from smarthdr_cli.radiometry import GAMMA, MU

MIN_LIGHT = 1e-7  # linear; below it the gamma code is taken as constant, so that its slope stays finite at 0
_LOG_MU1 = math.log1p(MU)


def mu_law(h: Tensor) -> Tensor:
    """T(h) for h >= 0, any shape; negative values count as 0."""
    return torch.log1p(MU * h.clamp(min=0)) / _LOG_MU1


def inverse_mu_law(t: Tensor) -> Tensor:
    """The inverse of ``mu_law``."""
    return torch.expm1(t * _LOG_MU1) / MU


def encode(linear: Tensor) -> Tensor:
    """Linear light to its gamma code in [0, 1], any shape (docs/METHOD.md, section 1)."""
    if torch.is_grad_enabled():
        # exp2(log2) takes half the time of a power, forward and backward.
        return torch.exp2(linear.clamp(MIN_LIGHT, 1).log2() * (1 / GAMMA))
    return linear.clamp(MIN_LIGHT, 1).log2_().mul_(1 / GAMMA).exp2_()


def enlarge(x: Tensor, factor: int) -> Tensor:
    """(..., h, w) to (..., factor h, factor w), bilinear."""
    flat = x.reshape(-1, 1, *x.shape[-2:]).float()
    wide = F.interpolate(flat, scale_factor=factor, mode="bilinear", align_corners=False)
    return wide.reshape(*x.shape[:-2], *wide.shape[-2:])


def box_mean(x: Tensor, side: int) -> Tensor:
    """(..., C, H, W) mean over the ``side`` x ``side`` pixels around each pixel; ``side`` is odd."""
    if torch.is_grad_enabled():
        return F.avg_pool2d(x, side, 1, side // 2, count_include_pad=False)
    total = _slide(_slide(x, side, -2, 0.0, Tensor.add_), side, -1, 0.0, Tensor.add_)
    return total.mul_(_inverse_count(x, side, -2)).mul_(_inverse_count(x, side, -1))


def box_max(x: Tensor, side: int) -> Tensor:
    """(..., C, H, W) maximum over the ``side`` x ``side`` pixels around each pixel; ``side`` is odd."""
    if torch.is_grad_enabled():
        return F.max_pool2d(x, side, 1, side // 2)
    return _slide(_slide(x, side, -2, -torch.inf, _maximum_), side, -1, -torch.inf, _maximum_)


def _maximum_(a: Tensor, b: Tensor) -> Tensor:
    """The larger values, in place of ``a``."""
    return torch.maximum(a, b, out=a)


def _slide(x: Tensor, side: int, axis: int, padding: float, combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """``combine`` over the ``side`` neighbours of each pixel along one axis."""
    half = side // 2
    padded = F.pad(x, (0, 0, half, half) if axis == -2 else (half, half, 0, 0), value=padding)
    length = x.shape[axis]
    result = padded.narrow(axis, 0, length).clone()
    for offset in range(1, side):
        combine(result, padded.narrow(axis, offset, length))
    return result


def _inverse_count(x: Tensor, side: int, axis: int) -> Tensor:
    """1 / number of the ``side`` neighbours along one axis that lie inside the image."""
    length, half = x.shape[axis], side // 2
    index = torch.arange(length, device=x.device)
    count = (index + half).clamp(max=length - 1) - (index - half).clamp(min=0) + 1
    inverse = count.to(x.dtype).reciprocal()
    return inverse[:, None] if axis == -2 else inverse
