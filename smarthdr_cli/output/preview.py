"""Preview files: the tone-mapped picture as JPEG, PNG or 16-bit TIFF in sRGB, with the reference's EXIF."""

import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from smarthdr_cli.atomic import atomic_file
from smarthdr_cli.colorspace import REC709
from smarthdr_cli.errors import OutputError, UsageError
from smarthdr_cli.fusion.result import FusionResult
from smarthdr_cli.output import tonemap
from smarthdr_cli.output.icc_profile import matrix_profile
from smarthdr_cli.output.metadata import SOFTWARE, reference_frame
from smarthdr_cli.output.picture import save_picture
from smarthdr_cli.output.sigma import require_finite
from smarthdr_cli.radiometry import linear_to_srgb

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")

_JPEG_QUALITY = 92
_JPEG_SIDE = 65535
_JPEG_EXIF = 65533 - 6  # what one APP1 segment holds
_EXIF_IFD, _GPS_IFD, _INTEROP_IFD = 0x8769, 0x8825, 0xA005
_ORIENTATION, _SOFTWARE = 0x0112, 0x0131
_COLOR_SPACE, _PIXEL_X, _PIXEL_Y, _MAKER_NOTE, _USER_COMMENT = 0xA001, 0xA002, 0xA003, 0x927C, 0x9286
# Tags of the first directory that speak of the camera and its owner; the rest describe the old file's pixels.
_CARRIED = frozenset(
    (0x010E, 0x010F, 0x0110, _ORIENTATION, _SOFTWARE, 0x0132, 0x013B, 0x8298, 0x4746, 0x4749, _EXIF_IFD, _GPS_IFD)
)


def write_preview_file(fused: FusionResult, path: Path, *, overwrite: bool = False) -> list[str]:
    """Write the tone-mapped picture; returns what is to be said aloud.

    ``.jpg``: 8 bits, quality 92, no chroma subsampling. ``.png``: 8 bits. ``.tif``: 16 bits, deflate. All in sRGB with
    its ICC profile. The reference's EXIF goes along with orientation 1, our Software tag and the new size, without
    thumbnail and maker note (whose offsets would be wrong); in TIFF the camera, date and rights tags.

    Raises UsageError for another suffix, OutputError when the picture is not finite or cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"a preview is .jpg, .png or .tif, not {path.name}")
    require_finite(fused.radiance, "radiance")
    height, width = fused.radiance.shape[:2]
    if suffix in (".jpg", ".jpeg") and max(height, width) > _JPEG_SIDE:
        raise OutputError(f"{path.name}: JPEG holds at most {_JPEG_SIDE} pixels a side, not {width}x{height}; use .png")
    exif, notes = _exif(fused)
    profile = matrix_profile(REC709, "srgb")
    pixels = render_srgb(fused, 16 if suffix in (".tif", ".tiff") else 8)
    with atomic_file(path, overwrite=overwrite, verify=lambda written: _verify(written, path, pixels.shape)) as part:
        if suffix in (".tif", ".tiff"):
            _write_tiff(part, pixels, exif, profile)
        elif suffix == ".png":
            save_picture(part, pixels, "PNG", compress_level=1, icc_profile=profile, exif=exif.tobytes())
        else:
            block = exif.tobytes()
            if len(block) > _JPEG_EXIF:
                notes.append(f"{path.name}: the EXIF is larger than JPEG allows; only our own tags were written")
                block = _own_tags(Image.Exif(), width, height).tobytes()
            save_picture(part, pixels, "JPEG", quality=_JPEG_QUALITY, subsampling=0, icc_profile=profile, exif=block)
    return notes


def render_srgb(
    fused: FusionResult, bits: Literal[8, 16], tone: tonemap.ToneMap | None = None
) -> NDArray[np.unsignedinteger[Any]]:
    """(H, W, 3) sRGB values of the default tone mapping, uint8 or uint16.

    ``tone``: a mapping planned on another picture of the same size, so that the two compare; None plans it on this one.
    """
    tone = tone or tonemap.plan(fused.radiance, fused.colorspace, fused.anchor_ev)
    out: NDArray[np.unsignedinteger[Any]] = np.empty(fused.radiance.shape, np.uint8 if bits == 8 else np.uint16)
    top_value = 2**bits - 1

    def store(top: int, planes: list[NDArray[np.float32]]) -> None:
        for channel, plane in enumerate(planes):
            values = linear_to_srgb(plane)
            values *= np.float32(top_value)
            values += np.float32(0.5)
            out[top : top + plane.shape[0], :, channel] = values

    tonemap.render(tone, fused.radiance, store)
    return out


def _exif(fused: FusionResult) -> tuple[Image.Exif, list[str]]:
    """The reference's EXIF made true of the preview; only our own tags where it has none or it cannot be parsed."""
    height, width = fused.radiance.shape[:2]
    block = reference_frame(fused).capture.exif
    if block:
        try:
            exif = Image.Exif()
            exif.load(block)
            for tag in set(exif) - _CARRIED:
                del exif[tag]
            exif.get_ifd(_GPS_IFD)  # read now, so that it is written again
            details = exif.get_ifd(_EXIF_IFD)
            for tag in (_MAKER_NOTE, _INTEROP_IFD):
                details.pop(tag, None)
            _own_tags(exif, width, height)
            exif.tobytes()
        except Exception:  # a damaged block raises anything; the picture is worth having without it
            return _own_tags(Image.Exif(), width, height), ["the reference's EXIF is damaged and was not carried over"]
        return exif, []
    return _own_tags(Image.Exif(), width, height), []


def _own_tags(exif: Image.Exif, width: int, height: int) -> Image.Exif:
    exif[_ORIENTATION] = 1
    exif[_SOFTWARE] = SOFTWARE
    details = exif.get_ifd(_EXIF_IFD)
    details[_COLOR_SPACE] = 1  # sRGB
    details[_PIXEL_X], details[_PIXEL_Y] = width, height
    return exif


def _write_tiff(path: Path, pixels: NDArray[np.unsignedinteger[Any]], exif: Image.Exif, profile: bytes) -> None:
    texts = {"make": 0x010F, "model": 0x0110, "artist": 0x013B, "copyright": 0x8298}
    extra = []
    for tag in texts.values():
        value = exif.get(tag)
        if isinstance(value, str) and value:
            extra.append((tag, "s", 0, value.encode("ascii", "replace").decode(), True))
    description = exif.get(0x010E)
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
        datetime=_tiff_date(exif.get(0x0132)),
        description=description.encode("ascii", "replace").decode() if isinstance(description, str) else None,
        iccprofile=profile,
        extratags=[*extra, (_ORIENTATION, "H", 1, 1, True)],
        metadata=None,
    )


def _tiff_date(value: object) -> str | None:
    try:
        datetime.datetime.strptime(str(value), "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
    return str(value)


def _verify(written: Path, path: Path, shape: tuple[int, ...]) -> None:
    if path.suffix.lower() in (".tif", ".tiff"):
        with tifffile.TiffFile(written) as file:
            found = file.pages[0].shape
    else:
        try:
            with Image.open(written) as picture:
                found = (picture.height, picture.width, len(picture.getbands()))
        except (OSError, Image.DecompressionBombError) as error:
            raise OutputError(f"{path} does not read back after writing; it was not kept") from error
    if tuple(found) != shape:
        raise OutputError(f"{path} does not read back as it was written; it was not kept")
