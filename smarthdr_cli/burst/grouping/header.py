"""One file's header: camera, moment, exposure and what the camera says of its own bracket. Reads kilobytes, no pixels.

EXIF 2.32 (CIPA DC-008). Exposure is ``ev = log2(time * ISO/100 / N**2)`` as in ``burst.exif``.
"""

import contextlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from smarthdr_cli.burst.exif import exposure_value
from smarthdr_cli.burst.grouping.locate import Kind, Located, locate
from smarthdr_cli.burst.grouping.maker import NOTHING, Maker, read_maker
from smarthdr_cli.burst.grouping.tiff import Directory, Source
from smarthdr_cli.errors import InputError

_MOMENT = re.compile(r"(\d{4})\D(\d{1,2})\D(\d{1,2})\D+(\d{1,2})\D(\d{1,2})\D(\d{1,2})")
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)")
_SATURATED = 65535
# Original, digitised and changed: the moment, its fraction, its offset from UTC (EXIF 2.32, 4.6.5 F).
_MOMENTS = ((0x9003, 0x9291, 0x9011), (0x9004, 0x9292, 0x9012), (0x0132, 0x9290, 0x9010))


@dataclass(frozen=True)
class Header:
    """What one file says. Absent is None. Seconds, f-number, EV, millimetres.

    ``size``: (width, height) as displayed. ``start``: seconds on the camera's clock, ``offset`` east of UTC,
    ``resolution`` the clock's step. ``manual``: exposure set by hand. ``stated``: EXIF says automatic bracket.
    """

    path: Path
    kind: Kind = "jpeg"
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
    maker: Maker = NOTHING

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
            count = file.seek(0, 2)
            file.seek(0)
            found = locate(Source(file), name)
            return _header(path, count, found)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"{name} cannot be read: {reason}") from error


def _header(path: Path, count: int, found: Located) -> Header:
    image, exif = found.image, found.exif
    turned = _number(image, 0x0112)
    orientation = int(turned) if turned is not None and turned in range(1, 9) else 1
    size = found.size
    if exif is not None and found.kind == "raw":  # the first directory of a RAW is often its thumbnail's
        width, height = _number(exif, 0xA002), _number(exif, 0xA003)
        size = (int(width), int(height)) if width and height else None
    if size is not None and orientation >= 5:
        size = (size[1], size[0])
    make = _text(image, 0x010F)
    start, offset, resolution = _moment(image, exif)
    mode, program, flash = _number(exif, 0xA402), _number(exif, 0x8822), _number(exif, 0x9209)
    manual = None if mode is None and not program else mode == 1 or program == 1
    maker = NOTHING
    with contextlib.suppress(IndexError, KeyError, ValueError, OverflowError):  # a maker's note owes nobody a form
        maker = read_maker(make, exif, found.note)
    return Header(
        path=path,
        kind=found.kind,
        bytes=count,
        size=size,
        orientation=orientation,
        make=make,
        model=_text(image, 0x0110),
        serial=_text(exif, 0xA431) or _text(image, 0xC62F),
        lens=_text(exif, 0xA434),
        software=_text(image, 0x0131),
        start=start,
        offset=offset,
        resolution=resolution,
        time=_time(exif),
        aperture=_aperture(exif),
        iso=_iso(exif),
        bias=_within(_number(exif, 0x9204), -20, 20),
        manual=manual,
        stated=mode == 2,
        flash=None if flash is None else bool(int(flash) & 1),
        focal=_within(_number(exif, 0x920A), 0.1, 1e5),
        maker=maker,
    )


def _number(where: Directory | None, tag: int) -> float | None:
    return None if where is None else where.number(tag)


def _text(where: Directory | None, tag: int) -> str:
    return "" if where is None else where.text(tag) or ""


def _within(number: float | None, low: float, high: float) -> float | None:
    return number if number is not None and low <= number <= high else None


def _time(exif: Directory | None) -> float | None:
    time = _within(_number(exif, 0x829A), 1e-7, 1e6)
    if time is not None:
        return time
    apex = _within(_number(exif, 0x9201), -20, 23)
    return None if apex is None else 2.0**-apex


def _aperture(exif: Directory | None) -> float | None:
    aperture = _within(_number(exif, 0x829D), 0.3, 1000)
    if aperture is not None:
        return aperture
    apex = _within(_number(exif, 0x9202), -3, 20)
    return None if not apex else 2.0 ** (apex / 2)


def _iso(exif: Directory | None) -> float | None:
    """ISOSpeedRatings; where its 16 bits do not hold the value, the recommended index, standard output or ISO speed."""
    values = [_within(_number(exif, tag), 1, 1e8) for tag in (0x8827, 0x8832, 0x8831, 0x8833)]
    known = [value for value in values if value is not None]
    return next((value for value in known if value != _SATURATED), known[0] if known else None)


def _moment(image: Directory | None, exif: Directory | None) -> tuple[float | None, float | None, float]:
    """(seconds on the camera's clock, offset of that clock, its step)."""
    for tag, part, zone in _MOMENTS:
        match = _MOMENT.match(_text(image if tag == 0x0132 else exif, tag))
        if match is None:
            continue
        try:
            whole = datetime(*(int(group) for group in match.groups()), tzinfo=UTC)  # type: ignore[misc,arg-type]
        except ValueError:
            continue
        digits = re.match(r"\d+", _text(exif, part))
        fraction = float(f"0.{digits.group()}") if digits else 0.0
        sign = _OFFSET.match(_text(exif, zone))
        offset = None
        if sign is not None:
            offset = (-1.0 if sign.group(1) == "-" else 1.0) * (int(sign.group(2)) * 3600 + int(sign.group(3)) * 60)
        return whole.timestamp() + fraction, offset, 10.0 ** -min(len(digits.group()), 6) if digits else 1.0
    return None, None, 1.0
