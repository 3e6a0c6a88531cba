"""What the pixels of a frame say: clipped and black shares, sharpness, and exposure ratios between two frames.

Everything is measured on a reduced picture of linear light (cells averaged after linearisation), made strip by strip so
that 24 MP costs no float copy. Display-encoded frames are linearised by the sRGB curve (IEC 61966-2-1): measured EVs
depend on that prior and are exact only for linear sources.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.burst.frame import Frame

F32 = NDArray[np.float32]
SIDE = 768  # long side of the reduced picture, pixels
DEEP_SHADE = 0.01  # linear; below it 8-bit codes are too coarse to measure by
BRIGHT = 0.9  # linear; above it camera curves roll off
_MIN_CELLS = 100
_WEIGHTS = np.array([0.2126, 0.7152, 0.0722], np.float32)  # BT.709 luminance


@dataclass(frozen=True)
class Reduced:
    """A frame at most SIDE pixels long: (h, w, 3) linear light with clip at 1, and the cells any clipped pixel fell in.

    ``clipped_share`` and ``black_share`` are shares of all full-size pixels: any channel at the clip level, and all
    channels at code 0 (below 1/255 of white for more than 8 bits).
    """

    linear: F32
    clipped: NDArray[np.bool_]
    clipped_share: float
    black_share: float

    @property
    def luminance(self) -> F32:
        """(h, w) BT.709-weighted linear light."""
        return np.asarray(self.linear @ _WEIGHTS)

    @property
    def well_exposed(self) -> NDArray[np.bool_]:
        """(h, w): nothing clipped, darkest channel above DEEP_SHADE, brightest below BRIGHT."""
        low, high = self.linear.min(-1), self.linear.max(-1)
        return np.asarray(~self.clipped & (low > DEEP_SHADE) & (high < BRIGHT))


@lru_cache(maxsize=4)
def _srgb_table(size: int) -> F32:
    code = np.arange(size) / (size - 1)
    return np.asarray(np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4), np.float32)


def prior_linear(codes: NDArray[Any], frame: Frame) -> F32:
    """(..., 3) codes of ``frame`` to linear light in [0, 1]: sRGB for display encoding, else a division by white."""
    if frame.encoding == "linear":
        return np.asarray(np.clip(codes.astype(np.float32) / np.float32(frame.white), 0, 1), np.float32)
    if codes.dtype == np.uint8:
        return np.asarray(cv2.LUT(codes, _srgb_table(256)), np.float32)
    return np.asarray(np.take(_srgb_table(65536), codes), np.float32)


def reduce(frame: Frame) -> Reduced:
    """Area-average a frame's linear light by a whole factor, and count its clipped and black pixels at full size."""
    height, width = frame.size
    factor = max(1, -(-max(height, width) // SIDE))
    rows, columns = max(height // factor, 1), max(width // factor, 1)
    fy, fx = min(factor, height), min(factor, width)
    linear = np.empty((rows, columns, 3), np.float32)
    clipped = np.empty((rows, columns), bool)
    black = frame.white / 255 if frame.codes.dtype != np.uint8 else 1
    high = low = 0
    step = max(1, 256 // fy)
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        last = height if stop == rows else stop * fy
        codes = frame.codes[start * fy : last]
        known = frame.clipped
        mask = np.asarray((codes >= frame.white).any(-1)) if known is None else known[start * fy : last]
        high += int(np.count_nonzero(mask))
        low += int(np.count_nonzero((codes < black).all(-1)))
        inside = (slice(0, (stop - start) * fy), slice(0, columns * fx))
        light = prior_linear(np.ascontiguousarray(codes[inside]), frame)
        linear[start:stop] = cv2.resize(light, (columns, stop - start), interpolation=cv2.INTER_AREA)
        cells = mask[inside].reshape(stop - start, fy, columns, fx)
        clipped[start:stop] = cells.any((1, 3))
    pixels = height * width
    return Reduced(linear, clipped, high / pixels, low / pixels)


def clipped_share(frame: Frame) -> float:
    """Share of pixels with a channel at the clip level, 0 to 1."""
    return reduce(frame).clipped_share


def sharpness(frame: Frame) -> float:
    """Variance of the Laplacian of log2 luminance on the frame's own well-exposed pixels; 0 when there are none."""
    reduced = reduce(frame)
    detail, inside = _detail(reduced)
    return float(np.mean(detail[inside] ** 2)) if inside.any() else 0.0


def relative_sharpness(frames: list[Reduced]) -> list[float]:
    """Sharpness of each frame against the others, fair across exposures: 1 is as sharp as the median partner.

    Each pair is compared on the pixels well exposed in both, by the variance of the Laplacian of log2 luminance, which
    a change of exposure leaves as it is. A frame that shares no such pixels with any other gets 1.
    """
    details = [_detail(frame) for frame in frames]
    scores = []
    for i, (mine, inside) in enumerate(details):
        ratios = []
        for j, (theirs, their_inside) in enumerate(details):
            both = inside & their_inside
            if i != j and np.count_nonzero(both) >= _MIN_CELLS:
                ratios.append(float(np.mean(mine[both] ** 2) + 1e-8) / float(np.mean(theirs[both] ** 2) + 1e-8))
        scores.append(float(np.median(ratios)) if ratios else 1.0)
    return scores


def ev_between(dark: Reduced, bright: Reduced) -> float | None:
    """EV from ``dark`` to ``bright``: the median log2 ratio of their luminance where both are well exposed.

    None when fewer than 100 cells are.
    """
    both = dark.well_exposed & bright.well_exposed
    if np.count_nonzero(both) < _MIN_CELLS:
        return None
    return float(np.median(np.log2(bright.luminance[both] / dark.luminance[both])))


def brightness(frame: Reduced) -> float:
    """log2 of the mean linear luminance: enough to order frames by exposure, not to measure ratios."""
    return float(np.log2(max(float(frame.luminance.mean()), 1e-6)))


def measured_evs(frames: list[Reduced], order: list[int]) -> list[float | None]:
    """EV of each frame relative to the first of ``order`` (indices from dark to bright), summed over neighbours.

    None from the first gap on whose two sides share no well-exposed pixels.
    """
    evs: list[float | None] = [None] * len(frames)
    total: float | None = 0.0
    for position, index in enumerate(order):
        if position and total is not None:
            gap = ev_between(frames[order[position - 1]], frames[index])
            total = None if gap is None else total + gap
        evs[index] = total
    return evs


def _detail(frame: Reduced) -> tuple[F32, NDArray[np.bool_]]:
    """Laplacian of log2 luminance and where it is free of clipped and dark neighbours."""
    log = np.log2(np.maximum(frame.luminance, np.float32(DEEP_SHADE / 4)))
    inside = cv2.erode(frame.well_exposed.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return np.asarray(cv2.Laplacian(log, cv2.CV_32F), np.float32), np.asarray(inside)
