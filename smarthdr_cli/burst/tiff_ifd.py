"""A bounded reader of TIFF image file directories (IFDs; TIFF 6.0, section 2), for EXIF blocks and maker notes.

An IFD is a 16-bit count, that many entries of 12 bytes (tag, value type, number of values, value or offset), and the
offset of the next IFD. Offsets count from the base of the TIFF structure, which may lie anywhere in a file.

Counts and offsets of a damaged file are limited: an IFD has at most _MAX_IFD_ENTRIES entries, a value is read only on
request and up to a limit, one file gives at most MAX_BYTES_READ bytes. What exceeds a limit is absent, not an error.
"""

import io
import math
import struct
from dataclasses import dataclass
from typing import BinaryIO

MAX_BYTES_READ = 4 << 20  # of one file; EXIF blocks of cameras take at most some 100 kB
MAX_TEXT_LENGTH = 500  # characters of a text
_HEAD_BYTES = 64 << 10  # read at once: most headers end before
_MAX_IFD_ENTRIES = 1024
_BIGTIFF = 43  # magic number of TIFF with 64-bit offsets; cameras write no EXIF in it
# Of the value types of TIFF 6.0: bytes of one value, and its struct code where it is one number.
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_TYPE_CODES = {1: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I"}
_ASCII, _RATIONAL, _SRATIONAL = 2, 5, 10
_TEXT_TYPES = (1, _ASCII, 7)  # BYTE, ASCII, UNDEFINED


class BoundedReader:
    """Byte ranges of an open file, at most ``max_bytes`` in all.

    ``size``: bytes of the file. ``head``: its first 64 kB.
    """

    def __init__(self, file: BinaryIO, max_bytes: int = MAX_BYTES_READ) -> None:
        self._file, self._bytes_left = file, max_bytes - _HEAD_BYTES
        self.size = file.seek(0, io.SEEK_END)
        file.seek(0)
        self.head = file.read(_HEAD_BYTES)

    def read(self, offset: int, count: int) -> bytes:
        """Up to ``count`` bytes from ``offset``; fewer at the end of the file or of the limit."""
        if offset < 0 or count <= 0:
            return b""
        if offset + count <= len(self.head) or len(self.head) < _HEAD_BYTES:
            return self.head[offset : offset + count]
        count = min(count, self._bytes_left)
        if count <= 0 or offset >= self.size:
            return b""
        self._bytes_left -= count
        self._file.seek(offset)
        return self._file.read(count)

    def whole(self) -> bytes:
        """All bytes of the file, past the reader's limit, for formats whose index may lie anywhere."""
        self._file.seek(0)
        return self._file.read()

    def integer(self, code: str, offset: int) -> int:
        """The integer of a struct code such as "<I" at ``offset``; bytes beyond the end count as 0."""
        size = struct.calcsize(code)
        (value,) = struct.unpack(code, self.read(offset, size).ljust(size, b"\0"))
        return int(value)


@dataclass(frozen=True)
class IfdEntry:
    """One IFD entry: TIFF value type, number of values, and the offset of the values in the file."""

    value_type: int
    count: int
    offset: int

    @property
    def size(self) -> int:
        """Bytes of all values; more than 4 are stored outside the IFD."""
        return self.count * _TYPE_BYTES[self.value_type]


@dataclass(frozen=True)
class Ifd:
    """Entries of one IFD by tag. ``order``: "<" or ">". ``base``: origin of its offsets. ``end``: offset of its end."""

    reader: BoundedReader
    order: str
    base: int
    entries: dict[int, IfdEntry]
    end: int = 0

    def __contains__(self, tag: int) -> bool:
        return tag in self.entries

    def value_bytes(self, tag: int, max_bytes: int = 4096) -> bytes:
        """The bytes of all values, cut at ``max_bytes``; empty when absent."""
        entry = self.entries.get(tag)
        return b"" if entry is None else self.reader.read(entry.offset, min(entry.size, max_bytes))

    def numbers(self, tag: int, max_values: int = 64) -> tuple[float, ...]:
        """The first values as numbers, up to an undefined one (1/0, NaN); empty when absent or text."""
        entry = self.entries.get(tag)
        if entry is None or entry.value_type == _ASCII:
            return ()
        size = _TYPE_BYTES[entry.value_type]
        data = self.value_bytes(tag, max_values * size)
        values: list[float] = []
        for position in range(0, len(data) - size + 1, size):
            if entry.value_type in (_RATIONAL, _SRATIONAL):
                code = "II" if entry.value_type == _RATIONAL else "ii"
                numerator, denominator = struct.unpack_from(self.order + code, data, position)
                if denominator == 0:
                    break
                values.append(numerator / denominator)
            else:
                (value,) = struct.unpack_from(self.order + _TYPE_CODES[entry.value_type], data, position)
                if not math.isfinite(value):
                    break
                values.append(value)
        return tuple(values)

    def number(self, tag: int) -> float | None:
        """The first value, or None."""
        values = self.numbers(tag, 1)
        return values[0] if values else None

    def text(self, tag: int) -> str | None:
        """Printable text as by ``printable_text``, or None."""
        entry = self.entries.get(tag)
        if entry is None or entry.value_type not in _TEXT_TYPES:
            return None
        return printable_text(self.value_bytes(tag, MAX_TEXT_LENGTH))

    def sub_ifd(self, tag: int) -> "Ifd | None":
        """The IFD at the offset that is the value of ``tag``, or None."""
        offset = self.number(tag)
        return None if offset is None else read_ifd(self.reader, self.order, self.base, int(offset))


def printable_text(data: bytes) -> str | None:
    """UTF-8 text up to the first NUL, without control characters, at most MAX_TEXT_LENGTH long; None when empty."""
    text = data[:MAX_TEXT_LENGTH].partition(b"\0")[0].decode("utf-8", "replace")
    return "".join(character for character in text if character.isprintable()).strip() or None


def read_byte_order(reader: BoundedReader, offset: int) -> str | None:
    """ "<" for II or ">" for MM at ``offset``, else None."""
    return {b"II": "<", b"MM": ">"}.get(reader.read(offset, 2))


def read_ifd(reader: BoundedReader, order: str, base: int, offset: int) -> Ifd:
    """The IFD at ``offset`` from ``base``; empty where there is none. Of entries with one tag the first counts."""
    entries: dict[int, IfdEntry] = {}
    start = base + offset
    entry_count = reader.integer(order + "H", start)
    if entry_count <= _MAX_IFD_ENTRIES:
        data = reader.read(start + 2, 12 * entry_count)
        for position in range(0, len(data) - 11, 12):
            tag, value_type, count, value = struct.unpack_from(order + "HHII", data, position)
            if value_type in _TYPE_BYTES:
                is_inline = count * _TYPE_BYTES[value_type] <= 4
                value_offset = start + 2 + position + 8 if is_inline else base + value
                entries.setdefault(tag, IfdEntry(value_type, count, value_offset))
    return Ifd(reader, order, base, entries, start + 2 + 12 * entry_count + 4)


def read_first_ifd(reader: BoundedReader, base: int = 0) -> Ifd | None:
    """The first IFD of the TIFF structure at ``base``; None where there is none, and for BigTIFF.

    The magic number is free, because RAW formats have their own.
    """
    order = read_byte_order(reader, base)
    if order is None or len(reader.read(base, 8)) < 8 or reader.integer(order + "H", base + 2) == _BIGTIFF:
        return None
    return read_ifd(reader, order, base, reader.integer(order + "I", base + 4))
