"""What EXIF states: exposure, orientation, colour space and the capture record (EXIF 2.32 / CIPA DC-008).

``ev = log2(time * ISO/100 / N**2)``: each factor from its own tag or the usual substitute; a factor that is absent is
left out (the caller says what that means for a burst).
"""

import io
import logging
import math
import re
import struct
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import exifread
from PIL import Image, TiffImagePlugin

from smarthdr_cli.burst.frame import Capture, Exposure

_CAP = 1 << 20  # bytes of an EXIF block that are looked at; JPEG's limit is 64 kB
_READS, _BYTES, _VALUE = 20_000, 8 << 20, 1 << 16  # what exifread may take: reads, bytes in all, bytes at once
_SATURATED = 65535  # ISOSpeedRatings is 16 bits; above that the other sensitivity tags hold the value
_ISO_TAGS = (
    "ISOSpeedRatings",
    "PhotographicSensitivity",
    "RecommendedExposureIndex",
    "Tag 0x8832",
    "StandardOutputSensitivity",
    "Tag 0x8831",
    "ISOSpeed",
    "Tag 0x8833",
    "ISOSpeedLatitudeyyy",
    "Tag 0x8834",
)
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)")
# exifread logs what it could not parse; the one line of ours says it instead.
logging.getLogger("exifread").setLevel(logging.CRITICAL + 1)


@dataclass(frozen=True)
class Stated:
    """What one file's EXIF states. ``damaged``: a block was there but could not be parsed."""

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


def parse_exif(block: bytes, *, whole_file: bool = False) -> Stated:
    """What a TIFF-structured EXIF block states (or a whole TIFF or RAW file, with ``whole_file``). Never raises."""
    data = block if whole_file else block[:_CAP]
    try:
        tags = exifread.process_file(_Bounded(data), details=False, strict=False)
    except Exception:  # exifread raises anything at all on damaged blocks; this is the one place that meets it
        return Stated(damaged=True)
    if not tags:
        return Stated(damaged=not whole_file)
    orientation = _number(tags, "Orientation")
    interop = _text(tags, "InteroperabilityIndex")
    time, aperture, iso = _time(tags), _aperture(tags), _iso(tags)
    capture = _capture(tags)
    return Stated(
        time=time,
        aperture=aperture,
        iso=iso,
        orientation=int(orientation) if orientation is not None and orientation in range(1, 9) else 1,
        adobe_rgb=_number(tags, "ColorSpace") == 2 or interop == "R03",
        capture=replace(capture, exif=_compose(capture, time, aperture, iso) if whole_file else upright(data)),
    )


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


def _values(tags: dict[str, Any], name: str) -> list[Any]:
    for group in ("EXIF", "Image", "Interoperability"):
        tag = tags.get(f"{group} {name}")
        if tag is not None:
            values = tag.values
            values = list(values) if isinstance(values, (list, tuple)) else [values]
            return list(values[0]) if values and isinstance(values[0], tuple) else values  # floating-point types
    return []


def _number(tags: dict[str, Any], name: str) -> float | None:
    values = _values(tags, name)
    if not values or isinstance(values[0], (str, bytes)):
        return None
    try:
        number = float(values[0].num) / float(values[0].den) if hasattr(values[0], "den") else float(values[0])
    except (ZeroDivisionError, OverflowError, TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _text(tags: dict[str, Any], name: str) -> str | None:
    values = _values(tags, name)
    if not values:
        return None
    text = (
        values[0] if isinstance(values[0], str) else "".join(chr(v) for v in values if isinstance(v, int) and v < 128)
    )
    text = "".join(character for character in text if character.isprintable()).strip()
    return text[:500] or None


def _within(number: float | None, low: float, high: float) -> float | None:
    return number if number is not None and low <= number <= high else None


def _time(tags: dict[str, Any]) -> float | None:
    time = _within(_number(tags, "ExposureTime"), 1e-7, 1e6)
    if time is not None:
        return time
    apex = _within(_number(tags, "ShutterSpeedValue"), -20, 23)
    return None if apex is None else 2.0**-apex


def _aperture(tags: dict[str, Any]) -> float | None:
    aperture = _within(_number(tags, "FNumber"), 0.3, 1000)
    if aperture is not None:
        return aperture
    apex = _within(_number(tags, "ApertureValue"), -3, 20)
    return None if not apex else 2.0 ** (apex / 2)  # an APEX 0 is what cameras write for a lens they cannot see


def _iso(tags: dict[str, Any]) -> float | None:
    fallback = None
    for name in _ISO_TAGS:
        iso = _within(_number(tags, name), 1, 1e8)
        if iso == _SATURATED:
            fallback = iso
        elif iso is not None:
            return iso
    return fallback


def _capture(tags: dict[str, Any]) -> Capture:
    offset = None
    for name in ("OffsetTimeOriginal", "Tag 0x9011", "OffsetTime", "Tag 0x9010"):
        match = _OFFSET.fullmatch(_text(tags, name) or "")
        if match:
            sign, hours, minutes = match.groups()
            offset = (-1.0 if sign == "-" else 1.0) * (int(hours) * 3600 + int(minutes) * 60)
            break
    return Capture(
        make=_text(tags, "Make"),
        model=_text(tags, "Model"),
        lens=_text(tags, "LensModel"),
        datetime=_text(tags, "DateTimeOriginal") or _text(tags, "DateTime"),
        utc_offset=offset,
        owner=_text(tags, "CameraOwnerName") or _text(tags, "Artist"),
        comments=_text(tags, "ImageDescription"),
        focal_length=_within(_number(tags, "FocalLength"), 0.1, 1e5),
    )


def upright(block: bytes) -> bytes | None:
    """The EXIF block with orientation 1 and its thumbnail unlinked, "Exif" prefix included; None when damaged.

    Patched in place: every other byte stays where it is, so that maker notes with absolute offsets survive.
    """
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or len(block) > _CAP:
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


def _compose(capture: Capture, time: float | None, aperture: float | None, iso: float | None) -> bytes:
    """A small EXIF block ("Exif" prefix included) for sources whose own lies scattered over a TIFF or RAW file."""
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
    for tag, value in ((0x829A, time), (0x829D, aperture), (0x920A, capture.focal_length)):
        if value:
            details[tag] = TiffImagePlugin.IFDRational(Fraction(value).limit_denominator(1_000_000))
    if iso and iso < _SATURATED:
        details[0x8827] = round(iso)
    for tag, text in ((0x9003, capture.datetime), (0xA434, capture.lens)):
        if text:
            details[tag] = text
    return exif.tobytes()
