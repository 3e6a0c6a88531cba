"""Decoders: exact codes for valid files, errors for what they warn of, bounded memory for what inflates."""

import io
import logging
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from smarthdr_cli.burst.read import read_file, read_frame
from smarthdr_cli.errors import InputError
from smarthdr_cli.grouping.header import read_header
from smarthdr_cli.grouping.thumbnails import read_thumbnail

HEIGHT, WIDTH = 90, 133
NOISE = np.random.default_rng(7).integers(-9, 10, (HEIGHT, WIDTH, 3))
WAVES = cv2.resize(np.random.default_rng(5).integers(20, 236, (6, 9, 3), np.uint8), (WIDTH, HEIGHT))
PICTURE = np.asarray(np.clip(WAVES + NOISE, 0, 255), np.uint8)
COMPRESSIONS = (None, "lzw", "packbits", "zlib", "zstd", "lzma")
PREDICTED = ("lzw", "zlib", "zstd", "lzma")


def error_of(path: Path, reason: str = "") -> str:
    """The error of reading a file: one line with its path and the reason. Grouping finds no thumbnail in it."""
    with pytest.raises(InputError) as caught:
        read_frame(path)
    message = str(caught.value)
    assert message.startswith(f"{path} ")
    assert "\n" not in message
    assert reason in message
    assert read_thumbnail(read_header(path)) is None
    return message


def as_type(picture: NDArray[np.uint8], dtype: str) -> NDArray[Any]:
    if dtype[0] == "f":
        return np.asarray(picture / 256, dtype)
    return picture if dtype == "u1" else picture.astype(np.uint16) * 257


def strips(*segments: bytes) -> Iterator[bytes]:
    """Encoded segments in the form that tifffile takes."""
    yield from segments


def zero_segments(path: Path, share: float) -> None:
    """Set every strip or tile of a TIFF to zero from the given share of its bytes on."""
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        for offset, length in zip(page.dataoffsets, page.databytecounts, strict=True):
            start = offset + int(length * share)
            data[start : offset + length] = bytes(offset + length - start)
    path.write_bytes(data)


# JPEG


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_jpeg_codes_are_those_of_opencv(tmp_path: Path, subsampling: str, progressive: bool) -> None:
    for restart in (0, 3):
        options = {"subsampling": subsampling, "progressive": progressive, "restart_marker_blocks": restart}
        Image.fromarray(PICTURE).save(tmp_path / "a.jpg", quality=88, **options)
        expected = cv2.imread(str(tmp_path / "a.jpg"), cv2.IMREAD_COLOR_RGB)
        np.testing.assert_array_equal(read_frame(tmp_path / "a.jpg").codes, expected)


def test_a_grey_jpeg_has_three_equal_channels(tmp_path: Path) -> None:
    Image.fromarray(PICTURE[..., 0]).save(tmp_path / "a.jpg")
    expected = np.asarray(Image.open(tmp_path / "a.jpg"))
    np.testing.assert_array_equal(read_frame(tmp_path / "a.jpg").codes, np.repeat(expected[..., None], 3, 2))


def test_padding_bytes_in_a_scan_cause_a_note(jpeg: Callable[..., Path], capfd: pytest.CaptureFixture[str]) -> None:
    path = jpeg("a.jpg", PICTURE)
    whole, data = read_frame(path).codes, path.read_bytes()
    path.write_bytes(data[:-2] + bytes(64) + data[-2:])
    result = read_file(path)
    np.testing.assert_array_equal(result.frame.codes, whole)
    assert len(result.notes) == 1
    assert result.notes[0].startswith("a.jpg: its picture may be damaged in places")
    assert "extraneous bytes" in result.notes[0]
    assert read_thumbnail(read_header(path)) is not None
    assert capfd.readouterr().err == ""


def test_warnings_of_libjpeg_are_errors(jpeg: Callable[..., Path], capfd: pytest.CaptureFixture[str]) -> None:
    path = jpeg("a.jpg", PICTURE)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + data[len(data) // 2 + 200 :])
    error_of(path, "premature end of data segment")
    assert capfd.readouterr().err == ""


def test_a_jpeg_that_ends_early_after_a_harmless_warning_is_an_error(jpeg: Callable[..., Path]) -> None:
    """libjpeg reports its first warning only, here on the parameters of the scan, and fills the rest with grey."""
    path = jpeg("a.jpg", PICTURE)
    data = bytearray(path.read_bytes())
    scan = data.index(b"\xff\xda")
    data[scan + 12] = 62  # the last coefficient, 63 in every sequential JPEG
    path.write_bytes(data)
    assert "Invalid SOS parameters" in read_file(path).notes[0]
    path.write_bytes(data[: (scan + len(data)) // 2] + b"\xff\xd9")
    error_of(path, "cut short: the JPEG's data end before the picture does")


def test_only_the_damaged_jpegs_among_threads_are_errors(tmp_path: Path, jpeg: Callable[..., Path]) -> None:
    good = jpeg("good.jpg", PICTURE)
    expected, data = read_frame(good).codes, good.read_bytes()
    (tmp_path / "bad.jpg").write_bytes(data[: len(data) // 2] + data[len(data) // 2 + 200 :])

    def whole(number: int) -> bool:
        try:
            return bool(
                (read_frame(tmp_path / ("bad.jpg" if number % 10 == 7 else "good.jpg")).codes == expected).all()
            )
        except InputError:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(whole, range(100))) == [number % 10 != 7 for number in range(100)]


# PNG


def png(rows: bytes, *, extra: bytes = b"", trailing: bytes = b"", width: int = WIDTH, height: int = HEIGHT) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(rows) + trailing)
    return b"\x89PNG\r\n\x1a\n" + header + extra + pixels + chunk(b"IEND", b"")


ROWS = b"".join(b"\0" + row.tobytes() for row in PICTURE)


@pytest.mark.parametrize(
    "data",
    [
        png(ROWS[:-100]),
        png(b"\x09" + ROWS[1:]),
        png(ROWS + bytes(500)),
        png(ROWS, trailing=b"more" * 30),
    ],
    ids=["too few rows", "unknown filter", "too many rows", "bytes after the pixels"],
)
def test_warnings_of_libpng_are_errors_and_are_not_printed(
    tmp_path: Path, data: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(ROWS))
    np.testing.assert_array_equal(read_frame(path).codes, PICTURE)
    path.write_bytes(data)
    error_of(path)
    assert capfd.readouterr().err == ""


def test_warnings_of_other_threads_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(ROWS))

    def work(number: int) -> bool:
        if number % 2:
            logging.getLogger("imagecodecs").warning("PNG warning: of another file")
            return True
        return bool((read_frame(path).codes == PICTURE).all())

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(100)))


# TIFF: exact


@pytest.mark.parametrize("dtype", ["u1", "u2", "f2", "f4", "f8"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_tiff_of_every_compression_and_layout(tmp_path: Path, compression: str | None, dtype: str) -> None:
    image, path = as_type(PICTURE, dtype), tmp_path / "a.tif"
    expected = image if dtype[0] == "u" else image.astype(np.float32)
    predictors = [None, 3 if dtype[0] == "f" else 2] if compression in PREDICTED else [None]
    for predictor in predictors:
        for planar in ("contig", "separate"):
            for order, big, tile in ((">", False, None), ("<", True, (32, 48)), (">", True, (16, 16))):
                stored = np.ascontiguousarray(np.moveaxis(image, -1, 0)) if planar == "separate" else image
                options = {"predictor": predictor, "byteorder": order, "bigtiff": big, "tile": tile}
                rows = None if tile else 17
                tifffile.imwrite(path, stored, photometric="rgb", compression=compression, planarconfig=planar,
                                 rowsperstrip=rows, metadata=None, **options)  # fmt: skip
                codes = read_frame(path).codes
                assert codes.dtype == expected.dtype
                np.testing.assert_array_equal(codes, expected, err_msg=f"{planar} {options}")


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_tiff_alpha_is_dropped_and_white_is_zero_inverted(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "a.tif"
    alpha = np.dstack([PICTURE, PICTURE[..., :1] // 2])
    tifffile.imwrite(
        path, alpha, photometric="rgb", extrasamples=["unassalpha"], compression=compression, metadata=None
    )
    np.testing.assert_array_equal(read_frame(path).codes, PICTURE)
    for dtype, white in (("u1", 255), ("u2", 65535), ("f4", 1)):
        grey = as_type(PICTURE[..., 0], dtype)
        tifffile.imwrite(path, grey, photometric="miniswhite", compression=compression, metadata=None)
        np.testing.assert_array_equal(read_frame(path).codes, np.repeat((white - grey)[..., None], 3, 2))


@pytest.mark.parametrize("compression", [None, "lzw", "zlib"])
@pytest.mark.parametrize("bits", [4, 10, 12, 14])
def test_other_bit_depths_reach_white(tmp_path: Path, bits: int, compression: str | None) -> None:
    """Codes are scaled to the range of 8 or 16 bits, so that the highest code is white."""
    top, white = 2**bits - 1, 255 if bits < 8 else 65535
    grey = np.linspace(0, top, WIDTH * 40).round().astype(np.uint8 if bits < 8 else np.uint16).reshape(40, WIDTH)
    packed = bytes(imagecodecs.packints_encode(grey, bits, runlen=WIDTH))
    segment = {None: bytes, "lzw": imagecodecs.lzw_encode, "zlib": zlib.compress}[compression](packed)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, strips(segment), shape=grey.shape, dtype=grey.dtype, photometric="minisblack",
                     bitspersample=bits, rowsperstrip=40, metadata=None)  # fmt: skip
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages.first.tags["Compression"].overwrite({None: 1, "lzw": 5, "zlib": 8}[compression])
    codes = read_frame(path).codes
    np.testing.assert_array_equal(codes[..., 1], np.floor(grey * (white / top) + 0.5))
    assert (codes.min(), codes.max()) == (0, white)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "packbits", "group3", "group4", "tiff_ccitt"])
def test_bilevel_tiffs_and_fax(tmp_path: Path, compression: str) -> None:
    image = Image.fromarray(WAVES).convert("1", dither=Image.Dither.NONE)
    image.save(tmp_path / "a.tif", compression=compression)
    np.testing.assert_array_equal(read_frame(tmp_path / "a.tif").codes, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_palettes_become_rgb(tmp_path: Path, compression: str | None) -> None:
    colors = np.random.default_rng(0).integers(0, 256, (3, 256)).astype(np.uint16)
    index, path = PICTURE[..., 0], tmp_path / "a.tif"
    for table in (colors * 257, colors):
        tifffile.imwrite(path, index, photometric="palette", colormap=table, compression=compression, metadata=None)
        np.testing.assert_array_equal(read_frame(path).codes, np.moveaxis(colors[:, index], 0, -1))


@pytest.mark.parametrize("count", [0, 255, 257, 3 * 255, 832])
def test_a_palette_of_another_size_is_damage(tmp_path: Path, count: int) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(PICTURE).convert("P").save(path)
    data = bytearray(path.read_bytes())
    offset = data.index(struct.pack("<HHI", 0x0140, 3, 768)) + 4
    struct.pack_into("<I", data, offset, count)
    path.write_bytes(data)
    error_of(path, "damaged")


@pytest.mark.parametrize("tile", [None, (48, 64)])
def test_jpeg_in_a_tiff_equals_pillow(tmp_path: Path, tile: tuple[int, int] | None) -> None:
    path = tmp_path / "a.tif"
    if tile is None:
        Image.fromarray(PICTURE).save(path, compression="jpeg", quality=90)
    else:
        tifffile.imwrite(path, PICTURE, photometric="rgb", compression="jpeg", tile=tile, metadata=None)
    np.testing.assert_array_equal(read_frame(path).codes, np.asarray(Image.open(path).convert("RGB")))


# TIFF: damaged


@pytest.mark.parametrize("tile", [None, (32, 48)])
@pytest.mark.parametrize("compression", [*COMPRESSIONS[1:], "jpeg"])
def test_a_tiff_with_65_percent_of_its_bytes_zero_is_an_error(
    tmp_path: Path, compression: str, tile: tuple[int, int] | None, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.tif"
    rows = None if tile else 30 if compression != "jpeg" else 32
    tifffile.imwrite(path, PICTURE, photometric="rgb", compression=compression, tile=tile, rowsperstrip=rows,
                     metadata=None)  # fmt: skip
    assert read_frame(path).codes.shape == PICTURE.shape
    zero_segments(path, 0.35)
    error_of(path, "damaged or cut short")
    assert capfd.readouterr().err == ""


def test_a_strip_of_one_byte_too_few_is_an_error(tmp_path: Path) -> None:
    """Whatever its size in the file: a black picture compresses to a few bytes and is valid."""
    path, black = tmp_path / "a.tif", bytes(WIDTH * HEIGHT * 3)
    encoders: dict[str, Callable[[bytes], bytes]] = {
        "lzw": imagecodecs.lzw_encode,
        "zlib": zlib.compress,
        "zstd": imagecodecs.zstd_encode,
        "packbits": lambda data: imagecodecs.packbits_encode(np.frombuffer(data, np.uint8)),
    }
    for compression, encode in encoders.items():
        for missing in (0, 1):
            segment = strips(encode(black[: len(black) - missing]))
            tifffile.imwrite(path, segment, shape=(HEIGHT, WIDTH, 3), dtype="u1", photometric="rgb",
                             compression=compression, rowsperstrip=HEIGHT, metadata=None)  # fmt: skip
            if missing:
                error_of(path, "damaged or cut short")
            else:
                assert not read_frame(path).codes.any()


@pytest.mark.parametrize("tag", ["StripOffsets", "StripByteCounts"])
def test_a_missing_strip_is_an_error(tmp_path: Path, tag: str) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PICTURE, photometric="rgb", compression="lzw", rowsperstrip=30, metadata=None)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        field = tiff.pages.first.tags[tag]
        field.overwrite([field.value[0], 0, field.value[2]])
    error_of(path, "cut short")


@pytest.mark.parametrize("compression", ["jpeg2000", "webp", "png", "jpegxl"])
def test_unsupported_compressions_are_named(tmp_path: Path, compression: str) -> None:
    """JPEG 2000, for example, was once read as black."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PICTURE, photometric="rgb", compression=compression, metadata=None)
    error_of(path, "compression that is not read")


# Memory

MEASURE = """
import re, sys
from pathlib import Path
from smarthdr_cli.grouping.header import read_header
from smarthdr_cli.grouping.thumbnails import read_thumbnail
from smarthdr_cli.burst.read import read_frame
from smarthdr_cli.errors import InputError

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) >> 10

def attempt(path):
    try:
        read_frame(path)
    except InputError as error:
        return str(error)
    return "read"

attempt(Path(sys.argv[1]))  # loads the libraries
start = peak()
message = attempt(Path(sys.argv[2]))
try:
    read_thumbnail(read_header(Path(sys.argv[2])))
except InputError:
    pass
print(peak() - start, message)
"""


@pytest.fixture
def cost(tmp_path: Path) -> Callable[[Path], tuple[int, str]]:
    """``cost(path)``: MB that reading and grouping a file add to the peak of a new process, and its error or "read"."""
    if not Path("/proc/self/status").exists():
        pytest.skip("reads the peak memory from /proc")
    small = tmp_path / "small.tif"
    tifffile.imwrite(small, PICTURE, photometric="rgb", compression="lzw", metadata=None)

    def measure(path: Path) -> tuple[int, str]:
        command = [sys.executable, "-c", MEASURE, str(small), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)
        assert done.stderr == ""
        megabytes, message = done.stdout.strip().split(" ", 1)
        return int(megabytes), message

    return measure


def lzw_zeros(count: int) -> bytes:
    return bytes(imagecodecs.lzw_encode(bytes(count)))


BOMBS: dict[str, Callable[[], bytes]] = {
    "zlib": lambda: zlib.compress(bytes(400 << 20), 1),
    "zstd": lambda: bytes(imagecodecs.zstd_encode(bytes(400 << 20))),
    "lzw": lambda: lzw_zeros(100 << 20),
    "packbits": lambda: b"\x81\0" * (1 << 21),
}


@pytest.mark.parametrize("compression", BOMBS)
def test_a_strip_that_inflates_beyond_its_rows_takes_no_memory(
    tmp_path: Path, compression: str, cost: Callable[[Path], tuple[int, str]]
) -> None:
    """100x100 pixels by the header, 256 to 400 MB by the strip. Only LZW does not notice the rest."""
    path = tmp_path / "bomb.tif"
    tifffile.imwrite(path, strips(BOMBS[compression]()), shape=(100, 100, 3), dtype="u1", photometric="rgb",
                     compression=compression, rowsperstrip=100, metadata=None)  # fmt: skip
    megabytes, message = cost(path)
    assert megabytes < 40
    assert message == "read" if compression == "lzw" else message.startswith(f"{path} is damaged or cut short")


def test_160_kb_of_lzw_are_not_250_megapixels(tmp_path: Path, cost: Callable[[Path], tuple[int, str]]) -> None:
    path = tmp_path / "bomb.tif"
    tifffile.imwrite(path, strips(lzw_zeros(1 << 20) + bytes(160_000)), shape=(15_800, 15_800), dtype="u1",
                     photometric="minisblack", compression="lzw", rowsperstrip=15_800, metadata=None)  # fmt: skip
    megabytes, message = cost(path)
    assert megabytes < 40
    assert message.startswith(f"{path} is damaged or cut short")


def test_the_tiles_of_a_small_picture_are_bounded(tmp_path: Path, cost: Callable[[Path], tuple[int, str]]) -> None:
    path = tmp_path / "bomb.tif"
    tifffile.imwrite(path, strips(zlib.compress(bytes(1 << 20))), shape=(100, 100), dtype="u1",
                     photometric="minisblack", compression="zlib", tile=(32_768, 32_768), metadata=None)  # fmt: skip
    megabytes, message = cost(path)
    assert megabytes < 40
    assert "tiles of 32768x32768 pixels" in message


def test_a_jpeg_in_a_tiff_is_no_larger_than_its_strip(tmp_path: Path, cost: Callable[[Path], tuple[int, str]]) -> None:
    large = io.BytesIO()
    Image.fromarray(np.zeros((6000, 8000, 3), np.uint8)).save(large, "JPEG")
    path = tmp_path / "bomb.tif"
    tifffile.imwrite(path, strips(large.getvalue()), shape=(100, 100, 3), dtype="u1", photometric="ycbcr",
                     compression="jpeg", rowsperstrip=100, metadata=None)  # fmt: skip
    megabytes, message = cost(path)
    assert megabytes < 40
    assert "8000x6000" in message


def test_many_channels_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((10, 10, 9), np.float32), photometric="rgb", planarconfig="contig", metadata=None)
    error_of(path, "9 channels of float32")


def test_a_profile_that_inflates_takes_no_memory(tmp_path: Path, cost: Callable[[Path], tuple[int, str]]) -> None:
    body = b"name\0\0" + zlib.compress(bytes(400 << 20), 1)
    chunk = struct.pack(">I", len(body)) + b"iCCP" + body + struct.pack(">I", zlib.crc32(b"iCCP" + body))
    path = tmp_path / "a.png"
    path.write_bytes(png(ROWS, extra=chunk))
    megabytes, message = cost(path)
    assert megabytes < 40
    assert message == "read"
