"""The per-pixel part of a fusion in NumPy: what the loops of pixel_kernel.py compute, with the same arguments.

It is what the tests hold the loops to, and what runs where numba cannot: ten times slower.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.fusion import pixel_kernel as constants
from smarthdr_cli.fusion.pixel_kernel import AREA, CELL

F32 = NDArray[np.float32]
Array = NDArray[Any]


def linearise(codes: F32, scale: np.float32, table: F32, out: F32) -> None:
    """Light (3, h, w) of ``codes`` (h, w, 3) into ``out``: ``table`` (3, K) at codes * ``scale``, interpolated."""
    entries = np.arange(table.shape[1])
    for k in range(3):
        out[k] = np.interp(codes[..., k] * scale, entries, table[k])


def displacement(
    cells: F32, finer: F32, top: int, left: int, dead_start: np.float32, dead_end: np.float32, out: F32
) -> bool:
    """Displacement in pixels (2, h, w), 0 in the dead zone, into ``out``; whether anything moves."""
    height, width = out.shape[1:]
    flow = np.stack([_to_pixels(x) for x in cells])[:, top : top + height, left : left + width]
    flow = flow + finer if finer.size else flow
    out[:] = flow * (1 - _falling(np.hypot(*flow), dead_start, dead_end))
    return bool(out.any())


def apply_gain(light: F32, grid: F32, nodes: F32, top: int, left: int, height: int, width: int) -> None:
    """Multiply ``light`` (3, h, w) by the photometric grid, in place, fading to 1 towards the clip."""
    (i, v), (j, u) = (
        _split((np.arange(begin, begin + length, CELL) + 1.5) / max(whole - 1, 1) * (places - 1), places - 2)
        for begin, length, whole, places in zip((top, left), light.shape[1:], (height, width), grid.shape, strict=False)
    )
    rows = grid[i] * (1 - v)[:, None, None, None] + grid[i + 1] * v[:, None, None, None]
    u = u[:, None, None]
    gains = rows[:, j] * (1 - u) + rows[:, j + 1] * u  # (h / 4, w / 4, lights, 3)
    n, share = _split(nodes[_entries(light.mean(0), len(nodes))], grid.shape[2] - 2)
    y, x = np.indices(light.shape[1:]) // CELL
    fade = _falling(light.max(0), constants.GAIN_START, constants.GAIN_END)
    for k in range(3):
        gain = gains[y, x, n, k] * (1 - share) + gains[y, x, n + 1, k] * share
        light[k] *= 1 + (gain - 1) * fade


def mean_of_channels(planes: F32, out: F32) -> None:
    """(h, w) mean of (3, h, w) into ``out``."""
    out[:] = planes.mean(0)


def noise_variance(
    light: F32, variance: F32, code: F32, squared_worth: F32, jpeg_luma: np.float32, jpeg_chroma: np.float32,
    smooth: bool, out: F32,
) -> None:  # fmt: skip
    """Var(x) (3, h, w) of a frame into ``out``; ``smooth``: at the mean of 3x3 pixels instead of the noisy pixel."""
    entries = code.shape[1]
    codes = np.stack([code[k][_entries(light[k], entries)] for k in range(3)]).astype(np.float64)
    jpeg = np.zeros(out.shape, np.float32)
    if jpeg_luma > 0:
        for k, hue in enumerate(codes - codes.mean(0)):
            mean, activity = _moments(codes[k])
            black = np.exp(-mean / constants.BLACK_CODES)
            error = jpeg_luma * (activity / (activity + jpeg_luma) + black)
            if jpeg_chroma > 0:
                activity = _moments(hue)[1]
                error = error + jpeg_chroma / 4 * activity / (activity + jpeg_chroma / 4)
            jpeg[k] = _widen(error)
    for k in range(3):
        level = cv2.blur(light[k], (3, 3), borderType=cv2.BORDER_REPLICATE) if smooth else light[k]
        at = _entries(level, entries)
        out[k] = variance[k][at] + squared_worth[k][at] * jpeg[k]


def agreement(
    ref: F32, other: F32, var_ref: F32, var_other: F32, black_ref: F32, black_other: F32, ratio: np.float32,
    spread: F32, residue: F32, eps_test: np.float32, shoulder: np.float32, eps_merge: np.float32,
    threshold: np.float32, white: int, valid: F32, trust: F32, total: F32,
) -> None:  # fmt: skip
    """Trust and total variance of the other frame's light, (h, w), into ``trust`` and ``total``."""
    unit, gain = max(float(ratio), 1), max(float(ratio), 1 / float(ratio))
    one, two = (ref, var_ref, black_ref), (other, var_other, black_other)
    (dark, var_dark, black_dark), (bright, var_bright, black_bright) = (one, two) if ratio > 1 else (two, one)
    beyond = constants.BEYOND * _falling(bright, constants.BEYOND_START, constants.BEYOND_END)
    highest = 1 + beyond if ratio > 1 else np.ones_like(ref)
    lifted = np.minimum(dark * gain, highest)
    gap = _gap(dark, lifted, bright, gain, white)
    noise = var_bright + gain * gain * var_dark
    move, moved = (_widen(residue) * np.stack([_squared_gradient(x) for x in frame]) for frame in (lifted, other))

    cells = tuple(_cell_means(x) for x in (gap, lifted, noise, move))
    over_cells = _over_cells(cells, black_dark, black_bright, gain, spread, eps_test, shoulder)
    single = _squared_z(gap, lifted, noise, move, spread[0], eps_test, shoulder)
    z = np.sqrt(np.maximum(single, _to_pixels(over_cells)))
    sharp = np.exp(-(np.maximum(z - threshold, 0) ** 2) / 1.5) * valid
    trust[:] = cv2.GaussianBlur(cv2.erode(np.asarray(sharp, np.float32), np.ones((3, 3))), (5, 5), 1).clip(0, 1) * valid
    mean = other.mean(0) / ratio
    photometric = _widen(np.sqrt(_at(spread[2], cells[1])).mean(0) / unit) * np.maximum(mean * min(ratio, 1), 1)
    total[:] = (var_other.mean(0) + moved.mean(0)) / ratio**2 + photometric**2 + (eps_merge * mean) ** 2


def agreement_of_cells(
    ref: F32, other: F32, noise_ref: F32, noise_other: F32, black_ref: F32, black_other: F32, ratio: np.float32,
    spread: F32, residue: F32, eps_test: np.float32, shoulder: np.float32, threshold: np.float32, white: int,
    trust: F32,
) -> None:  # fmt: skip
    """Trust (h, w) of means over cells into ``trust``, from means over 4 and 12 px alone."""
    gain = max(float(ratio), 1 / float(ratio))
    one, two = (ref, noise_ref, black_ref), (other, noise_other, black_other)
    (dark, noise_dark, black_dark), (bright, noise_bright, black_bright) = (one, two) if ratio > 1 else (two, one)
    lifted = np.minimum(dark * gain, 1)
    noise = _at(noise_bright, bright) + gain * gain * _at(noise_dark, dark)
    move = residue / AREA * np.stack([_squared_gradient(x) for x in lifted])
    gap = _gap(dark, lifted, bright, gain, white)
    squared = _over_cells((gap, lifted, noise, move), black_dark, black_bright, gain, spread, eps_test, shoulder)
    trust[:] = np.exp(-(np.maximum(np.sqrt(squared) - threshold, 0) ** 2) / 1.5)


def merge(
    frames: F32, exposures: F32, trust: F32, place: F32, variance: F32, white: int, curve: np.float32,
    light: F32, sigma: F32, lost: F32, clipped: F32,
) -> None:  # fmt: skip
    """Inverse-variance merge of ``frames`` (N, 3, h, w), the reference first, see ``pixel_kernel.merge``."""
    shortest, first = exposures.argmin(), frames[0]
    peak = first.max(0)
    kept = np.maximum(_falling(peak, constants.TAPER_START, constants.TAPER_END) / variance[0], constants.TINY)
    every, square = kept, np.minimum(kept, kept**2 * constants.CLIPPED_VARIANCE)
    known = _falling(peak, constants.HIGHLIGHTS, constants.CLIPPED) / variance[0]
    total, lowest = first * kept, peak
    for n in np.argsort(-place[1:], axis=0, kind="stable") + 1:  # those that reach furthest, then the next
        frame = np.take_along_axis(frames, n[None, None], 0)[0]
        trusted, reach, spread = (np.take_along_axis(x, n[None], 0)[0] for x in (trust, place, variance))
        top, seen = frame.max(0), reach > 0
        full = _falling(top, constants.TAPER_START, constants.TAPER_END) / spread * seen
        floor = np.where(n == shortest, constants.LAST_WEIGHT, 0) / spread * seen
        whole = np.maximum(full, floor) * trusted
        knows = np.where(n == shortest, 1, _falling(top, constants.HIGHLIGHTS, constants.CLIPPED))
        known = known + knows * trusted * np.maximum(reach, 0) / spread
        faded = np.maximum(
            kept * reach * whole / (kept + (1 - reach) * whole), np.minimum(whole * reach, constants.LEAST)
        )
        weight = np.where(reach < 1, faded, whole)
        square = square + np.divide(weight**2, whole, out=np.zeros_like(whole), where=whole > 0)
        every, kept = every + full, kept + weight
        total = total + frame * weight / exposures[n]
        lowest = np.where(seen, np.minimum(lowest, top), lowest)
    merged = total / kept
    bound = 1 - _falling(peak, constants.BOUND_START, constants.BOUND_END)
    seen = place > 0
    seen[0] = True
    level = np.where(seen, exposures[:, None, None], np.inf).argmin(0)
    found, near = _least_around(frames, exposures, place, level, constants.BOUND * peak)
    looked = (bound > 0) & (merged.max(0) < constants.SHORTFALL * peak) & (level > 0) & found
    merged = merged + np.where(looked, (near - merged) * bound, 0)
    if white != constants.WHITE_NONE:
        all_clip = first.min(0) > constants.TAPER_END
        raised = np.maximum(constants.BOUND * peak / np.maximum(merged.max(0), constants.TINY), 1)
        merged, bound = merged * np.where(all_clip, raised, 1), bound * ~all_clip
    merged = merged + np.maximum(constants.BOUND * first - merged, 0) * bound
    clipped[:] = 1 - _falling(lowest, constants.TAPER_START, constants.TAPER_END)
    shown = np.take_along_axis(frames, level[None, None], 0)[0] / exposures[level]
    merged = merged + (shown - merged) * clipped
    for n in range(1, len(frames)):
        repeat = np.where(exposures[n] < exposures[level], np.maximum(-place[n], 0), 0) * clipped
        merged = merged + np.maximum(frames[n] / exposures[n] - merged, 0) * repeat
    light[:] = merged.transpose(1, 2, 0)
    scale = exposures[shortest]
    mean = np.maximum(merged.mean(0), 0)
    slope = constants.MU_SLOPE * scale / (1 + constants.MU * scale * mean)
    error = slope * np.sqrt(square) / kept
    growth = error / (slope / np.sqrt(np.maximum(every, constants.LEAST_KEPT)))
    doubt = ((error - constants.TAU) / constants.TAU).clip(0, 1)
    doubt *= ((growth - constants.GROWTH_START) / constants.GROWTH_RANGE).clip(0, 1)
    lost[:] = doubt * (1 - clipped)
    rest = np.maximum(1 - np.log1p(constants.MU * scale * mean) / np.log1p(constants.MU), constants.LEAST_REST)
    certainty = np.maximum(kept**2 / square, known) / slope**2 + 12 / rest**2
    error = np.sqrt(1 / certainty + (curve * slope * mean) ** 2)
    sigma[:] = np.where(lowest > constants.CLIPPED, 1, error.clip(1e-4, 1))


def summarise(
    frames: F32, exposures: F32, trust: F32, place: F32, variance: F32, lost: F32, clipped: F32,
    out: F32, classical: F32,
) -> None:  # fmt: skip
    """What the map of blocks at odds needs of every cell, see ``pixel_kernel.summarise``."""
    shorter = np.flatnonzero(exposures < constants.SHORTER)
    near_clip = frames[0].max(0) > constants.NEAR_CLIP
    seen = place > 0
    out[..., 0] = _cell_means(lost)
    out[..., 1] = np.max([_cell_means((1 - trust[n]) * seen[n]) for n in shorter], axis=0, initial=0)
    out[..., 2] = _cell_means(near_clip & (clipped < 0.5))
    out[..., 3] = _cell_means(near_clip & ~seen[shorter].any(0))
    out[..., 4] = 0
    speaks, light, spread = {}, {}, {}
    for n in shorter:
        light[n], spread[n] = _cell_means(frames[n]) / exposures[n], _cell_means(variance[n])
        top = frames[n].max(0).reshape(out.shape[0], CELL, out.shape[1], CELL).max((1, 3))
        speaks[n] = (_cell_means(seen[n]) > 0.5) & (top < 0.9) & (_cell_means(trust[n]) > 0.5)
        for m in shorter[shorter < n]:
            allowed = (spread[n] + spread[m]) / 8 + (0.015 * (light[n] + light[m])) ** 2
            alike = ((light[n] - light[m]) ** 2 < 9 * allowed).all(0)
            out[..., 4] = np.maximum(out[..., 4], speaks[n] & speaks[m] & alike)
    first = frames[..., ::CELL, ::CELL]
    weight = _falling(first.max(1), constants.TAPER_START, constants.TAPER_END)
    weight = weight / variance[:, ::CELL, ::CELL] * seen[:, ::CELL, ::CELL]
    weight[0] = np.maximum(weight[0], constants.TINY)
    mean = (first * (weight / exposures[:, None, None])[:, None]).sum(0) / weight.sum(0)
    classical[:] = mean.transpose(1, 2, 0)


def _falling(level: Array, start: np.float32, end: np.float32) -> F32:
    t = ((level - start) / (end - start)).clip(0, 1)
    return np.asarray(1 - t * t * (3 - 2 * t))


def _entries(level: Array, count: int) -> NDArray[np.intp]:
    """Entries of a table over sqrt(x)."""
    root = np.sqrt(level.clip(0, 1).astype(np.float32))
    return (root * np.float32(count - 1) + np.float32(0.5)).astype(np.intp)


def _at(table: Array, light: Array) -> Array:
    """Values of a table (3, ENTRIES) over sqrt(x) at ``light`` (3, h, w)."""
    return np.stack([table[k][_entries(light[k], table.shape[1])] for k in range(3)])


def _squared_z(
    gap: Array, light: Array, noise: Array, move: Array, spread: Array, eps: np.float32, shoulder: np.float32
) -> Array:
    """z^2 (h, w), the largest of the channels."""
    error = eps + shoulder * (1 - _falling(light, constants.SHOULDER_START, constants.SHOULDER_END))
    allowed = np.maximum(noise, _at(spread, light)) + move + (error * light) ** 2 + constants.LEAST
    return np.asarray((gap**2 / allowed).max(0))


def _over_cells(
    cells: tuple[Array, ...], black_dark: Array, black_bright: Array, gain: float, spread: Array, eps: np.float32,
    shoulder: np.float32,
) -> Array:  # fmt: skip
    """z^2 (h, w) of means over 4 and 12 px, from means over cells (3, h, w) of gap, light, noise and move of pixels."""
    gap, light, noise, move = cells

    def common(light: Array) -> Array:
        return _at(black_bright, light) + gain * gain * _at(black_dark, light / np.float32(gain))

    nine = [np.stack([_of_nine(plane) for plane in x]) for x in (gap, light, noise, move)]
    pixels = AREA * _of_nine(np.ones(light.shape[1:], np.float32), mean=False)
    over_4 = _squared_z(gap, light, noise / AREA, move / CELL + common(light), spread[1], eps, shoulder)
    over_12 = _squared_z(
        nine[0], nine[1], nine[2] / pixels, nine[3] / (3 * CELL) + common(nine[1]), spread[2], eps, shoulder
    )
    return np.maximum(over_4, over_12)


def _split(position: Array, most: int) -> tuple[NDArray[np.intp], Array]:
    """A position in a table as an entry of at most ``most`` and the share of the next one."""
    entry = np.minimum(position.astype(np.intp), most)
    return entry, np.minimum(position - entry, 1)


def _cell_means(x: Array) -> Array:
    """(..., h / 4, w / 4) means over cells."""
    height, width = x.shape[-2:]
    return np.asarray(x.reshape(*x.shape[:-2], height // CELL, CELL, width // CELL, CELL).mean((-3, -1)))


def _widen(cells: Array) -> Array:
    """For every pixel the value of its cell."""
    return cells.repeat(CELL, 0).repeat(CELL, 1)


def _to_pixels(cells: Array) -> Array:
    """For every pixel the values of the cells around it, interpolated."""
    size = (cells.shape[1] * CELL, cells.shape[0] * CELL)
    return np.asarray(cv2.resize(cells, size, interpolation=cv2.INTER_LINEAR))


def _of_nine(cells: Array, mean: bool = True) -> Array:
    """Means or sums over 3x3 cells, without those beyond the border."""
    total, count = (
        cv2.boxFilter(x, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
        for x in (cells, np.ones_like(cells))
    )
    return np.asarray(total / count if mean else total)


def _moments(x: Array) -> tuple[Array, Array]:
    """Mean and variance over the pixels of 3x3 cells weighted 1 2 1 each way, edges repeated."""
    weights = np.array([0.25, 0.5, 0.25])
    means = (_cell_means(v) for v in (x, x * x))
    mean, square = (cv2.sepFilter2D(v, -1, weights, weights, borderType=cv2.BORDER_REPLICATE) for v in means)
    return np.asarray(mean), np.maximum(square - mean**2, 0)


def _squared_gradient(x: Array) -> Array:
    """|grad|^2 by Sobel's operator, edges repeated."""
    across, along = (
        cv2.Sobel(x, cv2.CV_32F, *axis, ksize=3, scale=1 / 8, borderType=cv2.BORDER_REPLICATE)
        for axis in ((1, 0), (0, 1))
    )
    return np.asarray(across**2 + along**2)


def _least_around(
    frames: F32, exposures: F32, place: F32, level: NDArray[np.intp], limit: F32
) -> tuple[NDArray[np.bool_], Array]:
    """Whether frame ``level`` (h, w) shows more than ``limit`` in 3x3 pixels, and the least such light (3, h, w)."""
    least, light = np.full(level.shape, np.inf), np.zeros((3, *level.shape))
    rows, columns = np.indices(level.shape)
    for i in range(-1, 2):
        for j in range(-1, 2):
            y, x = (rows + i).clip(0, level.shape[0] - 1), (columns + j).clip(0, level.shape[1] - 1)
            near = frames[level, :, y, x].transpose(2, 0, 1) / exposures[level]
            brightest = near.max(0)
            better = (place[level, y, x] > 0) & (brightest > limit) & (brightest < least)
            least, light = np.where(better, brightest, least), np.where(better, near, light)
    return least < np.inf, light


def _gap(dark: F32, lifted: F32, bright: F32, gain: float, white: int) -> F32:
    """The difference of two frames, without what a highlight may have lost of its colour."""
    gap = lifted - np.minimum(bright, 1)
    if white == constants.WHITE_NONE:
        return gap
    whiter = np.minimum(gap + _whitened(dark.max(0) * gain, bright.max(0), white) * (1 - lifted), 0)
    return np.where(gap < 0, whiter, gap)


def _whitened(over: Array, peak: Array, white: int) -> Array:
    """Share of the way to white that a highlight may be lifted, its brightest channel ``over`` times the clip."""
    clips = 1 - _falling(peak, constants.TAPER_START, constants.TAPER_END)
    return clips if white == constants.WHITE_RAW else clips * (1 - np.maximum(over, 1) ** -1.5)
