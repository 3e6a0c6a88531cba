"""The physical merge: noise-optimal exposure weights, and the convex combination they make. No learned part.

Weights follow the inverse variance of a pixel's radiance estimate under photon and read noise (Hasinoff, Durand and
Freeman 2010, eq. 5), tapered to zero towards the clip level by the brightest of the three channels, so that a pixel
that clips in one channel loses all three and keeps its hue.
"""

import torch
from torch import Tensor

READ_FLOOR = 0.0025  # read and quantisation noise relative to photon noise at clip: var(x) ~ x + READ_FLOOR
TAPER_START = 0.80  # linear level, fraction of clip, at which a frame starts to be distrusted
TAPER_END = 0.97


def taper(level: Tensor, start: float, end: float) -> Tensor:
    """1 below ``start``, smoothly 0 at ``end``."""
    t = ((level - start) / (end - start)).clamp(0, 1)
    return 1 - t * t * (3 - 2 * t)


def clip_taper(frame: Tensor) -> Tensor:
    """(..., 3, H, W) linear in frame units to (..., 1, H, W): 1 below TAPER_START, smoothly 0 at TAPER_END."""
    return taper(frame.amax(dim=-3, keepdim=True), TAPER_START, TAPER_END)


def exposure_weight(frame: Tensor, ev: Tensor) -> Tensor:
    """(B, 3, H, W) frame, (B,) EV relative to the reference -> (B, 1, H, W) inverse variance in reference units."""
    level = frame.mean(dim=-3, keepdim=True).clamp(min=0)
    gain = torch.exp2(2 * ev).view(-1, 1, 1, 1)
    return gain / (level + READ_FLOOR) * clip_taper(frame)


def radiance(frame: Tensor, ev: Tensor) -> Tensor:
    """(B, 3, H, W) linear frame to radiance in reference units (reference clip = 1)."""
    return frame * gain(ev)


def gain(ev: Tensor) -> Tensor:
    """(B,) EVs to the factors (B, 1, 1, 1) from a frame's own units to reference units."""
    return torch.exp2(-ev).view(-1, 1, 1, 1)


def merge(frames: Tensor, evs: Tensor, trust: Tensor, share: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Trusted exposure-weighted mean, and the share of weight that went to the reference because trust was removed.

    ``frames``: (B, N, 3, H, W) with the reference first, ``evs``: (B, N), ``trust``: (B, N-1, 1, H, W) in [0, 1] for
    the others. Weight that trust removes goes to the reference at its own value. ``share`` (B, N, 1, H, W): what every
    frame's weight is multiplied by first, at least 0. Where no frame has weight (all clipped) the shortest valid one
    decides. Returns (B, 3, H, W) in reference units and (B, 1, H, W) in [0, 1].
    """
    # Where every frame is tapered the shortest decides: a floor too small to matter elsewhere.
    shortest = evs == evs.amin(dim=1, keepdim=True)
    floor = (shortest * 1e-4 * torch.exp2(2 * evs)).unsqueeze(-1).unsqueeze(-1).unsqueeze(-1)  # (B, N, 1, 1, 1)
    own = exposure_weight(frames[:, 0], evs[:, 0])
    own = (own if share is None else own * share[:, 0]) + floor[:, 0]
    total, kept = own, list[Tensor]()
    removed = torch.zeros_like(total)
    for i in range(1, frames.shape[1]):
        weight = exposure_weight(frames[:, i], evs[:, i])
        weight = (weight if share is None else weight * share[:, i]) + floor[:, i]
        kept.append(weight * trust[:, i - 1])
        removed = removed + (weight - kept[-1])
        total = total + weight
    merged = frames[:, 0] * ((own + removed) / total * gain(evs[:, 0]))  # planes of one channel before those of three
    for i, weight in enumerate(kept, start=1):
        merged = torch.addcmul(merged, frames[:, i], weight / total * gain(evs[:, i]))
    return merged, removed / total
