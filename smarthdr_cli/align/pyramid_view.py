"""One frame as alignment measures it: log light of the brightest channel, at working size and in windows at 1:1.

    L = log2(max(R, G, B) + LOG_FLOOR), and L = 0 where a channel clips

R, G and B are linear light relative to the frame's clip, in [0, 1], under sRGB where the file is encoded for a display:
brightness transfer maps the L of one frame to that of another whatever the curve. L is nearly linear below LOG_FLOOR,
where noise prevails, and logarithmic above it, where a change of exposure is an offset. The maximum clips exactly where
the first channel clips. The clipped area of one frame is therefore the area above one level in every other frame, which
does not hold for luminance.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.burst.burst import Frame
from smarthdr_cli.radiometry import F32, F64, srgb_to_linear

Mask = NDArray[np.uint8]  # 255 where well exposed, 0 elsewhere

WORKING_PIXELS = 1.0e6
MIN_COARSE_SIDE = 96  # pixels; a smaller coarse view holds too few windows
CLIP_CODE_SHARE = 0.97  # of white; a channel at or above it counts as clipped
MIN_LIGHT = 0.0012  # of the clip; below it quantisation of 8 bits and noise prevail
LOG_FLOOR = 2.0**-8  # linear light added before the logarithm
DARK_LOG = float(np.log2(MIN_LIGHT + LOG_FLOOR))


@dataclass(frozen=True)
class View:
    """One frame and its working picture.

    ``log``: (h, w) float32, L of the working picture. ``valid``: (h, w) mask of well-exposed pixels. ``to_working``:
    (3, 3), full-resolution pixel coordinates to working ones. ``coarse``: the next level of the pyramid as a view of a
    frame of its own, None at the top. It is the working picture, or half of it where the frame is hardly larger.
    """

    frame: Frame
    log: F32
    valid: Mask
    to_working: F64
    coarse: "View | None" = None

    @property
    def ceiling(self) -> float:
        """The value of ``log`` from which a pixel counts as clipped."""
        below = np.array([np.nextafter(CLIP_CODE_SHARE, 0.0)])
        return float(_log_of_codes(below, self.frame.encoding)[0])

    def part(self, at: tuple[slice, slice]) -> F32:
        """L of rows and columns of the frame at full resolution."""
        if self.log.shape == self.frame.size:
            return self.log[at]
        clipped = None if self.frame.clipped is None else self.frame.clipped[at]
        return _log_light(self.frame.codes[at], self.frame, clipped)

    def full_to_working(self, other: "View", homography: F64) -> F64:
        """A homography from this frame to ``other`` at full resolution, in working pixels of both."""
        return np.asarray(other.to_working @ homography @ np.linalg.inv(self.to_working))

    def working_to_full(self, other: "View", local: F64) -> F64:
        """The inverse of `full_to_working`, scaled to 1 at its last entry."""
        full = np.linalg.inv(other.to_working) @ local @ self.to_working
        return np.asarray(full / full[2, 2])

    def full_to_coarse(self, other: "View", homography: F64) -> F64:
        """A homography from this frame to ``other`` at full resolution, in pixels of both coarse views."""
        return np.asarray(other._coarse_scaling @ homography @ np.linalg.inv(self._coarse_scaling))

    def coarse_to_full(self, other: "View", local: F64) -> F64:
        """The inverse of `full_to_coarse`, scaled to 1 at its last entry."""
        full = np.linalg.inv(other._coarse_scaling) @ local @ self._coarse_scaling
        return np.asarray(full / full[2, 2])

    @property
    def _coarse_scaling(self) -> F64:
        return np.eye(3) if self.coarse is None else scaling(self.frame.size, self.coarse.frame.size)


def make_view(frame: Frame) -> View:
    """The view of ``frame``. The working picture holds at most about WORKING_PIXELS, codes averaged by area."""
    height, width = frame.size
    factor = max(1.0, float(np.sqrt(height * width / WORKING_PIXELS)))
    size = (max(1, round(height / factor)), max(1, round(width / factor)))
    half = (size[0] // 2, size[1] // 2)
    working = _single_level_view(_area_average(frame, size))
    coarse = None
    if factor >= 1.5:
        coarse = working
    elif min(half) >= MIN_COARSE_SIDE:
        coarse = _single_level_view(_area_average(working.frame, half))
    return replace(working, frame=frame, to_working=scaling(frame.size, size), coarse=coarse)


def scaling(size: tuple[int, int], reduced: tuple[int, int]) -> F64:
    """(3, 3) pixel coordinates of a picture of ``size`` (height, width) to those of its area-averaged reduction."""
    sx, sy = reduced[1] / size[1], reduced[0] / size[0]
    return np.array([[sx, 0.0, 0.5 * sx - 0.5], [0.0, sy, 0.5 * sy - 0.5], [0.0, 0.0, 1.0]])


def read_windows(view: View, corners: F64, side: int, homography: F64 | None = None) -> tuple[F32, Mask]:
    """L (n, side, side) of square windows, and 255 where they lie inside the frame.

    ``corners``: (n, 2) top-left pixels (x, y) of another frame, whose pixels ``homography`` takes to this frame's; None
    is the identity. L is interpolated linearly. Outside, the frame's edge is repeated.
    """
    shape = (len(corners), side, side)
    corners, steps = corners.astype(np.float64), np.arange(side)
    x, y = corners[:, 0, None, None] + steps, corners[:, 1, None, None] + steps[:, None]
    if homography is not None:
        in_x, in_y, depth = (
            (along_x * x + offset).astype(np.float32) + (along_y * y).astype(np.float32)
            for along_x, along_y, offset in homography
        )
        depth = np.maximum(depth, np.float32(1e-6))  # what lies behind the camera falls outside the frame
        x, y = in_x / depth, in_y / depth
    inside = np.full(shape, 255, np.uint8)
    for coordinate, last in ((x, view.frame.size[1] - 1), (y, view.frame.size[0] - 1)):
        if coordinate.min() < 0 or coordinate.max() > last:
            inside *= (coordinate >= 0) & (coordinate <= last)
            coordinate.clip(0, last, out=coordinate)
    left, top = (np.floor(part.min(axis=(1, 2))).astype(int) for part in (x, y))
    right, bottom = (np.ceil(part.max(axis=(1, 2))).astype(int) + 1 for part in (x, y))
    x, y = (
        np.ascontiguousarray(np.broadcast_to((part - first[:, None, None]).astype(np.float32), shape))
        for part, first in ((x, left), (y, top))
    )  # OpenCV takes the strides of broadcast arrays wrongly
    log = np.empty(shape, np.float32)
    for k in range(len(corners)):
        part = view.part(np.s_[top[k] : bottom[k], left[k] : right[k]])
        log[k] = cv2.remap(part, x[k], y[k], cv2.INTER_LINEAR)
    return log, inside


def warp(plane: F32, homography: F64, size: tuple[int, int]) -> F32:
    """``plane`` sampled at ``homography`` (x, y, 1), bilinear, ``size`` = (width, height)."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpPerspective(plane, homography, size, flags=flags, borderMode=cv2.BORDER_REPLICATE))


def warp_mask(mask: Mask, homography: F64, size: tuple[int, int]) -> Mask:
    """``mask`` sampled at ``homography``; 255 only where every contributing pixel is, 0 outside the frame."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    soft = cv2.warpPerspective(mask, homography, size, flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray((soft >= 254).view(np.uint8) * np.uint8(255))


def project(homography: F64, points: NDArray[Any]) -> F64:
    """(N, 2) points through a homography.

    >>> project(np.array([[2.0, 0.0, 1.0], [0.0, 2.0, 0.0], [0.0, 0.0, 1.0]]), np.array([[0, 0], [3, 4]])).tolist()
    [[1.0, 0.0], [7.0, 8.0]]
    """
    image = np.column_stack([points, np.ones(len(points))]) @ homography.T
    return np.asarray(image[:, :2] / image[:, 2:])


def translation(x: float, y: float) -> F64:
    """(3, 3) homography of a shift."""
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def _area_average(frame: Frame, size: tuple[int, int]) -> Frame:
    """The frame reduced to (height, width) ``size``; clipped where its nearest pixel is."""
    if size == frame.size:
        return frame
    codes = cv2.resize(frame.codes, size[::-1], interpolation=cv2.INTER_AREA)
    if frame.clipped is None:
        return replace(frame, codes=codes)
    nearest = cv2.resize(frame.clipped.view(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST)
    return replace(frame, codes=codes, clipped=np.asarray(nearest, np.uint8).view(np.bool_))


def _single_level_view(frame: Frame) -> View:
    """The view of a frame that is its own working picture, without a pyramid."""
    log = _log_light(frame.codes, frame, frame.clipped)
    return View(frame, log, ((log > DARK_LOG) & (log < 0)).view(np.uint8) * np.uint8(255), np.eye(3))


def _log_light(codes: NDArray[Any], frame: Frame, clipped: NDArray[np.bool_] | None) -> F32:
    """L (h, w) of ``codes`` (h, w, 3) and ``clipped`` (h, w), a part of those of ``frame``."""
    red, green, blue = cv2.split(codes)
    peak = cv2.max(cv2.max(red, green), blue)
    if peak.dtype.kind == "u":
        log = np.asarray(cv2.LUT(peak, _log_table(2 ** (8 * peak.itemsize), frame.white, frame.encoding)), np.float32)
    else:
        log = _log_of_codes(np.nan_to_num(peak, nan=0.0) / np.float32(frame.white), frame.encoding)
    if clipped is not None:
        log[clipped] = 0.0
    return log


@lru_cache(maxsize=4)
def _log_table(entries: int, white: float, encoding: str) -> F32:
    return _log_of_codes(np.arange(entries) / white, encoding)


def _log_of_codes(code: NDArray[Any], encoding: str) -> F32:
    """L of one channel of codes relative to white."""
    code = code.clip(0.0, 1.0)
    log = np.log2((srgb_to_linear(code) if encoding == "display" else code) + LOG_FLOOR)
    return np.asarray(np.where(code >= CLIP_CODE_SHARE, 0.0, np.minimum(log, 0.0)), np.float32)
