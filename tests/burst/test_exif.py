import math
import struct
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from smarthdr_cli.burst.exif import reset_orientation
from smarthdr_cli.burst.exif_containers import exif_of_block

Exif = Callable[..., bytes]


def test_exposure_value_from_the_definition(exif: Exif) -> None:
    stated = exif_of_block(exif(ExposureTime=(1, 250), FNumber=(28, 5), ISOSpeedRatings=400))
    assert (stated.time, stated.aperture, stated.iso) == (1 / 250, 5.6, 400)
    assert stated.exposure().ev == pytest.approx(math.log2(1 / 250 * 4 / 5.6**2))
    assert stated.exposure().source == "exif"


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders(exif: Exif, order: str) -> None:
    assert exif_of_block(exif(order, ExposureTime=(1, 8), Orientation=6)).time == 1 / 8


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
def test_fallbacks(exif: Exif, tags: dict[str, Any], expected: tuple[float | None, ...]) -> None:
    stated = exif_of_block(exif(**tags))
    assert (stated.time, stated.aperture, stated.iso) == expected


def test_without_a_time_there_is_no_exposure(exif: Exif) -> None:
    assert exif_of_block(exif(FNumber=(8, 1), ISOSpeedRatings=100)).exposure().source == "none"


def test_capture_record(exif: Exif) -> None:
    capture = exif_of_block(
        exif(
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


@pytest.mark.parametrize("order", ["<", ">"])
def test_upright_resets_the_orientation_and_nothing_else(exif: Exif, order: str) -> None:
    block = exif(order, Orientation=8, Make="Maker", ExposureTime=(1, 50), FNumber=(4, 1))
    result = reset_orientation(block)
    assert result is not None
    read = Image.Exif()  # Pillow is the second reader
    read.load(result)
    assert read[0x0112] == 1
    assert read[0x010F] == "Maker"
    assert read.get_ifd(0x8769)[0x829A] == 1 / 50
    assert len(result) == len(block) + 6
    assert sum(a != b for a, b in zip(result[6:], block, strict=True)) == 1


def test_upright_unlinks_the_thumbnail(exif: Exif) -> None:
    block = bytearray(exif(Orientation=1))
    count = struct.unpack_from("<H", block, 8)[0]
    struct.pack_into("<I", block, 10 + 12 * count, 8)
    result = reset_orientation(bytes(block))
    assert result is not None
    assert struct.unpack_from("<I", result, 6 + 10 + 12 * count) == (0,)


@pytest.mark.parametrize("block", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"nonsense" * 9, bytes(64)])
def test_damage_is_reported_not_raised(block: bytes) -> None:
    stated = exif_of_block(block)
    assert stated.damaged
    assert stated.time is None
    assert reset_orientation(block) is None
