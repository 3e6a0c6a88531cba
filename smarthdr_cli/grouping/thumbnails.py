"""What tiny pictures say where headers are silent: whether two frames show one view, and how much brighter one is.

Decoded at an eighth of their size or so, brought to 64 pixels, compared as log luminance on what both expose well, over
shifts of up to an eighth of the picture: normalised correlation does not see exposure, and hands shake.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.burst import decode, raw
from smarthdr_cli.burst.scan import MAX_FILE_BYTES, MAX_PIXELS, scan_jpeg, scan_png, sniff
from smarthdr_cli.errors import InputError
from smarthdr_cli.grouping.header import Header
from smarthdr_cli.radiometry import srgb_to_linear

SIDE = 64  # long side of the tiny picture, pixels
_REACH = 8  # largest shift compared, pixels
_DARK, _BRIGHT = 6, 249  # codes between which a pixel is well exposed
_SHARED = 0.12  # least share of the overlap both have to expose well
_FLAT = 0.04  # least spread of log2 luminance: a wall resembles every wall
_LINEAR = srgb_to_linear(np.arange(256) / 255)

F64 = NDArray[np.float64]


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
    limit = MAX_PIXELS if max_pixels is None else max_pixels
    width, height = header.size or (0, 0)
    if width * height > limit or header.bytes > MAX_FILE_BYTES:
        return None
    try:
        if header.kind == "raw":
            grey = _raw(header, limit)
        else:
            grey = _decode(header.path.read_bytes(), header.path.name, limit)
    except (OSError, MemoryError, InputError):
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


def _decode(data: bytes, name: str, limit: int) -> NDArray[np.uint8] | None:
    """(H, W) display codes; of a JPEG reduced to no less than 8 SIDE; None for linear float."""
    kind = sniff(data, name)
    if kind == "jpeg":
        return decode.decode_jpeg_reduced(data, scan_jpeg(data, name, limit), name, 8 * SIDE)
    if kind == "png":
        codes = decode.decode_png(scan_png(data, name, limit), name)
    else:
        with decode.open_tiff(data, name) as tiff:
            codes = decode.decode_tiff(data, tiff, name, limit)
    if codes.dtype == np.float32:
        return None
    eight = codes if codes.dtype == np.uint8 else (codes >> 8).astype(np.uint8)
    return np.asarray(cv2.cvtColor(eight, cv2.COLOR_RGB2GRAY))


def _raw(header: Header, limit: int) -> NDArray[np.uint8] | None:
    """The camera's own preview inside the RAW."""
    preview = raw.embedded_preview(header.path)
    if isinstance(preview, bytes):
        return _decode(preview, header.path.name, limit)
    return None if preview is None else np.asarray(preview.mean(-1).astype(np.uint8))


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
