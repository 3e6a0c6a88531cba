"""Least squares for the camera response under which every scene point has one radiance in all frames.

    ln f(z_i) - ln f(z_j) = ln t_i - ln t_j

z are the codes of a block in frames i and j, t the exposures: Debevec and Malik 1997, eq. 3, with the radiances
eliminated. The equations are linear in the spline coefficients of `crf_basis` and solved by iteratively reweighted
least squares. An equation's weight comes from the noise of both codes through the present curve, from the contrast
within the block (misalignment acts on edges) and from Tukey's biweight (outliers move).

Pixels determine the exposures only in part: f and f^p explain the same codes with every log ratio times p (Grossberg
and Nayar 2003). The fit may also shift the exposures along the directions that pixels do determine
(`observable_directions`); such shifts measure a contradiction between the stated exposures, whatever the curve.
"""

from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.radiometry import F64
from smarthdr_cli.response.crf_basis import GRID, Prior
from smarthdr_cli.response.samples import Samples

CODE_SIGMA = 0.5 / 255.0  # of a block mean, in codes of white: quantisation, JPEG, sensor
CONTRAST_SIGMA = 0.2  # of a block mean, times the spread within the block: misalignment
MODEL_SIGMA = 0.05  # ln; what no curve explains (shading, in-camera colour)
TUKEY_CUTOFF = 4.0  # standard deviations
CODE_BINS = 32
SAMPLES_PER_BIN = 10.0  # of one pair and channel that count in full; more are taken as correlated
MAX_PAIR_EQUATIONS = 2_000
MIN_PAIR_EQUATIONS = 500
MAX_EQUATIONS = 40_000  # a channel, over all pairs
MIN_PAIR_EV, MAX_PAIR_EV = 0.2, 6.0
MAX_NEIGHBOURS = 3  # places apart in a long burst; pairs further apart add nothing
SHIFT_SIGMA = 0.2  # ln; prior standard deviation of the error of a stated exposure
MIN_SLOPE = 0.02  # of ln f, as a share of the slope of ln srgb: keeps f rising
MIN_LINK_EQUATIONS = 300  # that connect two frames
ROUNDS = 12


@dataclass(frozen=True)
class PairEquations:
    """The equations of one channel between a darker and a brighter frame, one for each of M blocks.

    ``pair``: (darker, brighter). ``blocks``: (M,) which blocks of the grid. ``dark_code``, ``bright_code``: (M,) grid
    codes. ``dark_spread``, ``bright_spread``: (M,) in codes of white. ``log_ratio``: ln t_dark - ln t_bright.
    """

    pair: tuple[int, int]
    channel: int
    blocks: NDArray[np.intp]
    dark_code: NDArray[np.intp]
    bright_code: NDArray[np.intp]
    dark_spread: F64
    bright_spread: F64
    log_ratio: float

    def __len__(self) -> int:
        return len(self.dark_code)

    @property
    def code_bin(self) -> NDArray[np.intp]:
        """(M,) the mean code's bin of CODE_BINS."""
        bins = (self.dark_code + self.bright_code) * CODE_BINS // (2 * GRID)
        return np.asarray(np.minimum(bins, CODE_BINS - 1))

    def residuals(self, log_curve: F64, shifts: F64 | None = None) -> F64:
        """(M,) ln; under ``log_curve`` (3, GRID + 1) and exposures shifted by ``shifts`` (N,) ln."""
        curve, (dark, bright) = log_curve[self.channel], self.pair
        log_ratio = self.log_ratio if shifts is None else self.log_ratio + shifts[dark] - shifts[bright]
        return np.asarray(log_ratio - (curve[self.dark_code] - curve[self.bright_code]))

    def sigmas(self, log_curve: F64) -> F64:
        """(M,) standard deviations (ln) expected of the residuals under ``log_curve`` (3, GRID + 1)."""
        slope = np.gradient(log_curve[self.channel]) * GRID
        dark = slope[self.dark_code] ** 2 * (CODE_SIGMA**2 + (CONTRAST_SIGMA * self.dark_spread) ** 2)
        bright = slope[self.bright_code] ** 2 * (CODE_SIGMA**2 + (CONTRAST_SIGMA * self.bright_spread) ** 2)
        return np.asarray(np.sqrt(dark + bright + MODEL_SIGMA**2))


@dataclass(frozen=True)
class CrfFit:
    """A solution.

    ``log_factor``, ``log_curve``: (3, GRID + 1) ln(f / srgb) and ln f at every grid code. For each of ``equations``:
    ``weights``, the final robust weights in [0, 1]; ``residuals`` and ``sigmas`` (ln). ``shifts``: (N,) EV added to the
    stated exposures, 0 unless the fit was free to shift them.
    """

    log_factor: F64
    log_curve: F64
    equations: tuple[PairEquations, ...]
    weights: tuple[F64, ...]
    residuals: tuple[F64, ...]
    sigmas: tuple[F64, ...]
    shifts: F64

    @property
    def count(self) -> int:
        """The number of equations."""
        return sum(map(len, self.equations))

    @property
    def agreeing_share(self) -> float:
        """The share of the equations with a residual within Tukey's cutoff."""
        pairs = zip(self.residuals, self.sigmas, strict=True)
        return sum(float(np.sum(np.abs(residual) < TUKEY_CUTOFF * sigma)) for residual, sigma in pairs) / self.count


@dataclass(frozen=True)
class ExposureImbalance:
    """By how much the stated exposures contradict one another.

    ``size``: EV, of the frame that contradicts most, in standard units: of three evenly spaced frames 0.82 of the
    middle one's error or 0.41 of an outer one's; of many, nearly the frame's whole error. ``exponents``: the least and
    the largest power p of the curve, if any single frame had the whole error.
    """

    size: float
    exponents: tuple[float, float]


def frame_pairs(evs: F64) -> list[tuple[int, int]]:
    """Pairs (darker, brighter) of frames, sorted by exposure ``evs`` (N,), that are compared."""
    pairs = combinations(range(len(evs)), 2)
    return [(i, j) for i, j in pairs if j - i <= MAX_NEIGHBOURS and MIN_PAIR_EV <= evs[j] - evs[i] <= MAX_PAIR_EV]


def pair_equations(samples: Samples, evs: F64) -> tuple[PairEquations, ...]:
    """Every usable equation of ``samples`` under exposures ``evs`` (N,), thinned evenly where there are many."""
    equations = []
    pairs = frame_pairs(evs)
    limit = max(MIN_PAIR_EQUATIONS, min(MAX_PAIR_EQUATIONS, MAX_EQUATIONS // max(1, len(pairs))))
    for i, j in pairs:
        for channel in range(3):
            use = np.flatnonzero(samples.valid[i, :, channel] & samples.valid[j, :, channel])
            if len(use) > limit:
                use = use[np.linspace(0, len(use) - 1, limit).astype(int)]
            if not len(use):
                continue
            dark, bright = (np.rint(samples.code[n, use, channel] * GRID).astype(np.intp) for n in (i, j))
            spreads = [samples.spread[n, use, channel].astype(np.float64) for n in (i, j)]
            log_ratio = float((evs[i] - evs[j]) * np.log(2.0))
            equations.append(PairEquations((i, j), channel, use, dark, bright, spreads[0], spreads[1], log_ratio))
    return tuple(equations)


def fit_crf(equations: tuple[PairEquations, ...], prior: Prior, directions: F64) -> CrfFit:
    """Iteratively reweighted least squares, from the sRGB curve on. ``equations`` must not be empty.

    ``directions``: (N, m) orthonormal directions in which the N stated exposures may be shifted; m = 0 takes them as
    they are. The shifts are eliminated from the normal equations (Schur complement), so that the curve stays monotone.
    """
    n, m = prior.basis.shape[1], directions.shape[1]
    coefficients, shifts = np.zeros(3 * n), np.zeros(len(directions))
    systems = []  # rows of each equation: derivatives by the channel's coefficients, by the ratio, and the target
    for e in equations:
        target = e.log_ratio - (prior.log_srgb[e.dark_code] - prior.log_srgb[e.bright_code])
        derivatives = prior.basis[e.dark_code] - prior.basis[e.bright_code]
        systems.append(np.vstack([derivatives.T, np.ones(len(e)), target]))
    steps = [directions[e.pair[1]] - directions[e.pair[0]] for e in equations]
    for iteration in range(ROUNDS + 1):
        factor = np.einsum("cn,gn->cg", coefficients.reshape(3, n), prior.basis)
        curves = prior.log_srgb + factor
        residuals = [e.residuals(curves, shifts) for e in equations]
        sigmas = [e.sigmas(curves) for e in equations]
        scaled = [np.abs(residual) / sigma for residual, sigma in zip(residuals, sigmas, strict=True)]
        spread = max(1.0, float(np.median(np.concatenate(scaled))) / 0.6745)
        # The cutoff is wide while the curve is still wrong.
        cutoff_scale = spread * max(1.0, 3.0 * (1.0 - iteration / (0.6 * ROUNDS)))
        weights = [np.maximum(1.0 - (z / (TUKEY_CUTOFF * cutoff_scale)) ** 2, 0.0) ** 2 for z in scaled]
        if iteration == ROUNDS:
            break
        normal, right = prior.precision.copy(), np.zeros(3 * n)
        mixed, inner, inner_right = np.zeros((3 * n, m)), np.eye(m) / SHIFT_SIGMA**2, np.zeros(m)
        for e, system, step, sigma, robust in zip(equations, systems, steps, sigmas, weights, strict=True):
            of_channel = slice(e.channel * n, (e.channel + 1) * n)
            weight = robust * _bin_weights(e, robust) / (sigma * spread) ** 2
            # OpenCV's product of a matrix with itself: one thread, where a threaded BLAS would spin on so small a one.
            gram = cv2.mulTransposed(system * np.sqrt(weight), False)
            normal[of_channel, of_channel] += gram[:n, :n]
            right[of_channel] += gram[:n, n + 1]
            mixed[of_channel] += np.outer(gram[:n, n], step)
            inner += gram[n, n] * np.outer(step, step)
            inner_right += gram[n, n + 1] * step
        back = np.linalg.solve(inner, mixed.T)
        coefficients = _solve_monotone(normal - mixed @ back, right - back.T @ inner_right, prior)
        shifts = directions @ np.linalg.solve(inner, inner_right - mixed.T @ coefficients)
    shifts_ev = np.asarray(shifts / np.log(2.0))
    return CrfFit(factor, curves, equations, tuple(weights), tuple(residuals), tuple(sigmas), shifts_ev)


def observable_directions(equations: tuple[PairEquations, ...], evs: F64) -> F64:
    """(N, m) orthonormal directions of the exposures in which pixels can contradict them; m = 0 for two frames.

    Orthogonal to what pixels do not determine: an offset of each group of frames that pairs connect, and one common
    factor of all steps.
    """
    count = len(evs)
    links: dict[tuple[int, int], int] = {}
    for e in equations:
        links[e.pair] = links.get(e.pair, 0) + len(e)
    group = np.arange(count)
    for (i, j), linked in links.items():
        if linked >= MIN_LINK_EQUATIONS:
            group[group == group[j]] = group[i]
    hidden = [(group == g).astype(float) for g in np.unique(group)]
    if len(hidden) < count:
        hidden.append(evs - sum(np.mean(evs[member > 0]) * member for member in hidden))
    columns = np.stack(hidden, axis=1)
    return np.asarray(np.linalg.qr(columns, mode="complete")[0][:, columns.shape[1] :])


def exposure_imbalance(shifts: F64, directions: F64, evs: F64) -> ExposureImbalance:
    """The contradiction in the ``shifts`` (N,) EV that a fit found along ``directions`` (N, m)."""
    observed = np.einsum("nm,nm->n", directions, directions)  # share of each frame's own error that pixels show
    frames = observed > 1e-3
    if not frames.any():
        return ExposureImbalance(0.0, (1.0, 1.0))
    size = float(np.max(np.abs(shifts[frames]) / np.sqrt(observed[frames])))
    centred = evs - evs.mean()
    # If frame k alone is misstated, its error is -shift / observed; the part proportional to the EVs is hidden.
    exponent = 1.0 + (shifts[frames] / observed[frames]) * centred[frames] / float(centred @ centred)
    return ExposureImbalance(size, (float(min(1.0, exponent.min())), float(max(1.0, exponent.max()))))


def _bin_weights(equations: PairEquations, robust: F64) -> F64:
    """Weights that make at most SAMPLES_PER_BIN samples of a code range count, however many it has."""
    bins = equations.code_bin
    count = np.bincount(bins, robust, CODE_BINS)
    return np.asarray(np.minimum(1.0, SAMPLES_PER_BIN / np.maximum(count, 1.0))[bins])


def _solve_monotone(normal: F64, right: F64, prior: Prior) -> F64:
    """Least squares with f rising everywhere: violated steps become equations until none is left (active set)."""
    n = prior.basis.shape[1]
    knots = np.unique(np.rint(np.linspace(0.0, 1.0, 65) ** 1.5 * GRID).astype(int))
    steps = np.diff(prior.basis[knots], axis=0)
    start = np.diff(prior.log_srgb[knots])
    min_step = MIN_SLOPE * np.maximum(start, 1e-3)
    active = np.zeros((3, len(steps)), bool)
    for _ in range(30):
        constrained, target = normal.copy(), right.copy()
        for c in range(3):
            of_channel = slice(c * n, (c + 1) * n)
            rows = steps[active[c]]
            constrained[of_channel, of_channel] += 1e6 * rows.T @ rows
            target[of_channel] += 1e6 * rows.T @ (min_step - start)[active[c]]
        coefficients = np.linalg.solve(constrained, target)
        violated = np.stack([start + steps @ coefficients[c * n : (c + 1) * n] < 0.5 * min_step for c in range(3)])
        if not (violated & ~active).any():
            break
        active |= violated
    return np.asarray(coefficients, np.float64)
