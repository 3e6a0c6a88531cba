"""CRW: Canon's Camera Image File Format, a heap of nested directories instead of TIFF's.

A block ends with the offset of its table; a table is a count and entries of 10 bytes: tag, size, and offset from the
beginning of the block. The tag's top bits say whether the value stands in the entry itself, the next three are its
type; two of the types are blocks. After P. Harvey's description of the format, and ExifTool's CanonRaw and Canon tag
tables for what the numbers mean.
"""

import struct
from datetime import UTC, datetime

from smarthdr_cli.burst.exif import Values
from smarthdr_cli.burst.makernotes import canon_ev, canon_record
from smarthdr_cli.burst.tiff_ifd import Directory, Field, Source, byte_order, printable

_BLOCKS, _ENTRIES = 32, 512  # blocks read of one file, entries of a block
_TURNED = {0: 1, 90: 6, 180: 3, 270: 8}  # degrees to EXIF's orientation
_SHORTS = {0x102A: 0x0004, 0x1093: 0x0093, 0x102D: 0x0001, 0x1029: 0x0002}  # the same records in Canon's maker note
_MANUAL = 4  # of the camera settings' exposure mode
_INSIDE, _BLOCK = 0x4000, (0x2800, 0x3000)


def read_ciff(source: Source) -> tuple[Values, tuple[int, int] | None, Directory]:
    """EXIF's tags, (width, height) as stored, and the records that Canon's maker note holds as well."""
    order = byte_order(source, 0) or "<"
    records = _records(source, order)
    fields = {_SHORTS[tag]: Field(3, size // 2, at) for tag, (at, size) in records.items() if tag in _SHORTS}
    note = Directory(source, order, 0, fields)

    def unpacked(tag: int, form: str) -> tuple[float, ...]:
        at, size = records.get(tag, (0, 0))
        needed = struct.calcsize(order + form)
        data = source.read(at, min(size, needed))
        return struct.unpack(order + form, data) if len(data) == needed else ()

    def texts(tag: int) -> list[bytes]:
        at, size = records.get(tag, (0, 0))
        return source.read(at, min(size, 256)).split(b"\0")

    numbers: dict[int, float] = {}
    image, exposure, moment = unpacked(0x1810, "IIfi"), unpacked(0x1818, "3f"), unpacked(0x180E, "I")
    if image and int(image[3]) % 360 in _TURNED:
        numbers[0x0112] = _TURNED[int(image[3]) % 360]
    shot, settings, lens = canon_record(note, 0x0004), canon_record(note, 0x0001), note.numbers(0x0002)
    if len(shot) > 6:  # APEX aperture and time as asked for, and the bias
        numbers |= {0x9202: shot[4] / 32, 0x9201: shot[5] / 32, 0x9204: canon_ev(shot[6])}
        numbers[0x8827] = 100 / 32 * 2.0 ** (max(min(shot[1] + shot[2], 1000), 0) / 32)  # gain times base sensitivity
    numbers |= zip((0x9204, 0x9201, 0x9202), exposure, strict=False)  # the same as they were
    if len(settings) > 20:
        numbers[0xA402] = settings[20] == _MANUAL
    if len(lens) > 1:
        numbers[0x920A] = lens[1] / (32 if lens[0] == 2 else 1)  # a zoom counts in 1/32 mm
    numbers |= zip((0xA001,), unpacked(0x10B4, "H"), strict=False)
    named = {0x010F: texts(0x080A)[0], 0x0110: b"".join(texts(0x080A)[1:2]), 0xA430: texts(0x0810)[0]}
    if moment:
        named[0x9003] = f"{datetime.fromtimestamp(moment[0], UTC):%Y:%m:%d %H:%M:%S}".encode()
    named[0xA431] = b"".join(b"%d" % serial for serial in unpacked(0x180B, "I"))
    size = (int(image[0]), int(image[1])) if image and image[0] and image[1] else None
    return Values(numbers, {tag: text for tag, data in named.items() if (text := printable(data))}), size, note


def _records(source: Source, order: str) -> dict[int, tuple[int, int]]:
    """(offset in the file, size) of each value by the 14 bits of its tag; of several the first."""
    found: dict[int, tuple[int, int]] = {}
    blocks = [(source.number(order + "I", 2), source.size)]
    for _ in range(_BLOCKS):
        if not blocks:
            break
        start, stop = blocks.pop(0)
        table = start + source.number(order + "I", stop - 4)
        if not start <= table < stop:
            continue
        count = min(source.number(order + "H", table), _ENTRIES)
        data = source.read(table + 2, 10 * count)
        for entry in range(len(data) // 10):
            tag, size, offset = struct.unpack_from(order + "HII", data, 10 * entry)
            at = start + offset
            if tag & 0xC000 == _INSIDE:
                at, size = table + 2 + 10 * entry + 2, 8
            elif tag & 0xC000 or at + size > stop:
                continue
            if tag & 0x3800 in _BLOCK:
                blocks.append((at, at + size))
            else:
                found.setdefault(tag & 0x3FFF, (at, size))
    return found
