"""The finest motion levels of a pair, spent where they pay: blocks in which the moved frame still is at odds.

The levels below the last one that was computed for the whole picture cost four times as much each as the one above, and
most of most pictures stands still. So the picture is cut into blocks, those at odds with the reference the most are
looked at again on two more levels (one above 10 megapixels), and the displacement found there replaces the coarse one,
fading out towards blocks that were not looked at.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from smarthdr_cli.aligned_burst import AlignedBurst, Window
from smarthdr_cli.fusion.tiles import to_tensor
from smarthdr_cli.models.pairwise import flow_helps as lowers_difference
from smarthdr_cli.models.saf import SAF
from smarthdr_cli.models.saf_layers import CELL, LEVEL_RADIUS, Motion

CELLS = 256  # cells of the finest level along the side of a block
# Blocks a burst at most, each about a fifth of a second of a core: at single pixels, and at cells of more. Every pair
# has its share of them, but no fewer than LEAST.
AT_PIXELS, AT_CELLS, ON_CUDA, LEAST = 32, 6, 512, 3
FADE = 32  # cells of the finest level over which a block's displacement fades
AT_ODDS = 0.01  # mean of 1 - trust from which a block is looked at


@dataclass(frozen=True)
class Fine:
    """What is to be added to the coarse displacement: ``blocks`` of ``side`` pixels, (1, 2, side, side) float16 px by
    row and column."""

    side: int
    blocks: dict[tuple[int, int], Tensor]

    def within(self, window: Window) -> Tensor | None:
        """(1, 2, h, w) px for a window; None where it meets no block."""
        rows = range(window.top // self.side, (window.top + window.height - 1) // self.side + 1)
        columns = range(window.left // self.side, (window.left + window.width - 1) // self.side + 1)
        met = [(r, c) for r in rows for c in columns if (r, c) in self.blocks]
        if not met:
            return None
        out = torch.zeros(1, 2, window.height, window.width, device=self.blocks[met[0]].device)
        for r, c in met:
            top, left = r * self.side - window.top, c * self.side - window.left
            y0, x0 = max(top, 0), max(left, 0)
            y1, x1 = min(top + self.side, window.height), min(left + self.side, window.width)
            out[..., y0:y1, x0:x1] = self.blocks[r, c][..., y0 - top : y1 - top, x0 - left : x1 - left]
        return out


@dataclass(frozen=True)
class Coarse:
    """One pair after the levels of the whole picture, on cells of CELL pixels: ``ref`` (1, 3, h, w) linear; ``state``
    as the network left it; ``flow`` (1, 2, h, w) px, what of it is taken; ``odds`` (1, 1, h, w), 1 - trust of the frame
    so displaced; ``ev`` (1,). ``side``: of the cells of the last level that was computed, px.
    """

    ref: Tensor
    state: Motion
    flow: Tensor
    odds: Tensor
    ev: Tensor
    side: int


def chain(side: int, finest: int) -> tuple[int, ...]:
    """Sides of the cells of the levels below one of ``side``: two of them, one where the picture is so large that the
    levels of cells of CELL were left out.
    """
    return tuple(side // part for part in ((2, 4) if side <= CELL else (2,)) if side // part >= finest)


def chosen(coarse: Coarse, block: int, size: tuple[int, int], count: int) -> list[tuple[int, int]]:
    """Row and column of the blocks of ``block`` pixels at odds with the reference, the worst ``count`` first."""
    odds = coarse.odds[..., : -(-size[0] // CELL), : -(-size[1] // CELL)]
    cells = block // CELL
    h, w = odds.shape[-2:]
    mean = F.avg_pool2d(F.pad(odds, (0, -w % cells, 0, -h % cells)), cells)[0, 0]
    order = mean.flatten().argsort(descending=True, stable=True)[:count]
    rows, columns = order // mean.shape[1], order % mean.shape[1]
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if float(mean[r, c]) > AT_ODDS]


def most(side: int, pairs: int, device: torch.device) -> int:
    """How many blocks a pair may have, the finest cells having ``side`` pixels."""
    if device.type != "cpu":
        return max(LEAST, ON_CUDA // pairs)
    return max(LEAST, (AT_PIXELS if side == 1 else AT_CELLS) // pairs)


def refine_motion(model: SAF, source: AlignedBurst, index: int, coarse: Coarse, pairs: int) -> Fine | None:
    """The finest levels of frame ``index``, one of ``pairs``, against the reference; None where none are left or
    nothing is at odds.

    The same blocks, and the same displacement in them, whatever tiles are fused later.
    """
    sides = chain(coarse.side, model.config.finest)
    if not sides:
        return None
    block = CELLS * sides[-1]
    found = chosen(coarse, block, source.burst.size, most(sides[-1], pairs, coarse.ref.device))
    if not found:
        return None
    height, width = source.burst.size
    grid = (-(-height // block), -(-width // block))
    blocks = {}
    for at in found:
        delta = _block(model, source, index, coarse, sides, at, block)
        blocks[at] = (delta * _fade(at, found, grid, block, FADE * sides[-1]).to(delta)).half()
    return Fine(block, blocks)


def _block(
    model: SAF, source: AlignedBurst, index: int, coarse: Coarse, sides: tuple[int, ...],
    at: tuple[int, int], block: int,
) -> Tensor:  # fmt: skip
    """(1, 2, block, block) px to be added to the coarse displacement in one block; 0 beyond the picture."""
    height, width = source.burst.size
    unit = max(CELL, sides[0])
    margin = -(-LEVEL_RADIUS * sum(sides) // unit) * unit
    y, x = at[0] * block, at[1] * block
    top, left = max(y - margin, 0), max(x - margin, 0)
    bottom, right = min(y + block + margin, height), min(x + block + margin, width)
    window = Window(top, left, -(-(bottom - top) // unit) * unit, -(-(right - left) // unit) * unit)
    rows = slice(top // CELL, (top + window.height) // CELL)
    columns = slice(left // CELL, (left + window.width) // CELL)
    device = coarse.ref.device

    def pixels(number: int, flow: Tensor | None = None) -> Tensor:
        field = None if flow is None else np.ascontiguousarray(flow[0].permute(1, 2, 0).cpu().numpy())
        return to_tensor(source.read(number, window, field)[0]).to(device)

    ref = pixels(source.burst.reference)
    begun = coarse.state
    state = Motion(*(x[..., rows, columns] for x in (begun.flow * CELL, begun.logit, begun.hidden)))
    for side in sides:
        size = (window.height // side, window.width // side)
        flow, logit, hidden = (F.interpolate(x, size=size, mode="bilinear", align_corners=False)
                               for x in (state.flow, state.logit, state.hidden))  # fmt: skip
        moved = F.avg_pool2d(pixels(index, _enlarged(flow, side)), side)
        done = model.motion_level(F.avg_pool2d(ref, side), moved, coarse.ev, Motion(flow / side, logit, hidden))
        state = Motion(done.flow * side, done.logit, done.hidden)
    small, other = F.avg_pool2d(ref, sides[-1]), F.avg_pool2d(pixels(index), sides[-1])
    held = _enlarged(state.flow * lowers_difference(small, other, state.flow / sides[-1], coarse.ev), sides[-1])
    delta = held - _enlarged(coarse.flow[..., rows, columns], CELL)
    delta = delta[..., y - top : bottom - top, x - left : right - left][..., :block, :block]
    return F.pad(delta, (0, block - delta.shape[-1], 0, block - delta.shape[-2]))


def _enlarged(field: Tensor, factor: int) -> Tensor:
    return F.interpolate(field, scale_factor=factor, mode="bilinear", align_corners=False)


def _fade(
    at: tuple[int, int], blocks: Collection[tuple[int, int]], grid: tuple[int, int], block: int, width: int
) -> Tensor:
    """(block, block): 1, falling to 0 over ``width`` pixels towards neighbours in the picture without a block."""
    ramp = ((torch.arange(block) + 0.5) / width).clamp(max=1)
    sides = {-1: ramp, 0: torch.zeros(block), 1: ramp.flip(0)}
    weight = torch.ones(block, block)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            r, c = at[0] + dy, at[1] + dx
            if 0 <= r < grid[0] and 0 <= c < grid[1] and (r, c) not in blocks:
                weight = torch.minimum(weight, torch.maximum(sides[dy][:, None], sides[dx][None]))
    return weight
