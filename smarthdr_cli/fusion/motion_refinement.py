"""The finest motion levels of a frame pair, computed only in windows where the warped frame still differs.

Each level below the last one of the whole image costs four times as much as the one above, and most of most images is
static. Windows cover the cells in which the frame, displaced by the coarse levels, is distrusted (1 - trust of
consistency.py, mean over 5x5 cells) and missed by the merge, and some cells around, as blocks.py covers what is at
odds. They get one more level, and where that one changes the displacement windows within them the next, down to single
pixels, or to a quarter of coarse cells larger than 8 pixels. What is found in a window replaces the coarser
displacement, fading around it.
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
from smarthdr_cli.models.saf_layers import CELL, Motion, upsample
from smarthdr_cli.models.tensor_ops import enlarge

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class RefinementConfig:
    """``threshold``: mean of 1 - trust over 5x5 cells from which a place is refined. ``missed``: the same of how far
    the merge misses a frame there. ``ring``: cells around both. ``margin``: cells of a level around a window; more, up
    to the LEVEL_RADIUS that a level reads, change nothing.
    ``moved``: of the cells of a level, mean over 20 px, by which it must have changed the displacement for a finer one.
    ``pixels``, ``cells``: of a burst that are refined at most, single pixels and larger cells, margins included;
    ``cuda_cells``: either, on CUDA. ``largest``: cells of a level along a window's side.
    """

    threshold: float = 0.3
    missed: float = 0.06
    ring: int = 4
    margin: int = 4
    moved: float = 0.125
    pixels: float = 2e6
    cells: float = 5e4
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
    padded cells of CELL pixels: its displacement where the frame agrees better so, or does around what the reference
    clips; else 0.
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


def refined_share(distrust: F32, missed: F32, config: RefinementConfig = DEFAULT_CONFIG) -> F32:
    """(h, w) cells: 1 where the displacement is refined, falling to 0 around."""
    places = ((distrust, config.threshold), (missed, config.missed))
    distrusted, needed = (
        network_share(cv2.blur(x, (5, 5)) > least, BlockConfig(ring=config.ring)) for x, least in places
    )
    return np.minimum(distrusted, needed)


def worst_windows(cores: Iterable[Window], distrust: F32, margin: int, max_pixels: float) -> list[Window]:
    """Of ``cores`` those with the most distrust, as many as take ``max_pixels`` with the ``margin`` around them."""
    chosen, pixels = [], 0
    for core in sorted(cores, key=lambda core: -float(distrust[cells_of(core)].mean())):
        pixels += (core.height + 2 * margin) * (core.width + 2 * margin)
        if pixels <= max_pixels:
            chosen.append(core)
    return chosen


def refine_motion(
    model: SAF, burst: AlignedBurst, index: int, coarse: CoarseMotion, ev: Tensor, distrust: F32, missed: F32,
    pairs: int, config: RefinementConfig = DEFAULT_CONFIG,
) -> FlowRefinement | None:  # fmt: skip
    """The finest levels of frame ``index``, one of ``pairs``; None without finer levels or where nothing differs.

    ``ev`` (1,) of the frame relative to the reference; in the image's cells (h, w) ``distrust``: 1 - trust,
    ``missed``: how far the merge misses the frames it does not trust.
    Independent of the tiles that are fused later.
    """
    sides = finer_sides(coarse.side, model.config.finest)
    if not sides:
        return None
    size = burst.burst.size
    share = refined_share(distrust, missed, config)
    unit = max(CELL, sides[0])
    margin = -(-config.margin * sum(sides) // unit) * unit
    cores = windows(share, size, BlockConfig(context=margin), config.largest * sides[0])
    max_pixels = config.max_pixels(sides[-1], pairs, coarse.flow.device)
    levels = _Levels(model, burst, index, ev, coarse.flow.device, config)
    parts = []
    for core in worst_windows(cores, distrust, margin, max_pixels):
        window = around(core, margin, size, unit)
        state = coarse.state_in(window)
        flow = levels.refined(core, window, Motion(state.flow * CELL, state.logit, state.hidden), sides)
        delta = flow - _part(enlarge(coarse.flow[..., *cells_of(window)], CELL), core, window)
        parts.append((core, (delta * levels.weight(share[cells_of(core)], core)).half()))
    return FlowRefinement(tuple(parts)) if parts else None


@dataclass(frozen=True)
class _Levels:
    """The levels of one pair of frames below the coarse ones."""

    model: SAF
    burst: AlignedBurst
    index: int
    ev: Tensor
    device: torch.device
    config: RefinementConfig

    def refined(self, core: Window, window: Window, state: Motion, sides: tuple[int, ...]) -> Tensor:
        """(1, 2, h, w) displacement of ``core`` in pixels. ``window``: core and the margin that ``sides`` read;
        ``state``: of the level above in the window, in its cells, flow in pixels.
        """
        cell = sides[0]
        size = (window.height // cell, window.width // cell)
        flow, logit, hidden = (
            F.interpolate(x, size=size, mode="bilinear", align_corners=False)
            for x in (state.flow, state.logit, state.hidden)
        )
        ref = F.avg_pool2d(self._read(self.burst.burst.reference, window, None), cell)
        moved = F.avg_pool2d(self._read(self.index, window, enlarge(flow, cell)), cell)
        level = self.model.motion_level(ref, moved, self.ev, Motion(flow / cell, logit, hidden))
        other = F.avg_pool2d(self._read(self.index, window, None), cell)
        helps = flow_helps(ref, other, level.flow, self.ev)
        out = _part(enlarge(level.flow * cell * helps, cell), core, window)
        if len(sides) == 1:
            return out
        found = (level.flow - flow / cell).square().sum(dim=1, keepdim=True).sqrt()
        found = F.interpolate(found, size=(window.height // CELL, window.width // CELL), mode="area")
        found = _part(found, core, window, CELL)
        share = network_share(cv2.blur(found[0, 0].cpu().numpy(), (5, 5)) > self.config.moved, BlockConfig())
        unit = max(CELL, cell)
        margin = -(-self.config.margin * sum(sides[1:]) // unit) * unit
        largest = self.config.largest * sides[1]
        finer = Motion(level.flow * cell, level.logit, level.hidden)
        for part in windows(share, (core.height, core.width), BlockConfig(context=margin), largest):
            inner = Window(core.top + part.top, core.left + part.left, part.height, part.width)
            around_inner = around(inner, margin, self.burst.burst.size, unit)
            inside = Motion(*(_part(x, around_inner, window, cell) for x in (finer.flow, finer.logit, finer.hidden)))
            target = _part(out, part, Window(0, 0, core.height, core.width))
            delta = self.refined(inner, around_inner, inside, sides[1:]) - target
            target += delta * self.weight(share[cells_of(part)], part)
        return out

    def weight(self, share: F32, core: Window) -> Tensor:
        """(1, 1, h, w) of the pixels of ``core`` from its cells."""
        wide = F.interpolate(torch.from_numpy(share)[None, None].to(self.device), scale_factor=CELL, mode="nearest")
        return wide[..., : core.height, : core.width]

    def _read(self, index: int, window: Window, flow: Tensor | None) -> Tensor:
        """(1, 3, h, w) linear of a frame in a window, displaced by ``flow`` (1, 2, h, w) in pixels."""
        field = None if flow is None else np.ascontiguousarray(flow[0].permute(1, 2, 0).cpu().numpy())
        return to_tensor(self.burst.read(index, window, field)[0]).to(self.device)


def _part(x: Tensor, part: Window, window: Window, cell: int = 1) -> Tensor:
    """Of ``x`` (..., h, w), cells of ``cell`` pixels of a window, those of a ``part`` of it."""
    top, left = (part.top - window.top) // cell, (part.left - window.left) // cell
    return x[..., top : top - (-part.height // cell), left : left - (-part.width // cell)]
