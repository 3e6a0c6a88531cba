"""OpenEXR: half or float RGB with typed colour, capture and provenance attributes, and the uncertainty beside it."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import OpenEXR
from numpy.typing import NDArray

from smarthdr_cli import system
from smarthdr_cli.atomic import atomic_file
from smarthdr_cli.colorspace import ColorSpace
from smarthdr_cli.errors import OutputError, UsageError
from smarthdr_cli.fusion.result import FusionResult
from smarthdr_cli.output.metadata import SOFTWARE, provenance, reference_frame
from smarthdr_cli.output.sigma import MEANING, require_finite, sigma_radiance

Depth = Literal["auto", "half", "float"]

COMPRESSIONS = ("zip", "piz", "dwaa")
HALF_MAX = 65504.0
_READ_BACK = 8_000_000 * 3  # values up to which a picture is read back whole; of larger ones the headers
_DWAA_MAX = 32768.0  # DWAA's error (a few per cent, more at edges) may push a half near its limit to infinity


def write_exr(
    fused: FusionResult,
    path: Path,
    *,
    compression: str = "zip",
    depth: Depth = "auto",
    embed_uncertainty: bool = False,
    overwrite: bool = False,
) -> list[str]:
    """Write ``fused`` as OpenEXR; returns what is to be said aloud.

    ``depth`` "auto" is half, promoted to float (with a note) where a value exceeds half's 65504; "half" refuses such
    values. ``compression``: "zip" or "piz" (lossless), "dwaa" (lossy, a few per cent on pixels; it keeps halves
    inside, so values over 32768 take zip instead, with a note). ``embed_uncertainty`` adds a second part
    "uncertainty" with sigma.mu (half) and sigma.radiance (float), always lossless.

    Raises UsageError for an unknown compression, OutputError when the picture is not finite or cannot be written.
    """
    if compression.lower() not in COMPRESSIONS:
        raise UsageError(f"unknown EXR compression {compression!r}: one of {', '.join(COMPRESSIONS)}")
    compression = compression.lower()
    lowest, highest = require_finite(fused.radiance, "radiance")
    peak = max(-lowest, highest)
    notes: list[str] = []
    if peak > HALF_MAX:
        if depth == "half":
            raise OutputError(f"{path.name}: radiance reaches {peak:.0f}, above half's {HALF_MAX:.0f}; use --float")
        if depth == "auto":
            notes.append(f"radiance reaches {peak:.0f}, above half's {HALF_MAX:.0f}: {path.name} is written as float")
        depth = "float"
    if compression == "dwaa" and peak > _DWAA_MAX:
        compression = "zip"
        notes.append(f"radiance reaches {peak:.0f}, which DWAA cannot hold: {path.name} is compressed with ZIP")
    elif compression == "dwaa":
        notes.append("DWAA is lossy: a few per cent of a pixel's value, up to 5 % seen, more beside hard edges")

    pixels: NDArray[Any] = np.ascontiguousarray(fused.radiance) if depth == "float" else _halves(fused.radiance)
    parts = [OpenEXR.Part(_picture_header(fused, compression), {"RGB": pixels}, "rgb" if embed_uncertainty else "")]
    if embed_uncertainty:
        parts.append(OpenEXR.Part(_data_header(), _sigma_channels(fused), "uncertainty"))

    def verify(written: Path) -> None:
        if pixels.size > _READ_BACK:
            with _reading(written, header_only=True) as file:
                low, high = (np.asarray(corner) for corner in file.parts[0].header["dataWindow"])
                if tuple((high - low + 1)[::-1]) != pixels.shape[:2] or len(file.parts) != len(parts):
                    raise OutputError(f"{path} does not read back as it was written; it was not kept")
            return
        with _reading(written) as file:
            stored = file.parts[0].channels["RGB"].pixels
            if stored.shape != pixels.shape or stored.dtype != pixels.dtype:
                raise OutputError(f"{path} reads back as {stored.dtype} {stored.shape}; it was not written")
            good = bool(np.isfinite(stored).all()) if compression == "dwaa" else np.array_equal(stored, pixels)
            if not good or len(file.parts) != len(parts):
                raise OutputError(f"{path} does not read back as it was written; it was not kept")

    _write(parts, path, overwrite, verify)
    return notes


def write_uncertainty_exr(fused: FusionResult, path: Path, *, overwrite: bool = False) -> list[str]:
    """Write the uncertainty alone: channels sigma.mu (half) and sigma.radiance (float), ZIP.

    Raises OutputError when it is not finite or cannot be written.
    """
    channels = _sigma_channels(fused)  # Part() puts objects of its own into the dict it is given: a copy goes in

    def verify(written: Path) -> None:
        with _reading(written) as file:
            stored = file.parts[0].channels
            if not all(np.array_equal(stored[name].pixels, channel) for name, channel in channels.items()):
                raise OutputError(f"{path} does not read back as it was written; it was not kept")

    header = _data_header() | dict(provenance(fused))
    _write([OpenEXR.Part(header, dict(channels), "")], path, overwrite, verify)
    return []


def interop_id(space: ColorSpace) -> str:
    """The Color Interop Forum's name of a linear scene-referred space ("lin_rec709_scene"), or "unknown"."""
    name = OpenEXR.chromaticitiesToColorInteropID(_flat_chromaticities(space))
    return str(name) if name is not None else "unknown"


def _write(parts: list[Any], path: Path, overwrite: bool, verify: Callable[[Path], None]) -> None:
    with atomic_file(path, overwrite=overwrite, verify=verify) as temporary:
        try:
            with _side_by_side():
                OpenEXR.File(parts).write(str(temporary))
        except (RuntimeError, ValueError) as error:  # the library's way to say ENOSPC; its text names the file we made
            cause = str(error).replace(str(temporary), path.name).strip().rstrip(".")
            if os.strerror(errno.ENOSPC) in cause:
                cause = "no space left on the disk"
            raise OutputError(f"cannot write {path}: {cause.splitlines()[0]}") from error


@contextlib.contextmanager
def _side_by_side() -> Iterator[None]:
    """Compression on all cores: writing goes by the library's global count alone, which is put back, so that no thread
    of its is left behind where a caller forks."""
    before = OpenEXR.global_thread_count()
    OpenEXR.set_global_thread_count(_threads())
    try:
        yield
    finally:
        OpenEXR.set_global_thread_count(before)


@contextlib.contextmanager
def _reading(path: Path, *, header_only: bool = False) -> Iterator[Any]:
    try:
        file = OpenEXR.File(str(path), header_only=header_only, num_threads=_threads())
    except (RuntimeError, ValueError) as error:
        raise OutputError("the EXR does not read back after writing; it was not kept") from error
    yield file


def _halves(image: NDArray[np.float32]) -> NDArray[np.float16]:
    """The nearest half of every value, in bands side by side."""
    out = np.empty(image.shape, np.float16)
    rows = max(1, (1 << 20) // max(1, image.shape[1]))

    def band(top: int) -> None:
        out[top : top + rows] = image[top : top + rows]

    with ThreadPoolExecutor(_threads()) as pool:
        list(pool.map(band, range(0, len(image), rows)))
    return out


def _threads() -> int:
    return min(8, system.usable_cores())


def _flat_chromaticities(space: ColorSpace) -> tuple[float, ...]:
    return tuple(float(value) for xy in space.chromaticities for value in xy)


def _picture_header(fused: FusionResult, compression: str) -> dict[str, Any]:
    """Attributes by the names and types of the OpenEXR standard (ImfStandardAttributes.h); absent where unknown."""
    frame = reference_frame(fused)
    capture, exposure = frame.capture, frame.exposure
    known: dict[str, str | float | None] = {
        "expTime": exposure.time,  # seconds
        "aperture": exposure.aperture,  # f-number
        "isoSpeed": exposure.iso,
        "capDate": capture.datetime,
        # the standard's sign: UTC = local time + utcOffset; EXIF counts seconds east
        "utcOffset": None if capture.utc_offset is None else -capture.utc_offset,
        "owner": capture.owner,
        "comments": capture.comments,
        "cameraMake": capture.make,
        "cameraModel": capture.model,
        "lensModel": capture.lens,
        "nominalFocalLength": capture.focal_length,  # mm
    }
    header: dict[str, Any] = {
        "compression": getattr(OpenEXR, f"{compression.upper()}_COMPRESSION"),
        "type": OpenEXR.scanlineimage,
        "chromaticities": _flat_chromaticities(fused.colorspace),
        "colorInteropID": interop_id(fused.colorspace),
        "software": SOFTWARE,
    }
    for name, value in known.items():
        if value is not None and value != "":
            header[name] = value if isinstance(value, str) else float(value)
    return header | provenance(fused)


def _data_header() -> dict[str, Any]:
    return {
        "compression": OpenEXR.ZIP_COMPRESSION,
        "type": OpenEXR.scanlineimage,
        "colorInteropID": "data",
        "software": SOFTWARE,
        "comments": MEANING,
    }


def _sigma_channels(fused: FusionResult) -> dict[str, NDArray[Any]]:
    """sigma.mu as half (it lies in [0, 1]), sigma.radiance as float (in the shadows it is below half's normals)."""
    _, highest = require_finite(fused.uncertainty, "uncertainty")
    if highest > HALF_MAX:
        raise OutputError(f"the uncertainty reaches {highest:g}, which means nothing; it was not written")
    return {"sigma.mu": fused.uncertainty.astype(np.float16), "sigma.radiance": sigma_radiance(fused)}
