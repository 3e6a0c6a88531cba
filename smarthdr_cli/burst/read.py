"""One file to one Frame: content decides the format, the size is known before decoding, damage is an error."""

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.burst import decode, input_profile, raw, scan
from smarthdr_cli.burst.exif import Stated, with_block
from smarthdr_cli.burst.exif_location import file_exif, parse_exif
from smarthdr_cli.burst.frame import Frame
from smarthdr_cli.colorspace import ADOBE_RGB, SRGB, ColorSpace
from smarthdr_cli.errors import InputError


@dataclass(frozen=True)
class Reading:
    """A frame, what its EXIF states, the notes to say aloud and, for RAW, the white balance and clip level it used."""

    frame: Frame
    stated: Stated
    notes: tuple[str, ...] = ()
    sensor: raw.Sensor | None = None


def read_frame(path: str | os.PathLike[str]) -> Frame:
    """Read a JPEG, PNG, TIFF (8, 16 bits, float) or RAW file as RGB source codes in display orientation.

    The content decides the format, not the name. 16 bits stay 16 bits; grey and palettes become RGB; alpha is dropped;
    EXIF orientation is applied. Raises InputError (one line, with the file's name) for a missing, empty, truncated,
    damaged or unsupported file, one above 250 megapixels (MAX_PIXELS), and for RAW without rawpy installed.
    """
    return read_file(Path(path)).frame


def read_file(path: Path, sensor: raw.Sensor | None = None, max_pixels: int | None = None) -> Reading:
    """``read_frame`` with the record of the reading.

    ``sensor`` gives a RAW the white balance and clip level to use, ``max_pixels`` another limit than MAX_PIXELS.
    """
    limit = scan.MAX_PIXELS if max_pixels is None else max_pixels
    name = path.name
    kind = scan.sniff(_bytes(path, 64), name)  # a large file of another kind is never loaded
    data = _bytes(path)
    digest = hashlib.sha256(data).hexdigest()
    if kind == "tiff":
        with decode.open_tiff(data, name) as tiff:
            if not decode.is_raw(tiff):
                return _read_tiff(path, data, tiff, digest, limit)
        kind = "raw"
    if kind == "raw":
        return _read_raw(path, data, sensor, digest, limit)
    return _read_plain(path, data, kind, digest, limit)


def _bytes(path: Path, count: int = -1) -> bytes:
    try:
        if path.is_dir():
            raise InputError(f"{path.name or path} is a folder, not a picture")
        if not path.is_file():
            raise InputError(f"{path.name} does not exist" if not path.exists() else f"{path.name} is not a file")
        if path.stat().st_size > scan.MAX_FILE:
            raise InputError(f"{path.name} is larger than {scan.MAX_FILE >> 30} GB")
        with path.open("rb") as file:
            return file.read(count)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"{path.name} cannot be read: {reason}") from error


def _read_plain(path: Path, data: bytes, kind: Literal["jpeg", "png"], digest: str, limit: int) -> Reading:
    name = path.name
    notes: list[str] = []
    codes: NDArray[Any]
    if kind == "jpeg":
        found = scan.scan_jpeg(data, name, limit)
        codes = decode.decode_jpeg(data, found, name, notes)
    else:
        found = scan.scan_png(data, name, limit)
        codes = decode.decode_png(found, name)
    stated = Stated() if found.exif is None else parse_exif(found.exif)
    if stated.damaged:
        notes.append(f"{name}: its EXIF is damaged and was ignored")
    space, note = SRGB, None
    if found.icc:
        space, note = input_profile.from_icc(found.icc)
    elif found.primaries is not None:
        space, note = input_profile.from_png(found.primaries)
    elif stated.adobe_rgb:
        space = ADOBE_RGB
    if note:
        notes.append(f"{name}: {note}")
    return Reading(_frame(path, codes, stated, space, digest, kind), stated, tuple(notes))


def _read_tiff(path: Path, data: bytes, tiff: Any, digest: str, limit: int) -> Reading:
    name, notes = path.name, []
    codes = decode.decode_tiff(data, tiff, name, limit)
    if decode.has_more_pictures(tiff):
        notes.append(f"{name}: it holds several pictures; the first is read")
    stated = with_block(file_exif(data, name))
    icc = tiff.pages.first.tags.get(34675)
    space, note = (ADOBE_RGB if stated.adobe_rgb else SRGB), None
    if icc is not None and isinstance(icc.value, bytes):
        space, note = input_profile.from_icc(icc.value)
    if note:
        notes.append(f"{name}: {note}")
    if codes.dtype == np.float32 and codes.max() > 1:
        notes.append(f"{name}: float values above 1 are taken as clipped at 1")
    return Reading(_frame(path, codes, stated, space, digest, "tiff"), stated, tuple(notes))


def _read_raw(path: Path, data: bytes, sensor: raw.Sensor | None, digest: str, limit: int) -> Reading:
    developed = raw.develop(data, path.name, sensor, limit)
    stated = file_exif(data, path.name)
    if stated.time is None:  # RAW without EXIF (Kodak, Leaf): as LibRaw reads it
        stated = replace(stated, time=developed.time, aperture=developed.aperture, iso=developed.iso)
    stated = with_block(stated)
    frame = Frame(
        path=path,
        codes=developed.codes,
        white=65535.0,
        encoding="linear",
        exposure=stated.exposure(),
        colorspace=developed.colorspace,
        capture=stated.capture,
        sha256=digest,
        kind="raw",
        clipped=developed.clipped,
    )
    return Reading(frame, stated, developed.notes, developed.sensor)


def _frame(
    path: Path,
    codes: NDArray[Any],
    stated: Stated,
    space: ColorSpace,
    digest: str,
    kind: Literal["jpeg", "png", "tiff"],
) -> Frame:
    floating = codes.dtype == np.float32
    return Frame(
        path=path,
        codes=decode.orient(codes, stated.orientation),
        white=1.0 if floating else float(np.iinfo(codes.dtype).max),
        encoding="linear" if floating else "display",
        exposure=stated.exposure(),
        colorspace=space,
        capture=stated.capture,
        sha256=digest,
        kind=kind,
    )
