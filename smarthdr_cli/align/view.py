"""What alignment looks at: luminance and well-exposed pixels of one frame, at a working size and in 1:1 windows."""

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.burst.frame import Frame
from smarthdr_cli.linear import F32, Response, linearize

F64 = NDArray[np.float64]
Mask = NDArray[np.uint8]  # 255 where well exposed, 0 elsewhere

WORKING_PIXELS = 1.0e6
CLIP = 0.97  # share of white from which a channel counts as clipped
DARK = 0.0023  # linear luminance below which 8-bit codes and noise say little
FLOOR = 2.0**-8  # added before the logarithm: linear in the noise, logarithmic above it
_WEIGHTS = np.array([[0.25, 0.5, 0.25]], np.float32)


@dataclass(frozen=True)
class View:
    """One frame at working size.

    ``log``: (h, w) float32, log2 of luminance + FLOOR in the frame's own exposure (clip = 0). ``valid``: (h, w) mask of
    well-exposed pixels. ``to_working``: (3, 3), full-resolution pixel coordinates to working ones. ``coarse``: the
    working picture as a frame of its own, for the same measurements one step up the pyramid; None at its top.
    """

    frame: Frame
    response: Response
    log: F32
    valid: Mask
    to_working: F64
    coarse: "View | None" = None

    def between(self, other: "View", homography: F64) -> F64:
        """A full-resolution homography from this view to another, in the working pixels of both."""
        return np.asarray(other.to_working @ homography @ np.linalg.inv(self.to_working))

    def lifted(self, other: "View", local: F64) -> F64:
        """The inverse of `between`: working pixels to full resolution, scaled to 1 at its last entry."""
        full = np.linalg.inv(other.to_working) @ local @ self.to_working
        return np.asarray(full / full[2, 2])


def prior(encoding: str) -> Response:
    """The curve assumed before any calibration: sRGB (IEC 61966-2-1) for display codes, else linear."""
    code = np.linspace(0.0, 1.0, 256)
    srgb = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
    values = srgb if encoding == "display" else code
    name = "srgb" if encoding == "display" else "linear"
    return Response(name, np.tile(values.astype(np.float32), (3, 1)), {})


def look(frame: Frame, response: Response | None) -> View:
    """The working view of a frame: its area-averaged codes at about WORKING_PIXELS, linearised."""
    curve = response if response is not None else prior(frame.encoding)
    height, width = frame.size
    factor = max(1.0, float(np.sqrt(height * width / WORKING_PIXELS)))
    w, h = max(1, round(width / factor)), max(1, round(height / factor))
    small = frame.codes if factor == 1.0 else cv2.resize(frame.codes, (w, h), interpolation=cv2.INTER_AREA)
    clipped: Mask | None = None
    if frame.clipped is not None:
        clipped = np.asarray(
            cv2.resize(frame.clipped.view(np.uint8), (w, h), interpolation=cv2.INTER_NEAREST), np.uint8
        )
    sx, sy = w / width, h / height
    to_working = np.array([[sx, 0.0, 0.5 * sx - 0.5], [0.0, sy, 0.5 * sy - 0.5], [0.0, 0.0, 1.0]])
    log, valid = _see(small, frame.white, curve, clipped)
    if factor < 1.5:
        return View(frame, curve, log, valid, to_working)
    reduced = replace(frame, codes=small, clipped=None if clipped is None else clipped.view(np.bool_))
    return View(frame, curve, log, valid, to_working, View(reduced, curve, log, valid, np.eye(3)))


def window(view: View, x0: int, y0: int, x1: int, y1: int) -> tuple[F32, Mask]:
    """Log luminance and mask of full-resolution pixels [y0:y1, x0:x1], which must lie inside the frame."""
    clipped = view.frame.clipped
    part = None if clipped is None else clipped[y0:y1, x0:x1].view(np.uint8)
    return _see(view.frame.codes[y0:y1, x0:x1], view.frame.white, view.response, part)


def warped_window(view: View, homography: F64, x0: int, y0: int, x1: int, y1: int) -> tuple[F32, Mask]:
    """The frame seen through ``homography`` at the other frame's pixels [y0:y1, x0:x1]; outside it the mask is 0."""
    height, width = view.frame.size
    size = (x1 - x0, y1 - y0)
    corners = np.array([[x0, y0], [x1 - 1, y0], [x1 - 1, y1 - 1], [x0, y1 - 1]], np.float64)
    there = project(homography, corners)
    low = np.clip(np.floor(there.min(axis=0)) - 2, 0, (width, height)).astype(int)
    high = np.clip(np.ceil(there.max(axis=0)) + 3, 0, (width, height)).astype(int)
    if np.any(high - low < 2):
        return np.full(size[::-1], np.log2(FLOOR), np.float32), np.zeros(size[::-1], np.uint8)
    log, valid = window(view, low[0], low[1], high[0], high[1])
    local = translation(-low[0], -low[1]) @ homography @ translation(x0, y0)
    return warp(log, local, size), warp_mask(valid, local, size)


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


def _see(codes: NDArray[Any], white: float, response: Response, clipped: Mask | None) -> tuple[F32, Mask]:
    light = cv2.transform(linearize(codes, white, response), _WEIGHTS)
    light = np.nan_to_num(light.reshape(codes.shape[:2]), nan=0.0)
    peak = np.maximum(np.maximum(codes[..., 0], codes[..., 1]), codes[..., 2])
    valid = (peak < CLIP * white) & (light > DARK)
    if clipped is not None:
        valid &= clipped == 0
    return np.log2(light + np.float32(FLOOR)), valid.view(np.uint8) * np.uint8(255)
