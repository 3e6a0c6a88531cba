"""Calibration of sigma: from the raw sigma of the uncertainty head to the 68 % quantile of |error|.

One monotone curve, piecewise linear in log-log, fitted on held-out crops with ground truth: pixels are sorted by raw
sigma into bins of equal count; each bin gives its median raw sigma and its quantile of |error|; isotonic regression
makes the quantiles non-decreasing. No two pixels swap their rank.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, DTypeLike, NDArray
from torch import Tensor

from smarthdr_cli.models.uncertainty_head import SIGMA_MAX, SIGMA_MIN

QUANTILE = 0.68
BINS = 64
BIN_SAMPLES = 200  # a 68 % quantile from 200 values is known to about 3 points of coverage
F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """Knots of the curve: ``raw`` strictly increasing, ``calibrated`` non-decreasing, both in (0, inf), mu-law units.

    Below the first knot the curve is constant (no smaller sigma was measured); above the last it has slope 1, so that
    the worst pixels keep their order. Results lie in [SIGMA_MIN, SIGMA_MAX]. ``quantile``: the share of pixels with
    |error| below sigma. ``samples``: number of pixels in the fit. ``eight_bit``: the curve for 8-bit files, None where
    this one serves both. Raises ValueError for other knots.
    """

    raw: tuple[float, ...]
    calibrated: tuple[float, ...]
    quantile: float = QUANTILE
    samples: int = 0
    eight_bit: "Calibration | None" = None

    def __post_init__(self) -> None:
        if not self.raw or len(self.raw) != len(self.calibrated):
            raise ValueError("a calibration needs as many raw as calibrated values, at least one")
        if not all(math.isfinite(v) and v > 0 for v in self.raw + self.calibrated):
            raise ValueError("a calibration's values must be finite and above 0")
        if any(b <= a for a, b in pairwise(self.raw)):
            raise ValueError("a calibration's raw values must increase")
        if any(b < a for a, b in pairwise(self.calibrated)):
            raise ValueError("a calibration's calibrated values must not decrease")

    def for_codes(self, dtypes: Iterable[DTypeLike]) -> "Calibration":
        """The curve for frames whose source codes have these types; one 8-bit frame makes the burst 8-bit."""
        any_eight_bit = any(np.dtype(dtype) == np.uint8 for dtype in dtypes)
        return self.eight_bit if any_eight_bit and self.eight_bit is not None else self

    def apply(self, sigma: ArrayLike) -> NDArray[np.float32]:
        """Raw sigma of any shape, mu-law units, to calibrated sigma."""
        value = np.log(np.maximum(np.asarray(sigma, np.float64), SIGMA_MIN))
        knots = np.log(self.raw)
        out = np.interp(value, knots, np.log(self.calibrated)) + np.maximum(value - knots[-1], 0)
        return np.asarray(np.exp(out).clip(SIGMA_MIN, SIGMA_MAX), np.float32)

    def apply_torch(self, sigma: Tensor) -> Tensor:
        """``apply`` for a tensor of any shape, on its device, in float32."""
        value = sigma.float().clamp_min(SIGMA_MIN).log()
        knots = torch.tensor(self.raw, dtype=torch.float64).log()
        levels = torch.tensor(self.calibrated, dtype=torch.float64).log()
        # Segment i ends at knot i: level before the first, slope 1 after the last.
        slopes = torch.cat([torch.zeros(1), levels.diff() / knots.diff(), torch.ones(1)])
        starts = torch.cat([knots[:1], knots]).float().to(value.device)
        bases = torch.cat([levels[:1], levels]).float().to(value.device)
        segment = torch.bucketize(value, starts[1:])
        out = bases[segment] + (value - starts[segment]) * slopes.float().to(value.device)[segment]
        return out.exp().clamp(SIGMA_MIN, SIGMA_MAX)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        values = {
            "raw": list(self.raw),
            "calibrated": list(self.calibrated),
            "quantile": self.quantile,
            "samples": self.samples,
        }
        return values if self.eight_bit is None else {**values, "eight_bit": self.eight_bit.to_dict()}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "Calibration":
        """The inverse of ``to_dict``. Raises ValueError for other values."""
        try:
            calibration = Calibration(
                tuple(float(v) for v in values["raw"]),
                tuple(float(v) for v in values["calibrated"]),
                float(values["quantile"]),
                int(values["samples"]),
            )
            eight_bit = values.get("eight_bit")
            if eight_bit is None:
                return calibration
            return replace(calibration, eight_bit=Calibration.from_dict({**eight_bit, "eight_bit": None}))
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"not a calibration: {error}") from error


def fit_calibration(sigma_raw: ArrayLike, abs_error: ArrayLike, quantile: float = QUANTILE) -> Calibration:
    """The curve for which |error| < sigma holds for ``quantile`` of the pixels at every level of sigma.

    ``sigma_raw``: of the uncertainty head, any shape, above 0. ``abs_error``: |error| in the mu-law domain, mean over
    channels, as many values. Raises ValueError where the numbers differ, a value is not finite, or there are fewer than
    BIN_SAMPLES.
    """
    sigma = np.asarray(sigma_raw, np.float64).ravel()
    error = np.asarray(abs_error, np.float64).ravel()
    if sigma.size != error.size:
        raise ValueError(f"{sigma.size} sigmas for {error.size} errors")
    if sigma.size < BIN_SAMPLES:
        raise ValueError(f"{sigma.size} pixels are too few to calibrate on; at least {BIN_SAMPLES} are needed")
    if not (np.isfinite(sigma).all() and np.isfinite(error).all() and (sigma > 0).all() and (error >= 0).all()):
        raise ValueError("calibration needs finite sigmas above 0 and errors not below 0")
    order = np.argsort(sigma, kind="stable")
    sigma, error = sigma[order], error[order]
    bins = min(BINS, sigma.size // BIN_SAMPLES)
    cuts = np.searchsorted(sigma, sigma[np.arange(bins) * sigma.size // bins])  # equal sigmas share a bin
    cuts = np.append(np.unique(cuts), sigma.size)
    raw = np.array([np.median(sigma[a:b]) for a, b in pairwise(cuts)])
    level = np.array([np.quantile(error[a:b], quantile) for a, b in pairwise(cuts)])
    level = np.exp(isotonic(np.log(level.clip(SIGMA_MIN, SIGMA_MAX)), np.diff(cuts)))
    return Calibration(tuple(raw.tolist()), tuple(level.tolist()), quantile, int(sigma.size))


def isotonic(values: ArrayLike, weights: ArrayLike) -> F64:
    """The non-decreasing sequence nearest to ``values`` in weighted least squares; both (n,), weights above 0.

    Pool adjacent violators (Ayer et al. 1955), linear time.
    """
    pools: list[tuple[float, float, int]] = []  # mean, weight, length
    for value, weight in zip(np.asarray(values, float), np.asarray(weights, float), strict=True):
        mean, total, length = float(value), float(weight), 1
        while pools and pools[-1][0] > mean:
            previous_mean, previous_total, previous_length = pools.pop()
            mean = (previous_mean * previous_total + mean * total) / (previous_total + total)
            total, length = previous_total + total, previous_length + length
        pools.append((mean, total, length))
    return np.repeat([mean for mean, _, _ in pools], [length for _, _, length in pools]).astype(np.float64)
