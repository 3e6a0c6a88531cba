"""A bounded reader of TIFF directories (TIFF 6.0, section 2), for EXIF blocks and maker notes alike.

Nothing here follows a count or an offset further than its bounds: a directory has at most 1024 entries, a value is read
only when asked for and to at most ``limit`` bytes, and a file gives at most ``BUDGET`` bytes in all. What does not fit
is absent, never an error.
"""

import io
import math
import struct
from dataclasses import dataclass
from typing import BinaryIO

BUDGET = 4 << 20  # bytes read of one file
MAX_TEXT = 500  # characters of a text
_HEAD = 64 << 10  # bytes read at once: most headers end before
_ENTRIES = 1024
_BIGTIFF = 43  # the magic number of a structure with 64-bit offsets, which holds no EXIF that cameras write
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_CODES = {1: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I"}


class Source:
    """Byte ranges of an open file, short where the file or the budget ends. ``size``: the file's length."""

    def __init__(self, file: BinaryIO, budget: int = BUDGET) -> None:
        self._file, self._left = file, budget - _HEAD
        self.size = file.seek(0, io.SEEK_END)
        file.seek(0)
        self.head = file.read(_HEAD)

    def read(self, at: int, count: int) -> bytes:
        """Up to ``count`` bytes from offset ``at``."""
        if at < 0 or count <= 0:
            return b""
        if at + count <= len(self.head) or len(self.head) < _HEAD:
            return self.head[at : at + count]
        count = min(count, self._left)
        if count <= 0 or at >= self.size:
            return b""
        self._left -= count
        self._file.seek(at)
        return self._file.read(count)

    def number(self, code: str, at: int) -> int:
        """The integer of a struct code such as "<I" at offset ``at``; 0 beyond the file's end."""
        size = struct.calcsize(code)
        (value,) = struct.unpack(code, self.read(at, size).ljust(size, b"\0"))
        return int(value)


@dataclass(frozen=True)
class Field:
    """One entry of a directory: its type, how many values, where they lie in the file."""

    kind: int
    count: int
    at: int

    @property
    def size(self) -> int:
        """Bytes of all values; those of more than 4 lie outside the directory."""
        return self.count * _SIZES[self.kind]


@dataclass(frozen=True)
class Directory:
    """The entries of one image file directory; ``base`` is what its offsets count from, ``end`` its end in the file."""

    source: Source
    order: str  # "<" or ">"
    base: int
    fields: dict[int, Field]
    end: int = 0

    def __contains__(self, tag: int) -> bool:
        return tag in self.fields

    def raw(self, tag: int, limit: int = 4096) -> bytes:
        """The value's bytes, cut at ``limit``; empty when absent."""
        field = self.fields.get(tag)
        return b"" if field is None else self.source.read(field.at, min(field.size, limit))

    def numbers(self, tag: int, limit: int = 64) -> tuple[float, ...]:
        """The first ``limit`` values as numbers; an undefined one (1/0, NaN) ends them; empty when absent or text."""
        field = self.fields.get(tag)
        if field is None or field.kind == 2:
            return ()
        data = self.raw(tag, limit * _SIZES[field.kind])
        size = _SIZES[field.kind]
        found: list[float] = []
        for at in range(0, len(data) - size + 1, size):
            if field.kind in (5, 10):
                top, bottom = struct.unpack_from(self.order + ("II" if field.kind == 5 else "ii"), data, at)
                if bottom == 0:
                    break
                found.append(top / bottom)
            else:
                (value,) = struct.unpack_from(self.order + _CODES[field.kind], data, at)
                if not math.isfinite(value):
                    break
                found.append(value)
        return tuple(found)

    def number(self, tag: int) -> float | None:
        """The first value, or None."""
        values = self.numbers(tag, 1)
        return values[0] if values else None

    def text(self, tag: int) -> str | None:
        """Printable text up to the first NUL, at most MAX_TEXT characters, or None."""
        field = self.fields.get(tag)
        if field is None or field.kind not in (1, 2, 7):
            return None
        return printable(self.raw(tag, MAX_TEXT))

    def linked(self, tag: int) -> "Directory | None":
        """The directory that this one's value points at, or None."""
        pointer = self.number(tag)
        return None if pointer is None else directory(self.source, self.order, self.base, int(pointer))


def printable(data: bytes) -> str | None:
    """The text that bytes hold up to the first NUL, without control characters; None when empty."""
    text = data[:MAX_TEXT].partition(b"\0")[0].decode("utf-8", "replace")
    return "".join(character for character in text if character.isprintable()).strip() or None


def byte_order(source: Source, at: int) -> str | None:
    """ "<" or ">" from the II or MM at ``at``, or None."""
    return {b"II": "<", b"MM": ">"}.get(source.read(at, 2))


def directory(source: Source, order: str, base: int, at: int) -> Directory:
    """The directory at offset ``at`` from ``base``; empty where none lies there. Of equal tags the first."""
    fields: dict[int, Field] = {}
    start = base + at
    count = source.number(order + "H", start)
    if count <= _ENTRIES:
        data = source.read(start + 2, 12 * count)
        for entry in range(len(data) // 12):
            tag, kind, number, value = struct.unpack_from(order + "HHII", data, 12 * entry)
            if kind in _SIZES:
                inside = number * _SIZES[kind] <= 4
                fields.setdefault(tag, Field(kind, number, start + 2 + 12 * entry + 8 if inside else base + value))
    return Directory(source, order, base, fields, start + 2 + 12 * count + 4)


def first_directory(source: Source, base: int = 0) -> Directory | None:
    """The first directory of the TIFF structure at ``base``, whatever its magic number (RAW formats have their own).

    None where there is none, and for BigTIFF.
    """
    order = byte_order(source, base)
    if order is None or len(source.read(base, 8)) < 8 or source.number(order + "H", base + 2) == _BIGTIFF:
        return None
    return directory(source, order, base, source.number(order + "I", base + 4))
