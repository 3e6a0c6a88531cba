"""Canon CRW files, written byte by byte."""

import io
import struct

import pytest

from smarthdr_cli.burst.ciff import read_ciff
from smarthdr_cli.burst.exif import TagValues, interpret_tags
from smarthdr_cli.burst.makernotes import MakerBracketing, read_bracketing
from smarthdr_cli.burst.tiff_ifd import BoundedReader
from tests.support.raw_files import crw

pytestmark = pytest.mark.unit
EXPOSURE_BIAS, EXPOSURE_MODE, SERIAL_NUMBER = 0x9204, 0xA402, 0xA431


def read(data: bytes) -> tuple[TagValues, tuple[int, int] | None, MakerBracketing]:
    tags, size, maker_note = read_ciff(BoundedReader(io.BytesIO(data)))
    return tags, size, read_bracketing((), "Canon", maker_note)


@pytest.mark.parametrize("exposure_record", [True, False], ids=["exposure record", "shot record"])
def test_exposure_and_camera(exposure_record: bool) -> None:
    tags, size, bracketing = read(crw(exposure_record=exposure_record))
    exif = interpret_tags(tags)
    assert (exif.time, exif.aperture, exif.iso) == (1 / 64, pytest.approx(2**2.5), 100)
    assert (size, exif.orientation, exif.adobe_rgb, exif.capture.focal_length) == ((3072, 2048), 1, True, 24)
    assert (tags.number(EXPOSURE_BIAS), tags.number(EXPOSURE_MODE)) == (1, 1)
    assert (exif.capture.make, exif.capture.model, exif.capture.owner) == ("Canon", "Canon EOS TEST", "Ada")
    assert (exif.capture.datetime, tags.text(SERIAL_NUMBER)) == ("2026:05:06 12:00:00", "1234")
    assert bracketing == MakerBracketing("Canon", bracket=False)


def test_bracketing_and_orientation() -> None:
    tags, size, bracketing = read(crw(shot=2, bracket_value=-32, rotation=270))
    assert bracketing == MakerBracketing("Canon", 2, None, True, -1.0)
    assert (interpret_tags(tags).orientation, size) == (8, (3072, 2048))


def crw_with_cycle(entry_count: int) -> bytes:
    """A CRW of blocks that contain themselves."""
    table = struct.pack("<H", entry_count) + entry_count * struct.pack("<HII", 0x300A, 0xFFFF, 0)
    return b"II" + struct.pack("<I", 26) + b"HEAPCCDR" + bytes(12) + table + bytes(4)


@pytest.mark.parametrize("data", [crw_with_cycle(500), crw()[:-4] + b"\xff" * 4], ids=["cycle", "table beyond the end"])
def test_damaged_blocks_are_absent(data: bytes) -> None:
    tags, size, bracketing = read(data)
    assert (interpret_tags(tags).time, size, bracketing.shot) == (None, None, None)
