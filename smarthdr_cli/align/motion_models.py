"""Fitting a motion: as many parameters as the points that agree can carry, and ECC for the pixels themselves."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.align.pyramid_view import project
from smarthdr_cli.radiometry import F32, F64

_SIMILAR = 6  # points that must agree for the four parameters of a similarity; below, two of a shift


@dataclass(frozen=True)
class Motion:
    """``homography`` (3, 3) and ``agreeing``, the number of points it explains."""

    homography: F64
    agreeing: int


def fit_motion(source: F64, target: F64, tolerance: float, size: tuple[int, int], enough: int) -> Motion | None:
    """The motion most (N, 2) points agree on within ``tolerance`` pixels; ``size`` = (height, width) of the frame.

    A homography by MAGSAC++ (Barath et al. 2020) when ``enough`` points agree and pin down the frame's corners to the
    tolerance, else a similarity on the same terms, else a shift: too many parameters on huddled points throw the far
    corner.
    """
    if len(source) >= enough:
        full, _inliers = cv2.findHomography(source, target, cv2.USAC_MAGSAC, tolerance, maxIters=5000, confidence=0.999)
        motion = _agreeing(full, source, target, tolerance, size, enough)
        if motion is not None:
            return motion
    if len(source) >= _SIMILAR:
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


def fit_similarity(source: F64, target: F64) -> F64:
    """The least-squares similarity (3, 3) that takes (N, 2) ``source`` to ``target``, N >= 2."""
    centre, scale = source.mean(axis=0), max(float(np.abs(source - source.mean(axis=0)).max()), 1.0)
    points, shifts = (source - centre) / scale, target - source
    (x, y, grow, turn), *_rest = np.linalg.lstsq(_design(points, True), shifts.T.ravel(), rcond=None)
    linear = np.eye(2) + np.array([[grow, -turn], [turn, grow]]) / scale
    out = np.eye(3)
    out[:2, :2], out[:2, 2] = linear, centre + np.array([x, y]) - linear @ centre
    return out


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
    found: Any, source: F64, target: F64, tolerance: float, size: tuple[int, int], enough: int
) -> Motion | None:
    if found is None or not np.all(np.isfinite(found)):
        return None
    homography = np.asarray(found, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.linalg.norm(project(homography, source) - target, axis=1)
    close = error < tolerance
    count = int(np.count_nonzero(close))
    if count < enough:
        return None
    spread = float(np.sqrt(np.mean(error[close] ** 2) / 2))  # per coordinate
    if corner_deviation(source[close], max(spread, 0.05), size, similar=enough == _SIMILAR) > tolerance:
        return None
    return Motion(homography, count)


def corner_deviation(points: F64, sigma: float, size: tuple[int, int], *, similar: bool) -> float:
    """Standard deviation, in pixels, of the worst corner of a motion fitted to ``points`` with noise ``sigma``.

    First-order propagation through the design matrix of a similarity (4 parameters) or a homography (8) about identity.
    """
    height, width = size
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    scale, centre = max(width, height) / 2, np.array([width, height]) / 2
    design = _design((points - centre) / scale, similar)
    information = design.T @ design
    if np.linalg.cond(information) > 1e10:
        return float("inf")
    reach = _design((corners - centre) / scale, similar)
    variance = np.einsum("ij,jk,ik->i", reach, np.linalg.inv(information), reach).reshape(2, -1).sum(axis=0)
    return float(sigma * np.sqrt(variance.max()))


def _design(points: F64, similar: bool) -> F64:
    """(2N, 4 or 8) derivatives of x then y displacement by the parameters of the motion at identity."""
    x, y = points.T
    one, none = np.ones_like(x), np.zeros_like(x)
    if similar:
        columns = [(one, none), (none, one), (x, y), (-y, x)]
    else:
        columns = [(one, none), (x, none), (y, none), (none, one), (none, x), (none, y), (x * x, x * y), (x * y, y * y)]
    return np.column_stack([np.concatenate(pair) for pair in columns])
