"""Format, dimensions and completeness of files before they are decoded."""

import doctest
import io
import re
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from smarthdr_cli.burst import scan
from smarthdr_cli.burst.scan import (
    TEXT_CHUNK_KEYWORD,
    check_size,
    conversion,
    exif_of_text_chunk,
    scan_jpeg,
    scan_png,
    sniff,
)
from smarthdr_cli.errors import InputError
from tests.support.files import exif_block, png_chunk, with_png_chunk

pytestmark = pytest.mark.unit
IMAGE = Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 56, 3), np.uint8))
BLOCK = exif_block(ExposureTime=(1, 8))


def saved(format_: str, image: Image.Image = IMAGE, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format_, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\xff\xd8\xff\xe0", "jpeg"),
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"II*\0\x08\0\0\0", "tiff"),
        (b"MM\0+\0\x08\0\0", "tiff"),  # BigTIFF
        (b"II*\0\x10\0\0\0CR\x02\0", "raw"),
        (b"FUJIFILMCCD-RAW ", "raw"),
        (b"IIRO\x08\0\0\0", "raw"),
        (b"II\x1a\0\0\0HEAPCCDR", "raw"),
        (b"\0\0\0\x18ftypcrx \0\0\0\x01", "raw"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "heif"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0", "heif"),
    ],
    ids=str,
)
def test_kinds_by_content(data: bytes, kind: str) -> None:
    assert sniff(data, "a") == kind


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"just text, no picture", "is not a picture"),
        (b"GIF89a" + bytes(50), "is a GIF"),
        (b"\0\0\0\x18ftypisom" + bytes(50), "is a video"),
        (b"\0\0\0\x18ftypavif" + bytes(50), "is an AVIF"),
        (b"RIFF\0\0\0\0WEBPVP8 " + bytes(50), "is a WebP"),
        (b"\x76\x2f\x31\x01" + bytes(50), "is an OpenEXR file"),
    ],
    ids=str,
)
def test_other_content_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=f"^photo.jpg {reason}") as caught:
        sniff(data, "photo.jpg")
    assert re.search(r"magick photo\.jpg photo\.png|leave it out", str(caught.value))


def test_the_conversion_of_a_file_can_be_typed() -> None:
    assert conversion("/my photos/a.tif", "-depth 16 ").endswith(
        "magick '/my photos/a.tif' -depth 16 '/my photos/a.png'"
    )
    assert doctest.testmod(scan).failed == 0


def test_the_limit_of_pixels_is_inclusive() -> None:
    check_size(100, 50, "a.jpg", 5000)
    with pytest.raises(InputError, match=r"a\.jpg is 100x51 pixels; at most 5000 pixels are read; --max-pixels raises"):
        check_size(100, 51, "a.jpg", 5000)
    with pytest.raises(InputError, match="at most 250 megapixels"):
        check_size(60_000, 60_000, "a.jpg")
    for width, height in ((0, 5), (5, 0)):
        with pytest.raises(InputError, match=f"{width}x{height} pixels"):
            check_size(width, height, "a.jpg")


@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
def test_dimensions_and_metadata_blocks(format_: str) -> None:
    profile = bytes(140)
    data = saved(format_, exif=b"Exif\0\0" + BLOCK, icc_profile=profile)
    header = (scan_jpeg if format_ == "JPEG" else scan_png)(data, "a")
    assert (header.width, header.height, header.exif, header.icc) == (56, 40, BLOCK, profile)


def test_end_of_a_sequential_jpeg() -> None:
    data = saved("JPEG")
    assert scan_jpeg(data + b"video of a phone", "a").scan_end == len(data) - 2
    assert scan_jpeg(saved("JPEG", progressive=True), "a").scan_end == 0


@pytest.mark.parametrize("quality", [60, 95])
def test_the_rounding_error_is_that_of_the_quantisation_tables(quality):
    data = saved("JPEG", quality=quality)
    with Image.open(io.BytesIO(data)) as image:
        luma, chroma = (np.square(table, dtype=float).mean() / 12 for table in image.quantization.values())
    assert scan_jpeg(data, "a").rounding_error == pytest.approx((luma, chroma))
    assert scan_png(saved("PNG"), "a").rounding_error == (0, 0)


def test_the_first_exif_of_a_png_counts_and_a_chunk_precedes_text() -> None:
    text = TEXT_CHUNK_KEYWORD + b"\0\nexif\n 4\n" + b"4578696600004d4d".hex().encode()
    data = with_png_chunk(with_png_chunk(saved("PNG", exif=b"Exif\0\0" + BLOCK), b"eXIf", b"first"), b"tEXt", text)
    assert scan_png(data, "a").exif == b"first"


@pytest.mark.parametrize(
    ("kind", "body", "primaries"),
    [
        (b"sRGB", b"\0", "rec709"),
        (b"cICP", b"\x01\x0d\0\x01", "rec709"),
        (b"cICP", b"\x09\x10\0\x01", "rec2020"),
        (b"cICP", b"\x0c\x0d\0\x01", "display-p3"),
        (b"cHRM", struct.pack(">8I", *range(0, 800_000, 100_000)), (0, 1, 2, 3, 4, 5, 6, 7)),
    ],
    ids=str,
)
def test_primaries_of_a_png(kind: bytes, body: bytes, primaries: object) -> None:
    assert scan_png(with_png_chunk(saved("PNG"), kind, body), "a").primaries == primaries


def test_pixel_chunks_of_a_png_are_a_png_without_metadata() -> None:
    data = saved("PNG", exif=b"Exif\0\0" + BLOCK, dpi=(72, 72))
    assert scan_png(data, "a").pixel_chunks == saved("PNG")


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
def test_files_cut_short(format_: str, share: float) -> None:
    data = saved(format_)
    with pytest.raises(InputError, match="cut short"):
        (scan_jpeg if format_ == "JPEG" else scan_png)(data[: int(len(data) * share)], "a")


def test_a_jpeg_without_a_frame_holds_no_picture() -> None:
    with pytest.raises(InputError, match="no picture"):
        scan_jpeg(b"\xff\xd8\xff\xd9", "a")


def test_a_flipped_bit_breaks_the_checksum_of_a_png_chunk() -> None:
    data = bytearray(saved("PNG"))
    data[len(data) // 2] ^= 4
    with pytest.raises(InputError, match="checksum of its PNG chunk 'IDAT'"):
        scan_png(bytes(data), "a")


def test_dimensions_that_the_bytes_cannot_hold() -> None:
    jpeg = saved("JPEG")
    sof = jpeg.index(b"\xff\xc0") + 5
    with pytest.raises(InputError, match="bytes cannot hold 15000x14000 pixels"):
        scan_jpeg(jpeg[:sof] + struct.pack(">HH", 14_000, 15_000) + jpeg[sof + 4 :], "a")
    ihdr = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 15_000, 14_000, 8, 2, 0, 0, 0))
    idat = png_chunk(b"IDAT", zlib.compress(bytes(1000)))
    with pytest.raises(InputError, match="bytes cannot hold 15000x14000 pixels"):
        scan_png(b"\x89PNG\r\n\x1a\n" + ihdr + idat + png_chunk(b"IEND", b""), "a")


def test_unsupported_jpegs_are_named() -> None:
    with pytest.raises(InputError, match="CMYK"):
        scan_jpeg(saved("JPEG", IMAGE.convert("CMYK")), "a")
    data = bytearray(saved("JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(InputError, match="12-bit"):
        scan_jpeg(bytes(data), "a")


def test_a_jpeg_of_too_many_scans_is_damaged() -> None:
    data = saved("JPEG")
    scan_start, end = data.index(b"\xff\xda"), len(data) - 2
    assert scan_jpeg(data[:end] + 99 * data[scan_start:end] + data[end:], "a").width == 56
    with pytest.raises(InputError, match="more than 100 scans"):
        scan_jpeg(data[:end] + 100 * data[scan_start:end] + data[end:], "a")


@given(st.sampled_from([b"tEXt", b"zTXt"]), st.binary(max_size=200), st.booleans())
def test_any_text_with_the_keyword_is_a_block_of_bounded_size(kind: bytes, body: bytes, compressed: bool) -> None:
    text = b"\0" + zlib.compress(b"\nexif\n9\n" + body.hex().encode()) if compressed else body
    block = exif_of_text_chunk(kind, TEXT_CHUNK_KEYWORD + b"\0" + text)
    assert block is not None
    assert len(block) <= len(text) + 230


def test_other_text_chunks_hold_no_exif() -> None:
    assert exif_of_text_chunk(b"tEXt", b"Comment\0exif") is None
