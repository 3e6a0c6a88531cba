"""The last fraction of a pixel in small pictures, which hold too few windows: ECC over all that stands still."""

import cv2
import numpy as np

from smarthdr_cli.align.brightness_transfer import transfer
from smarthdr_cli.align.model_selection import largest_shift
from smarthdr_cli.align.motion_models import ecc
from smarthdr_cli.align.pyramid_view import View, warp, warp_mask
from smarthdr_cli.radiometry import F64

_LEAST_SCALE = 1 / 1.5  # of the working picture: larger ones hold windows enough
_STILL = 2.0  # times the residual of the stillest third, below which a pixel counts as standing still
_FARTHEST = 3.0  # pixels: a polish that moves a corner farther has lost its way
_LEAST = 0.05  # log2 units: residuals this small always count


def polish(first: View, second: View, start: F64) -> F64 | None:
    """``start`` after homography ECC on the well-exposed pixels it already explains; None for large pictures."""
    if first.to_working[0, 0] < _LEAST_SCALE:
        return None
    height, width = first.log.shape
    tone, local = transfer(first, second, start), first.between(second, start)
    ours, theirs = tone.clamp(first.log), tone(second.log)
    whole = np.full(theirs.shape, 255, np.uint8)
    there = warp(theirs, local, (width, height))
    gap = cv2.blur(np.abs(ours - there), (7, 7))
    seen = (warp_mask(whole, local, (width, height)) > 0) & ~(
        (ours == there) & ((ours == tone.low) | (ours == tone.high))
    )
    if np.count_nonzero(seen) < 0.05 * seen.size:
        return None
    still = seen & (gap < max(_LEAST, _STILL * float(np.quantile(gap[seen], 1 / 3))))
    mask = still.view(np.uint8) * np.uint8(255)
    found = ecc(ours, mask, theirs, whole, local, cv2.MOTION_HOMOGRAPHY)
    if found is None or largest_shift(found @ np.linalg.inv(local), (height, width)) > _FARTHEST:
        return None
    return first.lifted(second, found)
