"""A first homography between two frames, from features that change little with exposure and tone curve.

SIFT (Lowe 2004) with RootSIFT descriptors (Arandjelovic and Zisserman 2012) on the locally equalised log light, where
an exposure is an offset and a tone curve nearly a gain. Matches are mutual nearest neighbours that pass the ratio test
d1 < 0.8 d2; MAGSAC++ (Barath et al. 2020) fits the motion. Phase correlation, refined by ECC (Evangelidis and Psarakis
2008), is cheaper, and enough for most hands.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.align.brightness_transfer import estimate_transfer
from smarthdr_cli.align.motion_models import HomographyFit, ecc, fit_motion_model
from smarthdr_cli.align.pyramid_view import View, scaling
from smarthdr_cli.radiometry import F32, F64

_GRID = 8  # cells a side, so that features spread over the picture
_MAX_PER_CELL = 40
_MAX_PIXELS = 5.0e5  # of the picture given to SIFT, which doubles it: memory and time grow with it
_MAX_RATIO = 0.8  # of the distances to the nearest and the second nearest descriptor (Lowe 2004)
_MIN_MATCHES = 12
_MIN_HOMOGRAPHY_MATCHES = 24  # a feature is good to about one working pixel
_CORRELATION_SIDE = 320  # pixels of the longer side for phase correlation


@dataclass(frozen=True)
class Features:
    """``points``: (M, 2) in full-resolution pixels; ``descriptors``: (M, 128) float32 of unit length."""

    points: F64
    descriptors: NDArray[np.float32]


def detect_features(view: View) -> Features:
    """SIFT features of the well-exposed part of ``view``, the strongest of each cell of a grid."""
    h, w = view.log.shape
    plane = np.clip((view.log + 8.0) * (255.0 / 8.0), 0.0, 255.0).astype(np.uint8)
    factor = min(1.0, float(np.sqrt(_MAX_PIXELS / (h * w))))
    size = (max(1, round(w * factor)), max(1, round(h * factor)))
    plane = np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.uint8)
    plane = cv2.createCLAHE(clipLimit=4.0, tileGridSize=(8, 8)).apply(plane)
    valid = cv2.resize(view.valid, size, interpolation=cv2.INTER_NEAREST)
    mask = cv2.erode(valid, np.ones((5, 5), np.uint8))
    sift = cv2.SIFT.create(contrastThreshold=0.02)
    strongest = []
    count: dict[tuple[int, int], int] = {}
    for keypoint in sorted(sift.detect(plane, mask), key=lambda point: -point.response):
        cell = (int(keypoint.pt[0] * _GRID / size[0]), int(keypoint.pt[1] * _GRID / size[1]))
        count[cell] = count.get(cell, 0) + 1
        if count[cell] <= _MAX_PER_CELL:
            strongest.append(keypoint)
    if len(strongest) < _MIN_MATCHES:
        return Features(np.zeros((0, 2)), np.zeros((0, 128), np.float32))
    keypoints, descriptors = sift.compute(plane, strongest)
    to_full = np.linalg.inv(scaling((h, w), size[::-1]) @ view.to_working)
    points = np.array([keypoint.pt for keypoint in keypoints]) * np.diag(to_full)[:2] + to_full[:2, 2]
    root = np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6))
    return Features(points, np.asarray(root, np.float32))


def match_features(first: Features, second: Features, tolerance: float, size: tuple[int, int]) -> HomographyFit | None:
    """The motion from ``first`` to ``second`` that most matches agree on within ``tolerance`` pixels, if any."""
    if min(len(first.points), len(second.points)) < _MIN_MATCHES:
        return None
    similarity = first.descriptors @ second.descriptors.T  # cosine of unit vectors
    nearest = similarity.argmax(axis=1)
    rows = np.arange(len(nearest))
    best = similarity[rows, nearest]
    mutual = similarity.argmax(axis=0)[nearest] == rows
    similarity[rows, nearest] = -1.0
    second_best = similarity.max(axis=1)
    distinct = (1.0 - best) < _MAX_RATIO**2 * (1.0 - second_best)  # squared distances
    matches = mutual & distinct
    if np.count_nonzero(matches) < _MIN_MATCHES:
        return None
    fit = fit_motion_model(
        first.points[matches], second.points[nearest[matches]], tolerance, size, _MIN_HOMOGRAPHY_MATCHES
    )
    return fit if fit is not None and fit.inliers >= _MIN_MATCHES else None


def correlate(first: View, second: View) -> F64 | None:
    """The homography by phase correlation and ECC on a small picture; None where ECC diverges."""
    h, w = first.log.shape
    transfer = estimate_transfer(first, second, np.eye(3))
    factor = min(1.0, _CORRELATION_SIDE / max(h, w))
    size = (max(16, round(w * factor)), max(16, round(h * factor)))
    logs = (transfer.clamp(first.log), transfer(second.log))
    target, source = (np.asarray(cv2.resize(log, size, interpolation=cv2.INTER_AREA), np.float32) for log in logs)
    mask = np.full(size[::-1], 255, np.uint8)
    hann = cv2.createHanningWindow(size, cv2.CV_32F)
    (dx, dy), _response = cv2.phaseCorrelate(_high_pass(target), _high_pass(source), hann)
    start = np.array([[1.0, 0.0, dx], [0.0, 1.0, dy]])
    local = ecc(target, mask, source, mask, start, cv2.MOTION_EUCLIDEAN)
    if local is None:
        return None
    reduce = scaling((h, w), size[::-1])
    return first.working_to_full(second, np.linalg.inv(reduce) @ np.vstack([local, [0.0, 0.0, 1.0]]) @ reduce)


def _high_pass(plane: F32) -> F32:
    return np.asarray(plane - cv2.GaussianBlur(plane, (0, 0), 8.0), np.float32)
