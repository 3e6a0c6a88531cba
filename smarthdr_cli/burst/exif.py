"""EXIF tags to exposure, orientation and capture metadata (EXIF 2.32, CIPA DC-008).

Relative exposure: ``ev = log2(t * S / 100 / N^2)`` with time t in seconds, sensitivity S (ISO) and f-number N. Each
factor has a tag of its own and substitutes: t = 2^-Tv by ShutterSpeedValue, N = 2^(Av/2) by ApertureValue, S by four
other sensitivity tags. A factor that is absent counts as t unknown, N = 1, S = 100.

``exif_containers`` finds the tags in a file, through ``exifread`` in the EXIF block of a JPEG or PNG and through
``tiff_ifd`` in TIFF and RAW files. ``interpret_tags`` interprets them, for ``smarthdr info`` and ``group`` alike.
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
from PIL.ExifTags import Base as Tag

from smarthdr_cli.burst.burst import CaptureMetadata, Exposure
from smarthdr_cli.burst.tiff_ifd import MAX_TEXT_LENGTH, printable_text

MAX_EXIF_BYTES = 1 << 20  # of an EXIF block that are parsed; a JPEG segment holds 64 kB
_MAX_EXIFREAD_CALLS, _MAX_EXIFREAD_BYTES, _MAX_EXIFREAD_CHUNK = 20_000, 8 << 20, 1 << 16
_ISO_OVERFLOW = 65535  # ISOSpeedRatings has 16 bits; cameras write its maximum where the value is larger
_ISO_TAGS = (
    Tag.ISOSpeedRatings,
    Tag.RecommendedExposureIndex,
    Tag.StandardOutputSensitivity,
    Tag.ISOSpeed,
    Tag.ISOSpeedLatitudeyyy,
)
ORIENTATION_BY_ROTATION = {0: 1, 90: 6, 180: 3, 270: 8}  # clockwise degrees to EXIF orientation
_UTC_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)")
# Plausible ranges, closed: seconds, APEX time value, f-number, APEX aperture value, ISO, mm.
_TIME_RANGE, _TV_RANGE = (1e-7, 1e6), (-20, 23)
_APERTURE_RANGE, _AV_RANGE = (0.3, 1000), (-3, 20)
_ISO_RANGE, _FOCAL_LENGTH_RANGE = (1, 1e8), (0.1, 1e5)

logging.getLogger("exifread").setLevel(logging.CRITICAL + 1)  # smarthdr reports damaged EXIF in one note of its own


class Tags(Protocol):
    """Values by tag number, from the Exif IFD or else from IFD0, where some editors put them."""

    def __contains__(self, tag: int) -> bool: ...

    def number(self, tag: int) -> float | None:
        """The first value; None where the tag is absent, text, or undefined (1/0)."""

    def text(self, tag: int) -> str | None:
        """Printable text, or None."""


@dataclass(frozen=True)
class TagValues:
    """Tags with parsed values, of a container that has no TIFF structure."""

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
class ExifMetadata:
    """Interpreted EXIF of one file. ``damaged``: the file has an EXIF block without readable tags."""

    time: float | None = None  # seconds
    aperture: float | None = None  # f-number
    iso: float | None = None
    orientation: int = 1
    adobe_rgb: bool = False
    capture: CaptureMetadata = field(default_factory=CaptureMetadata)
    damaged: bool = False

    def exposure(self) -> Exposure:
        """The exposure; source "none" without a time. An absent aperture or ISO counts as N = 1, ISO 100."""
        if self.time is None:
            return Exposure(0.0, None, self.aperture, self.iso, "none")
        return Exposure(exposure_value(self.time, self.aperture, self.iso), self.time, self.aperture, self.iso, "exif")


def exposure_value(time: float, aperture: float | None, iso: float | None) -> float:
    """``log2(time * iso / 100 / aperture^2)``; None counts as N = 1, ISO 100.

    >>> exposure_value(1 / 4, 2.0, 400)
    -2.0
    """
    return math.log2(time * (iso or 100.0) / 100.0 / (aperture or 1.0) ** 2)


def interpret_tags(tags: Tags) -> ExifMetadata:
    """Exposure, orientation and capture metadata of the tags, without ``capture.exif``."""
    orientation = tags.number(Tag.Orientation)
    return ExifMetadata(
        time=_exposure_time(tags),
        aperture=_aperture(tags),
        iso=_iso(tags),
        orientation=int(orientation) if orientation is not None and orientation in range(1, 9) else 1,
        adobe_rgb=tags.number(Tag.ColorSpace) == 2 or tags.text(Tag.InteropIndex) == "R03",
        capture=_capture_metadata(tags),
    )


def read_exif_block(block: bytes) -> Tags | None:
    """Tags of a TIFF-structured EXIF block as exifread reads them; None where it finds none or fails."""
    try:
        file = _LimitedBytes(block[:MAX_EXIF_BYTES])
        tags = exifread.process_file(file, details=False, strict=False, extract_thumbnail=False)
        return _ExifreadTags(tags) if tags else None
    except Exception:  # exifread raises exceptions of every type on damaged blocks
        return None


class _ExifreadTags:
    """The result of exifread as Tags."""

    def __init__(self, exifread_tags: Mapping[str, Any]) -> None:
        by_group: dict[str, dict[int, Any]] = {"EXIF": {}, "Image": {}, "Interoperability": {}}
        for name, tag in exifread_tags.items():
            group = name.partition(" ")[0]
            if group in by_group and hasattr(tag, "values"):  # a thumbnail is plain bytes
                by_group[group][tag.tag] = tag.values
        self._values = by_group["Interoperability"] | by_group["Image"] | by_group["EXIF"]

    def __contains__(self, tag: int) -> bool:
        return tag in self._values

    def number(self, tag: int) -> float | None:
        """The first value, or None."""
        values = self._values.get(tag)
        if not isinstance(values, list) or not values:
            return None
        value = values[0][0] if isinstance(values[0], tuple) else values[0]  # tuples: floating-point types
        try:
            number = float(value.num) / float(value.den) if hasattr(value, "den") else float(value)
        except (TypeError, ValueError, ZeroDivisionError, OverflowError):
            return None
        return number if math.isfinite(number) else None

    def text(self, tag: int) -> str | None:
        """Printable text, or None."""
        values = self._values.get(tag)
        if isinstance(values, list):
            values = bytes(value & 255 for value in values[:MAX_TEXT_LENGTH] if isinstance(value, int))
        return printable_text(values.encode() if isinstance(values, str) else values) if values else None


class _LimitedBytes(io.BytesIO):
    """A file in memory that limits what exifread reads.

    exifread trusts counts: IFDs of 65535 entries beyond the end of the file, chains of IFDs, and texts as long as the
    file in each entry would take hours and gigabytes.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._calls_left, self._bytes_left = _MAX_EXIFREAD_CALLS, _MAX_EXIFREAD_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        """At most _MAX_EXIFREAD_CHUNK bytes. Raises OSError beyond the limits of calls and bytes."""
        data = super().read(_MAX_EXIFREAD_CHUNK if size is None or size < 0 else min(size, _MAX_EXIFREAD_CHUNK))
        self._calls_left -= 1
        self._bytes_left -= len(data)
        if self._calls_left < 0 or self._bytes_left < 0:
            raise OSError("the EXIF block exceeds the limits of its reader")
        return data


def _in_range(number: float | None, bounds: tuple[float, float]) -> float | None:
    return number if number is not None and bounds[0] <= number <= bounds[1] else None


def _exposure_time(tags: Tags) -> float | None:
    time = _in_range(tags.number(Tag.ExposureTime), _TIME_RANGE)
    if time is not None:
        return time
    time_value = _in_range(tags.number(Tag.ShutterSpeedValue), _TV_RANGE)
    if time_value == 0 and Tag.ExposureTime in tags:
        return None  # software that knows neither writes 0 to both tags; it is not one second
    return None if time_value is None else 2.0**-time_value


def _aperture(tags: Tags) -> float | None:
    aperture = _in_range(tags.number(Tag.FNumber), _APERTURE_RANGE)
    if aperture is not None:
        return aperture
    aperture_value = _in_range(tags.number(Tag.ApertureValue), _AV_RANGE)
    return None if not aperture_value else 2.0 ** (aperture_value / 2)  # cameras write 0 for a manual lens


def _iso(tags: Tags) -> float | None:
    candidates = [_in_range(tags.number(tag), _ISO_RANGE) for tag in _ISO_TAGS]
    stated = [iso for iso in candidates if iso is not None]
    return next((iso for iso in stated if iso != _ISO_OVERFLOW), stated[0] if stated else None)


def _capture_metadata(tags: Tags) -> CaptureMetadata:
    offsets = (parse_utc_offset(tags.text(tag)) for tag in (Tag.OffsetTimeOriginal, Tag.OffsetTime))
    return CaptureMetadata(
        make=tags.text(Tag.Make),
        model=tags.text(Tag.Model),
        lens=tags.text(Tag.LensModel),
        datetime=tags.text(Tag.DateTimeOriginal) or tags.text(Tag.DateTime),
        utc_offset=next((offset for offset in offsets if offset is not None), None),
        owner=tags.text(Tag.CameraOwnerName) or tags.text(Tag.Artist),
        comments=tags.text(Tag.ImageDescription),
        focal_length=_in_range(tags.number(Tag.FocalLength), _FOCAL_LENGTH_RANGE),
    )


def parse_utc_offset(text: str | None) -> float | None:
    """Seconds east of UTC of a text such as "+02:00", or None."""
    match = _UTC_OFFSET.fullmatch(text or "")
    if match is None:
        return None
    sign, hours, minutes = match.groups()
    return (-1.0 if sign == "-" else 1.0) * (int(hours) * 3600 + int(minutes) * 60)


def reset_orientation(block: bytes) -> bytes | None:
    """The EXIF block with orientation 1, without a link to its thumbnail, "Exif" prefix included; None when damaged.

    No byte moves, so that absolute offsets in maker notes stay valid.
    """
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or len(block) > MAX_EXIF_BYTES:
        return None
    patched = bytearray(block)
    try:
        (start,) = struct.unpack_from(order + "I", patched, 4)
        (entry_count,) = struct.unpack_from(order + "H", patched, start)
        end = start + 2 + 12 * entry_count
        for entry in range(start + 2, end, 12):
            tag, value_type, count = struct.unpack_from(order + "HHI", patched, entry)
            if (tag, value_type, count) == (Tag.Orientation, 3, 1):
                struct.pack_into(order + "HH", patched, entry + 8, 1, 0)
        struct.pack_into(order + "I", patched, end, 0)
    except struct.error:
        return None
    return b"Exif\x00\x00" + bytes(patched)


def with_exif_block(metadata: ExifMetadata) -> ExifMetadata:
    """``metadata`` with a new, small EXIF block; for TIFF and RAW, whose own EXIF is spread over the file."""
    return replace(metadata, capture=replace(metadata.capture, exif=_write_exif_block(metadata)))


def _write_exif_block(metadata: ExifMetadata) -> bytes:
    capture, iso = metadata.capture, metadata.iso
    ifd0 = Image.Exif()
    exif_ifd = ifd0.get_ifd(Tag.ExifOffset)
    texts = {
        Tag.Make: capture.make,
        Tag.Model: capture.model,
        Tag.DateTime: capture.datetime,
        Tag.Artist: capture.owner,
    }
    ifd0.update({tag: text for tag, text in texts.items() if text})
    rationals = {
        Tag.ExposureTime: metadata.time,
        Tag.FNumber: metadata.aperture,
        Tag.FocalLength: capture.focal_length,
    }
    for tag, value in rationals.items():
        if value:
            exif_ifd[tag] = TiffImagePlugin.IFDRational(Fraction(value).limit_denominator(1_000_000))
    if iso and iso < _ISO_OVERFLOW:
        exif_ifd[Tag.ISOSpeedRatings] = round(iso)
    texts = {Tag.DateTimeOriginal: capture.datetime, Tag.LensModel: capture.lens}
    exif_ifd.update({tag: text for tag, text in texts.items() if text})
    return ifd0.tobytes()
