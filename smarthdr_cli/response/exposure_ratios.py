"""Exposure ratios measured from pixels, which needs a known curve; and what the stated exposures say against them."""

from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np

from smarthdr_cli.align import Alignment
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.radiometry import F64, Response
from smarthdr_cli.response.crf_fit import CODE_NOISE, SPREAD_SHARE
from smarthdr_cli.response.samples import Samples, draw

ExposureCheck = Literal["off", "warn", "fix"]

TOLERANCE_EV = 1 / 3
MIN_BLOCKS = 60  # samples a pair needs to say anything
MODE_WIDTH = 0.12  # EV, of the kernel that finds the commonest ratio
STEP_EV = 0.02
_GRID = 4096


@dataclass(frozen=True)
class Ratios:
    """Measured exposures.

    ``evs``: (N,) EV relative to the reference, NaN where no chain of overlapping frames leads to it. ``pairs``:
    measured EV step of each pair (i, j), j brighter when positive. ``support``: share of each pair's samples within
    1/6 EV of its step. ``inconsistency``: largest |i to j + j to k - i to k| in EV, 0 without a triple, and ``triple``
    names it.
    """

    evs: F64
    pairs: dict[tuple[int, int], float]
    support: dict[tuple[int, int], float]
    inconsistency: float
    triple: tuple[int, int, int] | None


def measure_ratios(burst: Burst, alignment: Alignment, response: Response) -> Ratios:
    """Exposure steps between all frames that see something in common, under a known ``response``.

    A pair's step is the commonest log ratio of its blocks (a kernel mode, so that a minority that moved has no say),
    refined by a biweight mean; the steps are reconciled by weighted least squares.
    """
    samples = draw(burst, alignment)
    light, error = log_light(samples, response)
    count = len(burst)
    pairs: dict[tuple[int, int], float] = {}
    support: dict[tuple[int, int], float] = {}
    weight: dict[tuple[int, int], float] = {}
    for i, j in combinations(range(count), 2):
        both = samples.good[i] & samples.good[j]
        if int(both.sum()) < MIN_BLOCKS:
            continue
        steps = (light[j] - light[i])[both]
        sigma = np.hypot(error[i], error[j])[both]
        pairs[i, j], support[i, j] = common_step(steps, sigma)
        weight[i, j] = float(np.sqrt(both.sum())) * support[i, j]
    evs = reconcile(count, burst.reference, pairs, weight)
    worst, triple = _contradiction(count, pairs)
    return Ratios(evs, pairs, support, worst, triple)


def check_exposures(
    burst: Burst, alignment: Alignment, response: Response, mode: ExposureCheck = "warn"
) -> tuple[Burst, tuple[str, ...]]:
    """Compare stated with measured exposures under a known ``response``.

    ``off`` measures nothing; ``warn`` returns a note for every frame more than 1/3 EV off; ``fix`` also replaces the
    exposures of the whole burst by the measured ones, which can change the frames' order.
    """
    if mode == "off":
        return burst, ()
    ratios = measure_ratios(burst, alignment, response)
    off = [n for n in range(len(burst)) if abs(ratios.evs[n] - burst.evs[n]) > TOLERANCE_EV]  # NaN: never off
    if not off:
        return burst, ()
    notes = tuple(
        f"{burst.frames[n].path.name}: {burst.evs[n]:+.2f} EV stated, {ratios.evs[n]:+.2f} EV measured "
        f"under {response.name}"
        for n in off
    )
    if mode == "warn":
        return burst, (*notes, "stated exposures kept (--exposure-check fix takes the measured ones)")
    return with_evs(burst, ratios.evs), (*notes, "measured exposures taken")


def with_evs(burst: Burst, evs: F64) -> Burst:
    """``burst`` with exposures ``evs`` (N,) relative to its reference, NaN keeping what was stated.

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


def log_light(samples: Samples, response: Response) -> tuple[F64, F64]:
    """(N, M, 3) log2 of linear light and its standard deviation."""
    grid = np.linspace(0.0, 1.0, _GRID + 1)
    entries = np.linspace(0.0, 1.0, response.table.shape[1])
    index = np.rint(np.clip(samples.code, 0.0, 1.0) * _GRID).astype(np.intp)
    spread = np.hypot(CODE_NOISE, SPREAD_SHARE * samples.spread.astype(np.float64))
    light, slope = np.empty(index.shape), np.empty(index.shape)
    for channel in range(3):
        curve = np.log2(np.maximum(np.interp(grid, entries, response.table[channel]), 1e-7))
        light[..., channel] = curve[index[..., channel]]
        slope[..., channel] = np.gradient(curve, grid)[index[..., channel]]
    return light, slope * spread


def common_step(steps: F64, sigma: F64) -> tuple[float, float]:
    """The commonest of ``steps`` (EV) and the share within 1/6 EV of it."""
    weight = 1.0 / (sigma**2 + MODE_WIDTH**2)
    low, high = float(steps.min()), float(steps.max())
    bins = max(1, int(np.ceil((high - low) / STEP_EV)))
    density, edges = np.histogram(steps, bins, (low, low + bins * STEP_EV), weights=weight)
    reach = np.arange(-20, 21) * STEP_EV
    smooth = np.convolve(density, np.exp(-0.5 * (reach / MODE_WIDTH) ** 2))[20:-20]
    step = float(edges[int(np.argmax(smooth))] + STEP_EV / 2)
    for _ in range(8):
        scaled = (steps - step) / (4.0 * np.hypot(sigma, MODE_WIDTH))
        robust = weight * np.maximum(1.0 - scaled**2, 0.0) ** 2
        step = float((robust * steps).sum() / robust.sum())
    return step, float(np.mean(np.abs(steps - step) < 1 / 6))


def reconcile(
    count: int, reference: int, pairs: dict[tuple[int, int], float], weight: dict[tuple[int, int], float]
) -> F64:
    """(count,) EVs that fit the steps best, the reference at 0, NaN for frames no chain of pairs reaches."""
    reached = {reference}
    for _ in range(count):
        reached |= {n for pair in pairs if reached & set(pair) for n in pair}
    members = sorted(reached)
    rows = [pair for pair in pairs if set(pair) <= reached]
    design = np.zeros((len(rows) + 1, len(members)))
    target = np.zeros(len(rows) + 1)
    for k, (i, j) in enumerate(rows):
        design[k, members.index(j)], design[k, members.index(i)] = weight[i, j], -weight[i, j]
        target[k] = weight[i, j] * pairs[i, j]
    design[-1, members.index(reference)] = 1.0
    evs = np.full(count, np.nan)
    solution = np.asarray(np.linalg.lstsq(design, target, rcond=None)[0], np.float64)
    evs[members] = solution - solution[members.index(reference)]
    return evs


def _contradiction(count: int, pairs: dict[tuple[int, int], float]) -> tuple[float, tuple[int, int, int] | None]:
    worst: tuple[float, tuple[int, int, int] | None] = (0.0, None)
    for i, j, k in combinations(range(count), 3):
        if (i, j) in pairs and (j, k) in pairs and (i, k) in pairs:
            gap = abs(pairs[i, j] + pairs[j, k] - pairs[i, k])
            if gap > worst[0]:
                worst = (gap, (i, j, k))
    return worst
