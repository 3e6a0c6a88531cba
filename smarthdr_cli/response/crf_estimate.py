"""Estimate the camera response of a burst under its stated exposures.

The fit of all frames is taken where it passes the limits of `crf_acceptance`. Where the pixels contradict it, the
robust estimate looks for the part to blame, in this order:

1. One frame, where the others agree on a curve and can check their exposures.
2. Places that move: the curve is fitted to the places where most equations of the neighbourhood agree. (Equations of
   moving content agree with any curve now and then, but not side by side.)
3. A misstated exposure: the curve fitted with the exposures shifted, where it is clearly nearer to the truth than sRGB
   whichever frame is to blame.
4. One of three frames, where the pair without it fits far better than the other two (misstated exposures leave all
   pairs alike). Where this holds, step 2 is left out.
5. None: the curve of all frames, where it is clearly nearer to the pixels than sRGB.

Otherwise there is no estimate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.radiometry import (
    ENTRIES_8BIT,
    ENTRIES_DEEP,
    F32,
    F64,
    Response,
    named_response,
    resampled,
    srgb_to_linear,
    tabulated,
)
from smarthdr_cli.response.crf_acceptance import (
    DEFAULT_LIMITS,
    AcceptanceLimits,
    AssessedFit,
    fit_and_assess,
    is_imbalanced,
    misfit,
    refusal,
)
from smarthdr_cli.response.crf_basis import GRID, log_srgb
from smarthdr_cli.response.crf_fit import TUKEY_CUTOFF, CrfFit, PairEquations
from smarthdr_cli.response.samples import Samples

MAX_MISFIT_RATIO = 0.6  # of two misfits, below which one curve or set of frames is clearly better
MAX_LEFT_OUT = 3  # frames that are left out in turn
AGREEMENT_SIDE = 11  # blocks a side of a neighbourhood
MIN_PLACE_AGREEING = 0.5  # of the equations of each pair of frames in a neighbourhood
MIN_PLACE_EQUATIONS = 8.0  # of a pair in a neighbourhood, for the pair to count
PLACE_ITERATIONS = 3
MIN_PLACES = 0.05  # of the picture
MIN_PLACES_AGREEING = 0.85  # of the equations of the places that are kept


@dataclass(frozen=True)
class CrfEstimate:
    """A curve, or why there is none.

    ``response``: None where the burst supports no curve. ``note``: why there is none, or which part of the burst the
    curve leaves out; "" for a curve of all. ``record``: the figures behind it. ``contradicted``: whether the pixels
    contradict the stated exposures. ``misstated``: whether the exposures are to blame for it rather than the pixels.
    """

    response: Response | None
    note: str
    record: dict[str, Any]
    contradicted: bool = False
    misstated: bool = False


def estimate_response(
    burst: Burst,
    samples: Samples,
    *,
    name: str = "auto",
    robust: bool = False,
    limits: AcceptanceLimits = DEFAULT_LIMITS,
) -> CrfEstimate:
    """The curve of ``burst`` from its ``samples``, under its stated exposures; without a response where it has none.

    ``robust``: look for the part to blame where the pixels contradict the exposures. The table has 256 entries for
    8-bit frames, 4096 for deeper ones; its response is called ``name``. Raises nothing.
    """
    spread = float(np.ptp(burst.evs))
    if spread < limits.min_spread_ev:
        note = f"the exposures span only {spread:.2f} EV, which tells too little of a curve"
        return CrfEstimate(None, f"{note} (at least {limits.min_spread_ev} EV)", {"spread_ev": spread})
    assessed = fit_and_assess(samples, burst, limits)
    if assessed is None:
        return CrfEstimate(None, "too little of the scene is well exposed in two frames", {"spread_ev": spread})
    if not assessed.refusal:
        return CrfEstimate(to_response(assessed.fit, name, burst, assessed.figures), "", assessed.figures)
    contradicted = assessed.figures["coverage"] >= limits.min_coverage
    if robust and contradicted:
        return _robust_estimate(burst, samples, assessed, name, limits)
    return CrfEstimate(None, assessed.refusal, assessed.figures, contradicted)


def to_response(fit: CrfFit, name: str, burst: Burst, record: dict[str, Any]) -> Response:
    """The fitted curve as a table; its smooth factor over sRGB is interpolated, so that the toe stays exact."""
    entries = ENTRIES_8BIT if all(frame.codes.dtype == np.uint8 for frame in burst.frames) else ENTRIES_DEEP
    code = np.linspace(0.0, 1.0, entries)
    grid = np.linspace(0.0, 1.0, GRID + 1)
    curves = [srgb_to_linear(code) * np.exp(np.interp(code, grid, factor)) for factor in fit.log_factor]
    return tabulated(name, np.stack(curves), record)


def agreeing_places(grid: tuple[int, int], equations: Sequence[PairEquations], log_curve: F64) -> NDArray[np.bool_]:
    """(M,) the blocks of ``grid`` whose neighbourhood agrees with ``log_curve`` (3, GRID + 1).

    ``equations``: of all blocks, also of those left out of the fit of the curve, which may come back.
    """
    agree = np.ones(grid, bool)
    for pair in sorted({e.pair for e in equations}):
        total, agreeing = np.zeros(grid, np.float32), np.zeros(grid, np.float32)
        for e in equations:
            if e.pair == pair:
                np.add.at(total.ravel(), e.blocks, 1.0)
                close = np.abs(e.residuals(log_curve)) < TUKEY_CUTOFF * e.sigmas(log_curve)
                np.add.at(agreeing.ravel(), e.blocks, close)
        total, agreeing = _neighbourhood_sum(total), _neighbourhood_sum(agreeing)
        agree &= (agreeing >= MIN_PLACE_AGREEING * total) | (total < MIN_PLACE_EQUATIONS)
    return agree.ravel()


def _neighbourhood_sum(counts: F32) -> F32:
    """The sum of ``counts`` (rows, columns) over AGREEMENT_SIDE squared blocks, fewer at the borders."""
    side = (AGREEMENT_SIDE, AGREEMENT_SIDE)
    return np.asarray(cv2.boxFilter(counts, -1, side, normalize=False, borderType=cv2.BORDER_CONSTANT))


def _robust_estimate(
    burst: Burst, samples: Samples, assessed: AssessedFit, name: str, limits: AcceptanceLimits
) -> CrfEstimate:
    """The estimate of a burst whose pixels contradict the fit of all frames: see the top of this file."""
    subsets = _leave_one_out(burst, samples, assessed, limits)
    ranked = sorted(subsets, key=lambda frame: subsets[frame].misfit)
    left_out = ranked[0] if ranked else -1
    explained = (
        left_out >= 0
        and not subsets[left_out].refusal
        and subsets[left_out].misfit < MAX_MISFIT_RATIO * assessed.misfit
    )
    if explained and subsets[left_out].exposures_checked:
        return _without_frame(left_out, subsets[left_out], burst, name)
    only_explanation = explained and all(
        subsets[left_out].misfit < MAX_MISFIT_RATIO * subsets[frame].misfit for frame in ranked[1:]
    )
    static = None if only_explanation else _of_static_places(burst, samples, assessed, name, limits)
    if static is not None:
        return static
    shifts_explain = not refusal(assessed.shifted_figures | {"imbalance_ev": 0.0}, burst, limits)
    if shifts_explain and is_imbalanced(assessed.figures, burst, limits):
        return _with_shifted_exposures(assessed, burst, name)
    if only_explanation:
        return _without_frame(left_out, subsets[left_out], burst, name)
    return _of_all_frames(assessed, burst, name, limits)


def _leave_one_out(
    burst: Burst, samples: Samples, assessed: AssessedFit, limits: AcceptanceLimits
) -> dict[int, AssessedFit]:
    """The fits without one frame, by that frame, for the frames with the most rejected equations."""
    rejected, total = np.zeros(len(burst)), np.full(len(burst), 1e-9)
    for e, weight in zip(assessed.fit.equations, assessed.fit.weights, strict=True):
        for n in e.pair:
            rejected[n] += float((1.0 - weight).sum())
            total[n] += len(weight)
    subsets = {}
    for left_out in map(int, np.argsort(-rejected / total)[:MAX_LEFT_OUT]):
        remaining = [n for n in range(len(burst)) if n != left_out]
        if len(remaining) < 2 or np.ptp(burst.evs[remaining]) < limits.min_spread_ev:
            continue
        subset = fit_and_assess(
            samples.of_frames(remaining), Burst(tuple(burst.frames[n] for n in remaining), 0), limits
        )
        if subset is not None and np.isfinite(subset.misfit):
            subsets[left_out] = subset
    return subsets


def _without_frame(left_out: int, subset: AssessedFit, burst: Burst, name: str) -> CrfEstimate:
    file = burst.frames[left_out].path.name
    note = f"{file} contradicts the other frames (motion, misalignment or exposure): curve estimated without it"
    record = subset.figures | {"without": file}
    response = to_response(subset.fit, name, burst, record)
    return CrfEstimate(response, note, record, contradicted=True, misstated=subset.exposures_checked)


def _of_static_places(
    burst: Burst, samples: Samples, assessed: AssessedFit, name: str, limits: AcceptanceLimits
) -> CrfEstimate | None:
    """The curve of the places that agree, or None where they are few or do not agree on one.

    Of short bursts only: in a long one some pair contradicts nearly every place.
    """
    if len(burst) > limits.long_burst:
        return None
    usable = samples.valid.any(axis=2).sum(axis=0) > 1
    current, share = assessed, 1.0
    for _ in range(PLACE_ITERATIONS):
        places = agreeing_places(samples.grid, assessed.fit.equations, current.fit.log_curve)
        share = float(places[usable].mean())
        refit = fit_and_assess(samples.mask_blocks(places), burst, limits) if share >= MIN_PLACES else None
        if refit is None:
            return None
        current = refit
    if current.refusal or not current.exposures_checked or current.figures["agreeing"] < MIN_PLACES_AGREEING:
        return None
    note = f"{assessed.refusal}; curve estimated without the {1 - share:.0%} of the picture that contradicts it"
    record = current.figures | {"places": round(share, 4)}
    return CrfEstimate(to_response(current.fit, name, burst, record), note, record, contradicted=True)


def _with_shifted_exposures(assessed: AssessedFit, burst: Burst, name: str) -> CrfEstimate:
    """The curve fitted with the exposures shifted, where it is clearly nearer to the truth than sRGB."""
    record = assessed.shifted_figures | {"imbalance_ev": assessed.imbalance.size}
    response = to_response(assessed.shifted_fit, name, burst, record)
    if not _clearly_nearer_than_srgb(response, assessed.imbalance.exponents):
        return CrfEstimate(None, assessed.refusal, record, contradicted=True, misstated=True)
    note = f"{assessed.refusal}; curve estimated with the exposures freed"
    return CrfEstimate(response, note, record, contradicted=True, misstated=True)


def _of_all_frames(assessed: AssessedFit, burst: Burst, name: str, limits: AcceptanceLimits) -> CrfEstimate:
    """The refused curve all the same, where it is clearly nearer to the pixels than sRGB."""
    figures = assessed.figures
    ours, srgb = assessed.misfit, misfit(assessed.fit.equations, np.tile(log_srgb(), (3, 1)))
    refused_otherwise = refusal(figures | {"pair_error_ev": 0.0, "agreeing": 1.0}, burst, limits)
    if refused_otherwise or not ours < MAX_MISFIT_RATIO * srgb:
        return CrfEstimate(None, assessed.refusal, figures, contradicted=True)
    note = f"{assessed.refusal}; the estimated curve is kept, {ours:.2f} EV from the pixels where sRGB is {srgb:.2f}"
    return CrfEstimate(to_response(assessed.fit, name, burst, figures), note, figures, contradicted=True)


def _clearly_nearer_than_srgb(response: Response, exponents: tuple[float, float]) -> bool:
    """Whether ``response`` is clearly nearer than sRGB to each of its powers between ``exponents``: one is true."""
    codes = slice(8, 248)
    light = resampled(response, ENTRIES_8BIT).table[:, codes].astype(np.float64)
    srgb = named_response("srgb").table[:, codes].astype(np.float64)
    return all(
        _relative_error(light, light**power) < MAX_MISFIT_RATIO * _relative_error(srgb, light**power)
        for power in np.linspace(exponents[0], exponents[1], 9)
    )


def _relative_error(light: F64, truth: F64) -> float:
    """Mean relative error of ``light`` (3, K) after the best single scale."""
    ratio = np.log(np.maximum(light, 1e-9)) - np.log(np.maximum(truth, 1e-9))
    return float(np.abs(np.expm1(ratio - np.median(ratio))).mean())
