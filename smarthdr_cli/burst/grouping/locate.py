"""Where a file keeps its EXIF, and how large its picture is: JPEG, PNG, TIFF and the RAW containers. Headers only.

JPEG: ITU-T T.81 annex B. PNG: W3C PNG third edition, 5. RAF: a JPEG at the offset its header states. CR3: ISO 14496-12
boxes, EXIF in the CMT1, CMT2 and CMT3 of Canon's uuid box. The rest of the RAW formats are TIFF structures.
"""

import struct
from dataclasses import dataclass
from typing import Literal

from smarthdr_cli.burst.container import sniff
from smarthdr_cli.burst.grouping.files import RAW_ENDINGS
from smarthdr_cli.burst.grouping.tiff import Directory, Source, directory, first_directory
from smarthdr_cli.errors import InputError

_SEGMENTS = 400  # markers or chunks walked before the pixels
_EXIF_IFD, _DNG_VERSION, _RW2_JPEG = 0x8769, 0xC612, 0x002E
_CANON = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")

Kind = Literal["jpeg", "png", "tiff", "raw"]


@dataclass(frozen=True)
class Located:
    """The directories found. ``note`` is the maker note's directory where it stands alone (CR3)."""

    kind: Kind
    size: tuple[int, int] | None = None  # (width, height) as stored
    image: Directory | None = None
    exif: Directory | None = None
    note: Directory | None = None


def locate(source: Source, name: str) -> Located:
    """Raises InputError for a file that is no picture, or one whose header is damaged."""
    kind = sniff(source.head[:64], name)
    if kind == "jpeg":
        found = _jpeg(source, 0)
        if found.size is None:
            raise InputError(f"{name} is damaged or cut short: its JPEG header holds no picture size")
        return found
    if kind == "png":
        return _png(source, name)
    if source.head.startswith(b"FUJIFILMCCD-RAW"):
        (at,) = struct.unpack(">I", source.read(84, 4).ljust(4, b"\0"))
        inner = _jpeg(source, at)
        return Located("raw", inner.size, inner.image, inner.exif)
    if source.head[4:11] == b"ftypcrx":
        return _cr3(source)
    image = first_directory(source, 0)
    if image is None:
        return Located(kind)  # a RAW of another structure; the pixels speak
    if not image.fields:
        raise InputError(f"{name} is damaged or cut short: its TIFF header leads nowhere")
    if kind == "tiff" and (_DNG_VERSION in image.fields or f".{name.lower().rpartition('.')[2]}" in RAW_ENDINGS):
        kind = "raw"
    exif = _exif(image)
    if _RW2_JPEG in image.fields and (exif is None or 0x927C not in exif.fields):
        inner = _jpeg(source, image.fields[_RW2_JPEG].at)
        exif = inner.exif or exif
    return Located(kind, _tiff_size(image), image, exif)


def _tiff_size(image: Directory) -> tuple[int, int] | None:
    width, height = image.number(0x0100), image.number(0x0101)
    return None if width is None or height is None else (int(width), int(height))


def _exif(image: Directory | None) -> Directory | None:
    pointer = None if image is None else image.number(_EXIF_IFD)
    if image is None or pointer is None:
        return None
    return directory(image.source, image.order, image.base, int(pointer))


def _jpeg(source: Source, at: int) -> Located:
    """Markers up to the frame header; the EXIF is the first APP1 of that kind."""
    image, size = None, None
    position = at + 2
    if source.read(at, 2) != b"\xff\xd8":
        return Located("jpeg")
    for _ in range(_SEGMENTS):
        head = source.read(position, 4)
        if len(head) < 4 or head[0] != 0xFF:
            break
        marker = head[1]
        if marker == 0xFF:  # fill
            position += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            position += 2
            continue
        if marker in (0xD9, 0xDA):
            break
        length = int.from_bytes(head[2:], "big")
        if marker == 0xE1 and image is None and source.read(position + 4, 6) == b"Exif\0\0":
            image = first_directory(source, position + 10)
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            frame = source.read(position + 5, 4)
            if len(frame) == 4:
                height, width = struct.unpack(">HH", frame)
                size = (width, height)
            break
        position += 2 + max(length, 2)
    return Located("jpeg", size, image, _exif(image))


def _png(source: Source, name: str) -> Located:
    image, size = None, None
    position = 8
    for _ in range(_SEGMENTS):
        head = source.read(position, 8)
        if len(head) < 8:
            break
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IHDR":
            body = source.read(position + 8, 8)
            if len(body) == 8:
                width, height = struct.unpack(">II", body)
                size = (width, height)
        elif kind == b"eXIf":
            image = first_directory(source, position + 8)
            break
        elif kind == b"IEND":
            break
        position += 12 + length
    if size is None:
        raise InputError(f"{name} is damaged: its PNG header holds no picture size")
    return Located("png", size, image, _exif(image))


def _cr3(source: Source) -> Located:
    parts: dict[bytes, Directory] = {}
    end = _box(source, 0, 1 << 40, b"moov")
    if end is not None:
        inside = _box(source, *end, b"uuid", _CANON)
        if inside is not None:
            for name in (b"CMT1", b"CMT2", b"CMT3"):
                box = _box(source, *inside, name)
                block = None if box is None else first_directory(source, box[0])
                if block is not None:
                    parts[name] = block
    image = parts.get(b"CMT1")
    return Located("raw", None if image is None else _tiff_size(image), image, parts.get(b"CMT2"), parts.get(b"CMT3"))


def _box(source: Source, start: int, stop: int, name: bytes, uuid: bytes = b"") -> tuple[int, int] | None:
    """(start, stop) of the content of the first box of this name between two offsets."""
    for _ in range(64):
        head = source.read(start, 16)
        if start + 8 > stop or len(head) < 8:
            return None
        size, kind = struct.unpack_from(">I4s", head)
        body = start + 8
        if size == 1 and len(head) == 16:
            (size,) = struct.unpack_from(">Q", head, 8)
            body += 8
        if size < 8:
            return None
        if kind == name and (not uuid or source.read(body, 16) == uuid):
            return body + len(uuid), min(start + size, stop)
        start += size
    return None
