"""Fusion by saf: physics where the frames agree, the network where they do not.

1. ``coarse_motions``: optical flow on cells of 4x4 pixels.
2. ``fit_burst``: noise, photometric grid and registration residue, from one draw of samples through that flow.
3. ``find_motions``: the flow is taken where the frame then agrees better, and refined where it still differs.
4. ``PhysicalMerger.picture``: the merge by physics, and where the frames are at odds.
5. The network fuses windows around what is at odds, with context, and fades into the merge over a ring that agrees.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smarthdr_cli.aligned_burst import AlignedBurst, Window
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.burst.reference import spanning_frames
from smarthdr_cli.fusion import blocks
from smarthdr_cli.fusion.burst_model import BurstModel, fit_burst, frame_order
from smarthdr_cli.fusion.consistency import STRICT_THRESHOLD, THRESHOLD
from smarthdr_cli.fusion.memory_budget import MemoryBudget
from smarthdr_cli.fusion.motion import coarse_motions, find_motions
from smarthdr_cli.fusion.physical_merge import PhysicalMerger, WindowMerge
from smarthdr_cli.fusion.pixel_kernel import CELL
from smarthdr_cli.fusion.residual_bounds import as_measured, bounded
from smarthdr_cli.fusion.result import FuserRecord, FusionStatistics, RadianceSigma, TiledFusion
from smarthdr_cli.fusion.static_merge import difference_from_classical
from smarthdr_cli.fusion.tiles import around, cells_of, parallel_map, to_tensor, worker_count
from smarthdr_cli.models.merge import READ_FLOOR, TAPER_END, clip_taper
from smarthdr_cli.models.saf import SAF
from smarthdr_cli.models.tensor_ops import encode
from smarthdr_cli.models.uncertainty_calibration import Calibration
from smarthdr_cli.radiometry import MU
from smarthdr_cli.system import trim_heap

F32 = NDArray[np.float32]

MAX_NETWORK_FRAMES = 9  # as many as training shows
STRONG_LOGIT = 2.0  # by which --deghost strong lowers the network's trust
MAX_FACTOR = 1e3  # by which the noise model may change a weight of the network's merge
CERTAIN = 20.0  # a logit whose sigmoid is 1 in float32
AGREES = (0.5, 0.9)  # trust of the test over which the network is overruled: the frame is merged
SHOWS = 10.0  # a frame trusted by a tenth shows something


@dataclass(frozen=True)
class SAFFuser:
    """saf on its device, in its precision, as a ``Fuser``."""

    model: SAF
    device: torch.device
    dtype: torch.dtype
    calibration: Calibration | None
    record: FuserRecord

    def fuse(
        self, burst: AlignedBurst, budget: MemoryBudget, *, strong: bool, on_progress: Callable[[float], None]
    ) -> TiledFusion:
        """Merge every frame of the burst; where they are at odds, the network fuses nine of them at most."""
        state = fit(self, burst, budget.parallel_motions, strong, lambda share: on_progress(0.3 * share))
        merge = state.merger.picture(budget.tile, lambda share: on_progress(0.3 + 0.3 * share))
        config = blocks.BlockConfig()
        share = blocks.network_share(blocks.at_odds(merge.summary, config), config)
        if not state.members:
            share = np.zeros_like(share)
        size = burst.burst.size
        windows = list(blocks.windows(share, size, config, budget.tile))

        def fuse_core(core: Window) -> tuple[int, float, int]:
            window = around(core, config.context, size)
            light, sigma, limited = fuse_window(state, state.merger.window(window), window)
            blend(merge.image, share, core, window, light, sigma)
            return core.height * core.width, limited, window.height * window.width

        total, done, restored, convolved = sum(w.height * w.width for w in windows), 0, 0.0, 0
        for area, limited, window_area in parallel_map(fuse_core, windows, worker_count(self.device)):
            done += area
            restored += limited * area
            convolved += window_area
            on_progress(0.6 + 0.4 * done / total)
        trim_heap()
        pixels, shortest = size[0] * size[1], float(state.merger.model.exposures.min())
        statistics = FusionStatistics(
            tile=budget.tile,
            network_frames=1 + len(state.members),
            other_frames=len(burst.burst) - 1 - len(state.members),
            difference=difference_from_classical(merge.image.radiance[::CELL, ::CELL], merge.classical, shortest),
            restored_share=restored / pixels,
            mean_trust=merge.mean_trust,
            network_share=float(share.mean()),
            convolved_megapixels=convolved / 1e6,
        )
        return TiledFusion(merge.image, statistics)


@dataclass(frozen=True)
class FusionState:
    """What all windows of a burst share.

    ``members``: positions in the model's order of the other frames that the network sees. ``strong``: trust other
    frames less.
    """

    fuser: SAFFuser
    merger: PhysicalMerger
    members: Sequence[int]
    strong: bool


def fit(
    fuser: SAFFuser, burst: AlignedBurst, parallel_motions: int, strong: bool, on_progress: Callable[[float], None]
) -> FusionState:
    """Steps 1 to 3. ``parallel_motions``: motion estimates at a time."""
    reference, evs = burst.burst.reference, burst.burst.evs
    order = frame_order(evs, reference)
    cells = {index: burst.downsample(index, CELL) for index in order}
    coarse = coarse_motions(
        fuser.model, cells, order, evs, fuser.device, parallel_motions, lambda share: on_progress(0.6 * share)
    )
    rows, columns = cells[reference].shape[:2]
    pairs = {order[n]: motion.pair_motion() for n, motion in coarse.items()}
    flows = {index: motion.cells(rows, columns) for index, motion in pairs.items()}
    model = fit_burst(
        burst, order, cells, flows,
        lambda index, window: pairs[index].displacement(window) if index in pairs else None,
    )  # fmt: skip
    motions = find_motions(fuser.model, burst, model, coarse, parallel_motions)
    trim_heap()
    merger = PhysicalMerger(
        burst, model, motions, tuple(pair.residue_cells(rows, columns) for pair in model.pairs),
        STRICT_THRESHOLD if strong else THRESHOLD,
    )  # fmt: skip
    return FusionState(fuser, merger, network_frames(burst.burst, order, motions), strong)


def network_frames(burst: Burst, order: Sequence[int], near: Iterable[int]) -> list[int]:
    """Of the positions ``near`` in ``order``, those that span the range of exposures best with the reference, the
    network's number of frames at most.
    """
    indices = sorted((order[0], *(order[n] for n in near)))
    frames = tuple(burst.frames[i] for i in indices)
    chosen = spanning_frames(Burst(frames, indices.index(order[0])), MAX_NETWORK_FRAMES) if len(frames) > 1 else ()
    return [n for n in near if indices.index(order[n]) in chosen]


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


def fuse_window(state: FusionState, merged: WindowMerge, window: Window) -> tuple[F32, F32, float]:
    """Light (h, w, 3) and sigma (h, w) of a window by the network, and the share of its residual that was limited.

    The network fuses the reference and ``state.members``; frames further off in exposure, and those beyond the
    network's number, join by their physical weight against the network's sigma.
    """
    fuser, members, model, motions = state.fuser, state.members, state.merger.model, state.merger.motions

    def planes(array: F32) -> Tensor:
        return to_tensor(array).to(fuser.device)

    ref = planes(merged.frames[0])
    codes = encode(ref)
    first = _weight_factor(ref, planes(merged.variance[0]), 1.0)
    frames, valid, logits, features, gaps, factors = [ref], [], [], [], [], [torch.ones_like(first)]
    for n in members:
        frame, place, agreed = (planes(x[n]) for x in (merged.frames, merged.place, merged.trust))
        ev = frame.new_full((1,), float(np.log2(model.exposures[n])))
        inside = (place > 0).to(frame)
        logit, feature, gap = fuser.model.verify(ref, frame, inside, ev, motions[n].state_in(window), codes)
        brighter = (frame if float(ev) > 0 else ref).amax(dim=1, keepdim=True)
        low, high = AGREES
        overruled = ((agreed - low) / (high - low)).clamp(0, 1) * (brighter < TAPER_END)
        logit = torch.lerp(logit - STRONG_LOGIT * state.strong, logit.clamp(min=CERTAIN), overruled)
        frames.append(torch.where(inside > 0, frame, torch.ones_like(frame)))  # unseen: no weight, not the reference's
        valid.append(inside)
        logits.append(torch.where(inside > 0, logit, torch.full_like(logit, CERTAIN)))
        features.append(feature)
        gaps.append(gap)
        factor = _weight_factor(frame, planes(merged.variance[n]), float(model.exposures[n])) / first
        factors.append(factor.clamp(1 / MAX_FACTOR, MAX_FACTOR) * place.clamp(min=0))
    stack, seen = torch.stack(frames, dim=1), torch.stack(valid, dim=1)
    exposures = np.concatenate([model.exposures[:1], model.exposures[list(members)]])
    evs = torch.from_numpy(np.log2(exposures))[None].to(ref)
    answer_light, log_sigma, detail = fuser.model.refine(
        stack,
        evs,
        seen,
        torch.stack(logits, dim=1),
        features,
        torch.stack(gaps, dim=1),
        codes,
        1.0,
        torch.stack(factors, dim=1),
    )
    light, limited = bounded(answer_light, detail.merged, stack, (detail.trust * SHOWS).clamp(max=1), evs)
    if not model.eight_bit[0]:
        light = as_measured(light, ref)
    sigma = log_sigma.exp()
    if fuser.calibration is not None:
        types = (frame.codes.dtype for frame in state.merger.burst.burst.frames)
        sigma = fuser.calibration.for_codes(types).apply_torch(sigma)
    answer = np.ascontiguousarray(light[0].permute(1, 2, 0).cpu().numpy(), np.float32)
    error = np.ascontiguousarray(sigma[0, 0].float().cpu().numpy())
    trust = np.ascontiguousarray(detail.trust[0, :, 0].float().cpu().numpy())
    return (*joined(model, merged, members, answer, error, trust), limited)


def _weight_factor(frame: Tensor, variance: Tensor, exposure: float) -> Tensor:
    """(1, 1, h, w) the weight of the noise model over that of the network's own merge (models/merge.py)."""
    level = frame.mean(dim=1, keepdim=True).clamp(min=0)
    return (level + READ_FLOOR) / (variance * exposure**2)


def joined(
    model: BurstModel, merged: WindowMerge, members: Sequence[int], light: F32, sigma: F32, trust: F32
) -> tuple[F32, F32]:
    """The network's ``light`` and ``sigma`` of a window with what physics knows: frames that it did not see join by
    their weight, sigma is no lower than the noise of the merge, and what every frame clips stays the shortest frame's.
    """
    scale = float(model.exposures.min())
    slope = MU * scale / ((1 + MU * scale * light.mean(-1).clip(min=0)) * float(np.log1p(MU)))
    tapers = _tapers(merged.frames)
    weights = tapers / merged.variance * (merged.place > 0)
    kept = weights[0] + (weights[list(members)] * trust).sum(0)
    sigma = np.maximum(sigma, slope / np.sqrt(np.maximum(kept, 1e-14))).clip(1e-4, 1)
    rest = [n for n in range(1, len(model.order)) if n not in members]
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
