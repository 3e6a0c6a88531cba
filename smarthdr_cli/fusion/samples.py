"""One draw of samples from a burst, for everything that is fitted once: small patches at regular places.

A patch is 32 pixels wide, with a margin of 8 so that means over 12 pixels are whole in its core. The patches of a frame
stand one below the other in one tall picture, so that what works on pictures works on samples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.aligned_burst import AlignedBurst, Window
from smarthdr_cli.radiometry import channel_max

F32 = NDArray[np.float32]
Displacement = Callable[[int, Window], F32 | None]  # frame, window -> (h, w, 2) px

CORE, MARGIN = 32, 8  # px
PATCHES = 200  # of a large picture; a smaller one is covered once
LIGHT_BINS = np.arange(-11.0, 0.01)  # log2 of light, lower edges
UNCLIPPED = 0.9  # of the clip: brighter samples say nothing of noise
NORMAL_30 = 0.385  # 30 % quantile of |N(0, 1)|: holds while half of the picture moves
MIN_SAMPLES = 60  # of a bin of light
MAX_SAMPLES = 20_000  # of a picture, for a spread


@dataclass(frozen=True)
class Samples:
    """``light`` (N, h, w, 3) linear in each frame's units, ``valid`` (N, h, w), ``core`` (h, w) without the margins.

    The patch of row r and column c of ``grid`` begins at line (r * columns + c) * ``side``, and in the picture at its
    place in ``corners`` (top, left).
    """

    light: F32
    valid: F32
    core: NDArray[np.bool_]
    grid: tuple[int, int]
    side: int
    corners: tuple[tuple[int, int], ...]


def draw(source: AlignedBurst, displacement: Displacement = lambda _index, _window: None) -> Samples:
    """The patches of every frame, seen in the reference's view through its ``displacement`` in a window."""
    height, width = source.burst.size
    side = CORE + 2 * MARGIN
    tall, wide = (min(side, -(-length // 4) * 4) for length in (height, width))
    spacing = max(side, (height * width / PATCHES) ** 0.5)
    tops, lefts = (_starts(length, patch, spacing) for length, patch in ((height, tall), (width, wide)))
    windows = [Window(top, left, tall, wide) for top in tops for left in lefts]
    whole = Window(0, 0, -(-height // 4) * 4, -(-width // 4) * 4)
    small = len(windows) * tall * wide > whole.height * whole.width / 2  # then the picture is read once and cut
    light, valid = [], []
    for index in range(len(source.burst)):
        if small:
            picture, seen = source.read(index, whole, displacement(index, whole))
            patches = [(picture[at], seen[at]) for at in (_slices(window) for window in windows)]
        else:
            patches = [source.read(index, window, displacement(index, window)) for window in windows]
        light.append(np.concatenate([patch[0] for patch in patches]))
        valid.append(np.concatenate([patch[1] for patch in patches]))
    core = np.zeros((tall, wide), bool)
    inner = tuple(slice(MARGIN, -MARGIN) if length > 2 * MARGIN else slice(None) for length in (tall, wide))
    core[inner] = True
    return Samples(np.stack(light), np.stack(valid), np.tile(core, (len(windows), 1)), (len(tops), len(lefts)), tall,
                   tuple((window.top, window.left) for window in windows))  # fmt: skip


def _slices(window: Window) -> tuple[slice, slice]:
    return slice(window.top, window.top + window.height), slice(window.left, window.left + window.width)


def _starts(length: int, patch: int, spacing: float) -> list[int]:
    """Multiples of 4 at which patches begin along a side."""
    count = max(1, round((length - 2 * MARGIN) / spacing))
    return sorted({int(start) // 4 * 4 for start in np.linspace(0, max(length - patch, 0), count)})


def squared_gradient(light: F32) -> F32:
    """|grad|^2 per channel, by Sobel's operator."""
    across, down = (cv2.Sobel(light, cv2.CV_32F, *axis, ksize=3) / 8 for axis in ((1, 0), (0, 1)))
    return np.asarray(across * across + down * down)


def binned_spread(
    gap: F32, light: F32, brightest: F32, gradient: F32, valid: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(3, bins) robust sigma of ``gap`` on the smoother half of each bin of light, and the bin's mean light; NaN where
    a bin has fewer than MIN_SAMPLES.

    All pictures (h, w, 3); ``brightest``: the brighter of what is compared.
    """
    shape = (3, len(LIGHT_BINS))
    spread, level = np.full(shape, np.nan), np.full(shape, np.nan)
    rows, columns = np.nonzero(valid & (channel_max(brightest) < UNCLIPPED))
    every = max(1, len(rows) // MAX_SAMPLES)
    at = (rows[::every], columns[::every])
    gap, light, gradient = gap[at], light[at], gradient[at]
    for channel in range(3):
        bins = np.floor(np.log2(np.maximum(light[:, channel], 2.0**-12)) - LIGHT_BINS[0])
        bins = bins.clip(0, len(LIGHT_BINS) - 1).astype(np.uint8)  # which argsort sorts by digits
        order = np.argsort(bins, kind="stable")
        edges = np.searchsorted(bins[order], np.arange(len(LIGHT_BINS) + 1))
        for k in range(len(LIGHT_BINS)):
            members = order[edges[k] : edges[k + 1]]
            if len(members) >= MIN_SAMPLES:
                slope = gradient[members, channel]
                smooth = members[slope <= np.median(slope)]
                spread[channel, k] = np.quantile(np.abs(gap[smooth, channel]), 0.3) / NORMAL_30
                level[channel, k] = light[smooth, channel].mean()
    return spread, level


def spread_at(spread: NDArray[np.float64], light: NDArray[np.floating], limit: Sequence[float]) -> F32:
    """A channel's measured spread, filled and smoothed over its bins, at ``light``; at most limit[0] x + limit[1]."""
    known = ~np.isnan(spread)
    if not known.any():
        return np.zeros(np.shape(light), np.float32)
    bins = np.arange(len(spread))
    filled = np.convolve(np.pad(np.interp(bins, bins[known], spread[known]), 1, "edge"), (0.25, 0.5, 0.25), "valid")
    filled = np.minimum(filled, limit[0] * 2.0 ** (LIGHT_BINS + 0.5) + limit[1])
    return np.asarray(np.interp(np.log2(np.maximum(light, 2.0**-12)), LIGHT_BINS + 0.5, filled), np.float32)
