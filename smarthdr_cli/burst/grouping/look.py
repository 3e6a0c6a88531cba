"""What tiny pictures say where headers are silent: whether two frames show one view, and how much brighter one is.

Decoded at an eighth of their size or so, brought to 64 pixels, compared as log luminance on what both expose well, over
shifts of up to an eighth of the picture: normalised correlation does not see exposure, and hands shake.
"""

import io
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import JpegImagePlugin

from smarthdr_cli.burst.container import JPEG_SCANS, MAX_FILE, MAX_PIXELS, scan_png
from smarthdr_cli.burst.grouping.header import Header
from smarthdr_cli.errors import InputError

SIDE = 64  # long side of the tiny picture, pixels
_REACH = 8  # largest shift compared, pixels
_DARK, _BRIGHT = 6, 249  # codes between which a pixel is well exposed
_SHARED = 0.12  # least share of the overlap both have to expose well
_FLAT = 0.04  # least spread of log2 luminance: a wall resembles every wall
_CODE = np.arange(256) / 255
_LINEAR = np.where(_CODE <= 0.04045, _CODE / 12.92, ((_CODE + 0.055) / 1.055) ** 2.4)  # IEC 61966-2-1

F64 = NDArray[np.float64]
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # a picture that cannot be decoded says nothing


@dataclass(frozen=True)
class Tiny:
    """``log``: (h, w) log2 of linear luminance. ``good``: (h, w) well exposed. ``mean``: log2 of the mean luminance."""

    log: F64
    good: NDArray[np.bool_]
    mean: float


@dataclass(frozen=True)
class Likeness:
    """``same``: correlation, 1 is one view, None when too little is well exposed in both. ``ev``: second over first."""

    same: float | None
    ev: float


def tiny(header: Header, max_pixels: int | None = None) -> Tiny | None:
    """The frame's tiny picture, or None where it cannot be decoded (damaged, or RAW without rawpy) or is too large.

    ``max_pixels``: another limit than MAX_PIXELS.
    """
    width, height = header.size or (0, 0)
    if width * height > (MAX_PIXELS if max_pixels is None else max_pixels) or header.bytes > MAX_FILE:
        return None
    try:
        grey = _raw(header) if header.kind == "raw" else _decode(header.path.read_bytes(), header)
    except (
        OSError,
        SyntaxError,
        ValueError,
        cv2.error,
        MemoryError,
        InputError,
    ):  # of Pillow, OpenCV and the chunk walk
        return None
    return None if grey is None else tiny_of(grey)


def tiny_of(grey: NDArray[np.uint8]) -> Tiny:
    """From (H, W) uint8 display codes."""
    height, width = grey.shape
    scale = SIDE / max(height, width)
    size = (max(round(width * scale), 8), max(round(height * scale), 8))
    small = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA))
    linear = _LINEAR[small]
    good = (small >= _DARK) & (small <= _BRIGHT)
    return Tiny(np.log2(np.maximum(linear, 1e-4)), np.asarray(good), float(np.log2(max(linear.mean(), 1e-5))))


def _decode(data: bytes, header: Header) -> NDArray[np.uint8] | None:
    if data[:2] == b"\xff\xd8":
        return _jpeg(data)
    if header.kind == "png":
        data = scan_png(data, header.path.name).essential  # libpng prints what it thinks of the other chunks
    image: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
    return image if image is not None and image.ndim == 2 and image.dtype == np.uint8 else None


def _jpeg(data: bytes) -> NDArray[np.uint8]:
    """By Pillow, whose libjpeg keeps silent over damage; its own class, since the size is checked already."""
    bare = _bare(data)
    begun = bare.find(b"\xff\xda")
    if bare.count(b"\xff\xda", begun, bare.find(b"\xff\xd9", begun)) > JPEG_SCANS:
        raise ValueError("too many scans")
    with JpegImagePlugin.JpegImageFile(io.BytesIO(bare)) as image:
        image.draft("L", (8 * SIDE, 8 * SIDE))
        return np.asarray(image.convert("L"), np.uint8)


def _bare(data: bytes) -> bytes:
    """A JPEG without its application segments and comments, of which Pillow would warn; Adobe's says the colours."""
    kept, position = [data[:2]], 2
    while data[position : position + 1] == b"\xff" and position + 4 <= len(data):
        marker = data[position + 1]
        if marker in (0xDA, 0xFF):
            break
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if not (0xE0 <= marker <= 0xED or marker in (0xEF, 0xFE)):
            kept.append(data[position:end])
        position = end
    return b"".join([*kept, data[position:]])


def _raw(header: Header) -> NDArray[np.uint8] | None:
    """The camera's own preview inside the RAW."""
    try:
        import rawpy
    except ImportError:
        return None
    try:
        with rawpy.imread(str(header.path)) as raw:
            thumb = raw.extract_thumb()
        if thumb.format == rawpy.ThumbFormat.JPEG:
            return _decode(bytes(thumb.data), header)
        return np.asarray(np.asarray(thumb.data).mean(-1).astype(np.uint8))
    except (rawpy.LibRawError, ValueError):
        return None


def compare(one: Tiny, two: Tiny) -> Likeness:
    """How alike two frames are, and the EV of the second relative to the first."""
    fallback = two.mean - one.mean
    if one.log.shape != two.log.shape:
        return Likeness(0.0, fallback)
    coarse = [(dy, dx) for dy in range(-_REACH, _REACH + 1, 2) for dx in range(-_REACH, _REACH + 1, 2)]
    found, best = _best(one, two, coarse)
    if found is None:
        return Likeness(None, fallback)
    y, x = best
    fine = [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    found, best = _best(one, two, fine)
    a, b, _ = _overlap(one, two, *best)
    return Likeness(found, float(np.median(b - a)))


def _best(one: Tiny, two: Tiny, shifts: list[tuple[int, int]]) -> tuple[float | None, tuple[int, int]]:
    best: tuple[float | None, tuple[int, int]] = (None, (0, 0))
    for shift in shifts:
        a, b, share = _overlap(one, two, *shift)
        if share < _SHARED:
            continue
        a, b = a - a.mean(), b - b.mean()
        spread = float(np.sqrt((a * a).mean() * (b * b).mean()))
        if spread < _FLAT**2:
            continue
        same = float((a * b).mean()) / spread
        if best[0] is None or same > best[0]:
            best = (same, shift)
    return best


def _overlap(one: Tiny, two: Tiny, dy: int, dx: int) -> tuple[F64, F64, float]:
    """Log luminance of both where both are well exposed, the second moved by (dy, dx), and their share of the area."""
    height, width = one.log.shape
    first = (slice(max(dy, 0), height + min(dy, 0)), slice(max(dx, 0), width + min(dx, 0)))
    second = (slice(max(-dy, 0), height + min(-dy, 0)), slice(max(-dx, 0), width + min(-dx, 0)))
    good = one.good[first] & two.good[second]
    return one.log[first][good], two.log[second][good], float(good.mean()) if good.size else 0.0
