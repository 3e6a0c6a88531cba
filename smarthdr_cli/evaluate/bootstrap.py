"""How much a mean over scenes would change with other scenes: the percentile bootstrap."""

from collections.abc import Sequence

import numpy as np

RESAMPLES = 10_000
_AT_ONCE = 500  # resamples held in memory


def interval(values: Sequence[float], *, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Bounds of the mean of ``values`` at ``level`` (Efron and Tibshirani 1993, section 13.3), the same for one seed.

    NaNs do not take part; fewer than two values have no interval (NaN, NaN).
    """
    known = np.asarray(values, np.float64)
    known = known[~np.isnan(known)]
    if known.size < 2:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    blocks = [rng.integers(0, known.size, (_AT_ONCE, known.size)) for _ in range(RESAMPLES // _AT_ONCE)]
    means = np.concatenate([known[block].mean(axis=1) for block in blocks])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
