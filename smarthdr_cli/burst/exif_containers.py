"""EXIF tags and pixel dimensions of a file by its headers: JPEG, PNG, TIFF and the RAW containers.

JPEG (ITU-T T.81, annex B): EXIF in the first APP1 segment of that kind. PNG (W3C PNG third edition, section 5): the
eXIf chunk, or a text chunk as ImageMagick writes it. RAF: a JPEG at the offset that the header states. CR3: ISO
14496-12 boxes, EXIF in the boxes CMT1, CMT2 and CMT3 of Canon's uuid box. MRW: blocks of a name and a length, a TIFF
structure in the block TTW. CRW: see ``ciff``. X3F: see ``x3f``. All other RAW formats are TIFF structures.
"""

import io
import struct
from dataclasses import dataclass, replace

from PIL.ExifTags import Base as Tag

from smarthdr_cli.burst import heif
from smarthdr_cli.burst.ciff import read_ciff
from smarthdr_cli.burst.decode import RAW_COMPRESSIONS, RAW_PHOTOMETRICS
from smarthdr_cli.burst.exif import (
    MAX_EXIF_BYTES,
    ExifMetadata,
    Tags,
    interpret_tags,
    read_exif_block,
    reset_orientation,
)
from smarthdr_cli.burst.scan import TEXT_CHUNK_KEYWORD, FileKind, check_file_size, exif_of_text_chunk, sniff
from smarthdr_cli.burst.tiff_ifd import BoundedReader, Ifd, read_first_ifd, read_ifd
from smarthdr_cli.burst.x3f import read_x3f
from smarthdr_cli.errors import DamagedFileError, InputError

_MAX_SEGMENTS = 4000  # markers and fill bytes before the scan of a JPEG
_MAX_CHUNKS = 20_000  # of a PNG: libpng writes one for every 8 kB of pixels, and EXIF may follow them
_MAX_BLOCKS = 64  # boxes of a CR3, blocks of an MRW
_MAX_FILE_OFFSET = 1 << 40
_RW2_JPEG = 0x002E  # Panasonic's tag for the JPEG inside a RW2
_CANON_UUID = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
_RAW_SUFFIXES = (
    ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .fff .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .raw .rw2 .rwl "
    ".sr2 .srf .srw .x3f"
)
RAW_SUFFIXES = frozenset(_RAW_SUFFIXES.split())


@dataclass(frozen=True)
class FileTags:
    """The tags of one file, as ``exif.Tags``: those of the first directory that has a tag, the Exif IFD before IFD0.

    ``size``: (width, height) as stored. ``maker_note``: its tags where the container stores it apart (CR3, CRW, X3F).
    """

    kind: FileKind
    size: tuple[int, int] | None = None
    directories: tuple[Tags, ...] = ()
    maker_note: Tags | None = None

    def __contains__(self, tag: int) -> bool:
        return any(tag in tags for tags in self.directories)

    def number(self, tag: int) -> float | None:
        """The first value, or None."""
        return next((tags.number(tag) for tags in self.directories if tag in tags), None)

    def text(self, tag: int) -> str | None:
        """Printable text, or None."""
        return next((tags.text(tag) for tags in self.directories if tag in tags), None)


def exif_of_file(data: bytes, name: str) -> ExifMetadata:
    """EXIF of a TIFF or RAW file; empty where the header is damaged. Never raises."""
    try:
        return interpret_tags(read_tags(BoundedReader(io.BytesIO(data)), name))
    except InputError:
        return ExifMetadata()


def exif_of_block(block: bytes) -> ExifMetadata:
    """EXIF of the TIFF-structured block of a JPEG or PNG, with the block itself for previews. Never raises."""
    block = block[:MAX_EXIF_BYTES]
    directories = _block_directories(block)
    if not any(not isinstance(tags, Ifd) or tags.entries for tags in directories):
        return ExifMetadata(damaged=True)
    metadata = interpret_tags(FileTags("jpeg", directories=directories))
    return replace(metadata, capture=replace(metadata.capture, exif=reset_orientation(block)))


def read_tags(reader: BoundedReader, name: str) -> FileTags:
    """Tags and dimensions of an open file; reads headers only.

    Raises InputError where the file is no image, or its header is damaged.
    """
    kind = sniff(reader.head[:64], name)
    if kind == "jpeg":
        tags = _read_jpeg(reader, 0)
        if tags.size is None:
            raise DamagedFileError(f"{name} is damaged or cut short: its JPEG header holds no picture size")
        return tags
    if kind == "png":
        return _read_png(reader, name)
    if kind == "heif":
        check_file_size(reader.size, name)
        header = heif.read_header(reader.whole(), name)
        return FileTags(kind, (header.width, header.height), _block_directories(header.exif))
    if reader.head.startswith(b"FUJIFILMCCD-RAW"):
        return _raw_tags(_read_jpeg(reader, reader.integer(">I", 84)).directories)
    if reader.head[4:11] == b"ftypcrx":
        return _read_cr3(reader)
    if reader.head[6:14] == b"HEAPCCDR":
        values, size, maker_note = read_ciff(reader)
        return FileTags("raw", size, (values,), maker_note)
    if reader.head.startswith(b"FOVb"):
        return _read_x3f(reader)
    if reader.head.startswith(b"\0MRM"):
        return _read_mrw(reader)
    ifd0 = read_first_ifd(reader)
    if ifd0 is None:
        return FileTags(kind)  # BigTIFF, or a RAW of another structure, which LibRaw may read
    if not ifd0.entries and kind == "tiff":
        raise DamagedFileError(f"{name} is damaged or cut short: its TIFF header leads nowhere")
    if _is_raw(ifd0) or f".{name.lower().rpartition('.')[2]}" in RAW_SUFFIXES:
        kind = "raw"
    directories: tuple[Tags, ...] = _tiff_directories(ifd0)
    if _RW2_JPEG in ifd0 and Tag.MakerNote not in directories[0]:
        directories = (*_read_jpeg(reader, ifd0.entries[_RW2_JPEG].offset).directories[:1], *directories)
    if kind == "raw" and len(directories) > 1:
        return _raw_tags(directories)
    return FileTags(kind, _size(ifd0, Tag.ImageWidth, Tag.ImageLength), directories)


def _is_raw(ifd0: Ifd) -> bool:
    """Whether a TIFF is a camera's RAW, by the criterion of ``decode.is_raw``."""
    sub_ifds = (read_ifd(ifd0.reader, ifd0.order, ifd0.base, int(offset)) for offset in ifd0.numbers(Tag.SubIFDs))
    return Tag.DNGVersion in ifd0 or any(
        ifd.number(Tag.PhotometricInterpretation) in RAW_PHOTOMETRICS or ifd.number(Tag.Compression) in RAW_COMPRESSIONS
        for ifd in (ifd0, *sub_ifds)
    )


def _block_directories(block: bytes | None) -> tuple[Tags, ...]:
    """exifread's tags of an EXIF block, then its IFDs: for maker notes, and for blocks that exifread cannot read."""
    if not block:
        return ()
    exifread_tags = read_exif_block(block)
    ifds = _tiff_directories(read_first_ifd(BoundedReader(io.BytesIO(block))))
    return ifds if exifread_tags is None else (exifread_tags, *ifds)


def _tiff_directories(ifd0: Ifd | None) -> tuple[Ifd, ...]:
    """The Exif IFD, IFD0 and the Interoperability IFD, as far as present."""
    exif = None if ifd0 is None else ifd0.sub_ifd(Tag.ExifOffset)
    interop = None if exif is None else exif.sub_ifd(Tag.ExifInteroperabilityOffset)
    return tuple(ifd for ifd in (exif, ifd0, interop) if ifd is not None)


def _raw_tags(directories: tuple[Tags, ...], maker_note: Tags | None = None) -> FileTags:
    """Tags of a RAW, its size by EXIF: IFD0 often describes a thumbnail."""
    size = _size(directories[0], Tag.ExifImageWidth, Tag.ExifImageHeight) if directories else None
    return FileTags("raw", size, directories, maker_note)


def _size(tags: Tags, width_tag: int, height_tag: int) -> tuple[int, int] | None:
    return _valid_size(tags.number(width_tag) or 0, tags.number(height_tag) or 0)


def _valid_size(width: float, height: float) -> tuple[int, int] | None:
    """(width, height), or None where one is below 1."""
    return (int(width), int(height)) if width >= 1 and height >= 1 else None


def _read_jpeg(reader: BoundedReader, start: int) -> FileTags:
    """EXIF and frame size of the JPEG at ``start``, by its markers up to the first scan."""
    block, size = None, None
    position = start + 2
    if reader.read(start, 2) != b"\xff\xd8":
        return FileTags("jpeg")
    for _ in range(_MAX_SEGMENTS):
        header = reader.read(position, 4)
        if len(header) < 4 or header[0] != 0xFF:
            break
        marker = header[1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without a segment
            position += 2
            continue
        if marker in (0xD9, 0xDA):
            break
        length = max(int.from_bytes(header[2:], "big"), 2)
        if marker == 0xE1 and block is None and reader.read(position + 4, 6) == b"Exif\0\0":
            block = reader.read(position + 10, length - 8)
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            dimensions = reader.read(position + 5, 4)
            if len(dimensions) == 4:
                height, width = struct.unpack(">HH", dimensions)
                size = _valid_size(width, height)
        position += 2 + length
    return FileTags("jpeg", size, _block_directories(block))


def _read_png(reader: BoundedReader, name: str) -> FileTags:
    """Size and EXIF of a PNG: the first eXIf chunk, else the first text chunk with EXIF."""
    size, block, position = None, None, 8
    for _ in range(_MAX_CHUNKS):
        header = reader.read(position, 8)
        if len(header) < 8:
            break
        length, chunk = struct.unpack(">I4s", header)
        if chunk == b"IHDR":
            body = reader.read(position + 8, 8)
            if len(body) == 8:
                width, height = struct.unpack(">II", body)
                size = _valid_size(width, height)
        elif chunk == b"eXIf":
            block = reader.read(position + 8, min(length, MAX_EXIF_BYTES))
            break
        elif (
            chunk in (b"tEXt", b"zTXt")
            and block is None
            and reader.read(position + 8, len(TEXT_CHUNK_KEYWORD)) == TEXT_CHUNK_KEYWORD
        ):
            block = exif_of_text_chunk(chunk, reader.read(position + 8, min(length, 3 * MAX_EXIF_BYTES)))
        elif chunk == b"IEND":
            break
        position += 12 + length
    if size is None:
        raise DamagedFileError(f"{name} is damaged: its PNG header holds no picture size")
    return FileTags("png", size, _block_directories(block))


def _read_cr3(reader: BoundedReader) -> FileTags:
    """CMT1 is IFD0, CMT2 the Exif IFD, CMT3 the maker note, each a TIFF structure of its own."""
    ifds: dict[bytes, Ifd] = {}
    moov = _find_box(reader, 0, _MAX_FILE_OFFSET, b"moov")
    canon = None if moov is None else _find_box(reader, *moov, b"uuid", _CANON_UUID)
    if canon is not None:
        for name in (b"CMT1", b"CMT2", b"CMT3"):
            box = _find_box(reader, *canon, name)
            ifd = None if box is None else read_first_ifd(reader, box[0])
            if ifd is not None:
                ifds[name] = ifd
    return _raw_tags(tuple(ifds[name] for name in (b"CMT2", b"CMT1") if name in ifds), ifds.get(b"CMT3"))


def _find_box(reader: BoundedReader, start: int, stop: int, name: bytes, uuid: bytes = b"") -> tuple[int, int] | None:
    """(start, stop) of the content of the first box with this name, and uuid if given, between two offsets."""
    for _ in range(_MAX_BLOCKS):
        header = reader.read(start, 16)
        if start + 8 > stop or len(header) < 8:
            return None
        size, kind = struct.unpack_from(">I4s", header)
        body = start + 8
        if size == 1 and len(header) == 16:  # 64-bit size
            (size,) = struct.unpack_from(">Q", header, 8)
            body += 8
        if size < 8:
            return None
        if kind == name and (not uuid or reader.read(body, 16) == uuid):
            return body + len(uuid), min(start + size, stop)
        start += size
    return None


def _read_mrw(reader: BoundedReader) -> FileTags:
    """Block PRD holds the picture size, block TTW a TIFF structure."""
    size, position = None, 8
    for _ in range(_MAX_BLOCKS):
        name, length = reader.read(position, 4), reader.integer(">I", position + 4)
        if name == b"\0PRD":
            size = _valid_size(reader.integer(">H", position + 22), reader.integer(">H", position + 20))
        elif name == b"\0TTW":
            return FileTags("raw", size, _tiff_directories(read_first_ifd(reader, position + 8)))
        elif len(name) < 4 or position + length > reader.size:
            break
        position += 8 + length
    return FileTags("raw", size)


def _read_x3f(reader: BoundedReader) -> FileTags:
    """EXIF of the embedded JPEG, which all models but the first write; else Sigma's own properties."""
    x3f = read_x3f(reader)
    directories = () if x3f.jpeg_offset is None else _read_jpeg(reader, x3f.jpeg_offset).directories
    if directories:
        return FileTags("raw", x3f.size, directories)
    return FileTags("raw", x3f.size, (x3f.values,), x3f.maker_note)
