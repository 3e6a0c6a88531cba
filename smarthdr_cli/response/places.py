"""Which places of a burst speak of its curve: those where most equations of the neighbourhood agree.

What moves between the frames contradicts the curve, but not everywhere: by chance some of its equations agree with any
curve, and where half of the picture moves they bend it. They do not agree side by side; a still place does. So places
are judged by the share of agreement around them, and the curve is fitted on those that are left.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.response.fit import CUTOFF, Fit
from smarthdr_cli.response.samples import Samples

AROUND = 11  # blocks a side of the neighbourhood that is asked
AGREEING = 0.5  # share of its equations, of every pair of frames, that a place needs
FEWEST = 8.0  # equations of a pair around a place, for that pair to be asked

Mask = NDArray[np.bool_]


def agreeing_places(samples: Samples, fit: Fit) -> Mask:
    """(M,) the blocks of ``samples`` whose neighbourhood agrees with ``fit``, a fit of these samples or of some."""
    shape, keep = samples.grid, np.ones(samples.grid, bool)
    for pair in sorted({row.pair for row in fit.rows}):
        told, agreed = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        for row, residual, sigma in zip(fit.rows, fit.residuals, fit.sigmas, strict=True):
            if row.pair == pair:
                np.add.at(told.ravel(), row.at, 1.0)
                np.add.at(agreed.ravel(), row.at, np.abs(residual) < CUTOFF * sigma)
        told, agreed = (_around(counts) for counts in (told, agreed))
        keep &= (agreed >= AGREEING * told) | (told < FEWEST)
    return keep.ravel()


def only(samples: Samples, places: Mask) -> Samples:
    """``samples`` with no block good outside ``places``."""
    return Samples(samples.code, samples.spread, samples.good & places[:, None], samples.grid)


def _around(counts: NDArray[np.float32]) -> NDArray[np.float32]:
    """The sum of ``counts`` (rows, columns) over AROUND squared blocks, fewer at the borders."""
    return np.asarray(cv2.boxFilter(counts, -1, (AROUND, AROUND), normalize=False, borderType=cv2.BORDER_CONSTANT))
