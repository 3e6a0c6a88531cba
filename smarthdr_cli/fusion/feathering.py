"""Where another frame ends inside the picture: its share of the merge fades towards its border.

Frames from the hand cover the reference's view only in part, and noise and hue differ on either side of a border. Over
as much as a frame misses on a side, and WIDEST pixels at most, its share falls to nothing. Where the reference is
clipped and no other frame saw more, the frame's edge is repeated for REPEATED of the picture beyond its border, fading.
"""

import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.aligned_burst import AlignedBurst, Window

F32 = NDArray[np.float32]

WIDEST = 64.0  # px of the frame, of a border's fade
MIN_MISSED = 0.5  # px missed on a side, from which it matters
REPEATED = 0.05  # of the longer side, as far as an edge stands for what lies beyond it


def missed_sides(source: AlignedBurst, index: int) -> tuple[float, float, float, float]:
    """Pixels by which the picture's corners lie beyond the left, top, right and bottom border of a frame, from 0."""
    left, top, right, bottom = (max(-depth, 0.0) for depth in _depths(source, index, Window(0, 0, *source.burst.size)))
    return left, top, right, bottom


def _depths(source: AlignedBurst, index: int, window: Window) -> tuple[float, float, float, float]:
    """How far inside each border of a frame all of a window lies, in its pixels, from the window's corners."""
    height, width = source.burst.size
    rows = (window.top, min(window.top + window.height, height) - 1)
    columns = (window.left, min(window.left + window.width, width) - 1)
    corners = [source.sample_coordinates(index, Window(y, x, 1, 1)) for y in rows for x in columns]
    (tlx, tly), (trx, try_), (blx, bly), (brx, bry) = [(float(x[0, 0]), float(y[0, 0])) for x, y in corners]
    high, wide = source.burst.frames[index].size
    return min(tlx, blx), min(tly, try_), wide - 1 - max(trx, brx), high - 1 - max(bly, bry)


def border(source: AlignedBurst, index: int, window: Window, valid: F32) -> F32:
    """(h, w): 1 inside frame ``index``, falling to 0 towards its border; beyond it from -1 to 0 over REPEATED.

    ``valid`` (h, w): what ``AlignedBurst.read`` gave. The value depends on the pixel's place alone, not on the window.
    """
    if not source.alignment.moved[index]:
        return valid
    missed = missed_sides(source, index)
    if max(missed) < MIN_MISSED:
        return valid
    depths = _depths(source, index, window)
    if all(depth >= min(width, WIDEST) or width < MIN_MISSED for depth, width in zip(depths, missed, strict=True)):
        return valid
    x, y = source.sample_coordinates(index, window)
    high, wide = source.burst.frames[index].size
    fade, inside = np.ones_like(x), np.full_like(x, np.inf)
    for depth, width in zip((x, y, wide - 1 - x, high - 1 - y), missed, strict=True):
        np.minimum(inside, depth, out=inside)
        if width >= MIN_MISSED:
            t = ((depth + np.float32(0.5)) / np.float32(min(width, WIDEST))).clip(0, 1)
            fade *= t * t * (3 - 2 * t)
    beyond = (1 + inside / np.float32(REPEATED * max(high, wide))).clip(0, 1)
    return np.asarray(np.where(valid > 0, np.maximum(fade, 1e-6), -beyond), np.float32)
