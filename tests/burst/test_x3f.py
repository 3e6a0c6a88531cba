"""Sigma X3F files, written byte by byte."""

import io

import pytest

from smarthdr_cli.burst.exif import interpret_tags
from smarthdr_cli.burst.makernotes import MakerBracketing, read_bracketing
from smarthdr_cli.burst.tiff_ifd import BoundedReader
from smarthdr_cli.burst.x3f import X3fMetadata, read_x3f
from tests.support.raw_files import SIGMA_PROPERTIES, x3f

pytestmark = pytest.mark.unit
EXPOSURE_BIAS, EXPOSURE_MODE, SERIAL_NUMBER = 0x9204, 0xA402, 0xA431


def read(data: bytes) -> X3fMetadata:
    return read_x3f(BoundedReader(io.BytesIO(data)))


@pytest.mark.parametrize("version", [0x20002, 0x40000], ids=hex)
def test_header_and_properties(version: int) -> None:
    metadata = read(x3f(SIGMA_PROPERTIES, rotation=90, version=version))
    exif = interpret_tags(metadata.values)
    assert (metadata.size, exif.orientation, metadata.jpeg_offset) == ((2268, 1512), 6, None)
    assert (exif.time, exif.aperture, exif.iso, exif.capture.focal_length) == (0.01, 8, 100, 30)
    assert (metadata.values.number(EXPOSURE_BIAS), metadata.values.number(EXPOSURE_MODE)) == (-0.5, 1)
    assert (exif.capture.make, exif.capture.model, exif.capture.datetime) == (
        "SIGMA",
        "SIGMA SD10",
        "2026:05:06 12:00:00",
    )
    assert metadata.values.text(SERIAL_NUMBER) == "01234"
    assert read_bracketing((), "SIGMA", metadata.maker_note) == MakerBracketing("Sigma", 2, 3, True)


def test_offset_of_the_embedded_jpeg() -> None:
    data = x3f(SIGMA_PROPERTIES, b"\xff\xd8\xff\xe1")
    assert read(data).jpeg_offset == data.index(b"\xff\xd8\xff\xe1")


@pytest.mark.parametrize(
    "data",
    [
        x3f(SIGMA_PROPERTIES)[:-4] + b"\xff" * 4,
        x3f({f"N{n}": "v" * 900 for n in range(3000)}),
        x3f({"SHUTTER": "nan", "APERTURE": "inf", "ISO": "1e999", "TIME": "-5", "BRACKET": "9 of 3"}),
    ],
    ids=["no directory", "too many properties", "undefined numbers"],
)
def test_damaged_properties_are_absent(data: bytes) -> None:
    metadata = read(data)
    exif = interpret_tags(metadata.values)
    assert (exif.time, exif.aperture, exif.iso, exif.capture.datetime) == (None, None, None, None)
    assert read_bracketing((), "SIGMA", metadata.maker_note).shot is None
