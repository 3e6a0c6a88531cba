"""Image files for tests, written from their specifications: EXIF blocks, TIFF structures, JPEG, PNG and DNG."""

import io
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from smarthdr_cli.burst.exif_containers import FileTags, read_tags
from smarthdr_cli.burst.tiff_ifd import BoundedReader

# Tag names of EXIF 2.32 to directory (0: IFD0, 1: Exif IFD) and tag number.
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
_LONG_TAGS = {"StandardOutputSensitivity", "RecommendedExposureIndex", "ISOSpeed"}
_ASCII, _SHORT, _LONG, _RATIONAL, _SRATIONAL = 2, 3, 4, 5, 10
_STRUCT_CODES = {1: "B", 3: "H", 4: "I", 5: "II", 6: "b", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I"}
_EXIF_IFD = 0x8769
TAIL_OFFSET = 0xDEADBEEF  # a value that ``tiff_structure`` replaces by the offset of its tail

Entry = tuple[int, int, Any]  # tag, TIFF value type, value: a number, the pair of a rational, a tuple, or bytes


def tiff_structure(order: str, ifd0: Sequence[Entry], exif: Sequence[Entry], tail: bytes = b"") -> bytes:
    """A TIFF structure of IFD0 and, with entries, the Exif IFD; ``tail`` follows. ``order``: "<" or ">"."""
    first = sorted([*ifd0, *([(_EXIF_IFD, _LONG, 0)] if exif else [])])
    exif_offset = 8 + 2 + 12 * len(first) + 4
    values_offset = exif_offset + (2 + 12 * len(exif) + 4 if exif else 0)
    values = b""

    def ifd(entries: Sequence[Entry]) -> bytes:
        nonlocal values
        out = struct.pack(order + "H", len(entries))
        for tag, value_type, value in entries:
            if isinstance(value, bytes):
                data, count = value, len(value)
            else:
                numbers = value if isinstance(value, tuple) else (value,)
                is_rational = value_type in (_RATIONAL, _SRATIONAL)
                count = 1 if is_rational else len(numbers)
                code = _STRUCT_CODES[value_type] * (1 if is_rational else count)
                data = struct.pack(order + code, *numbers)
            if tag == _EXIF_IFD:
                data = struct.pack(order + "I", exif_offset)
            out += struct.pack(order + "HHI", tag, value_type, count)
            if len(data) > 4:
                out += struct.pack(order + "I", values_offset + len(values))
                values += data + b"\0" * (len(data) % 2)
            else:
                out += data.ljust(4, b"\0")
        return out + bytes(4)

    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    directories = ifd(first) + (ifd(sorted(exif)) if exif else b"")
    body = header + directories + values
    return body.replace(struct.pack(order + "I", TAIL_OFFSET), struct.pack(order + "I", len(body))) + tail


def exif_block(order: str = "<", **tags: Any) -> bytes:
    """An EXIF block of tags by name. The Python type gives the value type: str, int (SHORT), (num, den) (RATIONAL)."""
    directories: tuple[list[Entry], list[Entry]] = ([], [])
    for name, value in tags.items():
        directory, number = EXIF_TAGS[name]
        if isinstance(value, str):
            value_type, value = _ASCII, value.encode() + b"\0"
        elif isinstance(value, tuple):
            value_type = _SRATIONAL if min(value) < 0 else _RATIONAL
        else:
            value_type = _LONG if name in _LONG_TAGS else _SHORT
        directories[directory].append((number, value_type, value))
    return tiff_structure(order, *directories)


def write_jpeg(path: Path, image: NDArray[np.uint8], block: bytes | None = None, **options: Any) -> Path:
    """A JPEG of (H, W, 3) uint8 at quality 95 with an optional EXIF block; returns ``path``."""
    if block is not None:
        options["exif"] = b"Exif\0\0" + block
    Image.fromarray(image).save(path, "JPEG", quality=95, subsampling=0, **options)
    return path


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """One PNG chunk with its length and checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_png_chunk(png: bytes, kind: bytes, body: bytes) -> bytes:
    """The PNG with a chunk inserted after its header."""
    return png[:33] + png_chunk(kind, body) + png[33:]


def random_scene(height: int = 120, width: int = 160, seed: int = 0) -> NDArray[np.float64]:
    """(H, W, 3) linear radiance around 0.2 with detail, deep shadows and highlights."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(0, 1.2, (height // 10 + 2, width // 10 + 2))
    log = np.kron(coarse, np.ones((10, 10)))[:height, :width] + rng.normal(0, 0.15, (height, width))
    return np.asarray(0.15 * np.exp(log)[..., None] * np.array([1.1, 1.0, 0.85]))


def srgb_codes(linear: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Linear light to 8-bit sRGB codes (IEC 61966-2-1), clipped at 1."""
    x = np.clip(linear, 0, 1)
    return np.round(255 * np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)).astype(np.uint8)


COLOR_MATRIX = (0.6722, -0.0635, -0.0963, -0.4287, 1.2460, 0.2028, -0.0908, 0.2162, 0.5668)  # XYZ to camera


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
    """A Bayer (RGGB) DNG of (H, W) raw codes (DNG 1.4); ``active``: top, left, bottom, right of the visible area."""
    matrix = [part for value in COLOR_MATRIX for part in (round(value * 10000), 10000)]
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
    if active is not None:
        tags.append((50829, "I", 4, active, True))
    file = io.BytesIO()
    tifffile.imwrite(file, mosaic.astype(np.uint16), photometric=32803, extratags=tags, metadata=None)
    path.write_bytes(file.getvalue())
    return path


def tags_of(data: bytes, name: str = "a.jpg") -> FileTags:
    """The tags of a file that has this content and name."""
    return read_tags(BoundedReader(io.BytesIO(data)), name)
