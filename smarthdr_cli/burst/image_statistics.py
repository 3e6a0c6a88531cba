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
from smarthdr_cli.radiometry import srgb_to_linear

F32 = NDArray[np.float32]
SIDE = 768  # long side of the reduced picture, pixels
DEEP_SHADE = 0.02  # linear luminance; below it 8-bit codes are too coarse and too noisy to measure by
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
        """(h, w): nothing clipped, luminance above DEEP_SHADE, brightest channel below BRIGHT."""
        return np.asarray(~self.clipped & (self.luminance > DEEP_SHADE) & (self.linear.max(-1) < BRIGHT))

    @property
    def shaded(self) -> NDArray[np.bool_]:
        """(h, w): nothing clipped, luminance below DEEP_SHADE but not below a tenth of it."""
        light = self.luminance
        return np.asarray(~self.clipped & (light <= DEEP_SHADE) & (light > DEEP_SHADE / 10))


@lru_cache(maxsize=4)
def _srgb_table(size: int) -> F32:
    return srgb_to_linear(np.arange(size) / (size - 1)).astype(np.float32)


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
    high = low = 0
    step = max(1, 256 // fy)
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        last = height if stop == rows else stop * fy
        codes = np.ascontiguousarray(frame.codes[start * fy : last])
        mask = _reached(codes, frame.white) if frame.clipped is None else frame.clipped[start * fy : last]
        high += int(np.count_nonzero(mask))
        low += int(np.count_nonzero(_black(codes, frame.white)))
        inside = (slice(0, (stop - start) * fy), slice(0, columns * fx))
        light = prior_linear(codes[inside], frame)
        linear[start:stop] = cv2.resize(light, (columns, stop - start), interpolation=cv2.INTER_AREA)
        lines = mask[inside].reshape(stop - start, fy, columns * fx).any(1)
        clipped[start:stop] = lines.reshape(stop - start, columns, fx).any(-1)
    pixels = height * width
    return Reduced(linear, clipped, high / pixels, low / pixels)


def _reached(codes: NDArray[Any], white: float) -> NDArray[np.bool_]:
    """(h, w): any channel at or above ``white``."""
    below = np.nextafter(np.float32(white), np.float32(0)) if codes.dtype.kind == "f" else white - 1
    low = -np.inf if codes.dtype.kind == "f" else 0
    return np.asarray(cv2.inRange(codes, (float(low),) * 3, (float(below),) * 3) == 0)


def _black(codes: NDArray[Any], white: float) -> NDArray[np.bool_]:
    """(h, w): all channels at code 0, or below 1/255 of white where there are more than 8 bits."""
    if codes.dtype == np.uint8:
        return np.asarray(cv2.inRange(codes, (0.0,) * 3, (0.0,) * 3) > 0)
    lowest = -np.inf if codes.dtype.kind == "f" else 0.0
    return np.asarray(cv2.inRange(codes, (float(lowest),) * 3, (float(white / 255) * 0.999,) * 3) > 0)


def clipped_share(frame: Frame) -> float:
    """Share of pixels with a channel at the clip level, 0 to 1."""
    return reduce(frame).clipped_share


def sharpness(frame: Frame) -> float:
    """Fine over coarse contrast of log2 luminance on the frame's own well-exposed pixels; 0 when there are none."""
    fine, coarse, inside = _contrast(reduce(frame))
    return float(fine[inside].mean() / max(float(coarse[inside].mean()), 1e-6)) if inside.any() else 0.0


def relative_sharpness(frames: list[Reduced]) -> list[float]:
    """Sharpness of each frame against the others, fair across exposures: 1 is as sharp as the median partner.

    Each pair is compared on the pixels well exposed in both, by fine contrast (up to 1 pixel of the reduced picture)
    over coarse contrast (1 to 3 pixels) of log2 luminance: exposure is an offset there and a tone curve's slope scales
    both contrasts alike, whereas blur takes the fine one. A frame without such pixels in common with another gets 1.
    """
    contrasts = [_contrast(frame) for frame in frames]
    scores = []
    for i, (fine, coarse, inside) in enumerate(contrasts):
        ratios = []
        for j, (other_fine, other_coarse, other_inside) in enumerate(contrasts):
            both = inside & other_inside
            if i != j and np.count_nonzero(both) >= _MIN_CELLS:
                mine = float(fine[both].mean()) / max(float(coarse[both].mean()), 1e-6)
                theirs = float(other_fine[both].mean()) / max(float(other_coarse[both].mean()), 1e-6)
                ratios.append((mine + 1e-3) / (theirs + 1e-3))
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


def _contrast(frame: Reduced) -> tuple[F32, F32, NDArray[np.bool_]]:
    """|fine| and |coarse| bands of log2 luminance (differences of Gaussians, sigma 0-1-3), and where they are clean."""
    log = np.log2(np.maximum(frame.luminance, np.float32(DEEP_SHADE / 8)))
    near = cv2.GaussianBlur(log, (0, 0), 1.0)
    far = cv2.GaussianBlur(log, (0, 0), 3.0)
    inside = cv2.erode(frame.well_exposed.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return np.abs(log - near), np.abs(near - far), np.asarray(inside)
