"""HEIC and HEIF stills, through pillow-heif where the user has installed it.

Its wheels contain x265 and are GPL-2 by their own words, so smarthdr neither depends on it nor offers it as an extra.
libheif applies the file's rotation, so the EXIF orientation is not applied again.
"""

import contextlib
import io
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.burst.exif import reset_orientation
from smarthdr_cli.burst.scan import ImageHeader, check_size, conversion
from smarthdr_cli.errors import DamagedFileError, InputError

_EXIF_PREFIX = b"Exif\0\0"
_PRIMARIES = {1: "rec709", 9: "rec2020", 12: "display-p3"}  # ISO/IEC 23091-2, table 2
_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}  # ISO/IEC 23091-2, table 3


def read_header(data: bytes, name: str) -> ImageHeader:
    """The header of a HEIF file: size as displayed, EXIF with orientation 1.

    Raises InputError where it is damaged, or without pillow-heif.
    """
    with _damage_as_error(name):
        return _header(_open(data, name))


def decode(data: bytes, name: str, max_pixels: int) -> tuple[NDArray[Any], ImageHeader]:
    """((H, W, 3) sRGB codes in display orientation, uint8, or uint16 from 10 and 12 bits; the header).

    Raises InputError where the file is damaged, coded for HDR (PQ, HLG), larger than ``max_pixels``, or without
    pillow-heif.
    """
    with _damage_as_error(name):
        picture = _open(data, name)
        header = _header(picture)
        check_size(header.width, header.height, name, max_pixels)
        transfer = _HDR_TRANSFERS.get(_nclx(picture).get("transfer_characteristics", 0))
        if transfer is not None:
            raise InputError(
                f"{name} is an HDR picture ({transfer}); give bracketed frames with an ordinary tone curve"
            )
        codes = np.asarray(picture)
    if codes.shape[:2] != (header.height, header.width):
        raise DamagedFileError(f"{name} is damaged: its header and its picture differ in size")
    if codes.ndim == 2:
        codes = np.repeat(codes[..., None], 3, axis=2)
    return np.ascontiguousarray(codes[..., :3]), header


@contextlib.contextmanager
def _damage_as_error(name: str) -> Iterator[None]:
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:  # pillow-heif raises exceptions of every type on damaged files
        raise DamagedFileError(f"{name} is damaged or cut short: {_brief(error)}") from error


def _open(data: bytes, name: str) -> Any:
    return _import_pillow_heif(name).open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)


def _import_pillow_heif(name: str) -> ModuleType:
    try:
        import pillow_heif
    except ImportError as error:
        raise InputError(
            f"{name} is a HEIC/HEIF picture. smarthdr reads it where pillow-heif is installed: pip install pillow-heif "
            f"(its wheels are GPL-2, so it is no part of smarthdr). {conversion(name)}"
        ) from error
    module: ModuleType = pillow_heif
    return module


def _header(picture: Any) -> ImageHeader:
    exif: bytes | None = picture.info.get("exif")
    if exif is not None:
        exif = exif.removeprefix(_EXIF_PREFIX)
        exif = (reset_orientation(exif) or exif).removeprefix(_EXIF_PREFIX)
    width, height = picture.size
    return ImageHeader(
        width,
        height,
        exif=exif,
        icc=picture.info.get("icc_profile"),
        primaries=_PRIMARIES.get(_nclx(picture).get("color_primaries", 0)),
    )


def _nclx(picture: Any) -> Mapping[str, Any]:
    profile: Mapping[str, Any] = picture.info.get("nclx_profile") or {}
    return profile


def _brief(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
