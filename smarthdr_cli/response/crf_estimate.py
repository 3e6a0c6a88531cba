"""Estimate the camera's curve from an aligned burst, or refuse with the reason.

The curve and the exposure ratios cannot both be had from pixels: f and f**p explain the same pictures with every
log ratio multiplied by p (Grossberg and Nayar 2003). The stated ratios are taken as true here; two more freedoms are
pinned: the clip level is 1 in every channel, and the channels agree at mid-grey, so that neutrals stay neutral.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from smarthdr_cli.align import Alignment
from smarthdr_cli.burst.burst import Burst, CaptureMetadata
from smarthdr_cli.errors import InputError
from smarthdr_cli.radiometry import ENTRIES_8BIT, ENTRIES_DEEP, F64, Response, srgb_to_linear, tabulated
from smarthdr_cli.response.balance import Balance, freedom, measure_balance
from smarthdr_cli.response.crf_basis import GRID, make_prior
from smarthdr_cli.response.crf_fit import CUTOFF, Fit, Rows, make_rows, solve
from smarthdr_cli.response.samples import Samples, draw

# Prior standard deviations (ln), chosen on real stacks and on made bursts of known curves.
BEND, SIZE, TINT = 0.06, 1.0, 0.1

MIN_SPREAD = 0.6  # EV between the darkest and the brightest frame; less says too little of a curve
MIN_EQUATIONS = 300
COVERAGE_BINS = 32
MIN_COVERAGE = 0.25  # of the code range, seen by at least BIN_SAMPLES agreeing samples a bin
BIN_SAMPLES = 8
MIN_AGREEING = 0.5  # share of the equations that the best curve explains
MAX_PAIR_ERROR = 0.23  # EV by which a pair of frames may contradict the curve of all
MAX_PAIR_ERROR_STACK = 0.35  # of more than STACK frames: the worst of dozens of pairs, some across many EV
STACK = 5
MAX_IMBALANCE = 0.1  # EV of Balance.size at steps of 2 EV: 0.25 EV of an outer frame of three, 0.12 of the middle one
MIN_IMBALANCE = 0.6  # of it at smaller steps, where the same error bends the curve more; EXIF itself rounds times
MAX_IMBALANCE_STACK = 0.4  # many frames drift: glare and the toe's shape show as slow shifts along the stack
JUDGED_NOISE = 0.09  # ln
JUDGED_SAMPLES = 200
EXPONENTS = (1.25, 4.0)  # ln f over ln code between codes 0.2 and 0.8; no camera's picture lies outside


@dataclass(frozen=True)
class Estimate:
    """A curve or a refusal.

    ``response`` is None where the burst cannot support a curve; ``reason`` then says why in one line, and
    ``contradicted`` is True where it is the stated exposures that do not fit the pixels. ``record`` holds the figures
    the verdict rests on.
    """

    response: Response | None
    reason: str
    record: dict[str, Any]
    contradicted: bool = False


@dataclass(frozen=True)
class Explained:
    """What a curve explains of ``rows``: the ``fit`` under the stated exposures and its ``record``, the fit ``freed``
    to shift them and its record, the ``balance`` of the shifts, whether it could be ``checked`` (not with two frames),
    and what the burst is refused for, or ""."""

    fit: Fit
    record: dict[str, Any]
    freed: Fit
    freed_record: dict[str, Any]
    balance: Balance
    checked: bool
    refusal: str


def estimate_response(burst: Burst, alignment: Alignment, name: str = "auto") -> Estimate:
    """The curve of ``burst`` under its stated exposures.

    ``alignment`` takes reference pixels to each frame. The table has 256 entries for 8-bit frames, 4096 for deeper
    ones. Raises nothing: a burst that cannot support a curve gives an Estimate without one.
    """
    spread = float(np.ptp(burst.evs))
    if spread < MIN_SPREAD:
        reason = (
            f"the exposures span only {spread:.2f} EV, which tells too little of a curve (at least {MIN_SPREAD} EV)"
        )
        return Estimate(None, reason, {"spread_ev": spread})
    found = explain(draw(burst, alignment), burst)
    if found is None:
        return Estimate(None, "too little of the scene is well exposed in two frames", {"spread_ev": spread})
    if found.refusal:
        return Estimate(None, found.refusal, found.record, contradicted=found.record["coverage"] >= MIN_COVERAGE)
    return Estimate(as_response(found.fit, name, burst, found.record), "", found.record)


def explain(samples: Samples, burst: Burst) -> Explained | None:
    """Fit the curve of ``samples`` (of the frames of ``burst``) and judge it; None with too few equations to fit."""
    rows = make_rows(samples, burst.evs)
    if sum(len(row.low) for row in rows) < MIN_EQUATIONS:
        return None
    prior = make_prior(BEND, SIZE, TINT)
    directions = freedom(rows, burst.evs)
    fit = freed = solve(rows, prior, np.zeros((len(burst), 0)))
    record = freed_record = _judge(fit)
    if directions.shape[1]:
        freed = solve(rows, prior, directions)
        freed_record = _judge(freed)
    balance = measure_balance(freed.shifts, directions, burst.evs)
    checked = directions.shape[1] > 0
    record = record | {"imbalance_ev": round(balance.size, 4), "exposures_checked": checked}
    return Explained(fit, record, freed, freed_record, balance, checked, refusal(record, burst))


def calibrate(burst: Burst, alignment: Alignment) -> Response:
    """The curve of ``burst`` (2 frames or more) for a calibration file, with the camera's name in its record.

    Raises InputError with the reason where the frames cannot support one.
    """
    found = estimate_response(burst, alignment, "calibrated")
    if found.response is None:
        raise InputError(f"no camera curve can be calibrated from these frames: {found.reason}")
    capture: CaptureMetadata = burst.frames[burst.reference].capture
    origin = {"make": capture.make, "model": capture.model, "date": capture.datetime, "frames": len(burst)}
    known = {key: value for key, value in origin.items() if value is not None}
    return Response(found.response.name, found.response.table, known | found.record)


def _judge(fit: Fit) -> dict[str, Any]:
    """What the fit rests on, as plain numbers: see the limits at the top of this file."""
    used = sum(len(weight) for weight in fit.weights)
    pairs = zip(fit.residuals, fit.sigmas, strict=True)
    agreeing = sum(float(np.sum(np.abs(residual) < CUTOFF * sigma)) for residual, sigma in pairs) / used
    covered = np.ones(COVERAGE_BINS, bool)
    for channel in range(3):
        covered &= _coverage(fit, channel) >= BIN_SAMPLES
    worst: dict[tuple[int, int], float] = {}
    for row, weight, residual, sigma in zip(fit.rows, fit.weights, fit.residuals, fit.sigmas, strict=True):
        error = _bias(row, weight, residual, sigma)
        worst[row.pair] = max(worst.get(row.pair, 0.0), error)
    rise = fit.log_curve[:, int(0.8 * GRID)] - fit.log_curve[:, int(0.2 * GRID)]
    exponent = float(rise.mean() / np.log(4.0))
    return {
        "equations": used,
        "agreeing": round(agreeing, 4),
        "coverage": round(float(covered.mean()), 4),
        "pair_error_ev": round(max(worst.values()), 4),
        "worst_pair": list(max(worst.items(), key=lambda item: item[1])[0]),
        "exponent": round(exponent, 4),
    }


def _coverage(fit: Fit, channel: int) -> F64:
    total = np.zeros(COVERAGE_BINS)
    for row, weight in zip(fit.rows, fit.weights, strict=True):
        if row.channel == channel:
            for code in (row.low, row.high):
                total += np.bincount(np.minimum(code * COVERAGE_BINS // GRID, COVERAGE_BINS - 1), weight, COVERAGE_BINS)
    return total


def _bias(row: Rows, weight: F64, residual: F64, sigma: F64) -> float:
    """Root mean square over codes of the mean residual at that code, in EV: noise averages out, contradiction stays.

    Only equations exact to JUDGED_NOISE count: near black, offset and glare differ between frames of any camera. 0
    where too few are left to judge by.
    """
    clear = sigma < JUDGED_NOISE
    bins = np.minimum((row.low + row.high) * COVERAGE_BINS // (2 * GRID), COVERAGE_BINS - 1)[clear]
    total = np.bincount(bins, weight[clear], COVERAGE_BINS)
    if total.sum() < JUDGED_SAMPLES:
        return 0.0
    mean = np.bincount(bins, (weight * residual)[clear], COVERAGE_BINS) / np.maximum(total, 1e-9)
    told = np.minimum(total, 200.0)
    return float(np.sqrt((told * mean**2).sum() / told.sum()) / np.log(2.0))


def refusal(record: dict[str, Any], burst: Burst) -> str:
    """Why a fit with the figures ``record`` is not to be trusted, "" where it is."""
    if record["coverage"] < MIN_COVERAGE:
        return f"the frames show only {record['coverage']:.0%} of the tonal range in common"
    if record["agreeing"] < MIN_AGREEING:
        return f"only {record['agreeing']:.0%} of the common pixels agree on any curve (motion, or wrong exposures)"
    if record["pair_error_ev"] > (MAX_PAIR_ERROR if len(burst) <= STACK else MAX_PAIR_ERROR_STACK):
        i, j = record["worst_pair"]
        names = f"{burst.frames[i].path.name} and {burst.frames[j].path.name}"
        return f"the exposures stated for {names} contradict the other frames by {record['pair_error_ev']:.2f} EV"
    if unbalanced(record, burst):
        return f"the exposures stated contradict one another by {record['imbalance_ev']:.2f} EV, whatever the curve"
    if not EXPONENTS[0] <= record["exponent"] <= EXPONENTS[1]:
        return f"the stated exposures imply a gamma of {record['exponent']:.1f}, which no camera has"
    return ""


def unbalanced(record: dict[str, Any], burst: Burst) -> bool:
    """Whether the stated exposures of ``burst`` contradict one another more than ordinary EXIF does."""
    if len(burst) > STACK:
        return bool(record["imbalance_ev"] > MAX_IMBALANCE_STACK)
    step = float(np.ptp(burst.evs)) / (len(burst) - 1)
    return bool(record["imbalance_ev"] > MAX_IMBALANCE * min(1.0, max(MIN_IMBALANCE, step / 2.0)))


def as_response(fit: Fit, name: str, burst: Burst, record: dict[str, Any]) -> Response:
    """The fitted curve as a table of 256 entries for 8-bit frames, 4096 for deeper ones. It is the smooth factor over
    sRGB that is interpolated, so the toe stays exact."""
    entries = ENTRIES_8BIT if all(frame.codes.dtype == np.uint8 for frame in burst.frames) else ENTRIES_DEEP
    code = np.linspace(0.0, 1.0, entries)
    grid = np.linspace(0.0, 1.0, GRID + 1)
    curves = [srgb_to_linear(code) * np.exp(np.interp(code, grid, factor)) for factor in fit.log_factor]
    return tabulated(name, np.stack(curves), record)
