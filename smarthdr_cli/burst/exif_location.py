"""Where a file keeps its EXIF, and how large its picture is: JPEG, PNG, TIFF and the RAW containers. Headers only.

JPEG: ITU-T T.81 annex B. PNG: W3C PNG third edition, 5. RAF: a JPEG at the offset its header states. CR3: ISO 14496-12
boxes, EXIF in the CMT1, CMT2 and CMT3 of Canon's uuid box. MRW: blocks of a name and a length, EXIF in TTW. CRW and X3F
have modules of their own. The rest of the RAW formats are TIFF structures.
"""

import io
import struct
from dataclasses import dataclass, replace
from typing import Literal

from smarthdr_cli.burst.ciff import read_ciff
from smarthdr_cli.burst.decode import RAW_COMPRESSION, RAW_PHOTOMETRIC
from smarthdr_cli.burst.exif import MAX_BLOCK, Stated, Tags, interpret, read_exif, upright
from smarthdr_cli.burst.scan import RAW_PROFILE, raw_profile, sniff
from smarthdr_cli.burst.tiff_ifd import Directory, Source, directory, first_directory
from smarthdr_cli.burst.x3f import read_x3f
from smarthdr_cli.errors import InputError

_SEGMENTS = 4000  # markers and fill bytes walked before a JPEG's scan
_CHUNKS = 20_000  # chunks walked of a PNG: libpng writes one for every 8 kB of pixels, and EXIF may follow them
_BLOCKS = 64  # boxes of a CR3 and blocks of an MRW
_SUB_IFDS, _EXIF_IFD, _INTEROP_IFD, _MAKER_NOTE = 0x014A, 0x8769, 0xA005, 0x927C
_DNG_VERSION, _RW2_JPEG = 0xC612, 0x002E
_CANON = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
_RAW = (
    ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .fff .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .raw .rw2 .rwl "
    ".sr2 .srf .srw .x3f"
)
RAW_ENDINGS = frozenset(_RAW.split())

Kind = Literal["jpeg", "png", "tiff", "raw"]


@dataclass(frozen=True)
class Located:
    """A file's tags, as ``exif.Tags``: of several directories that hold one the first, EXIF's before IFD0's.

    ``size``: (width, height) as stored. ``note``: the maker note where the container keeps it apart (CR3, CRW, X3F).
    """

    kind: Kind
    size: tuple[int, int] | None = None
    directories: tuple[Tags, ...] = ()
    note: Tags | None = None

    def __contains__(self, tag: int) -> bool:
        return any(tag in tags for tags in self.directories)

    def number(self, tag: int) -> float | None:
        """The first value, or None."""
        return next((tags.number(tag) for tags in self.directories if tag in tags), None)

    def text(self, tag: int) -> str | None:
        """Printable text, or None."""
        return next((tags.text(tag) for tags in self.directories if tag in tags), None)


def file_exif(data: bytes, name: str) -> Stated:
    """What a TIFF or RAW states, by the reader that ``group`` reads headers with; nothing where it is damaged."""
    try:
        return interpret(locate(Source(io.BytesIO(data)), name))
    except InputError:
        return Stated()


def parse_exif(block: bytes) -> Stated:
    """What the TIFF-structured EXIF block of a JPEG or PNG states, and the block itself, upright. Never raises."""
    block = block[:MAX_BLOCK]
    directories = _block(block)
    if not any(not isinstance(found, Directory) or found.fields for found in directories):
        return Stated(damaged=True)
    stated = interpret(Located("jpeg", directories=directories))
    return replace(stated, capture=replace(stated.capture, exif=upright(block)))


def locate(source: Source, name: str) -> Located:
    """Raises InputError for a file that is no picture, or one whose header is damaged."""
    kind = sniff(source.head[:64], name)
    if kind == "jpeg":
        found = _jpeg(source, 0)
        if found.size is None:
            raise InputError(f"{name} is damaged or cut short: its JPEG header holds no picture size")
        return found
    if kind == "png":
        return _png(source, name)
    if source.head.startswith(b"FUJIFILMCCD-RAW"):
        return _raw(_jpeg(source, source.number(">I", 84)).directories)
    if source.head[4:11] == b"ftypcrx":
        return _cr3(source)
    if source.head[6:14] == b"HEAPCCDR":
        values, size, note = read_ciff(source)
        return Located("raw", size, (values,), note)
    if source.head.startswith(b"FOVb"):
        return _x3f(source)
    if source.head.startswith(b"\0MRM"):
        return _mrw(source)
    image = first_directory(source)
    if image is None:
        return Located(kind)  # a RAW of another structure, or a BigTIFF; the pixels speak
    if not image.fields and kind == "tiff":
        raise InputError(f"{name} is damaged or cut short: its TIFF header leads nowhere")
    if _is_raw(image) or f".{name.lower().rpartition('.')[2]}" in RAW_ENDINGS:
        kind = "raw"
    directories: tuple[Tags, ...] = _directories(image)
    if _RW2_JPEG in image and _MAKER_NOTE not in directories[0]:
        directories = (*_jpeg(source, image.fields[_RW2_JPEG].at).directories[:1], *directories)
    if kind == "raw" and len(directories) > 1:
        return _raw(directories)
    return Located(kind, _size(image, 0x0100, 0x0101), directories)


def _is_raw(image: Directory) -> bool:
    """As ``decode.is_raw`` has it: a DNG, or a picture as cameras store it here or in a sub-directory."""
    inner = (directory(image.source, image.order, image.base, int(at)) for at in image.numbers(_SUB_IFDS))
    return _DNG_VERSION in image or any(
        part.number(0x0106) in RAW_PHOTOMETRIC or part.number(0x0103) in RAW_COMPRESSION for part in (image, *inner)
    )


def _block(block: bytes | None) -> tuple[Tags, ...]:
    """The tags of an EXIF block: as exifread reads them, then its directories, for what exifread gives up on a damaged
    block and for the maker note."""
    if not block:
        return ()
    found = read_exif(block)
    directories = _directories(first_directory(Source(io.BytesIO(block))))
    return directories if found is None else (found, *directories)


def _directories(image: Directory | None) -> tuple[Directory, ...]:
    """The EXIF directory, the first directory itself, and the interoperability directory; those that are there."""
    exif = None if image is None else image.linked(_EXIF_IFD)
    interop = None if exif is None else exif.linked(_INTEROP_IFD)
    return tuple(found for found in (exif, image, interop) if found is not None)


def _raw(directories: tuple[Tags, ...], note: Tags | None = None) -> Located:
    """A RAW with its size by EXIF: the first directory is often its thumbnail's."""
    return Located("raw", _size(directories[0], 0xA002, 0xA003) if directories else None, directories, note)


def _size(tags: Tags, width: int, height: int) -> tuple[int, int] | None:
    return _sides(tags.number(width) or 0, tags.number(height) or 0)


def _sides(width: float, height: float) -> tuple[int, int] | None:
    """(width, height), or None where they are no picture's."""
    return (int(width), int(height)) if width >= 1 and height >= 1 else None


def _jpeg(source: Source, at: int) -> Located:
    """Markers up to the scan; the EXIF is the first APP1 of that kind, and nothing beyond it."""
    block, size = None, None
    position = at + 2
    if source.read(at, 2) != b"\xff\xd8":
        return Located("jpeg")
    for _ in range(_SEGMENTS):
        head = source.read(position, 4)
        if len(head) < 4 or head[0] != 0xFF:
            break
        marker = head[1]
        if marker == 0xFF:  # fill
            position += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            position += 2
            continue
        if marker in (0xD9, 0xDA):
            break
        length = max(int.from_bytes(head[2:], "big"), 2)
        if marker == 0xE1 and block is None and source.read(position + 4, 6) == b"Exif\0\0":
            block = source.read(position + 10, length - 8)
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            frame = source.read(position + 5, 4)
            if len(frame) == 4:
                height, width = struct.unpack(">HH", frame)
                size = _sides(width, height)
        position += 2 + length
    return Located("jpeg", size, _block(block))


def _png(source: Source, name: str) -> Located:
    """The first eXIf chunk; without one, the first EXIF that ImageMagick put into a text chunk."""
    size, profile, position = None, None, 8
    for _ in range(_CHUNKS):
        head = source.read(position, 8)
        if len(head) < 8:
            break
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IHDR":
            body = source.read(position + 8, 8)
            if len(body) == 8:
                width, height = struct.unpack(">II", body)
                size = _sides(width, height)
        elif kind == b"eXIf":
            profile = source.read(position + 8, min(length, MAX_BLOCK))
            break
        elif kind in (b"tEXt", b"zTXt") and profile is None and source.read(position + 8, 21) == RAW_PROFILE:
            profile = raw_profile(kind, source.read(position + 8, min(length, 3 * MAX_BLOCK)))
        elif kind == b"IEND":
            break
        position += 12 + length
    if size is None:
        raise InputError(f"{name} is damaged: its PNG header holds no picture size")
    return Located("png", size, _block(profile))


def _cr3(source: Source) -> Located:
    parts: dict[bytes, Directory] = {}
    end = _box(source, 0, 1 << 40, b"moov")
    if end is not None:
        inside = _box(source, *end, b"uuid", _CANON)
        if inside is not None:
            for name in (b"CMT1", b"CMT2", b"CMT3"):
                box = _box(source, *inside, name)
                block = None if box is None else first_directory(source, box[0])
                if block is not None:
                    parts[name] = block
    return _raw(tuple(parts[name] for name in (b"CMT2", b"CMT1") if name in parts), parts.get(b"CMT3"))


def _box(source: Source, start: int, stop: int, name: bytes, uuid: bytes = b"") -> tuple[int, int] | None:
    """(start, stop) of the content of the first box of this name between two offsets."""
    for _ in range(_BLOCKS):
        head = source.read(start, 16)
        if start + 8 > stop or len(head) < 8:
            return None
        size, kind = struct.unpack_from(">I4s", head)
        body = start + 8
        if size == 1 and len(head) == 16:
            (size,) = struct.unpack_from(">Q", head, 8)
            body += 8
        if size < 8:
            return None
        if kind == name and (not uuid or source.read(body, 16) == uuid):
            return body + len(uuid), min(start + size, stop)
        start += size
    return None


def _mrw(source: Source) -> Located:
    """Minolta's blocks: PRD holds the size of the picture, TTW a TIFF structure."""
    size, position = None, 8
    for _ in range(_BLOCKS):
        name, length = source.read(position, 4), source.number(">I", position + 4)
        if name == b"\0PRD":
            size = _sides(source.number(">H", position + 22), source.number(">H", position + 20))
        elif name == b"\0TTW":
            return Located("raw", size, _directories(first_directory(source, position + 8)))
        elif len(name) < 4 or position + length > source.size:
            break
        position += 8 + length
    return Located("raw", size)


def _x3f(source: Source) -> Located:
    """Sigma's properties, and before them the EXIF of the JPEG that all but the first models embed."""
    found = read_x3f(source)
    inner = () if found.jpeg is None else _jpeg(source, found.jpeg).directories
    if inner:
        return Located("raw", found.size, inner)
    return Located("raw", found.size, (found.values,), found.note)
