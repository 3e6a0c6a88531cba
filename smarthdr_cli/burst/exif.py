"""What EXIF states: exposure, orientation, colour space and the capture record (EXIF 2.32 / CIPA DC-008).

``ev = log2(time * ISO/100 / N**2)``: each factor from its own tag or the usual substitute; a factor that is absent is
left out (the caller says what that means for a burst).

``exif_location`` finds the tags, by exifread in the EXIF block of a JPEG or PNG and by ``tiff_ifd`` in TIFF and RAW
files; ``interpret`` alone says what they mean, to ``info`` as to ``group``.
"""

import io
import logging
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Protocol

import exifread
from PIL import Image, TiffImagePlugin

from smarthdr_cli.burst.frame import Capture, Exposure
from smarthdr_cli.burst.tiff_ifd import MAX_TEXT, printable

MAX_BLOCK = 1 << 20  # bytes of an EXIF block that are looked at; JPEG's limit is 64 kB
_READS, _BYTES, _VALUE = 20_000, 8 << 20, 1 << 16  # what exifread may take: reads, bytes in all, bytes at once
_SATURATED = 65535  # ISOSpeedRatings is 16 bits; above that the other sensitivity tags hold the value
# The sensitivity, and what holds it where its 16 bits do not: recommended index, standard output, ISO speed, latitude.
_ISO_TAGS = (0x8827, 0x8832, 0x8831, 0x8833, 0x8834)
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)")

# exifread logs what it could not parse; the one line of ours says it instead.
logging.getLogger("exifread").setLevel(logging.CRITICAL + 1)


class Tags(Protocol):
    """Tags by their numbers, of the EXIF directory or else of the first one (IFD0), where some editors put them."""

    def __contains__(self, tag: int) -> bool: ...

    def number(self, tag: int) -> float | None:
        """The first value; None where the tag is absent, text, or undefined (1/0)."""

    def text(self, tag: int) -> str | None:
        """Printable text, or None."""


@dataclass(frozen=True)
class Values:
    """Tags whose values are known already: of a container without TIFF directories."""

    numbers: Mapping[int, float] = field(default_factory=dict)
    texts: Mapping[int, str] = field(default_factory=dict)

    def __contains__(self, tag: int) -> bool:
        return tag in self.numbers or tag in self.texts

    def number(self, tag: int) -> float | None:
        """The value, or None."""
        return self.numbers.get(tag)

    def text(self, tag: int) -> str | None:
        """The text, or None."""
        return self.texts.get(tag)


@dataclass(frozen=True)
class Stated:
    """What one file's EXIF states. ``damaged``: a block was there that holds no tags."""

    time: float | None = None  # seconds
    aperture: float | None = None  # f-number
    iso: float | None = None
    orientation: int = 1
    adobe_rgb: bool = False
    capture: Capture = field(default_factory=Capture)
    damaged: bool = False

    def exposure(self) -> Exposure:
        """The exposure of these alone: absent factors count as 1 (ISO 100); without a time the source is "none"."""
        if self.time is None:
            return Exposure(0.0, None, self.aperture, self.iso, "none")
        return Exposure(exposure_value(self.time, self.aperture, self.iso), self.time, self.aperture, self.iso, "exif")


def exposure_value(time: float, aperture: float | None, iso: float | None) -> float:
    """``log2(time * ISO/100 / N**2)``; an absent aperture or ISO counts as N = 1, ISO 100."""
    return math.log2(time * (iso or 100.0) / 100.0 / (aperture or 1.0) ** 2)


def interpret(tags: Tags) -> Stated:
    """What the tags of a file mean; ``capture.exif`` is left to the caller."""
    orientation = tags.number(0x0112)
    return Stated(
        time=_time(tags),
        aperture=_aperture(tags),
        iso=_iso(tags),
        orientation=int(orientation) if orientation is not None and orientation in range(1, 9) else 1,
        adobe_rgb=tags.number(0xA001) == 2 or tags.text(0x0001) == "R03",
        capture=_capture(tags),
    )


def read_exif(block: bytes) -> Tags | None:
    """The tags of the TIFF-structured EXIF block of a JPEG or PNG as exifread reads them; None where it finds none."""
    try:
        tags = exifread.process_file(_Bounded(block[:MAX_BLOCK]), details=False, strict=False, extract_thumbnail=False)
        return _ExifRead(tags) if tags else None
    except Exception:  # exifread raises anything at all on damaged blocks; this is the one place that meets it
        return None


class _ExifRead:
    """exifread's result as Tags."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        by_group: dict[str, dict[int, Any]] = {"EXIF": {}, "Image": {}, "Interoperability": {}}
        for name, tag in found.items():
            group = name.partition(" ")[0]
            if group in by_group and hasattr(tag, "values"):  # a thumbnail is bare bytes
                by_group[group][tag.tag] = tag.values
        self._values = by_group["Interoperability"] | by_group["Image"] | by_group["EXIF"]

    def __contains__(self, tag: int) -> bool:
        return tag in self._values

    def number(self, tag: int) -> float | None:
        """The first value, or None."""
        values = self._values.get(tag)
        if not isinstance(values, list) or not values:
            return None
        value = values[0][0] if isinstance(values[0], tuple) else values[0]  # of floating-point types
        try:
            number = float(value.num) / float(value.den) if hasattr(value, "den") else float(value)
        except (TypeError, ValueError, ZeroDivisionError, OverflowError):
            return None
        return number if math.isfinite(number) else None

    def text(self, tag: int) -> str | None:
        """Printable text, or None."""
        values = self._values.get(tag)
        if isinstance(values, list):
            values = bytes(value & 255 for value in values[:MAX_TEXT] if isinstance(value, int))
        return printable(values.encode() if isinstance(values, str) else values) if values else None


class _Bounded(io.BytesIO):
    """Bytes that end with an OSError when more is asked of them than any camera's record takes.

    exifread believes counts: directories of 65535 entries beyond the file's end, chains of them, and texts of the whole
    file in each entry would cost hours and gigabytes.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._reads, self._bytes = _READS, _BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        """At most _VALUE bytes. Raises OSError beyond _READS calls or _BYTES in all."""
        found = super().read(_VALUE if size is None or size < 0 else min(size, _VALUE))
        self._reads -= 1
        self._bytes -= len(found)
        if self._reads < 0 or self._bytes < 0:
            raise OSError("the EXIF block leads on without end")
        return found


def with_block(stated: Stated) -> Stated:
    """With a small EXIF block of what is stated, for sources whose own lies scattered over a TIFF or RAW file."""
    return replace(stated, capture=replace(stated.capture, exif=_compose(stated)))


def _within(number: float | None, low: float, high: float) -> float | None:
    return number if number is not None and low <= number <= high else None


def _time(tags: Tags) -> float | None:
    time = _within(tags.number(0x829A), 1e-7, 1e6)
    if time is not None:
        return time
    apex = _within(tags.number(0x9201), -20, 23)
    if apex == 0 and 0x829A in tags:
        return None  # both are zero: written by software that knows neither, not one second
    return None if apex is None else 2.0**-apex


def _aperture(tags: Tags) -> float | None:
    aperture = _within(tags.number(0x829D), 0.3, 1000)
    if aperture is not None:
        return aperture
    apex = _within(tags.number(0x9202), -3, 20)
    return None if not apex else 2.0 ** (apex / 2)  # an APEX 0 is what cameras write for a lens they cannot see


def _iso(tags: Tags) -> float | None:
    values = [_within(tags.number(tag), 1, 1e8) for tag in _ISO_TAGS]
    known = [value for value in values if value is not None]
    return next((value for value in known if value != _SATURATED), known[0] if known else None)


def _capture(tags: Tags) -> Capture:
    return Capture(
        make=tags.text(0x010F),
        model=tags.text(0x0110),
        lens=tags.text(0xA434),
        datetime=tags.text(0x9003) or tags.text(0x0132),
        utc_offset=next((o for tag in (0x9011, 0x9010) if (o := utc_offset(tags.text(tag))) is not None), None),
        owner=tags.text(0xA430) or tags.text(0x013B),
        comments=tags.text(0x010E),
        focal_length=_within(tags.number(0x920A), 0.1, 1e5),
    )


def utc_offset(text: str | None) -> float | None:
    """Seconds east of UTC of a text such as "+02:00", or None."""
    match = _OFFSET.fullmatch(text or "")
    if match is None:
        return None
    sign, hours, minutes = match.groups()
    return (-1.0 if sign == "-" else 1.0) * (int(hours) * 3600 + int(minutes) * 60)


def upright(block: bytes) -> bytes | None:
    """The EXIF block with orientation 1 and its thumbnail unlinked, "Exif" prefix included; None when damaged.

    Patched in place: every other byte stays where it is, so that maker notes with absolute offsets survive.
    """
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or len(block) > MAX_BLOCK:
        return None
    patched = bytearray(block)
    try:
        (start,) = struct.unpack_from(order + "I", patched, 4)
        (count,) = struct.unpack_from(order + "H", patched, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, number = struct.unpack_from(order + "HHI", patched, entry)
            if (tag, kind, number) == (0x0112, 3, 1):
                struct.pack_into(order + "HH", patched, entry + 8, 1, 0)
        struct.pack_into(order + "I", patched, start + 2 + 12 * count, 0)
    except struct.error:
        return None
    return b"Exif\x00\x00" + bytes(patched)


def _compose(stated: Stated) -> bytes:
    capture, iso = stated.capture, stated.iso
    exif = Image.Exif()
    for tag, text in (
        (0x010F, capture.make),
        (0x0110, capture.model),
        (0x0132, capture.datetime),
        (0x013B, capture.owner),
    ):
        if text:
            exif[tag] = text
    details = exif.get_ifd(0x8769)
    for tag, value in ((0x829A, stated.time), (0x829D, stated.aperture), (0x920A, capture.focal_length)):
        if value:
            details[tag] = TiffImagePlugin.IFDRational(Fraction(value).limit_denominator(1_000_000))
    if iso and iso < _SATURATED:
        details[0x8827] = round(iso)
    for tag, text in ((0x9003, capture.datetime), (0xA434, capture.lens)):
        if text:
            details[tag] = text
    return exif.tobytes()
