"""RAW files through LibRaw: linear 16-bit camera RGB, white-balanced, with a clip mask from before the white balance.

    rgb = min(gain_c * (raw_c - black) / (clip - black), 1)

The gains and the clip level (``RawSettings``) are arguments, because the frames of a burst must share them. Channels
are cut at the level where the one with the least gain clips (LibRaw's clip mode), so that clipped pixels are neutral.
LibRaw's estimates for a single picture (auto-brightness, adjusted maximum) are off.

LibRaw, and the libjpeg inside it, decode damaged data without an exception and report the damage on stderr only. The
report is captured and raised as an error.
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
from PIL.ExifTags import Base as Tag

from smarthdr_cli.burst.exif import TagValues, interpret_tags
from smarthdr_cli.burst.scan import MAX_PIXELS, check_size
from smarthdr_cli.colorspace import REC709, ColorSpace
from smarthdr_cli.errors import DamagedFileError, InputError

# A camera that saturates below its nominal white has a peak in the histogram at its highest code: at least this share
# of all samples, and this many times the samples one code below.
_MIN_PEAK_SHARE, _MIN_PEAK_RATIO = 5e-4, 10
_MIN_PEAK_LEVEL = 0.8  # of the nominal white; lower peaks are scene content
_MAX_HEADER_FILE_BYTES = 256 << 20  # of a RAW that is opened for its exposure alone
_MAX_SENSOR_RATIO = 4  # sensor to visible pixels; masked borders and other aspect ratios take up to 1.5
# What LibRaw's default callback prints, and the libjpeg inside it; of unusual header fields libjpeg decodes all pixels.
_WARNING = re.compile(
    rb"(?:.*: (?=[Ud]))?(Unexpected end of file|data corrupted at -?\d+"
    rb"|Corrupt JPEG data: .+|Premature end of JPEG file|Inconsistent progression sequence .+)\s*"
    rb"|Invalid SOS parameters.*\s*|Warning: unknown JFIF revision.*\s*|Unknown Adobe color transform.*\s*"
)
_STDERR_LOCK = Lock()  # one capture at a time: a process has one stderr
_ROTATIONS_BY_FLIP = {3: 2, 5: 1, 6: 3}  # LibRaw's flip to quarter turns counter-clockwise
_BAYER_KERNEL, _XTRANS_KERNEL = 5, 7  # pixels of the raw image that demosaicing reads
_BAYER_PERIOD = 2


@dataclass(frozen=True)
class RawSettings:
    """Settings that a burst's RAW frames share: white balance gains (R, G, B, G2; lowest 1) and clip level (code)."""

    white_balance: tuple[float, float, float, float]
    clip_level: int


@dataclass(frozen=True)
class DevelopedRaw:
    """A developed RAW: (H, W, 3) uint16 linear ``codes`` with white at 65535, and the (H, W) ``clipped`` mask.

    ``time`` (s), ``aperture`` and ``iso`` as LibRaw reads them from the header, or None.
    """

    codes: NDArray[np.uint16]
    clipped: NDArray[np.bool_]
    colorspace: ColorSpace
    settings: RawSettings
    time: float | None
    aperture: float | None
    iso: float | None
    notes: tuple[str, ...]


def _import_rawpy(name: str) -> ModuleType:
    try:
        import rawpy
    except ImportError as error:
        raise InputError(f"{name} is a RAW file; reading it needs rawpy: pip install 'smarthdr[raw]'") from error
    return rawpy


def develop(data: bytes, name: str, settings: RawSettings | None = None, max_pixels: int = MAX_PIXELS) -> DevelopedRaw:
    """Develop one RAW with ``settings``, or with its own.

    Raises InputError where it cannot be read, or for more than ``max_pixels`` pixels.
    """
    rawpy = _import_rawpy(name)
    with _open_raw(data, name, max_pixels) as raw, _libraw_errors(name):
        settings = settings or _raw_settings(raw)
        black = int(min(raw.black_level_per_channel))
        space = _camera_colorspace(raw)
        rotations = _ROTATIONS_BY_FLIP.get(int(raw.sizes.flip), 0)  # before postprocess, which overwrites it
        codes = raw.postprocess(
            output_color=rawpy.ColorSpace.raw,
            output_bps=16,
            gamma=(1, 1),
            no_auto_bright=True,
            user_wb=list(settings.white_balance),
            user_sat=max(settings.clip_level - black, 1),  # LibRaw expects it above black
            adjust_maximum_thr=0.0,
            highlight_mode=rawpy.HighlightMode.Clip,
            user_flip=0,
        )
        clipped = _clip_mask(raw, settings.clip_level)
        if clipped.shape != codes.shape[:2]:  # LibRaw stretches non-square pixels
            size = (codes.shape[1], codes.shape[0])
            clipped = cv2.resize(clipped.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        return DevelopedRaw(
            np.ascontiguousarray(np.rot90(codes, rotations)),
            np.ascontiguousarray(np.rot90(clipped, rotations)),
            space or REC709,
            settings,
            *_libraw_exposure(raw),
            () if space else ("no colour matrix for this camera: sRGB primaries assumed",),
        )


@contextlib.contextmanager
def _libraw_errors(name: str) -> Iterator[None]:
    """Raise as InputError what LibRaw and rawpy raise for an open file, such as an unknown colour filter pattern.

    The sizes in the file are checked by then, so LibRaw's lack of memory is the machine's: a MemoryError.
    """
    rawpy = _import_rawpy(name)
    try:
        yield
    except rawpy.LibRawUnsufficientMemoryError as error:
        raise MemoryError(f"LibRaw cannot develop {name}") from error
    except (rawpy.LibRawError, ValueError, NotImplementedError) as error:
        raise DamagedFileError(f"{name} is damaged: LibRaw cannot develop it ({error})") from error


def embedded_preview(path: Path) -> bytes | NDArray[np.uint8] | None:
    """The preview in a RAW: bytes of a JPEG or (H, W, 3) uint8; None where it has none, or without rawpy."""
    try:
        import rawpy
    except ImportError:
        return None
    try:
        with _captured_warnings() as warnings, rawpy.imread(str(path)) as raw:
            thumbnail = raw.extract_thumb()
    except (rawpy.LibRawError, ValueError):
        return None
    if warnings:
        return None
    if thumbnail.format == rawpy.ThumbFormat.JPEG:
        return bytes(thumbnail.data)
    return np.asarray(thumbnail.data, np.uint8)


def libraw_exposure(path: Path) -> tuple[float | None, float | None, float | None]:
    """Time (s), aperture and ISO as LibRaw reads them from the header, for RAW without EXIF.

    None where it has no value; all None without rawpy, and for files above _MAX_HEADER_FILE_BYTES.
    """
    try:
        rawpy = _import_rawpy(path.name)
    except InputError:
        return None, None, None
    if path.stat().st_size > _MAX_HEADER_FILE_BYTES:
        return None, None, None
    try:
        with _captured_warnings(), rawpy.imread(io.BytesIO(path.read_bytes())) as raw:
            return _libraw_exposure(raw)
    except (rawpy.LibRawError, ValueError, MemoryError):
        return None, None, None


def _libraw_exposure(raw: Any) -> tuple[float | None, float | None, float | None]:
    values = raw.other
    exif = interpret_tags(
        TagValues(
            {
                Tag.ExposureTime: values.shutter_speed,
                Tag.FNumber: values.aperture,
                Tag.ISOSpeedRatings: values.iso_speed,
            }
        )
    )
    return exif.time, exif.aperture, exif.iso


def _open_raw(data: bytes, name: str, max_pixels: int) -> Any:
    """An unpacked ``rawpy.RawPy``, to be closed by the caller. Raises InputError."""
    rawpy = _import_rawpy(name)
    try:
        with _captured_warnings():
            raw = rawpy.imread(io.BytesIO(data))
    except (rawpy.LibRawError, ValueError) as error:
        raise InputError(
            f"{name} is not a RAW file that LibRaw reads, or it is damaged ({error}): convert it to DNG or leave it out"
        ) from error
    try:
        sizes = raw.sizes
        check_size(int(sizes.width), int(sizes.height), name, max_pixels)
        if int(sizes.raw_width) * int(sizes.raw_height) > _MAX_SENSOR_RATIO * int(sizes.width) * int(sizes.height):
            sensor = f"{sizes.raw_width}x{sizes.raw_height}"
            raise DamagedFileError(
                f"{name} is damaged: a sensor of {sensor} pixels for {sizes.width}x{sizes.height} visible"
            )
        if raw.num_colors != 3:
            raise InputError(
                f"{name} is a RAW with {raw.num_colors} colours; three are read: develop it to 16-bit TIFF first"
            )
        with _captured_warnings() as warnings:
            raw.unpack()
        if warnings:
            raise DamagedFileError(f"{name} is damaged or cut short: LibRaw says {warnings[0]}")
    except rawpy.LibRawError as error:
        raw.close()
        raise DamagedFileError(f"{name} is damaged or cut short: LibRaw cannot unpack it ({error})") from error
    except InputError:
        raw.close()
        raise
    return raw


@contextlib.contextmanager
def _captured_warnings() -> Iterator[list[str]]:
    """Yields a list that holds the first warning of LibRaw or its libjpeg on leaving.

    Other output to stderr is printed on leaving. Takes 25 microseconds, and waits for other threads that capture.
    Without a stderr nothing is captured.
    """
    warnings: list[str] = []
    with _STDERR_LOCK, contextlib.ExitStack() as stack:
        file: IO[bytes] | None = None
        with contextlib.suppress(OSError):
            stderr = os.dup(2)
            stack.callback(os.close, stderr)
            temporary = stack.enter_context(tempfile.TemporaryFile())
            os.dup2(temporary.fileno(), 2)
            file = temporary
        try:
            yield warnings
        finally:
            if file is not None:
                os.dup2(stderr, 2)
                file.seek(0)
                other_lines = []
                for line in file:
                    match = _WARNING.fullmatch(line)
                    if match is None:
                        other_lines.append(line)
                    elif match[1] and not warnings:
                        warnings.append(match[1].decode(errors="backslashreplace").strip())
                if other_lines:
                    with contextlib.suppress(OSError):
                        os.write(2, b"".join(other_lines))


def _raw_settings(raw: Any) -> RawSettings:
    red, green, blue, green2 = (float(gain) for gain in raw.camera_whitebalance)
    if not min(red, green, blue) > 0:
        red, green, blue, green2 = (float(gain) for gain in raw.daylight_whitebalance)
    if not min(red, green, blue) > 0:
        red = green = blue = 1.0
    green2 = green2 or green
    lowest = min(red, green, blue, green2)
    return RawSettings((red / lowest, green / lowest, blue / lowest, green2 / lowest), _clip_level(raw))


def _clip_level(raw: Any) -> int:
    """The code at which the camera clips: the stated white, or a peak of the histogram shortly below it."""
    white = int(raw.white_level)
    per_channel = [int(level) for level in raw.camera_white_level_per_channel or () if level]
    if per_channel:
        white = min(white, *per_channel)
    image = raw.raw_image_visible
    if image is None:
        return white
    black = int(min(raw.black_level_per_channel))
    highest = int(image.max())
    if highest >= white or highest - black < _MIN_PEAK_LEVEL * (white - black):
        return white
    is_highest = image == highest
    peak_count = int(np.count_nonzero(is_highest))
    below_count = int(np.count_nonzero(image == highest - 1))
    is_peak = peak_count >= _MIN_PEAK_SHARE * image.size and peak_count >= _MIN_PEAK_RATIO * max(below_count, 1)
    if not is_peak or image.ndim != 2:
        return white
    # A surface of one colour causes a peak in one channel; saturation causes it in several, at the same code.
    colors = {"RGBG"[index] for index in np.unique(raw.raw_colors_visible[is_highest]).tolist()}
    return highest if len(colors) > 1 else white


def _clip_mask(raw: Any, level: int) -> NDArray[np.bool_]:
    """(H, W): a raw sample in the neighbourhood that demosaicing reads is at the clip level."""
    image = raw.raw_image_visible
    is_clipped = (image >= level).astype(np.uint8)
    if is_clipped.ndim == 3:
        return np.asarray(is_clipped.any(-1))
    pattern = raw.raw_pattern
    is_bayer = pattern is None or pattern.shape[0] <= _BAYER_PERIOD
    side = _BAYER_KERNEL if is_bayer else _XTRANS_KERNEL
    return np.asarray(cv2.dilate(is_clipped, np.ones((side, side), np.uint8)) > 0)


def _camera_colorspace(raw: Any) -> ColorSpace | None:
    """White-balanced camera RGB to XYZ (D65), neutral (1, 1, 1) to white with Y = 1; None without a matrix.

    The rows of the XYZ-to-camera matrix times sRGB-to-XYZ are normalised to sum 1, as in dcraw's cam_xyz_coeff.
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
