"""The finest motion levels of a frame pair, computed only in blocks where the warped frame still differs.

Each level below the last one of the whole image costs four times as much as the one above, and most of most images is
static. The image is cut into blocks; those with the largest mean of 1 - trust (consistency.py) get two more levels (one
above 10 megapixels). The displacement found there replaces the coarse one and fades out towards blocks without a
refinement.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from smarthdr_cli.aligned_burst import AlignedBurst, Window
from smarthdr_cli.fusion.tiles import to_tensor
from smarthdr_cli.models.pairwise import flow_helps
from smarthdr_cli.models.saf import SAF
from smarthdr_cli.models.saf_layers import CELL, LEVEL_RADIUS, Motion

Block = tuple[int, int]  # row and column in the grid of blocks


@dataclass(frozen=True)
class RefinementConfig:
    """``block_cells``, ``fade_cells``: side of a block, and the width over which its displacement fades, in cells of
    the finest level. ``min_distrust``: mean of 1 - trust from which a block is refined.

    ``pixel_blocks``, ``cell_blocks``: blocks of a burst at most, down to single pixels and to larger cells; a block
    takes about a fifth of a second of a core. ``cuda_blocks``: the same on CUDA. ``min_pair_blocks``: every pair has
    its share of them, and at least this number.
    """

    block_cells: int = 256
    fade_cells: int = 32
    min_distrust: float = 0.01
    pixel_blocks: int = 32
    cell_blocks: int = 6
    cuda_blocks: int = 512
    min_pair_blocks: int = 3

    def max_blocks(self, side: int, pairs: int, device: torch.device) -> int:
        """Blocks of one of ``pairs`` at most, where the finest cells have ``side`` pixels."""
        on_cpu = self.pixel_blocks if side == 1 else self.cell_blocks
        return max(self.min_pair_blocks, (on_cpu if device.type == "cpu" else self.cuda_blocks) // pairs)


DEFAULT_CONFIG = RefinementConfig()


@dataclass(frozen=True)
class FlowRefinement:
    """Added to the coarse displacement: ``blocks`` of ``side`` pixels, (1, 2, side, side) float16 in pixels."""

    side: int
    blocks: dict[Block, Tensor]

    def within(self, window: Window) -> Tensor | None:
        """(1, 2, h, w) in pixels for a window; None where it meets no block."""
        rows = range(window.top // self.side, (window.top + window.height - 1) // self.side + 1)
        columns = range(window.left // self.side, (window.left + window.width - 1) // self.side + 1)
        blocks = [(r, c) for r in rows for c in columns if (r, c) in self.blocks]
        if not blocks:
            return None
        flow = torch.zeros(1, 2, window.height, window.width, device=self.blocks[blocks[0]].device)
        for r, c in blocks:
            top, left = r * self.side - window.top, c * self.side - window.left
            y0, x0 = max(top, 0), max(left, 0)
            y1, x1 = min(top + self.side, window.height), min(left + self.side, window.width)
            flow[..., y0:y1, x0:x1] = self.blocks[r, c][..., y0 - top : y1 - top, x0 - left : x1 - left]
        return flow


@dataclass(frozen=True)
class CoarseMotion:
    """A pair after the levels of the whole image, on cells of CELL pixels.

    ``state`` of the network; ``flow`` (1, 2, h, w) in pixels, as far as it is kept; ``distrust`` (1, 1, h, w): 1 -
    trust of the frame so displaced; ``ev`` (1,). ``side``: of the cells of the last level, in pixels.
    """

    state: Motion
    flow: Tensor
    distrust: Tensor
    ev: Tensor
    side: int


def finer_sides(side: int, finest: int) -> tuple[int, ...]:
    """Cell sides of the levels below one of ``side`` pixels: two levels, one where levels of CELL were left out."""
    return tuple(side // divisor for divisor in ((2, 4) if side <= CELL else (2,)) if side // divisor >= finest)


def select_blocks(distrust: Tensor, side: int, size: tuple[int, int], count: int, threshold: float) -> list[Block]:
    """The blocks of ``side`` pixels whose mean of ``distrust`` is above ``threshold``, the largest first.

    ``distrust``: (1, 1, h, w) on cells, of an image of ``size``. ``count`` at most.
    """
    inside = distrust[..., : -(-size[0] // CELL), : -(-size[1] // CELL)]
    cells = side // CELL
    h, w = inside.shape[-2:]
    mean = F.avg_pool2d(F.pad(inside, (0, -w % cells, 0, -h % cells)), cells)[0, 0]
    order = mean.flatten().argsort(descending=True, stable=True)[:count]
    rows, columns = order // mean.shape[1], order % mean.shape[1]
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if float(mean[r, c]) > threshold]


def refine_motion(
    model: SAF, burst: AlignedBurst, index: int, coarse: CoarseMotion, pairs: int,
    config: RefinementConfig = DEFAULT_CONFIG,
) -> FlowRefinement | None:  # fmt: skip
    """The finest levels of frame ``index``, one of ``pairs``; None without finer levels or without differing blocks.

    Independent of the tiles that are fused later.
    """
    sides = finer_sides(coarse.side, model.config.finest)
    if not sides:
        return None
    side = config.block_cells * sides[-1]
    height, width = burst.burst.size
    count = config.max_blocks(sides[-1], pairs, coarse.flow.device)
    selected = select_blocks(coarse.distrust, side, (height, width), count, config.min_distrust)
    if not selected:
        return None
    grid = (-(-height // side), -(-width // side))
    blocks = {}
    for block in selected:
        flow = _refine_block(model, burst, index, coarse, sides, block, side)
        weight = fade_weight(block, selected, grid, side, config.fade_cells * sides[-1])
        blocks[block] = (flow * weight.to(flow)).half()
    return FlowRefinement(side, blocks)


def fade_weight(block: Block, selected: Collection[Block], grid: tuple[int, int], side: int, width: int) -> Tensor:
    """(side, side): 1, falling to 0 over ``width`` pixels towards neighbours in the image that are not ``selected``."""
    ramp = ((torch.arange(side) + 0.5) / width).clamp(max=1)
    ramps = {-1: ramp, 0: torch.zeros(side), 1: ramp.flip(0)}
    weight = torch.ones(side, side)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            r, c = block[0] + dy, block[1] + dx
            if 0 <= r < grid[0] and 0 <= c < grid[1] and (r, c) not in selected:
                weight = torch.minimum(weight, torch.maximum(ramps[dy][:, None], ramps[dx][None]))
    return weight


def _refine_block(
    model: SAF, burst: AlignedBurst, index: int, coarse: CoarseMotion, sides: tuple[int, ...], block: Block, side: int
) -> Tensor:
    """(1, 2, side, side) in pixels, to be added to the coarse displacement in a block; 0 beyond the image."""
    height, width = burst.burst.size
    unit = max(CELL, sides[0])
    margin = -(-LEVEL_RADIUS * sum(sides) // unit) * unit
    y, x = block[0] * side, block[1] * side
    top, left = max(y - margin, 0), max(x - margin, 0)
    bottom, right = min(y + side + margin, height), min(x + side + margin, width)
    window = Window(top, left, -(-(bottom - top) // unit) * unit, -(-(right - left) // unit) * unit)
    rows = slice(top // CELL, (top + window.height) // CELL)
    columns = slice(left // CELL, (left + window.width) // CELL)
    device = coarse.flow.device
    ref = _read_warped(burst, burst.burst.reference, window, None, device)
    state = Motion(
        *(x[..., rows, columns] for x in (coarse.state.flow * CELL, coarse.state.logit, coarse.state.hidden))
    )
    for cell in sides:
        size = (window.height // cell, window.width // cell)
        flow, logit, hidden = (
            F.interpolate(x, size=size, mode="bilinear", align_corners=False)
            for x in (state.flow, state.logit, state.hidden)
        )
        moved = F.avg_pool2d(_read_warped(burst, index, window, _enlarge(flow, cell), device), cell)
        level = model.motion_level(F.avg_pool2d(ref, cell), moved, coarse.ev, Motion(flow / cell, logit, hidden))
        state = Motion(level.flow * cell, level.logit, level.hidden)
    cell = sides[-1]
    ref_cells = F.avg_pool2d(ref, cell)
    other_cells = F.avg_pool2d(_read_warped(burst, index, window, None, device), cell)
    refined = _enlarge(state.flow * flow_helps(ref_cells, other_cells, state.flow / cell, coarse.ev), cell)
    delta = refined - _enlarge(coarse.flow[..., rows, columns], CELL)
    delta = delta[..., y - top : bottom - top, x - left : right - left][..., :side, :side]
    return F.pad(delta, (0, side - delta.shape[-1], 0, side - delta.shape[-2]))


def _read_warped(burst: AlignedBurst, index: int, window: Window, flow: Tensor | None, device: torch.device) -> Tensor:
    """(1, 3, h, w) linear of a frame in a window, displaced by ``flow`` (1, 2, h, w) in pixels."""
    field = None if flow is None else np.ascontiguousarray(flow[0].permute(1, 2, 0).cpu().numpy())
    return to_tensor(burst.read(index, window, field)[0]).to(device)


def _enlarge(field: Tensor, factor: int) -> Tensor:
    return F.interpolate(field, scale_factor=factor, mode="bilinear", align_corners=False)
