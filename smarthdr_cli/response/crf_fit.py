"""The curve that makes one scene point give one radiance in every frame.

Debevec and Malik 1997, eq. 3, with the radiances eliminated: for a block seen well by frames i and j,
``g(z_i) - g(z_j) = ln t_i - ln t_j`` with ``g = ln f``. Linear in the spline coefficients of prior.py, it is solved by
reweighted least squares: weights from the noise of both codes carried through the present curve, from how flat the
block is (misalignment bites on edges), and Tukey's biweight against what moved.
"""

from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.radiometry import F64
from smarthdr_cli.response.crf_basis import GRID, Prior
from smarthdr_cli.response.samples import Samples

CODE_NOISE = 0.5 / 255.0  # of a block mean: quantisation, JPEG, sensor
SPREAD_SHARE = 0.2  # how much of a block's own spread misalignment can turn into error
MODEL_NOISE = 0.05  # ln; what no curve explains (shading, in-camera colour)
CUTOFF = 4.0  # Tukey's, in standard deviations
BINS = 32  # of the code, over which evidence is spread evenly
BIN_COUNT = 10.0  # samples of one bin, pair and channel that count in full; more are taken as correlated
PAIR_SAMPLES = 5_000
MAX_PAIR_EV = 6.0
MAX_NEIGHBOURS = 3  # of a long stack: pairs further apart add nothing
SHIFT = 0.2  # ln; prior standard deviation of a stated exposure's error, where it may have one
MIN_SLOPE = 0.02  # of ln f per grid step of s, in units of the mean slope: the floor that keeps f rising


@dataclass(frozen=True)
class Rows:
    """Pairwise equations of one channel and pair: the blocks they are ``at``, grid codes of both, spreads, and ln of
    the exposure ratio."""

    pair: tuple[int, int]
    channel: int
    at: NDArray[np.intp]
    low: NDArray[np.intp]
    high: NDArray[np.intp]
    spread_low: F64
    spread_high: F64
    ratio: float  # ln t_low - ln t_high


@dataclass(frozen=True)
class Fit:
    """A solution.

    ``log_factor``, ``log_curve``: (3, GRID + 1) ln(f / srgb) and ln f at every grid code. Per Rows: ``weights``, the
    final robust weights in [0, 1]; ``residuals`` (ln); ``sigmas``, the standard deviation expected of them (ln).
    ``shifts``: (N,) EV added to the stated exposures, all 0 unless the fit was free to (see balance.py).
    """

    log_factor: F64
    log_curve: F64
    rows: tuple[Rows, ...]
    weights: tuple[F64, ...]
    residuals: tuple[F64, ...]
    sigmas: tuple[F64, ...]
    shifts: F64


def frame_pairs(evs: F64) -> list[tuple[int, int]]:
    """Pairs (darker, brighter) of frames, by sorted exposure, that can tell of the curve."""
    pairs = combinations(range(len(evs)), 2)
    return [(i, j) for i, j in pairs if j - i <= MAX_NEIGHBOURS and 0.2 <= evs[j] - evs[i] <= MAX_PAIR_EV]


def make_rows(samples: Samples, evs: F64) -> tuple[Rows, ...]:
    """Every usable equation of ``samples``, thinned evenly to PAIR_SAMPLES per pair and channel."""
    rows = []
    pairs = frame_pairs(evs)
    limit = max(500, min(PAIR_SAMPLES, 40_000 // max(1, len(pairs))))
    for i, j in pairs:
        for channel in range(3):
            use = np.flatnonzero(samples.good[i, :, channel] & samples.good[j, :, channel])
            if len(use) > limit:
                use = use[np.linspace(0, len(use) - 1, limit).astype(int)]
            if not len(use):
                continue
            low, high = (np.rint(samples.code[n, use, channel] * GRID).astype(np.intp) for n in (i, j))
            spreads = [samples.spread[n, use, channel].astype(np.float64) for n in (i, j)]
            ratio = float((evs[i] - evs[j]) * np.log(2.0))
            rows.append(Rows((i, j), channel, use, low, high, spreads[0], spreads[1], ratio))
    return tuple(rows)


def solve(rows: tuple[Rows, ...], prior: Prior, freedom: F64, rounds: int = 12) -> Fit:
    """Reweighted least squares from the sRGB curve on. ``rows`` must not be empty.

    ``freedom``: (N, m) orthonormal directions in which the N stated exposures may be shifted too; m = 0 takes them as
    they are. The shifts are eliminated from the normal equations (Schur complement), so that the curve keeps rising.
    """
    n = prior.basis.shape[1]
    coefficients, shifts = np.zeros(3 * n), np.zeros(len(freedom))
    targets = [r.ratio - (prior.log_srgb[r.low] - prior.log_srgb[r.high]) for r in rows]
    systems = [
        np.column_stack([prior.basis[r.low] - prior.basis[r.high], np.ones(len(t)), t])
        for r, t in zip(rows, targets, strict=True)
    ]
    steps = [freedom[r.pair[1]] - freedom[r.pair[0]] for r in rows]
    scale = 1.0  # multiplies the cutoff; large while the curve is still wrong
    weights: list[F64] = []
    residuals: list[F64] = []
    sigmas: list[F64] = []
    for turn in range(rounds + 1):
        factor = np.einsum("cn,gn->cg", coefficients.reshape(3, n), prior.basis)
        curves = prior.log_srgb + factor
        normal, right = prior.precision.copy(), np.zeros(3 * n)
        mixed, inner = np.zeros((3 * n, freedom.shape[1])), np.eye(freedom.shape[1]) / SHIFT**2
        inner_right = np.zeros(freedom.shape[1])
        weights, residuals, sigmas = [], [], []
        for row in rows:
            curve = curves[row.channel]
            stated = row.ratio + shifts[row.pair[0]] - shifts[row.pair[1]]
            residuals.append(stated - (curve[row.low] - curve[row.high]))
            sigmas.append(noise(row, curves[row.channel]))
        scaled = [np.abs(residual) / sigma for residual, sigma in zip(residuals, sigmas, strict=True)]
        spread = max(1.0, float(np.median(np.concatenate(scaled))) / 0.6745)
        scale = spread * max(1.0, 3.0 * (1.0 - turn / (0.6 * rounds)))
        for row, system, step, sigma, z in zip(rows, systems, steps, sigmas, scaled, strict=True):
            own = slice(row.channel * n, (row.channel + 1) * n)
            robust = np.maximum(1.0 - (z / (CUTOFF * scale)) ** 2, 0.0) ** 2
            weights.append(robust)
            weight = robust * _even(row, robust) / (sigma * spread) ** 2
            # OpenCV's product of a matrix with itself: one thread, where a threaded BLAS would spin on so small a one.
            gram = cv2.mulTransposed(system * np.sqrt(weight)[:, None], True)
            normal[own, own] += gram[:n, :n]
            right[own] += gram[:n, n + 1]
            mixed[own] += np.outer(gram[:n, n], step)
            inner += gram[n, n] * np.outer(step, step)
            inner_right += gram[n, n + 1] * step
        if turn < rounds:
            back = np.linalg.solve(inner, mixed.T)
            coefficients = _rising(normal - mixed @ back, right - back.T @ inner_right, prior)
            shifts = freedom @ np.linalg.solve(inner, inner_right - mixed.T @ coefficients)
    return Fit(factor, curves, rows, tuple(weights), tuple(residuals), tuple(sigmas), np.asarray(shifts / np.log(2.0)))


def noise(row: Rows, log_curve: F64) -> F64:
    """Standard deviation (ln) of each residual under the curve."""
    slope = np.gradient(log_curve) * GRID
    low = slope[row.low] ** 2 * (CODE_NOISE**2 + (SPREAD_SHARE * row.spread_low) ** 2)
    high = slope[row.high] ** 2 * (CODE_NOISE**2 + (SPREAD_SHARE * row.spread_high) ** 2)
    return np.sqrt(low + high + MODEL_NOISE**2)


def _even(row: Rows, robust: F64) -> F64:
    """Weight that lets no code range outshout the others: BIN_COUNT samples of a bin count, however many it has."""
    bins = np.minimum((row.low + row.high) * BINS // (2 * GRID), BINS - 1)
    count = np.bincount(bins, robust, BINS)
    return np.asarray(np.minimum(1.0, BIN_COUNT / np.maximum(count, 1.0))[bins])


def _rising(normal: F64, right: F64, prior: Prior) -> F64:
    """Least squares with f rising everywhere: violated steps become equations until none is left (active set)."""
    n = prior.basis.shape[1]
    stops = np.unique(np.rint(np.linspace(0.0, 1.0, 65) ** 1.5 * GRID).astype(int))
    steps = np.diff(prior.basis[stops], axis=0)
    start = np.diff(prior.log_srgb[stops])
    least = MIN_SLOPE * np.maximum(start, 1e-3)
    active = np.zeros((3, len(steps)), bool)
    for _ in range(30):
        held, goal = normal.copy(), right.copy()
        for c in range(3):
            own = slice(c * n, (c + 1) * n)
            rows = steps[active[c]]
            held[own, own] += 1e6 * rows.T @ rows
            goal[own] += 1e6 * rows.T @ (least - start)[active[c]]
        coefficients = np.linalg.solve(held, goal)
        broken = np.stack([start + steps @ coefficients[c * n : (c + 1) * n] < 0.5 * least for c in range(3)])
        if not (broken & ~active).any():
            break
        active |= broken
    return np.asarray(coefficients, np.float64)
