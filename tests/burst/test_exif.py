"""EXIF tags to exposure, orientation and capture metadata."""

import doctest
import math
import struct
from typing import Any

import pytest
from PIL import Image

from smarthdr_cli.burst import exif as exif_module
from smarthdr_cli.burst.exif import (
    ExifMetadata,
    TagValues,
    interpret_tags,
    parse_utc_offset,
    read_exif_block,
    reset_orientation,
    with_exif_block,
)
from smarthdr_cli.burst.exif_containers import exif_of_block
from tests.support.files import exif_block, tiff_structure

pytestmark = pytest.mark.unit


def test_exposure_value_from_the_definition() -> None:
    exif = exif_of_block(exif_block(ExposureTime=(1, 250), FNumber=(28, 5), ISOSpeedRatings=400))
    assert (exif.time, exif.aperture, exif.iso) == (1 / 250, 5.6, 400)
    assert exif.exposure().ev == pytest.approx(math.log2(1 / 250 * 4 / 5.6**2))
    assert exif.exposure().source == "exif"


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders(order: str) -> None:
    assert exif_of_block(exif_block(order, ExposureTime=(1, 8), Orientation=6)).time == 1 / 8


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"ShutterSpeedValue": (8, 1)}, (1 / 256, None, None)),
        ({"ShutterSpeedValue": (-3, 1)}, (8.0, None, None)),
        ({"ExposureTime": (1, 0), "ShutterSpeedValue": (5, 1)}, (1 / 32, None, None)),
        ({"ExposureTime": (0, 1)}, (None, None, None)),
        ({"ApertureValue": (6, 1)}, (None, 8.0, None)),
        ({"FNumber": (0, 1), "ApertureValue": (0, 1)}, (None, None, None)),
        ({"FNumber": (0, 0)}, (None, None, None)),
        ({"RecommendedExposureIndex": 640}, (None, None, 640)),
        ({"StandardOutputSensitivity": 320}, (None, None, 320)),
        ({"ISOSpeed": 200}, (None, None, 200)),
        ({"ISOSpeedRatings": 65535, "RecommendedExposureIndex": 102400}, (None, None, 102400)),
        ({"ISOSpeedRatings": 65535, "StandardOutputSensitivity": 204800}, (None, None, 204800)),
        ({"ISOSpeedRatings": 65535}, (None, None, 65535)),
        ({"ISOSpeedRatings": 0, "ISOSpeed": 125}, (None, None, 125)),
    ],
    ids=str,
)
def test_substitutes_of_absent_tags(tags: dict[str, Any], expected: tuple[float | None, ...]) -> None:
    exif = exif_of_block(exif_block(**tags))
    assert (exif.time, exif.aperture, exif.iso) == expected


def test_without_a_time_there_is_no_exposure() -> None:
    assert exif_of_block(exif_block(FNumber=(8, 1), ISOSpeedRatings=100)).exposure().source == "none"


def test_capture_metadata() -> None:
    capture = exif_of_block(
        exif_block(
            Make="Canon",
            Model="EOS R5",
            LensModel="RF24-70",
            Artist="Ada",
            DateTime="2026:01:01 00:00:00",
            DateTimeOriginal="2025:06:07 08:09:10",
            OffsetTimeOriginal="-03:30",
            FocalLength=(35, 1),
        )
    ).capture
    assert (capture.make, capture.model, capture.lens, capture.owner) == ("Canon", "EOS R5", "RF24-70", "Ada")
    assert capture.datetime == "2025:06:07 08:09:10"
    assert capture.utc_offset == -(3 * 3600 + 30 * 60)
    assert capture.focal_length == 35


@pytest.mark.parametrize("value_type", [1, 2, 7], ids=["BYTE", "ASCII", "UNDEFINED"])
def test_text_of_every_value_type(value_type: int) -> None:
    block = tiff_structure("<", [(0x010F, value_type, "Leica é\0".encode())], [])
    assert exif_of_block(block).capture.make == "Leica é"


@pytest.mark.parametrize("order", ["<", ">"])
def test_resetting_the_orientation_changes_no_other_byte(order: str) -> None:
    block = exif_block(order, Orientation=8, Make="Maker", ExposureTime=(1, 50), FNumber=(4, 1))
    result = reset_orientation(block)
    assert result is not None
    pillow = Image.Exif()
    pillow.load(result)
    assert pillow[0x0112] == 1
    assert pillow[0x010F] == "Maker"
    assert pillow.get_ifd(0x8769)[0x829A] == 1 / 50
    assert len(result) == len(block) + 6
    assert sum(a != b for a, b in zip(result[6:], block, strict=True)) == 1


def test_resetting_the_orientation_unlinks_the_thumbnail() -> None:
    block = bytearray(exif_block(Orientation=1))
    count = struct.unpack_from("<H", block, 8)[0]
    struct.pack_into("<I", block, 10 + 12 * count, 8)
    result = reset_orientation(bytes(block))
    assert result is not None
    assert struct.unpack_from("<I", result, 6 + 10 + 12 * count) == (0,)


@pytest.mark.parametrize("block", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"nonsense" * 9, bytes(64)])
def test_damaged_blocks_raise_nothing(block: bytes) -> None:
    exif = exif_of_block(block)
    assert exif.damaged
    assert exif.time is None
    assert reset_orientation(block) is None


@pytest.mark.parametrize(
    ("tags", "time"), [({0x829A: 1e-8}, None), ({0x829A: 1e-7}, 1e-7), ({0x829A: 1e6}, 1e6), ({0x829A: 2e6}, None)]
)
def test_exposure_times_out_of_range_are_unknown(tags: dict[int, float], time: float | None) -> None:
    assert interpret_tags(TagValues(tags)).time == time


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("+02:00", 7200), ("-0330", -12600), ("+00:00", 0), ("Z", None), ("", None), (None, None), ("2:00", None)],
)
def test_utc_offsets(text: str | None, seconds: float | None) -> None:
    assert parse_utc_offset(text) == seconds


def test_a_new_block_holds_what_was_interpreted() -> None:
    exif = exif_of_block(exif_block(ExposureTime=(1, 50), FNumber=(28, 10), ISOSpeedRatings=200, Make="Maker"))
    block = with_exif_block(ExifMetadata(exif.time, exif.aperture, exif.iso, capture=exif.capture)).capture.exif
    assert block is not None
    again = exif_of_block(block.removeprefix(b"Exif\0\0"))
    assert (again.time, again.aperture, again.iso, again.capture.make) == (1 / 50, 2.8, 200, "Maker")


def test_a_chain_of_ifds_ends_at_the_limit_of_exifread() -> None:
    """65,535 entries that all state a text as long as the block."""
    entry = struct.pack("<HHII", 0x010E, 2, 1 << 20, 8)
    block = b"II*\0\x08\0\0\0" + struct.pack("<H", 65535) + entry * 65535
    assert read_exif_block(block) is None


def test_docstring_examples() -> None:
    assert doctest.testmod(exif_module) == (0, 1)
