"""Linear light of any window of any frame of a burst, registered to the reference, on demand.

    L_i(p) = f_i(Z_i(H_i (p + d(p))))

p is a pixel of the reference view, d an optional displacement, H_i the homography of frame i, Z_i its codes (bicubic
interpolation, Keys 1981 with a = -0.75) and f_i its response. L is relative to the clip of the frame.

A pixel is resampled once, whatever homography and displacement it passes. Only the window asked for becomes float32, so
memory does not grow with frames times float32. A pixel's source coordinates do not depend on the window that contains
it, to the last bit.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.align import Alignment, align_burst
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.radiometry import Response, linearize
from smarthdr_cli.response import (
    OtherScene,
    apply_clip_level,
    compensate_gains,
    other_scenes,
    resolve_response,
    sample_blocks,
)

F32 = NDArray[np.float32]
Stage = Callable[[str], AbstractContextManager[object]]  # enters the stage of this name, for progress and timing
ASSUMED_CURVE_ERROR_EV = 0.25  # of sRGB in place of a curve that cannot be estimated; worse fits are refused
_NEAR_CLIP = 0.9  # of the clip; a darker pixel of the clip mask only borders on a clipped sample
_PAD = 3  # source pixels; bicubic interpolation reads 2
_PIXELS_PER_STRIP = 1 << 21  # that `downsample` linearises at once


@dataclass(frozen=True)
class Window:
    """A rectangle of the reference view, in pixels. It may extend beyond the picture on the right and below."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class AlignedBurst:
    """A burst, its response and its alignment.

    ``curves``: the response of each frame with its gains (`response.photometric_gains`), or empty where ``response`` is
    that of all frames. ``estimated``: whether ``response`` comes from the burst itself under its stated exposures, or
    is sRGB for want of that. ``curve_error_ev``: of light under ``response``, 0 where it is known.
    """

    burst: Burst
    response: Response
    alignment: Alignment
    curves: tuple[Response, ...] = ()
    estimated: bool = False
    curve_error_ev: float = 0.0

    def response_of(self, index: int) -> Response:
        """The response of frame ``index``."""
        return self.curves[index] if self.curves else self.response

    def read(self, index: int, window: Window, flow: F32 | None = None, *, stride: int = 1) -> tuple[F32, F32]:
        """Linear light (h, w, 3) of frame ``index``, 1 = its clip, and validity (h, w) in {0, 1}.

        ``flow``: (h, w, 2) displacement (x, y) in reference pixels. ``stride``: read every n-th row and column only,
        without a ``flow``.

        Pixels outside the frame repeat its edge and are invalid. Where the frame records a pixel without its
        displacement, the displacement ends at the frame's edge and the pixel stays valid. Pixels of the frame's clip
        mask (RAW) read 1 in all channels.
        """
        moved = self.alignment.moved[index]
        if flow is None and not moved:
            return self._read_unresampled(index, window, stride)
        flow = flow if flow is not None and bool(np.any(flow)) else None
        x, y = self.sample_coordinates(index, window, flow, stride)
        frame = self.burst.frames[index]
        height, width = frame.size
        recorded = _is_inside(x, y, frame.size)
        if flow is not None and not bool(recorded.all()):
            recorded_at_rest = _is_inside(*self.sample_coordinates(index, window, None, stride), frame.size)
            x = np.where(recorded_at_rest, x.clip(-0.5, width - 0.5), x)
            y = np.where(recorded_at_rest, y.clip(-0.5, height - 0.5), y)
            recorded |= recorded_at_rest
        valid = recorded.astype(np.float32)
        valid[-(-(height - window.top) // stride) :] = 0
        valid[:, -(-(width - window.left) // stride) :] = 0
        x0, x1 = _bounds(x, width)
        y0, y1 = _bounds(y, height)
        part = np.ascontiguousarray(frame.codes[y0:y1, x0:x1])
        white = frame.white
        if part.dtype == np.uint8:  # interpolated values lie between the 8-bit codes
            part, white = part.astype(np.uint16) * np.uint16(257), white * 257
        part_x, part_y = x - np.float32(x0), y - np.float32(y0)
        codes = cv2.remap(part, part_x, part_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        linear = linearize(codes, white, self.response_of(index))
        if frame.clipped is not None:
            mask = frame.clipped[y0:y1, x0:x1].astype(np.uint8)
            nearest = cv2.remap(mask, part_x, part_y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
            _apply_clip_mask(linear, nearest > 0)
        return linear, valid

    def _read_unresampled(self, index: int, window: Window, stride: int = 1) -> tuple[F32, F32]:
        frame = self.burst.frames[index]
        height, width = frame.size
        rows = slice(window.top, min(window.top + window.height, height), stride)
        columns = slice(window.left, min(window.left + window.width, width), stride)
        linear = linearize(frame.codes[rows, columns], frame.white, self.response_of(index))
        if frame.clipped is not None:
            _apply_clip_mask(linear, frame.clipped[rows, columns])
        h, w = linear.shape[:2]
        full = (-(-window.height // stride), -(-window.width // stride))
        if (h, w) == full:
            return linear, np.ones((h, w), np.float32)
        valid = np.zeros(full, np.float32)
        valid[:h, :w] = 1
        pad = ((0, full[0] - h), (0, full[1] - w), (0, 0))
        return np.pad(linear, pad, mode="edge"), valid

    def sample_coordinates(
        self, index: int, window: Window, flow: F32 | None = None, stride: int = 1
    ) -> tuple[F32, F32]:
        """Frame coordinates x and y, (h, w) each, of every pixel of the window; arguments as of `read`."""
        x = np.arange(window.left, window.left + window.width, stride, dtype=np.float32)[None]
        y = np.arange(window.top, window.top + window.height, stride, dtype=np.float32)[:, None]
        height, width = self.burst.size
        x, y = np.minimum(x, width - 1), np.minimum(y, height - 1)
        if flow is not None:
            x, y = x + flow[..., 0], y + flow[..., 1]
        else:
            x, y = (np.broadcast_to(axis, (y.shape[0], x.shape[1])) for axis in (x, y))
        if not self.alignment.moved[index]:
            return np.ascontiguousarray(x, np.float32), np.ascontiguousarray(y, np.float32)
        m = (self.alignment.homographies[index] / self.alignment.homographies[index][2, 2]).astype(np.float64)
        # Relative to the centre of the picture, so that float32 holds a hundredth of a pixel at any size. Relative to
        # the centre of the window the coordinates of a pixel would differ between windows by a rounding error.
        cx, cy = width / 2, height / 2
        dx, dy = x - np.float32(cx), y - np.float32(cy)
        base = m @ np.array([cx, cy, 1.0])
        depth = np.float32(base[2]) + np.float32(m[2, 0]) * dx + np.float32(m[2, 1]) * dy
        ox, oy = base[0] / base[2], base[1] / base[2]
        # (base + M d) / depth - o, expanded so that large numbers cancel before they are rounded
        nx = np.float32(m[0, 0] - ox * m[2, 0]) * dx + np.float32(m[0, 1] - ox * m[2, 1]) * dy
        ny = np.float32(m[1, 0] - oy * m[2, 0]) * dx + np.float32(m[1, 1] - oy * m[2, 1]) * dy
        return (nx / depth + np.float32(ox)).astype(np.float32), (ny / depth + np.float32(oy)).astype(np.float32)

    def downsample(self, index: int, cell: int) -> F32:
        """(ceil(H/cell), ceil(W/cell), 3) box means of frame ``index`` in the reference view, edges repeated.

        The frame is reduced first and warped afterwards.
        """
        frame = self.burst.frames[index]
        height, width = frame.size
        ch, cw = -(-height // cell), -(-width // cell)
        out = np.empty((ch, cw, 3), np.float32)
        step = max(cell, _PIXELS_PER_STRIP // max(width, 1) // cell * cell)
        for top in range(0, height, step):
            linear, _ = self._read_unresampled(
                index, Window(top, 0, -(-min(step, height - top) // cell) * cell, cw * cell)
            )
            rows = slice(top // cell, top // cell + linear.shape[0] // cell)
            out[rows] = cv2.resize(linear, (cw, linear.shape[0] // cell), interpolation=cv2.INTER_AREA)
        if not self.alignment.moved[index]:
            return out
        offset = (cell - 1) / 2
        up = np.array([[cell, 0, offset], [0, cell, offset], [0, 0, 1.0]])
        matrix = np.linalg.inv(up) @ self.alignment.homographies[index] @ up
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(
            cv2.warpPerspective(out, matrix, (cw, ch), flags=flags, borderMode=cv2.BORDER_REPLICATE), np.float32
        )


class RegisteredBurst(NamedTuple):
    """An aligned burst, the notes for the user, and the frames that seem to show another scene."""

    burst: AlignedBurst
    notes: tuple[str, ...]
    others: tuple[OtherScene, ...] = ()


def register(
    burst: Burst,
    *,
    align: Literal["auto", "none"] = "auto",
    response: str = "auto",
    exposure_check: Literal["off", "warn", "fix"] = "warn",
    gains: Literal["auto", "off"] = "auto",
    stage: Stage = lambda _name: nullcontext(),
) -> RegisteredBurst:
    """Align ``burst``, resolve its response, align again under that response, and match the gains of its frames.

    The options are those of ``fuse``.

    Raises UsageError for an unknown response, and InputError for a damaged calibration file or exposures that do not
    differ.
    """
    with stage("align"):
        alignment = align_burst(burst, None, mode=align)
    with stage("response"):
        resolved = resolve_response(burst, alignment, response, exposure_check)
    burst, alignment = resolved.burst, resolved.alignment
    if any(alignment.moved) and resolved.response.name != "srgb":
        with stage("align again"):
            alignment = align_burst(burst, resolved.response, mode=align, previous=alignment)
    curve = apply_clip_level(resolved.response, burst, alignment)
    stated = sum(frame.exposure.source not in ("none", "pixels") for frame in burst.frames) >= 2
    aligned = AlignedBurst(
        burst, curve, alignment,
        estimated=stated and response == "auto" and curve.name != "linear",
        curve_error_ev=ASSUMED_CURVE_ERROR_EV if resolved.assumed else curve.record.get("pair_error_ev", 0.0),
    )  # fmt: skip
    samples = resolved.samples if alignment is resolved.alignment else sample_blocks(burst, alignment)
    others = other_scenes(burst, samples)
    notes = (*map(str, others), *resolved.notes)
    if gains == "off":
        return RegisteredBurst(aligned, notes, others)
    curves, gain_notes = compensate_gains(burst, samples, curve)
    return RegisteredBurst(replace(aligned, curves=curves), (*notes, *gain_notes), others)


def _apply_clip_mask(linear: F32, clipped: NDArray[np.bool_]) -> None:
    """Set ``linear`` to 1 where the source clips, except dark pixels that only border on a clipped sample."""
    brightest = np.maximum(np.maximum(linear[..., 0], linear[..., 1]), linear[..., 2])  # max(axis=2) is much slower
    linear[clipped & (brightest >= _NEAR_CLIP)] = 1.0


def _is_inside(x: F32, y: F32, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Whether coordinates lie in a frame of ``size`` (height, width)."""
    height, width = size
    return (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)


def _bounds(coordinate: F32, size: int) -> tuple[int, int]:
    """The range of pixels that interpolation at ``coordinate`` reads, within an axis of ``size`` pixels."""
    low = int(np.clip(np.floor(coordinate.min()) - _PAD, 0, size - 1))
    high = int(np.clip(np.ceil(coordinate.max()) + _PAD + 1, low + 1, size))
    return low, high
