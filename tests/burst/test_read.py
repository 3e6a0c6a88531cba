"""Files to frames: exact codes, orientation, metadata, and one line of error for damaged files."""

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
from tests.support.files import exif_block

PICTURE = np.random.default_rng(1).integers(0, 256, (6, 9, 3), np.uint8)
LARGE = cv2.resize(PICTURE, (144, 96), interpolation=cv2.INTER_LINEAR)


def error_of(path: Path) -> str:
    """The error of reading a file: one line with its name."""
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
def test_orientation_of_a_jpeg(orientation: int, jpeg: Callable[..., Path]) -> None:
    path = jpeg("a.jpg", LARGE, exif_block(Orientation=orientation))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    np.testing.assert_array_equal(read_frame(path).codes, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_orientation_of_a_tiff(orientation: int, compression: str | None, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(PICTURE).save(path, "TIFF", compression=compression, tiffinfo={274: orientation})
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    np.testing.assert_array_equal(read_frame(path).codes, expected)


@pytest.mark.parametrize(
    ("dtype", "white", "encoding"),
    [(np.uint8, 255, "display"), (np.uint16, 65535, "display"), (np.float16, 1, "linear"), (np.float32, 1, "linear")],
)
def test_white_and_encoding_of_a_tiff(dtype: Any, white: float, encoding: str, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 5, 3), dtype), photometric="rgb")
    frame = read_frame(tmp_path / "a.tif")
    assert (frame.white, frame.encoding, frame.kind) == (white, encoding, "tiff")


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


def test_the_content_decides_the_format(jpeg: Callable[..., Path], tmp_path: Path) -> None:
    path = jpeg("a.tif", LARGE)
    assert read_frame(path).kind == "jpeg"
    Image.fromarray(PICTURE).save(tmp_path / "a.jpg", "PNG")
    assert read_frame(tmp_path / "a.jpg").kind == "png"


def test_missing_files_and_folders(tmp_path: Path) -> None:
    assert "does not exist" in error_of(tmp_path / "none.jpg")
    (tmp_path / "folder.jpg").mkdir()
    assert "is a folder" in error_of(tmp_path / "folder.jpg")
    error_of(tmp_path / ("x" * 300))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"just text, no picture\n" * 40, "not a picture"),
        (b"II*\0", "TIFF"),
        (b"II*\0\x08\0\0\0\0\0", "0x0 pixels"),
        (b"FUJIFILMCCD-RAW" + bytes(500), "RAW"),
    ],
    ids=["empty", "text", "TIFF header", "TIFF of no tags", "RAF header"],
)
def test_files_without_a_picture(data: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(data)
    assert reason in error_of(tmp_path / "photo.jpg")


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.9, 0.999])
def test_truncated_jpeg(share: float, progressive: bool, jpeg: Callable[..., Path]) -> None:
    path = jpeg("a.jpg", LARGE, progressive=progressive)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert "cut short" in error_of(path)


def test_a_jpeg_padded_with_zeros_like_a_broken_download(jpeg: Callable[..., Path]) -> None:
    path = jpeg("a.jpg", LARGE)
    data = path.read_bytes()
    half = len(data) // 2
    path.write_bytes(data[:half] + bytes(len(data) - half))
    error_of(path)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.95])
def test_a_jpeg_that_ends_early_is_an_error(share: float, jpeg: Callable[..., Path]) -> None:
    path = jpeg("a.jpg", LARGE)
    data = path.read_bytes()
    scan = data.index(b"\xff\xda") + 14
    path.write_bytes(data[: scan + int((len(data) - scan) * share)] + b"\xff\xd9")
    assert "cut short" in error_of(path)
    assert read_thumbnail(read_header(path)) is None


def test_a_jpeg_with_a_grey_corner_is_complete(jpeg: Callable[..., Path]) -> None:
    image = LARGE.copy()
    image[-48:, -64:] = 128
    assert (read_frame(jpeg("a.jpg", image)).codes[-16:, -16:] == 128).all()
    assert (read_frame(jpeg("b.jpg", np.full((40, 40, 3), 128, np.uint8))).codes == 128).all()


def test_bytes_after_the_end_of_a_jpeg_are_allowed(jpeg: Callable[..., Path]) -> None:
    path = jpeg("a.jpg", LARGE)
    codes = read_frame(path).codes
    path.write_bytes(path.read_bytes() + b"motion video of a phone \xff\xd8\xff\xe1" * 10)
    np.testing.assert_array_equal(read_frame(path).codes, codes)


@pytest.mark.parametrize("share", [0.3, 0.9, 0.99])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_truncated_png_and_tiff(suffix: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(LARGE).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    error_of(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_float_tiff_with_undefined_values(value: float, tmp_path: Path) -> None:
    image = np.full((4, 5, 3), 0.5, np.float32)
    image[1, 2, 0] = value
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb")
    assert "infinite or undefined" in error_of(tmp_path / "a.tif")


def test_float_values_above_1_cause_a_note(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.full((4, 5, 3), 1.5, np.float32), photometric="rgb")
    assert "above 1" in read_file(tmp_path / "a.tif").notes[0]


def test_integers_of_more_than_16_bits_are_an_error(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.ones((4, 5, 3), np.uint32), photometric="rgb")
    assert "uint32" in error_of(tmp_path / "a.tif")


def test_damaged_exif_is_ignored_with_a_note(jpeg: Callable[..., Path]) -> None:
    path = jpeg("a.jpg", LARGE, b"II*\0\xff\xff\xff\xff")
    result = read_file(path)
    assert result.frame.size == (96, 144)
    assert result.frame.exposure.source == "none"
    assert "EXIF is damaged" in result.notes[0]


def test_exposure_and_metadata_of_tiff_and_png(tmp_path: Path) -> None:
    block = exif_block(ExposureTime=(1, 40), FNumber=(4, 1), ISOSpeedRatings=200, Model="EOS", Orientation=6)
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


def test_equal_files_have_equal_digests(jpeg: Callable[..., Path]) -> None:
    first, second = jpeg("a.jpg", LARGE), jpeg("b.jpg", LARGE)
    assert read_frame(first).sha256 == read_frame(second).sha256


def test_rotated_codes_are_contiguous(jpeg: Callable[..., Path]) -> None:
    codes: NDArray[Any] = read_frame(jpeg("a.jpg", LARGE, exif_block(Orientation=6))).codes
    assert codes.flags.c_contiguous
