"""One frame as alignment measures it: log light of the brightest channel, at working size and in windows at 1:1.

    L = log2(max(R, G, B) + LOG_FLOOR), and L = 0 where a channel clips

R, G and B are linear light relative to the frame's clip, in [0, 1]. L is nearly linear below LOG_FLOOR, where noise
prevails, and logarithmic above it, where a change of exposure is an offset. The maximum clips exactly where the first
channel clips. The clipped area of one frame is therefore the area above one level in every other frame, which does not
hold for luminance.
"""

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.burst.burst import Frame
from smarthdr_cli.radiometry import F32, F64, Response, assumed_response, linearize

Mask = NDArray[np.uint8]  # 255 where well exposed, 0 elsewhere

WORKING_PIXELS = 1.0e6
MIN_COARSE_SIDE = 96  # pixels; a smaller coarse view holds too few windows
CLIP_CODE_SHARE = 0.97  # of white; a channel at or above it counts as clipped
MIN_LIGHT = 0.0023  # of the clip; below it quantisation of 8 bits and noise prevail
LOG_FLOOR = 2.0**-8  # linear light added before the logarithm


@dataclass(frozen=True)
class View:
    """One frame and its working picture.

    ``log``: (h, w) float32, L of the working picture. ``valid``: (h, w) mask of well-exposed pixels. ``to_working``:
    (3, 3), full-resolution pixel coordinates to working ones. ``coarse``: the next level of the pyramid as a view of a
    frame of its own, None at the top. It is the working picture, or half of it where the frame is hardly larger.
    """

    frame: Frame
    response: Response
    log: F32
    valid: Mask
    to_working: F64
    coarse: "View | None" = None

    @property
    def ceiling(self) -> float:
        """The value of ``log`` from which a pixel counts as clipped."""
        last = self.response.table.shape[1] - 1
        level = float(self.response.table[:, round(CLIP_CODE_SHARE * last)].min())
        return float(np.log2(level + LOG_FLOOR))

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


def make_view(frame: Frame, response: Response | None) -> View:
    """The view of ``frame`` under ``response``, or under the curve its encoding suggests where that is None.

    The working picture holds at most about WORKING_PIXELS. Codes are area-averaged first and linearised afterwards.
    """
    curve = response if response is not None else assumed_response(frame.encoding)
    height, width = frame.size
    factor = max(1.0, float(np.sqrt(height * width / WORKING_PIXELS)))
    size = (max(1, round(height / factor)), max(1, round(width / factor)))
    half = (size[0] // 2, size[1] // 2)
    working = _area_average(frame, size)
    log, valid = _log_and_valid(working, curve)
    coarse = None
    if factor >= 1.5:
        coarse = View(working, curve, log, valid, np.eye(3))
    elif min(half) >= MIN_COARSE_SIDE:
        halved = _area_average(working, half)
        coarse = View(halved, curve, *_log_and_valid(halved, curve), np.eye(3))
    return View(frame, curve, log, valid, scaling(frame.size, size), coarse)


def scaling(size: tuple[int, int], reduced: tuple[int, int]) -> F64:
    """(3, 3) pixel coordinates of a picture of ``size`` (height, width) to those of its area-averaged reduction."""
    sx, sy = reduced[1] / size[1], reduced[0] / size[0]
    return np.array([[sx, 0.0, 0.5 * sx - 0.5], [0.0, sy, 0.5 * sy - 0.5], [0.0, 0.0, 1.0]])


def read_window(view: View, x0: int, y0: int, x1: int, y1: int) -> F32:
    """L of the full-resolution pixels [y0:y1, x0:x1], which must lie inside the frame."""
    clipped = view.frame.clipped
    part = None if clipped is None else clipped[y0:y1, x0:x1]
    return _log_light(view.frame.codes[y0:y1, x0:x1], view.frame.white, view.response, part)[0]


def read_warped_window(view: View, homography: F64, x0: int, y0: int, x1: int, y1: int) -> tuple[F32, Mask]:
    """L of the frame sampled through ``homography`` at another frame's pixels [y0:y1, x0:x1]; mask 0 outside it."""
    height, width = view.frame.size
    size = (x1 - x0, y1 - y0)
    corners = np.array([[x0, y0], [x1 - 1, y0], [x1 - 1, y1 - 1], [x0, y1 - 1]], np.float64)
    projected = project(homography, corners)
    low = np.clip(np.floor(projected.min(axis=0)) - 2, 0, (width, height)).astype(int)
    high = np.clip(np.ceil(projected.max(axis=0)) + 3, 0, (width, height)).astype(int)
    if np.any(high - low < 2):
        return np.full(size[::-1], np.log2(LOG_FLOOR), np.float32), np.zeros(size[::-1], np.uint8)
    log = read_window(view, low[0], low[1], high[0], high[1])
    local = translation(-low[0], -low[1]) @ homography @ translation(x0, y0)
    return warp(log, local, size), warp_mask(np.full(log.shape, 255, np.uint8), local, size)


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


def _log_and_valid(frame: Frame, response: Response) -> tuple[F32, Mask]:
    log, light, clipped = _log_light(frame.codes, frame.white, response, frame.clipped)
    return log, (~clipped & (light > MIN_LIGHT)).view(np.uint8) * np.uint8(255)


def _log_light(
    codes: NDArray[Any], white: float, response: Response, clipped: NDArray[np.bool_] | None
) -> tuple[F32, F32, NDArray[np.bool_]]:
    """L of ``codes``, the light of their brightest channel, and which of them clip."""
    red, green, blue = cv2.split(linearize(codes, white, response))
    light = cv2.max(cv2.max(red, green), blue)
    if codes.dtype.kind == "f":
        light = np.nan_to_num(light, nan=0.0)
    peak = np.maximum(np.maximum(codes[..., 0], codes[..., 1]), codes[..., 2])
    over = peak >= CLIP_CODE_SHARE * white
    if clipped is not None:
        over |= clipped
    log = np.log2(light + np.float32(LOG_FLOOR))
    log[over] = 0.0
    return np.asarray(log, np.float32), np.asarray(light, np.float32), over
