"""Whether two frames show one view, and their difference in EV, from thumbnails.

Similarity is the normalised cross-correlation of log2 luminance over the pixels that both frames expose well, maximised
over shifts of up to an eighth of the image. Correlation is invariant to exposure; the shift allows for a moving hand.
The EV is the median difference of log2 luminance at the best shift.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.burst import decode, heif, raw
from smarthdr_cli.burst.scan import MAX_FILE_BYTES, MAX_PIXELS, scan_jpeg, scan_png, sniff
from smarthdr_cli.errors import InputError
from smarthdr_cli.grouping.header import Header
from smarthdr_cli.radiometry import srgb_to_linear

SIDE = 64  # long side of a thumbnail, pixels
_MIN_SIDE = 8
_MAX_SHIFT = 8  # pixels of the thumbnail
_MIN_WELL_EXPOSED, _MAX_WELL_EXPOSED = 6, 249  # 8-bit codes
_MIN_SHARED = 0.12  # share of the overlap that both frames expose well
_MIN_CONTRAST = 0.04  # standard deviation of log2 luminance; below, plain walls resemble each other
_DECODED_SIDE = 8 * SIDE  # of a reduced JPEG, at least
_MIN_LUMINANCE, _MIN_MEAN_LUMINANCE = 1e-4, 1e-5  # floors of the logarithms
_LINEAR_OF_CODE = srgb_to_linear(np.arange(256) / 255)

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Thumbnail:
    """``log_luminance``: (h, w) log2 of linear luminance. ``well_exposed``: (h, w). ``mean_ev``: log2 of the mean."""

    log_luminance: F64
    well_exposed: NDArray[np.bool_]
    mean_ev: float


@dataclass(frozen=True)
class Comparison:
    """``similarity``: correlation, 1 for one view; None where too little is well exposed. ``ev``: second over first."""

    similarity: float | None
    ev: float


def read_thumbnail(header: Header, max_pixels: int | None = None) -> Thumbnail | None:
    """The frame's thumbnail; None where it cannot be decoded or has more than ``max_pixels`` (None: MAX_PIXELS)."""
    limit = MAX_PIXELS if max_pixels is None else max_pixels
    width, height = header.size or (0, 0)
    if width * height > limit or header.file_size > MAX_FILE_BYTES:
        return None
    try:
        if header.kind == "raw":
            grey = _decode_raw_preview(header, limit)
        else:
            grey = _decode(header.path.read_bytes(), header.path.name, limit)
    except (OSError, MemoryError, InputError):
        return None
    return None if grey is None else make_thumbnail(grey)


def make_thumbnail(grey: NDArray[np.uint8]) -> Thumbnail:
    """The thumbnail of (H, W) uint8 sRGB codes."""
    height, width = grey.shape
    scale = SIDE / max(height, width)
    size = (max(round(width * scale), _MIN_SIDE), max(round(height * scale), _MIN_SIDE))
    codes = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA))
    luminance = _LINEAR_OF_CODE[codes]
    return Thumbnail(
        np.log2(np.maximum(luminance, _MIN_LUMINANCE)),
        np.asarray((codes >= _MIN_WELL_EXPOSED) & (codes <= _MAX_WELL_EXPOSED)),
        float(np.log2(max(luminance.mean(), _MIN_MEAN_LUMINANCE))),
    )


def _decode(data: bytes, name: str, limit: int) -> NDArray[np.uint8] | None:
    """(H, W) sRGB codes, of a JPEG reduced to no less than _DECODED_SIDE; None for linear float."""
    kind = sniff(data, name)
    if kind == "jpeg":
        return decode.decode_jpeg_reduced(data, scan_jpeg(data, name, limit), name, _DECODED_SIDE)
    if kind == "png":
        codes = decode.decode_png(scan_png(data, name, limit), name)
    elif kind == "heif":
        codes, _ = heif.decode(data, name, limit)
    else:
        with decode.open_tiff(data, name) as tiff:
            codes = decode.decode_tiff(data, tiff, name, limit)
    if codes.dtype == np.float32:
        return None
    eight = codes if codes.dtype == np.uint8 else (codes >> 8).astype(np.uint8)
    return np.asarray(cv2.cvtColor(eight, cv2.COLOR_RGB2GRAY))


def _decode_raw_preview(header: Header, limit: int) -> NDArray[np.uint8] | None:
    """The preview that the camera stored in the RAW."""
    preview = raw.embedded_preview(header.path)
    if isinstance(preview, bytes):
        return _decode(preview, header.path.name, limit)
    return None if preview is None else np.asarray(preview.mean(-1).astype(np.uint8))


def compare(first: Thumbnail, second: Thumbnail) -> Comparison:
    """Similarity of two frames, and the EV of the second relative to the first."""
    mean_difference = second.mean_ev - first.mean_ev
    if first.log_luminance.shape != second.log_luminance.shape:
        return Comparison(0.0, mean_difference)
    offsets = range(-_MAX_SHIFT, _MAX_SHIFT + 1, 2)
    similarity, (dy, dx) = _best_shift(first, second, [(y, x) for y in offsets for x in offsets])
    if similarity is None:
        return Comparison(None, mean_difference)
    similarity, best = _best_shift(first, second, [(dy + y, dx + x) for y in (-1, 0, 1) for x in (-1, 0, 1)])
    first_luminance, second_luminance, _ = _overlap(first, second, *best)
    return Comparison(similarity, float(np.median(second_luminance - first_luminance)))


def _best_shift(
    first: Thumbnail, second: Thumbnail, shifts: list[tuple[int, int]]
) -> tuple[float | None, tuple[int, int]]:
    """(highest correlation or None, its shift)."""
    best: tuple[float | None, tuple[int, int]] = (None, (0, 0))
    for shift in shifts:
        a, b, shared = _overlap(first, second, *shift)
        if shared < _MIN_SHARED:
            continue
        a, b = a - a.mean(), b - b.mean()
        contrast = float(np.sqrt((a * a).mean() * (b * b).mean()))
        if contrast < _MIN_CONTRAST**2:
            continue
        correlation = float((a * b).mean()) / contrast
        if best[0] is None or correlation > best[0]:
            best = (correlation, shift)
    return best


def _overlap(first: Thumbnail, second: Thumbnail, dy: int, dx: int) -> tuple[F64, F64, float]:
    """Log luminance of both where both are well exposed, the second moved by (dy, dx), and their share of the area."""
    height, width = first.log_luminance.shape
    in_first = (slice(max(dy, 0), height + min(dy, 0)), slice(max(dx, 0), width + min(dx, 0)))
    in_second = (slice(max(-dy, 0), height + min(-dy, 0)), slice(max(-dx, 0), width + min(-dx, 0)))
    shared = first.well_exposed[in_first] & second.well_exposed[in_second]
    share = float(shared.mean()) if shared.size else 0.0
    return first.log_luminance[in_first][shared], second.log_luminance[in_second][shared], share
