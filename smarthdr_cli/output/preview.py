"""Previews: the tone-mapped image as 8-bit JPEG or PNG or 16-bit TIFF, in sRGB, with the EXIF of the reference frame.

All carry an sRGB ICC profile and the reference's EXIF (output/exif.py); TIFF has the tags of camera, date and rights.
"""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import simplejpeg
import tifffile
from numpy.typing import NDArray
from PIL import Image

from smarthdr_cli.atomic import atomic_file
from smarthdr_cli.colorspace import REC709
from smarthdr_cli.errors import OutputError, full_path
from smarthdr_cli.fusion.result import FusionResult
from smarthdr_cli.output.exif import ORIENTATION, jpeg_exif, reference_exif, tiff_tags
from smarthdr_cli.output.icc_profile import matrix_profile
from smarthdr_cli.output.metadata import SOFTWARE, require_finite
from smarthdr_cli.output.tonemap import DEFAULT_CONFIG, ToneMap, ToneMapConfig, fit_tone_map, look_config, render
from smarthdr_cli.output.write_options import Look
from smarthdr_cli.radiometry import linear_to_srgb

Pixels = NDArray[np.unsignedinteger[Any]]

PREVIEW_SIDE = 640  # pixels of a preview in a notebook
MAX_JPEG_SIDE = 65535
_JPEG_QUALITY = 92


def write_jpeg(
    result: FusionResult, path: Path, *, look: Look = "natural", preview_ev: float = 0.0, overwrite: bool = False
) -> list[str]:
    """Write the preview as JPEG, quality 92 without chroma subsampling; returns notes for the user.

    ``look``: see ``tonemap.LOOKS``. ``preview_ev``: EV by which it is brighter.
    Raises OutputError where the image is not finite, larger than JPEG's 65535 pixels a side, or cannot be written.
    """
    check_jpeg_size(result, path)
    block, notes = jpeg_exif(result, path.name)
    pixels = _render_preview(result, 8, look, preview_ev)

    def save(temporary: Path) -> None:
        options = {"quality": _JPEG_QUALITY, "subsampling": 0, "icc_profile": srgb_profile(), "exif": block}
        save_image(temporary, pixels, "JPEG", **options)

    write_verified(path, pixels.shape, save, overwrite=overwrite)
    return notes


def write_png(
    result: FusionResult, path: Path, *, look: Look = "natural", preview_ev: float = 0.0, overwrite: bool = False
) -> list[str]:
    """Write the preview as PNG; returns notes for the user. Options as in ``write_jpeg``.

    Raises OutputError where the image is not finite or cannot be written.
    """
    exif, notes = reference_exif(result)
    pixels = _render_preview(result, 8, look, preview_ev)

    def save(temporary: Path) -> None:
        options = {"compress_level": 1, "icc_profile": srgb_profile(), "exif": exif.tobytes()}
        save_image(temporary, pixels, "PNG", **options)

    write_verified(path, pixels.shape, save, overwrite=overwrite)
    return notes


def write_tiff(
    result: FusionResult, path: Path, *, look: Look = "natural", preview_ev: float = 0.0, overwrite: bool = False
) -> list[str]:
    """Write the preview as 16-bit TIFF, deflated; returns notes for the user. Options as in ``write_jpeg``.

    Raises OutputError where the image is not finite or cannot be written.
    """
    exif, notes = reference_exif(result)
    pixels = _render_preview(result, 16, look, preview_ev)

    def save(temporary: Path) -> None:
        _save_tiff(temporary, pixels, exif)

    write_verified(path, pixels.shape, save, _tiff_shape, overwrite=overwrite)
    return notes


def check_jpeg_size(result: FusionResult, path: Path) -> None:
    """Raises OutputError where the image has more pixels a side than JPEG holds (ITU-T T.81, B.2.2)."""
    height, width = result.radiance.shape[:2]
    if max(height, width) > MAX_JPEG_SIDE:
        raise OutputError(
            f"{full_path(path)}: JPEG holds at most {MAX_JPEG_SIDE} pixels a side, not {width}x{height}; use .png"
        )


def fit_preview(result: FusionResult, config: ToneMapConfig = DEFAULT_CONFIG) -> ToneMap:
    """The tone mapping of the result's preview."""
    return fit_tone_map(result.radiance, result.colorspace, result.anchor_ev, config)


def preview_png(result: FusionResult, side: int = PREVIEW_SIDE) -> bytes:
    """A small preview as the bytes of a PNG: the tone-mapped picture reduced to ``side`` pixels."""
    stream = io.BytesIO()
    Image.fromarray(render_reduced(result, side)).save(stream, "PNG")
    return stream.getvalue()


def render_reduced(result: FusionResult, side: int, config: ToneMapConfig = DEFAULT_CONFIG) -> Pixels:
    """(h, w, 3) uint8 sRGB codes of the tone-mapped image, its longer side reduced to ``side``."""
    small = replace(result, radiance=reduce_to(result.radiance, side))
    return render_srgb(small, 8, fit_preview(small, config))


def reduce_to(picture: NDArray[Any], side: int) -> NDArray[Any]:
    """(H, W, C) ``picture``, its longer side reduced to ``side`` by area; a smaller picture stays as it is."""
    height, width = picture.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def render_srgb(result: FusionResult, bits: Literal[8, 16], tone_map: ToneMap | None = None) -> Pixels:
    """(H, W, 3) sRGB codes of the tone-mapped image, uint8 or uint16.

    ``tone_map``: one fitted to another image of the same size, to compare the two; None fits one to this image.
    """
    tone_map = tone_map or fit_preview(result)
    codes: Pixels = np.empty(result.radiance.shape, np.uint8 if bits == 8 else np.uint16)
    white = 2**bits - 1

    def store(top: int, planes: list[NDArray[np.float32]]) -> None:
        for channel, plane in enumerate(planes):
            values = linear_to_srgb(plane)
            values *= np.float32(white)
            values += np.float32(0.5)
            codes[top : top + plane.shape[0], :, channel] = values

    render(tone_map, result.radiance, store)
    return codes


def encode_jpeg(pixels: Pixels, quality: int) -> bytes:
    """(H, W, 3) uint8 ``pixels`` as a JPEG without chroma subsampling and without metadata."""
    encoded: bytes = simplejpeg.encode_jpeg(pixels, quality=quality, colorspace="RGB", colorsubsampling="444")
    return encoded


def save_image(path: Path, pixels: Pixels, format_name: str, **options: Any) -> None:
    """Write (H, W, 3) uint8 ``pixels`` as ``format_name`` ("JPEG", "PNG") with Pillow's ``options``.

    Encodes in memory: Pillow ignores a file write that a full disk cuts short. Raises OSError on a short write.
    """
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format_name, **options)
    with path.open("wb") as file:
        file.write(buffer.getbuffer())


def _pillow_shape(path: Path) -> tuple[int, ...]:
    with Image.open(path) as image:
        return image.height, image.width, len(image.getbands())


def _tiff_shape(path: Path) -> tuple[int, ...]:
    with tifffile.TiffFile(path) as file:
        return tuple(file.pages[0].shape)


def write_verified(
    path: Path,
    shape: tuple[int, ...],
    save: Callable[[Path], None],
    read_shape: Callable[[Path], tuple[int, ...]] = _pillow_shape,
    *,
    overwrite: bool,
) -> None:
    """Write a picture with ``save`` beside ``path``, check that ``shape`` reads back, and move it into place.

    Raises OutputError where another shape reads back or the file cannot be written.
    """

    def is_as_written(written: Path) -> bool:
        try:
            return read_shape(written) == shape
        except (OSError, Image.DecompressionBombError):
            return False

    with atomic_file(path, overwrite=overwrite, is_as_written=is_as_written) as temporary:
        save(temporary)


def _render_preview(result: FusionResult, bits: Literal[8, 16], look: Look, preview_ev: float) -> Pixels:
    """The tone-mapped codes. Raises OutputError where the image is not finite."""
    require_finite(result.radiance, "radiance")
    return render_srgb(result, bits, fit_preview(result, look_config(look, preview_ev)))


def srgb_profile() -> bytes:
    """The ICC profile of what ``render_srgb`` returns."""
    return matrix_profile(REC709, "srgb")


def _save_tiff(path: Path, pixels: Pixels, exif: Image.Exif) -> None:
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
        iccprofile=srgb_profile(),
        extratags=[*tiff_tags(exif), (ORIENTATION, "H", 1, 1, True)],
        metadata=None,
    )
