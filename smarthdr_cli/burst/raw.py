"""RAW through LibRaw: linear 16-bit camera RGB, white-balanced, with the clip mask taken before the white balance.

White balance and clip level are arguments, because a burst must share them: ``probe`` says what one file states and the
burst decides. Highlights: every channel is cut at the level where the weakest one clips (LibRaw's clip mode), so that
a clipped pixel is neutral. LibRaw's own per-picture guesses (auto-brightness, adjusted maximum) are off.

LibRaw decodes past damaged data and reports them on the process's stderr only. The report is caught and is an error.
"""

import contextlib
import io
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import IO, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.burst.exif import Values, interpret
from smarthdr_cli.burst.scan import MAX_PIXELS, check_size
from smarthdr_cli.colorspace import REC709, ColorSpace
from smarthdr_cli.errors import InputError

# A camera that saturates below its nominal white shows a pile-up there: at least this share of samples at one top code.
_PILE_SHARE = 5e-4
_MAX_PROBED_BYTES = 256 << 20  # of a RAW that is read for its exposure alone
_PILE_LOWEST = 0.8  # of the nominal white; lower pile-ups are scene content
_MAX_SENSOR = 4  # times the visible picture; masked borders and other aspect ratios take less than half as much again
_COMPLAINT = re.compile(rb".*: (Unexpected end of file|data corrupted at -?\d+)\s*")  # LibRaw's default callback
_STDERR = Lock()  # one capture at a time: there is one stderr


@dataclass(frozen=True)
class Sensor:
    """What a burst's RAW frames must share: white balance gains (R, G, B, G2; least is 1) and the clip level (code)."""

    white_balance: tuple[float, float, float, float]
    clip_level: int


@dataclass(frozen=True)
class Developed:
    """A developed RAW: (H, W, 3) uint16 linear with white at 65535, its (H, W) clip mask, colour space and notes.

    ``time`` (s), ``aperture`` and ``iso`` are LibRaw's own reading of the maker's record, None where it has none.
    """

    codes: NDArray[np.uint16]
    clipped: NDArray[np.bool_]
    colorspace: ColorSpace
    sensor: Sensor
    time: float | None
    aperture: float | None
    iso: float | None
    notes: tuple[str, ...]


def _library(name: str) -> ModuleType:
    try:
        import rawpy
    except ImportError as error:
        raise InputError(f"{name} is a RAW file; reading it needs: pip install smarthdr[raw]") from error
    return rawpy


def probe(data: bytes, name: str) -> Sensor:
    """White balance and clip level of one RAW by itself. Raises InputError when it cannot be read."""
    with _opened(data, name, MAX_PIXELS) as raw, _refused(name):
        return _sensor(raw)


def develop(data: bytes, name: str, sensor: Sensor | None = None, limit: int = MAX_PIXELS) -> Developed:
    """Develop one RAW with its own or the given white balance and clip level.

    Raises InputError when it is unreadable, or of more than ``limit`` pixels.
    """
    rawpy = _library(name)
    with _opened(data, name, limit) as raw, _refused(name):
        own = _sensor(raw)
        sensor = sensor or own
        black = int(min(raw.black_level_per_channel))
        space = _colorspace(raw)
        turns = {3: 2, 5: 1, 6: 3}.get(int(raw.sizes.flip), 0)  # read now: developing overwrites it
        codes = raw.postprocess(
            output_color=rawpy.ColorSpace.raw,
            output_bps=16,
            gamma=(1, 1),
            no_auto_bright=True,
            user_wb=list(sensor.white_balance),
            user_sat=max(sensor.clip_level - black, 1),  # LibRaw counts it above black
            adjust_maximum_thr=0.0,
            highlight_mode=rawpy.HighlightMode.Clip,
            user_flip=0,
        )
        clipped = _clip_mask(raw, sensor.clip_level)
        if clipped.shape != codes.shape[:2]:  # LibRaw stretches non-square pixels
            size = (codes.shape[1], codes.shape[0])
            clipped = cv2.resize(clipped.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        return Developed(
            np.ascontiguousarray(np.rot90(codes, turns)),
            np.ascontiguousarray(np.rot90(clipped, turns)),
            space or REC709,
            sensor,
            *_exposure(raw),
            () if space else (f"{name}: no colour matrix for this camera: sRGB primaries assumed",),
        )


@contextlib.contextmanager
def _refused(name: str) -> Iterator[None]:
    """What LibRaw and rawpy raise of an opened file, a colour pattern they do not know among it, as InputError."""
    try:
        yield
    except (_library(name).LibRawError, ValueError, NotImplementedError, MemoryError) as error:
        raise InputError(f"{name} is damaged: LibRaw cannot develop it ({error})") from error


def preview(path: Path) -> bytes | NDArray[np.uint8] | None:
    """The preview the camera stored in the file: a JPEG's bytes or (H, W, 3) uint8; None without one or rawpy."""
    try:
        import rawpy
    except ImportError:
        return None
    try:
        with _complaints() as complaints, rawpy.imread(str(path)) as raw:
            thumb = raw.extract_thumb()
    except (rawpy.LibRawError, ValueError):
        return None
    if complaints:
        return None
    return bytes(thumb.data) if thumb.format == rawpy.ThumbFormat.JPEG else np.asarray(thumb.data, np.uint8)


def stated_exposure(path: Path) -> tuple[float | None, float | None, float | None]:
    """Time (s), aperture and ISO as LibRaw reads them in the header of a RAW: the word on files that hold no EXIF.

    Each None where it has none, and all without rawpy or of a file above _MAX_PROBED_BYTES bytes.
    """
    try:
        rawpy = _library(path.name)
    except InputError:
        return None, None, None
    if path.stat().st_size > _MAX_PROBED_BYTES:
        return None, None, None
    try:
        with _complaints(), rawpy.imread(io.BytesIO(path.read_bytes())) as raw:
            return _exposure(raw)
    except (rawpy.LibRawError, ValueError, MemoryError):
        return None, None, None


def _exposure(raw: Any) -> tuple[float | None, float | None, float | None]:
    other = raw.other
    stated = interpret(Values({0x829A: other.shutter_speed, 0x829D: other.aperture, 0x8827: other.iso_speed}))
    return stated.time, stated.aperture, stated.iso


def _opened(data: bytes, name: str, limit: int) -> Any:
    rawpy = _library(name)
    try:
        with _complaints():
            raw = rawpy.imread(io.BytesIO(data))
    except (rawpy.LibRawError, ValueError, MemoryError) as error:
        raise InputError(f"{name} is not a RAW file that LibRaw reads, or it is damaged ({error})") from error
    try:
        sizes = raw.sizes
        check_size(int(sizes.width), int(sizes.height), name, limit)
        if int(sizes.raw_width) * int(sizes.raw_height) > _MAX_SENSOR * int(sizes.width) * int(sizes.height):
            sensor = f"{sizes.raw_width}x{sizes.raw_height}"
            raise InputError(f"{name} is damaged: a sensor of {sensor} pixels for {sizes.width}x{sizes.height} visible")
        if raw.num_colors != 3:
            raise InputError(f"{name} is a RAW with {raw.num_colors} colours; three are read")
        with _complaints() as complaints:
            raw.unpack()
        if complaints:
            raise InputError(f"{name} is damaged or cut short: LibRaw says {complaints[0]}")
    except rawpy.LibRawError as error:
        raw.close()
        raise InputError(f"{name} is damaged or cut short: LibRaw cannot unpack it ({error})") from error
    except InputError:
        raw.close()
        raise
    return raw


@contextlib.contextmanager
def _complaints() -> Iterator[list[str]]:
    """Yields a list that holds LibRaw's first complaint afterwards. What others print to stderr meanwhile follows then.

    Takes 25 microseconds, and its turn. Where the process has no stderr, nothing is heard.
    """
    complaints: list[str] = []
    with _STDERR, contextlib.ExitStack() as stack:
        file: IO[bytes] | None = None
        with contextlib.suppress(OSError):
            stderr = os.dup(2)
            stack.callback(os.close, stderr)
            temporary = stack.enter_context(tempfile.TemporaryFile())
            os.dup2(temporary.fileno(), 2)
            file = temporary
        try:
            yield complaints
        finally:
            if file is not None:
                os.dup2(stderr, 2)
                file.seek(0)
                others = []
                for line in file:
                    match = _COMPLAINT.fullmatch(line)
                    if match is None:
                        others.append(line)
                    elif not complaints:
                        complaints.append(match[1].decode())
                if others:
                    with contextlib.suppress(OSError):
                        os.write(2, b"".join(others))


def _sensor(raw: Any) -> Sensor:
    red, green, blue, second = (float(gain) for gain in raw.camera_whitebalance)
    if not min(red, green, blue) > 0:
        red, green, blue, second = (float(gain) for gain in raw.daylight_whitebalance)
    if not min(red, green, blue) > 0:
        red = green = blue = 1.0
    second = second or green
    least = min(red, green, blue, second)
    return Sensor((red / least, green / least, blue / least, second / least), _clip_level(raw))


def _clip_level(raw: Any) -> int:
    """The code at which this camera clips: its stated white, or a pile-up of samples measured not far below it."""
    stated = int(raw.white_level)
    per_channel = [int(level) for level in raw.camera_white_level_per_channel or () if level]
    if per_channel:
        stated = min(stated, *per_channel)
    image = raw.raw_image_visible
    if image is None:
        return stated
    black = int(min(raw.black_level_per_channel))
    top = int(image.max())
    if top >= stated or top - black < _PILE_LOWEST * (stated - black):
        return stated
    reached = image == top
    piled = int(np.count_nonzero(reached))
    below = int(np.count_nonzero(image == top - 1))
    if piled < _PILE_SHARE * image.size or piled < 10 * max(below, 1) or image.ndim != 2:
        return stated
    # A surface of one colour piles up in one channel; saturation does in several, at the same code.
    colours = {"RGBG"[index] for index in np.unique(raw.raw_colors_visible[reached]).tolist()}
    return top if len(colours) > 1 else stated


def _clip_mask(raw: Any, level: int) -> NDArray[np.bool_]:
    """(H, W): a raw sample within the 5x5 that demosaicing looks at (7x7 for X-Trans) is at the clip level."""
    image = raw.raw_image_visible
    reached = (image >= level).astype(np.uint8)
    if reached.ndim == 3:
        return np.asarray(reached.any(-1))
    pattern = raw.raw_pattern
    reach = 7 if pattern is not None and pattern.shape[0] > 2 else 5
    return np.asarray(cv2.dilate(reached, np.ones((reach, reach), np.uint8)) > 0)


def _colorspace(raw: Any) -> ColorSpace | None:
    """White-balanced camera RGB to XYZ (D65), neutral (1, 1, 1) mapping to white with Y = 1; None without a matrix.

    As in dcraw's cam_xyz_coeff: rows of the XYZ-to-camera matrix times sRGB-to-XYZ are normalised to sum 1.
    """
    to_xyz = REC709.to_xyz()
    from_xyz = np.asarray(raw.rgb_xyz_matrix, np.float64)[:3, :3]
    from_file = np.asarray(raw.color_matrix, np.float64)[:3, :3]
    if np.abs(np.linalg.det(from_xyz)) > 1e-6:
        camera = from_xyz @ to_xyz
        camera /= camera.sum(1, keepdims=True)
        matrix = to_xyz @ np.linalg.inv(camera)
    elif np.abs(from_file.sum(1) - 1).max() < 1e-3:
        matrix = to_xyz @ from_file
    else:
        return None
    rows = tuple(tuple(float(value) for value in row) for row in matrix)
    return ColorSpace("camera", REC709.chromaticities, rows)
