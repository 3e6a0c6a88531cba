"""Where the frames are at odds: which part of a picture the network has to look at, and in which windows.

Two kinds of places. Lost: refusing frames has left the merge uncertain. Hidden: clipped in the reference, near a place
where a shorter frame is refused, and confirmed by no two of the shorter frames; bright things that move in clipped
light pass the one-sided test, and a lone witness may show what was behind them. What no shorter frame sees is hidden
too.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.aligned_burst import Window
from smarthdr_cli.fusion.pixel_kernel import CELL
from smarthdr_cli.fusion.tiles import RECEPTIVE_FIELD

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class BlockConfig:
    """``dense``: mean of lost over 20 px, or of hidden over 12 px, from which cells are at odds. ``contradiction``:
    share of 20 px in which a shorter frame is refused. ``reach``, ``ring``: cells around a contradiction, and
    around what is at odds. ``block``: cells of the smallest block; ``context``: px that the network sees around a
    window, its receptive field.
    """

    dense: float = 0.15
    contradiction: float = 0.5
    reach: int = 6
    ring: int = 2
    block: int = 12
    share: float = 0.02
    context: int = RECEPTIVE_FIELD


def _box(cells: F32, width: int) -> F32:
    return np.asarray(cv2.blur(cells, (width, width)))


def _dilated(cells: Mask, radius: int) -> Mask:
    kernel = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    return np.asarray(cv2.dilate(cells.astype(np.uint8), kernel) > 0)


def at_odds(summary: F32, config: BlockConfig) -> Mask:
    """(h, w) cells that are lost or hidden, from ``pixel_kernel.summarise`` of the whole picture."""
    lost, refused, clipped, unseen, confirmed = np.moveaxis(summary, -1, 0)
    contradiction = _dilated(_box(refused, 5) > config.contradiction, 2)
    near = _dilated(contradiction, config.reach)
    hidden = clipped * near * (1 - confirmed) + unseen
    return np.asarray(
        (_box(lost, 5) > config.dense) | (_box(np.minimum(hidden, 1).astype(np.float32), 3) > config.dense)
    )


def network_share(odds: Mask, config: BlockConfig) -> F32:
    """(h, w) cells: 1 where the network's answer counts, falling to 0 over a ring around what is at odds."""
    wide = _dilated(odds, config.ring).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(wide, (5, 5), 0.8))


def windows(share: F32, size: tuple[int, int], config: BlockConfig, tile: int) -> Iterator[Window]:
    """Windows that cover every cell of ``share`` above 0, without overlap, at multiples of CELL.

    A window is the bounding box of what is at odds within a square of the picture, or those of its four quarters where
    they cost less with their context. ``tile``: px of a square's side at most, 0 for the picture's.
    """
    unit = config.block
    while 2 * unit * CELL <= (tile or 2 * max(size)):
        unit *= 2
    rows, columns = share.shape
    for top in range(0, rows, unit):
        for left in range(0, columns, unit):
            yield from _cover(share > 0, top, left, unit, size, config)[1]


def _cover(
    needed: Mask, top: int, left: int, unit: int, size: tuple[int, int], config: BlockConfig
) -> tuple[float, list[Window]]:
    """Cost in pixels and windows of one square of cells."""
    part = needed[top : top + unit, left : left + unit]
    rows, columns = np.nonzero(part.any(1))[0], np.nonzero(part.any(0))[0]
    if not len(rows):
        return 0.0, []
    y, x = (top + int(rows[0])) * CELL, (left + int(columns[0])) * CELL
    bottom = min((top + int(rows[-1]) + 1) * CELL, size[0])
    right = min((left + int(columns[-1]) + 1) * CELL, size[1])
    window = Window(y, x, bottom - y, right - x)
    cost = float((window.height + 2 * config.context) * (window.width + 2 * config.context))
    if unit <= config.block:
        return cost, [window]
    half = unit // 2
    parts = [_cover(needed, top + dy, left + dx, half, size, config) for dy in (0, half) for dx in (0, half)]
    total = sum(part[0] for part in parts)
    return (total, [window for part in parts for window in part[1]]) if total < cost else (cost, [window])
