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
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.align import Alignment, align_burst
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.radiometry import Response, channel_max, linearize
from smarthdr_cli.response import (
    OtherScene,
    apply_clip_level,
    compensate_gains,
    other_scenes,
    resolve_response,
    sample_blocks,
)

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]
Stage = Callable[[str], AbstractContextManager[object]]  # enters the stage of this name, for progress and timing
# Of light under sRGB where no curve can be estimated: just above what an accepted estimate of three frames may have
# (`max_pair_error_ev` in response/crf_acceptance.py).
ASSUMED_CURVE_ERROR_EV = 0.25
_NEAR_CLIP = 0.9  # of the clip, of a clipped pixel's brightest channel
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
        flow = flow if flow is not None and bool(np.any(flow)) else None
        codes, valid, clipped = self.sample(index, window, flow, stride)
        return self._linearize(index, codes, clipped), valid

    def _linearize(self, index: int, codes: NDArray[Any], clipped: Mask | None) -> F32:
        """Linear light (h, w, 3) of codes and clip mask as ``sample`` returns them."""
        frame = self.burst.frames[index]
        white = frame.white
        if codes.dtype != frame.codes.dtype:  # interpolated values lie between the codes
            codes, white = np.rint(codes.clip(0, white) * np.float32(65535 / white)).astype(np.uint16), 65535
        linear = linearize(codes, white, self.response_of(index))
        if clipped is not None:
            linear[clipped_pixels(channel_max(linear), clipped)] = 1.0
        return linear

    def sample(
        self, index: int, window: Window, flow: F32 | None = None, stride: int = 1
    ) -> tuple[NDArray[Any], F32, Mask | None]:
        """``read`` before linearisation: codes (h, w, 3), validity (h, w), and the clip mask (h, w) of a RAW or None.

        The codes are those of the file where no pixel is resampled; else float32, from a little below 0 to a little
        above ``white``.
        """
        if flow is None and not self.alignment.moved[index]:
            return self._sample_in_place(index, window, stride)
        x, y = self.sample_coordinates(index, window, flow, stride)
        frame = self.burst.frames[index]
        height, width = frame.size
        recorded = _is_inside(x, y, frame.size)
        if flow is not None and not recorded.all():
            recorded_at_rest = _is_inside(*self.sample_coordinates(index, window, None, stride), frame.size)
            x = np.where(recorded_at_rest, x.clip(-0.5, width - 0.5), x)
            y = np.where(recorded_at_rest, y.clip(-0.5, height - 0.5), y)
            recorded |= recorded_at_rest
        valid = recorded.astype(np.float32)
        valid[-(-(height - window.top) // stride) :] = 0
        valid[:, -(-(width - window.left) // stride) :] = 0
        x0, x1 = _bounds(x, width)
        y0, y1 = _bounds(y, height)
        x -= np.float32(x0)
        y -= np.float32(y0)
        part = frame.codes[y0:y1, x0:x1].astype(np.float32)
        codes = cv2.remap(part, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        if frame.clipped is None:
            return codes, valid, None
        mask = frame.clipped[y0:y1, x0:x1].astype(np.uint8)
        return codes, valid, cv2.remap(mask, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE) > 0

    def _sample_in_place(self, index: int, window: Window, stride: int = 1) -> tuple[NDArray[Any], F32, Mask | None]:
        frame = self.burst.frames[index]
        height, width = frame.size
        rows = slice(window.top, min(window.top + window.height, height), stride)
        columns = slice(window.left, min(window.left + window.width, width), stride)
        codes = frame.codes[rows, columns]
        clipped = None if frame.clipped is None else frame.clipped[rows, columns]
        h, w = codes.shape[:2]
        full = (-(-window.height // stride), -(-window.width // stride))
        valid = np.ones(full, np.float32)
        if (h, w) != full:
            valid[h:], valid[:, w:] = 0, 0
            pad = ((0, full[0] - h), (0, full[1] - w))
            codes = np.pad(codes, (*pad, (0, 0)), mode="edge")
            clipped = None if clipped is None else np.pad(clipped, pad, mode="edge")
        return codes, valid, clipped

    def sample_coordinates(
        self, index: int, window: Window, flow: F32 | None = None, stride: int = 1
    ) -> tuple[F32, F32]:
        """Frame coordinates x and y, (h, w) each, of every pixel of the window; arguments as of `read`."""
        x = np.arange(window.left, window.left + window.width, stride, dtype=np.float32)[None]
        y = np.arange(window.top, window.top + window.height, stride, dtype=np.float32)[:, None]
        height, width = self.burst.size
        shape = (y.shape[0], x.shape[1])
        x, y = np.minimum(x, width - 1), np.minimum(y, height - 1)
        if flow is not None:
            x, y = x + flow[..., 0], y + flow[..., 1]
        if not self.alignment.moved[index]:
            if flow is not None:
                return x, y
            return np.tile(x, (shape[0], 1)), np.tile(y, (1, shape[1]))
        m = (self.alignment.homographies[index] / self.alignment.homographies[index][2, 2]).astype(np.float64)
        # Relative to the centre of the picture, so that float32 holds a hundredth of a pixel at any size. Relative to
        # the centre of the window the coordinates of a pixel would differ between windows by a rounding error.
        cx, cy = width / 2, height / 2
        dx, dy = x - np.float32(cx), y - np.float32(cy)
        base = m @ np.array([cx, cy, 1.0])
        ox, oy = base[0] / base[2], base[1] / base[2]

        # (base + M d) / depth - o, expanded so that large numbers cancel before they are rounded
        depth, nx, ny = (
            np.float32(along_x) * dx + np.float32(along_y) * dy
            for along_x, along_y in (m[2, :2], m[0, :2] - ox * m[2, :2], m[1, :2] - oy * m[2, :2])
        )
        depth += np.float32(base[2])
        for numerator, offset in ((nx, ox), (ny, oy)):
            numerator /= depth
            numerator += np.float32(offset)
        return nx, ny

    def downsample(self, index: int, cell: int) -> F32:
        """(ceil(H/cell), ceil(W/cell), 3) box means of frame ``index`` in the reference view, edges repeated.

        ``cell`` is even. A frame that moved is reduced to half cells first and warped then: warped as cells it would be
        softer than a frame that did not move.
        """
        moved = self.alignment.moved[index]
        part = cell // 2 if moved else cell
        frame = self.burst.frames[index]
        height, width = frame.size
        ch, cw = (-(-side // cell) * (cell // part) for side in (height, width))
        out = np.empty((ch, cw, 3), np.float32)
        step = max(cell, _PIXELS_PER_STRIP // max(width, 1) // cell * cell)
        for top in range(0, height, step):
            strip = Window(top, 0, -(-min(step, height - top) // cell) * cell, cw * part)
            codes, _, clipped = self._sample_in_place(index, strip)
            linear = self._linearize(index, codes, clipped)
            rows = slice(top // part, top // part + linear.shape[0] // part)
            out[rows] = cv2.resize(linear, (cw, linear.shape[0] // part), interpolation=cv2.INTER_AREA)
        if not moved:
            return out
        offset = (part - 1) / 2
        up = np.array([[part, 0, offset], [0, part, offset], [0, 0, 1.0]])
        matrix = np.linalg.inv(up) @ self.alignment.homographies[index] @ up
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        warped = cv2.warpPerspective(out, matrix, (cw, ch), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(cv2.resize(warped, (cw // 2, ch // 2), interpolation=cv2.INTER_AREA), np.float32)


class RegisteredBurst(NamedTuple):
    """An aligned burst, the notes for the user, and the frames that seem to show another scene."""

    burst: AlignedBurst
    notes: tuple[str, ...]
    other_scenes: tuple[OtherScene, ...] = ()


def register(
    burst: Burst,
    *,
    align: Literal["auto", "none"] = "auto",
    response: str = "auto",
    exposure_check: Literal["off", "warn", "fix"] = "warn",
    gains: Literal["auto", "off"] = "auto",
    stage: Stage = lambda _name: nullcontext(),
) -> RegisteredBurst:
    """Align ``burst``, resolve its response, and match the gains of its frames.

    The options are those of ``fuse``.

    Raises UsageError for an unknown response, and InputError for a damaged calibration file or exposures that do not
    differ.
    """
    with stage("align"):
        alignment = align_burst(burst, mode=align)
    with stage("response"):
        resolved = resolve_response(burst, alignment, response, exposure_check)
    burst, alignment = resolved.burst, resolved.alignment
    curve = apply_clip_level(resolved.response, burst, alignment)
    stated = sum(frame.exposure.is_stated for frame in burst.frames) >= 2
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


def clipped_pixels(brightest: F32, clipped: Mask) -> Mask:
    """The clip mask (h, w) of a RAW without the dark pixels, which only border on a clipped sample.

    ``brightest``: (h, w), the brightest channel of the light.
    """
    return clipped & (brightest >= _NEAR_CLIP)


def _is_inside(x: F32, y: F32, size: tuple[int, int]) -> Mask:
    """Whether coordinates lie in a frame of ``size`` (height, width)."""
    height, width = size
    return (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)


def _bounds(coordinate: F32, size: int) -> tuple[int, int]:
    """The range of pixels that interpolation at ``coordinate`` reads, within an axis of ``size`` pixels."""
    low = int(np.clip(np.floor(coordinate.min()) - _PAD, 0, size - 1))
    high = int(np.clip(np.ceil(coordinate.max()) + _PAD + 1, low + 1, size))
    return low, high
