"""Statistics of a frame's pixels: clipped and black shares, sharpness, and exposure ratios between two frames.

All are measured on a reduced image of linear light: cells are averaged after linearisation, strip by strip, so that
24 MP need no float copy. Display-encoded frames are linearised by the sRGB curve (IEC 61966-2-1): measured EVs depend
on this assumption and are exact only for linear sources.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.burst.burst import Frame
from smarthdr_cli.radiometry import channel_max, srgb_to_linear

F32 = NDArray[np.float32]
MAX_REDUCED_SIDE = 768  # pixels of the reduced image
WELL_EXPOSED_MIN = 0.02  # linear luminance; below it 8-bit codes are too coarse and too noisy for ratios
WELL_EXPOSED_MAX = 0.9  # linear, of the brightest channel; above it camera curves roll off
SHADOW_MIN = WELL_EXPOSED_MIN / 10
_MIN_COMMON_CELLS = 100  # for a ratio or a sharpness of two frames
_STRIP_ROWS = 256  # rows of the frame converted at a time
_EPSILON = 1e-6  # keeps logarithms and quotients finite
_SHARPNESS_OFFSET = 1e-3  # keeps the ratio of two textureless frames at 1
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)  # BT.709


@dataclass(frozen=True)
class ReducedFrame:
    """A frame reduced to at most MAX_REDUCED_SIDE pixels.

    ``linear``: (h, w, 3), clip at 1. ``clipped``: (h, w), cells with a clipped pixel. ``clipped_share``: share of all
    full-size pixels with a channel at the clip level. ``black_share``: share with all channels at code 0 (of more than
    8 bits: below 1/255 of white).
    """

    linear: F32
    clipped: NDArray[np.bool_]
    clipped_share: float
    black_share: float

    @cached_property
    def luminance(self) -> F32:
        """(h, w) BT.709-weighted linear light."""
        return np.asarray(self.linear @ _LUMINANCE)

    @cached_property
    def well_exposed(self) -> NDArray[np.bool_]:
        """(h, w): no clipped pixel, luminance above WELL_EXPOSED_MIN, brightest channel below WELL_EXPOSED_MAX."""
        is_bright_enough = self.luminance > WELL_EXPOSED_MIN
        return np.asarray(~self.clipped & is_bright_enough & (channel_max(self.linear) < WELL_EXPOSED_MAX))

    @property
    def shadows(self) -> NDArray[np.bool_]:
        """(h, w): no clipped pixel, luminance between SHADOW_MIN and WELL_EXPOSED_MIN."""
        luminance = self.luminance
        return np.asarray(~self.clipped & (luminance <= WELL_EXPOSED_MIN) & (luminance > SHADOW_MIN))


@lru_cache(maxsize=4)
def _srgb_table(entries: int) -> F32:
    return srgb_to_linear(np.arange(entries) / (entries - 1)).astype(np.float32)


def linearize_assumed(codes: NDArray[Any], frame: Frame) -> F32:
    """(..., 3) codes of ``frame`` to linear light in [0, 1]: sRGB curve for display encoding, else codes / white."""
    if frame.encoding == "linear":
        return np.asarray(np.clip(codes.astype(np.float32) / np.float32(frame.white), 0, 1), np.float32)
    if codes.dtype == np.uint8:
        return np.asarray(cv2.LUT(codes, _srgb_table(256)), np.float32)
    return np.asarray(np.take(_srgb_table(65536), codes), np.float32)


def reduce_frame(frame: Frame) -> ReducedFrame:
    """Area-average the linear light of a frame by an integer factor; count clipped and black pixels at full size."""
    height, width = frame.size
    factor = max(1, -(-max(height, width) // MAX_REDUCED_SIDE))
    rows, columns = max(height // factor, 1), max(width // factor, 1)
    fy, fx = min(factor, height), min(factor, width)
    linear = np.empty((rows, columns, 3), np.float32)
    clipped = np.empty((rows, columns), bool)
    clipped_count = black_count = 0
    step = max(1, _STRIP_ROWS // fy)
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        bottom = height if stop == rows else stop * fy
        codes = np.ascontiguousarray(frame.codes[start * fy : bottom])
        mask = _clipped_mask(codes, frame.white) if frame.clipped is None else frame.clipped[start * fy : bottom]
        clipped_count += int(np.count_nonzero(mask))
        black_count += int(np.count_nonzero(_black_mask(codes, frame.white)))
        cells = (slice(0, (stop - start) * fy), slice(0, columns * fx))
        light = linearize_assumed(codes[cells], frame)
        linear[start:stop] = cv2.resize(light, (columns, stop - start), interpolation=cv2.INTER_AREA)
        cell_rows = mask[cells].reshape(stop - start, fy, columns * fx).any(1)
        clipped[start:stop] = cell_rows.reshape(stop - start, columns, fx).any(-1)
    pixels = height * width
    return ReducedFrame(linear, clipped, clipped_count / pixels, black_count / pixels)


def _clipped_mask(codes: NDArray[Any], white: float) -> NDArray[np.bool_]:
    """(h, w): any channel at or above ``white``."""
    is_float = codes.dtype.kind == "f"
    highest = float(np.nextafter(np.float32(white), np.float32(0)) if is_float else white - 1)
    lowest = -np.inf if is_float else 0.0
    return np.asarray(cv2.inRange(codes, (lowest,) * 3, (highest,) * 3) == 0)


def _black_mask(codes: NDArray[Any], white: float) -> NDArray[np.bool_]:
    """(h, w): all channels at code 0, or of more than 8 bits below 1/255 of white."""
    if codes.dtype == np.uint8:
        return np.asarray(cv2.inRange(codes, (0.0,) * 3, (0.0,) * 3) > 0)
    lowest = -np.inf if codes.dtype.kind == "f" else 0.0
    return np.asarray(cv2.inRange(codes, (lowest,) * 3, (float(white / 255) * 0.999,) * 3) > 0)


def relative_sharpness(frames: list[ReducedFrame]) -> list[float]:
    """Sharpness of each frame relative to the others: the median over all pairs, 1 is as sharp as the other frame.

    A pair is compared on the cells that are well exposed in both, by fine contrast (up to 1 cell) over coarse contrast
    (1 to 3 cells) of log2 luminance. There exposure is an offset, the slope of a tone curve scales both contrasts, and
    blur lowers the fine one. A frame without common cells with any other gets 1.
    """
    bands = [_contrast_bands(frame) for frame in frames]
    sharpness = []
    for i, (fine, coarse, valid) in enumerate(bands):
        ratios = []
        for j, (other_fine, other_coarse, other_valid) in enumerate(bands):
            common = valid & other_valid
            if i != j and np.count_nonzero(common) >= _MIN_COMMON_CELLS:
                ratio = float(fine[common].mean()) / max(float(coarse[common].mean()), _EPSILON)
                other_ratio = float(other_fine[common].mean()) / max(float(other_coarse[common].mean()), _EPSILON)
                ratios.append((ratio + _SHARPNESS_OFFSET) / (other_ratio + _SHARPNESS_OFFSET))
        sharpness.append(float(np.median(ratios)) if ratios else 1.0)
    return sharpness


def ev_between(dark: ReducedFrame, bright: ReducedFrame) -> float | None:
    """EV from ``dark`` to ``bright``: the median log2 ratio of luminance where both are well exposed.

    None where fewer than 100 cells are.
    """
    common = dark.well_exposed & bright.well_exposed
    if np.count_nonzero(common) < _MIN_COMMON_CELLS:
        return None
    return float(np.median(np.log2(bright.luminance[common] / dark.luminance[common])))


def log2_mean_luminance(frame: ReducedFrame) -> float:
    """log2 of the mean linear luminance: orders frames by exposure, but clipping biases it as a ratio."""
    return float(np.log2(max(float(frame.luminance.mean()), _EPSILON)))


def measured_evs(frames: list[ReducedFrame], order: list[int]) -> list[float | None]:
    """EV of each frame relative to the first of ``order`` (indices by exposure), summed over neighbours.

    None for frames not in ``order``, and from the first pair of neighbours without common well-exposed pixels on.
    """
    evs: list[float | None] = [None] * len(frames)
    total: float | None = 0.0
    for position, index in enumerate(order):
        if position and total is not None:
            step = ev_between(frames[order[position - 1]], frames[index])
            total = None if step is None else total + step
        evs[index] = total
    return evs


def _contrast_bands(frame: ReducedFrame) -> tuple[F32, F32, NDArray[np.bool_]]:
    """|fine| and |coarse| bands of log2 luminance (differences of Gaussians, sigma 0-1-3), and where they are valid."""
    log = np.log2(np.maximum(frame.luminance, np.float32(WELL_EXPOSED_MIN / 8)))
    near = cv2.GaussianBlur(log, (0, 0), 1.0)
    far = cv2.GaussianBlur(log, (0, 0), 3.0)
    valid = cv2.erode(frame.well_exposed.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return np.abs(log - near), np.abs(near - far), np.asarray(valid)
