"""The finest motion levels of a frame pair, computed only in windows where the warped frame still differs.

Each level below the last one of the whole image costs four times as much as the one above, and most of most images is
static. Windows cover the cells in which the frame, displaced by the coarse levels, is distrusted (1 - trust of
consistency.py, mean over 5x5 cells) and some cells around them, as blocks.py covers what is at odds. They get the
levels down to single pixels, or two more above 10 megapixels; the displacement found there replaces the coarse one and
fades out around them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from smarthdr_cli.aligned_burst import AlignedBurst, Window
from smarthdr_cli.fusion.blocks import BlockConfig, network_share, windows
from smarthdr_cli.fusion.tiles import around, cells_of, to_tensor
from smarthdr_cli.models.pairwise import flow_helps
from smarthdr_cli.models.saf import SAF
from smarthdr_cli.models.saf_layers import CELL, LEVEL_RADIUS, Motion, upsample
from smarthdr_cli.models.tensor_ops import enlarge

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class RefinementConfig:
    """``threshold``: mean of 1 - trust over 5x5 cells from which a place is refined. ``ring``: cells around it.
    ``pixels``, ``cells``: of a burst that are refined at most, single pixels and larger cells, margins included;
    ``cuda_cells``: either, on CUDA. ``largest``: px of a window's side.
    """

    threshold: float = 0.3
    ring: int = 6
    pixels: float = 2e6
    cells: float = 2e5
    cuda_cells: float = 32e6
    largest: int = 384

    def max_pixels(self, side: int, pairs: int, device: torch.device) -> float:
        """Pixels of one of ``pairs`` at most, where the finest cells have ``side`` pixels."""
        on_cpu = self.pixels if side == 1 else self.cells
        return (on_cpu if device.type == "cpu" else self.cuda_cells) * side**2 / pairs


DEFAULT_CONFIG = RefinementConfig()


@dataclass(frozen=True)
class FlowRefinement:
    """Added to the coarse displacement: for each of some windows that do not overlap, (1, 2, h, w) float16 pixels."""

    parts: tuple[tuple[Window, Tensor], ...]

    def within(self, window: Window) -> Tensor | None:
        """(1, 2, h, w) in pixels for a window; None where it meets none of the refined ones."""
        flow: Tensor | None = None
        for part, delta in self.parts:
            top, left = max(part.top, window.top), max(part.left, window.left)
            bottom = min(part.top + part.height, window.top + window.height)
            right = min(part.left + part.width, window.left + window.width)
            if top >= bottom or left >= right:
                continue
            if flow is None:
                flow = torch.zeros(1, 2, window.height, window.width, device=delta.device)
            source = delta[..., top - part.top : bottom - part.top, left - part.left : right - part.left]
            flow[..., top - window.top : bottom - window.top, left - window.left : right - window.left] = source
        return flow


@dataclass(frozen=True)
class CoarseMotion:
    """The coarse levels of one frame.

    ``state`` of the network at the last level, whose cells have ``side`` pixels; ``flow`` (1, 2, h, w) in pixels, on
    padded cells of CELL pixels, 0 where the frame agrees as well without.
    """

    state: Motion
    flow: Tensor
    side: int

    def state_in(self, window: Window) -> Motion:
        """The state of a window's cells of CELL pixels, its flow in such cells."""
        factor = self.side // CELL
        rows, columns = cells_of(window)
        (y0, y1), (x0, x1) = ((max(at.start // factor - 1, 0), -(-at.stop // factor) + 1) for at in (rows, columns))
        state = self.state
        part = upsample(Motion(*(x[..., y0:y1, x0:x1] for x in (state.flow, state.logit, state.hidden))), factor)
        top, left = rows.start - y0 * factor, columns.start - x0 * factor
        bottom, right = rows.stop - y0 * factor, columns.stop - x0 * factor
        return Motion(*(x[..., top:bottom, left:right] for x in (part.flow, part.logit, part.hidden)))


def finer_sides(side: int, finest: int) -> tuple[int, ...]:
    """Cell sides of the levels below one of ``side`` pixels: to single pixels, or to a quarter of larger cells."""
    least = max(finest, 1 if side <= 2 * CELL else side // 4)
    return tuple(side >> level for level in range(1, side.bit_length()) if side >> level >= least)


def refined_share(distrust: F32, config: RefinementConfig = DEFAULT_CONFIG) -> F32:
    """(h, w) cells: 1 where the displacement is refined, falling to 0 around."""
    return network_share(cv2.blur(distrust, (5, 5)) > config.threshold, BlockConfig(ring=config.ring))


def worst_windows(cores: Iterable[Window], distrust: F32, margin: int, max_pixels: float) -> list[Window]:
    """Of ``cores`` those with the most distrust, as many as take ``max_pixels`` with the ``margin`` around them."""
    chosen, pixels = [], 0
    for core in sorted(cores, key=lambda core: -float(distrust[cells_of(core)].mean())):
        pixels += (core.height + 2 * margin) * (core.width + 2 * margin)
        if pixels <= max_pixels:
            chosen.append(core)
    return chosen


def refine_motion(
    model: SAF, burst: AlignedBurst, index: int, coarse: CoarseMotion, ev: Tensor, distrust: F32, pairs: int,
    config: RefinementConfig = DEFAULT_CONFIG,
) -> FlowRefinement | None:  # fmt: skip
    """The finest levels of frame ``index``, one of ``pairs``; None without finer levels or where nothing differs.

    ``ev`` (1,) of the frame relative to the reference; ``distrust`` (h, w): 1 - trust in the image's cells.
    Independent of the tiles that are fused later.
    """
    sides = finer_sides(coarse.side, model.config.finest)
    if not sides:
        return None
    size = burst.burst.size
    share = refined_share(distrust, config)
    unit = max(CELL, sides[0])
    margin = -(-LEVEL_RADIUS * sum(sides) // unit) * unit
    cores = windows(share, size, BlockConfig(context=margin), config.largest)
    max_pixels = config.max_pixels(sides[-1], pairs, coarse.flow.device)
    weight = torch.from_numpy(share)[None, None].to(coarse.flow.device)
    parts = []
    for core in worst_windows(cores, distrust, margin, max_pixels):
        window = around(core, margin, size, unit)
        delta = _refine_window(model, burst, index, coarse, ev, sides, window)
        rows, columns = cells_of(core)
        wide = F.interpolate(weight[..., rows, columns], scale_factor=CELL, mode="nearest")
        top, left = core.top - window.top, core.left - window.left
        delta = delta[..., top : top + core.height, left : left + core.width]
        parts.append((core, (delta * wide[..., : core.height, : core.width]).half()))
    return FlowRefinement(tuple(parts)) if parts else None


def _refine_window(
    model: SAF, burst: AlignedBurst, index: int, coarse: CoarseMotion, ev: Tensor, sides: tuple[int, ...],
    window: Window,
) -> Tensor:  # fmt: skip
    """(1, 2, h, w) in pixels, to be added to the coarse displacement in a window."""
    rows, columns = cells_of(window)
    device = coarse.flow.device
    ref = _read_warped(burst, burst.burst.reference, window, None, device)
    state = coarse.state_in(window)
    state = Motion(state.flow * CELL, state.logit, state.hidden)
    for cell in sides:
        size = (window.height // cell, window.width // cell)
        flow, logit, hidden = (
            F.interpolate(x, size=size, mode="bilinear", align_corners=False)
            for x in (state.flow, state.logit, state.hidden)
        )
        moved = F.avg_pool2d(_read_warped(burst, index, window, enlarge(flow, cell), device), cell)
        level = model.motion_level(F.avg_pool2d(ref, cell), moved, ev, Motion(flow / cell, logit, hidden))
        state = Motion(level.flow * cell, level.logit, level.hidden)
    cell = sides[-1]
    ref_cells = F.avg_pool2d(ref, cell)
    other_cells = F.avg_pool2d(_read_warped(burst, index, window, None, device), cell)
    refined = enlarge(state.flow * flow_helps(ref_cells, other_cells, state.flow / cell, ev), cell)
    return refined - enlarge(coarse.flow[..., rows, columns], CELL)


def _read_warped(burst: AlignedBurst, index: int, window: Window, flow: Tensor | None, device: torch.device) -> Tensor:
    """(1, 3, h, w) linear of a frame in a window, displaced by ``flow`` (1, 2, h, w) in pixels."""
    field = None if flow is None else np.ascontiguousarray(flow[0].permute(1, 2, 0).cpu().numpy())
    return to_tensor(burst.read(index, window, field)[0]).to(device)
