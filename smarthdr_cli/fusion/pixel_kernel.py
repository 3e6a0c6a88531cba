"""The per-pixel part of a fusion as compiled loops: noise, agreement, merge.

Arrays are windows of the picture whose corner and sides are multiples of CELL pixels, C-contiguous float32, (h, w, 3)
or (h, w). Means over 4 pixels are those of cells, means over 12 of three by three cells, so every sum has an order
fixed by the picture, and a pixel does not depend on the window it is computed in (given a margin of MARGIN pixels).
Tables are over sqrt(x), see noise_model.py.
"""

from typing import Any

import numba
import numpy as np

CELL = 4  # px
MARGIN = 24  # px that a window reaches beyond what is kept of it
BLACK_CODES = 8.0  # over which JPEG's error falls from D: blocks near black are rounded to nothing, activity and all
CLIPPED = 0.985  # of the clip of a frame, from which its light is only a lower bound
HIGHLIGHTS = 0.9  # of the clip, from which what a frame knows falls to nothing at CLIPPED
LEAST_REST = 0.05  # of the mu-law domain, between a result and the clip of the shortest frame
CLIPPED_VARIANCE = 100.0  # of a clipped reference's light, squared clip units: sigma 1 where nothing else is known
WHITE_NONE, WHITE_CAMERA, WHITE_RAW = 0, 1, 2  # how clipped highlights lose their colour, see _whitened
SMOOTH = (1.0, 2.0, 1.0)  # of neighbouring cells, for the activity that JPEG's error depends on


def compiled(function: Any) -> Any:
    """Compiled by numba without the GIL, cached on disk where there is a place for it."""
    return numba.njit(nogil=True, cache=True, error_model="numpy")(function)


@compiled
def _index(x, entries):
    x = min(max(x, np.float32(0)), np.float32(1))
    return int(np.sqrt(x) * np.float32(entries - 1) + np.float32(0.5))


@compiled
def _falling(level, start, end):
    t = min(max((level - start) / (end - start), np.float32(0)), np.float32(1))
    return np.float32(1) - t * t * (3 - 2 * t)


@compiled
def _whitened(over, peak, white):
    """Share of the way to white that a highlight may be lifted, its brightest channel ``over`` times the clip.

    Cameras take the colour out of a highlight as its brightest channel clips (WHITE_CAMERA): on a compact camera's
    stack 0.3 of the way at 1.35 times the clip, 0.7 to 0.8 at 6 to 7 times, so at most 1 - over^-1.5. A clipped pixel
    of a RAW reads 1 in all channels (WHITE_RAW).
    """
    clipped = np.float32(1) - _falling(peak, np.float32(0.8), np.float32(0.97))
    if white == WHITE_RAW:
        return clipped
    over = max(over, np.float32(1))
    return clipped * (np.float32(1) - np.float32(1) / (over * np.sqrt(over)))


@compiled
def noise_variance(light, variance, code, squared_worth, jpeg_luma, jpeg_chroma, smooth, out):
    """Var(x) (h, w, 3) of a frame into ``out``; ``smooth``: at the mean of 3x3 pixels instead of the noisy pixel."""
    height, width = light.shape[:2]
    rows, columns, entries = height // CELL, width // CELL, variance.shape[1]
    error = np.zeros((rows, columns, 3), np.float32)
    if jpeg_luma > 0:
        # Sums of codes and their squares, and of codes less their mean over channels and their squares.
        moments = np.zeros((rows, columns, 12), np.float32)
        value = np.empty(3, np.float32)
        for r in range(rows):
            for c in range(columns):
                for y in range(r * CELL, (r + 1) * CELL):
                    for x in range(c * CELL, (c + 1) * CELL):
                        for k in range(3):
                            value[k] = code[k, _index(light[y, x, k], entries)]
                        mean = (value[0] + value[1] + value[2]) / np.float32(3)
                        for k in range(3):
                            hue = value[k] - mean
                            moments[r, c, k] += value[k]
                            moments[r, c, 3 + k] += value[k] * value[k]
                            moments[r, c, 6 + k] += hue
                            moments[r, c, 9 + k] += hue * hue
        total = np.empty(12, np.float32)
        for r in range(rows):
            for c in range(columns):
                total[:] = 0
                mass = np.float32(0)
                for i in range(-1, 2):
                    for j in range(-1, 2):
                        y, x = min(max(r + i, 0), rows - 1), min(max(c + j, 0), columns - 1)
                        weight = np.float32(SMOOTH[i + 1] * SMOOTH[j + 1])
                        mass += weight * CELL * CELL
                        for k in range(12):
                            total[k] += weight * moments[y, x, k]
                for k in range(3):
                    luma = max(total[3 + k] / mass - (total[k] / mass) ** 2, np.float32(0))
                    hue = max(total[9 + k] / mass - (total[6 + k] / mass) ** 2, np.float32(0))
                    error[r, c, k] = jpeg_luma * luma / (luma + jpeg_luma)
                    error[r, c, k] += jpeg_luma * np.exp(-total[k] / (mass * np.float32(BLACK_CODES)))
                    if jpeg_chroma > 0:
                        error[r, c, k] += jpeg_chroma / 4 * hue / (hue + jpeg_chroma / 4)
    for y in range(height):
        for x in range(width):
            for k in range(3):
                level = light[y, x, k]
                if smooth:
                    level = np.float32(0)
                    for i in range(-1, 2):
                        for j in range(-1, 2):
                            level += light[min(max(y + i, 0), height - 1), min(max(x + j, 0), width - 1), k]
                    level /= np.float32(9)
                at = _index(level, entries)
                out[y, x, k] = variance[k, at] + squared_worth[k, at] * error[y // CELL, x // CELL, k]


@compiled
def apply_gain(light, grid, nodes, exposure, top, left, height, width):
    """Multiply ``light`` (h, w, 3) by the photometric grid (places, places, lights, 3) of the whole picture's
    ``height`` and ``width``, in place; ``nodes`` (ENTRIES,): position along the lights of x ``exposure``, over sqrt.
    What clips stays clipped: the gain fades to 1 from 0.9 of the clip.
    """
    places, lights, entries = grid.shape[0], grid.shape[2], nodes.shape[0]
    table = np.empty((lights, 3), np.float32)
    for r in range(light.shape[0] // CELL):
        v = min(np.float32(top + r * CELL + 1.5) / np.float32(max(height - 1, 1)), np.float32(1)) * (places - 1)
        i = min(int(v), places - 2)
        v -= i
        for c in range(light.shape[1] // CELL):
            u = min(np.float32(left + c * CELL + 1.5) / np.float32(max(width - 1, 1)), np.float32(1)) * (places - 1)
            j = min(int(u), places - 2)
            u -= j
            for n in range(lights):
                for k in range(3):
                    above = grid[i, j, n, k] * (1 - u) + grid[i, j + 1, n, k] * u
                    below = grid[i + 1, j, n, k] * (1 - u) + grid[i + 1, j + 1, n, k] * u
                    table[n, k] = above * (1 - v) + below * v
            for y in range(r * CELL, (r + 1) * CELL):
                for x in range(c * CELL, (c + 1) * CELL):
                    mean = (light[y, x, 0] + light[y, x, 1] + light[y, x, 2]) / np.float32(3)
                    at = nodes[_index(mean, entries)]
                    n = min(int(at), lights - 2)
                    share = at - n
                    peak = max(light[y, x, 0], light[y, x, 1], light[y, x, 2])
                    fade = _falling(peak, np.float32(0.9), np.float32(0.97))
                    for k in range(3):
                        gain = table[n, k] * (1 - share) + table[n + 1, k] * share
                        light[y, x, k] *= 1 + (gain - 1) * fade


@compiled
def agreement(
    ref, other, var_ref, var_other, black_ref, black_other, ratio, spread, residue, eps_test, shoulder, eps_merge,
    threshold, white, valid,
    trust, total,
):  # fmt: skip
    """Trust before it is smoothed, (h, w), into ``trust``; total variance of the other frame's light in units of the
    first into ``total``.

    ``ref``, ``other``: (h, w, 3) in their own units, ``ratio`` = exposure of the other / of the first. ``spread``: (3
    scales, 3, ENTRIES) squared photometric spread at the brighter frame's exposure. ``black_ref``, ``black_other`` (3,
    ENTRIES): variance common to a block near black. ``residue``: (h / 4, w / 4)
    delta^2. ``eps_test``: relative error of the model, rising by ``shoulder`` towards the clip of the brighter frame.
    ``threshold``: z up to which trust is 1. ``white``: see ``_whitened``.
    """
    height, width = ref.shape[:2]
    rows, columns, entries = height // CELL, width // CELL, spread.shape[2]
    brighter = ratio > 1  # the other frame is the brighter one
    gain = ratio if brighter else np.float32(1) / ratio
    one = np.float32(1)
    black_dark, black_bright = (black_ref, black_other) if brighter else (black_other, black_ref)
    lifted = np.empty((height, width, 3), np.float32)
    gap = np.empty((height, width, 3), np.float32)
    noise = np.empty((height, width, 3), np.float32)
    for y in range(height):
        for x in range(width):
            for k in range(3):
                if brighter:
                    dark, bright, vd, vb = ref[y, x, k], other[y, x, k], var_ref[y, x, k], var_other[y, x, k]
                else:
                    dark, bright, vd, vb = other[y, x, k], ref[y, x, k], var_other[y, x, k], var_ref[y, x, k]
                high = one
                if brighter:  # what the other frame does not clip, the first may contradict beyond its clip
                    high += np.float32(0.5) * _falling(bright, np.float32(0.85), np.float32(0.97))
                high = min(dark * gain, high)
                lifted[y, x, k] = high
                gap[y, x, k] = high - min(bright, one)
                noise[y, x, k] = vb + gain * gain * vd
            if white != WHITE_NONE:
                dark_peak = max(ref[y, x, 0], ref[y, x, 1], ref[y, x, 2])
                peak = max(other[y, x, 0], other[y, x, 1], other[y, x, 2])
                if not brighter:
                    dark_peak, peak = peak, dark_peak
                if peak > np.float32(0.8):
                    most = _whitened(dark_peak * gain, peak, white)
                    for k in range(3):
                        if gap[y, x, k] < 0:
                            gap[y, x, k] = min(gap[y, x, k] + most * (one - lifted[y, x, k]), np.float32(0))
    move = np.empty((height, width, 3), np.float32)  # delta^2 |grad|^2
    for y in range(height):
        up, down = max(y - 1, 0), min(y + 1, height - 1)
        for x in range(width):
            before, after = max(x - 1, 0), min(x + 1, width - 1)
            delta = residue[y // CELL, x // CELL]
            for k in range(3):
                across = (
                    lifted[up, after, k] - lifted[up, before, k] + lifted[down, after, k] - lifted[down, before, k]
                    + 2 * (lifted[y, after, k] - lifted[y, before, k])
                ) / np.float32(8)  # fmt: skip
                along = (
                    lifted[down, before, k] - lifted[up, before, k] + lifted[down, after, k] - lifted[up, after, k]
                    + 2 * (lifted[down, x, k] - lifted[up, x, k])
                ) / np.float32(8)  # fmt: skip
                move[y, x, k] = delta * (across * across + along * along)
    sums = np.zeros((rows, columns, 12), np.float32)  # of gap, light, noise and move
    for r in range(rows):
        for c in range(columns):
            for y in range(r * CELL, (r + 1) * CELL):
                for x in range(c * CELL, (c + 1) * CELL):
                    for k in range(3):
                        sums[r, c, k] += gap[y, x, k]
                        sums[r, c, 3 + k] += lifted[y, x, k]
                        sums[r, c, 6 + k] += noise[y, x, k]
                        sums[r, c, 9 + k] += move[y, x, k]
    squared = np.zeros((rows, columns), np.float32)  # z^2 of the means over 4 and 12 px
    for r in range(rows):
        for c in range(columns):
            for k in range(3):
                scale = np.float32(1) / np.float32(CELL * CELL)
                light = sums[r, c, 3 + k] * scale
                allowed = max(sums[r, c, 6 + k] * scale * scale, spread[1, k, _index(light, entries)])
                eps = eps_test + shoulder * (one - _falling(light, np.float32(0.7), np.float32(0.9)))
                allowed += sums[r, c, 9 + k] * scale / CELL + (eps * light) ** 2 + np.float32(1e-9)
                allowed += gain * gain * black_dark[k, _index(light / gain, entries)]
                allowed += black_bright[k, _index(light, entries)]
                squared[r, c] = max(squared[r, c], (sums[r, c, k] * scale) ** 2 / allowed)
                gap_sum = light_sum = noise_sum = move_sum = np.float32(0)
                count = 0
                for i in range(max(r - 1, 0), min(r + 2, rows)):
                    for j in range(max(c - 1, 0), min(c + 2, columns)):
                        gap_sum += sums[i, j, k]
                        light_sum += sums[i, j, 3 + k]
                        noise_sum += sums[i, j, 6 + k]
                        move_sum += sums[i, j, 9 + k]
                        count += CELL * CELL
                scale = np.float32(1) / np.float32(count)
                light = light_sum * scale
                allowed = max(noise_sum * scale * scale, spread[2, k, _index(light, entries)])
                eps = eps_test + shoulder * (one - _falling(light, np.float32(0.7), np.float32(0.9)))
                allowed += move_sum * scale / (3 * CELL) + (eps * light) ** 2 + np.float32(1e-9)
                allowed += gain * gain * black_dark[k, _index(light / gain, entries)]
                allowed += black_bright[k, _index(light, entries)]
                squared[r, c] = max(squared[r, c], (gap_sum * scale) ** 2 / allowed)
    for y in range(height):
        v = min(max((np.float32(y) - np.float32(1.5)) / CELL, np.float32(0)), np.float32(rows - 1))
        i = min(int(v), max(rows - 2, 0))
        i1 = min(i + 1, rows - 1)
        v -= i
        for x in range(width):
            u = min(max((np.float32(x) - np.float32(1.5)) / CELL, np.float32(0)), np.float32(columns - 1))
            j = min(int(u), max(columns - 2, 0))
            j1 = min(j + 1, columns - 1)
            u -= j
            z = ((squared[i, j] * (1 - u) + squared[i, j1] * u) * (1 - v)
                 + (squared[i1, j] * (1 - u) + squared[i1, j1] * u) * v)  # fmt: skip
            photometric = moved = variance = mean = np.float32(0)
            up, down, before, after = max(y - 1, 0), min(y + 1, height - 1), max(x - 1, 0), min(x + 1, width - 1)
            delta = residue[y // CELL, x // CELL]
            for k in range(3):
                light = lifted[y, x, k]
                at = _index(light, entries)
                allowed = max(noise[y, x, k], spread[0, k, at]) + move[y, x, k]
                eps = eps_test + shoulder * (one - _falling(light, np.float32(0.7), np.float32(0.9)))
                allowed += (eps * light) ** 2 + np.float32(1e-9)
                z = max(z, gap[y, x, k] ** 2 / allowed)
                wide = sums[y // CELL, x // CELL, 3 + k] / np.float32(CELL * CELL)
                photometric += np.sqrt(spread[2, k, _index(wide, entries)])
                # The other frame's own gradient: above the clip of the first, only it has one.
                across = (
                    other[up, after, k] - other[up, before, k] + other[down, after, k] - other[down, before, k]
                    + 2 * (other[y, after, k] - other[y, before, k])
                ) / np.float32(8)  # fmt: skip
                along = (
                    other[down, before, k] - other[up, before, k] + other[down, after, k] - other[up, after, k]
                    + 2 * (other[down, x, k] - other[up, x, k])
                ) / np.float32(8)  # fmt: skip
                moved += delta * (across * across + along * along)
                variance += var_other[y, x, k]
                mean += other[y, x, k]
            excess = max(np.sqrt(z) - threshold, np.float32(0))
            trust[y, x] = np.exp(-excess * excess / np.float32(1.5)) * valid[y, x]
            unit = max(ratio, one)
            third = np.float32(1 / 3)
            mean *= third / ratio
            photometric *= third / unit * max(mean * min(ratio, one), one)  # relative, above the first frame's clip
            total[y, x] = ((variance + moved) * third / (ratio * ratio) + photometric * photometric
                           + (eps_merge * mean) ** 2)  # fmt: skip


@compiled
def merge(frames, exposures, trust, place, variance, white, curve, light, sigma, lost, clipped):
    """Inverse-variance merge of ``frames`` (N, h, w, 3) in their own units, the reference first.

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
    count, height, width = frames.shape[:3]
    shortest = 0
    for n in range(1, count):
        if exposures[n] < exposures[shortest]:
            shortest = n
    scale = exposures[shortest]
    start, end, one, tiny = np.float32(0.80), np.float32(0.97), np.float32(1), np.float32(1e-12)
    done = np.zeros(count, np.bool_)
    for y in range(height):
        for x in range(width):
            peak = max(frames[0, y, x, 0], frames[0, y, x, 1], frames[0, y, x, 2])
            kept = max(_falling(peak, start, end) / variance[0, y, x], tiny)
            every = kept
            # square: sum of w'^2 / w, which is (sum of w')^2 times the variance of the merge.
            square = min(kept, kept * kept * np.float32(CLIPPED_VARIANCE))
            r, g, b = frames[0, y, x, 0] * kept, frames[0, y, x, 1] * kept, frames[0, y, x, 2] * kept
            known = _falling(peak, np.float32(HIGHLIGHTS), np.float32(CLIPPED)) / variance[0, y, x]
            lowest = peak
            level, level_t = 0, one
            done[:] = False
            for _ in range(1, count):
                n, most = 0, np.float32(0)  # of what is left, the frame that reaches furthest
                for i in range(1, count):
                    if not done[i] and place[i, y, x] > most:
                        n, most = i, place[i, y, x]
                if n == 0:
                    break
                done[n] = True
                top = max(frames[n, y, x, 0], frames[n, y, x, 1], frames[n, y, x, 2])
                full = _falling(top, start, end) / variance[n, y, x]
                weight = full * trust[n, y, x]
                knows = _falling(top, np.float32(HIGHLIGHTS), np.float32(CLIPPED))
                if n == shortest:
                    knows = one
                    weight = max(weight, np.float32(1e-5) * trust[n, y, x] / variance[n, y, x])
                known += knows * trust[n, y, x] * most / variance[n, y, x]
                every += full
                full = weight
                if most < one:
                    faded = kept * most * weight / (kept + (one - most) * weight)
                    weight = max(faded, min(weight * most, np.float32(1e-9)))
                if full > 0:
                    square += weight * weight / full
                share = weight / exposures[n]
                r += frames[n, y, x, 0] * share
                g += frames[n, y, x, 1] * share
                b += frames[n, y, x, 2] * share
                kept += weight
                lowest = min(lowest, top)
                if exposures[n] < level_t:
                    level, level_t = n, exposures[n]
            r, g, b = r / kept, g / kept, b / kept
            bound = one - _falling(peak, np.float32(0.9), np.float32(0.99))
            if bound > 0 and max(r, g, b) < np.float32(0.95) * peak and level > 0:
                # Registration is a pixel off at most: the least that the shortest frame shows around it and may be.
                found = np.float32(1e9)
                for i in range(max(y - 1, 0), min(y + 2, height)):
                    for j in range(max(x - 1, 0), min(x + 2, width)):
                        near = max(frames[level, i, j, 0], frames[level, i, j, 1], frames[level, i, j, 2]) / level_t
                        if near > np.float32(0.985) * peak and near < found and place[level, i, j] > 0:
                            found = near
                            near_y, near_x = i, j
                if found < np.float32(1e9):
                    r += (frames[level, near_y, near_x, 0] / level_t - r) * bound
                    g += (frames[level, near_y, near_x, 1] / level_t - g) * bound
                    b += (frames[level, near_y, near_x, 2] / level_t - b) * bound
            if white != WHITE_NONE and min(frames[0, y, x, 0], frames[0, y, x, 1], frames[0, y, x, 2]) > np.float32(
                0.97
            ):
                raised = max(np.float32(0.985) * peak / max(r, g, b, tiny), one)  # white bounds the brightest alone
                r, g, b = r * raised, g * raised, b * raised
                bound = np.float32(0)
            r += max(np.float32(0.985) * frames[0, y, x, 0] - r, np.float32(0)) * bound
            g += max(np.float32(0.985) * frames[0, y, x, 1] - g, np.float32(0)) * bound
            b += max(np.float32(0.985) * frames[0, y, x, 2] - b, np.float32(0)) * bound
            full_clip = one - _falling(lowest, start, end)
            if full_clip > 0:
                r += (frames[level, y, x, 0] / level_t - r) * full_clip
                g += (frames[level, y, x, 1] / level_t - g) * full_clip
                b += (frames[level, y, x, 2] / level_t - b) * full_clip
                for n in range(1, count):  # beyond the border of what saw more, its edge is repeated
                    if place[n, y, x] < 0 and exposures[n] < level_t:
                        repeat = -place[n, y, x] * full_clip
                        r += max(frames[n, y, x, 0] / exposures[n] - r, np.float32(0)) * repeat
                        g += max(frames[n, y, x, 1] / exposures[n] - g, np.float32(0)) * repeat
                        b += max(frames[n, y, x, 2] / exposures[n] - b, np.float32(0)) * repeat
            light[y, x, 0], light[y, x, 1], light[y, x, 2] = r, g, b
            mean = max((r + g + b) / np.float32(3), np.float32(0))
            slope = np.float32(5000 / np.log(5001.0)) * scale / (1 + 5000 * scale * mean)
            error = slope * np.sqrt(square) / kept
            agreed = slope / np.sqrt(max(every, np.float32(1e-14)))
            tau = np.float32(0.005)
            doubt = min(max((error - tau) / tau, np.float32(0)), one)
            doubt *= min(max((error / agreed - np.float32(1.3)) / np.float32(0.4), np.float32(0)), one)
            lost[y, x] = doubt * (one - full_clip)
            clipped[y, x] = full_clip
            rest = max(one - np.log(1 + 5000 * scale * mean) / np.float32(np.log(5001.0)), np.float32(LEAST_REST))
            known = max(kept * kept / square, known) / (slope * slope) + np.float32(12) / (rest * rest)
            error = np.sqrt(one / known + (curve * slope * mean) ** 2)
            sigma[y, x] = one if lowest > np.float32(CLIPPED) else min(max(error, np.float32(1e-4)), one)


@compiled
def summarise(frames, exposures, trust, place, variance, lost, clipped, out, classical):
    """What the map of blocks at odds needs of every cell, into ``out`` (h / 4, w / 4, 5): mean of ``lost``; the largest
    share in which a shorter frame is refused; share that is clipped in the reference and not in every frame; share that
    is clipped in the reference and unseen by every shorter frame; 1 where two shorter frames confirm one another.
    ``classical`` (h / 4, w / 4, 3): the merge at the first pixel of each cell with every frame trusted.
    """
    count, height, width = frames.shape[:3]
    one = np.float32(1)
    area = np.float32(CELL * CELL)
    mean = np.empty((count, 3), np.float32)
    spread = np.empty(count, np.float32)
    speaks = np.empty(count, np.bool_)
    for r in range(height // CELL):
        for c in range(width // CELL):
            out[r, c, :] = 0
            total = np.float32(0)
            classical[r, c, :] = 0
            for n in range(count):
                y, x = r * CELL, c * CELL
                top = max(frames[n, y, x, 0], frames[n, y, x, 1], frames[n, y, x, 2])
                weight = _falling(top, np.float32(0.80), np.float32(0.97)) / variance[n, y, x] * (place[n, y, x] > 0)
                weight = max(weight, np.float32(1e-12) if n == 0 else np.float32(0))
                total += weight
                for k in range(3):
                    classical[r, c, k] += frames[n, y, x, k] / exposures[n] * weight
            for k in range(3):
                classical[r, c, k] /= total
            for y in range(r * CELL, (r + 1) * CELL):
                for x in range(c * CELL, (c + 1) * CELL):
                    out[r, c, 0] += lost[y, x] / area
                    if max(frames[0, y, x, 0], frames[0, y, x, 1], frames[0, y, x, 2]) > np.float32(0.85):
                        if clipped[y, x] < np.float32(0.5):
                            out[r, c, 2] += one / area
                        unseen = True
                        for n in range(1, count):
                            unseen = unseen and (exposures[n] >= np.float32(0.8) or place[n, y, x] <= 0)
                        if unseen:
                            out[r, c, 3] += one / area
            for n in range(1, count):
                speaks[n] = False
                if exposures[n] >= np.float32(0.8):
                    continue
                refused = seen = top = trusted = np.float32(0)
                mean[n, :] = 0
                spread[n] = 0
                for y in range(r * CELL, (r + 1) * CELL):
                    for x in range(c * CELL, (c + 1) * CELL):
                        if place[n, y, x] > 0:
                            seen += one / area
                            refused += (one - trust[n, y, x]) / area
                        trusted += trust[n, y, x] / area
                        peak = np.float32(0)
                        for k in range(3):
                            mean[n, k] += frames[n, y, x, k] / (exposures[n] * area)
                            peak = max(peak, frames[n, y, x, k])
                        top = max(top, peak)
                        spread[n] += variance[n, y, x] / area
                out[r, c, 1] = max(out[r, c, 1], refused)
                speaks[n] = seen > np.float32(0.5) and top < np.float32(0.9) and trusted > np.float32(0.5)
                if speaks[n]:
                    for m in range(1, n):
                        if not speaks[m]:
                            continue
                        alike = True
                        for k in range(3):
                            allowed = (spread[n] + spread[m]) / 8
                            allowed += (np.float32(0.015) * (mean[n, k] + mean[m, k])) ** 2
                            alike = alike and (mean[n, k] - mean[m, k]) ** 2 < 9 * allowed
                        if alike:
                            out[r, c, 4] = one
