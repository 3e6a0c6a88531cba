"""The noise of a burst: one model, fitted once.

    Var(x) = a x + b + q(x)^2 (kappa / 12 + J)

x: linear light of a frame, 1 = its clip; a, b: photon and read noise; q(x): what one code is worth at x, the slope of
the inverse response (0 for files of more than 8 bits); kappa: excess over the rounding of codes;

    J = D A / (A + D) + D exp(-c / 8)

what JPEG leaves of a place whose codes have mean c and vary by A (squared codes), D = mean(step^2) / 12 over the file's
quantisation table. Near black whole blocks are rounded to nothing, their activity too; what that leaves of the mean of
8x8 pixels, q(x)^2 D exp(-c / 8) / 64, is common to the block: means over more pixels have it whole.

Files of more than 8 bits: a, b from the quietest blocks of each frame, by level (Foi et al. 2008). 8-bit files, whose
flat places are smoothed: a, b, kappa from the differences of neighbouring exposures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.aligned_burst import AlignedBurst
from smarthdr_cli.fusion.pixel_kernel import BLACK_CODES
from smarthdr_cli.fusion.samples import Samples, binned_spread, squared_gradient
from smarthdr_cli.radiometry import linearize

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

ENTRIES = 1024  # of a table over sqrt(x)
DEFAULT = (2e-4, 4e-6, 1.0)  # a, b, kappa where a burst shows too little to fit them
MIN_PHOTON, MIN_READ = 1e-6, 1e-9  # a, b: no camera is quieter
MAX_KAPPA = 30.0
HIGH_PASS = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6  # keeps the variance of white noise
BLOCK = 16  # px, of the blocks whose quietest fifth is the noise
MAX_BLOCKS = 40_000


@dataclass(frozen=True)
class FrameNoise:
    """Tables over sqrt(x), (3, ENTRIES) float32 each, of one frame.

    ``variance``: of the light x without JPEG's part; ``code``: x as a code from 0 to 255; ``squared_worth``: q(x)^2.
    ``black``: what JPEG leaves near black, common to a block. ``jpeg``: D of luma and chroma in squared codes, 0
    without JPEG compression.
    """

    variance: F32
    code: F32
    squared_worth: F32
    black: F32
    jpeg: tuple[float, float]

    def at(self, light: NDArray[np.floating], channel: int) -> F32:
        """Variance of ``light`` of one channel, any shape, without JPEG's part."""
        return np.asarray(self.variance[channel][table_index(light)])


@dataclass(frozen=True)
class NoiseModel:
    """``photon`` a, ``read`` b, ``rounding`` kappa, and the tables that follow from them for each frame."""

    photon: float
    read: float
    rounding: float
    frames: tuple[FrameNoise, ...]


def table_index(light: NDArray[np.floating]) -> NDArray[np.intp]:
    """Entry of a table over sqrt(x), for x in [0, 1]."""
    return np.asarray(np.rint(np.sqrt(np.clip(light, 0, 1)) * (ENTRIES - 1)), np.intp)


def table_levels() -> F64:
    """(ENTRIES,) the light x of each entry."""
    return np.asarray(np.linspace(0, 1, ENTRIES) ** 2)


def fit_noise(source: AlignedBurst, samples: Samples) -> NoiseModel:
    """Fit a, b and kappa of the whole burst; a burst that shows too little gets DEFAULT."""
    curves = [_curve(source, index) for index in range(len(source.burst))]
    eight_bit = any(frame.codes.dtype == np.uint8 for frame in source.burst.frames)
    photon, read, rounding = _fit_pairs(curves, samples, source.burst.evs) if eight_bit else _fit_within(source)
    levels = table_levels()
    frames = []
    for (code, squared_worth), frame in zip(curves, source.burst.frames, strict=True):
        variance = photon * levels + read + squared_worth * (rounding / 12)
        black = squared_worth * (frame.rounding_error[0] / 64) * np.exp(-code / BLACK_CODES)
        a, b, c, d = (np.asarray(table, np.float32) for table in (variance, code, squared_worth, black))
        frames.append(FrameNoise(a, b, c, d, frame.rounding_error))
    return NoiseModel(photon, read, rounding, tuple(frames))


def _curve(source: AlignedBurst, index: int) -> tuple[F64, F64]:
    """(3, ENTRIES) codes from 0 to 255 and q^2 of a frame over the table's levels; q is 0 above 8 bits."""
    table = source.response_of(index).table.astype(np.float64)
    entries = np.arange(table.shape[1]) * (255 / (table.shape[1] - 1))
    levels = table_levels()
    code = np.stack([np.interp(levels, channel, entries) for channel in table])
    if source.burst.frames[index].codes.dtype != np.uint8:
        return code, np.zeros_like(code)
    slope = np.gradient(table, axis=1) * ((table.shape[1] - 1) / 255)
    return code, np.stack([np.interp(levels, *pair) for pair in zip(table, slope, strict=True)]) ** 2


def _fit_within(source: AlignedBurst) -> tuple[float, float, float]:
    """a and b from the quietest fifth of blocks by level: texture only adds."""
    rows = []
    for index, frame in enumerate(source.burst.frames):
        height, width = (side // BLOCK for side in frame.size)
        every = max(1, int(np.ceil(np.sqrt(height * width * len(source.burst) / MAX_BLOCKS))))
        for row in range(0, height, every):
            strip = frame.codes[row * BLOCK : (row + 1) * BLOCK, : width * BLOCK]
            light = linearize(np.ascontiguousarray(strip), frame.white, source.response_of(index))
            rough = np.abs(cv2.filter2D(light, -1, HIGH_PASS))
            blocks, spread = (
                x.reshape(BLOCK, width, BLOCK, 3).swapaxes(0, 1).reshape(width, -1, 3)[::every] for x in (light, rough)
            )
            variance = (1.4826 * np.median(spread, 1)) ** 2
            usable = (blocks.max(1) < 0.9) & (blocks.min(1) > 1e-3) & (variance > 0)
            rows.append(np.stack([blocks.mean(1)[usable], variance[usable]], 1))
    blocks = np.concatenate(rows) if rows else np.empty((0, 2))
    points = []
    for low, high in pairwise(np.linspace(0, 1, 13) ** 2):
        level = blocks[(blocks[:, 0] >= low) & (blocks[:, 0] < high)]
        if len(level) >= 12:
            quiet = level[level[:, 1] <= 1.5 * np.quantile(level[:, 1], 0.2)]
            points.append((quiet[:, 0].mean(), np.median(quiet[:, 1]), min(len(level), 200)))
    if len(points) < 2:
        return DEFAULT
    level, variance, count = np.array(points).T
    weight = np.sqrt(count) / variance
    photon, read = _nonnegative(np.stack([level, np.ones_like(level)], 1) * weight[:, None], variance * weight)
    return max(photon, MIN_PHOTON), max(read, MIN_READ), 1.0


def _fit_pairs(
    curves: Sequence[tuple[F64, F64]], samples: Samples, evs: NDArray[np.floating]
) -> tuple[float, float, float]:
    """a, b and kappa from differences of aligned frames that follow one another in exposure."""
    rows = []
    for i, j in pairwise(sorted(range(len(evs)), key=lambda index: float(evs[index]))):
        if not 0.2 <= evs[j] - evs[i] <= 4.5:
            continue
        gain = np.float32(2.0 ** (evs[j] - evs[i]))
        lifted, bright = np.minimum(samples.light[i] * gain, 1), samples.light[j]
        gap = lifted - bright
        gap -= np.asarray(cv2.blur(gap, (13, 13)))
        valid = samples.core & (samples.valid[i] > 0) & (samples.valid[j] > 0)
        spread, level = binned_spread(gap, lifted, np.maximum(lifted, bright), squared_gradient(lifted), valid)
        for channel in range(3):
            worth_i, worth_j = (curves[k][1][channel] for k in (i, j))
            for sigma, light in zip(spread[channel], level[channel], strict=True):
                if sigma > 0:
                    rounding = worth_i[table_index(light / gain)] * gain**2 + worth_j[table_index(light)]
                    rows.append((light * (1 + gain), 1 + gain**2, rounding / 12, sigma**2))
    if len(rows) < 4:
        return DEFAULT
    table = np.array(rows, float)
    weight, solution = 1 / table[:, 3], np.zeros(3)
    for _ in range(4):
        solution = _nonnegative(table[:, :3] * weight[:, None], table[:, 3] * weight)
        weight = 1 / np.maximum(table[:, :3] @ solution, 0.3 * table[:, 3])
    photon, read, rounding = solution
    return max(photon, MIN_PHOTON), max(read, MIN_READ), float(np.clip(rounding, 1, MAX_KAPPA))


def _nonnegative(matrix: F64, values: F64) -> F64:
    """Least squares with no negative solution, for two or three unknowns: the best over all subsets of them."""
    count = matrix.shape[1]
    best, least = np.zeros(count), float(values @ values)
    for subset in range(1, 1 << count):
        columns = [k for k in range(count) if subset >> k & 1]
        part = np.linalg.lstsq(matrix[:, columns], values, rcond=None)[0]
        error = float(((matrix[:, columns] @ part - values) ** 2).sum())
        if (part >= 0).all() and error < least:
            best, least = np.zeros(count), error
            best[columns] = part
    return best
