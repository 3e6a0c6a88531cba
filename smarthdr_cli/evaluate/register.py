"""Registration of the frames a truth is merged from: enhanced correlation, by OpenCV, nothing of the package's own.

What is measured must not be aligned by what it measures; and frames said to come from a tripod lie up to four pixels
apart. Evangelidis and Psarakis 2008 (findTransformECC) on the detail of log codes, from neighbour to neighbour in
exposure, so that two pictures always show much of the same.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
Pose = NDArray[np.float64]  # (3, 3), from the reference's pixel coordinates to a frame's

LARGEST = 2048  # px; larger frames are registered on pictures reduced to this
GOOD = (0.06, 0.94)  # share of the white between which a frame shows detail
SMOOTH = 8.0  # px: light changes slower than this are tone, not detail
STRONGEST = 0.5  # ln: larger detail is limited to this, or one edge would decide
FEWEST = 0.1  # share of pixels both must show for a step to be measured
SAME = 0.25  # px: a frame nearer than this on average is left as it lies; interpolation would cost more
STEPS, ENOUGH = 100, 1e-5  # of findTransformECC


def poses(frames: Sequence[NDArray[Any]], white: float, reference: int) -> list[Pose]:
    """The pose of each of ``frames``, (H, W, 3) codes in order of exposure, relative to the one at ``reference``.

    A frame that shows too little of what its neighbour shows keeps its neighbour's pose.
    """
    scale = max(1.0, max(frames[0].shape[:2]) / LARGEST)
    views = [_view(frame, white, scale) for frame in frames]
    small: list[Pose] = [np.eye(3)] * len(frames)
    for order in (range(reference - 1, -1, -1), range(reference + 1, len(frames))):
        for i in order:
            neighbour = i + 1 if i < reference else i - 1
            small[i] = _step(views[neighbour], views[i]) @ small[neighbour]
    # Pixel centres are at integers: x of the whole picture is (x of the reduced one + 1/2) scale - 1/2.
    grow = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2], [0, 0, 1]])
    whole = [grow @ pose @ np.linalg.inv(grow) for pose in small]
    return [np.eye(3) if _reach(pose, frames[0].shape) < SAME else pose for pose in whole]


def moved(image: NDArray[Any], pose: Pose) -> NDArray[Any]:
    """``image`` (H, W, 3) as the reference sees it: bicubic, kept within the image's own range, edges repeated."""
    if np.array_equal(pose, np.eye(3)):
        return image
    size, how = (image.shape[1], image.shape[0]), cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    out = cv2.warpAffine(image, np.asarray(pose)[:2], size, flags=how, borderMode=cv2.BORDER_REPLICATE)
    return np.clip(np.asarray(out), image.min(), image.max())


def _view(frame: NDArray[Any], white: float, scale: float) -> tuple[F32, NDArray[np.bool_]]:
    """The detail of a frame's log codes, reduced by ``scale``, and where it shows any."""
    grey = frame.astype(np.float32).mean(axis=2) / np.float32(white)
    if scale > 1:
        size = (round(frame.shape[1] / scale), round(frame.shape[0] / scale))
        grey = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA))
    log = np.log(grey + np.float32(0.01))
    detail = np.clip(log - cv2.GaussianBlur(log, (0, 0), SMOOTH), -STRONGEST, STRONGEST)
    return np.asarray(detail, np.float32), (grey > GOOD[0]) & (grey < GOOD[1])


def _step(onto: tuple[F32, NDArray[np.bool_]], view: tuple[F32, NDArray[np.bool_]]) -> Pose:
    """The affine pose of one view relative to another; no motion where it cannot be told."""
    both = cv2.erode((onto[1] & view[1]).astype(np.uint8), np.ones((9, 9), np.uint8))
    if both.mean() < FEWEST:
        return np.eye(3)
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, STEPS, ENOUGH)
    begin = np.eye(2, 3, dtype=np.float32)
    try:
        _, found = cv2.findTransformECC(onto[0] * both, view[0], begin, cv2.MOTION_AFFINE, stop, both, 5)
    except cv2.error:  # it found nothing to hold on to
        return np.eye(3)
    return np.vstack([found, [0, 0, 1]]).astype(np.float64)


def _reach(pose: Pose, shape: Sequence[int]) -> float:
    """How far, px, the picture is moved: the mean over its corners, the middles of its sides and its centre."""
    y, x = np.meshgrid(np.linspace(0, shape[0] - 1, 3), np.linspace(0, shape[1] - 1, 3))
    points = np.stack([x.ravel(), y.ravel(), np.ones(9)])
    return float(np.hypot(*(pose @ points - points)[:2]).mean())
