"""Quality of an uncertainty map: sparsification error (AUSE) and coverage per decile of sigma.

    S(f) = mean error of the pixels left after the fraction f with the largest sigma is removed / mean error of all
    AUSE = integral over f of S_sigma(f) - S_oracle(f), where the oracle removes by the error itself

Ilg et al. 2018, "Uncertainty estimates and multi-hypotheses networks for optical flow", section 5. Coverage is the
share of errors below sigma and below 2 sigma; per decile, since a constant sigma can reach the right overall share.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Sparsification:
    """Relative mean error S of the pixels left after the most uncertain fraction is removed.

    ``fractions``: (K,) removed, from 0 to below 1. ``curve``: (K,) ordered by sigma. ``oracle``: (K,) ordered by the
    error. ``ause``: area between the two. ``ause_random``: area for a random order, also expected for a constant sigma.
    """

    fractions: F64
    curve: F64
    oracle: F64
    ause: float
    ause_random: float


@dataclass(frozen=True)
class Coverage:
    """Per decile of sigma, lowest first: its mean, and the shares of |error| below sigma and below 2 sigma.

    All (10,) float64. A calibrated 68 % sigma has ``within_one`` = 0.68 in every decile.
    """

    sigma: F64
    within_one: F64
    within_two: F64


def sparsification(error: NDArray[Any], sigma: NDArray[Any], steps: int = 100) -> Sparsification:
    """Sparsification of ``error`` (any shape, magnitudes) under ``sigma`` (same shape).

    Pixels of equal sigma count with their mean error, so the result does not depend on their order: a constant sigma
    gives the flat curve. Raises ValueError where shapes differ, where there are fewer pixels than ``steps``, or where
    the error is zero everywhere.
    """
    magnitude, sigmas = _flat(error, sigma)
    if magnitude.size < steps:
        raise ValueError(f"sparsification in {steps} steps needs as many pixels, got {magnitude.size}")
    total = float(magnitude.mean())
    if total == 0.0:
        raise ValueError("the error is zero everywhere: nothing to sparsify")
    tied = _tie_means(magnitude, sigmas)
    fractions = np.arange(steps) / steps
    keep = np.maximum(np.round(magnitude.size * (1.0 - fractions)).astype(int), 1)
    curve = _remaining(tied[np.argsort(sigmas, kind="stable")], keep) / total
    oracle = _remaining(np.sort(magnitude), keep) / total
    grid = np.append(fractions, 1.0)  # the last value is held to fraction 1
    return Sparsification(
        fractions,
        curve,
        oracle,
        ause=_area(grid, curve - oracle),
        ause_random=_area(grid, 1.0 - oracle),
    )


def coverage(error: NDArray[Any], sigma: NDArray[Any], bins: int = 10) -> Coverage:
    """Shares of |error| < sigma and < 2 sigma in ``bins`` groups of equal count, ordered by sigma.

    Pixels of equal sigma count with their mean share, so the result does not depend on their order. Raises ValueError
    where shapes differ or where there are fewer pixels than bins.
    """
    magnitude, sigmas = _flat(error, sigma)
    if magnitude.size < bins:
        raise ValueError(f"{bins} bins need as many pixels, got {magnitude.size}")
    within_one, within_two = (_tie_means(magnitude < factor * sigmas, sigmas) for factor in (1, 2))
    groups = np.array_split(np.argsort(sigmas, kind="stable"), bins)
    return Coverage(*(np.array([values[g].mean() for g in groups]) for values in (sigmas, within_one, within_two)))


def _flat(error: NDArray[Any], sigma: NDArray[Any]) -> tuple[F64, F64]:
    if error.shape != sigma.shape:
        raise ValueError(f"shapes differ: {error.shape} and {sigma.shape}")
    return np.abs(error.astype(np.float64)).ravel(), sigma.astype(np.float64).ravel()


def _tie_means(values: NDArray[Any], sigmas: F64) -> F64:
    """(N,) ``values``, each replaced by the mean over the pixels of equal sigma."""
    _, group = np.unique(sigmas, return_inverse=True)
    return np.asarray((np.bincount(group, values) / np.bincount(group))[group])


def _remaining(ordered: F64, keep: NDArray[np.int_]) -> F64:
    """Mean of the first ``keep[k]`` values, ordered from the most to the least certain."""
    return np.asarray(np.cumsum(ordered)[keep - 1] / keep)


def _area(grid: F64, values: F64) -> float:
    return float(np.trapezoid(np.append(values, values[-1]), grid))
