"""The header of one file: camera, capture time, exposure and bracketing tags. Reads kilobytes and no pixels.

Tags by EXIF 2.32 (CIPA DC-008); exposure and orientation are interpreted in ``burst.exif``, as for ``smarthdr info``.
"""

import contextlib
import re
from dataclasses import dataclass, replace
from datetime import MAXYEAR, UTC, datetime
from pathlib import Path

from smarthdr_cli.burst import raw
from smarthdr_cli.burst.exif import Tags, exposure_value, interpret_tags, parse_utc_offset
from smarthdr_cli.burst.exif_containers import FileTags, read_tags
from smarthdr_cli.burst.makernotes import UNKNOWN_BRACKETING, MakerBracketing, read_bracketing
from smarthdr_cli.burst.read import check_file
from smarthdr_cli.burst.scan import FileKind
from smarthdr_cli.burst.tiff_ifd import BoundedReader
from smarthdr_cli.errors import InputError, full_path

_EXPOSURE_PROGRAM, _EXPOSURE_BIAS, _FLASH, _EXPOSURE_MODE = 0x8822, 0x9204, 0x9209, 0xA402
_SOFTWARE, _BODY_SERIAL, _DNG_SERIAL = 0x0131, 0xA431, 0xC62F
_DATE = re.compile(r"(\d{4})\D(\d{1,2})\D(\d{1,2})\D+(\d{1,2})\D(\d{1,2})\D(\d{1,2})")
# (date, fraction of a second, offset from UTC) of DateTimeOriginal, DateTimeDigitized, DateTime (EXIF 2.32, 4.6.5 F)
_DATE_TAGS = ((0x9003, 0x9291, 0x9011), (0x9004, 0x9292, 0x9012), (0x0132, 0x9290, 0x9010))


@dataclass(frozen=True)
class Header:
    """The tags of one file; None where a tag is absent. Seconds, f-number, EV, millimetres, bytes.

    ``size``: (width, height) as displayed. ``timestamp``: seconds on the camera's clock; ``utc_offset``: seconds east;
    ``clock_step``: resolution of that clock. ``bias``: exposure compensation in EV. ``manual_exposure``: set by hand.
    ``auto_bracket``: EXIF ExposureMode is automatic bracket. ``maker``: bracketing fields of the maker note.
    """

    path: Path
    kind: FileKind = "jpeg"
    file_size: int = 0
    size: tuple[int, int] | None = None
    orientation: int = 1
    make: str = ""
    model: str = ""
    serial: str = ""
    lens: str = ""
    software: str = ""
    timestamp: float | None = None
    utc_offset: float | None = None
    clock_step: float = 1.0
    time: float | None = None
    aperture: float | None = None
    iso: float | None = None
    bias: float | None = None
    manual_exposure: bool | None = None
    auto_bracket: bool = False
    flash: bool | None = None
    focal_length: float | None = None
    maker: MakerBracketing = UNKNOWN_BRACKETING

    @property
    def ev(self) -> float | None:
        """log2(time * ISO/100 / f-number^2), larger is brighter; None without an exposure time."""
        return None if self.time is None else exposure_value(self.time, self.aperture, self.iso)


def read_header(path: Path) -> Header:
    """Read the header of an image file. Raises InputError where it is missing, empty, damaged or no image."""
    name = full_path(path)
    check_file(path)
    try:
        with path.open("rb") as file:
            source = BoundedReader(file)
            return _header(path, source.size, read_tags(source, name))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"{name} cannot be read: {reason}") from error


def _header(path: Path, file_size: int, located: FileTags) -> Header:
    stated = interpret_tags(located)
    if located.kind == "raw" and stated.time is None:
        time, aperture, iso = raw.libraw_exposure(path)
        stated = replace(stated, time=time, aperture=aperture, iso=iso)
    size = located.size
    if size is not None and stated.orientation >= 5:
        size = (size[1], size[0])
    timestamp, offset, clock_step = _timestamp(located)
    mode, program = located.number(_EXPOSURE_MODE), located.number(_EXPOSURE_PROGRAM)
    bias, flash = located.number(_EXPOSURE_BIAS), located.number(_FLASH)
    make, model = stated.capture.make or "", stated.capture.model or ""
    maker = UNKNOWN_BRACKETING
    with contextlib.suppress(IndexError, KeyError, ValueError, OverflowError):  # maker notes have no standard
        maker = read_bracketing(located.directories, make, located.maker_note)
    return Header(
        path=path,
        kind=located.kind,
        file_size=file_size,
        size=size,
        orientation=stated.orientation,
        make=make,
        model=model,
        serial=located.text(_BODY_SERIAL) or located.text(_DNG_SERIAL) or "",
        lens=stated.capture.lens or "",
        software=located.text(_SOFTWARE) or "",
        timestamp=timestamp,
        utc_offset=offset,
        clock_step=clock_step,
        time=stated.time,
        aperture=stated.aperture,
        iso=stated.iso,
        bias=bias if bias is not None and abs(bias) <= 20 else None,
        manual_exposure=None if mode is None and not program else mode == 1 or program == 1,
        auto_bracket=mode == 2,
        flash=None if flash is None else bool(int(flash) & 1),
        focal_length=stated.capture.focal_length,
        maker=maker,
    )


def _timestamp(tags: Tags) -> tuple[float | None, float | None, float]:
    """(seconds on the camera's clock, seconds of that clock east of UTC, its step in seconds)."""
    for tag, fraction_tag, offset_tag in _DATE_TAGS:
        match = _DATE.match(tags.text(tag) or "")
        if match is None:
            continue
        try:
            date = datetime(*(int(group) for group in match.groups()), tzinfo=UTC)  # type: ignore[misc,arg-type]
        except ValueError:
            continue
        if date.year == MAXYEAR:  # a fraction of its last second overflows a datetime
            continue
        digits = re.match(r"\d+", tags.text(fraction_tag) or "")
        fraction = float(f"0.{digits.group()}") if digits else 0.0
        step = 10.0 ** -min(len(digits.group()), 6) if digits else 1.0
        return date.timestamp() + fraction, parse_utc_offset(tags.text(offset_tag)), step
    return None, None, 1.0
