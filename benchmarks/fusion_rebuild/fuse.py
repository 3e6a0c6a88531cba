"""Fusion: physics where the frames agree, the network where they do not.

1. ``fit_burst``: noise, photometric grid and registration residue, from one draw of samples.
2. ``find_motions``: coarse optical flow; taken where the frame then agrees better.
3. The picture is merged by physics in tiles (physical_merge.py), which also says where the frames are at odds.
4. The network fuses windows around what is at odds, with context, and fades into the merge over a ring that agrees.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.fusion_rebuild import blocks
from benchmarks.fusion_rebuild.motion import PairMotion, coarse_motions, find_motions
from benchmarks.fusion_rebuild.physical_merge import BurstModel, WindowMerge, cells_of, fit_burst, merge_window
from benchmarks.fusion_rebuild.pixel_kernel import CELL, MARGIN
from benchmarks.fusion_rebuild.residual_bounds import clamp_residual_to_frames, clamp_to_reference
from smarthdr_cli.aligned_burst import AlignedBurst, Window
from smarthdr_cli.fusion.result import ClassicalDifference, RadianceSigma
from smarthdr_cli.fusion.static_merge import difference_from_classical
from smarthdr_cli.fusion.tiles import parallel_map, tile_grid, to_tensor, worker_count
from smarthdr_cli.models.merge import TAPER_END, clip_taper
from smarthdr_cli.models.saf import SAF
from smarthdr_cli.models.tensor_ops import encode
from smarthdr_cli.models.uncertainty_calibration import Calibration
from smarthdr_cli.radiometry import MU
from smarthdr_cli.system import trim_heap

F32 = NDArray[np.float32]

STRONG_LOGITS = 2.0  # by which --deghost strong distrusts
CERTAIN = 20.0  # a logit whose sigmoid is 1 in float32
AGREES = (0.5, 0.9)  # trust of the test over which the network is overruled: the frame is merged
SHOWS = 10.0  # a frame trusted by a tenth shows something
TILE = 384  # px of a tile of the physical merge: small enough for the caches


@dataclass(frozen=True)
class Learned:
    """The network ready to run: on its device, in its precision."""

    model: SAF
    device: torch.device
    dtype: torch.dtype
    calibration: Calibration | None


@dataclass(frozen=True)
class Outcome:
    """The picture and its comparison with the classical merge; shares of the picture: where the residual was put back,
    mean trust, what physics alone made, and convolved pixels, context included, over the picture's."""

    plane: RadianceSigma
    guard: ClassicalDifference
    restored: float
    trusted: float
    still: float
    convolved: float


def fuse_learned(
    network: Learned, source: AlignedBurst, members: tuple[int, ...], size: int, *, strong: bool,
    at_once: int | None = None, on_progress: Callable[[float], None] = lambda _: None,
) -> Outcome:  # fmt: skip
    """Fuse every frame of a burst; ``members``: those that the network may look at, the reference among them.

    ``size``: largest side of a tile. ``at_once``: motions found side by side, where memory does not allow as many as
    there are cores.
    """
    burst = source.burst
    height, width = burst.size
    reference = burst.reference
    order = [reference, *(i for i in range(len(burst)) if i != reference)]
    count = worker_count(network.device)
    abreast = min(count, at_once or count)
    cells = {index: source.downsample(index, CELL) for index in order}
    coarse = coarse_motions(network.model, cells, order, burst.evs, network.device, abreast,
                            lambda done: on_progress(0.2 * done))  # fmt: skip
    rows, columns = cells[reference].shape[:2]
    begun = {order[n]: motion.pair_motion() for n, motion in coarse.items()}
    flows_of = {index: motion.cells(rows, columns) for index, motion in begun.items()}
    model = fit_burst(
        source, order, cells, flows_of, lambda index, at: begun[index].displacement(at) if index in begun else None
    )
    motions = find_motions(network.model, source, model, coarse, abreast)
    trim_heap()
    residues = [pair.residue_cells(rows, columns) for pair in model.pairs]
    out = RadianceSigma(np.empty((height, width, 3), np.float32), np.empty((height, width), np.float32))
    summary, classical = np.empty((rows, columns, 5), np.float32), np.empty((rows, columns, 3), np.float32)

    def flows(window: Window) -> list[F32 | None]:
        return [motions[n].displacement(window) if n in motions else None for n in range(1, len(order))]

    def merge_tile(core: Window, window: Window) -> tuple[int, float]:
        merged = merge_window(source, model, window, flows(window), residues)
        parts, plain = merged.summary(model.exposures)
        inner = cells_of(Window(core.top - window.top, core.left - window.left, core.height, core.width))
        summary[cells_of(core)], classical[cells_of(core)] = parts[inner], plain[inner]
        put(out, core, window, merged.light, merged.sigma)
        return core.height * core.width, float(merged.trust[1:].mean())

    restored = trusted = done = 0.0
    step = min(size or TILE, TILE)
    for area, trust in parallel_map(
        lambda tile: merge_tile(tile.core, tile.window), tile_grid(height, width, step, MARGIN), count
    ):
        done += area
        trusted += trust * area
        on_progress(0.3 + 0.3 * done / (height * width))
    config = blocks.BlockConfig()
    share = blocks.network_share(blocks.at_odds(summary, config), config)
    near = [n for n in motions if order[n] in members]
    windows = list(blocks.windows(share, (height, width), config)) if near else []

    def look(core: Window) -> tuple[int, float, float]:
        window = around(core, config.context, (height, width))
        merged = merge_window(source, model, window, flows(window), residues)
        light, sigma, put_back = fuse_window(network, source, model, motions, near, merged, window, strong)
        blend(out, share, core, window, light, sigma)
        return core.height * core.width, put_back, float(window.height * window.width)

    total, convolved, done = float(sum(w.height * w.width for w in windows)), 0.0, 0.0
    for area, put_back, seen in parallel_map(look, windows, count):
        done += area
        restored += put_back * area
        convolved += seen
        on_progress(0.6 + 0.4 * done / total)
    trim_heap()
    pixels = height * width
    guard = difference_from_classical(out.radiance[::CELL, ::CELL], classical, float(model.exposures.min()))
    return Outcome(out, guard, restored / pixels, trusted / pixels, 1 - float(share.mean()), convolved / pixels)


def around(core: Window, context: int, size: tuple[int, int]) -> Window:
    """``core`` and ``context`` pixels around it, within the picture but for what makes its sides multiples of CELL."""
    top, left = max(core.top - context, 0), max(core.left - context, 0)
    bottom = min(core.top + core.height + context, size[0])
    right = min(core.left + core.width + context, size[1])
    return Window(top, left, -(-(bottom - top) // CELL) * CELL, -(-(right - left) // CELL) * CELL)


def put(out: RadianceSigma, core: Window, window: Window, light: F32, sigma: F32) -> None:
    """Copy a tile's core into the picture."""
    y, x = core.top - window.top, core.left - window.left
    target = np.s_[core.top : core.top + core.height, core.left : core.left + core.width]
    part = np.s_[y : y + core.height, x : x + core.width]
    out.radiance[target], out.sigma[target] = light[part], sigma[part]


def blend(out: RadianceSigma, share: F32, core: Window, window: Window, light: F32, sigma: F32) -> None:
    """Fade the network's window into the picture by its ``share`` of every cell; sigma in its logarithm."""
    rows, columns = cells_of(core)
    y0, x0 = max(rows.start - 1, 0), max(columns.start - 1, 0)
    cells = share[y0 : rows.stop + 1, x0 : columns.stop + 1]
    wide = cv2.resize(cells, (cells.shape[1] * CELL, cells.shape[0] * CELL), interpolation=cv2.INTER_LINEAR)
    oy, ox = core.top - y0 * CELL, core.left - x0 * CELL
    weight = wide[oy : oy + core.height, ox : ox + core.width]
    y, x = core.top - window.top, core.left - window.left
    part = np.s_[y : y + core.height, x : x + core.width]
    target = np.s_[core.top : core.top + core.height, core.left : core.left + core.width]
    out.radiance[target] += (light[part] - out.radiance[target]) * weight[..., None]
    out.sigma[target] *= (sigma[part] / out.sigma[target]) ** weight


def fuse_window(
    network: Learned, source: AlignedBurst, model: BurstModel, motions: Mapping[int, PairMotion], near: Sequence[int],
    merged: WindowMerge, window: Window, strong: bool,
) -> tuple[F32, F32, float]:  # fmt: skip
    """Light (h, w, 3) and sigma (h, w) of a window by the network, and the share of its residual that was put back.

    The network fuses the reference and the frames ``near`` it; frames further off in exposure, and those beyond the
    network's number, join by their physical weight against the network's sigma.
    """
    device = network.device

    def planes(array: F32) -> Tensor:
        return to_tensor(array).to(device)

    ref = planes(merged.frames[0])
    codes = encode(ref)
    frames, valid, logits, features, gaps, weights = [ref], [], [], [], [], [torch.ones_like(ref[:, :1])]
    for n in near:
        frame, place, agreed = (planes(x[n]) for x in (merged.frames, merged.place, merged.trust))
        ev = frame.new_full((1,), float(np.log2(model.exposures[n])))
        inside = (place > 0).to(frame)
        logit, feature, gap = network.model.verify(ref, frame, inside, ev, motions[n].cut(window), codes)
        brighter = (frame if float(ev) > 0 else ref).amax(dim=1, keepdim=True)
        low, high = AGREES
        overruled = ((agreed - low) / (high - low)).clamp(0, 1) * (brighter < TAPER_END)
        logit = torch.lerp(logit - STRONG_LOGITS * strong, logit.clamp(min=CERTAIN), overruled)
        frames.append(torch.where(inside > 0, frame, torch.ones_like(frame)))  # unseen: no weight, not the reference's
        valid.append(inside)
        logits.append(torch.where(inside > 0, logit, torch.full_like(logit, CERTAIN)))
        features.append(feature)
        gaps.append(gap)
        weights.append(place.clamp(min=0))
    stack, seen = torch.stack(frames, dim=1), torch.stack(valid, dim=1)
    exposures = np.concatenate([model.exposures[:1], model.exposures[list(near)]])
    evs = torch.from_numpy(np.log2(exposures))[None].to(ref)
    share = None if all(bool((w == 1).all()) for w in weights) else torch.stack(weights, dim=1)
    answer_light, log_sigma, detail = network.model.refine(
        stack, evs, seen, torch.stack(logits, dim=1), features, torch.stack(gaps, dim=1), codes, 1.0, share
    )
    light, put_back = clamp_residual_to_frames(
        answer_light, detail.merged, stack, (detail.trust * SHOWS).clamp(max=1), evs
    )
    if not model.eight_bit[0]:
        light = clamp_to_reference(light, ref)
    sigma = log_sigma.exp()
    if network.calibration is not None:
        sigma = network.calibration.apply_torch(sigma)
    answer = np.ascontiguousarray(light[0].permute(1, 2, 0).cpu().numpy(), np.float32)
    error = np.ascontiguousarray(sigma[0, 0].float().cpu().numpy())
    trust = np.ascontiguousarray(detail.trust[0, :, 0].float().cpu().numpy())
    return (*joined(model, merged, near, answer, error, trust), put_back)


def joined(
    model: BurstModel, merged: WindowMerge, near: Sequence[int], light: F32, sigma: F32, trust: F32
) -> tuple[F32, F32]:
    """The network's ``light`` and ``sigma`` of a window with what physics knows: frames that it did not see join by
    their weight, sigma is no lower than the noise of the merge, and what every frame clips stays the shortest frame's.
    """
    scale = float(model.exposures.min())
    slope = MU * scale / ((1 + MU * scale * light.mean(-1).clip(min=0)) * float(np.log1p(MU)))
    tapers = _tapers(merged.frames)
    weights = tapers / merged.variance * (merged.place > 0)
    kept = weights[0] + (weights[list(near)] * trust).sum(0)
    sigma = np.maximum(sigma, slope / np.sqrt(np.maximum(kept, 1e-14))).clip(1e-4, 1)
    rest = [n for n in range(1, len(model.order)) if n not in near]
    if rest:
        own = (slope / sigma) ** 2
        for n in rest:
            weight = weights[n] * merged.trust[n]
            light = light + (merged.frames[n] / model.exposures[n] - light) * (weight / (own + weight))[..., None]
            own = own + weight
        sigma = slope / np.sqrt(own)
    light = light + (merged.light - light) * merged.clipped[..., None]
    return light, np.where(merged.clipped > 0.5, 1, sigma).astype(np.float32)


def _tapers(frames: F32) -> F32:
    """(N, h, w) clip taper of (N, h, w, 3) frames."""
    peak = torch.from_numpy(frames).movedim(-1, -3)
    return np.asarray(clip_taper(peak)[:, 0].numpy())
