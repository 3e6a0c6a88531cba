"""Comparing two frames: at a common exposure, through a displacement, in units of what noise explains.

With g the gamma code, frames x (reference) and y, e the EV of y relative to x and l = 2^(|e| / 2.2), the codes at the
exposure of the brighter frame are

    a = min(l g(x), 1), b = g(y)  for e > 0;     a = g(x), b = min(l g(y), 1)  for e <= 0

because a factor on light is a factor on gamma codes. The normalised difference is

    d = max over channels |a - b| / (0.012 + 0.006 l / (max(dark) + 0.05)),   dark the codes of the darker frame

whose denominator is the difference that photon noise and one 8-bit code of any camera explain: d > 1 is a difference of
content.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from smarthdr_cli.models.tensor_ops import box_mean, encode
from smarthdr_cli.radiometry import GAMMA

STATIC_SQUARED_DIFFERENCE = 1e-4  # of codes; noise explains it: a hundredth of the code range
MIN_IMPROVEMENT = 0.9  # factor on the squared difference by which a displacement must be better than none
DEAD_ZONE = (0.25, 0.75)  # pixels of displacement: none below, all above


def common_exposure(
    ref: Tensor, other: Tensor, ev: Tensor, ref_codes: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """a, b and dark of (P, 3, H, W) linear frames in their own units; (P,) EVs of ``other`` relative to ``ref``.

    ``ref_codes``: ``encode(ref)`` where it is known.
    """
    lift = torch.exp2(ev.abs() / GAMMA).view(-1, 1, 1, 1)
    brighter = (ev > 0).view(-1, 1, 1, 1)
    codes, other_codes = encode(ref) if ref_codes is None else ref_codes, encode(other)
    if len(ev) == 1:  # one pair: no selection per pair, half the memory
        if float(ev) > 0:
            return (codes * lift).clamp_(max=1), other_codes, codes
        return codes, (other_codes * lift).clamp_(max=1), other_codes
    a = torch.where(brighter, (codes * lift).clamp(max=1), codes)
    b = torch.where(brighter, other_codes, (other_codes * lift).clamp(max=1))
    return a, b, torch.where(brighter, codes, other_codes)


def grey(codes: Tensor) -> NDArray[np.uint8]:
    """(P, h, w) means over channels of codes (P, 3, h, w), as OpenCV's dense inverse search takes them."""
    means = codes.detach().float().mean(dim=1).nan_to_num(0.0).mul(255).round().clamp(0, 255)
    return np.asarray(means.cpu().numpy(), np.uint8)


def normalised_difference(a: Tensor, b: Tensor, dark: Tensor, ev: Tensor) -> Tensor:
    """d: (P, 1, H, W) from codes (P, 3, H, W) as ``common_exposure`` gives them."""
    return (a - b).abs().amax(dim=1, keepdim=True) / explained_difference(dark, ev)


def explained_difference(dark: Tensor, ev: Tensor) -> Tensor:
    """The denominator of d: (P, 1, H, W) difference of codes at the common exposure that noise explains."""
    lift = torch.exp2(ev.abs() / GAMMA).view(-1, 1, 1, 1)
    return 0.012 + 0.006 * lift / (dark.amax(dim=1, keepdim=True) + 0.05)


def squared_difference(ref: Tensor, other: Tensor, ev: Tensor) -> Tensor:
    """(P, 1, h, w) squared difference of codes at the common exposure, mean over channels and windows of 5x5."""
    a, b, _ = common_exposure(ref, other, ev)
    return box_mean((a - b).square().mean(dim=1, keepdim=True), 5)


def flow_helps(ref: Tensor, other: Tensor, flow: Tensor, ev: Tensor) -> Tensor:
    """(P, 1, h, w): 0 where the frames agree without ``flow`` and it brings them no nearer, 1 elsewhere.

    Agreement is the squared difference of codes in windows of 5x5; all arguments at one level, ``flow`` in its pixels.
    Suppresses wrong displacements in static regions.
    """
    with_flow, without = (squared_difference(ref, image, ev) for image in (warp(other, flow), other))
    return ((with_flow < MIN_IMPROVEMENT * without) | (without > STATIC_SQUARED_DIFFERENCE)).to(flow.dtype)


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """(P, C, H, W) image sampled at each pixel plus its displacement (P, 2, H, W) (x, y), bilinear; edges repeated."""
    h, w = image.shape[-2:]
    y = torch.arange(h, device=image.device, dtype=torch.float32).view(1, -1, 1) + 0.5
    x = torch.arange(w, device=image.device, dtype=torch.float32).view(1, 1, -1) + 0.5
    grid = torch.stack([(x + flow[:, 0].float()) * (2 / w) - 1, (y + flow[:, 1].float()) * (2 / h) - 1], dim=-1)
    return F.grid_sample(image.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)


def dead_zone(flow: Tensor) -> Tensor:
    """(P, 2, H, W) displacement in pixels, 0 below the dead zone, so that static pixels are not resampled."""
    length = flow.square().sum(dim=1, keepdim=True).clamp(min=1e-8).sqrt()
    t = ((length - DEAD_ZONE[0]) / (DEAD_ZONE[1] - DEAD_ZONE[0])).clamp(0, 1)
    return flow * (t * t * (3 - 2 * t))


def inside_frame(flow: Tensor) -> Tensor:
    """(P, 1, H, W): 1 where a displaced pixel lies inside the image, to half a pixel."""
    h, w = flow.shape[-2:]
    x = torch.arange(w, device=flow.device).view(1, 1, 1, -1) + flow[:, :1]
    y = torch.arange(h, device=flow.device).view(1, 1, -1, 1) + flow[:, 1:]
    return ((x >= -0.5) & (x <= w - 0.5) & (y >= -0.5) & (y <= h - 0.5)).float()
