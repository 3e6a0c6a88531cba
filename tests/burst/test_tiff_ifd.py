"""The bounded IFD reader against exifread, and its limits on damaged files."""

import io
import struct
import tracemalloc
from typing import Any

import exifread
import pytest

from smarthdr_cli.burst.tiff_ifd import BoundedReader, Ifd, read_first_ifd
from tests.support.files import EXIF_TAGS, exif_block, tiff_structure

pytestmark = pytest.mark.unit
EXIF_IFD, IMAGE_LENGTH = 0x8769, 0x0101


def ifd0_of(data: bytes) -> Ifd:
    ifd0 = read_first_ifd(BoundedReader(io.BytesIO(data)))
    assert ifd0 is not None
    return ifd0


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "tags",
    [
        {"ExposureTime": (1, 250), "FNumber": (28, 5), "ISOSpeedRatings": 400, "Make": "Canon", "Model": "EOS R5"},
        {"ShutterSpeedValue": (-3, 1), "ApertureValue": (6, 1), "RecommendedExposureIndex": 640},
        {"ISOSpeedRatings": 65535, "RecommendedExposureIndex": 102400, "ExposureTime": (1, 0)},
        {"ISOSpeed": 204800, "FNumber": (0, 0), "ExposureTime": (0, 1)},
        {"LensModel": "RF24-70", "FocalLength": (35, 1), "Orientation": 6},
        {"DateTimeOriginal": "2026:05:06 07:08:09", "OffsetTimeOriginal": "-03:30", "DateTime": "2027:01:01 00:00:00"},
    ],
    ids=str,
)
def test_values_equal_those_of_exifread(order: str, tags: dict[str, Any]) -> None:
    """A rational with denominator 0 is undefined."""
    block = exif_block(order, **tags)
    expected = {tag.tag: tag.values for tag in exifread.process_file(io.BytesIO(block), details=False).values()}
    ifd0 = ifd0_of(block)
    exif = ifd0.sub_ifd(EXIF_IFD) or ifd0
    for directory, tag in (EXIF_TAGS[name] for name in tags):
        ifd = exif if directory else ifd0
        if isinstance(expected[tag], str):
            assert ifd.text(tag) == expected[tag]
            continue
        (value,) = expected[tag]
        is_undefined = isinstance(value, exifread.utils.Ratio) and value.den == 0
        assert ifd.number(tag) == (None if is_undefined else pytest.approx(float(value)))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("value_type", "value"),
    [
        (1, 200),
        (3, 60_000),
        (4, 4_000_000_000),
        (6, -3),
        (8, -300),
        (9, -70_000),
        (11, 0.5),
        (12, 1e-300),
        (13, 70_000),
    ],
)
def test_every_numeric_value_type(order: str, value_type: int, value: float) -> None:
    ifd0 = ifd0_of(tiff_structure(order, [(0x9999, value_type, (value, value))], []))
    assert ifd0.numbers(0x9999) == (value, value)


def test_the_first_of_entries_with_one_tag_counts() -> None:
    data = bytearray(tiff_structure("<", [(IMAGE_LENGTH, 4, 48), (0x9999, 4, 7)], []))
    struct.pack_into("<H", data, data.index(struct.pack("<HHII", 0x9999, 4, 1, 7)), IMAGE_LENGTH)
    assert ifd0_of(bytes(data)).number(IMAGE_LENGTH) == 48


def test_an_undefined_value_ends_a_list() -> None:
    data = tiff_structure("<", [(0xC65A, 12, (1.0, 2.0, float("nan"), 4.0))], [])
    assert ifd0_of(data).numbers(0xC65A) == (1.0, 2.0)


def test_text_is_printable_and_short() -> None:
    ifd0 = ifd0_of(exif_block(Make="A\x07B\x1b[31m", Model="m" * 900))
    assert ifd0.text(0x010F) == "AB[31m"
    assert len(ifd0.text(0x0110) or "") == 500


def test_big_tiff_is_not_read() -> None:
    assert read_first_ifd(BoundedReader(io.BytesIO(b"II\x2b\0\x08\0\0\0" + bytes(40)))) is None


@pytest.mark.parametrize("order", ["<", ">"])
def test_damaged_counts_and_offsets_take_no_memory(order: str) -> None:
    """An IFD that is its own Exif IFD, 4 billion values, offsets beyond the end."""
    entries = [struct.pack(order + "HHII", EXIF_IFD, 4, 1, 8)]
    entries += [struct.pack(order + "HHII", tag, 2, 0xFFFFFFFF, 8) for tag in (0x010F, 0x0110)]
    entries += [struct.pack(order + "HHII", 0x829A, 12, 0xFFFFFFFF, 0x7FFFFFF0)]
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(entries))
    ifd0 = ifd0_of(header + b"".join(entries) + bytes(4))
    tracemalloc.start()
    assert ifd0.number(0x829A) is None
    assert len(ifd0.text(0x010F) or "") < 500
    assert ifd0.sub_ifd(EXIF_IFD) == ifd0
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("count", [1024, 1025])
def test_an_ifd_of_too_many_entries_is_empty(count: int) -> None:
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, tag) for tag in range(count))
    ifd0 = ifd0_of(b"II*\0\x08\0\0\0" + struct.pack("<H", count) + entries + bytes(4))
    assert len(ifd0.entries) == (count if count == 1024 else 0)


def test_a_file_gives_no_more_bytes_than_the_limit() -> None:
    reader = BoundedReader(io.BytesIO(bytes(9 << 20)), max_bytes=1 << 20)
    counts = [len(reader.read(offset, 1 << 19)) for offset in range(1 << 17, 8 << 20, 1 << 19)]
    assert sum(counts) == (1 << 20) - len(reader.head)
