"""What to do with a burst whose exposures and pixels no one curve explains: find out which part of it is to blame.

Tried in this order, each said aloud. One frame left out, where the others then agree and can prove it. The places
where things move left out, where the others agree on one curve and on the stated exposures (not where one of three
frames is clearly to blame, below). A misstated exposure, where shifting the stated ones explains the pixels: the curve
of that fit is taken only if, whichever frame is to blame, it is clearly nearer to the truth than sRGB. One of three
frames left out, misaligned or full of motion, where the other two pairs explain far less than the pair that is left
(misstated exposures leave all pairs as good). The curve of all frames, where it explains the pixels clearly better than
sRGB does. Else sRGB.
"""

from dataclasses import dataclass

import numpy as np

from smarthdr_cli.align import Alignment
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.radiometry import ENTRIES_8BIT, F64, Response, named_response, resampled
from smarthdr_cli.response.crf_basis import GRID, make_prior
from smarthdr_cli.response.crf_estimate import MIN_SPREAD, STACK, Explained, as_response, explain, refusal, unbalanced
from smarthdr_cli.response.crf_fit import BINS, Rows
from smarthdr_cli.response.places import agreeing_places, only
from smarthdr_cli.response.samples import Samples, draw

CLEARLY = 0.6  # of a rival's misfit: what is clearly better
MID_CODES = (0.08, 0.92)  # misfit is judged between these: below is black level, above is highlight colour processing
MAX_RESIDUAL = 1.0  # EV; larger ones count as this
SUSPECTS = 3  # frames that are left out in turn
SEARCHES = 3  # for places that agree, each under the curve of those before
LEAST = 0.05  # share of the picture they must make up
TELLING = 0.85  # share of the equations of those places that must agree
BIN_MIN, BIN_MAX = 8, 200  # samples that a bin of codes needs to count, and beyond which it counts no more


@dataclass(frozen=True)
class Fallback:
    """``response``: an estimated curve, or None for sRGB; ``note``: why, in one line; ``misstated``: whether
    the exposures are in doubt rather than the pixels."""

    response: Response | None
    note: str
    misstated: bool


def fall_back(burst: Burst, alignment: Alignment) -> Fallback:
    """The next best after ``estimate_response`` has refused ``burst`` for a contradiction. Raises nothing."""
    samples = draw(burst, alignment)
    whole = explain(samples, burst)
    if whole is None:
        return Fallback(None, "too little of the scene is well exposed in two frames", False)
    others = _without_one(samples, burst, whole)
    error = misfit(whole.fit.rows, whole.fit.log_curve)
    ranked = sorted(others, key=lambda k: _error(others[k]))
    best = ranked[0] if ranked and not others[ranked[0]].refusal and _error(others[ranked[0]]) < CLEARLY * error else -1
    if best >= 0 and others[best].checked:
        return _leave_out(best, others, burst)
    alone = best >= 0 and all(_error(others[best]) < CLEARLY * _error(others[k]) for k in ranked[1:])
    steady = None if alone else _steady(samples, burst, whole)
    if steady is not None:
        return steady
    if unbalanced(whole.record, burst) and not refusal(whole.freed_record | {"imbalance_ev": 0.0}, burst):
        return _misstated(whole, burst)
    if alone:
        return _leave_out(best, others, burst)
    return _plain(whole, burst)


def misfit(rows: tuple[Rows, ...], log_curve: F64) -> float:
    """Mean |residual| in EV of pairwise equations under ``log_curve`` (3, GRID + 1), bins of codes counting evenly.

    Of mid codes only, MAX_RESIDUAL at most each. NaN where there are too few.
    """
    total = count = 0.0
    for row in rows:
        curve = log_curve[row.channel]
        error = np.minimum(np.abs(row.ratio - (curve[row.low] - curve[row.high])) / np.log(2.0), MAX_RESIDUAL)
        mid = (row.low > MID_CODES[0] * GRID) & (row.high < MID_CODES[1] * GRID)
        bins = np.minimum((row.low + row.high) * BINS // (2 * GRID), BINS - 1)[mid]
        found = np.bincount(bins, minlength=BINS)
        means = np.bincount(bins, error[mid], BINS) / np.maximum(found, 1)
        weight = np.where(found >= BIN_MIN, np.minimum(found, BIN_MAX), 0)
        total, count = total + float(weight @ means), count + float(weight.sum())
    return total / count if count else float("nan")


def _error(part: Explained) -> float:
    return misfit(part.fit.rows, part.fit.log_curve)


def _without_one(samples: Samples, burst: Burst, whole: Explained) -> dict[int, Explained]:
    """The explanations by all frames but one, by that one; only suspects are left out."""
    rejected, told = np.zeros(len(burst)), np.full(len(burst), 1e-9)
    for row, weight in zip(whole.fit.rows, whole.fit.weights, strict=True):
        for n in row.pair:
            rejected[n] += float((1.0 - weight).sum())
            told[n] += len(weight)
    out = {}
    for left in map(int, np.argsort(-rejected / told)[:SUSPECTS]):
        keep = [n for n in range(len(burst)) if n != left]
        if len(keep) < 2 or np.ptp(burst.evs[keep]) < MIN_SPREAD:
            continue
        part = Samples(samples.code[keep], samples.spread[keep], samples.good[keep], samples.grid)
        found = explain(part, Burst(tuple(burst.frames[n] for n in keep), 0))
        if found is not None and np.isfinite(_error(found)):
            out[left] = found
    return out


def _leave_out(left: int, others: dict[int, Explained], burst: Burst) -> Fallback:
    found, name = others[left], burst.frames[left].path.name
    note = f"{name} contradicts the other frames (motion, misalignment or exposure): curve estimated without it"
    return Fallback(as_response(found.fit, "auto", burst, found.record | {"without": name}), note, found.checked)


def _steady(samples: Samples, burst: Burst, whole: Explained) -> Fallback | None:
    """The curve of the places that agree, or None where they do not make a case of their own.

    Of short bursts only: in a stack some pair contradicts nearly every place.
    """
    if len(burst) > STACK:
        return None
    usable = samples.good.any(axis=2).sum(axis=0) > 1
    found, left = whole, 1.0
    for _ in range(SEARCHES):
        places = agreeing_places(samples.grid, whole.fit.rows, found.fit.log_curve)
        left = float(places[usable].mean())
        again = explain(only(samples, places), burst) if left >= LEAST else None
        if again is None:
            return None
        found = again
    if found.refusal or not found.checked or found.record["agreeing"] < TELLING:
        return None
    note = f"{whole.refusal}; curve estimated without the {1 - left:.0%} of the picture that contradicts it"
    return Fallback(as_response(found.fit, "auto", burst, found.record | {"places": round(left, 4)}), note, False)


def _misstated(whole: Explained, burst: Burst) -> Fallback:
    shifted = as_response(whole.freed, "auto", burst, whole.freed_record | {"imbalance_ev": whole.balance.size})
    if _nearer_than_srgb(shifted, whole.balance.exponents):
        return Fallback(shifted, f"{whole.refusal}; curve estimated with the exposures freed", True)
    return Fallback(None, whole.refusal, True)


def _nearer_than_srgb(response: Response, exponents: tuple[float, float]) -> bool:
    """Whether ``response`` is clearly nearer than sRGB to its every power between ``exponents``: one is the truth."""
    codes = slice(8, 248)
    light = resampled(response, ENTRIES_8BIT).table[:, codes].astype(np.float64)
    plain = named_response("srgb").table[:, codes].astype(np.float64)
    return all(
        _distance(light, light**power) < CLEARLY * _distance(plain, light**power)
        for power in np.linspace(exponents[0], exponents[1], 9)
    )


def _distance(light: F64, truth: F64) -> float:
    """Mean relative error of ``light`` (3, K) after the best single scale."""
    ratio = np.log(np.maximum(light, 1e-9)) - np.log(np.maximum(truth, 1e-9))
    return float(np.abs(np.expm1(ratio - np.median(ratio))).mean())


def _plain(whole: Explained, burst: Burst) -> Fallback:
    srgb = np.tile(make_prior(1.0, 1.0, 1.0).log_srgb, (3, 1))
    ours, theirs = (misfit(whole.fit.rows, curve) for curve in (whole.fit.log_curve, srgb))
    otherwise = refusal(whole.record | {"pair_error_ev": 0.0, "agreeing": 1.0}, burst)
    if not otherwise and ours < CLEARLY * theirs:
        note = f"{whole.refusal}; the estimated curve is kept, {ours:.2f} EV from the pixels where sRGB is {theirs:.2f}"
        return Fallback(as_response(whole.fit, "auto", burst, whole.record), note, False)
    return Fallback(None, whole.refusal, False)
