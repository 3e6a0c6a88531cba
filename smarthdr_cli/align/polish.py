"""The last fraction of a pixel in small pictures, which hold too few windows: ECC over all that stands still."""

import cv2
import numpy as np

from smarthdr_cli.align.motion import ecc
from smarthdr_cli.align.tone import transfer
from smarthdr_cli.align.verdict import largest_shift
from smarthdr_cli.align.view import F64, View, warp, warp_mask

_MOST_PIXELS = 1_200_000  # larger pictures hold windows enough
_STILL = 2.0  # times the residual of the stillest third, below which a pixel counts as standing still
_FARTHEST = 3.0  # pixels: a polish that moves a corner farther has lost its way
_LEAST = 0.05  # log2 units: residuals this small always count


def polish(first: View, second: View, start: F64) -> F64 | None:
    """``start`` after homography ECC on the well-exposed pixels it already explains; None for large pictures."""
    height, width = first.log.shape
    if height * width > _MOST_PIXELS or first.coarse is not None:
        return None
    tone = transfer(first, second, start)
    theirs = tone(second.log)
    gap = cv2.blur(np.abs(first.log - warp(theirs, start, (width, height))), (7, 7))
    seen = cv2.bitwise_and(first.valid, warp_mask(second.valid, start, (width, height))) > 0
    if np.count_nonzero(seen) < 0.05 * seen.size:
        return None
    still = seen & (gap < max(_LEAST, _STILL * float(np.quantile(gap[seen], 1 / 3))))
    mask = still.view(np.uint8) * np.uint8(255)
    found = ecc(first.log, mask, theirs, second.valid, start, cv2.MOTION_HOMOGRAPHY)
    if found is None or largest_shift(found @ np.linalg.inv(start), (height, width)) > _FARTHEST:
        return None
    return np.asarray(found / found[2, 2])
