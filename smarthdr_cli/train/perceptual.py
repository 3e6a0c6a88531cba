"""A perceptual term that needs no download: differences between neighbouring pixels at several scales."""

import torch
import torch.nn.functional as F
from torch import Tensor

from smarthdr_cli.train.losses import weighted_mean
from smarthdr_cli.train.support import least, tone_pair


def gradient(
    predicted: Tensor, target: Tensor, scale_short: Tensor, weight: Tensor | None = None, *, levels: int = 4
) -> Tensor:
    """L1 between the forward differences of T(prediction) and T(target), a mean over ``levels`` box-averaged scales.

    (B, 3, H, W) radiance in reference units; ``weight``: (B, 1, H, W), 0 leaves a pixel out. A difference weighs the
    least of the pixels it is made of. Scales of less than two pixels are left out.
    """
    seen, wanted, weight = tone_pair(predicted, target, scale_short, weight)
    gap = seen - wanted  # differences are linear: those of the gap are the gap of those
    terms = []
    for _ in range(levels):
        if min(gap.shape[-2:]) < 2:
            break
        for axis in (-2, -1):
            side = None if weight is None else torch.minimum(_shifted(weight, axis), _kept(weight, axis))
            terms.append(weighted_mean((_shifted(gap, axis) - _kept(gap, axis)).abs(), side))
        gap = F.avg_pool2d(gap, 2)
        weight = None if weight is None else least(weight, 2, 2)
    if not terms:
        raise ValueError(f"gradients need two pixels each way, got {tuple(predicted.shape[-2:])}")
    return torch.stack(terms).mean()


def _shifted(x: Tensor, axis: int) -> Tensor:
    return x.narrow(axis, 1, x.shape[axis] - 1)


def _kept(x: Tensor, axis: int) -> Tensor:
    return x.narrow(axis, 0, x.shape[axis] - 1)
