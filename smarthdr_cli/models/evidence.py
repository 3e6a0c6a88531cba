"""What the noise of a burst says of its frames: input of the network beside their pixels.

    d_k = max over channels |a - b| / (2 t sqrt(V_0 + V_k))

with a and b the light of reference and frame at the exposure t of the brighter, clipped at 1, and V the variances of
their radiance: d > 1 is a difference of content. ``fusion`` fits noise, test and sigma on every burst
(fusion/consistency.py). A crop that learns by itself has those of a default camera.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from smarthdr_cli.models.merge import READ_FLOOR, clip_taper
from smarthdr_cli.radiometry import MU

FULL_WELL = 2500.0  # electrons at the default camera's clip
RELATIVE_ERROR = 0.006  # of light, beside noise
DEVIATIONS = 2.0  # up to which noise explains a difference


@dataclass(frozen=True)
class Evidence:
    """Of B bursts of N frames: ``variance`` (B, N, 1, H, W) of every frame's radiance in reference units, ``trust``
    (B, N-1, 1, H, W) of the others by the test, ``sigma`` (B, 1, H, W) of the merge by physics, in the mu-law domain.
    """

    variance: Tensor
    trust: Tensor
    sigma: Tensor

    def difference(self, k: int, ref: Tensor, other: Tensor, ev: Tensor) -> Tensor:
        """d of the other frame ``k``, (B, 1, H, W), from linear frames (B, 3, H, W) and its (B,) EVs."""
        return difference(ref, other, ev, self.variance[:, 0] + self.variance[:, k + 1])

    @classmethod
    def of_default_camera(cls, frames: Tensor, evs: Tensor, valid: Tensor) -> "Evidence":
        """Of linear ``frames`` (B, N, 3, H, W), the others warped; ``valid``: (B, N-1, 1, H, W)."""
        level = frames.mean(dim=2, keepdim=True).clamp(min=0)
        squared_gain = torch.exp2(2 * evs).view(*evs.shape, 1, 1, 1)
        variance = ((level + READ_FLOOR) / FULL_WELL + (RELATIVE_ERROR * level).square()) / squared_gain
        trust = torch.stack(
            [agreement(difference(frames[:, 0], frames[:, n], evs[:, n], variance[:, 0] + variance[:, n]))
             for n in range(1, frames.shape[1])], dim=1,
        ) * valid  # fmt: skip
        weight = clip_taper(frames) / variance
        known = weight[:, 0] + (weight[:, 1:] * trust).sum(1)
        scale = torch.exp2(evs.amin(dim=1)).view(-1, 1, 1, 1)
        light = (level[:, 0] * scale).clamp(max=1)
        slope = MU * scale / ((1 + MU * light) * float(torch.log1p(torch.tensor(MU))))
        return cls(variance, trust, (slope / known.clamp(min=1e-12).sqrt()).clamp(1e-4, 1))


def difference(ref: Tensor, other: Tensor, ev: Tensor, variance: Tensor) -> Tensor:
    """d (P, 1, H, W) of linear frames (P, 3, H, W); ``variance`` (P, 1, H, W) of the difference of their radiance."""
    gain = torch.exp2(ev).view(-1, 1, 1, 1)
    brighter = gain.clamp(min=1)
    gap = ((ref * brighter).clamp(max=1) - (other * (brighter / gain)).clamp(max=1)).abs().amax(dim=1, keepdim=True)
    return gap / (DEVIATIONS * brighter * variance.clamp(min=1e-12).sqrt())


def agreement(difference: Tensor) -> Tensor:
    """Trust in [0, 1] of a normalised difference, by the formula of the test."""
    return torch.exp(-(DEVIATIONS * (difference - 1).clamp(min=0)).square() / 1.5)
