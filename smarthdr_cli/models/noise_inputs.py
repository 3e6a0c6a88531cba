"""What the noise of a burst says of its frames: inputs of the network beside their pixels.

    d_k = max over channels |a - b| / (2 t sqrt(V_0 + V_k)),   trust exp(-(2 max(d - 1, 0))^2 / 1.5)

with a and b the light of reference and frame at the exposure t of the brighter, clipped at 1, and V the variances of
their radiance: d > 1 is a difference of content. ``fusion`` fits noise, trust and sigma on every burst
(fusion/consistency.py). A crop that learns by itself has those of a default camera.
"""

import math

import torch
from torch import Tensor

from smarthdr_cli.models.merge import READ_FLOOR, clip_taper
from smarthdr_cli.radiometry import MU

FULL_WELL = 2500.0  # electrons at the default camera's clip
RELATIVE_ERROR = 0.006  # of light, beside noise
DEVIATIONS = 2.0  # up to which noise explains a difference


def difference_in_deviations(ref: Tensor, other: Tensor, ev: Tensor, variance: Tensor) -> Tensor:
    """d (P, 1, H, W) of linear frames (P, 3, H, W); ``variance`` (P, 1, H, W) of the difference of their radiance."""
    gain = torch.exp2(ev).view(-1, 1, 1, 1)
    brighter = gain.clamp(min=1)
    gap = ((ref * brighter).clamp(max=1) - (other * (brighter / gain)).clamp(max=1)).abs().amax(dim=1, keepdim=True)
    return gap / (DEVIATIONS * brighter * variance.clamp(min=1e-12).sqrt())


def of_default_camera(frames: Tensor, evs: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Differences and trust (B, N-1, 1, H, W) of the others, and sigma (B, 1, H, W) of the merge, mu-law domain.

    ``frames``: (B, N, 3, H, W) linear, the others warped; ``valid``: (B, N-1, 1, H, W).
    """
    level = frames.mean(dim=2, keepdim=True).clamp(min=0)
    variance = (level + READ_FLOOR) / FULL_WELL + (RELATIVE_ERROR * level).square()
    variance = variance / torch.exp2(2 * evs).view(*evs.shape, 1, 1, 1)
    differences = torch.stack(
        [difference_in_deviations(frames[:, 0], frames[:, n], evs[:, n], variance[:, 0] + variance[:, n])
         for n in range(1, frames.shape[1])], dim=1,
    )  # fmt: skip
    trust = torch.exp(-(DEVIATIONS * (differences - 1).clamp(min=0)).square() / 1.5) * valid
    weight = clip_taper(frames) / variance
    known = (weight[:, 0] + (weight[:, 1:] * trust).sum(1)).clamp(min=1e-12)
    scale = torch.exp2(evs.amin(dim=1)).view(-1, 1, 1, 1)
    slope = MU * scale / ((1 + MU * (level[:, 0] * scale).clamp(max=1)) * math.log1p(MU))
    return differences, trust, (slope / known.sqrt()).clamp(1e-4, 1)
