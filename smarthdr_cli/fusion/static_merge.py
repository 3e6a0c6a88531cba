"""The static merge: aligned frames weighted by exposure, no deghosting. Also what network results are compared with.

    h = sum_i w_i L_i / sum_i w_i,    sigma^2 = spread^2 + ghost^2

with w_i and L_i the weights and radiances of models/merge.py; sigma in the mu-law domain T. ``spread`` is the noise of
the merge and the scatter of its frames. The result stands for the reference's moment, so a ghost is an error: ``ghost``
is the distance of h from the reference frame beyond the reference's noise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smarthdr_cli.aligned_burst import AlignedBurst, Window
from smarthdr_cli.fusion.border import lacking, lowest_peak, unmoved
from smarthdr_cli.fusion.ends import End, find_ends, matched_light
from smarthdr_cli.fusion.memory_budget import MemoryBudget
from smarthdr_cli.fusion.result import ClassicalDifference, FuserRecord, RadianceSigma, TiledFusion
from smarthdr_cli.fusion.tiles import Tile, parallel_map, tile_grid, worker_count
from smarthdr_cli.models.merge import exposure_weight, measured_share, merge, noise_bound, radiance
from smarthdr_cli.models.saf_layers import CELL
from smarthdr_cli.models.tensor_ops import mu_law
from smarthdr_cli.models.uncertainty_head import SIGMA_MAX, SIGMA_MIN
from smarthdr_cli.radiometry import MU

F32 = NDArray[np.float32]
CLIPPED_LEVEL = 0.995  # linear level of the shortest frame from which it is only a lower bound
MIN_CHANGE = 0.01  # in the mu-law domain: smaller differences from the classical merge do not count as changes
FULL_WELL = 1e4  # electrons at clip, for the photon noise of the merge
# Bound on the noise of the reference: standard deviations, and electrons at clip. Of 2, 2.5 and 3 deviations the last
# raises sigma least on static stacks, and ranks the errors of moving bursts as well as the others.
GHOST_NOISE = (3.0, FULL_WELL)
STATIC_RECORD = FuserRecord("none", "cpu", "fp32")


@dataclass(frozen=True)
class StaticFuser:
    """``--deghost off`` as a ``Fuser``; on the CPU, in float32."""

    record: FuserRecord = STATIC_RECORD

    def fuse(
        self, burst: AlignedBurst, budget: MemoryBudget, *, strong: bool, on_progress: Callable[[float], None]
    ) -> TiledFusion:
        """Merge every frame of the burst."""
        return TiledFusion(static_merge(burst, budget.tile, on_progress))


def reference_first(burst: AlignedBurst, members: tuple[int, ...]) -> tuple[list[int], Tensor]:
    """Indices of ``members`` with the reference first, and their EVs (1, N)."""
    reference = burst.burst.reference
    indices = [reference, *(i for i in members if i != reference)]
    return indices, torch.tensor([[float(burst.burst.evs[i]) for i in indices]])


def static_merge(
    burst: AlignedBurst, tile: int, on_progress: Callable[[float], None] = lambda _share: None
) -> RadianceSigma:
    """h and sigma of all frames, in tiles of side ``tile``, 0 for one tile."""
    height, width = burst.burst.size
    indices, evs = reference_first(burst, tuple(range(len(burst.burst))))
    out = RadianceSigma(np.empty((height, width, 3), np.float32), np.empty((height, width), np.float32))
    merge_tile = partial(_merge_tile, burst, indices, evs, find_ends(burst, indices, evs), out)
    done = 0
    tiles = tile_grid(height, width, tile, margin=0)
    for area in parallel_map(merge_tile, tiles, worker_count(torch.device("cpu"))):
        done += area
        on_progress(done / (height * width))
    return out


def _merge_tile(
    burst: AlignedBurst, indices: list[int], evs: Tensor, ends: Sequence[End], out: RadianceSigma, tile: Tile
) -> int:
    """Write one tile into ``out``; returns its number of pixels."""
    scale = float(torch.exp2(evs.min()))
    part = unmoved(burst, indices, evs, tile.window)
    merged, _ = merge(part.frames, evs, part.counts, part.share)
    sigma = torch.hypot(
        spread(part.frames, evs, part.counts, merged, scale), ghost(merged, part.frames[:, 0], scale)
    ).clamp(max=SIGMA_MAX)
    sigma = flag_clipped(sigma, merged, scale, lowest_peak(part.seen))
    if ends and any(part.edges):
        lack = lacking(part.edges, part.frames, evs)
        merged, sigma = matched_light(ends, burst, merged, sigma, tile.window, lack, scale)
    write_tile(out, tile, merged, sigma)
    return tile.core.height * tile.core.width


def classical_merge(burst: AlignedBurst, indices: list[int], evs: Tensor, core: Window) -> F32:
    """(h, w, 3) h of frames ``indices`` at the first pixel of every cell of ``core``."""
    part = unmoved(burst, indices, evs, core, CELL)
    return np.asarray(merge(part.frames, evs, part.counts, part.share)[0][0].permute(1, 2, 0).numpy(), np.float32)


def spread(frames: Tensor, evs: Tensor, valid: Tensor, merged: Tensor, scale: float) -> Tensor:
    """(B, 1, H, W) standard error of a merge in the mu-law domain: scatter of its frames, and photon noise.

    ``frames``, ``evs`` as in ``merge``; ``valid`` its trust. ``scale`` takes reference units to short clip = 1.
    """
    counted = torch.cat([torch.ones_like(valid[:, :1]), valid], dim=1)
    weights = torch.stack([exposure_weight(frames[:, i], evs[:, i]) for i in range(frames.shape[1])], dim=1) * counted
    light = torch.stack([radiance(frames[:, i], evs[:, i]) for i in range(frames.shape[1])], dim=1)
    total = weights.sum(dim=1).clamp(min=1e-6)
    scatter = (weights * (light - merged[:, None]).abs().mean(dim=2, keepdim=True)).sum(dim=1) / total
    noise = (1 / FULL_WELL / total).sqrt()
    slope = mu_law_derivative(merged.mean(dim=1, keepdim=True), scale)
    error: Tensor = ((scatter.square() + noise.square()).sqrt() * slope).clamp(SIGMA_MIN, SIGMA_MAX)
    return error


def mu_law_derivative(light: Tensor, scale: float) -> Tensor:
    """The derivative of T(scale * light) with respect to ``light``."""
    return MU * scale / ((1 + MU * light.clamp(min=0) * scale) * float(np.log1p(MU)))


def ghost(merged: Tensor, reference: Tensor, scale: float) -> Tensor:
    """(B, 1, H, W) distance of a merge h from the reference frame R beyond the noise of R, in the mu-law domain T.

        ghost^2 = max(0, d^2 - n^2),   d = mean |T(h) - T(R)|,   n = mean e T'(R),   over channels

    ``merged`` and ``reference``: (B, 3, H, W) in reference units. e is the bound GHOST_NOISE at R. A clipped channel
    bounds only the brightest channel of h, and from below: RAW frames clip in all channels at once, and cameras
    desaturate highlights.
    """
    measured = measured_share(reference)
    bounded = torch.lerp(merged.amax(dim=1, keepdim=True), merged, measured)
    level, low, high = (mu_law(light * scale) for light in (reference, bounded, merged))
    distance = torch.maximum(level - low, measured * (high - level)).clamp(min=0).mean(dim=1, keepdim=True)
    noise = (noise_bound(reference, GHOST_NOISE) * mu_law_derivative(reference, scale)).mean(dim=1, keepdim=True)
    excess: Tensor = (distance.square() - noise.square()).clamp(min=0).sqrt()
    return excess


def flag_clipped(sigma: Tensor, light: Tensor, scale: float, peak: Tensor | None = None) -> Tensor:
    """sigma, and 1 where the truth has no upper bound.

    That is where the result is at the shortest frame's clip, or where all frames are clipped by their ``lowest_peak``.
    """
    clipped = light.amax(dim=1, keepdim=True) * scale >= CLIPPED_LEVEL
    if peak is not None:
        clipped |= peak >= CLIPPED_LEVEL
    return torch.where(clipped, torch.full_like(sigma, SIGMA_MAX), sigma)


def write_tile(out: RadianceSigma, tile: Tile, light: Tensor, sigma: Tensor) -> None:
    """Copy the core of a tile, computed for its window, into the image."""
    core, window = tile.core, tile.window
    rows = slice(core.top, core.top + core.height)
    columns = slice(core.left, core.left + core.width)
    inner_rows = slice(core.top - window.top, core.top - window.top + core.height)
    inner_columns = slice(core.left - window.left, core.left - window.left + core.width)
    target = out.radiance[rows, columns]
    for channel, plane in enumerate(light[0, :, inner_rows, inner_columns].cpu().numpy()):
        target[..., channel] = plane
    out.sigma[rows, columns] = sigma[0, 0, inner_rows, inner_columns].cpu().numpy()


def difference_from_classical(result: F32, classical: F32, scale: float) -> ClassicalDifference:
    """Of two (h, w, 3) images in reference units; ``scale`` takes them to short clip = 1."""
    a, b = (mu_law(torch.from_numpy(np.ascontiguousarray(x)) * scale) for x in (result, classical))
    difference = (a - b).abs().mean(dim=-1)
    changed = difference > MIN_CHANGE
    if not bool(changed.any()):
        return ClassicalDifference(0.0, 0.0, 0.0)
    over = difference[changed]
    return ClassicalDifference(float(changed.float().mean()), float(over.mean()), float(over.max()))
