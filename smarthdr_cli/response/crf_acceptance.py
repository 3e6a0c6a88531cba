"""Whether a fitted camera response is to be trusted: figures of the fit, and their limits.

    error of a pair = rms over bins of codes of mean(r),  r = ln t_i - ln t_j - (ln f(z_i) - ln f(z_j))

in EV. Noise averages out of the mean residual of a bin; a contradiction between exposures or frames does not. Further
figures are the share of equations that agree, the share of the code range that all channels cover, the mean exponent of
the curve and the contradiction between the stated exposures (`exposure_imbalance`).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.radiometry import F64
from smarthdr_cli.response.crf_basis import GRID, PriorWidths, make_prior
from smarthdr_cli.response.crf_fit import (
    CODE_BINS,
    CrfFit,
    ExposureImbalance,
    PairEquations,
    exposure_imbalance,
    fit_crf,
    observable_directions,
    pair_equations,
)
from smarthdr_cli.response.samples import Samples

MIN_BIN_SAMPLES = 8  # agreeing samples with which a bin of codes is covered
MAX_PAIR_SIGMA = 0.09  # ln; near black, offset and glare differ between the frames of any camera
MIN_PAIR_SAMPLES = 200  # below which a pair has no error
MAX_BIN_WEIGHT = 200.0  # samples of a bin beyond which its weight does not grow

# misfit
MISFIT_CODES = (0.08, 0.92)  # below is black level, above in-camera processing of highlights
MAX_RESIDUAL_EV = 1.0  # larger residuals count as this


@dataclass(frozen=True)
class AcceptanceLimits:
    """Limits of an accepted fit. Bursts of more than ``long_burst`` frames have dozens of pairs, some many EV apart."""

    min_spread_ev: float = 0.6  # between the darkest and the brightest frame
    min_equations: int = 300
    min_coverage: float = 0.25  # of the code range
    min_agreeing: float = 0.5  # of the equations
    long_burst: int = 5  # frames
    max_pair_error_ev: float = 0.23
    max_pair_error_long_ev: float = 0.35
    max_imbalance_ev: float = 0.1  # at steps of 2 EV: 0.25 EV of an outer frame of three, 0.12 of the middle one
    min_imbalance_share: float = 0.6  # of it at smaller steps, where EXIF's rounding has the same effect
    max_imbalance_long_ev: float = 0.4  # glare and the toe of the curve appear as slow drifts along a long burst
    exponents: tuple[float, float] = (1.25, 4.0)  # of the curves of real cameras


DEFAULT_LIMITS = AcceptanceLimits()


@dataclass(frozen=True)
class AssessedFit:
    """The fit of one burst and what it is worth.

    ``fit``, ``figures``: under the stated exposures. ``shifted_fit``, ``shifted_figures``: where the exposures could be
    shifted as well. ``exposures_checked``: whether the pixels can contradict the exposures (not with two frames).
    ``refusal``: why the fit is not accepted, or "".
    """

    fit: CrfFit
    figures: dict[str, Any]
    shifted_fit: CrfFit
    shifted_figures: dict[str, Any]
    imbalance: ExposureImbalance
    exposures_checked: bool
    refusal: str

    @property
    def misfit(self) -> float:
        """The misfit of the curve under the stated exposures, in EV."""
        return misfit(self.fit.equations, self.fit.log_curve)


def fit_and_assess(samples: Samples, burst: Burst, limits: AcceptanceLimits) -> AssessedFit | None:
    """The curve of ``samples`` of the frames of ``burst``, with its figures; None with too few equations to fit."""
    equations = pair_equations(samples, burst.evs)
    if sum(map(len, equations)) < limits.min_equations:
        return None
    prior = make_prior(PriorWidths())
    directions = observable_directions(equations, burst.evs)
    fit = shifted = fit_crf(equations, prior, np.zeros((len(burst), 0)))
    figures = shifted_figures = fit_figures(fit)
    checked = directions.shape[1] > 0
    if checked:
        shifted = fit_crf(equations, prior, directions)
        shifted_figures = fit_figures(shifted)
    imbalance = exposure_imbalance(shifted.shifts, directions, burst.evs)
    figures = figures | {"imbalance_ev": round(imbalance.size, 4), "exposures_checked": checked}
    return AssessedFit(fit, figures, shifted, shifted_figures, imbalance, checked, refusal(figures, burst, limits))


def fit_figures(fit: CrfFit) -> dict[str, Any]:
    """The figures of ``fit`` as plain numbers."""
    covered = np.logical_and.reduce([_bin_counts(fit, channel) >= MIN_BIN_SAMPLES for channel in range(3)])
    pair_errors: dict[tuple[int, int], float] = {}
    for e, weight, residual, sigma in zip(fit.equations, fit.weights, fit.residuals, fit.sigmas, strict=True):
        error = _pair_error(e, weight, residual, sigma)
        pair_errors[e.pair] = max(pair_errors.get(e.pair, 0.0), error)
    worst_pair, worst_error = max(pair_errors.items(), key=lambda item: item[1])
    rise = fit.log_curve[:, int(0.8 * GRID)] - fit.log_curve[:, int(0.2 * GRID)]
    return {
        "equations": fit.count,
        "agreeing": round(fit.agreeing_share, 4),
        "coverage": round(float(covered.mean()), 4),
        "pair_error_ev": round(worst_error, 4),
        "worst_pair": list(worst_pair),
        "exponent": round(float(rise.mean() / np.log(4.0)), 4),  # ln f over ln code between codes 0.2 and 0.8
    }


def refusal(figures: dict[str, Any], burst: Burst, limits: AcceptanceLimits) -> str:
    """Why a fit with ``figures`` is not accepted, "" where it is."""
    if figures["coverage"] < limits.min_coverage:
        return f"the frames show only {figures['coverage']:.0%} of the tonal range in common"
    if figures["agreeing"] < limits.min_agreeing:
        return f"only {figures['agreeing']:.0%} of the common pixels agree on any curve (motion, or wrong exposures)"
    long = len(burst) > limits.long_burst
    if figures["pair_error_ev"] > (limits.max_pair_error_long_ev if long else limits.max_pair_error_ev):
        i, j = figures["worst_pair"]
        names = f"{burst.frames[i].path.name} and {burst.frames[j].path.name}"
        return f"the exposures stated for {names} contradict the other frames by {figures['pair_error_ev']:.2f} EV"
    if is_imbalanced(figures, burst, limits):
        return f"the exposures stated contradict one another by {figures['imbalance_ev']:.2f} EV, whatever the curve"
    if not limits.exponents[0] <= figures["exponent"] <= limits.exponents[1]:
        return f"the stated exposures imply a gamma of {figures['exponent']:.1f}, which no camera has"
    return ""


def is_imbalanced(figures: dict[str, Any], burst: Burst, limits: AcceptanceLimits) -> bool:
    """Whether the stated exposures of ``burst`` contradict one another more than ordinary EXIF does."""
    if len(burst) > limits.long_burst:
        return bool(figures["imbalance_ev"] > limits.max_imbalance_long_ev)
    step = float(np.ptp(burst.evs)) / (len(burst) - 1)
    share = min(1.0, max(limits.min_imbalance_share, step / 2.0))
    return bool(figures["imbalance_ev"] > limits.max_imbalance_ev * share)


def misfit(equations: tuple[PairEquations, ...], log_curve: F64) -> float:
    """Mean |residual| in EV under ``log_curve`` (3, GRID + 1), every bin of codes with much the same weight.

    Of the codes within MISFIT_CODES only; NaN where they are too few.
    """
    total = count = 0.0
    for e in equations:
        error = np.minimum(np.abs(e.residuals(log_curve)) / np.log(2.0), MAX_RESIDUAL_EV)
        used = (e.dark_code > MISFIT_CODES[0] * GRID) & (e.bright_code < MISFIT_CODES[1] * GRID)
        bins = e.code_bin[used]
        samples = np.bincount(bins, minlength=CODE_BINS)
        means = np.bincount(bins, error[used], CODE_BINS) / np.maximum(samples, 1)
        weight = np.where(samples >= MIN_BIN_SAMPLES, np.minimum(samples, MAX_BIN_WEIGHT), 0)
        total, count = total + float(weight @ means), count + float(weight.sum())
    return total / count if count else float("nan")


def _bin_counts(fit: CrfFit, channel: int) -> F64:
    """(CODE_BINS,) robust number of samples of a channel in each bin of codes."""
    total = np.zeros(CODE_BINS)
    for e, weight in zip(fit.equations, fit.weights, strict=True):
        if e.channel == channel:
            for code in (e.dark_code, e.bright_code):
                total += np.bincount(np.minimum(code * CODE_BINS // GRID, CODE_BINS - 1), weight, CODE_BINS)
    return total


def _pair_error(equations: PairEquations, weight: F64, residual: F64, sigma: F64) -> float:
    """Root mean square over bins of codes of the mean residual, in EV; 0 where too few samples are exact enough."""
    exact = sigma < MAX_PAIR_SIGMA
    bins = equations.code_bin[exact]
    count = np.bincount(bins, weight[exact], CODE_BINS)
    if count.sum() < MIN_PAIR_SAMPLES:
        return 0.0
    mean = np.bincount(bins, (weight * residual)[exact], CODE_BINS) / np.maximum(count, 1e-9)
    bin_weight = np.minimum(count, MAX_BIN_WEIGHT)
    return float(np.sqrt((bin_weight * mean**2).sum() / bin_weight.sum()) / np.log(2.0))
