"""One file to one Frame: the content decides the format, dimensions are checked before decoding, damage is an error."""

import hashlib
import os
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.burst import decode, heif, input_profile, raw, scan
from smarthdr_cli.burst.burst import Frame
from smarthdr_cli.burst.exif import ExifMetadata, with_exif_block
from smarthdr_cli.burst.exif_containers import exif_of_block, exif_of_file
from smarthdr_cli.colorspace import ADOBE_RGB, SRGB, ColorSpace
from smarthdr_cli.errors import InputError, full_path, os_reason

_SNIFFED_BYTES = 64
_ICC_PROFILE = 34675  # TIFF tag


@dataclass(frozen=True)
class ReadResult:
    """A frame, its EXIF, notes for the user and, for RAW, the settings it was developed with."""

    frame: Frame
    exif: ExifMetadata
    notes: tuple[str, ...] = ()
    raw_settings: raw.RawSettings | None = None


def read_frame(path: str | os.PathLike[str]) -> Frame:
    """Read a JPEG, PNG, TIFF (8 bits, 16 bits, float), RAW or HEIC file as RGB source codes in display orientation.

    The content decides the format, not the name. 16 bits stay 16 bits, grey and palettes become RGB, alpha is dropped.
    Raises InputError for a missing, empty, truncated, damaged or unsupported file, for more than MAX_PIXELS pixels, and
    for RAW without rawpy or HEIC without pillow-heif installed; the message is one line with the path of the file and
    what to do.
    """
    return read_file(Path(path)).frame


def read_file(path: Path, raw_settings: raw.RawSettings | None = None, max_pixels: int | None = None) -> ReadResult:
    """``read_frame`` with EXIF and notes.

    ``raw_settings``: white balance and clip level for a RAW (None: its own). ``max_pixels``: None is MAX_PIXELS.
    """
    max_pixels = scan.MAX_PIXELS if max_pixels is None else max_pixels
    name = full_path(path)
    kind = scan.sniff(_read_bytes(path, _SNIFFED_BYTES), name)  # before a large file of another kind is read
    data = _read_bytes(path)
    digest = hashlib.sha256(data).hexdigest()
    if kind == "tiff":
        with decode.open_tiff(data, name) as tiff:
            if not decode.is_raw(tiff):
                return _read_tiff(path, data, tiff, digest, max_pixels)
        kind = "raw"
    if kind == "raw":
        return _read_raw(path, data, raw_settings, digest, max_pixels)
    return _read_display_coded(path, data, kind, digest, max_pixels)


def _read_bytes(path: Path, count: int = -1) -> bytes:
    check_file(path)
    try:
        scan.check_file_size(path.stat().st_size, full_path(path))
        with path.open("rb") as file:
            return file.read(count)
    except (OSError, ValueError) as error:
        reason = os_reason(error) if isinstance(error, OSError) else str(error)
        raise InputError(f"{full_path(path)} cannot be read: {reason}") from error


def check_file(path: Path) -> None:
    """Raises InputError where ``path`` is no regular file: a folder, a pattern that matched nothing, a missing file."""
    name = full_path(path)
    try:
        if path.is_file():
            return
        if path.is_dir():
            raise InputError(
                f"{name} is a folder, not a picture: smarthdr fuse takes the files of one bracket "
                f"({path / '*.jpg'}), smarthdr batch fuses every bracket of a folder, smarthdr group lists them"
            )
        if path.exists():
            raise InputError(f"{name} is not a regular file; give JPEG, PNG, TIFF or RAW files")
    except (OSError, ValueError) as error:
        reason = os_reason(error) if isinstance(error, OSError) else str(error)
        raise InputError(f"{name} cannot be read: {reason}") from error
    if path.is_symlink():
        raise InputError(f"{name} is a link, and what it leads to does not exist; mend it, or leave it out")
    if any(character in path.name for character in "*?["):
        raise InputError(f"no file matches {name}; ls {shlex.quote(full_path(path.parent))} shows what is there")
    raise InputError(f"{name} does not exist; check the name, or the folder that the command runs in")


def _read_display_coded(
    path: Path, data: bytes, kind: Literal["jpeg", "png", "heif"], digest: str, max_pixels: int
) -> ReadResult:
    name, notes = full_path(path), list[str]()
    codes: NDArray[Any]
    if kind == "jpeg":
        header = scan.scan_jpeg(data, name, max_pixels)
        warnings: list[str] = []
        codes = decode.decode_jpeg(data, header, name, warnings)
        notes += [f"{path.name}: {warning}" for warning in warnings]
    elif kind == "png":
        header = scan.scan_png(data, name, max_pixels)
        codes = decode.decode_png(header, name)
    else:
        codes, header = heif.decode(data, name, max_pixels)
    exif = ExifMetadata() if header.exif is None else exif_of_block(header.exif)
    if exif.damaged:
        notes.append(f"{path.name}: its EXIF is damaged and was ignored")
    space, profile_note = SRGB, None
    if header.icc:
        space, profile_note = input_profile.colorspace_of_icc(header.icc)
    elif header.primaries is not None:
        space, profile_note = input_profile.colorspace_of_png(header.primaries)
    elif exif.adobe_rgb:
        space = ADOBE_RGB
    if profile_note:
        notes.append(f"{path.name}: {profile_note}")
    frame = replace(_make_frame(path, codes, exif, space, digest, kind), rounding_error=header.rounding_error)
    return ReadResult(frame, exif, tuple(notes))


def _read_tiff(path: Path, data: bytes, tiff: Any, digest: str, max_pixels: int) -> ReadResult:
    notes: list[str] = []
    codes = decode.decode_tiff(data, tiff, full_path(path), max_pixels)
    if decode.has_more_pictures(tiff):
        notes.append(f"{path.name}: it holds several pictures; the first is read")
    exif = with_exif_block(exif_of_file(data, full_path(path)))
    icc = tiff.pages.first.tags.get(_ICC_PROFILE)
    space, profile_note = (ADOBE_RGB if exif.adobe_rgb else SRGB), None
    if icc is not None and isinstance(icc.value, bytes):
        space, profile_note = input_profile.colorspace_of_icc(icc.value)
    if profile_note:
        notes.append(f"{path.name}: {profile_note}")
    if codes.dtype == np.float32 and codes.max() > 1:
        notes.append(f"{path.name}: float values above 1 are taken as clipped at 1")
    return ReadResult(_make_frame(path, codes, exif, space, digest, "tiff"), exif, tuple(notes))


def _read_raw(
    path: Path, data: bytes, raw_settings: raw.RawSettings | None, digest: str, max_pixels: int
) -> ReadResult:
    developed = raw.develop(data, full_path(path), raw_settings, max_pixels)
    exif = exif_of_file(data, full_path(path))
    if exif.time is None:  # RAW without EXIF (Kodak, Leaf): as LibRaw reads it
        exif = replace(exif, time=developed.time, aperture=developed.aperture, iso=developed.iso)
    exif = with_exif_block(exif)
    frame = Frame(
        path=path,
        codes=developed.codes,
        white=65535.0,
        encoding="linear",
        exposure=exif.exposure(),
        colorspace=developed.colorspace,
        capture=exif.capture,
        sha256=digest,
        kind="raw",
        clipped=developed.clipped,
    )
    return ReadResult(frame, exif, tuple(f"{path.name}: {note}" for note in developed.notes), developed.settings)


def _make_frame(
    path: Path,
    codes: NDArray[Any],
    exif: ExifMetadata,
    space: ColorSpace,
    digest: str,
    kind: Literal["jpeg", "png", "tiff", "heif"],
) -> Frame:
    is_float = codes.dtype == np.float32
    return Frame(
        path=path,
        codes=decode.orient(codes, exif.orientation),
        white=1.0 if is_float else float(np.iinfo(codes.dtype).max),
        encoding="linear" if is_float else "display",
        exposure=exif.exposure(),
        colorspace=space,
        capture=exif.capture,
        sha256=digest,
        kind=kind,
    )
