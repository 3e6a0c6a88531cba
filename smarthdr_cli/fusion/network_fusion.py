"""Fusion by saf: physics where the frames agree, the network where they do not.

1. ``coarse_motions``: optical flow on cells of 4x4 pixels or more.
2. ``refined_response``: the curve of a burst that is estimated from it, once more, through that flow.
   ``fit_burst``: noise, photometric grid and registration residue, from one draw of samples through it.
3. ``find_motions``: the flow is taken where the frame then agrees better, and refined where it still differs.
4. ``PhysicalMerger.picture``: the merge by physics, and where the frames are at odds.
5. The network fuses windows around what is at odds, with context, and fades into the merge over a ring that agrees.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from smarthdr_cli.aligned_burst import AlignedBurst, Window
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.burst.reference import spanning_frames
from smarthdr_cli.fusion import blocks
from smarthdr_cli.fusion.burst_model import fit_burst, frame_order
from smarthdr_cli.fusion.consistency import STRICT_THRESHOLD, THRESHOLD
from smarthdr_cli.fusion.flow_response import REPLACES_SRGB, refined_response
from smarthdr_cli.fusion.memory_budget import MemoryBudget
from smarthdr_cli.fusion.motion import PairMotion, coarse_motions, find_motions
from smarthdr_cli.fusion.network_window import WindowNetwork, network_side
from smarthdr_cli.fusion.physical_merge import PhysicalMerger, PictureMerge
from smarthdr_cli.fusion.pixel_functions import kernel_choice
from smarthdr_cli.fusion.pixel_kernel import CELL
from smarthdr_cli.fusion.result import FuserRecord, FusionStatistics, RadianceSigma, TiledFusion
from smarthdr_cli.fusion.static_merge import difference_from_classical
from smarthdr_cli.fusion.tiles import around, cells_of, parallel_map, worker_count
from smarthdr_cli.models.saf import SAF
from smarthdr_cli.models.uncertainty_calibration import Calibration
from smarthdr_cli.system import trim_heap

F32 = NDArray[np.float32]

MAX_NETWORK_FRAMES = 9  # as many as training shows


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
        plan = self.plan(burst, budget, strong, on_progress)
        merge, network, share, windows = plan.merge, plan.network, plan.share, plan.windows
        size, merger, members = burst.burst.size, network.merger, network.members

        def fuse_core(core: Window) -> tuple[int, float, float]:
            window = around(core, plan.context, size, CELL * network.side)
            inner = around(core, CELL, size)
            light, sigma, limited = network.fuse(window, inner)
            blend(merge.image, share, core, inner, light, sigma)
            return core.height * core.width, limited, window.height * window.width / network.side**2

        total, done, restored, convolved = sum(w.height * w.width for w in windows), 0, 0.0, 0.0
        for area, limited, window_area in parallel_map(fuse_core, windows, worker_count(self.device)):
            done += area
            restored += limited * area
            convolved += window_area
            on_progress(0.6 + 0.4 * done / total)
        on_progress(1.0)
        trim_heap()
        pixels, shortest = size[0] * size[1], float(merger.model.exposures.min())
        response = merger.burst.response
        statistics = FusionStatistics(
            tile=budget.tile,
            network_frames=1 + len(members),
            other_frames=len(burst.burst) - 1 - len(members),
            difference=difference_from_classical(merge.image.radiance[::CELL, ::CELL], merge.classical, shortest),
            restored_share=restored / pixels,
            mean_trust=merge.mean_trust,
            network_share=float(share.mean()),
            convolved_megapixels=convolved / 1e6,
            notes=(REPLACES_SRGB,) if burst.response.name == "srgb" != response.name else (),
        )
        return TiledFusion(merge.image, statistics, response, kernel_choice().kernel)

    def plan(
        self, burst: AlignedBurst, budget: MemoryBudget, strong: bool, on_progress: Callable[[float], None]
    ) -> "FusionPlan":
        """The merge by physics, and what is left to the network."""
        merger = fit(self, burst, budget.parallel_motions, strong, lambda share: on_progress(0.3 * share))
        merge = merger.picture(budget.tile, lambda share: on_progress(0.3 + 0.3 * share))
        members = network_frames(burst.burst, merger.model.order, merger.motions)
        config, size = blocks.BlockConfig(), burst.burst.size
        share = blocks.network_share(blocks.at_odds(merge.summary, config), config) * np.float32(bool(members))
        calibration = self.calibration and self.calibration.for_codes(frame.codes.dtype for frame in burst.burst.frames)
        network = WindowNetwork(self.model, self.device, calibration, merger, members, strong, network_side(size))
        config = replace(config, context=config.context * network.side)
        windows = tuple(blocks.windows(share, size, config, budget.tile))
        return FusionPlan(merge, network, share, windows, config.context)


@dataclass(frozen=True)
class FusionPlan:
    """A burst merged by physics: ``share`` (h / 4, w / 4) of the network in it, and the ``windows`` in which the
    ``network`` is asked, with ``context`` px around.
    """

    merge: PictureMerge
    network: WindowNetwork
    share: F32
    windows: tuple[Window, ...]
    context: int


def fit(
    fuser: SAFFuser, burst: AlignedBurst, parallel_motions: int, strong: bool, on_progress: Callable[[float], None]
) -> PhysicalMerger:
    """Steps 1 to 3. ``parallel_motions``: motion estimates at a time."""
    reference, evs = burst.burst.reference, burst.burst.evs
    order = frame_order(evs, reference)
    cells = {index: burst.downsample(index, CELL) for index in order}
    coarse = coarse_motions(
        fuser.model, cells, order, evs, fuser.device, parallel_motions, lambda share: on_progress(0.6 * share)
    )
    rows, columns = cells[reference].shape[:2]
    through = {order[n]: PairMotion(motion) for n, motion in coarse.items()}
    flows = {index: motion.cells(rows, columns) for index, motion in through.items()}

    def displacement(index: int, window: Window) -> F32 | None:
        return through[index].displacement(window) if index in through else None

    refined = refined_response(burst, flows)
    if refined is not burst:
        burst = refined
        cells = {index: burst.downsample(index, CELL) for index in order}
    model = fit_burst(burst, order, cells, flows, displacement)
    motions = find_motions(burst, model, coarse, parallel_motions)
    model = replace(model, cells={})  # which the merge does not need
    trim_heap()
    return PhysicalMerger(burst, model, motions, STRICT_THRESHOLD if strong else THRESHOLD)


def network_frames(burst: Burst, order: Sequence[int], near: Iterable[int]) -> list[int]:
    """Of the positions ``near`` in ``order``, those that span the range of exposures best with the reference, the
    network's number of frames at most.
    """
    indices = sorted((order[0], *(order[n] for n in near)))
    frames = tuple(burst.frames[i] for i in indices)
    chosen = spanning_frames(Burst(frames, indices.index(order[0])), MAX_NETWORK_FRAMES) if len(frames) > 1 else ()
    return [n for n in near if indices.index(order[n]) in chosen]


def blend(
    out: RadianceSigma, share: F32, core: Window, window: Window, light: F32, sigma: F32, fade: F32 | None = None
) -> None:
    """Fade the network's window into the picture by its ``share`` of every cell, and ``fade`` (h, w) of the core's
    pixels; sigma in its logarithm.
    """
    rows, columns = cells_of(core)
    y0, x0 = max(rows.start - 1, 0), max(columns.start - 1, 0)
    cells = share[y0 : rows.stop + 1, x0 : columns.stop + 1]
    wide = cv2.resize(cells, (cells.shape[1] * CELL, cells.shape[0] * CELL), interpolation=cv2.INTER_LINEAR)
    oy, ox = core.top - y0 * CELL, core.left - x0 * CELL
    weight = wide[oy : oy + core.height, ox : ox + core.width]
    weight = weight if fade is None else weight * fade
    y, x = core.top - window.top, core.left - window.left
    part = np.s_[y : y + core.height, x : x + core.width]
    target = np.s_[core.top : core.top + core.height, core.left : core.left + core.width]
    out.radiance[target] += (light[part] - out.radiance[target]) * weight[..., None]
    out.sigma[target] *= (sigma[part] / out.sigma[target]) ** weight
