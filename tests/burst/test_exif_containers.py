"""EXIF tags and dimensions of JPEG, PNG, TIFF and RAW files by their headers."""

import contextlib
import io
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from smarthdr_cli.burst.exif import interpret_tags
from smarthdr_cli.burst.exif_containers import exif_of_block, exif_of_file
from smarthdr_cli.burst.makernotes import MakerBracketing, read_bracketing
from smarthdr_cli.burst.read import read_file, read_frame
from smarthdr_cli.errors import InputError
from tests.support.camera_files import Camera, Shoot, fujifilm, sigma
from tests.support.files import exif_block, tags_of, tiff_structure
from tests.support.raw_files import SIGMA_PROPERTIES, cr3, crw, mrw, raf, x3f

GREY = np.full((48, 64, 3), 90, np.uint8)
EIGHTH_OF_A_SECOND = [(0x829A, 5, (1, 8))]
IMAGE_WIDTH, IMAGE_LENGTH = 0x0100, 0x0101


def saved(format_: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(GREY).save(stream, format_, **options)
    return stream.getvalue()


@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
def test_jpeg_and_png(format_: str) -> None:
    tags = tags_of(saved(format_, exif=b"Exif\0\0" + exif_block(ExposureTime=(1, 8))))
    assert (tags.kind, interpret_tags(tags).time, tags.size) == (format_.lower(), 0.125, (64, 48))


def test_tiff() -> None:
    stream = io.BytesIO()
    tifffile.imwrite(stream, GREY)
    tags = tags_of(stream.getvalue())
    assert (tags.kind, tags.size, interpret_tags(tags).time) == ("tiff", (64, 48), None)


def test_tiff_based_raw(tmp_path: Path, dng: Callable[..., Path]) -> None:
    """A TIFF structure with the suffix of a RAW, and a DNG by its tags."""
    tags = tags_of(tiff_structure("<", [], EIGHTH_OF_A_SECOND), "a.ARW")
    assert (tags.kind, interpret_tags(tags).time, tags.size) == ("raw", 0.125, None)
    tags = tags_of(dng("a.dng", np.full((32, 48), 900)).read_bytes(), "a.tif")
    assert (tags.kind, interpret_tags(tags).capture.model) == ("raw", "Camera")


def test_raf(tmp_path: Path) -> None:
    tags = tags_of(raf(Shoot(tmp_path).take(1, note=fujifilm(2)).read_bytes()))
    assert (tags.kind, interpret_tags(tags).time) == ("raw", 0.02)
    assert read_bracketing(tags.directories, "FUJIFILM", tags.maker_note).shot == 2


def test_cr3() -> None:
    ifd0 = tiff_structure("<", [(0x0110, 2, b"R5\0")], [])
    exif = tiff_structure("<", [(0x829A, 5, (1, 50))], [])
    maker_note = tiff_structure("<", [(0x0093, 8, (12, 0, 0, 1, -64, 2))], [])
    tags = tags_of(cr3(ifd0, exif, maker_note))
    assert (tags.kind, interpret_tags(tags).capture.model, interpret_tags(tags).time) == ("raw", "R5", 0.02)
    bracketing = read_bracketing(tags.directories, "Canon", tags.maker_note)
    assert bracketing == MakerBracketing("Canon", 2, None, True, -2.0)


def test_mrw() -> None:
    block = exif_block(">", ExposureTime=(1, 5), FNumber=(28, 10), ISOSpeedRatings=64, Model="A2")
    tags = tags_of(mrw(block))
    exif = interpret_tags(tags)
    assert (tags.kind, tags.size, exif.capture.model) == ("raw", (3264, 2448), "A2")
    assert (exif.time, exif.aperture, exif.iso) == (0.2, 2.8, 64)


def test_x3f_takes_the_exif_of_its_jpeg_first(tmp_path: Path) -> None:
    jpeg = Shoot(tmp_path, Camera(make="SIGMA")).take(1, note=sigma("1 of 3")).read_bytes()
    tags = tags_of(x3f(SIGMA_PROPERTIES, jpeg))
    assert (tags.kind, tags.size, interpret_tags(tags).time) == ("raw", (2268, 1512), 0.02)
    assert read_bracketing(tags.directories, "SIGMA", tags.maker_note) == MakerBracketing("Sigma", 1, 3, True)


@pytest.mark.parametrize("data", [crw(), x3f(SIGMA_PROPERTIES)], ids=["crw", "x3f"])
def test_crw_and_x3f(data: bytes) -> None:
    tags = tags_of(data)
    assert tags.kind == "raw"
    assert interpret_tags(tags) == exif_of_file(data, "a.raw")
    assert interpret_tags(tags).time is not None


@pytest.mark.parametrize(("value_type", "width"), [(9, -4), (4, 0), (12, 0.5)], ids=["negative", "zero", "below 1"])
def test_an_invalid_size_is_unknown(value_type: int, width: float) -> None:
    data = tiff_structure("<", [(IMAGE_WIDTH, value_type, width), (IMAGE_LENGTH, 3, 64)], [])
    assert tags_of(data).size is None


def test_fill_bytes_before_a_jpeg_marker_are_skipped(tmp_path: Path) -> None:
    """Any number of 0xFF may precede a marker (ITU-T T.81, B.1.1.2)."""
    path = Shoot(tmp_path).take()
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff" * 1000 + data[2:])
    tags, frame = tags_of(path.read_bytes()), read_frame(path)
    assert tags.size == frame.size[::-1]
    assert interpret_tags(tags).time == frame.exposure.time == 0.01


@pytest.mark.parametrize("side", ["width", "height"])
@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
def test_a_side_of_zero_pixels_is_an_error(format_: str, side: str) -> None:
    data = bytearray(saved(format_))
    if format_ == "JPEG":
        struct.pack_into(">H", data, data.index(b"\xff\xc0") + (7 if side == "width" else 5), 0)
    else:
        struct.pack_into(">I", data, 16 if side == "width" else 20, 0)
    with pytest.raises(InputError, match="picture size"):
        tags_of(bytes(data))


def test_exif_after_the_first_scan_is_ignored(tmp_path: Path) -> None:
    """An APP1 segment between the scans of a progressive JPEG, for the header and for the decoded frame."""
    data, segment = saved("JPEG", progressive=True), b"Exif\0\0" + tiff_structure("<", [], EIGHTH_OF_A_SECOND)
    last_scan = data.rindex(b"\xff\xda")
    path = tmp_path / "a.jpg"
    app1 = b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment
    path.write_bytes(data[:last_scan] + app1 + data[last_scan:])
    assert interpret_tags(tags_of(path.read_bytes())).time is None
    assert read_frame(path).exposure.time is None


@pytest.mark.parametrize("in_sub_ifd", [False, True], ids=["IFD0", "SubIFD"])
@pytest.mark.parametrize(("tag", "value"), [(259, 65535), (259, 34713), (262, 32803), (262, 34892)])
def test_camera_compressions_and_photometrics_are_raw(tmp_path: Path, in_sub_ifd: bool, tag: int, value: int) -> None:
    pytest.importorskip("rawpy")
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        if in_sub_ifd:
            file.write(np.zeros((8, 8), np.uint8), photometric="minisblack", subifds=1, metadata=None)
        file.write(np.zeros((32, 48), np.uint16), photometric="minisblack", metadata=None)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        first = tiff.pages.first
        (first.pages[0] if in_sub_ifd else first).tags[tag].overwrite(value)
    assert tags_of(path.read_bytes(), path.name).kind == read_file(path).frame.kind == "raw"


def test_exif_of_a_block_includes_the_block() -> None:
    exif = exif_of_block(exif_block(ExposureTime=(1, 8), Orientation=6))
    assert (exif.time, exif.orientation, exif.damaged) == (0.125, 6, False)
    assert exif.capture.exif is not None
    assert exif_of_block(exif.capture.exif.removeprefix(b"Exif\0\0")).orientation == 1


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xd8\xff", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"II*\0\xff\xff\xff\x7f", b"x" * 99],
    ids=repr,
)
def test_other_content_is_an_error_with_the_name(data: bytes) -> None:
    with pytest.raises(InputError, match=r"^a\.jpg [^\n]+$"):
        tags_of(data)
    assert exif_of_file(data, "a.jpg").time is None


@pytest.mark.parametrize(
    "data", [b"\0MRM" + bytes(4) + b"\0PRD\xff\xff\xff\xff" + bytes(100), b"\0MRM" + bytes(9000)], ids=["long", "zeros"]
)
def test_damaged_mrw_blocks_are_absent(data: bytes) -> None:
    tags = tags_of(data)
    assert (tags.kind, interpret_tags(tags).time) == ("raw", None)


JPEG = b"\xff\xd8\xff\xe1\0\x30Exif\0\0" + tiff_structure("<", [], EIGHTH_OF_A_SECOND)
RAW_FILES = (
    crw(shot=2),
    crw(exposure_record=False),
    mrw(tiff_structure(">", [], EIGHTH_OF_A_SECOND)),
    x3f(SIGMA_PROPERTIES),
    x3f(SIGMA_PROPERTIES, JPEG),
)


@given(
    data=st.sampled_from(RAW_FILES),
    edits=st.lists(st.tuples(st.integers(0, 4000), st.sampled_from((0, 1, 2, 16, 127, 128, 254, 255))), max_size=12),
    length=st.none() | st.integers(1, 4000),
)
def test_edited_raw_files_give_plausible_exif_or_an_input_error(
    data: bytes, edits: Sequence[tuple[int, int]], length: int | None
) -> None:
    edited = bytearray(data)
    for position, value in edits:
        edited[position % len(edited)] = value
    with contextlib.suppress(InputError):
        exif = exif_of_file(bytes(edited[:length]), "a.crw")
        assert abs(exif.exposure().ev) < 200
        assert exif.orientation in range(1, 9)


@given(st.sampled_from([b"II\x1a\0\0\0HEAPCCDR", b"\0MRM", b"FOVb"]), st.binary(max_size=400))
def test_random_bytes_after_a_raw_signature(signature: bytes, data: bytes) -> None:
    assert abs(exif_of_file(signature + data, "a.raw").exposure().ev) < 200
