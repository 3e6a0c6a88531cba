"""One file's header: camera, moment, exposure and what the camera says of its own bracket. Reads kilobytes, no pixels.

EXIF 2.32 (CIPA DC-008). What the tags mean is for ``burst.exif`` to say, here as in ``smarthdr info``.
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
from smarthdr_cli.burst.scan import FileKind
from smarthdr_cli.burst.tiff_ifd import BoundedReader
from smarthdr_cli.errors import InputError

_MOMENT = re.compile(r"(\d{4})\D(\d{1,2})\D(\d{1,2})\D+(\d{1,2})\D(\d{1,2})\D(\d{1,2})")
# Original, digitised and changed: the moment, its fraction, its offset from UTC (EXIF 2.32, 4.6.5 F).
_MOMENTS = ((0x9003, 0x9291, 0x9011), (0x9004, 0x9292, 0x9012), (0x0132, 0x9290, 0x9010))


@dataclass(frozen=True)
class Header:
    """What one file says. Absent is None. Seconds, f-number, EV, millimetres.

    ``size``: (width, height) as displayed. ``start``: seconds on the camera's clock, ``offset`` east of UTC,
    ``resolution`` the clock's step. ``manual``: exposure set by hand. ``stated``: EXIF says automatic bracket.
    """

    path: Path
    kind: FileKind = "jpeg"
    bytes: int = 0
    size: tuple[int, int] | None = None
    orientation: int = 1
    make: str = ""
    model: str = ""
    serial: str = ""
    lens: str = ""
    software: str = ""
    start: float | None = None
    offset: float | None = None
    resolution: float = 1.0
    time: float | None = None
    aperture: float | None = None
    iso: float | None = None
    bias: float | None = None
    manual: bool | None = None
    stated: bool = False
    flash: bool | None = None
    focal: float | None = None
    maker: MakerBracketing = UNKNOWN_BRACKETING

    @property
    def ev(self) -> float | None:
        """log2 of the relative exposure, larger is brighter; None without an exposure time."""
        return None if self.time is None else exposure_value(self.time, self.aperture, self.iso)


def read_header(path: Path) -> Header:
    """Raises InputError (one line) for a file that is missing, empty, no picture or not readable."""
    name = path.name
    try:
        if not path.is_file():
            what = "does not exist" if not path.exists() else "is a folder" if path.is_dir() else "is not a file"
            raise InputError(f"{name} {what}")
        with path.open("rb") as file:
            source = BoundedReader(file)
            return _header(path, source.size, read_tags(source, name))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"{name} cannot be read: {reason}") from error


def _header(path: Path, count: int, found: FileTags) -> Header:
    stated = interpret_tags(found)
    if found.kind == "raw" and stated.time is None:
        time, aperture, iso = raw.libraw_exposure(path)
        stated = replace(stated, time=time, aperture=aperture, iso=iso)
    size = found.size
    if size is not None and stated.orientation >= 5:
        size = (size[1], size[0])
    start, offset, resolution = _moment(found)
    mode, program, flash = found.number(0xA402), found.number(0x8822), found.number(0x9209)
    make, model = stated.capture.make or "", stated.capture.model or ""
    maker = UNKNOWN_BRACKETING
    with contextlib.suppress(IndexError, KeyError, ValueError, OverflowError):  # a maker's note owes nobody a form
        maker = read_bracketing(found.directories, make, found.maker_note)
    bias = found.number(0x9204)
    return Header(
        path=path,
        kind=found.kind,
        bytes=count,
        size=size,
        orientation=stated.orientation,
        make=make,
        model=model,
        serial=found.text(0xA431) or found.text(0xC62F) or "",
        lens=stated.capture.lens or "",
        software=found.text(0x0131) or "",
        start=start,
        offset=offset,
        resolution=resolution,
        time=stated.time,
        aperture=stated.aperture,
        iso=stated.iso,
        bias=bias if bias is not None and abs(bias) <= 20 else None,
        manual=None if mode is None and not program else mode == 1 or program == 1,
        stated=mode == 2,
        flash=None if flash is None else bool(int(flash) & 1),
        focal=stated.capture.focal_length,
        maker=maker,
    )


def _moment(tags: Tags) -> tuple[float | None, float | None, float]:
    """(seconds on the camera's clock, offset of that clock, its step)."""
    for tag, part, zone in _MOMENTS:
        match = _MOMENT.match(tags.text(tag) or "")
        if match is None:
            continue
        try:
            whole = datetime(*(int(group) for group in match.groups()), tzinfo=UTC)  # type: ignore[misc,arg-type]
        except ValueError:
            continue
        if whole.year == MAXYEAR:  # a fraction of its last second is beyond what a datetime holds
            continue
        digits = re.match(r"\d+", tags.text(part) or "")
        fraction = float(f"0.{digits.group()}") if digits else 0.0
        step = 10.0 ** -min(len(digits.group()), 6) if digits else 1.0
        return whole.timestamp() + fraction, parse_utc_offset(tags.text(zone)), step
    return None, None, 1.0
