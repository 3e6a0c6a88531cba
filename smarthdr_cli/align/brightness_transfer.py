"""Bring one frame to the exposure of another from their histograms, whatever the exposures are said to be.

With the same scene in both, sorted pixels correspond: the brightness transfer function is the monotone map between
the two histograms (Grossberg and Nayar, "What can be known about the radiometric response from images?", ECCV 2002).
It needs neither exact exposures nor an exact curve, and it sends the clip of either frame to one isophote of the other.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from smarthdr_cli.align.pyramid_view import DARK, FLOOR, View, warp, warp_mask
from smarthdr_cli.radiometry import F32, F64

_LEVELS = 256
_LOW = -8.0  # log2(FLOOR)


@dataclass(frozen=True)
class Transfer:
    """``table``: (256,) float32, the second frame's log light (-8 to 0 in equal steps) as the first has it.

    ``low``, ``high``: the range, in the first frame's log light, that both frames record. Clamped to it the two show
    the same picture, flat where either is clipped or black, and every pixel may be compared.
    """

    table: F32
    low: float
    high: float

    def clamp(self, log: F32) -> F32:
        """Log light of the first frame within the range both record."""
        return np.clip(log, np.float32(self.low), np.float32(self.high))

    def __call__(self, log: F32) -> F32:
        """Log light of the second frame as the first would have recorded it, within the range both record."""
        return self.clamp(self._map(log))

    def _map(self, log: F32) -> F32:
        place = np.clip((log - np.float32(_LOW)) * np.float32((_LEVELS - 1) / -_LOW), 0.0, _LEVELS - 1.001)
        index = place.astype(np.int32)
        low = self.table[index]
        return np.asarray(low + (self.table[index + 1] - low) * (place - index), np.float32)


def transfer(first: View, second: View, homography: F64) -> Transfer:
    """The map from the log luminance of ``second`` to that of ``first`` over the area both see.

    ``homography`` takes full-resolution pixels of ``first`` to ``second``. Without overlap the map is the identity.
    """
    h, w = first.log.shape
    local = first.between(second, homography)
    step = max(1, round(float(np.sqrt(h * w / 1.5e5))))
    coarse = local @ np.diag([float(step), float(step), 1.0])
    ours = first.log[::step, ::step]
    size = (ours.shape[1], ours.shape[0])
    inside = warp_mask(np.full(second.log.shape, 255, np.uint8), coarse, size) > 0
    grid = np.linspace(_LOW, 0.0, _LEVELS)
    if np.count_nonzero(inside) < 64:
        return _ranged(first, second, grid.astype(np.float32))
    theirs = np.asarray(cv2.blur(second.log, (step, step)), np.float32)
    smooth = cv2.blur(first.log, (step, step))[::step, ::step]
    share = np.linspace(0.002, 0.998, 128)
    to = np.quantile(smooth[inside], share)
    source = np.quantile(warp(theirs, coarse, size)[inside], share)
    source += np.arange(source.size) * 1e-6  # strictly increasing for the interpolation
    return _ranged(first, second, np.interp(grid, source, to).astype(np.float32))


def _ranged(first: View, second: View, table: F32) -> Transfer:
    free = Transfer(table, -np.inf, np.inf)
    dark = float(np.log2(DARK + FLOOR))
    ends = free(np.array([dark, second.ceiling], np.float32))
    low, high = max(dark, float(ends[0])), min(first.ceiling, float(ends[1]))
    return Transfer(table, low, max(low, high))
