"""Bytes of a JPEG, PNG or TIFF to RGB codes as stored; the caller applies the orientation.

JPEG is decoded by libjpeg-turbo (simplejpeg, whose strict mode raises what libjpeg only warns of), PNG by libpng
(imagecodecs) and TIFF by tifffile with the codecs of imagecodecs. Every strip and tile is decoded into a buffer of the
size that its header states and has to fill it: data that inflate to more cost no memory, data that end early are an
error. Every warning of a decoder is an InputError, except for libjpeg's _HARMLESS_WARNINGS, which become a note.
"""

import contextlib
import io
import logging
import math
import threading
from collections.abc import Iterator
from typing import Any

import imagecodecs
import numpy as np
import simplejpeg
import tifffile
from numpy.typing import NDArray

from smarthdr_cli.burst.scan import MAX_JPEG_SCANS, MAX_PIXELS, ImageHeader, check_size, conversion
from smarthdr_cli.errors import DamagedFileError, InputError

RAW_PHOTOMETRICS = (32803, 34892)  # CFA, LinearRaw
RAW_COMPRESSIONS = (34713, 32767, 65535, 32769, 32770, 65000)  # Nikon, Sony, Pentax, packed, Samsung, Kodak
_DNG_VERSION = 50706
# None, CCITT, LZW, JPEG, deflate (both numbers), PackBits, LZMA, Zstandard. JPEG 2000, WebP, JPEG XL and others are
# not read: their data state a size of their own, which may be any.
_COMPRESSIONS = (1, 2, 3, 4, 5, 7, 8, 32946, 32773, 34925, 50000)
_JPEG = 7
_WHITE_IS_ZERO, _PALETTE, _YCBCR = 0, 3, 6
_PHOTOMETRICS = (_WHITE_IS_ZERO, 1, 2, _PALETTE, _YCBCR)
_MAX_PIXEL_BYTES = 32  # all channels: RGBA in 64-bit float
_MAX_PADDING_PIXELS = 4096 * 4096  # by which tiles may exceed four times the picture
# Warnings of libjpeg after which all pixels are decoded as a rule: bytes between segments, with which some cameras pad
# their files (half of all flipped bits cause this warning too), and unusual header fields.
_HARMLESS_WARNINGS = (
    "extraneous bytes before marker",
    "Invalid SOS parameters",
    "JFIF revision",
    "Adobe color transform",
)
# libpng warns imagecodecs of its use of the library; the pixels are right.
_INTERLACE_WARNING = "Interlace handling should be turned on"

logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)  # it logs unusual tags and raises errors
logging.getLogger("imagecodecs").setLevel(logging.WARNING)


def decode_jpeg(data: bytes, header: ImageHeader, name: str, notes: list[str] | None = None) -> NDArray[np.uint8]:
    """(H, W, 3) uint8; adds a harmless warning of libjpeg to ``notes``.

    Raises InputError where the data are damaged or end before the picture does.
    """
    image, warning = _strict_jpeg(data, name)
    if warning and notes is not None:
        notes.append(f"its picture may be damaged in places ({warning})")
    if image.shape[:2] != (header.height, header.width):
        raise DamagedFileError(f"{name} is damaged: its header and its picture differ in size")
    _check_jpeg_end(image, data, header, name)
    return image


def decode_jpeg_reduced(data: bytes, header: ImageHeader, name: str, min_side: int) -> NDArray[np.uint8]:
    """(h, w) uint8 grey, reduced by 1, 2, 4 or 8 to sides of at least ``min_side`` pixels.

    Raises InputError as ``decode_jpeg`` does.
    """
    image, _ = _strict_jpeg(data, name, colorspace="GRAY", min_height=min_side, min_width=min_side)
    _check_jpeg_end(image, data, header, name)
    return image[..., 0]


def _check_jpeg_end(image: NDArray[np.uint8], data: bytes, header: ImageHeader, name: str) -> None:
    """Raise InputError where a scan ends early without a warning of libjpeg, which fills the rest with grey 128.

    Test: decode again without the last byte of the scan. A true grey area takes some bits per block, so nothing
    changes; where the scan ended early, the byte held other blocks.
    """
    if not header.scan_end or (image[-1, -1] != 128).any():
        return
    decoded = _lenient_jpeg(data, name)
    corner = decoded[(header.height - 1) // 8 * 8 :, (header.width - 1) // 8 * 8 :]
    if (corner == 128).all():
        shortened = _lenient_jpeg(data[: header.scan_end - 1] + b"\xff\xd9", name)
        if not np.array_equal(decoded, shortened):
            raise DamagedFileError(f"{name} is cut short: the JPEG's data end before the picture does")


def _strict_jpeg(data: bytes, name: str, **options: Any) -> tuple[NDArray[np.uint8], str | None]:
    """(H, W, C) uint8 and libjpeg's harmless warning, if any; ``options`` of ``simplejpeg.decode_jpeg``.

    Raises InputError for any other warning.
    """
    try:
        return simplejpeg.decode_jpeg(data, **options), None
    except ValueError as error:
        warning = _brief(error)
    if "subsampling" in warning:
        raise InputError(f"{name} is a JPEG of a kind that is not read (its chroma subsampling). {conversion(name)}")
    if not any(text in warning for text in _HARMLESS_WARNINGS):
        raise DamagedFileError(f"{name} is damaged or cut short: {warning}")
    return _lenient_jpeg(data, name, **options), warning


def _lenient_jpeg(data: bytes, name: str, **options: Any) -> NDArray[np.uint8]:
    try:
        return np.asarray(simplejpeg.decode_jpeg(data, strict=False, **options))
    except ValueError as error:
        raise DamagedFileError(f"{name} is damaged or cut short: {_brief(error)}") from error


def decode_png(header: ImageHeader, name: str) -> NDArray[Any]:
    """(H, W, 3) uint8 or uint16; palette and grey expanded, alpha dropped. Raises InputError where it is damaged."""
    try:
        with _libpng_warnings() as warnings:
            image = imagecodecs.png_decode(header.pixel_chunks)
    except (RuntimeError, ValueError) as error:
        raise DamagedFileError(
            f"{name} is damaged or cut short: the PNG cannot be decoded ({_brief(error)})"
        ) from error
    for warning in warnings:
        if _INTERLACE_WARNING not in warning:
            raise DamagedFileError(f"{name} is damaged: {warning}")
    if image.shape[:2] != (header.height, header.width):
        raise DamagedFileError(f"{name} is damaged: its header and its picture differ in size")
    return _rgb(image)


class _ThreadLog(logging.Handler):
    """Collects what the thread that creates it logs."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if threading.get_ident() == self._thread:
            self.messages.append(record.getMessage())


@contextlib.contextmanager
def _libpng_warnings() -> Iterator[list[str]]:
    """Yields the list of libpng's warnings, which imagecodecs logs."""
    handler = _ThreadLog()
    logger = logging.getLogger("imagecodecs")
    logger.addHandler(handler)
    try:
        yield handler.messages
    finally:
        logger.removeHandler(handler)


def open_tiff(data: bytes, name: str) -> tifffile.TiffFile:
    """The structure of a TIFF, to be closed by the caller. Raises InputError where it cannot be parsed."""
    try:
        tiff = tifffile.TiffFile(io.BytesIO(data))
        if not len(tiff.pages):
            raise DamagedFileError(f"{name} is damaged: the TIFF holds no picture")
        return tiff
    except InputError:
        raise
    except Exception as error:  # tifffile raises exceptions of every type on damaged structures
        raise DamagedFileError(f"{name} is damaged or cut short: the TIFF cannot be read ({_brief(error)})") from error


def is_raw(tiff: tifffile.TiffFile) -> bool:
    """Whether a TIFF is a camera's RAW: a DNG, or an IFD with a colour filter array or a maker's compression."""
    try:
        first = tiff.pages.first
        if _DNG_VERSION in first.tags:
            return True
        pages = [first, *(first.pages or ())]
        return any(
            int(page.photometric) in RAW_PHOTOMETRICS or int(page.compression) in RAW_COMPRESSIONS for page in pages
        )
    except Exception:  # of tifffile; an unreadable structure is no known RAW
        return False


def has_more_pictures(tiff: tifffile.TiffFile) -> bool:
    """Whether the second page is another picture, not a thumbnail."""
    try:
        second = tiff.pages[1] if len(tiff.pages) > 1 else None
        return isinstance(second, tifffile.TiffPage) and not second.is_reduced
    except Exception:  # of tifffile; the first page is readable
        return False


def decode_tiff(data: bytes, tiff: tifffile.TiffFile, name: str, max_pixels: int = MAX_PIXELS) -> NDArray[Any]:
    """(H, W, 3) uint8, uint16 or float32 of the first page.

    Integers of another depth are scaled to the full range of 8 or 16 bits. Raises InputError for other types, damage,
    or more than ``max_pixels`` pixels.
    """
    try:
        page = tiff.pages.first
        check_size(int(page.imagewidth), int(page.imagelength), name, max_pixels)
        _check_type(page, name)
        _check_segments(page, len(data), name)
        if page.compression == _JPEG:
            _check_jpegs(page, data, name)
        planes = np.asarray(page.asarray(squeeze=False))  # (planes, 1, H, W, channels of a plane)
        image = _rgb(np.moveaxis(planes[:, 0], 0, -2).reshape(*planes.shape[2:4], -1))
        if page.photometric == _PALETTE:
            table = np.asarray(page.colormap)  # (3, colours), 16 bits; some writers fill the lower 8 alone
            if table.shape != (3, 1 << page.bitspersample):
                raise DamagedFileError(f"{name} is damaged: its colour table holds {table.size} numbers")
            image = (table if table.max() < 256 else table >> 8).astype(np.uint8).T[image[..., 0]]
    except (InputError, MemoryError):
        raise
    except Exception as error:  # tifffile and the codecs raise exceptions of every type
        raise DamagedFileError(
            f"{name} is damaged or cut short: the TIFF cannot be decoded ({_brief(error)})"
        ) from error
    if image.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):
            image = image.astype(np.float32)
        if not np.isfinite(image).all():
            raise InputError(f"{name} holds infinite or undefined values; write it again without them, or leave it out")
    elif page.photometric != _PALETTE and page.bitspersample not in (8, 16):
        image = _scale_to_full_range(image, page.bitspersample)
    if page.photometric == _WHITE_IS_ZERO:
        image = 1 - image if image.dtype == np.float32 else ~image
    return image


def _check_type(page: tifffile.TiffPage, name: str) -> None:
    """Raise InputError unless sample type, colour model and compression of the page are supported."""
    kind, size = ("", 0) if page.dtype is None else (page.dtype.kind, page.dtype.itemsize)
    if kind not in ("b", "u", "f") or (kind == "u" and size > 2) or size * page.samplesperpixel > _MAX_PIXEL_BYTES:
        layout = f"{page.samplesperpixel} channels of {page.dtype}"
        raise InputError(
            f"{name} is a TIFF of a type that is not read ({layout}); 8 and 16 bits and float are. "
            f"{conversion(name, '-depth 16 ')}"
        )
    if page.photometric not in _PHOTOMETRICS or (page.photometric == _YCBCR and page.compression != _JPEG):
        raise InputError(
            f"{name} is a TIFF of a colour model that is not read; RGB, grey and palettes are. "
            f"{conversion(name, '-colorspace sRGB ')}"
        )
    if page.compression not in _COMPRESSIONS:
        raise InputError(
            f"{name} is a TIFF of a compression that is not read ({page.compression!s}); "
            f"LZW, deflate, PackBits, JPEG, Zstandard, LZMA and CCITT are. {conversion(name)}"
        )


def _check_segments(page: tifffile.TiffPage, file_bytes: int, name: str) -> None:
    """Raise InputError unless all strips or tiles lie in the file and cover little more than the picture."""
    width, height = page.imagewidth, page.imagelength
    if page.imagedepth != 1 or page.jpegheader is not None:
        raise InputError(f"{name} is a microscope's TIFF, of a kind that is not read. {conversion(name)}")
    if page.is_tiled:
        across, down = math.ceil(width / page.tilewidth), math.ceil(height / page.tilelength)
        covered = across * page.tilewidth * down * page.tilelength * page.tiledepth
        if covered > 4 * width * height + _MAX_PADDING_PIXELS:
            raise DamagedFileError(
                f"{name} is damaged: its tiles of {page.tilewidth}x{page.tilelength} pixels are too large"
            )
    count = math.prod(page.chunked)
    segments = list(zip(page.dataoffsets[:count], page.databytecounts[:count], strict=False))
    if len(segments) < count or not all(
        offset > 0 and length > 0 and offset + length <= file_bytes for offset, length in segments
    ):
        raise DamagedFileError(f"{name} is cut short: the TIFF's data end before the picture does")


def _check_jpegs(page: tifffile.TiffPage, data: bytes, name: str) -> None:
    """Raise InputError where a JPEG strip or tile is damaged or too large; tifffile ignores both."""
    rows, columns = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    for offset, length in zip(page.dataoffsets, page.databytecounts, strict=True):
        jpeg = data[offset : offset + length]
        if page.jpegtables:
            jpeg = page.jpegtables[:-2] + jpeg[2:]
        height, width, *_ = simplejpeg.decode_jpeg_header(jpeg)
        if height * width > rows * columns or jpeg.count(b"\xff\xda") > MAX_JPEG_SCANS:
            raise DamagedFileError(f"{name} is damaged: a JPEG in it is {width}x{height} pixels, or of too many scans")
        _strict_jpeg(jpeg, name, colorspace="GRAY")


def _scale_to_full_range(image: NDArray[Any], bits: int) -> NDArray[Any]:
    """Integers of 1 to 16 bits to the full range of 8 or 16 bits."""
    dtype = np.dtype(np.uint8 if bits < 8 else np.uint16)
    white, full = (1 << bits) - 1, (1 << 8 * dtype.itemsize) - 1
    return np.asarray(((image.astype(np.uint32) * full + white // 2) // white).astype(dtype))


def _rgb(image: NDArray[Any]) -> NDArray[Any]:
    """(H, W) or (H, W, C) to (H, W, 3): the first three channels, or the first one three times."""
    image = image[..., None] if image.ndim == 2 else image
    if image.shape[2] < 3:
        return np.repeat(image[..., :1], 3, axis=2)
    return np.ascontiguousarray(image[..., :3])


def orient(image: NDArray[Any], orientation: int) -> NDArray[Any]:
    """(H, W, ...) stored pixels to display orientation for EXIF orientation 1-8 (EXIF 2.32, tag 0x0112)."""
    if orientation in (5, 6, 7, 8):
        image = np.swapaxes(image, 0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:80] or type(error).__name__
