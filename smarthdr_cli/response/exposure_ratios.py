"""Exposure ratios measured from pixels under a known camera response, and the check of the stated ones.

    step_ij = mode over blocks of (log2 f(z_j) - log2 f(z_i)),  ev = argmin_e sum_ij w_ij^2 (e_j - e_i - step_ij)^2

z are the codes of a block in frames i and j. The mode, found with a Gaussian kernel and refined by a biweight mean,
ignores a minority that moved. w_ij is the square root of the number of blocks times the share that agrees on the step.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from smarthdr_cli.burst.burst import Burst, ExposureCheck
from smarthdr_cli.radiometry import F64, Response
from smarthdr_cli.response.crf_fit import CODE_SIGMA, CONTRAST_SIGMA
from smarthdr_cli.response.samples import Samples

TOLERANCE_EV = 1 / 3  # between stated and measured
MIN_BLOCKS = 60  # valid samples a pair needs
KERNEL_SIGMA_EV = 0.12  # of the mode
HISTOGRAM_STEP_EV = 0.02
SUPPORT_EV = 1 / 6  # from the step, within which a sample agrees with it
_GRID = 4096  # codes at which the curve is tabulated


@dataclass(frozen=True)
class ExposureRatios:
    """Measured exposures.

    ``evs``: (N,) EV relative to the reference, NaN where no chain of overlapping frames leads to it. ``pairs``: the
    measured step of each pair (i, j) in EV, positive where j is brighter. ``support``: the share of a pair's samples
    that agree with its step. ``inconsistency``: the largest |step_ij + step_jk - step_ik| in EV, of the frames
    ``triple``; 0 without a triple.
    """

    evs: F64
    pairs: dict[tuple[int, int], float]
    support: dict[tuple[int, int], float]
    inconsistency: float
    triple: tuple[int, int, int] | None


def measure_ratios(burst: Burst, samples: Samples, response: Response) -> ExposureRatios:
    """The exposures of ``burst`` from its ``samples``, under a known ``response``."""
    light, sigma = log2_light(samples, response)
    count = len(burst)
    pairs: dict[tuple[int, int], float] = {}
    support: dict[tuple[int, int], float] = {}
    weights: dict[tuple[int, int], float] = {}
    for i, j in combinations(range(count), 2):
        both = samples.valid[i] & samples.valid[j]
        if int(both.sum()) < MIN_BLOCKS:
            continue
        pairs[i, j], support[i, j] = mode_of_steps((light[j] - light[i])[both], np.hypot(sigma[i], sigma[j])[both])
        weights[i, j] = float(np.sqrt(both.sum())) * support[i, j]
    evs = reconcile_steps(count, burst.reference, pairs, weights)
    return ExposureRatios(evs, pairs, support, *_worst_triple(count, pairs))


def check_exposures(
    burst: Burst, samples: Samples, response: Response, mode: ExposureCheck = "warn"
) -> tuple[Burst, tuple[str, ...]]:
    """Compare stated with measured exposures under a known ``response``; returns the burst and notes for the user.

    ``off`` measures nothing. ``warn`` returns a note for every frame more than 1/3 EV off. ``fix`` also replaces the
    exposures of all frames by the measured ones, which can change the order of the frames.
    """
    if mode == "off":
        return burst, ()
    measured = measure_ratios(burst, samples, response).evs
    off = [n for n in range(len(burst)) if abs(measured[n] - burst.evs[n]) > TOLERANCE_EV]  # never where NaN
    if not off:
        return burst, ()
    notes = tuple(
        f"{burst.frames[n].path.name}: {burst.evs[n]:+.2f} EV stated, {measured[n]:+.2f} EV measured "
        f"under {response.name}"
        for n in off
    )
    if mode == "warn":
        return burst, (*notes, "stated exposures kept (--exposure-check fix takes the measured ones)")
    return with_exposures(burst, measured), (*notes, "measured exposures taken")


def with_exposures(burst: Burst, evs: F64) -> Burst:
    """``burst`` with exposures ``evs`` (N,) relative to its reference; NaN keeps the stated one.

    Raises InputError where the new exposures do not differ.
    """
    base = burst.frames[burst.reference].exposure.ev
    frames = tuple(
        frame
        if np.isnan(ev)
        else replace(frame, exposure=replace(frame.exposure, ev=float(base + ev), source="pixels"))
        for frame, ev in zip(burst.frames, evs, strict=True)
    )
    return Burst(frames, burst.reference)


def log2_light(samples: Samples, response: Response) -> tuple[F64, F64]:
    """(N, M, 3) log2 of linear light, and its standard deviation."""
    grid = np.linspace(0.0, 1.0, _GRID + 1)
    entries = np.linspace(0.0, 1.0, response.table.shape[1])
    index = np.rint(np.clip(samples.code, 0.0, 1.0) * _GRID).astype(np.intp)
    code_sigma = np.hypot(CODE_SIGMA, CONTRAST_SIGMA * samples.spread.astype(np.float64))
    light, slope = np.empty(index.shape), np.empty(index.shape)
    for channel in range(3):
        curve = np.log2(np.maximum(np.interp(grid, entries, response.table[channel]), 1e-7))
        light[..., channel] = curve[index[..., channel]]
        slope[..., channel] = np.gradient(curve, grid)[index[..., channel]]
    return light, slope * code_sigma


def mode_of_steps(steps: F64, sigma: F64) -> tuple[float, float]:
    """The most frequent of ``steps`` (M,) EV with standard deviations ``sigma``, and the share that agrees with it."""
    weight = 1.0 / (sigma**2 + KERNEL_SIGMA_EV**2)
    low, high = float(steps.min()), float(steps.max())
    bins = max(1, int(np.ceil((high - low) / HISTOGRAM_STEP_EV)))
    density, edges = np.histogram(steps, bins, (low, low + bins * HISTOGRAM_STEP_EV), weights=weight)
    offsets = np.arange(-20, 21) * HISTOGRAM_STEP_EV
    smooth = np.convolve(density, np.exp(-0.5 * (offsets / KERNEL_SIGMA_EV) ** 2))[20:-20]
    step = float(edges[int(np.argmax(smooth))] + HISTOGRAM_STEP_EV / 2)
    for _ in range(8):
        scaled = (steps - step) / (4.0 * np.hypot(sigma, KERNEL_SIGMA_EV))
        robust = weight * np.maximum(1.0 - scaled**2, 0.0) ** 2
        step = float((robust * steps).sum() / robust.sum())
    return step, float(np.mean(np.abs(steps - step) < SUPPORT_EV))


def reconcile_steps(
    count: int, reference: int, pairs: Mapping[tuple[int, int], float], weights: Mapping[tuple[int, int], float]
) -> F64:
    """(count,) EVs that fit the steps of ``pairs`` best, the reference at 0; NaN where no chain of pairs leads.

    >>> steps = {(0, 1): 2.0, (1, 2): 1.0, (0, 2): 3.3}
    >>> reconcile_steps(4, 0, steps, dict.fromkeys(steps, 1.0)).round(3).tolist()
    [0.0, 2.1, 3.2, nan]
    """
    reached = {reference}
    for _ in range(count):
        reached |= {n for pair in pairs if reached & set(pair) for n in pair}
    members = sorted(reached)
    rows = [pair for pair in pairs if set(pair) <= reached]
    design = np.zeros((len(rows) + 1, len(members)))
    target = np.zeros(len(rows) + 1)
    for k, (i, j) in enumerate(rows):
        design[k, members.index(j)], design[k, members.index(i)] = weights[i, j], -weights[i, j]
        target[k] = weights[i, j] * pairs[i, j]
    design[-1, members.index(reference)] = 1.0
    evs = np.full(count, np.nan)
    solution = np.asarray(np.linalg.lstsq(design, target, rcond=None)[0], np.float64)
    evs[members] = solution - solution[members.index(reference)]
    return evs


def _worst_triple(count: int, pairs: dict[tuple[int, int], float]) -> tuple[float, tuple[int, int, int] | None]:
    """The largest inconsistency in EV of three frames, and which."""
    worst: tuple[float, tuple[int, int, int] | None] = (0.0, None)
    for i, j, k in combinations(range(count), 3):
        if (i, j) in pairs and (j, k) in pairs and (i, k) in pairs:
            gap = abs(pairs[i, j] + pairs[j, k] - pairs[i, k])
            if gap > worst[0]:
                worst = (gap, (i, j, k))
    return worst
