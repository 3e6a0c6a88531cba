"""Photometric residue: how frames differ for reasons that are neither noise nor motion.

    log x' = log x - g(place, light)

One smooth log-gain g per frame and channel on a coarse grid over place and light (a bilateral grid; gain compensation
of Brown & Lowe 2007), fitted robustly on agreeing, unclipped cells: a constant, by light, by place, each shrunk towards
the one before. |g| of constant and light is at most 0.3 EV each, of place 0.14, so that no large mover is absorbed;
where texture correlates, the surface is the same, and 1.5 EV are allowed.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.fusion.noise_model import FrameNoise, table_levels
from smarthdr_cli.radiometry import channel_max

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

PLACES, LIGHTS = 8, 8  # nodes along a side of the picture, and over OCTAVES of light
OCTAVES = 12.0  # EV below the reference's clip
MAX_GAIN, MAX_LOCAL_GAIN = 0.21, 0.1  # natural log: 0.3 EV, 0.14 EV
MAX_TEXTURED_GAIN = 1.04  # natural log: 1.5 EV, where texture says that the surface is the same
TEXTURE_WINDOW = 5  # cells
MIN_CORRELATION, MIN_CONTRAST = 0.9, 0.05  # of log light in a window; its standard deviation
MAX_STEP = 0.12  # natural log, between neighbouring nodes of light
SHRINKAGE = 20 / 0.02**2  # as if 20 more samples of 2 % said 0
MAX_CELLS = 80_000  # of a picture that the fit looks at
MAX_TEXTURED_NOISE = 0.03  # relative, of a cell: noisier ones are biased by being sorted by their own light
MIN_TEXTURED_SHARE = 0.2  # of the samples of a node or of a picture: fewer may be the edges of what moved
MIN_NODE, MIN_TEXTURED = 30, 100  # samples of a node of light, textured samples of a picture
MODEL_ERROR = 0.003  # relative; what the fit does not try to explain
MIN_LIGHT, MAX_LIGHT = 3e-4, 0.85  # of the clip, of samples


@dataclass(frozen=True)
class PhotometricGrid:
    """``gain`` (PLACES, PLACES, LIGHTS + 1, 3): exp(-g), a factor on the frame's light.

    The last node is light 1 EV and more above the reference's clip, where nothing is measured: what bends towards the
    clip is the reference's own shoulder, so only the constant goes on.
    """

    gain: F32

    @classmethod
    def identity(cls) -> "PhotometricGrid":
        """No change."""
        return cls(np.ones((PLACES, PLACES, LIGHTS + 1, 3), np.float32))


def light_nodes(ratio: float) -> F32:
    """(ENTRIES,) position along the grid's lights of the levels of a table, for a frame of exposure ``ratio``."""
    light = table_levels() / ratio
    return np.asarray(_light_node(light) + np.log2(light.clip(1, 2)), np.float32)


def _light_node(light: NDArray[np.floating]) -> F64:
    octave = (np.log2(np.maximum(light, 2.0**-OCTAVES)) + OCTAVES) / OCTAVES
    return np.asarray(np.clip(octave * (LIGHTS - 1), 0, LIGHTS - 1))


def fit_grid(
    ref: F32, other: F32, usable: NDArray[np.bool_], ratio: float, noise: tuple[FrameNoise, FrameNoise], cell: int
) -> PhotometricGrid:
    """From means over cells of ``cell`` pixels, (h, w, 3) in each frame's units, where they are ``usable``.

    ``ratio``: exposure of the other frame over the first.
    """
    height, width = ref.shape[:2]
    # Beside what clips, a cell may be clipped in part, and its mean too low.
    brightest = cv2.dilate(channel_max(np.maximum(ref, other)), np.ones((3, 3), np.uint8))
    usable = usable & (brightest < MAX_LIGHT)
    usable &= channel_max(-np.minimum(ref, other)) < -MIN_LIGHT
    rows, columns = np.nonzero(usable)
    if len(rows) < 64:
        return PhotometricGrid.identity()
    every = -(-len(rows) // MAX_CELLS)
    rows, columns = rows[::every], columns[::every]
    a, b = (x[rows, columns].astype(np.float64) for x in (ref, other))
    textured = same_texture(ref, other)[rows, columns]
    node_row, node_column = (
        np.rint(at / max(length - 1, 1) * (PLACES - 1)).astype(np.intp)
        for at, length in ((rows, height), (columns, width))
    )
    light = _light_node(b.mean(-1) / ratio if ratio > 1 else a.mean(-1))  # of the frame with less noise
    log_gain = np.empty((PLACES, PLACES, LIGHTS + 1, 3))
    for channel in range(3):
        x, y = a[:, channel], b[:, channel]
        relative = noise[0].at(x, channel) / x**2 + noise[1].at(y, channel) / y**2
        variance = np.asarray(relative / cell**2 + MODEL_ERROR**2, np.float64)
        certain = textured & (variance < MAX_TEXTURED_NOISE**2)
        log_gain[..., channel] = _fit(np.log(y / ratio / x), variance, node_row * PLACES + node_column, light, certain)
    return PhotometricGrid(np.exp(-log_gain).astype(np.float32))


def same_texture(ref: F32, other: F32) -> NDArray[np.bool_]:
    """(h, w) whether two pictures show the same texture around a cell: their log light correlates."""
    a, b = (np.log(np.maximum(x.mean(-1), MIN_LIGHT)) for x in (ref, other))
    side = (TEXTURE_WINDOW, TEXTURE_WINDOW)
    mean_a, mean_b = (cv2.blur(x, side) for x in (a, b))
    var_a, var_b = (np.maximum(cv2.blur(x * x, side) - m * m, 0) for x, m in ((a, mean_a), (b, mean_b)))
    covariance = cv2.blur(a * b, side) - mean_a * mean_b
    contrast = np.minimum(var_a, var_b) > MIN_CONTRAST**2
    return np.asarray(contrast & (covariance > MIN_CORRELATION * np.sqrt(var_a * var_b)))


def _fit(difference: F64, variance: F64, place: NDArray[np.intp], light: F64, textured: NDArray[np.bool_]) -> F64:
    """(PLACES, PLACES, LIGHTS + 1) log-gain of one channel."""
    limits = np.full(LIGHTS, MAX_GAIN)
    nearest = np.rint(light).astype(np.intp)
    counts, every = (np.bincount(nearest[x], minlength=LIGHTS) for x in (textured, np.ones_like(textured)))
    vouched = (counts >= MIN_NODE) & (counts >= MIN_TEXTURED_SHARE * every)
    limits[vouched] = MAX_TEXTURED_GAIN
    enough = np.count_nonzero(textured) >= max(MIN_TEXTURED, MIN_TEXTURED_SHARE * len(textured))
    trusted = textured if enough else np.ones_like(textured)
    widest = MAX_TEXTURED_GAIN if trusted is textured else MAX_GAIN
    scatter = 1.4826 * np.median(np.abs(difference - np.median(difference)))
    sigma = np.sqrt(variance + np.clip(scatter, 0.01, 0.05) ** 2)

    def tukey(residual: F64) -> F64:
        return np.asarray((1 - np.clip(np.abs(residual) / (3 * sigma), 0, 1) ** 2) ** 2 / sigma**2)

    constant = float(np.median(difference[trusted]))
    for _ in range(5):
        weight = tukey(difference - constant) * trusted
        constant = float((weight * difference).sum() / (weight.sum() + 1e-9))
    constant = float(np.clip(constant, -widest, widest))
    difference = difference - constant
    nodes = np.arange(LIGHTS)
    by_light = np.zeros(LIGHTS)
    for k in range(LIGHTS):  # from medians: a curve that is 10 % off in the highlights is no outlier
        members = difference[(nearest == k) & (textured if vouched[k] else True)]
        if members.size >= MIN_NODE:
            by_light[k] = np.clip(np.median(members) * members.size / (members.size + 60), -limits[k], limits[k])
    median, low = by_light.copy(), np.floor(light).astype(np.intp).clip(0, LIGHTS - 2)
    share = light - low
    for _ in range(4):
        weight = tukey(difference - np.interp(light, nodes, by_light))
        mean, mass = (
            np.bincount(low, weight * (1 - share) * v, LIGHTS) + np.bincount(low + 1, weight * share * v, LIGHTS)
            for v in (difference, np.ones_like(difference))
        )
        by_light = np.clip((mean + SHRINKAGE * median) / (mass + SHRINKAGE), -limits, limits)
    by_light = _without_steps(by_light, int(every.argmax()))
    difference = difference - np.interp(light, nodes, by_light)
    weight, index = tukey(difference), place * LIGHTS + nearest
    shape = (PLACES, PLACES, LIGHTS)
    count = PLACES * PLACES * LIGHTS
    sums, masses = (
        _smooth_all(np.bincount(index, w, count).astype(np.float64).reshape(shape))
        for w in (weight * difference, weight)
    )
    local = np.clip(sums / (masses + 3 * SHRINKAGE), -MAX_LOCAL_GAIN, MAX_LOCAL_GAIN)
    return np.asarray(constant + np.pad(by_light + local, ((0, 0), (0, 0), (0, 1))))


def _without_steps(by_light: F64, first: int) -> F64:
    """Log-gains of neighbouring lights, outwards from node ``first``, at most MAX_STEP apart: curves bend smoothly."""
    smooth = by_light.copy()
    for k in (*range(first + 1, LIGHTS), *range(first - 1, -1, -1)):
        inner = smooth[k - 1 if k > first else k + 1]
        smooth[k] = np.clip(smooth[k], inner - MAX_STEP, inner + MAX_STEP)
    return smooth


def _smooth_all(x: F64) -> F64:
    for axis, kernel in ((0, (0.25, 0.5, 0.25)), (1, (0.25, 0.5, 0.25)), (2, (0.15, 0.7, 0.15))):
        x = _smooth(x, axis, kernel)
    return x


def _smooth(x: F64, axis: int, kernel: tuple[float, float, float]) -> F64:
    """Three taps along ``axis``, ends repeated."""
    wide = np.pad(x, [(int(k == axis), int(k == axis)) for k in range(x.ndim)], "edge")
    length = x.shape[axis]
    parts = (np.take(wide, range(start, start + length), axis) * tap for start, tap in enumerate(kernel))
    return np.asarray(sum(parts))
