"""What alignment looks at: the brightest channel of one frame, at a working size and in 1:1 windows.

The maximum of R, G and B, not luminance: it clips exactly where the first channel clips, whatever the colour, so the
clipped area of one frame is an area above one level in every other.
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
_LEAST_SIDE = 96  # pixels of a coarse view, below which it holds too few windows
CLIP = 0.97  # share of white from which a channel counts as clipped
DARK = 0.0023  # linear light below which 8-bit codes and noise say little
FLOOR = 2.0**-8  # added before the logarithm: linear in the noise, logarithmic above it


@dataclass(frozen=True)
class View:
    """One frame at working size.

    ``log``: (h, w) float32, log2 of the brightest channel + FLOOR in the frame's own exposure (clipped = 0).
    ``valid``: (h, w) mask of well-exposed pixels. ``to_working``: (3, 3), full-resolution pixel coordinates to working
    ones. ``coarse``: the working picture, or half of it where that is hardly smaller than the frame, as a frame of its
    own, for the same measurements one step up the pyramid; None at its top.
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
        level = float(self.response.table[:, round(CLIP * last)].min())
        return float(np.log2(level + FLOOR))

    def between(self, other: "View", homography: F64) -> F64:
        """A full-resolution homography from this view to another, in the working pixels of both."""
        return np.asarray(other.to_working @ homography @ np.linalg.inv(self.to_working))

    def stepped(self, other: "View", homography: F64) -> F64:
        """A full-resolution homography from this view to another, in the pixels of their coarse views."""
        return np.asarray(other._to_coarse @ homography @ np.linalg.inv(self._to_coarse))

    def climbed(self, other: "View", local: F64) -> F64:
        """The inverse of `stepped`, scaled to 1 at its last entry."""
        full = np.linalg.inv(other._to_coarse) @ local @ self._to_coarse
        return np.asarray(full / full[2, 2])

    @property
    def _to_coarse(self) -> F64:
        return np.eye(3) if self.coarse is None else scaling(self.frame.size, self.coarse.frame.size)

    def lifted(self, other: "View", local: F64) -> F64:
        """The inverse of `between`: working pixels to full resolution, scaled to 1 at its last entry."""
        full = np.linalg.inv(other.to_working) @ local @ self.to_working
        return np.asarray(full / full[2, 2])


def look(frame: Frame, response: Response | None) -> View:
    """The working view of a frame: its area-averaged codes at about WORKING_PIXELS, linearised."""
    curve = response if response is not None else assumed_response(frame.encoding)
    height, width = frame.size
    factor = max(1.0, float(np.sqrt(height * width / WORKING_PIXELS)))
    size = (max(1, round(height / factor)), max(1, round(width / factor)))
    reduced = _shrunk(frame, size)
    to_working = scaling(frame.size, size)
    log, valid = _see(reduced.codes, frame.white, curve, _mask(reduced.clipped))
    if factor >= 1.5:
        return View(frame, curve, log, valid, to_working, View(reduced, curve, log, valid, np.eye(3)))
    half = (size[0] // 2, size[1] // 2)
    if min(half) < _LEAST_SIDE:
        return View(frame, curve, log, valid, to_working)
    reduced = _shrunk(reduced, half)
    coarse = View(reduced, curve, *_see(reduced.codes, frame.white, curve, _mask(reduced.clipped)), np.eye(3))
    return View(frame, curve, log, valid, to_working, coarse)


def scaling(size: tuple[int, int], to: tuple[int, int]) -> F64:
    """(3, 3) pixel coordinates of a picture of ``size`` (height, width) to those of its area-averaged reduction."""
    sx, sy = to[1] / size[1], to[0] / size[0]
    return np.array([[sx, 0.0, 0.5 * sx - 0.5], [0.0, sy, 0.5 * sy - 0.5], [0.0, 0.0, 1.0]])


def window(view: View, x0: int, y0: int, x1: int, y1: int) -> F32:
    """``View.log`` of full-resolution pixels [y0:y1, x0:x1], which must lie inside the frame."""
    clipped = view.frame.clipped
    part = None if clipped is None else clipped[y0:y1, x0:x1]
    return _logged(view.frame.codes[y0:y1, x0:x1], view.frame.white, view.response, _mask(part))[0]


def warped_window(view: View, homography: F64, x0: int, y0: int, x1: int, y1: int) -> tuple[F32, Mask]:
    """The frame seen through ``homography`` at the other frame's pixels [y0:y1, x0:x1]; the mask is 0 outside it."""
    height, width = view.frame.size
    size = (x1 - x0, y1 - y0)
    corners = np.array([[x0, y0], [x1 - 1, y0], [x1 - 1, y1 - 1], [x0, y1 - 1]], np.float64)
    there = project(homography, corners)
    low = np.clip(np.floor(there.min(axis=0)) - 2, 0, (width, height)).astype(int)
    high = np.clip(np.ceil(there.max(axis=0)) + 3, 0, (width, height)).astype(int)
    if np.any(high - low < 2):
        return np.full(size[::-1], np.log2(FLOOR), np.float32), np.zeros(size[::-1], np.uint8)
    log = window(view, low[0], low[1], high[0], high[1])
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
    """(N, 2) points through a homography."""
    image = np.column_stack([points, np.ones(len(points))]) @ homography.T
    return np.asarray(image[:, :2] / image[:, 2:])


def translation(x: float, y: float) -> F64:
    """(3, 3) homography of a shift."""
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def _mask(clipped: NDArray[np.bool_] | None) -> Mask | None:
    return None if clipped is None else clipped.view(np.uint8)


def _shrunk(frame: Frame, size: tuple[int, int]) -> Frame:
    """The frame area-averaged to (height, width) ``size``; clipped where its nearest pixel is."""
    if size == frame.size:
        return frame
    codes = cv2.resize(frame.codes, size[::-1], interpolation=cv2.INTER_AREA)
    clipped = _mask(frame.clipped)
    if clipped is None:
        return replace(frame, codes=codes)
    nearest = cv2.resize(clipped, size[::-1], interpolation=cv2.INTER_NEAREST)
    return replace(frame, codes=codes, clipped=np.asarray(nearest, np.uint8).view(np.bool_))


def _see(codes: NDArray[Any], white: float, response: Response, clipped: Mask | None) -> tuple[F32, Mask]:
    log, light, over = _logged(codes, white, response, clipped)
    return log, (~over & (light > DARK)).view(np.uint8) * np.uint8(255)


def _logged(
    codes: NDArray[Any], white: float, response: Response, clipped: Mask | None
) -> tuple[F32, F32, NDArray[np.bool_]]:
    """``View.log`` of codes, their light, and which of them are clipped."""
    red, green, blue = cv2.split(linearize(codes, white, response))
    light = cv2.max(cv2.max(red, green), blue)
    if codes.dtype.kind == "f":
        light = np.nan_to_num(light, nan=0.0)
    peak = np.maximum(np.maximum(codes[..., 0], codes[..., 1]), codes[..., 2])
    over = peak >= CLIP * white
    if clipped is not None:
        over |= clipped > 0
    log = np.log2(light + np.float32(FLOOR))
    log[over] = 0.0
    return np.asarray(log, np.float32), np.asarray(light, np.float32), over
