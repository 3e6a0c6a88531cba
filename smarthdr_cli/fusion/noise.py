"""How far noise alone may have carried the merge off, measured on the burst itself: a floor under sigma.

Frames that show the same thing differ by their noise, and what differs from one pixel to the next is noise, not
exposure, curve or motion. Photon and read noise (Hasinoff, Durand and Freeman 2010) leave two numbers to find,
which neighbouring exposures tell wherever both are trusted; the merge's own variance follows from its weights. No
camera profile is needed. Noise that JPEG or a denoiser took is not seen, nor does it harm. Where no two frames show a
place, the camera is as noisy as elsewhere in the picture.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from smarthdr_cli.models.merge import READ_FLOOR, TAPER_END, exposure_weight, radiance
from smarthdr_cli.models.saf_layers import CELL
from smarthdr_cli.models.tensor_ops import box_mean, mu_law

AROUND = 7  # cells along the side of the window over which noise is averaged
SHOWN = (0.1, 0.5)  # share of the window that two frames must show together, to tell anything of it, and all
HELD = 0.02  # how strongly read noise beyond the usual is held to none, where exposures do not tell it from photons'
QUANTILE = 0.96  # 68 % quantile of the mean of three absolute errors of standard deviation 1
BLACK = 1e-3  # share of a frame's clip below which it is crushed rather than noisy: three codes of an 8-bit file
LEAST = 1e-14  # variance below which there is none
TINY = 1e-300  # in place of 0 under a fraction


def noise_floor(
    frames: Tensor, evs: Tensor, trust: Tensor, merged: Tensor, scale: float, each: Sequence[Tensor],
    usual: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """(1, 1, H, W) 68 % quantile of the merge's error in the mu-law domain, mean over channels, as far as noise goes;
    0 where it is not known.

    ``frames`` (1, N, 3, H, W), linear, aligned, sides multiples of CELL, ``evs`` (1, N), ``trust`` (1, N-1, 1, H, W) as
    ``merge`` takes them, ``merged`` (1, 3, H, W) as it gives it, of the ``parts`` in ``each``; ``scale`` takes it to
    the short clip. All frames are taken to be as noisy as one another at the same level.
    ``usual``: what ``usual_noise`` found all over the picture, for where these frames tell nothing.
    """
    middle = cells(merged[..., 1::CELL, :])
    level = middle.mean(dim=1, keepdim=True).clamp(min=0)
    told, known = equations(frames, evs, trust, level)
    photons, read = (x.to(level) for x in solved(told))
    if usual is not None:  # mixed as variances: as an equation, a sky that JPEG has smoothed would win up to its end
        photons, read = (torch.lerp(rest.to(level), here, known)
                         for here, rest in zip((photons, read), solved(usual), strict=True))  # fmt: skip
    variance = torch.zeros_like(level)
    for i, part in enumerate(each):
        near, own = _units(float(evs[0, i]))
        variance = variance + part.square() * (photons * (level * near + READ_FLOOR * own) + read * own)
    return as_floor(QUANTILE * variance.sqrt(), middle, scale)


def parts(frames: Tensor, evs: Tensor, trust: Tensor, share: Tensor | None = None) -> list[Tensor]:
    """What each frame contributes to the merge, (1, 1, h, w) on cells, together 1; arguments as of ``merge``."""
    rows = frames[..., 1::CELL, :]  # of each cell one row tells the weights
    weights = [exposure_weight(rows[:, i], evs[:, i]) for i in range(frames.shape[1])]
    if share is not None:
        weights = [weight * share[:, i, :, 1::CELL] for i, weight in enumerate(weights)]
    kept = [weight * trust[:, i, :, 1::CELL] for i, weight in enumerate(weights[1:])]
    total = torch.stack(weights).sum(dim=0)
    kept.insert(0, total - torch.stack(kept).sum(dim=0))  # the reference has what was taken from the others
    total = cells(total).clamp(min=1e-9)
    return [cells(weight) / total for weight in kept]


def as_floor(error: Tensor, middle: Tensor, scale: float) -> Tensor:
    """(1, 1, H, W) in the mu-law domain, of an ``error`` of light around ``middle``, on cells, in reference units.

    The curve of mu-law bends within the noise of a shadow: half of what lies between both ends of the interval.
    """
    low, high = (scale * (middle + sign * error) for sign in (-1, 1))
    shown = (mu_law(high.clamp(0, 1)) - mu_law(low.clamp(0, 1))).mean(dim=1, keepdim=True) / 2
    floor: Tensor = F.interpolate(shown, scale_factor=CELL, mode="bilinear", align_corners=False)
    return floor


def variance_at(level: Tensor, photons: Tensor, read: Tensor) -> Tensor:
    """Variance of a frame's pixels at a ``level``, in its own units, of what ``solved`` finds."""
    return photons * (level + READ_FLOOR) + read


def _units(ev: float) -> tuple[float, float]:
    """What takes a frame's photon noise at a level of the reference, and its read noise, to the reference's units."""
    return 2.0**-ev, 4.0**-ev


def equations(
    frames: Tensor, evs: Tensor, trust: Tensor, level: Tensor, shown: tuple[float, float] = SHOWN
) -> tuple[Tensor, Tensor]:
    """(5, 1, 1, h, w) sums over neighbouring exposures of what photon noise and read noise of 1 would make of the
    difference that was found, their squares, products and selves; and (1, 1, h, w), in [0, 1], how far any two tell it.

    ``level`` (1, 1, h, w) of the merge in cells, ``frames``, ``evs``, ``trust`` as of ``noise_floor``; ``shown``: the
    share of the window around that two frames must show together to tell anything, and from which on they tell all.
    """
    # In float64: over many stops the squares of inverse variances fit no less.
    sums = torch.zeros(5, *level.shape, dtype=torch.float64, device=level.device)
    known = torch.zeros_like(level)
    for i, j in pairwise(sorted(range(frames.shape[1]), key=lambda n: float(evs[0, n]))):
        apart, both = _apart(frames, evs, trust, i, j)
        found, share = (box_mean(x, AROUND) for x in (apart, both))
        near, own = (one + other for one, other in zip(*(_units(float(evs[0, n])) for n in (i, j)), strict=True))
        tell = ((share - shown[0]) / (shown[1] - shown[0])).clamp(0, 1)
        b = own / (found / share.clamp(min=SHOWN[0])).clamp(min=LEAST).double()
        a = (level * near / own + READ_FLOOR) * b
        sums += tell * torch.stack([a * a, a * b, b * b, a, b])
        known = torch.maximum(known, tell)
    return sums, known


def solved(sums: Tensor) -> tuple[Tensor, Tensor]:
    """Photon noise and the read noise beyond READ_FLOOR of it, in the units of a frame, of ``equations``' (5, ...).

    Least squares of relative errors, each number at least 0.
    """
    aa, ab, bb, ad, bd = sums
    held = bb * (1 + HELD)
    spread = (aa * held - ab * ab).clamp(min=TINY)
    photons, read = (ad * held - bd * ab) / spread, (bd * aa - ad * ab) / spread
    alone = bd / bb.clamp(min=TINY)  # read noise without photon noise, and photon noise without more read noise
    read = torch.where(photons < 0, alone, read.clamp(min=0))
    photons = torch.where(read > 0, photons.clamp(min=0), ad / aa.clamp(min=TINY))
    return photons, read


def _apart(frames: Tensor, evs: Tensor, trust: Tensor, i: int, j: int) -> tuple[Tensor, Tensor]:
    """(1, 1, h, w) variance of what two frames differ by from one pixel to the next, in cells, and how far both are
    believed there: 0 where one of them is clipped, or the darker one, ``i``, is black.

    Second differences along both axes, scaled so that white noise keeps its variance (Immerkaer 1996), in two places of
    each cell and within it.
    """
    lines, believed = [], []
    for row in range(3):
        one, other = frames[:, i, :, row::CELL], frames[:, j, :, row::CELL]
        both = (torch.maximum(one, other).amax(dim=1, keepdim=True) < TAPER_END).to(frames.dtype)
        both = both * (one.amax(dim=1, keepdim=True) > BLACK)
        for n in (i, j):
            both = both if n == 0 else both * trust[:, n - 1, :, row::CELL]
        lines.append(radiance(one, evs[:, i]) - radiance(other, evs[:, j]))
        believed.append(both)
    across = lines[0] + lines[2] - 2 * lines[1]
    least = torch.minimum(torch.minimum(believed[0], believed[2]), believed[1])  # a mask's edge is no noise
    at, held = ([x[..., column::CELL] for column in range(CELL)] for x in (across, least))
    variance, share = torch.zeros_like(held[0]), torch.zeros_like(held[0])
    for n in (1, 2):
        part = torch.minimum(torch.minimum(held[n - 1], held[n + 1]), held[n])
        second = (at[n - 1] + at[n + 1] - 2 * at[n]) / 6
        variance = variance + (second * part).square().mean(dim=1, keepdim=True) / 2
        share = share + part / 2
    return variance, share


def cells(row: Tensor) -> Tensor:
    """Means over the CELL pixels of each cell's row, (B, C, h, W) to (B, C, h, w)."""
    return F.avg_pool2d(row, (1, CELL))
