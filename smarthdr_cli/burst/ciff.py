"""CIFF (Camera Image File Format), the structure of Canon's CRW files: nested blocks of records instead of TIFF's IFDs.

A block ends with the offset of its table; the table is a count and entries of 10 bytes: tag, size, and offset from
the start of the block. The top two bits of a tag state whether the value lies in the entry itself, the next three are
its type; two of the types are blocks. Sources: P. Harvey's description of the format; for the meaning of the values
ExifTool's CanonRaw and Canon tag tables.
"""

import struct
from datetime import UTC, datetime

from PIL.ExifTags import Base as Tag

from smarthdr_cli.burst.exif import ORIENTATION_BY_ROTATION, TagValues
from smarthdr_cli.burst.makernotes import CAMERA_SETTINGS, FILE_INFO, FOCAL_LENGTH, SHOT_INFO, canon_ev, canon_record
from smarthdr_cli.burst.tiff_ifd import BoundedReader, Ifd, IfdEntry, printable_text, read_byte_order

_MAX_BLOCKS, _MAX_ENTRIES = 32, 512  # blocks of one file, entries of one block
_MAX_TEXT_BYTES = 256
# Records that Canon's maker note stores as well: CIFF tag to tag of the maker note.
_MAKER_NOTE_TAGS = {0x102A: SHOT_INFO, 0x1093: FILE_INFO, 0x102D: CAMERA_SETTINGS, 0x1029: FOCAL_LENGTH}
_IMAGE_INFO, _EXPOSURE_INFO, _TIMESTAMP, _COLOR_SPACE = 0x1810, 0x1818, 0x180E, 0x10B4
_MAKE_AND_MODEL, _OWNER, _SERIAL_NUMBER = 0x080A, 0x0810, 0x180B
_EXPOSURE_MODE_MANUAL = 4  # value 20 of the camera settings
_IN_ENTRY, _BLOCK_TYPES = 0x4000, (0x2800, 0x3000)  # bits of a tag


def read_ciff(reader: BoundedReader) -> tuple[TagValues, tuple[int, int] | None, Ifd]:
    """EXIF tags of a CRW, (width, height) as stored, and its records in the form of Canon's maker note."""
    order = read_byte_order(reader, 0) or "<"
    records = _read_records(reader, order)
    shorts = {tag: record for tag, record in records.items() if tag in _MAKER_NOTE_TAGS}
    entries = {_MAKER_NOTE_TAGS[tag]: IfdEntry(3, size // 2, offset) for tag, (offset, size) in shorts.items()}
    maker_note = Ifd(reader, order, 0, entries)

    def unpack(tag: int, code: str) -> tuple[float, ...]:
        offset, size = records.get(tag, (0, 0))
        expected = struct.calcsize(order + code)
        data = reader.read(offset, min(size, expected))
        return struct.unpack(order + code, data) if len(data) == expected else ()

    def texts(tag: int) -> list[bytes]:
        offset, size = records.get(tag, (0, 0))
        return reader.read(offset, min(size, _MAX_TEXT_BYTES)).split(b"\0")

    image_info = unpack(_IMAGE_INFO, "IIfi")  # width, height, pixel aspect, rotation
    timestamp = unpack(_TIMESTAMP, "I")
    numbers: dict[int, float] = {}
    if image_info and int(image_info[3]) % 360 in ORIENTATION_BY_ROTATION:
        numbers[Tag.Orientation] = ORIENTATION_BY_ROTATION[int(image_info[3]) % 360]
    shot_info, settings = canon_record(maker_note, SHOT_INFO), canon_record(maker_note, CAMERA_SETTINGS)
    focal_length = maker_note.numbers(FOCAL_LENGTH)
    if len(shot_info) > 6:
        numbers |= {
            Tag.ApertureValue: shot_info[4] / 32,
            Tag.ShutterSpeedValue: shot_info[5] / 32,
            Tag.ExposureBiasValue: canon_ev(shot_info[6]),
            # gain times base sensitivity, in 1/32 EV
            Tag.ISOSpeedRatings: 100 / 32 * 2.0 ** (max(min(shot_info[1] + shot_info[2], 1000), 0) / 32),
        }
    exposure_tags = (Tag.ExposureBiasValue, Tag.ShutterSpeedValue, Tag.ApertureValue)
    numbers |= zip(exposure_tags, unpack(_EXPOSURE_INFO, "3f"), strict=False)  # more precise than the shot info
    if len(settings) > 20:
        numbers[Tag.ExposureMode] = settings[20] == _EXPOSURE_MODE_MANUAL
    if len(focal_length) > 1:
        numbers[Tag.FocalLength] = focal_length[1] / (32 if focal_length[0] == 2 else 1)  # of a zoom in 1/32 mm
    numbers |= zip((Tag.ColorSpace,), unpack(_COLOR_SPACE, "H"), strict=False)
    make, *model = texts(_MAKE_AND_MODEL)
    text_bytes: dict[int, bytes] = {
        Tag.Make: make,
        Tag.Model: b"".join(model[:1]),
        Tag.CameraOwnerName: texts(_OWNER)[0],
        Tag.BodySerialNumber: b"".join(b"%d" % serial for serial in unpack(_SERIAL_NUMBER, "I")),
    }
    if timestamp:
        text_bytes[Tag.DateTimeOriginal] = f"{datetime.fromtimestamp(timestamp[0], UTC):%Y:%m:%d %H:%M:%S}".encode()
    printable = {tag: text for tag, data in text_bytes.items() if (text := printable_text(data))}
    size = (int(image_info[0]), int(image_info[1])) if image_info and image_info[0] and image_info[1] else None
    return TagValues(numbers, printable), size, maker_note


def _read_records(reader: BoundedReader, order: str) -> dict[int, tuple[int, int]]:
    """(offset in the file, size) of each value, by the low 14 bits of its tag; of records with one tag the first."""
    records: dict[int, tuple[int, int]] = {}
    blocks = [(reader.integer(order + "I", 2), reader.size)]
    for _ in range(_MAX_BLOCKS):
        if not blocks:
            break
        start, stop = blocks.pop(0)
        table = start + reader.integer(order + "I", stop - 4)
        if not start <= table < stop:
            continue
        entry_count = min(reader.integer(order + "H", table), _MAX_ENTRIES)
        data = reader.read(table + 2, 10 * entry_count)
        for position in range(0, len(data) - 9, 10):
            tag, size, value_offset = struct.unpack_from(order + "HII", data, position)
            offset = start + value_offset
            if tag & 0xC000 == _IN_ENTRY:
                offset, size = table + 2 + position + 2, 8
            elif tag & 0xC000 or offset + size > stop:
                continue
            if tag & 0x3800 in _BLOCK_TYPES:
                blocks.append((offset, offset + size))
            else:
                records.setdefault(tag & 0x3FFF, (offset, size))
    return records
