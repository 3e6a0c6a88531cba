import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageOps

from smarthdr_cli.burst.read import read_file, read_frame
from smarthdr_cli.errors import InputError
from smarthdr_cli.grouping.header import read_header
from smarthdr_cli.grouping.thumbnails import read_thumbnail

PICTURE = np.random.default_rng(1).integers(0, 256, (6, 9, 3), np.uint8)
LARGE = cv2.resize(PICTURE, (144, 96), interpolation=cv2.INTER_LINEAR)


def one_line(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_frame(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


def test_jpeg_equals_pillow(jpeg: Callable[..., Path]) -> None:
    path = jpeg("a.jpg", LARGE)
    frame = read_frame(path)
    np.testing.assert_array_equal(frame.codes, np.asarray(Image.open(path)))
    assert (frame.kind, frame.white, frame.encoding, frame.codes.dtype) == ("jpeg", 255, "display", np.uint8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_a_jpeg(orientation: int, jpeg: Callable[..., Path], exif: Callable[..., bytes]) -> None:
    path = jpeg("a.jpg", LARGE, exif(Orientation=orientation))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    np.testing.assert_array_equal(read_frame(path).codes, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_orientation_of_a_tiff(orientation: int, compression: str | None, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(PICTURE).save(path, "TIFF", compression=compression, tiffinfo={274: orientation})
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    np.testing.assert_array_equal(read_frame(path).codes, expected)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f2", "f4", "f8"])
def test_tiff_types(dtype: str, compression: str | None, planar: str, byteorder: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    values = PICTURE.astype(np.float64) / 256 if dtype[0] == "f" else PICTURE.astype(np.uint16) * 257
    image = (values if dtype != "u1" else PICTURE).astype(dtype)
    stored = np.moveaxis(image, -1, 0) if planar == "separate" else image
    tifffile.imwrite(
        path,
        stored,
        photometric="rgb",
        planarconfig=planar,
        compression=compression,
        byteorder=byteorder,
        metadata=None,
    )
    frame = read_frame(path)
    np.testing.assert_array_equal(frame.codes, image.astype(np.float32) if dtype[0] == "f" else image)
    assert frame.codes.dtype == {"u1": np.uint8, "u2": np.uint16}.get(dtype, np.float32)
    assert frame.white == {"u1": 255, "u2": 65535}.get(dtype, 1)
    assert frame.encoding == ("linear" if dtype[0] == "f" else "display")


def test_tiff_grey_alpha_and_inverted_grey(tmp_path: Path) -> None:
    grey = PICTURE[..., 0].astype(np.uint16) * 200
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, grey, photometric="minisblack", metadata=None)
    np.testing.assert_array_equal(read_frame(path).codes, np.repeat(grey[..., None], 3, 2))
    tifffile.imwrite(path, grey, photometric="miniswhite", metadata=None)
    np.testing.assert_array_equal(read_frame(path).codes, np.repeat(65535 - grey[..., None], 3, 2))
    with_alpha = np.dstack([PICTURE, PICTURE[..., :1]])
    tifffile.imwrite(path, with_alpha, photometric="rgb", extrasamples=["unassalpha"], metadata=None)
    np.testing.assert_array_equal(read_frame(path).codes, PICTURE)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_png_modes_become_rgb(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    image = Image.fromarray(PICTURE).convert(mode)
    if mode == "RGBA":
        image.putalpha(7)
    image.save(path, "PNG")
    np.testing.assert_array_equal(read_frame(path).codes, np.asarray(image.convert("RGB")))


def test_png_keeps_16_bits(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    wide = np.random.default_rng(2).integers(0, 65536, (5, 7, 3), np.uint16)
    cv2.imwrite(str(path), wide[..., ::-1])
    frame = read_frame(path)
    np.testing.assert_array_equal(frame.codes, wide)
    assert (frame.codes.dtype, frame.white) == (np.uint16, 65535)


def test_content_decides_not_the_name(jpeg: Callable[..., Path], tmp_path: Path) -> None:
    path = jpeg("a.tif", LARGE)
    assert read_frame(path).kind == "jpeg"
    Image.fromarray(PICTURE).save(tmp_path / "a.jpg", "PNG")
    assert read_frame(tmp_path / "a.jpg").kind == "png"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"just text, no picture\n" * 40, "not a picture"),
        (b"GIF89a" + bytes(50), "is a GIF"),
        (b"\0\0\0\x18ftypheic" + bytes(50), "HEIF"),
        (b"RIFF\0\0\0\0WEBPVP8 " + bytes(50), "WebP"),
        (b"\xff\xd8\xff", "cut short"),
        (b"\xff\xd8\xff\xd9", "no picture"),
        (b"\x89PNG\r\n\x1a\n", "cut short"),
        (b"II*\0", "TIFF"),
        (b"II*\0\x08\0\0\0\0\0", "0x0 pixels"),
        (b"FUJIFILMCCD-RAW" + bytes(500), "RAW"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_content(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    assert said in one_line(path)


def test_missing_and_folder(tmp_path: Path) -> None:
    assert "does not exist" in one_line(tmp_path / "none.jpg")
    (tmp_path / "folder.jpg").mkdir()
    assert "is a folder" in one_line(tmp_path / "folder.jpg")
    one_line(tmp_path / ("x" * 300))


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.9, 0.999])
def test_truncated_jpeg(share: float, progressive: bool, jpeg: Callable[..., Path]) -> None:
    path = jpeg("a.jpg", LARGE, progressive=progressive)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert "cut short" in one_line(path)


def test_jpeg_padded_with_zeros_as_a_broken_download_is(jpeg: Callable[..., Path]) -> None:
    path = jpeg("a.jpg", LARGE)
    data = path.read_bytes()
    half = len(data) // 2
    path.write_bytes(data[:half] + bytes(len(data) - half))
    one_line(path)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.95])
def test_jpeg_closed_early_is_not_accepted_with_grey(share: float, jpeg: Callable[..., Path]) -> None:
    path = jpeg("a.jpg", LARGE)
    data = path.read_bytes()
    scan = data.index(b"\xff\xda") + 14
    path.write_bytes(data[: scan + int((len(data) - scan) * share)] + b"\xff\xd9")
    assert "cut short" in one_line(path)
    assert read_thumbnail(read_header(path)) is None


def test_a_picture_that_is_grey_in_its_corner_is_whole(jpeg: Callable[..., Path]) -> None:
    image = LARGE.copy()
    image[-48:, -64:] = 128
    assert (read_frame(jpeg("a.jpg", image)).codes[-16:, -16:] == 128).all()
    assert (read_frame(jpeg("b.jpg", np.full((40, 40, 3), 128, np.uint8))).codes == 128).all()


def test_bytes_after_the_end_of_a_jpeg_are_allowed(jpeg: Callable[..., Path]) -> None:
    path = jpeg("a.jpg", LARGE)
    whole = read_frame(path).codes
    path.write_bytes(path.read_bytes() + b"motion video of a phone \xff\xd8\xff\xe1" * 10)
    np.testing.assert_array_equal(read_frame(path).codes, whole)


@pytest.mark.parametrize("share", [0.3, 0.9, 0.99])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_truncated_png_and_tiff(suffix: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(LARGE).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    one_line(path)


def test_a_flipped_bit_in_a_png_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(LARGE).save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    assert "checksum" in one_line(path)


def png_header(width: int, height: int) -> bytes:
    body = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    chunks = [(b"IHDR", body), (b"IDAT", pixels), (b"IEND", b"")]
    out = b"\x89PNG\r\n\x1a\n"
    for kind, content in chunks:
        out += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return out


def jpeg_header(width: int, height: int, whole: bytes) -> bytes:
    at = whole.index(b"\xff\xc0") + 5
    return whole[:at] + struct.pack(">HH", height, width) + whole[at + 4 :]


@pytest.mark.parametrize(
    ("width", "height", "said"),
    [(60000, 60000, "at most 250 megapixels"), (15000, 15000, "cannot hold")],
)
@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff"])
def test_a_huge_header_costs_no_memory(
    kind: str, width: int, height: int, said: str, jpeg: Callable[..., Path], tmp_path: Path
) -> None:
    path = jpeg("a.jpg", LARGE)
    if kind == "png":
        path.write_bytes(png_header(width, height))
    elif kind == "jpeg":
        path.write_bytes(jpeg_header(width, height, path.read_bytes()))
    else:
        file = io.BytesIO()
        tifffile.imwrite(file, PICTURE, photometric="rgb", compression="zlib", metadata=None)
        data = bytearray(file.getvalue())
        with tifffile.TiffFile(io.BytesIO(bytes(data))) as tiff:
            tags = tiff.pages.first.tags
            for tag, value in ((256, width), (257, height)):
                struct.pack_into("<H", data, tags[tag].valueoffset, value)
        path.write_bytes(data)
        said = said.replace("cannot hold", "cut short")
    tracemalloc.start()
    message = one_line(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert said in message
    assert peak < 20_000_000


def test_cmyk_and_12_bit_jpegs_are_refused_by_name(jpeg: Callable[..., Path], tmp_path: Path) -> None:
    path = tmp_path / "print.jpg"
    Image.fromarray(LARGE).convert("CMYK").save(path, "JPEG")
    assert "CMYK" in one_line(path)
    data = bytearray(jpeg("twelve.jpg", LARGE).read_bytes())
    data[data.index(b"\xff\xc0") + 4] = 12
    path.write_bytes(data)
    assert "12-bit" in one_line(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_float_tiff_with_undefined_values(value: float, tmp_path: Path) -> None:
    image = np.full((4, 5, 3), 0.5, np.float32)
    image[1, 2, 0] = value
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb")
    assert "infinite or undefined" in one_line(tmp_path / "a.tif")


def test_float_above_one_is_said_aloud(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.full((4, 5, 3), 1.5, np.float32), photometric="rgb")
    assert "above 1" in read_file(tmp_path / "a.tif").notes[0]


def test_integer_types_beyond_16_bits_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.ones((4, 5, 3), np.uint32), photometric="rgb")
    assert "uint32" in one_line(tmp_path / "a.tif")


def test_damaged_exif_does_not_cost_the_picture(jpeg: Callable[..., Path]) -> None:
    path = jpeg("a.jpg", LARGE, b"II*\0\xff\xff\xff\xff")
    reading = read_file(path)
    assert reading.frame.size == (96, 144)
    assert reading.frame.exposure.source == "none"
    assert "EXIF is damaged" in reading.notes[0]


def test_exposure_and_record_of_tiff_and_png(exif: Callable[..., bytes], tmp_path: Path) -> None:
    block = exif(ExposureTime=(1, 40), FNumber=(4, 1), ISOSpeedRatings=200, Model="EOS", Orientation=6)
    Image.fromarray(PICTURE).save(tmp_path / "a.png", exif=b"Exif\0\0" + block)
    extra = Image.Exif()
    extra[0x0110] = "EOS"
    extra.get_ifd(0x8769)[0x829A] = 1 / 40
    Image.fromarray(PICTURE).save(tmp_path / "a.tif", exif=extra.tobytes())
    for name, size in (("a.png", (9, 6)), ("a.tif", (6, 9))):
        frame = read_frame(tmp_path / name)
        assert frame.exposure.time == pytest.approx(1 / 40)
        assert frame.capture.model == "EOS"
        assert frame.size == size
        assert frame.capture.exif is not None
        again = Image.Exif()
        again.load(frame.capture.exif)
        assert again[0x0110] == "EOS"
        assert again.get(0x0112, 1) == 1
        assert again.get_ifd(0x8769)[0x829A] == pytest.approx(1 / 40)


def test_the_same_bytes_have_the_same_digest(jpeg: Callable[..., Path]) -> None:
    first, second = jpeg("a.jpg", LARGE), jpeg("b.jpg", LARGE)
    assert read_frame(first).sha256 == read_frame(second).sha256


def test_pixels_are_contiguous_after_a_turn(jpeg: Callable[..., Path], exif: Callable[..., bytes]) -> None:
    codes: NDArray[Any] = read_frame(jpeg("a.jpg", LARGE, exif(Orientation=6))).codes
    assert codes.flags.c_contiguous


def test_compressed_16_bit_tiff_keeps_its_values(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (40, 50, 3), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "lzw.tif"), pixels[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 5])
    np.testing.assert_array_equal(read_frame(tmp_path / "lzw.tif").codes, pixels)
