"""Fusion by the physics alone: aligned, exposure-weighted, no deghosting. Also the measure the guard goes by."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smarthdr_cli.aligned_burst import AlignedBurst, Window
from smarthdr_cli.fusion.border import lacking, lowest_peak, unmoved
from smarthdr_cli.fusion.ends import find_ends, matched_light
from smarthdr_cli.fusion.parallel import each, workers
from smarthdr_cli.fusion.tiles import Tile, grid
from smarthdr_cli.models.merge import exposure_weight, measured_share, merge, noise_bound, radiance
from smarthdr_cli.models.saf_layers import CELL
from smarthdr_cli.models.tensor_ops import mu_law
from smarthdr_cli.models.uncertainty_head import SIGMA_MAX, SIGMA_MIN
from smarthdr_cli.radiometry import MU

F32 = NDArray[np.float32]
CLIPPED = 0.995  # linear level from which the shortest frame says no more than "at least this much"
# How far noise alone may carry the reference off: standard deviations, and electrons at clip. Of 2, 2.5 and 3
# deviations the last raises sigma least on static stacks, and ranks the errors of moving bursts as well as the others.
REFERENCE_NOISE = (3.0, 10_000.0)


@dataclass(frozen=True)
class RadianceSigma:
    """A finished picture before colour: ``radiance`` (H, W, 3) in reference units, ``sigma`` (H, W) mu-law domain."""

    radiance: F32
    sigma: F32


def order(source: AlignedBurst, members: tuple[int, ...]) -> tuple[list[int], Tensor]:
    """Frame indices with the reference first, and their EVs (1, N)."""
    reference = source.burst.reference
    indices = [reference, *(i for i in members if i != reference)]
    return indices, torch.tensor([[float(source.burst.evs[i]) for i in indices]])


def static_merge(source: AlignedBurst, size: int, on_tile: Callable[[float], None] = lambda _: None) -> RadianceSigma:
    """Every frame of the burst merged by its physical weight, in tiles: h = sum_i w_i L_i / sum_i w_i.

    The result stands for the reference's moment, so a ghost is an error. In the mu-law domain,

        sigma^2 = spread^2 + ghost^2

    with ``spread`` the noise of the merge and the scatter of its frames, and ``ghost`` the distance of h from the
    reference frame beyond the reference's noise.
    """
    burst = source.burst
    height, width = burst.size
    indices, evs = order(source, tuple(range(len(burst))))
    out = RadianceSigma(np.empty((height, width, 3), np.float32), np.empty((height, width), np.float32))
    scale = float(torch.exp2(evs.min()))
    ends = find_ends(source, indices, evs)

    def compute(tile: Tile) -> int:
        part = unmoved(source, indices, evs, tile.window)
        merged, _ = merge(part.frames, evs, part.counts, part.share)
        sigma = torch.hypot(
            spread(part.frames, evs, part.counts, merged, scale), ghost(merged, part.frames[:, 0], scale)
        ).clamp(max=SIGMA_MAX)
        sigma = flag_clipped(sigma, merged, scale, lowest_peak(part.seen))
        if ends and any(part.edges):
            lack = lacking(part.edges, part.frames, evs)
            merged, sigma = matched_light(ends, source, merged, sigma, tile.window, lack, scale)
        put(out, tile.core, tile.window, merged, sigma)
        return tile.core.height * tile.core.width

    done = 0
    for area in each(compute, grid(height, width, size, margin=0), workers(torch.device("cpu"))):
        done += area
        on_tile(done / (height * width))
    return out


def plain_merge(source: AlignedBurst, indices: list[int], evs: Tensor, core: Window) -> F32:
    """(h, w, 3) the classical merge of the same frames, at the first pixel of every cell of ``core``."""
    part = unmoved(source, indices, evs, core, CELL)
    return np.asarray(merge(part.frames, evs, part.counts, part.share)[0][0].permute(1, 2, 0).numpy(), np.float32)


def spread(frames: Tensor, evs: Tensor, valid: Tensor, merged: Tensor, scale: float) -> Tensor:
    """(B, 1, H, W) standard error of a merge in the mu-law domain, from the scatter of its members."""
    seen = torch.cat([torch.ones_like(valid[:, :1]), valid], dim=1)
    weights = torch.stack([exposure_weight(frames[:, i], evs[:, i]) for i in range(frames.shape[1])], dim=1) * seen
    light = torch.stack([radiance(frames[:, i], evs[:, i]) for i in range(frames.shape[1])], dim=1)
    total = weights.sum(dim=1).clamp(min=1e-6)
    scatter = (weights * (light - merged[:, None]).abs().mean(dim=2, keepdim=True)).sum(dim=1) / total
    noise = (1e-4 / total).sqrt()  # photon noise of a full well of 10,000 electrons at clip
    slope = mu_law_derivative(merged.mean(dim=1, keepdim=True), scale)
    error: Tensor = ((scatter.square() + noise.square()).sqrt() * slope).clamp(SIGMA_MIN, SIGMA_MAX)
    return error


def mu_law_derivative(light: Tensor, scale: float) -> Tensor:
    """How much the mu-law of ``light`` times ``scale`` changes by a unit of light."""
    return MU * scale / ((1 + MU * light.clamp(min=0) * scale) * float(np.log1p(MU)))


def ghost(merged: Tensor, reference: Tensor, scale: float) -> Tensor:
    """(B, 1, H, W) how far a merge is from the reference frame, in the mu-law domain T, beyond the frame's noise.

        ghost^2 = max(0, d^2 - n^2),   d = mean |T(h) - T(R)|,   n = mean e T'(R),   over channels

    ``merged`` h, ``reference`` R (B, 3, H, W) in reference units; e: REFERENCE_NOISE at R; ``scale`` takes light to the
    short clip. A clipped channel bounds only the brightest channel of h, and from below: RAW frames clip in all
    channels at once, and cameras take the colour out of highlights.
    """
    measured = measured_share(reference)
    bounded = torch.lerp(merged.amax(dim=1, keepdim=True), merged, measured)
    shown, low, high = (mu_law(light * scale) for light in (reference, bounded, merged))
    distance = torch.maximum(shown - low, measured * (high - shown)).clamp(min=0).mean(dim=1, keepdim=True)
    noise = (noise_bound(reference, REFERENCE_NOISE) * mu_law_derivative(reference, scale)).mean(dim=1, keepdim=True)
    excess: Tensor = (distance.square() - noise.square()).clamp(min=0).sqrt()
    return excess


def flag_clipped(sigma: Tensor, light: Tensor, scale: float, peak: Tensor | None = None) -> Tensor:
    """Where the truth has no upper bound sigma is 1: the result stands at the shortest frame's clip, or all frames
    (blanked where they saw nothing) are clipped, by their ``lowest_peak``.
    """
    clipped = light.amax(dim=1, keepdim=True) * scale >= CLIPPED
    if peak is not None:
        clipped |= peak >= CLIPPED
    return torch.where(clipped, torch.full_like(sigma, SIGMA_MAX), sigma)


def put(out: RadianceSigma, core: Window, window: Window, light: Tensor, sigma: Tensor) -> None:
    """Copy a tile's core into the picture."""
    rows = slice(core.top, core.top + core.height)
    columns = slice(core.left, core.left + core.width)
    inner_rows = slice(core.top - window.top, core.top - window.top + core.height)
    inner_columns = slice(core.left - window.left, core.left - window.left + core.width)
    part = out.radiance[rows, columns]
    for channel, plane in enumerate(light[0, :, inner_rows, inner_columns].cpu().numpy()):
        part[..., channel] = plane
    out.sigma[rows, columns] = sigma[0, 0, inner_rows, inner_columns].cpu().numpy()


@dataclass(frozen=True)
class Guard:
    """How far a result is from the classical merge of the same frames, in the mu-law domain, at one pixel of each cell.

    ``changed``: share of pixels further than 0.01 apart; ``mean``, ``largest``: of |difference| over the changed ones.
    """

    changed: float
    mean: float
    largest: float

    def to_dict(self) -> dict[str, float]:
        """For the report."""
        return {"changed_share": self.changed, "mean_change": self.mean, "largest_change": self.largest}


def compare(result: F32, classical: F32, scale: float) -> Guard:
    """Guard of two (h, w, 3) pictures in reference units; ``scale`` takes them to short clip = 1."""
    a, b = (mu_law(torch.from_numpy(np.ascontiguousarray(x)) * scale) for x in (result, classical))
    gap = (a - b).abs().mean(dim=-1)
    far = gap > 0.01
    if not bool(far.any()):
        return Guard(0.0, 0.0, 0.0)
    return Guard(float(far.float().mean()), float(gap[far].mean()), float(gap[far].max()))
