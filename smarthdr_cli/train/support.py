"""Masks for losses that look at neighbourhoods: what may be looked at, and what a masked pixel is replaced by.

A pixel's weight must hold for everything computed from it, so a place weighs the least of the pixels it is computed
from: a minimum filter of the same size and stride as the operation. Outside the picture nothing is masked.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from smarthdr_cli.models.tensor_ops import mu_law


def tone_pair(
    predicted: Tensor, target: Tensor, scale_short: Tensor, weight: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """T(prediction), T(target) as (B, 3, H, W), and the weight (B, 1, H, W) with NaN taken for 0.

    Where the weight is 0 both pictures show the prediction, detached (0 where that is not finite), so that masked
    pixels make neither a difference nor an edge, nor a gradient. The target gets no gradient.
    """
    scale = scale_short.view(-1, 1, 1, 1)
    target = target.detach()
    if weight is not None:
        weight = torch.where(weight > 0, weight, torch.zeros_like(weight))
        kept = weight > 0
        filling = torch.nan_to_num(predicted.detach(), nan=0.0, posinf=0.0, neginf=0.0)
        predicted = torch.where(kept, predicted, filling)
        target = torch.where(kept, target, filling)
    return mu_law(predicted.float() * scale), mu_law(target.float() * scale), weight


def least(weight: Tensor, size: int, stride: int = 1, padding: int = 0) -> Tensor:
    """(B, 1, H, W) weights through a minimum filter of ``size`` with a convolution's or a pooling's geometry."""
    return -F.max_pool2d(-weight, size, stride, padding)
