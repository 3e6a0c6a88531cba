"""X3F: Sigma's RAW, sections found through a directory at the file's end.

The last 4 bytes are the offset of the directory "SECd"; its entries of 12 bytes are offset, length and type of a
section. "PROP" holds properties as pairs of UTF-16 texts, "IMA2" a picture, a JPEG with EXIF in all but the first
models. After Foveon's description of the format and ExifTool's SigmaRaw tag table.
"""

import math
import struct
from dataclasses import dataclass
from datetime import UTC, datetime

from smarthdr_cli.burst.exif import Values
from smarthdr_cli.burst.tiff_ifd import Source, printable

_SECTIONS, _PROPERTIES, _MAX_SECTION = 64, 256, 64 << 10
_TURNED = {0: 1, 90: 6, 180: 3, 270: 8}  # degrees to EXIF's orientation
_NUMBERS = {"SHUTTER": 0x829A, "APERTURE": 0x829D, "ISO": 0x8827, "EXPCOMP": 0x9204, "FLENGTH": 0x920A}
_TEXTS = {"CAMMANUF": 0x010F, "CAMMODEL": 0x0110, "CAMSERIAL": 0xA431, "LENSMODEL": 0xA434}
_NOTE = {"DRIVE": 0x0003, "BRACKET": 0x0019}  # as in Sigma's maker note


@dataclass(frozen=True)
class X3F:
    """EXIF's tags, those of Sigma's maker note, (width, height) as stored, and where the embedded JPEG begins."""

    values: Values
    note: Values
    size: tuple[int, int] | None = None
    jpeg: int | None = None


def read_x3f(source: Source) -> X3F:
    """What the header and the properties say; what does not fit is absent."""
    first = 28 if source.number("<I", 4) >> 16 < 4 else 40  # the header grew with version 4
    width, height, turned = (source.number("<I", first + 4 * i) for i in range(3))
    start = source.number("<I", source.size - 4)
    properties: dict[str, str] = {}
    jpeg = None
    if source.read(start, 4) == b"SECd":
        data = source.read(start + 12, 12 * min(source.number("<I", start + 8), _SECTIONS))
        for at, length, kind in struct.iter_unpack("<II4s", data[: len(data) // 12 * 12]):
            if kind == b"PROP":
                properties |= _properties(source.read(at, min(length, _MAX_SECTION)))
            elif kind == b"IMA2" and jpeg is None and source.read(at + 28, 3) == b"\xff\xd8\xff":
                jpeg = at + 28
    numbers = {tag: value for name, tag in _NUMBERS.items() if (value := _number(properties.get(name))) is not None}
    if turned in _TURNED:
        numbers[0x0112] = _TURNED[turned]
    if "PMODE" in properties:
        numbers[0xA402] = properties["PMODE"] == "M"
    texts = {tag: properties[name] for name, tag in _TEXTS.items() if name in properties}
    moment = _number(properties.get("TIME"))
    if moment is not None and 0 < moment < 1 << 32:
        texts[0x9003] = f"{datetime.fromtimestamp(moment, UTC):%Y:%m:%d %H:%M:%S}"
    note = Values(texts={tag: properties[name] for name, tag in _NOTE.items() if name in properties})
    return X3F(Values(numbers, texts), note, (width, height) if width and height else None, jpeg)


def _properties(section: bytes) -> dict[str, str]:
    """Name to value: pairs of offsets, in characters, into the text behind them."""
    if section[:4] != b"SECp" or len(section) < 24:
        return {}
    count = min(struct.unpack_from("<I", section, 8)[0], _PROPERTIES, (len(section) - 24) // 8)
    text = section[24 + 8 * struct.unpack_from("<I", section, 8)[0] :]
    pairs = struct.iter_unpack("<II", section[24 : 24 + 8 * count])
    found = {_text(text, name): _text(text, value) for name, value in pairs}
    return {name: value for name, value in found.items() if name and value}


def _text(text: bytes, at: int) -> str:
    found = text[2 * at : 2 * at + 512].decode("utf-16-le", "replace").partition("\0")[0]
    return printable(found.encode("utf-8", "replace")) or ""


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None
