"""X3F, Sigma's RAW format: sections found through a directory at the end of the file.

The last 4 bytes are the offset of the directory "SECd"; its entries of 12 bytes are offset, length and type of a
section. Section "PROP" holds properties as pairs of UTF-16 texts, section "IMA2" an image, which is a JPEG with EXIF
in all models but the first. Sources: Foveon's description of the format, ExifTool's SigmaRaw tag table.
"""

import math
import struct
from dataclasses import dataclass
from datetime import UTC, datetime

from PIL.ExifTags import Base as Tag

from smarthdr_cli.burst.exif import ORIENTATION_BY_ROTATION, TagValues
from smarthdr_cli.burst.tiff_ifd import BoundedReader, printable_text

_MAX_SECTIONS, _MAX_PROPERTIES, _MAX_SECTION_BYTES = 64, 256, 64 << 10
_MAX_TEXT_BYTES = 512
_IMAGE_HEADER_BYTES = 28
_NUMBER_TAGS = {
    "SHUTTER": Tag.ExposureTime,
    "APERTURE": Tag.FNumber,
    "ISO": Tag.ISOSpeedRatings,
    "EXPCOMP": Tag.ExposureBiasValue,
    "FLENGTH": Tag.FocalLength,
}
_TEXT_TAGS = {
    "CAMMANUF": Tag.Make,
    "CAMMODEL": Tag.Model,
    "CAMSERIAL": Tag.BodySerialNumber,
    "LENSMODEL": Tag.LensModel,
}
_MAKER_NOTE_TAGS = {"DRIVE": 0x0003, "BRACKET": 0x0019}  # of Sigma's maker note


@dataclass(frozen=True)
class X3fMetadata:
    """EXIF tags, tags of Sigma's maker note, (width, height) as stored, and the offset of the embedded JPEG."""

    values: TagValues
    maker_note: TagValues
    size: tuple[int, int] | None = None
    jpeg_offset: int | None = None


def read_x3f(reader: BoundedReader) -> X3fMetadata:
    """Metadata of an X3F by its header and properties; damaged parts count as absent."""
    major_version = reader.integer("<I", 4) >> 16
    size_offset = 28 if major_version < 4 else 40
    width, height, rotation = (reader.integer("<I", size_offset + 4 * i) for i in range(3))
    directory = reader.integer("<I", reader.size - 4)
    properties: dict[str, str] = {}
    jpeg_offset = None
    if reader.read(directory, 4) == b"SECd":
        section_count = min(reader.integer("<I", directory + 8), _MAX_SECTIONS)
        data = reader.read(directory + 12, 12 * section_count)
        for offset, length, kind in struct.iter_unpack("<II4s", data[: len(data) // 12 * 12]):
            image = offset + _IMAGE_HEADER_BYTES
            if kind == b"PROP":
                properties |= _parse_properties(reader.read(offset, min(length, _MAX_SECTION_BYTES)))
            elif kind == b"IMA2" and jpeg_offset is None and reader.read(image, 3) == b"\xff\xd8\xff":
                jpeg_offset = image
    numbers: dict[int, float] = {}
    for name, tag in _NUMBER_TAGS.items():
        value = _finite_number(properties.get(name))
        if value is not None:
            numbers[tag] = value
    if rotation in ORIENTATION_BY_ROTATION:
        numbers[Tag.Orientation] = ORIENTATION_BY_ROTATION[rotation]
    if "PMODE" in properties:
        numbers[Tag.ExposureMode] = properties["PMODE"] == "M"
    texts: dict[int, str] = {tag: properties[name] for name, tag in _TEXT_TAGS.items() if name in properties}
    timestamp = _finite_number(properties.get("TIME"))
    if timestamp is not None and 0 < timestamp < 1 << 32:
        texts[Tag.DateTimeOriginal] = f"{datetime.fromtimestamp(timestamp, UTC):%Y:%m:%d %H:%M:%S}"
    maker_note = TagValues(texts={t: properties[name] for name, t in _MAKER_NOTE_TAGS.items() if name in properties})
    size = (width, height) if width and height else None
    return X3fMetadata(TagValues(numbers, texts), maker_note, size, jpeg_offset)


def _parse_properties(section: bytes) -> dict[str, str]:
    """Name to value, of a section of pairs of offsets, in characters, into the text after them."""
    if section[:4] != b"SECp" or len(section) < 24:
        return {}
    (stated_count,) = struct.unpack_from("<I", section, 8)
    count = min(stated_count, _MAX_PROPERTIES, (len(section) - 24) // 8)
    text = section[24 + 8 * stated_count :]
    offsets = struct.iter_unpack("<II", section[24 : 24 + 8 * count])
    properties = {_text_at(text, name): _text_at(text, value) for name, value in offsets}
    return {name: value for name, value in properties.items() if name and value}


def _text_at(text: bytes, offset: int) -> str:
    value = text[2 * offset : 2 * offset + _MAX_TEXT_BYTES].decode("utf-16-le", "replace").partition("\0")[0]
    return printable_text(value.encode("utf-8", "replace")) or ""


def _finite_number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None
