"""Previews: the tone-mapped image as 8-bit JPEG or PNG or 16-bit TIFF, in sRGB, with the EXIF of the reference frame.

All carry an sRGB ICC profile. The EXIF gets orientation 1, smarthdr as Software and the new size; it loses the
thumbnail and the maker note, whose offsets would be wrong. TIFF keeps the tags of camera, date and rights.
"""

import datetime
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from smarthdr_cli.atomic import atomic_file
from smarthdr_cli.colorspace import REC709
from smarthdr_cli.errors import OutputError
from smarthdr_cli.fusion.result import FusionResult
from smarthdr_cli.output import tonemap
from smarthdr_cli.output.icc_profile import matrix_profile
from smarthdr_cli.output.metadata import SOFTWARE, reference_frame, require_finite
from smarthdr_cli.radiometry import linear_to_srgb

Pixels = NDArray[np.unsignedinteger[Any]]

PREVIEW_SIDE = 640  # pixels of a preview in a notebook
_JPEG_QUALITY = 92
_MAX_JPEG_SIDE = 65535
_MAX_JPEG_EXIF = 65533 - 6  # bytes that one APP1 segment holds
_EXIF_IFD, _GPS_IFD, _INTEROP_IFD = 0x8769, 0x8825, 0xA005
_DESCRIPTION, _MAKE, _MODEL, _ARTIST, _COPYRIGHT = 0x010E, 0x010F, 0x0110, 0x013B, 0x8298
_ORIENTATION, _SOFTWARE, _DATE, _RATING, _RATING_PERCENT = 0x0112, 0x0131, 0x0132, 0x4746, 0x4749
_COLOR_SPACE, _PIXEL_X, _PIXEL_Y, _MAKER_NOTE = 0xA001, 0xA002, 0xA003, 0x927C
_SRGB = 1  # value of ColorSpace
# Tags of the first directory that describe the camera and its owner; the others describe the pixels of the input.
_OWNER_TAGS = frozenset((_DESCRIPTION, _MAKE, _MODEL, _DATE, _ARTIST, _COPYRIGHT, _RATING, _RATING_PERCENT))
_KEPT_TAGS = _OWNER_TAGS | {_ORIENTATION, _SOFTWARE, _EXIF_IFD, _GPS_IFD}


def write_jpeg(result: FusionResult, path: Path, *, overwrite: bool = False) -> list[str]:
    """Write the preview as JPEG, quality 92 without chroma subsampling; returns notes for the user.

    Raises OutputError where the image is not finite, larger than JPEG's 65535 pixels a side, or cannot be written.
    """
    height, width = result.radiance.shape[:2]
    if max(height, width) > _MAX_JPEG_SIDE:
        raise OutputError(
            f"{path.name}: JPEG holds at most {_MAX_JPEG_SIDE} pixels a side, not {width}x{height}; use .png"
        )
    exif, notes = _exif(result)
    block = exif.tobytes()
    if len(block) > _MAX_JPEG_EXIF:
        notes.append(f"{path.name}: the EXIF is larger than JPEG allows; only our own tags were written")
        block = _with_own_tags(Image.Exif(), width, height).tobytes()

    def save(temporary: Path, pixels: Pixels) -> None:
        options = {"quality": _JPEG_QUALITY, "subsampling": 0, "icc_profile": _profile(), "exif": block}
        save_image(temporary, pixels, "JPEG", **options)

    _write(result, path, 8, save, _pillow_shape, overwrite)
    return notes


def write_png(result: FusionResult, path: Path, *, overwrite: bool = False) -> list[str]:
    """Write the preview as PNG; returns notes for the user.

    Raises OutputError where the image is not finite or cannot be written.
    """
    exif, notes = _exif(result)

    def save(temporary: Path, pixels: Pixels) -> None:
        save_image(temporary, pixels, "PNG", compress_level=1, icc_profile=_profile(), exif=exif.tobytes())

    _write(result, path, 8, save, _pillow_shape, overwrite)
    return notes


def write_tiff(result: FusionResult, path: Path, *, overwrite: bool = False) -> list[str]:
    """Write the preview as 16-bit TIFF, deflated; returns notes for the user.

    Raises OutputError where the image is not finite or cannot be written.
    """
    exif, notes = _exif(result)

    def save(temporary: Path, pixels: Pixels) -> None:
        _save_tiff(temporary, pixels, exif)

    _write(result, path, 16, save, _tiff_shape, overwrite)
    return notes


def preview_png(result: FusionResult, side: int = PREVIEW_SIDE) -> bytes:
    """A small preview as the bytes of a PNG: the tone-mapped picture reduced to ``side`` pixels."""
    height, width = result.radiance.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(result.radiance, size, interpolation=cv2.INTER_AREA)
    stream = io.BytesIO()
    Image.fromarray(render_srgb(replace(result, radiance=np.asarray(small, np.float32)), 8)).save(stream, "PNG")
    return stream.getvalue()


def render_srgb(result: FusionResult, bits: Literal[8, 16], tone_map: tonemap.ToneMap | None = None) -> Pixels:
    """(H, W, 3) sRGB codes of the tone-mapped image, uint8 or uint16.

    ``tone_map``: one fitted to another image of the same size, to compare the two; None fits one to this image.
    """
    tone_map = tone_map or tonemap.fit_tone_map(result.radiance, result.colorspace, result.anchor_ev)
    codes: Pixels = np.empty(result.radiance.shape, np.uint8 if bits == 8 else np.uint16)
    white = 2**bits - 1

    def store(top: int, planes: list[NDArray[np.float32]]) -> None:
        for channel, plane in enumerate(planes):
            values = linear_to_srgb(plane)
            values *= np.float32(white)
            values += np.float32(0.5)
            codes[top : top + plane.shape[0], :, channel] = values

    tonemap.render(tone_map, result.radiance, store)
    return codes


def save_image(path: Path, pixels: Pixels, format_name: str, **options: Any) -> None:
    """Write (H, W, 3) uint8 ``pixels`` as ``format_name`` ("JPEG", "PNG") with Pillow's ``options``.

    Encodes in memory: Pillow ignores a file write that a full disk cuts short. Raises OSError on a short write.
    """
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format_name, **options)
    with path.open("wb") as file:
        file.write(buffer.getbuffer())


def _write(
    result: FusionResult,
    path: Path,
    bits: Literal[8, 16],
    save: Callable[[Path, Pixels], None],
    read_shape: Callable[[Path], tuple[int, ...]],
    overwrite: bool,
) -> None:
    """Render, save beside ``path``, check the shape that reads back, and move into place."""
    require_finite(result.radiance, "radiance")
    pixels = render_srgb(result, bits)

    def verify(written: Path) -> None:
        try:
            shape = read_shape(written)
        except (OSError, Image.DecompressionBombError) as error:
            raise OutputError(f"{path} does not read back after writing; it was not kept") from error
        if shape != pixels.shape:
            raise OutputError(f"{path} does not read back as it was written; it was not kept")

    with atomic_file(path, overwrite=overwrite, verify=verify) as temporary:
        save(temporary, pixels)


def _pillow_shape(path: Path) -> tuple[int, ...]:
    with Image.open(path) as image:
        return image.height, image.width, len(image.getbands())


def _tiff_shape(path: Path) -> tuple[int, ...]:
    with tifffile.TiffFile(path) as file:
        return tuple(file.pages[0].shape)


def _profile() -> bytes:
    return matrix_profile(REC709, "srgb")


def _exif(result: FusionResult) -> tuple[Image.Exif, list[str]]:
    """(EXIF of the preview, notes): the reference frame's where it has one that can be parsed, else only our tags."""
    height, width = result.radiance.shape[:2]
    block = reference_frame(result).capture.exif
    if not block:
        return _with_own_tags(Image.Exif(), width, height), []
    try:
        exif = Image.Exif()
        exif.load(block)
        for tag in set(exif) - _KEPT_TAGS:
            del exif[tag]
        exif.get_ifd(_GPS_IFD)  # Pillow writes only directories that were read
        details = exif.get_ifd(_EXIF_IFD)
        for tag in (_MAKER_NOTE, _INTEROP_IFD):
            details.pop(tag, None)
        _with_own_tags(exif, width, height)
        exif.tobytes()
    except Exception:  # Pillow raises anything on a damaged block
        return _with_own_tags(Image.Exif(), width, height), ["the reference's EXIF is damaged and was not carried over"]
    return exif, []


def _with_own_tags(exif: Image.Exif, width: int, height: int) -> Image.Exif:
    exif[_ORIENTATION] = 1
    exif[_SOFTWARE] = SOFTWARE
    details = exif.get_ifd(_EXIF_IFD)
    details[_COLOR_SPACE] = _SRGB
    details[_PIXEL_X], details[_PIXEL_Y] = width, height
    return exif


def _save_tiff(path: Path, pixels: Pixels, exif: Image.Exif) -> None:
    texts = {tag: exif.get(tag) for tag in (_MAKE, _MODEL, _ARTIST, _COPYRIGHT)}
    extra = [(tag, "s", 0, _ascii(text), True) for tag, text in texts.items() if isinstance(text, str) and text]
    description = exif.get(_DESCRIPTION)
    tifffile.imwrite(
        path,
        pixels,
        photometric="rgb",
        planarconfig="contig",
        compression="zlib",
        compressionargs={"level": 1},
        predictor=True,
        rowsperstrip=64,
        maxworkers=2,
        software=SOFTWARE,
        datetime=_tiff_date(exif.get(_DATE)),
        description=_ascii(description) if isinstance(description, str) else None,
        iccprofile=_profile(),
        extratags=[*extra, (_ORIENTATION, "H", 1, 1, True)],
        metadata=None,
    )


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()


def _tiff_date(value: object) -> str | None:
    try:
        datetime.datetime.strptime(str(value), "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
    return str(value)
