"""OpenEXR: RGB as 16-bit half or 32-bit float, and sigma as a part or a file of its own.

Attributes for colour and capture have the names and types of the OpenEXR standard (ImfStandardAttributes.h, Color
Interop Forum); the provenance is stored as ``smarthdr:*`` strings.
"""

import contextlib
import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
from numpy.typing import NDArray

from smarthdr_cli import system
from smarthdr_cli.atomic import atomic_file
from smarthdr_cli.colorspace import ColorSpace
from smarthdr_cli.errors import OutputError, UsageError
from smarthdr_cli.fusion.result import FusionResult
from smarthdr_cli.output.metadata import (
    SIGMA_MEANING,
    SOFTWARE,
    provenance,
    reference_frame,
    require_finite,
    sigma_radiance,
)

_COMPRESSION = {
    "zip": OpenEXR.ZIP_COMPRESSION,
    "piz": OpenEXR.PIZ_COMPRESSION,
    "dwaa": OpenEXR.DWAA_COMPRESSION,
    "htj2k": OpenEXR.HTJ2K256_COMPRESSION,  # blocks of 256 lines; smaller than with 32
}
HALF_MAX = 65504.0
MAX_VERIFIED_VALUES = 8_000_000 * 3  # of an image that is read back whole after writing
_DWAA_MAX = 32768.0  # DWAA's error (a few per cent, more at edges) may push a half near its limit to infinity
_MAX_THREADS = 8
_BAND_VALUES = 1 << 20  # converted to half at a time
# In a process of its own: on damage the library prints to stdout and stderr.
_READ_ALL = """
import sys, OpenEXR
part_counts = {len(OpenEXR.File(sys.argv[1], header_only=only).parts) for only in (True, False)}
sys.exit(len(part_counts) != 1)
"""


def write_exr(
    result: FusionResult,
    path: Path,
    *,
    compression: str = "piz",
    float32: bool | None = None,
    embed_uncertainty: bool = False,
    overwrite: bool = False,
    max_verified_values: int = MAX_VERIFIED_VALUES,
) -> list[str]:
    """Write ``result`` as OpenEXR; returns notes for the user.

    ``float32``: True is float; None is half, or float with a note where a value exceeds half's 65504; False refuses
    such values. ``compression``: "zip", "piz" or "htj2k" (lossless; a note says that readers of htj2k need OpenEXR
    3.4), or "dwaa" (lossy, a few per cent; values above 32768 take zip instead, with a note). ``embed_uncertainty``: a
    second part "uncertainty" with sigma.mu (half) and sigma.radiance (float), lossless. The file is read back before it
    is kept; of more than ``max_verified_values`` only the header.

    Raises UsageError for an unknown compression, OutputError where the image is not finite or cannot be written.
    """
    if compression.lower() not in _COMPRESSION:
        raise UsageError(f"unknown EXR compression {compression!r}: one of {', '.join(_COMPRESSION)}")
    compression = compression.lower()
    lowest, highest = require_finite(result.radiance, "radiance")
    peak = max(-lowest, highest)
    notes: list[str] = []
    if peak > HALF_MAX:
        if float32 is False:
            raise OutputError(f"{path.name}: radiance reaches {peak:.0f}, above half's {HALF_MAX:.0f}; use --float")
        if float32 is None:
            notes.append(f"radiance reaches {peak:.0f}, above half's {HALF_MAX:.0f}: {path.name} is written as float")
        float32 = True
    if compression == "dwaa" and peak > _DWAA_MAX:
        compression = "zip"
        notes.append(f"radiance reaches {peak:.0f}, which DWAA cannot hold: {path.name} is compressed with ZIP")
    elif compression == "dwaa":
        notes.append("DWAA is lossy: a few per cent of a pixel's value, up to 5 % seen, more beside hard edges")
    elif compression == "htj2k":
        notes.append(f"{path.name} is compressed with HTJ2K, which only programs with OpenEXR 3.4 or later read")

    pixels: NDArray[Any] = np.ascontiguousarray(result.radiance) if float32 else _to_half(result.radiance)
    parts = [OpenEXR.Part(_image_header(result, compression), {"RGB": pixels}, "rgb" if embed_uncertainty else "")]
    if embed_uncertainty:
        parts.append(OpenEXR.Part(_data_header(), _sigma_channels(result), "uncertainty"))

    def is_as_written(written: Path) -> bool:
        header_only = pixels.size > max_verified_values
        with _open(written, header_only=header_only) as file:
            if len(file.parts) != len(parts):
                return False
            if header_only:
                low, high = (np.asarray(corner) for corner in file.parts[0].header["dataWindow"])
                return tuple((high - low + 1)[::-1]) == pixels.shape[:2]
            stored = file.parts[0].channels["RGB"].pixels
            if stored.shape != pixels.shape or stored.dtype != pixels.dtype:
                return False
            return bool(np.isfinite(stored).all()) if compression == "dwaa" else np.array_equal(stored, pixels)

    _write(parts, path, overwrite, is_as_written)
    return notes


def write_uncertainty_exr(result: FusionResult, path: Path, *, overwrite: bool = False) -> list[str]:
    """Write the uncertainty alone: channels sigma.mu (half) and sigma.radiance (float), ZIP; there are no notes.

    Raises OutputError where it is not finite or cannot be written.
    """
    channels = _sigma_channels(result)

    def is_as_written(written: Path) -> bool:
        with _open(written) as file:
            stored = file.parts[0].channels
            return all(np.array_equal(stored[name].pixels, channel) for name, channel in channels.items())

    header = _data_header() | provenance(result)
    copy = dict(channels)  # Part() replaces the values of the dict it is given
    _write([OpenEXR.Part(header, copy, "")], path, overwrite, is_as_written)
    return []


def read_provenance(path: Path) -> Mapping[str, str]:
    """The ``smarthdr:*`` strings of an EXR. Raises what the library raises where it is damaged."""
    with OpenEXR.File(str(path), header_only=True) as file:
        header = file.parts[0].header
        return {key: value for key, value in header.items() if key.startswith("smarthdr:")}


def is_intact(path: Path) -> bool:
    """Whether every part and pixel of an EXR can be read."""
    return subprocess.run([sys.executable, "-c", _READ_ALL, str(path)], capture_output=True).returncode == 0


def interop_id(space: ColorSpace) -> str:
    """The Color Interop Forum's name of a linear scene-referred space ("lin_rec709_scene"), or "unknown"."""
    name = OpenEXR.chromaticitiesToColorInteropID(_flat_chromaticities(space))
    return str(name) if name is not None else "unknown"


def _write(parts: list[Any], path: Path, overwrite: bool, is_as_written: Callable[[Path], bool]) -> None:
    with atomic_file(path, overwrite=overwrite, is_as_written=is_as_written) as temporary:
        try:
            with _global_threads():
                OpenEXR.File(parts).write(str(temporary))
        except (RuntimeError, ValueError) as error:  # how the library reports ENOSPC, with the temporary name
            cause = str(error).replace(str(temporary), path.name).strip().rstrip(".")
            if os.strerror(errno.ENOSPC) in cause:
                cause = "no space left on the disk"
            raise OutputError(f"cannot write {path}: {cause.splitlines()[0]}") from error


@contextlib.contextmanager
def _global_threads() -> Iterator[None]:
    """Compress on all cores: writing uses the library's global count alone.

    The count is restored, so that no thread of the library stays where a caller forks.
    """
    previous = OpenEXR.global_thread_count()
    OpenEXR.set_global_thread_count(_threads())
    try:
        yield
    finally:
        OpenEXR.set_global_thread_count(previous)


@contextlib.contextmanager
def _open(path: Path, *, header_only: bool = False) -> Iterator[Any]:
    try:
        file = OpenEXR.File(str(path), header_only=header_only, num_threads=_threads())
    except (RuntimeError, ValueError) as error:
        raise OutputError("the EXR does not read back after writing; it was not kept") from error
    yield file


def _to_half(image: NDArray[np.float32]) -> NDArray[np.float16]:
    """The nearest half of every value, in parallel bands."""
    halves = np.empty(image.shape, np.float16)
    rows = max(1, _BAND_VALUES // max(1, image.shape[1]))

    def convert(top: int) -> None:
        halves[top : top + rows] = image[top : top + rows]

    with ThreadPoolExecutor(_threads()) as pool:
        list(pool.map(convert, range(0, len(image), rows)))
    return halves


def _threads() -> int:
    return min(_MAX_THREADS, system.usable_cores())


def _flat_chromaticities(space: ColorSpace) -> tuple[float, ...]:
    return tuple(float(value) for xy in space.chromaticities for value in xy)


def _image_header(result: FusionResult, compression: str) -> dict[str, Any]:
    """Attributes of the image part; unknown ones are absent."""
    frame = reference_frame(result)
    capture, exposure = frame.capture, frame.exposure
    optional: dict[str, str | float | None] = {
        "expTime": exposure.time,  # seconds
        "aperture": exposure.aperture,  # f-number
        "isoSpeed": exposure.iso,
        "capDate": capture.datetime,
        # the standard's sign is UTC = local time + utcOffset; EXIF counts seconds east
        "utcOffset": None if capture.utc_offset is None else -capture.utc_offset,
        "owner": capture.owner,
        "comments": capture.comments,
        "cameraMake": capture.make,
        "cameraModel": capture.model,
        "lensModel": capture.lens,
        "nominalFocalLength": capture.focal_length,  # mm
    }
    header: dict[str, Any] = {
        "compression": _COMPRESSION[compression],
        "type": OpenEXR.scanlineimage,
        "chromaticities": _flat_chromaticities(result.colorspace),
        "colorInteropID": interop_id(result.colorspace),
        "software": SOFTWARE,
    }
    for name, value in optional.items():
        if value is not None and value != "":
            header[name] = value if isinstance(value, str) else float(value)
    return header | provenance(result)


def _data_header() -> dict[str, Any]:
    return {
        "compression": OpenEXR.ZIP_COMPRESSION,
        "type": OpenEXR.scanlineimage,
        "colorInteropID": "data",
        "software": SOFTWARE,
        "comments": SIGMA_MEANING,
    }


def _sigma_channels(result: FusionResult) -> dict[str, NDArray[Any]]:
    """sigma.mu as half (it is in [0, 1]), sigma.radiance as float (in the shadows it is below half's normal range)."""
    _, highest = require_finite(result.uncertainty, "uncertainty")
    if highest > HALF_MAX:
        raise OutputError(f"the uncertainty reaches {highest:g}, which means nothing; it was not written")
    return {"sigma.mu": result.uncertainty.astype(np.float16), "sigma.radiance": sigma_radiance(result)}
