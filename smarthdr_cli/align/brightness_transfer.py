"""The brightness transfer function between two frames, from their histograms alone.

    T(b) = F1^-1(F2(b))

F1 and F2 are the cumulative distributions of log light in the area both frames show. For one scene, sorted pixels
correspond, so T maps the second frame's log light to the first's (Grossberg and Nayar, "What can be known about the
radiometric response from images?", ECCV 2002). It needs neither exact exposures nor an exact curve, and it maps the
clip of either frame to one level of the other.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.align.pyramid_view import DARK_LOG, View, warp, warp_mask
from smarthdr_cli.radiometry import F32, F64

_LEVELS = 256
_MIN_LOG = -8.0  # log2(LOG_FLOOR)
_MAX_PIXELS = 4e4  # sampled for the histograms
_MIN_PIXELS = 64  # in common; fewer give the identity
_QUANTILES = (0.002, 0.998, 128)  # from, to, count


@dataclass(frozen=True)
class BrightnessTransfer:
    """T as a table, and the range of log light that both frames record.

    ``table``: (256,) float32, T at log light -8 to 0 in equal steps. ``low``, ``high``: the common range, in the first
    frame's log light. Clamped to it, both frames show the same picture, flat where either is clipped or black.
    """

    table: F32
    low: float
    high: float

    def clamp(self, log: F32) -> F32:
        """Log light of the first frame within the common range."""
        return np.clip(log, np.float32(self.low), np.float32(self.high))

    def __call__(self, log: F32) -> F32:
        """Log light of the second frame as the first would have recorded it, within the common range."""
        position = np.clip((log - np.float32(_MIN_LOG)) * np.float32((_LEVELS - 1) / -_MIN_LOG), 0.0, _LEVELS - 1.001)
        index = position.astype(np.int32)
        below = self.table[index]
        return self.clamp(np.asarray(below + (self.table[index + 1] - below) * (position - index), np.float32))


def estimate_transfer(first: View, second: View, homography: F64) -> BrightnessTransfer:
    """T from ``second`` to ``first`` over the area both show; the identity where they hardly overlap.

    ``homography``: (3, 3), full-resolution pixels of ``first`` to those of ``second``.
    """
    h, w = first.log.shape
    local = first.full_to_working(second, homography)
    step = max(1, round(float(np.sqrt(h * w / _MAX_PIXELS))))
    coarse = local @ np.diag([float(step), float(step), 1.0])
    size = (-(-w // step), -(-h // step))
    inside = warp_mask(np.full(second.log.shape, 255, np.uint8), coarse, size) > 0
    grid = np.linspace(_MIN_LOG, 0.0, _LEVELS)
    if np.count_nonzero(inside) < _MIN_PIXELS:
        return _with_common_range(first, second, grid.astype(np.float32))
    smooth_first = cv2.blur(first.log, (step, step))[::step, ::step]
    smooth_second = np.asarray(cv2.blur(second.log, (step, step)), np.float32)
    share = np.linspace(*_QUANTILES)
    target = _quantiles(smooth_first[inside], share)
    source = _quantiles(warp(smooth_second, coarse, size)[inside], share)
    source += np.arange(source.size) * 1e-6  # strictly increasing for the interpolation
    return _with_common_range(first, second, np.interp(grid, source, target).astype(np.float32))


def _quantiles(values: NDArray[Any], share: F64) -> F64:
    """As ``np.quantile``, which selects: for 128 shares sorting is several times as fast."""
    return np.asarray(np.interp(share * (values.size - 1), np.arange(values.size), np.sort(values)))


def _with_common_range(first: View, second: View, table: F32) -> BrightnessTransfer:
    unbounded = BrightnessTransfer(table, -np.inf, np.inf)
    ends = unbounded(np.array([DARK_LOG, second.ceiling], np.float32))
    low, high = max(DARK_LOG, float(ends[0])), min(first.ceiling, float(ends[1]))
    return BrightnessTransfer(table, low, max(low, high))
