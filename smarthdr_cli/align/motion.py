"""Fitting a motion: as many parameters as the points that agree can carry, and ECC for the pixels themselves."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.align.view import F64, project
from smarthdr_cli.linear import F32

_FULL_SPAN = 0.5  # share of the frame that agreeing points must span for the eight parameters of a homography
_SIMILAR = (6, 0.25)  # points that agree, and their span, for the four of a similarity; below, two


@dataclass(frozen=True)
class Motion:
    """``homography`` (3, 3) and ``agreeing``, the number of points it explains."""

    homography: F64
    agreeing: int


def fit_motion(source: F64, target: F64, tolerance: float, size: tuple[int, int], enough: int) -> Motion | None:
    """The motion most (N, 2) points agree on within ``tolerance`` pixels; ``size`` = (height, width) of the frame.

    A homography by MAGSAC++ (Barath et al. 2020) when ``enough`` well-spread points agree, else a similarity, else a
    shift: a model with too many parameters fits huddled points and throws the far corner.
    """
    if len(source) >= enough:
        full, _inliers = cv2.findHomography(source, target, cv2.USAC_MAGSAC, tolerance, maxIters=5000, confidence=0.999)
        motion = _agreeing(full, source, target, tolerance, size, (enough, _FULL_SPAN))
        if motion is not None:
            return motion
    if len(source) >= _SIMILAR[0]:
        found, _inliers = cv2.estimateAffinePartial2D(
            source, target, method=cv2.RANSAC, ransacReprojThreshold=1.5 * tolerance
        )
        similar = None if found is None else np.vstack([found, [0.0, 0.0, 1.0]])
        motion = _agreeing(similar, source, target, 1.5 * tolerance, size, _SIMILAR)
        if motion is not None:
            return motion
    shifts = target - source
    distance = np.linalg.norm(shifts[:, None] - shifts[None], axis=2)
    near = distance[int((distance < tolerance).sum(axis=1).argmax())] < tolerance
    centre = shifts[near].mean(axis=0)
    shift = np.array([[1.0, 0.0, centre[0]], [0.0, 1.0, centre[1]], [0.0, 0.0, 1.0]])
    return Motion(shift, int(np.count_nonzero(near)))


def ecc(
    ours: F32, our_mask: NDArray[Any], theirs: F32, their_mask: NDArray[Any], start: NDArray[Any], motion: int
) -> F64 | None:
    """ECC (Evangelidis and Psarakis 2008) from ``start`` under both masks, taking ``ours`` to ``theirs``.

    None where it does not converge, which OpenCV says by raising.
    """
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-4)
    try:
        score, found = cv2.findTransformECCWithMask(
            ours, theirs, our_mask, their_mask, start.astype(np.float32), motion, criteria, 5
        )
    except cv2.error:
        return None
    if not np.isfinite(score) or not np.all(np.isfinite(found)):
        return None
    return np.asarray(found, np.float64)


def _agreeing(
    found: Any, source: F64, target: F64, tolerance: float, size: tuple[int, int], needs: tuple[int, float]
) -> Motion | None:
    if found is None or not np.all(np.isfinite(found)):
        return None
    homography = np.asarray(found, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        close = np.linalg.norm(project(homography, source) - target, axis=1) < tolerance
    count = int(np.count_nonzero(close))
    if count < needs[0] or np.any(np.ptp(source[close], axis=0) < needs[1] * np.array([size[1], size[0]])):
        return None
    return Motion(homography, count)
