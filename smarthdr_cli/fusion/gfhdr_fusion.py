"""Fusion by gfhdr: physics where the frames agree, three frames by the network where they do not.

As network_fusion.py without motion: gfhdr answers what moved from the three frames' context. Its channel attention
averages over the window it sees, so the answers of adjoining windows differ. Each counts wholly in its own window and
fades out over the OVERLAP pixels around it, over what earlier windows have written.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smarthdr_cli.aligned_burst import AlignedBurst, Window
from smarthdr_cli.burst.burst import Frame
from smarthdr_cli.burst.reference import spanning_frames
from smarthdr_cli.errors import MemoryLimitError, UsageError
from smarthdr_cli.fusion import blocks
from smarthdr_cli.fusion.burst_model import fit_burst, frame_order
from smarthdr_cli.fusion.consistency import STRICT_THRESHOLD, THRESHOLD
from smarthdr_cli.fusion.memory_budget import MemoryBudget
from smarthdr_cli.fusion.network_fusion import blend
from smarthdr_cli.fusion.network_window import joined
from smarthdr_cli.fusion.physical_merge import PhysicalMerger
from smarthdr_cli.fusion.pixel_functions import kernel_choice
from smarthdr_cli.fusion.result import FuserRecord, FusionStatistics, TiledFusion
from smarthdr_cli.fusion.static_merge import difference_from_classical
from smarthdr_cli.fusion.tiles import MIN_TILE, around, parallel_map, to_tensor, worker_count
from smarthdr_cli.models.gfhdr import FRAMES, GFHDR, pack_frames
from smarthdr_cli.models.merge import clamp_to_reference_strict
from smarthdr_cli.models.saf_layers import CELL
from smarthdr_cli.models.uncertainty_calibration import Calibration
from smarthdr_cli.system import trim_heap

F32 = NDArray[np.float32]
OVERLAP = 16  # pixels that the network sees around a window, over which its answer fades; 32 gave the same PSNR
MAX_TILE = 384  # pixels
# Bytes for computing windows at all, and for each pixel of one; measured on a CPU in fp32, with freed memory kept.
FIXED_BYTES, BYTES_PER_PIXEL = 600e6, 3800.0


@dataclass(frozen=True)
class GFHDRFuser:
    """gfhdr on its device, in its precision, as a ``Fuser``."""

    model: GFHDR
    device: torch.device
    dtype: torch.dtype
    calibration: Calibration | None
    record: FuserRecord

    def fuse(
        self, burst: AlignedBurst, budget: MemoryBudget, *, strong: bool, on_progress: Callable[[float], None]
    ) -> TiledFusion:
        """Merge every frame of the burst; where they are at odds, the network fuses the reference and the two that span
        the range of exposures best with it.

        Raises UsageError for a burst of two frames, MemoryLimitError where the smallest tile does not fit.
        """
        if len(burst.burst) < FRAMES:
            raise UsageError("gfhdr weights fuse three frames; this burst has two (saf weights take 2 to 9)")
        size, workers = burst.burst.size, worker_count(self.device)
        tile = tile_within(budget.tile, budget.tile_bytes, math.prod(size), workers)
        order = frame_order(burst.burst.evs, burst.burst.reference)
        model = fit_burst(burst, order, {index: burst.downsample(index, CELL) for index in order}, {})
        merger = PhysicalMerger(burst, model, {}, STRICT_THRESHOLD if strong else THRESHOLD)
        merge = merger.picture(budget.tile, lambda share: on_progress(0.2 * share))
        config = replace(blocks.BlockConfig(), context=OVERLAP)
        share = blocks.network_share(blocks.at_odds(merge.summary, config), config)
        windows = list(blocks.windows(share, size, config, tile))
        network = GFHDRWindows(self, merger)
        total, done, convolved = sum(w.height * w.width for w in windows), 0, 0
        whole = [around(core, OVERLAP, size, self.model.config.window) for core in windows]
        for core, window, (light, sigma) in zip(
            windows, whole, parallel_map(network.fuse, whole, workers), strict=True
        ):
            reach, fade = fading_window(core, size)
            blend(merge.image, share, reach, window, light, sigma, fade)
            done += core.height * core.width
            convolved += window.height * window.width
            on_progress(0.2 + 0.8 * done / total)
        on_progress(1.0)
        trim_heap()
        statistics = FusionStatistics(
            tile=tile,
            network_frames=FRAMES,
            other_frames=len(burst.burst) - FRAMES,
            difference=difference_from_classical(
                merge.image.radiance[::CELL, ::CELL], merge.classical, float(model.exposures.min())
            ),
            mean_trust=merge.mean_trust,
            network_share=float(share.mean()),
            convolved_megapixels=convolved / 1e6,
        )
        return TiledFusion(merge.image, statistics, kernel=kernel_choice().kernel)


@dataclass(frozen=True)
class GFHDRWindows:
    """What all windows of a burst share."""

    fuser: GFHDRFuser
    merger: PhysicalMerger

    @torch.inference_mode()
    def fuse(self, window: Window) -> tuple[F32, F32]:
        """Light (h, w, 3) and sigma (h, w) of ``window``, whose corner and sides are multiples of CELL.

        Frames that the network does not see join by their physical weight against its sigma.
        """
        model, burst, device = self.merger.model, self.merger.burst.burst, self.fuser.device
        others = [model.order.index(i) for i in spanning_frames(burst, FRAMES) if i != burst.reference]
        three = [others[0], 0, others[1]]
        merged = self.merger.window(window)
        frames = torch.stack([to_tensor(merged.frames[n]) for n in three], dim=1).to(device)
        evs = torch.from_numpy(model.exposures[three])[None].log2().to(device)
        output = self.fuser.model.predict(pack_frames(frames, evs).to(self.fuser.dtype))
        light = output.radiance.float() / torch.exp2(evs.min())
        light = clamp_to_reference_frame(light, frames[:, 1], burst.frames[burst.reference])
        sigma = output.log_sigma.float().exp()
        if self.fuser.calibration is not None:
            calibration = self.fuser.calibration.for_codes(frame.codes.dtype for frame in burst.frames)
            sigma = calibration.apply_torch(sigma)
        radiance = np.ascontiguousarray(light[0].permute(1, 2, 0).cpu().numpy())
        return joined(model, merged, others, radiance, sigma[0, 0].cpu().numpy(), merged.trust[others])


def tile_within(size: int, available: float, pixels: int, workers: int) -> int:
    """Side of a tile, at most ``size`` (0: one tile of all ``pixels``), of which ``available`` bytes hold ``workers``.

    Raises MemoryLimitError where the smallest tiles do not fit, or the whole image where that was asked for.
    """
    if not size:
        needed = FIXED_BYTES + BYTES_PER_PIXEL * pixels
        if needed > available:
            raise MemoryLimitError(f"--max-memory is too little: gfhdr takes {needed / 2**30:.2g}G under --tile 0")
        return 0
    area = max(0.0, min(available - FIXED_BYTES, 1e12)) / BYTES_PER_PIXEL / workers
    side = min(size, MAX_TILE, int(area**0.5) - 2 * OVERLAP)
    if side < MIN_TILE:
        needed = FIXED_BYTES + BYTES_PER_PIXEL * workers * (MIN_TILE + 2 * OVERLAP + 1) ** 2
        raise MemoryLimitError(
            f"--max-memory is too little: gfhdr takes {needed / 2**30:.1f}G for its smallest tiles, beside the picture"
        )
    return side // CELL * CELL


def clamp_to_reference_frame(light: Tensor, reference: Tensor, frame: Frame) -> Tensor:
    """``light`` clamped to what the reference measured, ``reference`` its pixels in a tile and ``frame`` its file.

    Clipped pixels of a RAW file read 1 in all channels (aligned_burst.py); of them only the brightest channel is known,
    and only from below.
    """
    clamped = clamp_to_reference_strict(light, reference)
    if frame.clipped is None:
        return clamped
    raised = light * (1 / light.amax(dim=1, keepdim=True)).clamp(min=1)
    return torch.where(reference.amin(dim=1, keepdim=True) >= 1, raised, clamped)


def fading_window(core: Window, size: tuple[int, int]) -> tuple[Window, F32]:
    """``core`` with the pixels of the picture within OVERLAP of it, and the weight (h, w) of its answer in them."""
    spans, ramps = [], []
    for low, length, end in ((core.top, core.height, size[0]), (core.left, core.width, size[1])):
        first, last = max(low - OVERLAP, 0), min(low + length + OVERLAP, end)
        centre = np.arange(first, last, dtype=np.float32) + 0.5
        beyond = np.maximum(low - centre, centre - (low + length))
        spans.append((first, last - first))
        ramps.append(1 - (beyond / OVERLAP).clip(0, 1))
    (top, height), (left, width) = spans
    weight: F32 = ramps[0][:, None] * ramps[1]
    return Window(top, left, height, width), weight
