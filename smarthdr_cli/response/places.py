"""Which places of a burst speak of its curve: those where most equations of the neighbourhood agree.

What moves between the frames contradicts the curve, but not everywhere: by chance some of its equations agree with any
curve, and where half of the picture moves they bend it. They do not agree side by side; a still place does. So places
are judged by the share of agreement around them, and the curve is fitted on those that are left.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.radiometry import F64
from smarthdr_cli.response.crf_fit import CUTOFF, Rows, noise
from smarthdr_cli.response.samples import Samples

AROUND = 11  # blocks a side of the neighbourhood that is asked
AGREEING = 0.5  # share of its equations, of every pair of frames, that a place needs
FEWEST = 8.0  # equations of a pair around a place, for that pair to be asked

Mask = NDArray[np.bool_]


def agreeing_places(grid: tuple[int, int], rows: Sequence[Rows], log_curve: F64) -> Mask:
    """(M,) the blocks of ``grid`` whose neighbourhood agrees with ``log_curve`` (3, GRID + 1).

    ``rows``: the equations of all blocks, those that were left out of the curve's fit too: they may come back.
    """
    keep = np.ones(grid, bool)
    for pair in sorted({row.pair for row in rows}):
        told, agreed = np.zeros(grid, np.float32), np.zeros(grid, np.float32)
        for row in rows:
            if row.pair == pair:
                curve = log_curve[row.channel]
                residual = row.ratio - (curve[row.low] - curve[row.high])
                np.add.at(told.ravel(), row.at, 1.0)
                np.add.at(agreed.ravel(), row.at, np.abs(residual) < CUTOFF * noise(row, curve))
        told, agreed = (_around(counts) for counts in (told, agreed))
        keep &= (agreed >= AGREEING * told) | (told < FEWEST)
    return keep.ravel()


def only(samples: Samples, places: Mask) -> Samples:
    """``samples`` with no block good outside ``places``."""
    return Samples(samples.code, samples.spread, samples.good & places[:, None], samples.grid)


def _around(counts: NDArray[np.float32]) -> NDArray[np.float32]:
    """The sum of ``counts`` (rows, columns) over AROUND squared blocks, fewer at the borders."""
    return np.asarray(cv2.boxFilter(counts, -1, (AROUND, AROUND), normalize=False, borderType=cv2.BORDER_CONSTANT))
