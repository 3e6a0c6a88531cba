"""Files that tests read: made here, byte by byte where the byte is the point."""

import io
import math
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

# Tag numbers of EXIF 2.32; the value's Python type gives the EXIF type: str, int (SHORT), (num, den) (RATIONAL).
EXIF_TAGS = {
    "Make": (0, 0x010F),
    "Model": (0, 0x0110),
    "Orientation": (0, 0x0112),
    "DateTime": (0, 0x0132),
    "Artist": (0, 0x013B),
    "ExposureTime": (1, 0x829A),
    "FNumber": (1, 0x829D),
    "ISOSpeedRatings": (1, 0x8827),
    "StandardOutputSensitivity": (1, 0x8831),
    "RecommendedExposureIndex": (1, 0x8832),
    "ISOSpeed": (1, 0x8833),
    "DateTimeOriginal": (1, 0x9003),
    "OffsetTimeOriginal": (1, 0x9011),
    "ShutterSpeedValue": (1, 0x9201),
    "ApertureValue": (1, 0x9202),
    "FocalLength": (1, 0x920A),
    "ColorSpace": (1, 0xA001),
    "LensModel": (1, 0xA434),
}
_LONG = {"StandardOutputSensitivity", "RecommendedExposureIndex", "ISOSpeed"}


def _exif(order: str = "<", **tags: Any) -> bytes:
    """A TIFF-structured EXIF block with IFD0 and the Exif IFD, written from the specification."""
    groups: tuple[list[Any], list[Any]] = ([], [])
    for name, value in tags.items():
        group, number = EXIF_TAGS[name]
        if isinstance(value, str):
            raw = value.encode() + b"\0"
            groups[group].append((number, 2, len(raw), raw))
        elif isinstance(value, tuple):
            kind, code = (10, "ii") if min(value) < 0 else (5, "II")
            groups[group].append((number, kind, 1, struct.pack(order + code, *value)))
        elif name in _LONG:
            groups[group].append((number, 4, 1, struct.pack(order + "I", value)))
        else:
            groups[group].append((number, 3, 1, struct.pack(order + "HH", value, 0)))
    first, second = (sorted(group) for group in groups)
    start = 8 + 2 + 12 * (len(first) + 1) + 4
    extra = b""

    def directory(entries: list[Any], at: int) -> bytes:
        nonlocal extra
        out = struct.pack(order + "H", len(entries))
        for number, kind, count, raw in entries:
            out += struct.pack(order + "HHI", number, kind, count)
            if len(raw) <= 4:
                out += raw.ljust(4, b"\0")
            else:
                out += struct.pack(order + "I", at + len(extra))
                extra += raw + b"\0" * (len(raw) % 2)
        return out + struct.pack(order + "I", 0)

    values = start + 2 + 12 * len(second) + 4
    pointer = (0x8769, 4, 1, struct.pack(order + "I", start))
    body = directory(sorted([*first, pointer]), values) + directory(second, values)
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8) + body + extra


@pytest.fixture
def exif() -> Callable[..., bytes]:
    return _exif


@pytest.fixture
def jpeg(tmp_path: Path) -> Callable[..., Path]:
    """``jpeg("a.jpg", image, block)``: a JPEG of (H, W, 3) uint8 at quality 95 with an optional EXIF block."""

    def write(name: str, image: NDArray[np.uint8], block: bytes | None = None, **options: Any) -> Path:
        path = tmp_path / name
        if block is not None:
            options["exif"] = b"Exif\0\0" + block
        Image.fromarray(image).save(path, "JPEG", quality=95, subsampling=0, **options)
        return path

    return write


@pytest.fixture
def scene() -> Callable[..., NDArray[np.float64]]:
    """``scene(h, w)``: smooth linear radiance around 0.2 with detail, deep shade and a highlight; (H, W, 3)."""

    def make(height: int = 120, width: int = 160, seed: int = 0) -> NDArray[np.float64]:
        rng = np.random.default_rng(seed)
        coarse = rng.normal(0, 1.2, (height // 10 + 2, width // 10 + 2))
        fine = np.kron(coarse, np.ones((10, 10)))[:height, :width] + rng.normal(0, 0.15, (height, width))
        return np.asarray(0.15 * np.exp(fine)[..., None] * np.array([1.1, 1.0, 0.85]))

    return make


@pytest.fixture
def srgb() -> Callable[[NDArray[np.float64]], NDArray[np.uint8]]:
    """Linear light to 8-bit sRGB codes (IEC 61966-2-1), clipped at 1."""

    def encode(linear: NDArray[np.float64]) -> NDArray[np.uint8]:
        x = np.clip(linear, 0, 1)
        return np.round(255 * np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)).astype(np.uint8)

    return encode


@pytest.fixture
def png_chunk() -> Callable[[bytes, bytes, bytes], bytes]:
    """``png_chunk(png, kind, body)``: the PNG with a chunk inserted after its header."""

    def insert(png: bytes, kind: bytes, body: bytes) -> bytes:
        chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        return png[:33] + chunk + png[33:]

    return insert


MATRIX = (0.6722, -0.0635, -0.0963, -0.4287, 1.2460, 0.2028, -0.0908, 0.2162, 0.5668)


def write_dng(
    path: Path,
    mosaic: NDArray[Any],
    *,
    black: int = 512,
    white: int = 16000,
    neutral: tuple[float, float, float] = (0.5, 1.0, 0.625),
    time: tuple[int, int] = (1, 100),
    orientation: int = 1,
    iso: int = 200,
    active: tuple[int, int, int, int] | None = None,
    pattern: bytes = bytes((0, 1, 1, 2)),
) -> Path:
    """A Bayer (RGGB) DNG of (H, W) raw codes, written from the DNG 1.4 specification; returns ``path``."""
    matrix = [part for value in MATRIX for part in (round(value * 10000), 10000)]
    tags = [
        (271, "s", 0, "Test", True),
        (272, "s", 0, "Camera", True),
        (274, "H", 1, orientation, True),
        (33421, "H", 2, (math.isqrt(len(pattern)),) * 2, True),
        (33422, "B", len(pattern), pattern, True),
        (33434, "2I", 1, time, True),
        (33437, "2I", 1, (8, 1), True),
        (34855, "H", 1, iso, True),
        (50706, "B", 4, bytes((1, 4, 0, 0)), True),
        (50707, "B", 4, bytes((1, 1, 0, 0)), True),
        (50708, "s", 0, "Test Camera", True),
        (50714, "H", 1, black, True),
        (50717, "H", 1, white, True),
        (50721, "2i", 9, matrix, True),
        (50728, "2I", 3, [part for n in neutral for part in (round(n * 1_000_000), 1_000_000)], True),
        (50778, "H", 1, 21, True),
    ]
    if active is not None:  # top, left, bottom, right of what is visible
        tags.append((50829, "I", 4, active, True))
    file = io.BytesIO()
    tifffile.imwrite(file, mosaic.astype(np.uint16), photometric=32803, extratags=tags, metadata=None)
    path.write_bytes(file.getvalue())
    return path


@pytest.fixture
def dng(tmp_path: Path) -> Callable[..., Path]:
    """``dng(name, mosaic, ...)``: ``write_dng`` into the test's folder."""

    def write(name: str, mosaic: NDArray[Any], **options: Any) -> Path:
        return write_dng(tmp_path / name, mosaic, **options)

    return write
