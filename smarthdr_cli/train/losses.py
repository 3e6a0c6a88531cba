"""Losses on the mu-law domain, and what synthetic truth adds while it is at hand.

``reconstruction`` is L^r, ``uncertainty`` L^k of the SmartHDR paper. The motion and trust terms exist only for
synthetic bursts, whose true displacement is known; they are not part of the paper.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.models.base import MergeDetail
from smarthdr_cli.models.merge import exposure_weight, radiance
from smarthdr_cli.models.pairwise import dead_zone, warp
from smarthdr_cli.models.tensor_ops import mu_law


def masked_mean(value: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over kept elements, at least one counted; masked values never enter the arithmetic, not even as NaN."""
    if mask is None:
        return value.mean()
    keep = mask.expand_as(value) > 0
    return torch.where(keep, value, torch.zeros_like(value)).sum() / keep.sum().clamp(min=1)


def weighted_mean(value: Tensor, weight: Tensor | None) -> Tensor:
    """Sum of weight * value over the number of elements whose weight is above 0, at least one.

    With weights of 0 and 1 it is ``masked_mean``. Low weights make the mean small and are not divided out again: a
    batch that is distrusted as a whole counts little (SMAE, eq. 13). Where the weight is 0 or NaN the value never
    enters the arithmetic.
    """
    if weight is None:
        return value.mean()
    weight = weight.expand_as(value)
    keep = weight > 0
    nothing = torch.zeros_like(value)
    return (torch.where(keep, value, nothing) * torch.where(keep, weight, nothing)).sum() / keep.sum().clamp(min=1)


def reconstruction(predicted: Tensor, target: Tensor, scale_short: Tensor, mask: Tensor | None = None) -> Tensor:
    """L^r: L1 between T(prediction) and T(target), (B, 3, H, W) in reference units, (B,) scale to short clip = 1.

    ``mask``: (B, 1, H, W), 0 leaves a pixel out, 1 counts it, a fraction weighs it (``weighted_mean``).
    """
    return weighted_mean(_apart(predicted, target, scale_short, mask).abs(), mask)


def squared(predicted: Tensor, target: Tensor, scale_short: Tensor, mask: Tensor | None = None) -> Tensor:
    """The mean square in place of L1, which is what PSNR-mu measures; arguments as of ``reconstruction``."""
    return weighted_mean(_apart(predicted, target, scale_short, mask).square(), mask)


def _apart(predicted: Tensor, target: Tensor, scale_short: Tensor, mask: Tensor | None) -> Tensor:
    """T(prediction) - T(target), 0 where the mask is."""
    scale = scale_short.view(-1, 1, 1, 1)
    if mask is not None:  # replaced before the arithmetic: a where afterwards would leak NaN into the gradient
        kept = mask > 0
        predicted = torch.where(kept, predicted, torch.zeros_like(predicted))
        target = torch.where(kept, target, torch.zeros_like(target))
    return mu_law(predicted * scale) - mu_law(target * scale)


def uncertainty(
    predicted: Tensor,
    target: Tensor,
    log_sigma: Tensor,
    scale_short: Tensor,
    *,
    detach: bool = True,
    floor: float = 0.0,
    mask: Tensor | None = None,
) -> Tensor:
    """L^k = mean[(T(target) - T(prediction))^2 / (2 sigma^2) + 1/2 log sigma^2], the error a mean over channels.

    ``detach``: the prediction gets no gradient from this term (1/|error| of it would swamp L^r). ``floor``: sigma^2 is
    sigma^2 + floor^2 here, so that one surprised judge cannot outweigh all others ((0.05 / 1e-4)^2 without it).
    """
    scale = scale_short.view(-1, 1, 1, 1)
    if detach:
        predicted = predicted.detach()
    if mask is not None:
        kept = mask > 0
        predicted = torch.where(kept, predicted, torch.zeros_like(predicted))
        target = torch.where(kept, target, torch.zeros_like(target))
    error = (mu_law(predicted * scale) - mu_law(target * scale)).abs().mean(dim=1, keepdim=True)
    return surprise(error, log_sigma, floor, mask)


def surprise(error: Tensor, log_sigma: Tensor, floor: float = 0.0, mask: Tensor | None = None) -> Tensor:
    """L^k of errors in the mu-law domain that are at hand, (B, 1, H, W), under log sigma."""
    if mask is not None:
        kept = mask > 0
        error, log_sigma = (torch.where(kept, x, torch.zeros_like(x)) for x in (error, log_sigma))
    variance = torch.exp(2 * log_sigma) + floor**2
    return weighted_mean(0.5 * error.square() / variance + 0.5 * variance.log(), mask)


def motion(flows: Sequence[Tensor], batch: Batch) -> Tensor:
    """Mean end-point error of every level where the surface is seen in both frames, in that level's cells, capped."""
    assert batch.flow is not None
    assert batch.visible is not None
    flow, seen = batch.flow.flatten(0, 1), batch.visible.flatten(0, 1)
    total = flow.new_zeros(())
    for level in flows:
        factor = flow.shape[-1] // level.shape[-1]
        area = F.avg_pool2d(seen, factor)
        true = F.avg_pool2d(flow * seen, factor) / area.clamp(min=1e-3) / factor
        error = (level - true).square().sum(dim=1, keepdim=True).add(1e-4).sqrt()
        total = total + masked_mean(error.clamp(max=8), (area > 0.5).float())
    return total / len(flows)


def trust(detail: MergeDetail, batch: Batch) -> Tensor:
    """Cross-entropy of trust against how close the moved frame comes to the truth, weighted by its physical weight."""
    assert batch.target is not None
    _, n, _, h, w = batch.frames.shape
    ev = batch.evs[:, 1:].reshape(-1)
    other = batch.frames[:, 1:].flatten(0, 1)
    flow = dead_zone(
        F.interpolate(detail.flows[-1].detach(), size=(h, w), mode="bilinear", align_corners=False)
        * (h / detail.flows[-1].shape[-2])
    )
    moved = warp(other, flow)
    scale = batch.scale_short.repeat_interleave(n - 1).view(-1, 1, 1, 1)
    target = batch.target.repeat_interleave(n - 1, dim=0)
    reference = batch.frames[:, 0].repeat_interleave(n - 1, dim=0)
    truth = mu_law(target * scale)
    gap = (mu_law(radiance(moved, ev) * scale) - truth).abs().amax(dim=1, keepdim=True)
    own = (mu_law(reference * scale) - truth).abs().amax(dim=1, keepdim=True)
    wanted = torch.sigmoid((own + 0.02 - gap) / 0.01)  # trust what is no worse than falling back on the reference
    weight = exposure_weight(moved, ev)
    weight = weight / (weight + exposure_weight(reference, torch.zeros_like(ev)) + 0.05)
    logits = detail.trust_logit.flatten(0, 1)
    loss = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return (loss * weight).sum() / weight.sum().clamp(min=1.0)
