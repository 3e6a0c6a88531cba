"""Camera motion between two frames as a shift, a similarity or a homography, from matched points or from pixels.

    x' ~ H x,  x = (x, y, 1)

H (3, 3) has two parameters as a shift, four as a similarity and eight as a homography. `fit_motion_model` takes the
richest model that the agreeing points determine. The test propagates the noise sigma of a point to the frame's corners,
to first order about the identity: Cov(theta) = sigma^2 (A^T A)^-1, with A the derivatives of the displacements by the
parameters theta. Robust fits are MAGSAC++ (Barath et al. 2020) and RANSAC. `refine_by_ecc` maximises the correlation of
pixels (ECC, Evangelidis and Psarakis 2008).
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.align.brightness_transfer import estimate_transfer
from smarthdr_cli.align.pyramid_view import View, project, warp, warp_mask
from smarthdr_cli.radiometry import F32, F64

_MIN_SIMILARITY_INLIERS = 6  # points; fewer carry a shift only
_MIN_POINT_SIGMA = 0.05  # pixels a coordinate
_MAX_CONDITION = 1e10  # of the information matrix

# refine_by_ecc
_MIN_ECC_SCALE = 1 / 1.5  # of the working picture; larger frames hold enough windows
_MIN_RECORDED_SHARE = 0.05  # of the pixels
_STATIC_RESIDUAL = 2.0  # times the residual of the most static third; below it a pixel counts as static
_MIN_STATIC_RESIDUAL = 0.05  # log2 units; below it a pixel always counts as static
_MAX_ECC_SHIFT = 3.0  # pixels of a corner; beyond, ECC has diverged


@dataclass(frozen=True)
class HomographyFit:
    """A homography (3, 3), how many points or windows agree with it, and how many were tried."""

    homography: F64
    inliers: int
    tried: int

    @property
    def reliable(self) -> bool:
        """Whether enough windows agree that no detour over a neighbouring frame is needed."""
        return self.inliers >= 12 and self.inliers >= 0.3 * self.tried

    @property
    def found_most(self) -> bool:
        """Whether so many windows agree that no other start can do better."""
        return self.reliable and self.inliers >= 0.6 * self.tried


def fit_motion_model(
    source: F64, target: F64, tolerance: float, size: tuple[int, int], min_homography_inliers: int
) -> HomographyFit:
    """The motion that most of the (N, 2) points agree on within ``tolerance`` pixels, N >= 1.

    A homography where ``min_homography_inliers`` points agree and determine the corners of the frame, of ``size``
    (height, width), to the tolerance; else a similarity under the same conditions; else a shift.
    """
    if len(source) >= min_homography_inliers:
        full, _inliers = cv2.findHomography(source, target, cv2.USAC_MAGSAC, tolerance, maxIters=5000, confidence=0.999)
        fit = _checked(full, source, target, tolerance, size, min_homography_inliers)
        if fit is not None:
            return fit
    if len(source) >= _MIN_SIMILARITY_INLIERS:
        affine, _inliers = cv2.estimateAffinePartial2D(
            source, target, method=cv2.RANSAC, ransacReprojThreshold=1.5 * tolerance
        )
        similarity = None if affine is None else np.vstack([affine, [0.0, 0.0, 1.0]])
        fit = _checked(similarity, source, target, 1.5 * tolerance, size, _MIN_SIMILARITY_INLIERS)
        if fit is not None:
            return fit
    shifts = target - source
    distance = np.linalg.norm(shifts[:, None] - shifts[None], axis=2)
    near = distance[int((distance < tolerance).sum(axis=1).argmax())] < tolerance
    centre = shifts[near].mean(axis=0)
    shift = np.array([[1.0, 0.0, centre[0]], [0.0, 1.0, centre[1]], [0.0, 0.0, 1.0]])
    return HomographyFit(shift, int(np.count_nonzero(near)), len(source))


def fit_similarity(source: F64, target: F64) -> F64:
    """The least-squares similarity (3, 3) that takes (N, 2) ``source`` to ``target``, N >= 2."""
    centre, scale = source.mean(axis=0), max(float(np.abs(source - source.mean(axis=0)).max()), 1.0)
    points, shifts = (source - centre) / scale, target - source
    (x, y, grow, turn), *_rest = np.linalg.lstsq(_design(points, similarity=True), shifts.T.ravel(), rcond=None)
    linear = np.eye(2) + np.array([[grow, -turn], [turn, grow]]) / scale
    out = np.eye(3)
    out[:2, :2], out[:2, 2] = linear, centre + np.array([x, y]) - linear @ centre
    return out


def corner_deviation(points: F64, sigma: float, size: tuple[int, int], *, similarity: bool) -> float:
    """Standard deviation, in pixels, of the worst corner of a motion fitted to ``points`` with noise ``sigma``.

    Of a similarity (4 parameters) or a homography (8). Infinite where the points do not determine the parameters.
    """
    height, width = size
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    scale, centre = max(width, height) / 2, np.array([width, height]) / 2
    design = _design((points - centre) / scale, similarity)
    information = design.T @ design
    if np.linalg.cond(information) > _MAX_CONDITION:
        return float("inf")
    at_corners = _design((corners - centre) / scale, similarity)
    variance = np.einsum("ij,jk,ik->i", at_corners, np.linalg.inv(information), at_corners).reshape(2, -1).sum(axis=0)
    return float(sigma * np.sqrt(variance.max()))


def largest_shift(homography: F64, size: tuple[int, int]) -> float:
    """The displacement, in pixels, of the corner or centre of a frame of ``size`` (height, width) that moves most."""
    height, width = size
    points = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1], [width / 2, height / 2]])
    return float(np.linalg.norm(project(homography, points) - points, axis=1).max())


def refine_by_ecc(first: View, second: View, start: F64) -> F64 | None:
    """``start`` refined by ECC with eight parameters over the static, well-exposed pixels of the working picture.

    For small frames, which hold too few windows for the last fraction of a pixel. None for larger ones, and where ECC
    fails or diverges.
    """
    if first.to_working[0, 0] < _MIN_ECC_SCALE:
        return None
    height, width = first.log.shape
    transfer, local = estimate_transfer(first, second, start), first.full_to_working(second, start)
    target, source = transfer.clamp(first.log), transfer(second.log)
    source_mask = np.full(source.shape, 255, np.uint8)
    warped = warp(source, local, (width, height))
    residual = cv2.blur(np.abs(target - warped), (7, 7))
    outside_range = (target == warped) & ((target == transfer.low) | (target == transfer.high))
    recorded = (warp_mask(source_mask, local, (width, height)) > 0) & ~outside_range
    if np.count_nonzero(recorded) < _MIN_RECORDED_SHARE * recorded.size:
        return None
    static_third = float(np.quantile(residual[recorded], 1 / 3))
    static = recorded & (residual < max(_MIN_STATIC_RESIDUAL, _STATIC_RESIDUAL * static_third))
    target_mask = static.view(np.uint8) * np.uint8(255)
    refined = ecc(target, target_mask, source, source_mask, local, cv2.MOTION_HOMOGRAPHY)
    if refined is None or largest_shift(refined @ np.linalg.inv(local), (height, width)) > _MAX_ECC_SHIFT:
        return None
    return first.working_to_full(second, refined)


def ecc(
    target: F32, target_mask: NDArray[Any], source: F32, source_mask: NDArray[Any], start: NDArray[Any], model: int
) -> F64 | None:
    """The warp from ``target`` to ``source`` coordinates by ECC from ``start``, under both masks.

    ``model``: OpenCV's ``MOTION_*``. None where ECC does not converge (OpenCV raises).
    """
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-4)
    try:
        score, warp_matrix = cv2.findTransformECCWithMask(
            target, source, target_mask, source_mask, start.astype(np.float32), model, criteria, 5
        )
    except cv2.error:
        return None
    if not np.isfinite(score) or not np.all(np.isfinite(warp_matrix)):
        return None
    return np.asarray(warp_matrix, np.float64)


def _checked(
    matrix: Any, source: F64, target: F64, tolerance: float, size: tuple[int, int], min_inliers: int
) -> HomographyFit | None:
    """``matrix`` with its inliers, None where they are too few or leave a corner undetermined."""
    if matrix is None or not np.all(np.isfinite(matrix)):
        return None
    homography = np.asarray(matrix, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.linalg.norm(project(homography, source) - target, axis=1)
    close = error < tolerance
    inliers = int(np.count_nonzero(close))
    if inliers < min_inliers:
        return None
    sigma = max(float(np.sqrt(np.mean(error[close] ** 2) / 2)), _MIN_POINT_SIGMA)
    similarity = min_inliers == _MIN_SIMILARITY_INLIERS
    if corner_deviation(source[close], sigma, size, similarity=similarity) > tolerance:
        return None
    return HomographyFit(homography, inliers, len(source))


def _design(points: F64, similarity: bool) -> F64:
    """(2N, 4 or 8) derivatives of all x, then all y displacements by the parameters, at the identity."""
    x, y = points.T
    one, zero = np.ones_like(x), np.zeros_like(x)
    if similarity:
        columns = [(one, zero), (zero, one), (x, y), (-y, x)]
    else:
        columns = [(one, zero), (x, zero), (y, zero), (zero, one), (zero, x), (zero, y), (x * x, x * y), (x * y, y * y)]
    return np.column_stack([np.concatenate(pair) for pair in columns])
