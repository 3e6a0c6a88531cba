"""The per-pixel part of a fusion as loops that numba compiles: light, noise, agreement, merge.

pixel_arrays.py has the same functions in NumPy, which says what each is to compute; pixel_functions.py chooses.

Arrays are windows of the picture whose corner and sides are multiples of CELL pixels, C-contiguous float32, (3, h, w)
or (h, w). Means over 4 pixels are those of cells, means over 12 of three by three cells, so every sum has an order
fixed by the picture, and a pixel does not depend on the window it is computed in (given a margin of MARGIN pixels).
Tables are over sqrt(x), see noise_model.py.

All loops are in this one file, because numba's cache of a function does not see changes in functions of other files.

Every formula is a loop over a row, without branches, over few contiguous arrays, so that the compiler makes vector
instructions of it: entries of tables are computed, looked up and used in three loops, and no integer stands among the
floats (numba computes int * float32 in float64). Where a row needs what lies beside it, it is written into a ``wide``
one whose ends are repeated.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np

try:
    import numba
    from numba.core import config
except Exception as error:  # a broken build, or one for another NumPy: ImportError, SystemError, OSError, ...
    UNAVAILABLE = f"numba cannot be loaded ({type(error).__name__}: {error})"
else:
    UNAVAILABLE = "NUMBA_DISABLE_JIT is set" if getattr(config, "DISABLE_JIT", 0) else ""

CELL = 4  # px
MARGIN = 16  # px that a window reaches beyond what is kept of it: 3 for trust, and the four cells beside those
AREA = np.float32(CELL * CELL)  # px of a cell
BLACK_CODES = np.float32(8)  # over which JPEG's error falls from D: blocks near black are rounded to nothing
GAIN_START, GAIN_END = np.float32(0.9), np.float32(0.97)  # of the clip, between which a photometric gain fades to 1
SHOULDER_START, SHOULDER_END = np.float32(0.7), np.float32(0.9)  # between which the model's relative error rises
TAPER_START, TAPER_END = np.float32(0.80), np.float32(0.97)  # of the clip, between which a frame leaves the merge
BOUND_START, BOUND_END = np.float32(0.9), np.float32(0.99)  # between which the reference becomes a lower bound
BOUND = np.float32(0.985)  # of what the reference shows
WHITE_NONE, WHITE_CAMERA, WHITE_RAW = 0, 1, 2  # how clipped highlights lose their colour, see _whitened
CLIPPED_VARIANCE = np.float32(100)  # of a clipped reference's light, squared clip units: sigma 1 where none other is
CLIPPED = np.float32(0.985)  # of the clip of a frame, from which its light is only a lower bound
HIGHLIGHTS = np.float32(0.9)  # of the clip, from which what a frame knows falls to nothing at CLIPPED
LEAST_REST = np.float32(0.05)  # of the mu-law domain, between a result and the clip of the shortest frame
BEYOND = np.float32(0.5)  # of the clip, by which a frame may contradict a longer one that does not clip
BEYOND_START, BEYOND_END = np.float32(0.85), np.float32(0.97)  # of the longer one's clip, between which it does not
SHORTFALL = np.float32(0.95)  # of what a clipped reference shows: a merge below it is looked for a pixel further
LAST_WEIGHT = np.float32(1e-5)  # taper that the shortest frame keeps
SHORTER = np.float32(0.8)  # exposure under which a frame is shorter than the reference
NEAR_CLIP = np.float32(0.85)  # over which the reference counts as clipped in a summary
GAUSS = np.float32(0.05448868), np.float32(0.24420134), np.float32(0.40261996)  # five taps of sigma 1 px
ZERO, HALF, ONE, TWO, THREE = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2), np.float32(3)
THIRD = np.float32(1 / 3)
TINY, LEAST = np.float32(1e-12), np.float32(1e-9)
LEAST_KEPT = np.float32(1e-14)
TAU = np.float32(0.015)  # an error above which a refused frame is missed
GROWTH_START, GROWTH_RANGE = np.float32(1.3), np.float32(0.4)  # of the error by refused frames
MU = np.float32(5000)
MU_SLOPE = np.float32(5000 / np.log(5001.0))
MU_LAW = np.asarray(np.log1p(5000 * np.linspace(0, 1, 1024) ** 2) / np.log(5001.0), np.float32)  # over sqrt(h)


COMPILED: dict[Any, str] = {}  # the public functions and their types


def loop(function: Any) -> Any:
    """What a compiled function calls."""
    return function if UNAVAILABLE else numba.njit(nogil=True, error_model="numpy")(function)


def compiled(types: str) -> Callable[[Any], Any]:
    """Compiled for arguments of ``types`` by ``compile_all``, without the GIL; cached where there is a place for it."""

    def decorate(function: Any) -> Any:
        dispatcher = loop(function)
        COMPILED[dispatcher] = types
        if not UNAVAILABLE:
            with contextlib.suppress(RuntimeError):  # no folder can be written
                dispatcher.enable_caching()
        return dispatcher

    return decorate


def compile_all() -> None:
    """Compile what is not in the cache. Raises what numba raises."""
    for dispatcher, types in COMPILED.items():
        try:
            dispatcher.compile(types)
        except OSError:  # the cache's folder is full or has become read-only; what is compiled is kept
            dispatcher.compile(types)


@loop
def _row(length):
    return np.empty(length, np.float32)


@loop
def _falling(level, start, end):
    t = min(max((level - start) * (ONE / (end - start)), ZERO), ONE)
    return ONE - t * t * (THREE - TWO * t)


@loop
def _exp_of_minus(x):
    """exp(-x), x >= 0, to 1e-6: (exp(-x / 32))^32, since a library's vectors need not round as its scalars do."""
    u = min(x, np.float32(32)) * np.float32(-1 / 32)
    y = ONE + u * (ONE + u * (HALF + u * (np.float32(1 / 6) + u * (np.float32(1 / 24) + u * np.float32(1 / 120)))))
    y *= y
    y *= y
    y *= y
    y *= y
    return y * y


@loop
def _add(row, out):
    for x in range(out.size):
        out[x] += row[x]


@loop
def _fold(row, out):
    """Sums over CELL pixels of a row."""
    for c in range(out.size):
        out[c] = (row[CELL * c] + row[CELL * c + 1]) + (row[CELL * c + 2] + row[CELL * c + 3])


@loop
def _fold_largest(row, out):
    for c in range(out.size):
        out[c] = max(max(row[CELL * c], row[CELL * c + 1]), max(row[CELL * c + 2], row[CELL * c + 3]))


@loop
def _widen(cells, out):
    """For every pixel of a row the value of its cell."""
    for c in range(cells.size):
        for i in range(CELL):
            out[CELL * c + i] = cells[c]


@loop
def _between(cells, out):
    """For every pixel of a row the values of the cells around it, interpolated."""
    for i in range(CELL // 2):
        out[i] = cells[0]
        out[out.size - 1 - i] = cells[cells.size - 1]
    for c in range(cells.size - 1):
        for i in range(CELL):
            share = np.float32((i + 0.5) / CELL)
            out[CELL * c + CELL // 2 + i] = cells[c] * (ONE - share) + cells[c + 1] * share


@loop
def _interpolated(above, below, share, out):
    for c in range(out.size):
        out[c] = above[c] * (ONE - share) + below[c] * share


@loop
def _repeat_ends(wide):
    wide[0] = wide[1]
    wide[wide.size - 1] = wide[wide.size - 2]


@loop
def _largest(red, green, blue, out):
    for x in range(out.size):
        out[x] = max(max(red[x], green[x]), blue[x])


@loop
def _mean(red, green, blue, out):
    for x in range(out.size):
        out[x] = (red[x] + green[x] + blue[x]) * THIRD


@compiled("void(f4[:,:,::1], f4[:,::1])")
def mean_of_channels(planes, out):
    """(h, w) mean of (3, h, w) into ``out``."""
    for y in range(out.shape[0]):
        _mean(planes[0, y], planes[1, y], planes[2, y], out[y])


@loop
def _entries(level, last, out):
    """Entries of a table over sqrt(x) whose last one is ``last``."""
    for x in range(out.size):
        out[x] = np.int32(np.sqrt(min(max(level[x], ZERO), ONE)) * last + HALF)


@loop
def _look_up(table, entry, out):
    for x in range(out.size):
        out[x] = table[entry[x]]


@compiled("b1(f4[:,:,::1], f4[:,:,::1], i8, i8, f4, f4, f4[:,:,::1])")
def displacement(cells, finer, top, left, dead_start, dead_end, out):
    """Displacement in pixels (2, h, w) into ``out``, 0 in the dead zone: ``cells`` (2, rows, columns) interpolated, of
    which the window begins at pixel (``top``, ``left``), and ``finer`` (2, h, w), or (2, 0, 0) for nothing.
    Returns whether anything moves.
    """
    height, width = out.shape[1:]
    rows, columns = cells.shape[1:]
    if left + width > columns * CELL:
        raise ValueError("cells must cover the window")
    row, wide_x, wide_y = _row(columns), _row(columns * CELL), _row(columns * CELL)
    moves = False
    for y in range(height):
        v = min(max((np.float32(top + y) - np.float32(1.5)) / np.float32(CELL), ZERO), np.float32(rows - 1))
        i = min(int(v), max(rows - 2, 0))
        v -= np.float32(i)
        _interpolated(cells[0, i], cells[0, min(i + 1, rows - 1)], v, row)
        _between(row, wide_x)
        _interpolated(cells[1, i], cells[1, min(i + 1, rows - 1)], v, row)
        _between(row, wide_y)
        if finer.size > 0:
            _add(finer[0, y], wide_x[left : left + width])
            _add(finer[1, y], wide_y[left : left + width])
        _outside_dead_zone(wide_x[left:], wide_y[left:], dead_start, dead_end, out[0, y], out[1, y])
        moves = moves or _any(out[0, y]) or _any(out[1, y])
    return moves


@loop
def _outside_dead_zone(x_flow, y_flow, start, end, x_out, y_out):
    for x in range(x_out.size):
        length = np.sqrt(x_flow[x] * x_flow[x] + y_flow[x] * y_flow[x])
        share = ONE - _falling(length, start, end)
        x_out[x] = x_flow[x] * share
        y_out[x] = y_flow[x] * share


@loop
def _any(row):
    found = False
    for x in range(row.size):
        found |= row[x] != ZERO
    return found


@compiled("void(f4[:,:,::1], f4, f4[:,::1], f4[:,:,::1])")
def linearise(codes, scale, table, out):
    """Light (3, h, w) of ``codes`` (h, w, 3) into ``out``: ``table`` (3, K) at codes * ``scale``, interpolated."""
    height, width = codes.shape[:2]
    last = np.float32(table.shape[1] - 1)
    position, low, high, share = _row(width), _row(width), _row(width), _row(width)
    entry = np.empty(width, np.uint32)
    for y in range(height):
        for k in range(3):
            for x in range(width):
                position[x] = min(max(codes[y, x, k] * scale, ZERO), last)
            _split(position, np.int32(table.shape[1] - 2), entry, share)
            _look_up(table[k], entry, low)
            _look_up(table[k, 1:], entry, high)
            _mix(low, high, share, out[k, y])


@loop
def _split(position, most, entry, share):
    """A position in a table as an entry of at most ``most`` and the share of the next one."""
    for x in range(entry.size):
        entry[x] = min(np.int32(position[x]), most)
    for x in range(entry.size):
        share[x] = position[x] - np.float32(np.int32(entry[x]))


@loop
def _mix(low, high, share, out):
    for x in range(out.size):
        out[x] = low[x] * (ONE - share[x]) + high[x] * share[x]


@compiled("void(f4[:,:,::1], f4[:,:,:,::1], f4[::1], i8, i8, i8, i8)")
def apply_gain(light, grid, nodes, top, left, height, width):
    """Multiply ``light`` (3, h, w) by the photometric grid (places, places, lights, 3) of the whole picture's
    ``height`` and ``width``, in place; ``nodes`` (ENTRIES,): position of x along the lights, over sqrt. What clips
    stays clipped: the gain fades to 1 from 0.9 of the clip.
    """
    lights, entries = grid.shape[2], nodes.size
    rows, columns = light.shape[1] // CELL, light.shape[2] // CELL
    gains = np.empty(lights * 3 * columns, np.float32)  # of a row of cells, by light, channel and cell
    length = light.shape[2]
    cell = np.empty(length, np.uint32)
    for x in range(length):
        cell[x] = x // CELL
    mean, peak, position = _row(length), _row(length), _row(length)
    share, low, high, gain = _row(length), _row(length), _row(length), _row(length)
    entry = np.empty_like(cell)
    for r in range(rows):
        _gains_of_cells(grid, top + r * CELL, left, height, width, gains)
        for y in range(r * CELL, (r + 1) * CELL):
            red, green, blue = light[0, y], light[1, y], light[2, y]
            _mean(red, green, blue, mean)
            _largest(red, green, blue, peak)
            _entries(mean, np.float32(entries - 1), entry)
            _look_up(nodes, entry, position)
            _split(position, np.int32(lights - 2), entry, share)
            _entries_of_cells(cell, np.uint32(3 * columns), entry)
            for k in range(3):
                _look_up(gains[k * columns :], entry, low)
                _look_up(gains[(3 + k) * columns :], entry, high)
                _mix(low, high, share, gain)
                _multiply(peak, gain, light[k, y])


@loop
def _gains_of_cells(grid, top, left, height, width, out):
    """The grid at a row of cells that begins at (``top``, ``left``), bilinear between places."""
    places, lights = grid.shape[0], grid.shape[2]
    columns = out.size // (3 * lights)
    steps = np.float32(places - 1)
    v = min(np.float32(top + 1.5) / np.float32(max(height - 1, 1)), ONE) * steps
    i = min(int(v), places - 2)
    v -= np.float32(i)
    for c in range(columns):
        u = min(np.float32(left + c * CELL + 1.5) / np.float32(max(width - 1, 1)), ONE) * steps
        j = min(int(u), places - 2)
        u -= np.float32(j)
        for n in range(lights):
            for k in range(3):
                above = grid[i, j, n, k] * (ONE - u) + grid[i, j + 1, n, k] * u
                below = grid[i + 1, j, n, k] * (ONE - u) + grid[i + 1, j + 1, n, k] * u
                out[(n * 3 + k) * columns + c] = above * (ONE - v) + below * v


@loop
def _entries_of_cells(cell, stride, entry):
    for x in range(entry.size):
        entry[x] = entry[x] * stride + cell[x]


@loop
def _multiply(peak, gain, light):
    for x in range(light.size):
        light[x] *= ONE + (gain[x] - ONE) * _falling(peak[x], GAIN_START, GAIN_END)


@compiled("void(f4[:,:,::1], f4[:,::1], f4[:,::1], f4[:,::1], f4, f4, b1, f4[:,:,::1])")
def noise_variance(light, variance, code, squared_worth, jpeg_luma, jpeg_chroma, smooth, out):
    """Var(x) (3, h, w) of a frame into ``out``; ``smooth``: at the mean of 3x3 pixels instead of the noisy pixel."""
    height, width = light.shape[1:]
    last = np.float32(variance.shape[1] - 1)
    error = np.zeros((3, height // CELL, width // CELL), np.float32)
    if jpeg_luma > 0:
        _jpeg_error(light, code, jpeg_luma, jpeg_chroma, error)
    level, own, worth, lost = _row(width), _row(width), _row(width), _row(width)
    wide, entry = np.empty(width + 2, np.float32), np.empty(width, np.uint32)
    for k in range(3):
        for y in range(height):
            if y % CELL == 0:
                _widen(error[k, y // CELL], lost)
            if smooth:
                _mean_of_nine(light[k, max(y - 1, 0)], light[k, y], light[k, min(y + 1, height - 1)], wide, level)
                _entries(level, last, entry)
            else:
                _entries(light[k, y], last, entry)
            _look_up(variance[k], entry, own)
            _look_up(squared_worth[k], entry, worth)
            _own_and_lost(own, worth, lost, out[k, y])


@loop
def _mean_of_nine(up, middle, down, wide, out):
    for x in range(out.size):
        wide[x + 1] = up[x] + middle[x] + down[x]
    _repeat_ends(wide)
    for x in range(out.size):
        out[x] = (wide[x] + wide[x + 1] + wide[x + 2]) * np.float32(1 / 9)


@loop
def _own_and_lost(own, worth, lost, out):
    for x in range(out.size):
        out[x] = own[x] + worth[x] * lost[x]


@loop
def _jpeg_error(light, code, luma, chroma, error):
    """J of noise_model.py, squared codes (3, h / 4, w / 4), from codes over 3x3 cells weighted 1 2 1 each way."""
    rows, columns, width = light.shape[1] // CELL, light.shape[2] // CELL, light.shape[2]
    last = np.float32(code.shape[1] - 1)
    # Sums over cells of codes, their squares, codes less their mean over channels, and the squares of that.
    moments = np.empty((rows, 12, columns), np.float32)
    sums, codes = np.empty((12, width), np.float32), np.empty((3, width), np.float32)
    grey, entry = np.empty(width, np.float32), np.empty(width, np.uint32)
    for r in range(rows):
        sums[:] = ZERO
        for y in range(r * CELL, (r + 1) * CELL):
            for k in range(3):
                _entries(light[k, y], last, entry)
                _look_up(code[k], entry, codes[k])
            _mean(codes[0], codes[1], codes[2], grey)
            for k in range(3):
                _add_moments(codes[k], sums[k], sums[3 + k])
                _add_hue_moments(codes[k], grey, sums[6 + k], sums[9 + k])
        for n in range(12):
            _fold(sums[n], moments[r, n])
    wide, mean = np.empty(columns + 2, np.float32), np.empty((12, columns), np.float32)
    for r in range(rows):
        for n in range(12):
            _one_two_one(moments[max(r - 1, 0), n], moments[r, n], moments[min(r + 1, rows - 1), n], wide, mean[n])
        for k in range(3):
            _add_error(mean[k], mean[3 + k], luma, error[k, r])
            _add_black_error(mean[k], luma, error[k, r])
            if chroma > 0:
                _add_error(mean[6 + k], mean[9 + k], chroma / np.float32(4), error[k, r])


@loop
def _add_moments(code, first, second):
    for x in range(code.size):
        first[x] += code[x]
        second[x] += code[x] * code[x]


@loop
def _add_hue_moments(code, grey, first, second):
    for x in range(code.size):
        hue = code[x] - grey[x]
        first[x] += hue
        second[x] += hue * hue


@loop
def _one_two_one(up, middle, down, wide, out):
    """Weighted mean over the pixels of 3x3 cells, from sums over cells."""
    for c in range(out.size):
        wide[c + 1] = up[c] + TWO * middle[c] + down[c]
    _repeat_ends(wide)
    for c in range(out.size):
        out[c] = (wide[c] + TWO * wide[c + 1] + wide[c + 2]) / (AREA * np.float32(16))


@loop
def _add_error(mean, square, error, out):
    """D A / (A + D)."""
    for c in range(out.size):
        activity = max(square[c] - mean[c] * mean[c], ZERO)
        out[c] += error * activity / (activity + error)


@loop
def _add_black_error(mean, error, out):
    """D exp(-c / 8)."""
    for c in range(out.size):
        out[c] += error * _exp_of_minus(mean[c] / BLACK_CODES)


@compiled(
    "void(f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,::1], f4[:,::1], f4, f4[:,:,::1], f4[:,::1], f4, f4,"
    "f4, f4, i8, f4[:,::1], f4[:,::1], f4[:,::1])"
)
def agreement(
    ref, other, var_ref, var_other, black_ref, black_other, ratio, spread, residue, eps_test, shoulder, eps_merge,
    threshold, white, valid, trust, total,
):  # fmt: skip
    """Trust (h, w) into ``trust``; total variance of the other frame's light in units of the first into ``total``.

    ``ref``, ``other``: (3, h, w) in their own units, ``ratio`` = exposure of the other / of the first. ``spread``: (3
    scales, 3, ENTRIES) squared photometric spread at the brighter frame's exposure. ``black_ref``, ``black_other`` (3,
    ENTRIES): variance common to a block near black. ``residue``: (h / 4, w / 4) delta^2. ``eps_test``: relative error
    of the model, rising by ``shoulder`` towards the clip of the brighter frame. ``threshold``: z up to which trust is
    1. ``white``: of the brighter frame, see ``_whitened``. ``valid`` (h, w): 1 where the other frame saw a pixel, else
    0.
    """
    height, width = valid.shape
    rows, columns = residue.shape
    if rows * CELL != height or columns * CELL != width:
        raise ValueError("residue must have a value for every cell of the window")
    last = np.float32(spread.shape[2] - 1)
    unit, gain = max(ratio, ONE), max(ratio, ONE / ratio)
    brighter = ratio > ONE  # the other frame is the brighter one
    dark, bright, var_dark, var_bright = other, ref, var_other, var_ref
    black_dark, black_bright = black_other, black_ref
    if brighter:
        dark, bright, var_dark, var_bright = ref, other, var_ref, var_other
        black_dark, black_bright = black_ref, black_other
    squared = np.zeros((height, width), np.float32)  # z^2 of single pixels
    sums = np.zeros((4, 3, width), np.float32)  # of gap, light, noise and move over the rows of a cell
    cells = np.empty((4, 3, rows, columns), np.float32)
    lifted = np.empty((3, 3, width + 2), np.float32)  # by channel and y modulo 3
    own = np.empty((3, 3, width + 2), np.float32)  # the other frame, likewise
    means = np.empty((CELL, width), np.float32)  # of its channels, by row of the cell
    delta, gap, noise, move, photometric = _row(width), _row(width), _row(width), _row(width), _row(width)
    variance, moved, whitened, cell_row = _row(width), _row(width), _row(width), _row(columns)
    entry = np.empty(width, np.uint32)
    for k in range(3):
        _lift(dark[k, 0], bright[k, 0], gain, brighter, lifted[k, 0])
        _extend(other[k, 0], own[k, 0])
    for y in range(height):
        up, down = max(y - 1, 0), min(y + 1, height - 1)
        if y % CELL == 0:
            _widen(residue[y // CELL], delta)
        if white != WHITE_NONE:
            _largest(dark[0, y], dark[1, y], dark[2, y], moved)
            _largest(bright[0, y], bright[1, y], bright[2, y], variance)
            _whitened(moved, variance, gain, white, whitened)
        moved[:] = ZERO
        for k in range(3):
            _lift(dark[k, down], bright[k, down], gain, brighter, lifted[k, down % 3])
            _extend(other[k, down], own[k, down % 3])
            light = lifted[k, y % 3, 1:-1]
            _gap(light, bright[k, y], gap)
            if white != WHITE_NONE:
                _allow_white(whitened, light, gap)
            _noise(var_bright[k, y], var_dark[k, y], gain * gain, noise)
            _move(lifted[k, up % 3], lifted[k, y % 3], lifted[k, down % 3], delta, move)
            _entries(light, last, entry)
            _look_up(spread[0, k], entry, photometric)
            _raise_z(gap, light, noise, move, photometric, eps_test, shoulder, squared[y])
            _add(gap, sums[0, k])
            _add(light, sums[1, k])
            _add(noise, sums[2, k])
            _add(move, sums[3, k])
            # The other frame's own gradient: above the clip of the first, only it has one.
            _move(own[k, up % 3], own[k, y % 3], own[k, down % 3], delta, move)
            _add(move, moved)
        _mean(var_other[0, y], var_other[1, y], var_other[2, y], variance)
        _mean(other[0, y], other[1, y], other[2, y], means[y % CELL])
        _total(variance, moved, means[y % CELL], ratio, eps_merge, total[y])
        if y % CELL == CELL - 1:
            r = y // CELL
            for n in range(4):
                for k in range(3):
                    _fold(sums[n, k], cells[n, k, r])
            sums[:] = ZERO
            _photometric_error(cells[1], spread[2], r, unit, cell_row)
            _widen(cell_row, photometric)
            for i in range(CELL):
                _add_photometric(photometric, means[i], ratio, total[r * CELL + i])
    over_cells = np.zeros((rows, columns), np.float32)
    _agreement_of_cells(cells, spread, black_dark, black_bright, gain, eps_test, shoulder, over_cells)
    for y in range(height):
        v = min(max((np.float32(y) - np.float32(1.5)) / np.float32(CELL), ZERO), np.float32(rows - 1))
        i = min(int(v), max(rows - 2, 0))
        _interpolated(over_cells[i], over_cells[min(i + 1, rows - 1)], v - np.float32(i), cell_row)
        _between(cell_row, gap)
        _trust(squared[y], gap, valid[y], threshold, trust[y])
    _erode_and_smooth(trust, valid)


@compiled(
    "void(f4[:,:,::1], f4[:,:,::1], f4[:,::1], f4[:,::1], f4[:,::1], f4[:,::1], f4, f4[:,:,::1], f4[:,::1], f4, f4, f4,"
    "i8, f4[:,::1])"
)
def agreement_of_cells(
    ref, other, noise_ref, noise_other, black_ref, black_other, ratio, spread, residue, eps_test, shoulder, threshold,
    white, trust,
):  # fmt: skip
    """Trust (h, w) into ``trust`` from means over 4 and 12 px alone: ``ref`` and ``other`` (3, h, w) are means over
    cells, ``noise_ref`` and ``noise_other`` (3, ENTRIES) the variance of single pixels. The rest is as in
    ``agreement``.
    """
    rows, columns = trust.shape
    gain = max(ratio, ONE / ratio)
    dark, bright, noise_dark, noise_bright = other, ref, noise_other, noise_ref
    black_dark, black_bright = black_other, black_ref
    if ratio > ONE:
        dark, bright, noise_dark, noise_bright = ref, other, noise_ref, noise_other
        black_dark, black_bright = black_ref, black_other
    cells = np.empty((4, 3, rows, columns), np.float32)
    lifted = np.empty((3, columns + 2), np.float32)  # by row modulo 3
    noise, peak, entry = _row(columns), _row(columns), np.empty(columns, np.uint32)
    whitened = np.empty((rows, columns), np.float32)
    for r in range(rows):
        if white != WHITE_NONE:
            _largest(dark[0, r], dark[1, r], dark[2, r], noise)
            _largest(bright[0, r], bright[1, r], bright[2, r], peak)
            _whitened(noise, peak, gain, white, whitened[r])
    last = np.float32(noise_ref.shape[1] - 1)
    for k in range(3):
        _lift(dark[k, 0], bright[k, 0], gain, False, lifted[0])
        for r in range(rows):
            up, down = max(r - 1, 0), min(r + 1, rows - 1)
            _lift(dark[k, down], bright[k, down], gain, False, lifted[down % 3])
            _copy(lifted[r % 3, 1:-1], cells[1, k, r])
            _gap(cells[1, k, r], bright[k, r], cells[0, k, r])
            if white != WHITE_NONE:
                _allow_white(whitened[r], cells[1, k, r], cells[0, k, r])
            _entries(bright[k, r], last, entry)
            _look_up(noise_bright[k], entry, cells[2, k, r])
            _entries(dark[k, r], last, entry)
            _look_up(noise_dark[k], entry, noise)
            _add_scaled(noise, gain * gain, cells[2, k, r])
            _move(lifted[up % 3], lifted[r % 3], lifted[down % 3], residue[r], cells[3, k, r])
            for n in range(3):
                for c in range(columns):
                    cells[n, k, r, c] *= AREA
    squared = np.zeros((rows, columns), np.float32)
    _agreement_of_cells(cells, spread, black_dark, black_bright, gain, eps_test, shoulder, squared)
    noise[:] = ONE  # every cell is valid
    for r in range(rows):
        _trust(squared[r], squared[r], noise, threshold, trust[r])


@loop
def _lift(dark, bright, gain, brighter, wide):
    """The darker frame at the exposure of the brighter one, clipped; what the other frame does not clip, the first may
    contradict beyond its clip.
    """
    if brighter:
        for x in range(dark.size):
            wide[x + 1] = min(dark[x] * gain, ONE + BEYOND * _falling(bright[x], BEYOND_START, BEYOND_END))
    else:
        for x in range(dark.size):
            wide[x + 1] = min(dark[x] * gain, ONE)
    _repeat_ends(wide)


@loop
def _extend(row, wide):
    for x in range(row.size):
        wide[x + 1] = row[x]
    _repeat_ends(wide)


@loop
def _gap(lifted, bright, out):
    for x in range(out.size):
        out[x] = lifted[x] - min(bright[x], ONE)


@loop
def _whitened(dark_peak, peak, gain, white, out):
    """Share of the way to white that a highlight may be lifted, its brightest channel ``over`` times the clip.

    Cameras take the colour out of a highlight as its brightest channel clips (WHITE_CAMERA): on a compact camera's
    stack 0.3 of the way at 1.35 times the clip, 0.7 to 0.8 at 6 to 7 times, so at most 1 - over^-1.5. A clipped pixel
    of a RAW reads 1 in all channels (WHITE_RAW).
    """
    for x in range(out.size):
        out[x] = ONE - _falling(peak[x], TAPER_START, TAPER_END)
    if white == WHITE_CAMERA:
        for x in range(out.size):
            over = max(dark_peak[x] * gain, ONE)
            out[x] *= ONE - ONE / (over * np.sqrt(over))


@loop
def _allow_white(whitened, lifted, gap):
    for x in range(gap.size):
        whiter = min(gap[x] + whitened[x] * (ONE - lifted[x]), ZERO)
        gap[x] = whiter if gap[x] < ZERO else gap[x]


@loop
def _noise(var_bright, var_dark, squared_gain, out):
    for x in range(out.size):
        out[x] = var_bright[x] + squared_gain * var_dark[x]


@loop
def _move(up, middle, down, delta, out):
    """delta^2 |grad|^2 by Sobel's operator."""
    for x in range(out.size):
        across = up[x + 2] - up[x] + down[x + 2] - down[x] + TWO * (middle[x + 2] - middle[x])
        along = down[x] - up[x] + down[x + 2] - up[x + 2] + TWO * (down[x + 1] - up[x + 1])
        out[x] = delta[x] * ((across * across + along * along) * np.float32(1 / 64))


@loop
def _raise_z(gap, light, noise, move, photometric, eps_test, shoulder, squared):
    """The larger of ``squared`` and z^2."""
    for x in range(squared.size):
        eps = eps_test + shoulder * (ONE - _falling(light[x], SHOULDER_START, SHOULDER_END))
        allowed = max(noise[x], photometric[x]) + move[x] + (eps * light[x]) * (eps * light[x]) + LEAST
        squared[x] = max(squared[x], gap[x] * gap[x] / allowed)


@loop
def _total(variance, moved, mean, ratio, eps_merge, out):
    per_light, eps = ONE / (ratio * ratio), eps_merge / ratio
    for x in range(out.size):
        out[x] = (variance[x] + moved[x] * THIRD) * per_light + (eps * mean[x]) * (eps * mean[x])


@loop
def _photometric_error(light, spread, r, unit, out):
    """Spread over 12 px of a row of cells, mean of its channels, in units of the first frame; ``light`` (3, rows,
    columns): sums over cells.
    """
    last, columns = np.float32(spread.shape[1] - 1), out.size
    mean, squared, entry = _row(columns), _row(columns), np.empty(columns, np.uint32)
    out[:] = ZERO
    for k in range(3):
        for c in range(columns):
            mean[c] = light[k, r, c] * (ONE / AREA)
        _entries(mean, last, entry)
        _look_up(spread[k], entry, squared)
        for c in range(columns):
            out[c] += np.sqrt(squared[c]) * (THIRD / unit)


@loop
def _add_photometric(photometric, mean, ratio, out):
    """The photometric error is relative above the first frame's clip."""
    per_clip = min(ratio, ONE) / ratio
    for x in range(out.size):
        error = photometric[x] * max(mean[x] * per_clip, ONE)
        out[x] += error * error


@loop
def _agreement_of_cells(cells, spread, black_dark, black_bright, gain, eps_test, shoulder, squared):
    """z^2 (rows, columns) of means over 4 and 12 px, from sums over cells of gap, light, noise and move (4, 3, rows,
    columns).
    """
    rows, columns = squared.shape
    last = np.float32(spread.shape[2] - 1)
    gap, light, noise, move = _row(columns), _row(columns), _row(columns), _row(columns)
    photometric, inverse, dark_light = _row(columns), _row(columns), _row(columns)
    wide, sums, entry = _row(columns + 2), np.empty((4, columns), np.float32), np.empty(columns, np.uint32)
    for r in range(rows):
        up, down = max(r - 1, 0), min(r + 2, rows)
        for k in range(3):
            for scale in range(1, 3):
                for n in range(4):
                    if scale == 1:
                        _copy(cells[n, k, r], sums[n])
                    else:
                        _sum_of_nine(cells[n, k, up:down], wide, sums[n])
                for c in range(columns):
                    nine = (down - up) * (min(c + 2, columns) - max(c - 1, 0))
                    inverse[c] = ONE / (AREA * np.float32(1 if scale == 1 else nine))
                _means_of(sums[0], sums[1], inverse, gap, light)
                _errors_of(sums[2], sums[3], inverse, np.float32(CELL if scale == 1 else 3 * CELL), noise, move)
                for c in range(columns):
                    dark_light[c] = light[c] / gain
                _entries(dark_light, last, entry)
                _look_up(black_dark[k], entry, photometric)
                _add_scaled(photometric, gain * gain, move)
                _entries(light, last, entry)
                _look_up(black_bright[k], entry, photometric)
                _add(photometric, move)
                _look_up(spread[scale, k], entry, photometric)
                _raise_z(gap, light, noise, move, photometric, eps_test, shoulder, squared[r])


@loop
def _add_scaled(row, factor, out):
    for x in range(out.size):
        out[x] += row[x] * factor


@loop
def _means_of(gaps, lights, inverse, gap, light):
    """Means from sums; ``inverse``: of the number of pixels."""
    for c in range(gap.size):
        gap[c] = gaps[c] * inverse[c]
        light[c] = lights[c] * inverse[c]


@loop
def _errors_of(noises, moves, inverse, side, noise, move):
    """Variance of a mean over a square of ``side`` pixels: of noise by pixel, of registration common to a line."""
    for c in range(noise.size):
        noise[c] = noises[c] * inverse[c] * inverse[c]
        move[c] = moves[c] * inverse[c] / side


@loop
def _scaled(row, factor, out):
    for c in range(out.size):
        out[c] = row[c] * factor[c]


@loop
def _sum_of_nine(cells, wide, out):
    """Sums over 3x3 cells, without those beyond the border."""
    wide[:] = ZERO
    for n in range(cells.shape[0]):
        _add(cells[n], wide[1:-1])
    for c in range(out.size):
        out[c] = wide[c] + wide[c + 1] + wide[c + 2]


@loop
def _trust(pixels, cells, valid, threshold, out):
    for x in range(out.size):
        excess = max(np.sqrt(max(pixels[x], cells[x])) - threshold, ZERO)
        out[x] = _exp_of_minus(excess * excess * np.float32(1 / 1.5)) * valid[x]


@loop
def _erode_and_smooth(trust, valid):
    """The least of 3x3 pixels, smoothed by a Gauss of sigma 1 px, where ``valid``; beyond the picture it mirrors."""
    height, width = trust.shape
    eroded, wide = np.empty((height, width), np.float32), np.empty(width + 4, np.float32)
    for y in range(height):
        _least_of_nine(trust[max(y - 1, 0)], trust[y], trust[min(y + 1, height - 1)], wide[1:-1], eroded[y])
    for y in range(height):
        below, two_below = height - 1 - abs(height - 2 - y), height - 1 - abs(height - 3 - y)
        _five_rows(eroded[abs(y - 2)], eroded[abs(y - 1)], eroded[y], eroded[below], eroded[two_below], wide[2:-2])
        wide[1], wide[0] = wide[3], wide[4]
        wide[width + 2], wide[width + 3] = wide[width], wide[width - 1]
        _five_columns(wide, valid[y], trust[y])


@loop
def _least_of_nine(up, middle, down, wide, out):
    for x in range(out.size):
        wide[x + 1] = min(min(up[x], middle[x]), down[x])
    _repeat_ends(wide)
    for x in range(out.size):
        out[x] = min(min(wide[x], wide[x + 1]), wide[x + 2])


@loop
def _five_rows(a, b, c, d, e, out):
    for x in range(out.size):
        out[x] = GAUSS[0] * (a[x] + e[x]) + GAUSS[1] * (b[x] + d[x]) + GAUSS[2] * c[x]


@loop
def _five_columns(wide, valid, out):
    for x in range(out.size):
        far, near = wide[x] + wide[x + 4], wide[x + 1] + wide[x + 3]
        out[x] = min(GAUSS[0] * far + GAUSS[1] * near + GAUSS[2] * wide[x + 2], ONE) * valid[x]


@compiled(
    "void(f4[:,:,:,::1], f4[::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], i8, f4, f4[:,:,::1], f4[:,::1], f4[:,::1],"
    "f4[:,::1])"
)
def merge(frames, exposures, trust, place, variance, white, curve, light, sigma, lost, clipped):
    """Inverse-variance merge of ``frames`` (N, 3, h, w) in their own units, the reference first.

    ``exposures`` (N,): t of each; ``trust``, ``variance`` (N, h, w), the variance of the light in reference units,
    trust 1 for the reference. ``white``: of the reference, see ``_whitened``. ``curve``: relative error of the curve.
    ``place`` (N, h, w): 1 inside a frame, falling to 0 towards its border; beyond it -1 rising to 0, where its edge is
    repeated. Into ``light`` (h, w, 3); ``sigma`` (h, w) in the mu-law domain; ``lost``: how far refused frames left it
    uncertain, ``clipped``: how far every frame is clipped, both from 0 to 1.

        sigma^2 = 1 / (max(1 / V, sum_n T_n c'_n / V_n) / T'(h)^2 + 12 / (1 - T(h))^2) + (curve T'(h) h)^2

    V is the variance of the merge. c' falls to 0 at CLIPPED, later than the taper of the merge, and is 1 for the
    shortest frame. The term in 12: the truth lies between the result and the clip of the shortest frame, anywhere in
    the mu-law domain. No number of frames averages out the error of the curve.

    Near its border a frame loses its share of the merge, not its weight: w' = K d w / (K + (1 - d) w), with K the
    weight of the frames that reach further, so that a frame of a hundred times the weight goes as softly as any.
    """
    count, _, height, width = frames.shape
    shortest = 0
    for n in range(1, count):
        if exposures[n] < exposures[shortest]:
            shortest = n
    scale = exposures[shortest]
    rgb, own = np.empty((3, width), np.float32), np.empty((3, width), np.float32)
    kept, square, every, lowest = _row(width), _row(width), _row(width), _row(width)
    peak, full, whole, weight, bound = _row(width), _row(width), _row(width), _row(width), _row(width)
    trusted, reach, spread, exposure, last = _row(width), _row(width), _row(width), _row(width), _row(width)
    known, slope, mean, law, share = _row(width), _row(width), _row(width), _row(width), _row(width)
    entry = np.empty(width, np.uint32)
    order = np.empty((count, width), np.int32)
    for y in range(height):
        _largest(frames[0, 0, y], frames[0, 1, y], frames[0, 2, y], peak)
        _first_weight(peak, variance[0, y], kept, every)
        _first_square(kept, square)
        _first_known(peak, variance[0, y], known)
        for k in range(3):
            _scaled(frames[0, k, y], kept, rgb[k])
        _copy(peak, lowest)
        fading = _fades(place, y)
        if fading:
            _by_reach(place, y, order)
        for rank in range(1, count):
            if fading:
                frame = order[rank]
                for k in range(3):
                    _pick(frames[:, k], y, frame, own[k])
                _pick(trust, y, frame, trusted)
                _pick(place, y, frame, reach)
                _pick(variance, y, frame, spread)
                for x in range(width):
                    exposure[x] = exposures[frame[x]]
                    last[x] = ONE if frame[x] == shortest else ZERO
            else:
                for k in range(3):
                    _copy(frames[rank, k, y], own[k])
                _copy(trust[rank, y], trusted)
                _copy(place[rank, y], reach)
                _copy(variance[rank, y], spread)
                exposure[:] = exposures[rank]
                last[:] = ONE if rank == shortest else ZERO
            _largest(own[0], own[1], own[2], peak)
            _full_weight(peak, reach, spread, full)
            _trusted_weight(full, trusted, reach, spread, last, weight)
            _add_known(peak, trusted, reach, spread, last, known)
            _copy(weight, whole)
            if fading:
                _fade(kept, reach, weight)
            _add_square(weight, whole, square)
            _add(full, every)
            _add(weight, kept)
            _lower(peak, reach, lowest)
            _divide(weight, exposure, full)
            for k in range(3):
                _add_product(own[k], full, rgb[k])
        for k in range(3):
            _divide(rgb[k], kept, own[k])
        _largest(frames[0, 0, y], frames[0, 1, y], frames[0, 2, y], peak)
        _bound(peak, bound)
        _largest(own[0], own[1], own[2], full)
        _look_around(frames, exposures, place, y, peak, full, bound, own)
        if white != WHITE_NONE:
            _least(frames[0, 0, y], frames[0, 1, y], frames[0, 2, y], spread)
            _largest(own[0], own[1], own[2], full)
            _raise_white(peak, spread, full, weight, bound)
            for k in range(3):
                _multiply_by(weight, own[k])
        for k in range(3):
            _at_least(own[k], frames[0, k, y], bound, rgb[k])
        _every_clip(lowest, clipped[y])
        _show_shortest(frames, exposures, place, y, clipped[y], rgb)
        for x in range(width):
            light[y, x, 0], light[y, x, 1], light[y, x, 2] = rgb[0, x], rgb[1, x], rgb[2, x]
        _mean(rgb[0], rgb[1], rgb[2], mean)
        _slope(mean, scale, slope)
        _lost(slope, kept, square, every, clipped[y], lost[y])
        _position(mean, scale, law)
        _split(law, np.int32(MU_LAW.size - 2), entry, share)
        _look_up(MU_LAW, entry, full)
        _look_up(MU_LAW[1:], entry, weight)
        _mix(full, weight, share, law)
        _known_error(kept, square, known, slope, law, full)
        _sigma(full, mean, slope, curve, lowest, sigma[y])


@loop
def _copy(row, out):
    for x in range(out.size):
        out[x] = row[x]


@loop
def _divide(row, divisor, out):
    for x in range(out.size):
        out[x] = row[x] / divisor[x]


@loop
def _first_weight(peak, variance, kept, every):
    for x in range(kept.size):
        kept[x] = max(_falling(peak[x], TAPER_START, TAPER_END) / variance[x], TINY)
        every[x] = kept[x]


@loop
def _first_square(kept, out):
    """The first term of the sum of w'^2 / w, which is (sum of w')^2 times the variance of the merge."""
    for x in range(out.size):
        out[x] = min(kept[x], kept[x] * kept[x] * CLIPPED_VARIANCE)


@loop
def _add_square(weight, whole, out):
    for x in range(out.size):
        out[x] += weight[x] * weight[x] / whole[x] if whole[x] > ZERO else ZERO


@loop
def _first_known(peak, variance, out):
    for x in range(out.size):
        out[x] = _falling(peak[x], HIGHLIGHTS, CLIPPED) / variance[x]


@loop
def _add_known(peak, trust, reach, variance, last, out):
    for x in range(out.size):
        knows = max(_falling(peak[x], HIGHLIGHTS, CLIPPED), last[x])
        out[x] += knows * trust[x] * max(reach[x], ZERO) / variance[x]


@loop
def _fades(place, y):
    """Whether a frame fades towards its border within a row."""
    fading = False
    for n in range(1, place.shape[0]):
        row = place[n, y]
        for x in range(row.size):
            fading |= (row[x] > ZERO) & (row[x] < ONE)
    return fading


@loop
def _by_reach(place, y, order):
    """Frames by how far they reach, the furthest first, for every pixel of a row."""
    for x in range(place.shape[2]):
        for n in range(1, place.shape[0]):
            at = n
            while at > 1 and place[order[at - 1, x], y, x] < place[n, y, x]:
                order[at, x] = order[at - 1, x]
                at -= 1
            order[at, x] = n


@loop
def _pick(images, y, frame, out):
    for x in range(out.size):
        out[x] = images[frame[x], y, x]


@loop
def _full_weight(peak, reach, variance, out):
    for x in range(out.size):
        full = _falling(peak[x], TAPER_START, TAPER_END) / variance[x]
        out[x] = full if reach[x] > ZERO else ZERO


@loop
def _trusted_weight(full, trust, reach, variance, last, out):
    for x in range(out.size):
        weight = max(full[x] * trust[x], last[x] * LAST_WEIGHT * trust[x] / variance[x])
        out[x] = weight if reach[x] > ZERO else ZERO


@loop
def _fade(kept, reach, weight):
    for x in range(weight.size):
        faded = kept[x] * reach[x] * weight[x] / (kept[x] + (ONE - reach[x]) * weight[x])
        faded = max(faded, min(weight[x] * reach[x], LEAST))
        weight[x] = faded if reach[x] < ONE else weight[x]


@loop
def _lower(peak, reach, lowest):
    for x in range(lowest.size):
        lowest[x] = min(lowest[x], peak[x]) if reach[x] > ZERO else lowest[x]


@loop
def _add_product(row, factor, out):
    for x in range(out.size):
        out[x] += row[x] * factor[x]


@loop
def _bound(peak, out):
    for x in range(out.size):
        out[x] = ONE - _falling(peak[x], BOUND_START, BOUND_END)


@loop
def _look_around(frames, exposures, place, y, peak, largest, bound, mean):
    """Where the merge falls short of a clipped reference, the least that the shortest frame shows a pixel around and
    that may be: registration is a pixel off at most.
    """
    height, width = place.shape[1:]
    for x in range(bound.size):
        if bound[x] > ZERO and largest[x] < SHORTFALL * peak[x]:
            level = _shortest_that_saw(exposures, place, y, x)
            found, near_y, near_x = np.float32(np.inf), 0, 0
            for i in range(max(y - 1, 0), min(y + 2, height)):
                for j in range(max(x - 1, 0), min(x + 2, width)):
                    near = max(max(frames[level, 0, i, j], frames[level, 1, i, j]), frames[level, 2, i, j])
                    near /= exposures[level]
                    if BOUND * peak[x] < near < found and place[level, i, j] > ZERO:
                        found, near_y, near_x = near, i, j
            if level > 0 and found < np.inf:
                for k in range(3):
                    mean[k, x] += (frames[level, k, near_y, near_x] / exposures[level] - mean[k, x]) * bound[x]


@loop
def _shortest_that_saw(exposures, place, y, x):
    level = 0
    for n in range(1, exposures.size):
        if place[n, y, x] > ZERO and exposures[n] < exposures[level]:
            level = n
    return level


@loop
def _least(red, green, blue, out):
    for x in range(out.size):
        out[x] = min(min(red[x], green[x]), blue[x])


@loop
def _raise_white(peak, least, merged, factor, bound):
    """Where all channels of the reference clip, it bounds the brightest alone: white says nothing of the others."""
    for x in range(factor.size):
        raised = max(BOUND * peak[x] / max(merged[x], TINY), ONE)
        factor[x] = raised if least[x] > TAPER_END else ONE
    for x in range(bound.size):
        bound[x] = ZERO if least[x] > TAPER_END else bound[x]


@loop
def _multiply_by(factor, out):
    for x in range(out.size):
        out[x] *= factor[x]


@loop
def _at_least(mean, reference, bound, out):
    for x in range(out.size):
        out[x] = mean[x] + max(BOUND * reference[x] - mean[x], ZERO) * bound[x]


@loop
def _every_clip(lowest, out):
    for x in range(out.size):
        out[x] = ONE - _falling(lowest[x], TAPER_START, TAPER_END)


@loop
def _show_shortest(frames, exposures, place, y, clipped, rgb):
    """Where every frame is clipped, the light of the shortest that saw the pixel, at least what a shorter one's edge
    shows beyond its border.
    """
    for x in range(clipped.size):
        if clipped[x] > ZERO:
            level = _shortest_that_saw(exposures, place, y, x)
            for k in range(3):
                rgb[k, x] += (frames[level, k, y, x] / exposures[level] - rgb[k, x]) * clipped[x]
            for n in range(1, exposures.size):
                if place[n, y, x] < ZERO and exposures[n] < exposures[level]:
                    repeat = -place[n, y, x] * clipped[x]
                    for k in range(3):
                        rgb[k, x] += max(frames[n, k, y, x] / exposures[n] - rgb[k, x], ZERO) * repeat


@loop
def _slope(mean, scale, out):
    """T'(h)."""
    for x in range(out.size):
        out[x] = MU_SLOPE * scale / (ONE + MU * scale * max(mean[x], ZERO))


@loop
def _lost(slope, kept, square, every, clipped, out):
    for x in range(out.size):
        error = slope[x] * np.sqrt(square[x]) / kept[x]
        doubt = min(max(error * (ONE / TAU) - ONE, ZERO), ONE)
        growth = np.sqrt(square[x] * max(every[x], LEAST_KEPT)) / kept[x]
        doubt *= min(max((growth - GROWTH_START) * (ONE / GROWTH_RANGE), ZERO), ONE)
        out[x] = doubt * (ONE - clipped[x])


@loop
def _position(mean, scale, out):
    """Where T(h) stands in its table."""
    for x in range(out.size):
        out[x] = np.sqrt(min(max(mean[x] * scale, ZERO), ONE)) * np.float32(MU_LAW.size - 1)


@loop
def _known_error(kept, square, known, slope, law, out):
    """The squared error of the frames, which the truth's bounds limit."""
    for x in range(out.size):
        rest = max(ONE - law[x], LEAST_REST)
        certainty = max(kept[x] * kept[x] / square[x], known[x]) / (slope[x] * slope[x])
        out[x] = ONE / (certainty + np.float32(12) / (rest * rest))


@loop
def _sigma(squared, mean, slope, curve, lowest, out):
    for x in range(out.size):
        of_curve = curve * slope[x] * mean[x]
        error = min(max(np.sqrt(squared[x] + of_curve * of_curve), np.float32(1e-4)), ONE)
        out[x] = ONE if lowest[x] > CLIPPED else error


@compiled(
    "void(f4[:,:,:,::1], f4[::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,::1], f4[:,::1], f4[:,:,::1],f4[:,:,::1])"
)
def summarise(frames, exposures, trust, place, variance, lost, clipped, out, classical):
    """What the map of blocks at odds needs of every cell, into ``out`` (h / 4, w / 4, 5): mean of ``lost``; the largest
    share in which a shorter frame is refused; share that is clipped in the reference and not in every frame; share that
    is clipped in the reference and unseen by every shorter frame; 1 where two shorter frames confirm one another.
    ``classical`` (h / 4, w / 4, 3): the merge at the first pixel of each cell with every frame trusted.
    """
    count, _, height, width = frames.shape
    rows, columns = height // CELL, width // CELL
    shorter = np.nonzero(exposures < SHORTER)[0]
    peak, seen, unseen, above = _row(width), _row(width), _row(width), _row(width)
    sums = np.empty((3, width), np.float32)  # of lost, contradicted and unseen pixels
    frame_sums = np.empty((count, 7, width), np.float32)  # of refused, seen and trusted pixels, variance and light
    means = np.empty((count, 7, columns), np.float32)
    tops, top = np.empty((count, width), np.float32), np.empty((count, columns), np.float32)
    cell_row = np.empty(columns, np.float32)
    for r in range(rows):
        sums[:] = ZERO
        frame_sums[:] = ZERO
        tops[:] = ZERO
        for y in range(r * CELL, (r + 1) * CELL):
            _largest(frames[0, 0, y], frames[0, 1, y], frames[0, 2, y], peak)
            unseen[:] = ONE
            for n in shorter:
                _see(place[n, y], seen, unseen)
                _add_refused(trust[n, y], seen, frame_sums[n, 0])
                _add(seen, frame_sums[n, 1])
                _add(trust[n, y], frame_sums[n, 2])
                _add(variance[n, y], frame_sums[n, 3])
                for k in range(3):
                    _add(frames[n, k, y], frame_sums[n, 4 + k])
                _largest(frames[n, 0, y], frames[n, 1, y], frames[n, 2, y], above)
                _raise(above, tops[n])
            _add(lost[y], sums[0])
            _add_clipped(peak, clipped[y], unseen, sums[1], sums[2])
        for part in range(3):
            _fold(sums[part], cell_row)
            at = part if part == 0 else part + 1
            for c in range(columns):
                out[r, c, at] = cell_row[c] * (ONE / AREA)
        for n in shorter:
            for part in range(7):
                _fold(frame_sums[n, part], means[n, part])
            _fold_largest(tops[n], top[n])
        for c in range(columns):
            out[r, c, 1] = ZERO
            for n in shorter:
                out[r, c, 1] = max(out[r, c, 1], means[n, 0, c] / AREA)
            out[r, c, 4] = _confirmed(means, top, exposures, shorter, c)
            _classical(frames, exposures, place, variance, r * CELL, c * CELL, classical[r, c])


@loop
def _see(place, seen, unseen):
    for x in range(seen.size):
        seen[x] = ONE if place[x] > ZERO else ZERO
        unseen[x] = min(unseen[x], ONE - seen[x])


@loop
def _add_refused(trust, seen, out):
    for x in range(out.size):
        out[x] += (ONE - trust[x]) * seen[x]


@loop
def _raise(row, out):
    for x in range(out.size):
        out[x] = max(out[x], row[x])


@loop
def _add_clipped(peak, clipped, unseen, contradicted, hidden):
    for x in range(peak.size):
        near = ONE if peak[x] > NEAR_CLIP else ZERO
        contradicted[x] += near if clipped[x] < HALF else ZERO
        hidden[x] += near * unseen[x]


@loop
def _confirmed(sums, top, exposures, shorter, c):
    """1 where two frames that are seen, unclipped and trusted agree on the mean light of cell ``c``, else 0."""
    for i in range(shorter.size):
        n = shorter[i]
        if _speaks(sums, top, n, c):
            for j in range(i):
                m = shorter[j]
                if _speaks(sums, top, m, c):
                    alike = True
                    for k in range(4, 7):
                        a, b = sums[n, k, c] / (exposures[n] * AREA), sums[m, k, c] / (exposures[m] * AREA)
                        model = np.float32(0.015) * (a + b)
                        allowed = (sums[n, 3, c] + sums[m, 3, c]) / (AREA * np.float32(8)) + model * model
                        alike = alike and (a - b) * (a - b) < np.float32(9) * allowed
                    if alike:
                        return ONE
    return ZERO


@loop
def _speaks(sums, top, n, c):
    return sums[n, 1, c] > HALF * AREA and top[n, c] < np.float32(0.9) and sums[n, 2, c] > HALF * AREA


@loop
def _classical(frames, exposures, place, variance, y, x, out):
    out[:] = ZERO
    total = ZERO
    for n in range(exposures.size):
        top = max(max(frames[n, 0, y, x], frames[n, 1, y, x]), frames[n, 2, y, x])
        weight = _falling(top, TAPER_START, TAPER_END) / variance[n, y, x] if place[n, y, x] > ZERO else ZERO
        weight = max(weight, TINY) if n == 0 else weight
        total += weight
        share = weight / exposures[n]
        for k in range(3):
            out[k] += frames[n, k, y, x] * share
    for k in range(3):
        out[k] /= total
