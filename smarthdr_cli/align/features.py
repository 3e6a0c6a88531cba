"""A first homography between two frames, from features that exposure and tone curve leave alone.

SIFT (Lowe 2004) on the locally equalised logarithm of luminance, where exposure is an offset and a curve nearly a
gain; mutual matches with the ratio test; MAGSAC++ (Barath et al. 2020). A scene too plain or too small for features
gets phase correlation and ECC (Evangelidis and Psarakis 2008) instead.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.align.tone import transfer
from smarthdr_cli.align.view import F64, View
from smarthdr_cli.linear import F32

_CELLS = 8
_PER_CELL = 40
_RATIO = 0.8
_MIN_MATCHES = 12


@dataclass(frozen=True)
class Features:
    """``points``: (M, 2) in full-resolution pixels; ``descriptors``: (M, 128) float32."""

    points: F64
    descriptors: NDArray[np.float32]


def detect(view: View) -> Features:
    """SIFT features of the well-exposed part of a view, the strongest of each cell of a grid."""
    h, w = view.log.shape
    plane = np.clip((view.log + 8.0) * (255.0 / 8.0), 0.0, 255.0).astype(np.uint8)
    plane = cv2.createCLAHE(clipLimit=4.0, tileGridSize=(8, 8)).apply(plane)
    mask = cv2.erode(view.valid, np.ones((5, 5), np.uint8))
    sift = cv2.SIFT_create(contrastThreshold=0.02)
    found = sorted(sift.detect(plane, mask), key=lambda point: -point.response)
    room: dict[tuple[int, int], int] = {}
    kept = []
    for point in found:
        cell = (int(point.pt[0] * _CELLS / w), int(point.pt[1] * _CELLS / h))
        if room.setdefault(cell, _PER_CELL) > 0:
            room[cell] -= 1
            kept.append(point)
    if len(kept) < _MIN_MATCHES:
        return Features(np.zeros((0, 2)), np.zeros((0, 128), np.float32))
    kept, descriptors = sift.compute(plane, kept)
    inverse = np.linalg.inv(view.to_working)
    points = np.array([point.pt for point in kept]) * np.diag(inverse)[:2] + inverse[:2, 2]
    rooted = np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6))  # RootSIFT
    return Features(points, np.asarray(rooted, np.float32))


def match(first: Features, second: Features, tolerance: float) -> tuple[F64 | None, int]:
    """Homography from ``first`` to ``second`` and the number of matches that agree with it within ``tolerance`` px."""
    if min(len(first.points), len(second.points)) < _MIN_MATCHES:
        return None, 0
    likeness = first.descriptors @ second.descriptors.T  # cosine of unit vectors
    best = likeness.argmax(axis=1)
    rows = np.arange(len(best))
    top = likeness[rows, best]
    mutual = likeness.argmax(axis=0)[best] == rows
    likeness[rows, best] = -1.0
    runner_up = likeness.max(axis=1)
    distinct = (1.0 - top) < _RATIO**2 * (1.0 - runner_up)  # squared distances
    keep = mutual & distinct
    if np.count_nonzero(keep) < _MIN_MATCHES:
        return None, 0
    return robust_homography(first.points[keep], second.points[best[keep]], tolerance)


def robust_homography(source: F64, target: F64, tolerance: float) -> tuple[F64 | None, int]:
    """MAGSAC++ homography and its inlier count; None when the points do not support one."""
    homography, inliers = cv2.findHomography(
        source.astype(np.float32),
        target.astype(np.float32),
        cv2.USAC_MAGSAC,
        tolerance,
        maxIters=5000,
        confidence=0.999,
    )
    if homography is None or inliers is None or not np.all(np.isfinite(homography)):
        return None, 0
    return np.asarray(homography, np.float64), int(np.count_nonzero(inliers))


def correlate(first: View, second: View) -> F64 | None:
    """Homography by phase correlation and ECC at working size, for scenes without features; None when it diverges."""
    h, w = first.log.shape
    tone = transfer(first, second, np.eye(3))
    ours, theirs = first.log, tone(second.log)
    hann = cv2.createHanningWindow((w, h), cv2.CV_32F)
    (dx, dy), _ = cv2.phaseCorrelate(_edges(ours), _edges(theirs), hann)
    start = np.array([[1.0, 0.0, dx], [0.0, 1.0, dy], [0.0, 0.0, 1.0]], np.float32)
    local = ecc(ours, first.valid, theirs, second.valid, start, cv2.MOTION_HOMOGRAPHY)
    if local is None:
        return None
    return np.asarray(np.linalg.inv(second.to_working) @ local @ first.to_working)


def ecc(
    ours: F32, our_mask: NDArray[Any], theirs: F32, their_mask: NDArray[Any], start: NDArray[Any], motion: int
) -> F64 | None:
    """ECC from ``start`` under both masks; None where it does not converge, which OpenCV says by an error."""
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


def _edges(plane: F32) -> F32:
    return np.asarray(plane - cv2.GaussianBlur(plane, (0, 0), 8.0), np.float32)
