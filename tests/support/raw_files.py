"""RAW files without a TIFF header for tests, written byte by byte: CRW, MRW, X3F, RAF and CR3. Headers only."""

import struct
from collections.abc import Sequence

UTC_NOON = 1_778_068_800  # 2026-05-06 12:00:00
CANON_UUID = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
SIGMA_PROPERTIES = {
    "CAMMANUF": "SIGMA",
    "CAMMODEL": "SIGMA SD10",
    "CAMSERIAL": "01234",
    "SHUTTER": "0.01",
    "APERTURE": "8.0",
    "ISO": "100",
    "EXPCOMP": "-0.5",
    "FLENGTH": "30",
    "PMODE": "M",
    "TIME": str(UTC_NOON),
    "BRACKET": "2 of 3",
}

CiffEntries = Sequence[tuple[int, "bytes | CiffEntries"]]


def ciff_block(entries: CiffEntries) -> bytes:
    """A CIFF block: the values, the table of tag, size and offset, and the offset of the table."""
    data, table = b"", struct.pack("<H", len(entries))
    for tag, value in entries:
        if tag & 0x4000:  # the value lies in the entry
            assert isinstance(value, bytes)
            table += struct.pack("<H8s", tag, value)
            continue
        content = value if isinstance(value, bytes) else ciff_block(value)
        table += struct.pack("<HII", tag, len(content), len(data))
        data += content + b"\0" * (len(content) % 2)
    return data + table + struct.pack("<I", len(data))


def crw(
    *,
    time_value: float = 6,
    aperture_value: float = 5,
    shot: int = 0,
    bracket_value: int = 0,
    rotation: int = 0,
    exposure_record: bool = True,
) -> bytes:
    """A CRW with APEX time and aperture values in Canon's shot record and, by default, in an exposure record."""
    shot_info = [68, 0, 160, 0, round(aperture_value * 32), round(time_value * 32), 32, *[0] * 27]
    shot_info[16], shot_info[17] = shot, bracket_value
    settings = [92, *[0] * 45]
    settings[20] = 4  # manual exposure
    exposure = [(0x1818, struct.pack("<3f", 1.0, time_value, aperture_value))] if exposure_record else []
    exif = [
        (0x102A, struct.pack("<34h", *shot_info)),
        (0x102D, struct.pack("<46h", *settings)),
        (0x5029, struct.pack("<4H", 2, 24 * 32, 907, 595)),  # focal length
        (0x50B4, struct.pack("<HHI", 2, 0, 0)),
    ]
    image = [
        (0x1810, struct.pack("<IIfiIII", 3072, 2048, 1.0, rotation, 8, 24, 1)),
        (0x180E, struct.pack("<IiI", UTC_NOON, 0, 0)),
        (0x2807, [(0x080A, b"Canon\0Canon EOS TEST\0"), (0x0810, b"Ada\0"), (0x580B, struct.pack("<II", 1234, 0))]),
        (0x3002, exposure),
        (0x300B, exif),
    ]
    blocks = ciff_block([(0x2005, bytes(64)), (0x300A, image)])
    return b"II" + struct.pack("<I", 26) + b"HEAPCCDR" + bytes(12) + blocks


def mrw(tiff: bytes) -> bytes:
    """An MRW of 3264x2448 pixels: block PRD (picture size), block TTW (a TIFF structure), then pixels."""
    size = b"27820001" + struct.pack(">4H", 2456, 3272, 2448, 3264) + bytes((12, 12, 0x52, 0, 0, 0, 0, 1))
    blocks = b"".join(name + struct.pack(">I", len(body)) + body for name, body in ((b"\0PRD", size), (b"\0TTW", tiff)))
    return b"\0MRM" + struct.pack(">I", len(blocks)) + blocks + bytes(64)


def x3f(properties: dict[str, str], jpeg: bytes = b"", *, rotation: int = 0, version: int = 0x20002) -> bytes:
    """An X3F of 2268x1512 pixels: header, embedded JPEG, properties, directory."""
    header = b"FOVb" + struct.pack("<I", version) + bytes(20)
    header += struct.pack("<3I", 2268, 1512, rotation).rjust(12 if version < 0x40000 else 24, b"\0") + bytes(200)
    text, pairs = "", b""
    for pair in properties.items():
        for value in pair:
            pairs += struct.pack("<I", len(text))
            text += value + "\0"
    section = b"SECp" + struct.pack("<5I", 0x20000, len(properties), 0, 0, len(text)) + pairs + text.encode("utf-16-le")
    image = b"SECi" + struct.pack("<6I", 0x20000, 2, 18, 96, 64, 0) + jpeg
    body, directory = header, b""
    for kind, content in ((b"IMA2", image), (b"PROP", section)):
        directory += struct.pack("<II4s", len(body), len(content), kind)
        body += content
    return body + b"SECd" + struct.pack("<II", 0x20000, 2) + directory + struct.pack("<I", len(body))


def raf(jpeg: bytes) -> bytes:
    """A RAF with a JPEG at the offset that its header states."""
    return b"FUJIFILMCCD-RAW ".ljust(84, b"\0") + struct.pack(">II", 160, len(jpeg)) + bytes(68) + jpeg


def iso_box(kind: bytes, *content: bytes) -> bytes:
    """A box of ISO 14496-12."""
    body = b"".join(content)
    return struct.pack(">I", 8 + len(body)) + kind + body


def cr3(ifd0: bytes, exif: bytes, maker_note: bytes) -> bytes:
    """A CR3 of three TIFF structures: CMT1 (IFD0), CMT2 (Exif IFD), CMT3 (maker note)."""
    parts = zip((b"CMT1", b"CMT2", b"CMT3"), (ifd0, exif, maker_note), strict=True)
    boxes = [iso_box(name, part) for name, part in parts]
    brand = iso_box(b"ftyp", b"crx \0\0\0\x01crx isom")
    return brand + iso_box(b"moov", iso_box(b"uuid", CANON_UUID, *boxes))
