"""A first homography between two frames, from features that exposure and tone curve leave alone.

SIFT (Lowe 2004) on the locally equalised logarithm of luminance, where exposure is an offset and a curve nearly a
gain; mutual matches with the ratio test; MAGSAC++ (Barath et al. 2020). A scene too plain or too small for features
gets phase correlation and ECC (Evangelidis and Psarakis 2008) instead.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.align.brightness_transfer import transfer
from smarthdr_cli.align.motion_models import Motion, ecc, fit_motion
from smarthdr_cli.align.pyramid_view import View, scaling
from smarthdr_cli.radiometry import F32, F64

_CELLS = 8
_PIXELS = 5.0e5  # SIFT doubles its picture first: memory and time follow
_PLAIN_SIDE = 320  # pixels of the longer side for phase correlation
_PER_CELL = 40
_RATIO = 0.8
_MIN_MATCHES = 12
_MANY_MATCHES = 24  # for eight parameters: a feature is good to about a working pixel


@dataclass(frozen=True)
class Features:
    """``points``: (M, 2) in full-resolution pixels; ``descriptors``: (M, 128) float32."""

    points: F64
    descriptors: NDArray[np.float32]


def detect(view: View) -> Features:
    """SIFT features of the well-exposed part of a view, the strongest of each cell of a grid."""
    h, w = view.log.shape
    plane = np.clip((view.log + 8.0) * (255.0 / 8.0), 0.0, 255.0).astype(np.uint8)
    factor = min(1.0, float(np.sqrt(_PIXELS / (h * w))))
    size = (max(1, round(w * factor)), max(1, round(h * factor)))
    plane = np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.uint8)
    plane = cv2.createCLAHE(clipLimit=4.0, tileGridSize=(8, 8)).apply(plane)
    valid = cv2.resize(view.valid, size, interpolation=cv2.INTER_NEAREST)
    mask = cv2.erode(valid, np.ones((5, 5), np.uint8))
    sift = cv2.SIFT.create(contrastThreshold=0.02)
    found = sorted(sift.detect(plane, mask), key=lambda point: -point.response)
    room: dict[tuple[int, int], int] = {}
    kept = []
    for point in found:
        cell = (int(point.pt[0] * _CELLS / size[0]), int(point.pt[1] * _CELLS / size[1]))
        if room.setdefault(cell, _PER_CELL) > 0:
            room[cell] -= 1
            kept.append(point)
    if len(kept) < _MIN_MATCHES:
        return Features(np.zeros((0, 2)), np.zeros((0, 128), np.float32))
    described, descriptors = sift.compute(plane, kept)
    shrink = scaling((h, w), size[::-1])
    inverse = np.linalg.inv(shrink @ view.to_working)
    points = np.array([point.pt for point in described]) * np.diag(inverse)[:2] + inverse[:2, 2]
    rooted = np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6))  # RootSIFT
    return Features(points, np.asarray(rooted, np.float32))


def match(first: Features, second: Features, tolerance: float, size: tuple[int, int]) -> Motion | None:
    """The motion from ``first`` to ``second`` that most matches agree with within ``tolerance`` pixels, if any."""
    if min(len(first.points), len(second.points)) < _MIN_MATCHES:
        return None
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
        return None
    motion = fit_motion(first.points[keep], second.points[best[keep]], tolerance, size, _MANY_MATCHES)
    return motion if motion is not None and motion.agreeing >= _MIN_MATCHES else None


def correlate(first: View, second: View) -> F64 | None:
    """Homography by phase correlation and ECC on a small picture, where features fail; None when it diverges."""
    h, w = first.log.shape
    tone = transfer(first, second, np.eye(3))
    factor = min(1.0, _PLAIN_SIDE / max(h, w))
    size = (max(16, round(w * factor)), max(16, round(h * factor)))
    logs = (tone.clamp(first.log), tone(second.log))
    planes = [np.asarray(cv2.resize(log, size, interpolation=cv2.INTER_AREA), np.float32) for log in logs]
    mask = np.full(size[::-1], 255, np.uint8)
    hann = cv2.createHanningWindow(size, cv2.CV_32F)
    (dx, dy), _response = cv2.phaseCorrelate(_edges(planes[0]), _edges(planes[1]), hann)
    start = np.array([[1.0, 0.0, dx], [0.0, 1.0, dy]])
    local = ecc(planes[0], mask, planes[1], mask, start, cv2.MOTION_EUCLIDEAN)
    if local is None:
        return None
    shrink = scaling((h, w), size[::-1])
    return first.lifted(second, np.linalg.inv(shrink) @ np.vstack([local, [0.0, 0.0, 1.0]]) @ shrink)


def _edges(plane: F32) -> F32:
    return np.asarray(plane - cv2.GaussianBlur(plane, (0, 0), 8.0), np.float32)
