"""Whether the stated exposures contradict one another, whatever the curve.

f and f**p explain the same pixels with every log ratio multiplied by p, so the pixels cannot tell how far apart the
exposures are; they do tell in which proportion. The fit may therefore shift the stated exposures in every direction
but those that the pixels are blind to: all together (in each group of frames that pairs connect), and all in
proportion. What it shifts them by is their contradiction, free of any bend of the curve.
"""

from dataclasses import dataclass

import numpy as np

from smarthdr_cli.radiometry import F64
from smarthdr_cli.response.crf_fit import Rows

MIN_LINK = 300  # equations that connect two frames


@dataclass(frozen=True)
class Balance:
    """``size``: EV by which the frame that contradicts most does so, in standard units: of three evenly spaced frames
    0.82 of the middle one's error or 0.41 of an outer one's; of many, nearly the frame's whole error. ``exponents``:
    the least and largest power p that blaming any single frame for all of it would put on the curve.
    """

    size: float
    exponents: tuple[float, float]


def freedom(rows: tuple[Rows, ...], evs: F64) -> F64:
    """(N, m) orthonormal directions of the exposures in which pixels can contradict them; m = 0 for two frames."""
    count = len(evs)
    links: dict[tuple[int, int], int] = {}
    for row in rows:
        links[row.pair] = links.get(row.pair, 0) + len(row.low)
    group = np.arange(count)
    for (i, j), found in links.items():
        if found >= MIN_LINK:
            group[group == group[j]] = group[i]
    blind = [(group == g).astype(float) for g in np.unique(group)]
    if len(blind) < count:
        blind.append(evs - sum(np.mean(evs[member > 0]) * member for member in blind))
    columns = np.stack(blind, axis=1)
    return np.asarray(np.linalg.qr(columns, mode="complete")[0][:, columns.shape[1] :])


def measure_balance(shifts: F64, directions: F64, evs: F64) -> Balance:
    """The contradiction in the ``shifts`` (EV) that a fit found along ``directions``."""
    seen = np.einsum("nm,nm->n", directions, directions)  # share of each frame's own error that pixels can see
    told = seen > 1e-3
    if not told.any():
        return Balance(0.0, (1.0, 1.0))
    size = float(np.max(np.abs(shifts[told]) / np.sqrt(seen[told])))
    centred = evs - evs.mean()
    span = float(centred @ centred)
    # Had frame k alone been misstated, it would be by -shift / seen, and the proportional part of that error is hidden.
    hidden = 1.0 + (shifts[told] / seen[told]) * centred[told] / span
    return Balance(size, (float(min(1.0, hidden.min())), float(max(1.0, hidden.max()))))
