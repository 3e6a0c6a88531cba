"""A burst seen through its response and alignment: linear light of any region of the reference view, on demand.

Source codes stay as they were read; float32 exists only for the region asked for, so that peak memory does not grow
with frames times float32. One resampling takes a pixel from its file to the tile, whatever homography and displacement
it passes through; where it is taken from does not depend, to the last bit, on the tile that asks.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.align import Alignment, align_burst
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.radiometry import Response, linearize
from smarthdr_cli.response import matched, resolve_response, with_clip

F32 = NDArray[np.float32]
Stage = Callable[[str], AbstractContextManager[object]]  # enters the stage of this name, for progress and timing
NEARLY = 0.9  # of the clip, from which a pixel beside a clipped sample counts as clipped
_PAD = 3  # source pixels beyond what bicubic interpolation reads


@dataclass(frozen=True)
class Window:
    """A rectangle of the reference view; may reach beyond the picture on the right and below (padding)."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class AlignedBurst:
    """Frames of ``burst`` in the reference's view. ``curves``: each frame's own ``response`` where gains were found
    (``response/photometric_gains.py``), empty where one does for all.
    """

    burst: Burst
    response: Response
    alignment: Alignment
    curves: tuple[Response, ...] = ()

    def response_of(self, index: int) -> Response:
        """The curve of frame ``index``."""
        return self.curves[index] if self.curves else self.response

    def read(self, index: int, window: Window, flow: F32 | None = None, *, stride: int = 1) -> tuple[F32, F32]:
        """Linear light (h, w, 3) of frame ``index`` in its own units (1 = clip), and validity (h, w) in {0, 1}.

        ``flow``: (h, w, 2) displacement (x, y) in reference pixels, added before the homography. Pixels outside the
        frame repeat its edge and are invalid; but where the frame saw the pixel unmoved a displacement leads to the
        frame's edge at most, and is valid: it may be wrong, and the edge is nearer than nothing. A pixel the source
        says is clipped reads 1 in all channels where the frame has a clip mask of its own (RAW). ``stride``: every so
        manieth row and column only, without a ``flow``.
        """
        moved = self.alignment.moved[index]
        if flow is None and not moved:
            return self._slice(index, window, stride)
        flow = flow if flow is not None and bool(np.any(flow)) else None
        x, y = self.sample_coordinates(index, window, flow, stride)
        frame = self.burst.frames[index]
        height, width = frame.size
        seen = _within(x, y, frame.size)
        if flow is not None and not bool(seen.all()):
            still = _within(*self.sample_coordinates(index, window, None, stride), frame.size)
            x = np.where(still, x.clip(-0.5, width - 0.5), x)
            y = np.where(still, y.clip(-0.5, height - 0.5), y)
            seen |= still
        valid = seen.astype(np.float32)
        valid[-(-(height - window.top) // stride) :] = 0
        valid[:, -(-(width - window.left) // stride) :] = 0
        x0, x1 = _bounds(x, width)
        y0, y1 = _bounds(y, height)
        part = np.ascontiguousarray(frame.codes[y0:y1, x0:x1])
        white = frame.white
        if part.dtype == np.uint8:  # between pixels there are values between codes
            part, white = part.astype(np.uint16) * np.uint16(257), white * 257
        shift_x, shift_y = x - np.float32(x0), y - np.float32(y0)
        codes = cv2.remap(part, shift_x, shift_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        linear = linearize(codes, white, self.response_of(index))
        if frame.clipped is not None:
            mask = frame.clipped[y0:y1, x0:x1].astype(np.uint8)
            hit = cv2.remap(mask, shift_x, shift_y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
            _saturate(linear, hit > 0)
        return linear, valid

    def _slice(self, index: int, window: Window, stride: int = 1) -> tuple[F32, F32]:
        frame = self.burst.frames[index]
        height, width = frame.size
        rows = slice(window.top, min(window.top + window.height, height), stride)
        columns = slice(window.left, min(window.left + window.width, width), stride)
        linear = linearize(frame.codes[rows, columns], frame.white, self.response_of(index))
        if frame.clipped is not None:
            _saturate(linear, frame.clipped[rows, columns])
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
        """Source coordinates x and y, (h, w) each, of every pixel of the window."""
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
        # Relative to the picture's middle, so that float32 carries a hundredth of a pixel at any size; not to the
        # window's, or a pixel would be taken from elsewhere by a rounding error in another tile.
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

        The frame is shrunk first and moved afterwards: what the coarse motion stages look at.
        """
        frame = self.burst.frames[index]
        height, width = frame.size
        ch, cw = -(-height // cell), -(-width // cell)
        out = np.empty((ch, cw, 3), np.float32)
        step = max(cell, (1 << 21) // max(width, 1) // cell * cell)
        for top in range(0, height, step):
            linear, _ = self._slice(index, Window(top, 0, -(-min(step, height - top) // cell) * cell, cw * cell))
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
    """An aligned burst, and the notes of how it came about."""

    burst: AlignedBurst
    notes: tuple[str, ...]


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

    The options are those of ``fuse``. Raises UsageError or InputError.
    """
    with stage("align"):
        alignment = align_burst(burst, None, mode=align)
    with stage("response"):
        resolved = resolve_response(burst, alignment, response, exposure_check)
    burst, alignment = resolved.burst, resolved.alignment
    if any(alignment.moved) and resolved.response.name != "srgb":
        with stage("align again"):
            alignment = align_burst(burst, resolved.response, mode=align, previous=alignment)
    curve = with_clip(resolved.response, burst, alignment)
    curves, gain_notes = matched(burst, alignment, curve) if gains == "auto" else ((), ())
    return RegisteredBurst(AlignedBurst(burst, curve, alignment, curves), (*resolved.notes, *gain_notes))


def _saturate(linear: F32, clipped: NDArray[np.bool_]) -> None:
    """What clipped in the source reads 1 in all channels; a dark pixel that only borders on it keeps its own."""
    linear[clipped & (linear.max(axis=2) >= NEARLY)] = 1.0


def _within(x: F32, y: F32, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Which source coordinates lie in a frame of ``size``."""
    height, width = size
    return (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)


def _bounds(coordinate: F32, size: int) -> tuple[int, int]:
    low = int(np.clip(np.floor(coordinate.min()) - _PAD, 0, size - 1))
    high = int(np.clip(np.ceil(coordinate.max()) + _PAD + 1, low + 1, size))
    return low, high
