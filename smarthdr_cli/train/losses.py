"""Losses, all on T, the mu-law with the shortest frame's clip at 1 (docs/METHOD.md, section 4).

    L = L^r + lambda_v L^v + lambda_k L^k                                 (arXiv 2511.12939)

with L^r = mean w |T(h) - T(t)| of prediction h and target t, L^k the negative log-likelihood of |T(h) - T(t)| under
sigma, L^v in perceptual_losses.py. Beyond the paper: the squared error, L^r of the merge before saf's residual, and
flow and trust where a synthetic burst knows the true displacement. A pixel of weight 0 contributes to nothing.

Terms that compare neighbourhoods take masked inputs: a position weighs the least of the pixels it is computed from
(``min_filter`` of the operation's size and stride), and masked pixels are replaced (``masked_pair``). Outside the image
nothing is masked.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.models.base import MergeDetail, Prediction
from smarthdr_cli.models.merge import exposure_weight, radiance
from smarthdr_cli.models.pairwise import dead_zone, warp
from smarthdr_cli.models.tensor_ops import mu_law
from smarthdr_cli.train.config import TrainConfig

if TYPE_CHECKING:
    from smarthdr_cli.train.perceptual_losses import VGGFeatures

MAX_END_POINT_ERROR = 8.0  # cells; larger errors pull no harder
TRUST_TOLERANCE, TRUST_SOFTNESS = 0.02, 0.01  # mu-law: error beyond the reference's that is trusted, width of the step

Terms = dict[str, Tensor]


def objective(
    out: Prediction, batch: Batch, config: TrainConfig, weight: Tensor | None = None,
    vgg: "VGGFeatures | None" = None, *, uncertainty_factor: float = 1.0,
) -> tuple[Tensor, Terms]:  # fmt: skip
    """The loss of an output against ``batch.target``, and its terms by name, detached and not yet weighted.

    ``weight``: (B, 1, H, W) of pixels. ``uncertainty_factor``: of L^k, which is left out at 0.
    """
    assert batch.target is not None
    scale, target = batch.scale_short, batch.target
    terms = {"reconstruction": (1.0, reconstruction(out.radiance, target, scale, weight))}
    if config.weight_square:
        terms["square"] = (config.weight_square, squared(out.radiance, target, scale, weight))
    if uncertainty_factor:
        terms["uncertainty"] = (uncertainty_factor * config.weight_uncertainty, uncertainty(
            out.radiance, target, out.log_sigma, scale, detach=config.detach, floor=config.sigma_floor, mask=weight,
        ))  # fmt: skip
    if out.detail is not None and config.weight_merged:
        merged = reconstruction(out.detail.merged, target, scale, weight)
        terms["merged"] = (config.weight_merged, merged)
    if vgg is not None and config.weight_vgg:
        terms["vgg"] = (config.weight_vgg, vgg.distance(out.radiance, target, scale, weight))
    if out.detail is not None and batch.flow is not None:
        terms["motion"] = (config.weight_motion, end_point_error(out.detail.flows, batch))
        terms["trust"] = (config.weight_trust, trust(out.detail, batch))
    total = sum((factor * value for factor, value in terms.values()), out.radiance.new_zeros(()))
    return total, {name: value.detach() for name, (_, value) in terms.items()}


def masked_mean(value: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over elements whose mask is above 0; 0 where there is none. Masked values are never read, even if NaN."""
    if mask is None:
        return value.mean()
    keep = mask.expand_as(value) > 0
    return torch.where(keep, value, torch.zeros_like(value)).sum() / keep.sum().clamp(min=1)


def weighted_mean(value: Tensor, weight: Tensor | None) -> Tensor:
    """Sum of weight * value over the number of elements whose weight is above 0, at least one.

    Low weights make the mean small and are not divided out again: a batch that is distrusted as a whole counts little
    (SMAE, eq. 13). Values whose weight is 0 or NaN are never read.
    """
    if weight is None:
        return value.mean()
    weight = weight.expand_as(value)
    keep = weight > 0
    zero = torch.zeros_like(value)
    return (torch.where(keep, value, zero) * torch.where(keep, weight, zero)).sum() / keep.sum().clamp(min=1)


def min_filter(weight: Tensor, size: int, stride: int = 1, padding: int = 0) -> Tensor:
    """(B, 1, H, W) weights through a minimum filter with the geometry of a convolution or a pooling."""
    return -F.max_pool2d(-weight, size, stride, padding)


def masked_pair(
    predicted: Tensor, target: Tensor, scale_short: Tensor, weight: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """T(prediction), T(target) as (B, 3, H, W), and the weight (B, 1, H, W) with NaN taken for 0.

    Where the weight is 0 both are the detached prediction (0 where that is not finite), so that masked pixels make
    neither a difference nor an edge nor a gradient. The target gets no gradient.
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


def reconstruction(predicted: Tensor, target: Tensor, scale_short: Tensor, mask: Tensor | None = None) -> Tensor:
    """L^r: L1 between T(prediction) and T(target), (B, 3, H, W) in reference units, (B,) scale to short clip = 1.

    ``mask``: (B, 1, H, W), 0 leaves a pixel out, 1 counts it, a fraction weighs it (``weighted_mean``).
    """
    return weighted_mean(_difference(predicted, target, scale_short, mask).abs(), mask)


def squared(predicted: Tensor, target: Tensor, scale_short: Tensor, mask: Tensor | None = None) -> Tensor:
    """The mean square in place of L1, which is what PSNR-mu measures; arguments as of ``reconstruction``."""
    return weighted_mean(_difference(predicted, target, scale_short, mask).square(), mask)


def _difference(predicted: Tensor, target: Tensor, scale_short: Tensor, mask: Tensor | None) -> Tensor:
    """T(prediction) - T(target), 0 where the mask is."""
    scale = scale_short.view(-1, 1, 1, 1)
    if mask is not None:  # replaced before the arithmetic: a where afterwards would leak NaN into the gradient
        kept = mask > 0
        predicted = torch.where(kept, predicted, torch.zeros_like(predicted))
        target = torch.where(kept, target, torch.zeros_like(target))
    return mu_law(predicted * scale) - mu_law(target * scale)


def uncertainty(
    predicted: Tensor, target: Tensor, log_sigma: Tensor, scale_short: Tensor, *, detach: bool = True,
    floor: float = 0.0, mask: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """L^k = mean[e^2 / (2 sigma^2) + 1/2 log sigma^2], e = |T(target) - T(prediction)|, a mean over channels.

    ``detach``: the prediction gets no gradient from this term (1/|e| of it would swamp L^r). ``floor``: as of
    ``gaussian_nll``.
    """
    predicted = predicted.detach() if detach else predicted
    error = _difference(predicted, target, scale_short, mask).abs().mean(dim=1, keepdim=True)
    return gaussian_nll(error, log_sigma, floor, mask)


def gaussian_nll(error: Tensor, log_sigma: Tensor, floor: float = 0.0, mask: Tensor | None = None) -> Tensor:
    """L^k of known errors (B, 1, H, W) in the mu-law domain.

    The variance is sigma^2 + ``floor``^2, so that one overconfident pixel cannot outweigh all others ((0.05 / 1e-4)^2
    without it).
    """
    if mask is not None:
        kept = mask > 0
        error, log_sigma = (torch.where(kept, x, torch.zeros_like(x)) for x in (error, log_sigma))
    variance = torch.exp(2 * log_sigma) + floor**2
    return weighted_mean(0.5 * error.square() / variance + 0.5 * variance.log(), mask)


def end_point_error(flows: Sequence[Tensor], batch: Batch) -> Tensor:
    """Mean distance of every level's flow from the truth where the surface is visible in both frames.

    ``flows``: (B * (N-1), 2, h, w) in cells of their own level, in which the capped distance is measured too.
    """
    assert batch.flow is not None
    assert batch.visible is not None
    flow, visible = batch.flow.flatten(0, 1), batch.visible.flatten(0, 1)
    total = flow.new_zeros(())
    for level in flows:
        factor = flow.shape[-1] // level.shape[-1]
        area = F.avg_pool2d(visible, factor)
        true = F.avg_pool2d(flow * visible, factor) / area.clamp(min=1e-3) / factor
        error = (level - true).square().sum(dim=1, keepdim=True).add(1e-4).sqrt()
        total = total + masked_mean(error.clamp(max=MAX_END_POINT_ERROR), (area > 0.5).float())
    return total / len(flows)


def trust(detail: MergeDetail, batch: Batch) -> Tensor:
    """Cross-entropy of trust with how close the warped frame comes to the truth, weighted by its merge weight.

    A pixel is to be trusted where its error is no larger than that of the reference, plus ``TRUST_TOLERANCE``.
    """
    assert batch.target is not None
    _, n, _, h, w = batch.frames.shape
    ev = batch.evs[:, 1:].reshape(-1)
    other = batch.frames[:, 1:].flatten(0, 1)
    flow = dead_zone(
        F.interpolate(detail.flows[-1].detach(), size=(h, w), mode="bilinear", align_corners=False)
        * (h / detail.flows[-1].shape[-2])
    )
    warped = warp(other, flow)
    scale = batch.scale_short.repeat_interleave(n - 1).view(-1, 1, 1, 1)
    target = batch.target.repeat_interleave(n - 1, dim=0)
    reference = batch.frames[:, 0].repeat_interleave(n - 1, dim=0)
    truth = mu_law(target * scale)
    error = (mu_law(radiance(warped, ev) * scale) - truth).abs().amax(dim=1, keepdim=True)
    reference_error = (mu_law(reference * scale) - truth).abs().amax(dim=1, keepdim=True)
    trusted = torch.sigmoid((reference_error + TRUST_TOLERANCE - error) / TRUST_SOFTNESS)
    weight = exposure_weight(warped, ev)
    weight = weight / (weight + exposure_weight(reference, torch.zeros_like(ev)) + 0.05)
    logits = detail.trust_logit.flatten(0, 1)
    loss = F.binary_cross_entropy_with_logits(logits, trusted, reduction="none")
    return (loss * weight).sum() / weight.sum().clamp(min=1.0)
