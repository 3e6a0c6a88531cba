"""What the bytes of a file say before decoding: its kind, its size, its metadata blocks, and that it is whole.

JPEG: ITU-T T.81 annex B (markers), EXIF 2.32 4.7 (APP1), ICC.1:2022 annex B.4 (APP2). PNG: W3C PNG third
edition, 5 and 11.
"""

import re
import struct
import zlib
from dataclasses import dataclass
from typing import Literal

from smarthdr_cli.errors import InputError

MAX_PIXELS = 250_000_000  # unless told; larger than any camera's picture; three bytes a pixel are 750 MB
MAX_FILE = 4 << 30  # bytes
JPEG_SCANS = 100  # encoders use 10 or so; each costs a pass over the whole picture, whatever its own size

Kind = Literal["jpeg", "png", "tiff", "raw"]

_FOREIGN = (
    (b"GIF8", "a GIF"),
    (b"BM", "a BMP"),
    (b"\x76\x2f\x31\x01", "an OpenEXR file"),
    (b"#?RADIANCE", "a Radiance HDR file"),
    (b"#?RGBE", "a Radiance HDR file"),
    (b"\xff\x0a", "a JPEG XL"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL"),
    (b"%PDF", "a PDF"),
    (b"8BPS", "a Photoshop file"),
)
_RAW_MAGIC = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\x00", b"FOVb", b"\x00MRM")
_TIFF_MAGIC = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
# The byte after 0xFF that ends entropy-coded data: not stuffing (00), not a restart (D0-D7), not fill (FF).
_SCAN_END = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
# A Huffman-coded block takes bits even when empty: 4:2:0 needs 12 bits for 256 pixels, a progressive DC scan 6.
_JPEG_PIXELS_PER_BYTE = 400
_PNG_COLOR = {0: (1, (1, 2, 4, 8, 16)), 2: (3, (8, 16)), 3: (1, (1, 2, 4, 8)), 4: (2, (8, 16)), 6: (4, (8, 16))}
RAW_PROFILE = b"Raw profile type exif"  # the keyword of a text chunk that holds EXIF
_DEFLATE_RATIO = 1100  # deflate cannot expand by more than 1032:1


@dataclass(frozen=True)
class Container:
    """Metadata of a JPEG or PNG found without decoding it.

    ``exif``: the TIFF-structured EXIF block (no "Exif" prefix). ``icc``: the embedded profile. ``primaries``: of a PNG
    the nominal primaries its sRGB, cICP or cHRM chunk states: a name or eight chromaticity coordinates (white first).
    ``scan_end``: of a sequential JPEG the offset of its end-of-image marker, else 0. ``essential``: a PNG reduced to
    the chunks its pixels need, so that the decoder meets no other.
    """

    width: int
    height: int
    exif: bytes | None = None
    icc: bytes | None = None
    primaries: str | tuple[float, ...] | None = None
    scan_end: int = 0
    essential: bytes = b""


def sniff(data: bytes, name: str) -> Kind:
    """Kind of file by its first bytes; TIFF-based RAW still counts as "tiff". Raises InputError for anything else."""
    if not data:
        raise InputError(f"{name} is empty")
    if data[:3] == b"\xff\xd8\xff":
        return "jpeg"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if data[:4] in _TIFF_MAGIC:
        return "raw" if data[8:11] == b"CR\x02" else "tiff"
    if data.startswith(_RAW_MAGIC) or data[6:14] == b"HEAPCCDR" or data[4:11] == b"ftypcrx":
        return "raw"
    if data[4:8] == b"ftyp":
        what = "an AVIF" if data[8:12] in (b"avif", b"avis") else "a HEIF/HEIC or video file"
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        what = "a WebP"
    else:
        what = next((label for magic, label in _FOREIGN if data.startswith(magic)), "not a picture")
    raise InputError(f"{name} is {what}; JPEG, PNG, TIFF and RAW are read")


def check_size(width: int, height: int, name: str, limit: int = MAX_PIXELS) -> None:
    """Raise InputError unless width x height is a picture of at most ``limit`` pixels."""
    if width < 1 or height < 1:
        raise InputError(f"{name} is damaged: its header says {width}x{height} pixels")
    if width * height > limit:
        most = f"{limit / 1e6:g} megapixels" if limit >= 1_000_000 else f"{limit} pixels"
        raise InputError(f"{name} is {width}x{height} pixels; at most {most} are read (--max-pixels)")


def scan_jpeg(data: bytes, name: str, limit: int = MAX_PIXELS) -> Container:
    """Walk a JPEG's markers to its end-of-image.

    Raises InputError when cut short, damaged, of a kind not read, or of more than ``limit`` pixels.
    """
    position, exif = 2, None
    icc: dict[int, bytes] = {}
    width = height = frame = scans = 0
    while True:
        match = re.compile(rb"\xff+([^\x00\xff])").match(data, position)
        if match is None:
            raise InputError(f"{name} is damaged or cut short: the JPEG breaks off at byte {position} of {len(data)}")
        marker, position = match.group(1)[0], match.end()
        if marker == 0xD9:
            break
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            continue
        length = int.from_bytes(data[position : position + 2], "big")
        segment = data[position + 2 : position + length]
        if length < 2 or len(segment) != length - 2:
            raise InputError(f"{name} is damaged or cut short: the JPEG breaks off at byte {position} of {len(data)}")
        position += length
        if marker == 0xE1 and segment[:6] == b"Exif\x00\x00" and exif is None and not scans:
            exif = segment[6:]
        elif marker == 0xE2 and segment[:12] == b"ICC_PROFILE\x00" and len(segment) > 14:
            icc[segment[12]] = segment[14:]
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if len(segment) < 6:
                raise InputError(f"{name} is damaged: its JPEG frame header is too short")
            frame = marker
            precision, height, width, components = struct.unpack(">BHHB", segment[:6])
            check_size(width, height, name, limit)
            if precision != 8 or components not in (1, 3) or marker not in (0xC0, 0xC1, 0xC2, 0xC9, 0xCA):
                kind = "CMYK" if components == 4 else f"{precision}-bit, {components} components"
                raise InputError(f"{name} is a JPEG of a kind that is not read ({kind}); 8-bit grey and colour are")
            if marker < 0xC9 and len(data) * _JPEG_PIXELS_PER_BYTE < width * height:
                raise InputError(
                    f"{name} is damaged or cut short: {len(data)} bytes cannot hold {width}x{height} pixels"
                )
        elif marker == 0xDA:
            end = _SCAN_END.search(data, position)
            if end is None or not frame:
                raise InputError(f"{name} is cut short: the JPEG has no end-of-image marker")
            position, scans = end.start(), scans + 1
            if scans > JPEG_SCANS:
                raise InputError(f"{name} is damaged: a JPEG of more than {JPEG_SCANS} scans")
    if not frame:
        raise InputError(f"{name} is damaged: the JPEG holds no picture")
    profile = b"".join(icc[key] for key in sorted(icc)) or None
    return Container(width, height, exif, profile, None, position - 2 if frame in (0xC0, 0xC1) else 0)


def scan_png(data: bytes, name: str, limit: int = MAX_PIXELS) -> Container:
    """Walk a PNG's chunks and check each one's CRC.

    Raises InputError when it is cut short, damaged, or of more than ``limit`` pixels.
    """
    position, stored, exif, icc, profile = 8, 0, None, None, None
    essential = [data[:8]]
    header: tuple[int, ...] = ()
    primaries: str | tuple[float, ...] | None = None
    while True:
        if position + 12 > len(data):
            raise InputError(f"{name} is cut short: the PNG breaks off at byte {len(data)}")
        length, kind = struct.unpack_from(">I4s", data, position)
        body = data[position + 8 : position + 8 + length]
        position += 12 + length
        if header == () and kind == b"IHDR" and len(body) == 13:
            header = struct.unpack(">IIBBBBB", body)
            check_size(header[0], header[1], name, limit)
        if position > len(data):
            raise InputError(f"{name} is cut short: the PNG breaks off at byte {len(data)}")
        if zlib.crc32(body, zlib.crc32(kind)) != int.from_bytes(data[position - 4 : position], "big") or not header:
            raise InputError(f"{name} is damaged: the checksum of its PNG chunk {kind.decode('latin-1')!r} is wrong")
        if kind in (b"IHDR", b"PLTE", b"IDAT", b"IEND"):
            essential.append(data[position - 12 - length : position])
        if kind == b"IDAT":
            stored += length
        elif kind == b"IEND":
            break
        elif kind == b"eXIf":
            exif = body if exif is None else exif
        elif kind in (b"tEXt", b"zTXt") and profile is None:
            profile = raw_profile(kind, body)
        elif kind == b"iCCP":
            icc = _inflate_profile(body)
        elif kind == b"sRGB" or (kind == b"cICP" and body[:1] == b"\x01"):
            primaries = "rec709"
        elif kind == b"cICP" and body[:1] in (b"\x09", b"\x0c"):
            primaries = "rec2020" if body[0] == 9 else "display-p3"
        elif kind == b"cHRM" and length == 32 and primaries is None:
            primaries = tuple(value / 100_000 for value in struct.unpack(">8I", body))
    width, height, depth, color = header[:4]
    channels, depths = _PNG_COLOR.get(color, (0, ()))
    if depth not in depths or header[4:6] != (0, 0) or header[6] > 1:
        raise InputError(f"{name} is damaged: its PNG header states a type that does not exist")
    if stored * _DEFLATE_RATIO * 8 < height * width * channels * depth:
        raise InputError(f"{name} is damaged or cut short: {stored} bytes cannot hold {width}x{height} pixels")
    return Container(width, height, profile if exif is None else exif, icc, primaries, essential=b"".join(essential))


def raw_profile(kind: bytes, body: bytes) -> bytes | None:
    """The EXIF block in a PNG's text chunk of the form that ImageMagick writes; empty when damaged, None in any other.

    Behind the keyword the profile's name, its length and its bytes in hexadecimal.
    """
    keyword, _, text = body.partition(b"\0")
    if keyword != RAW_PROFILE:
        return None
    try:
        if kind == b"zTXt":
            text = zlib.decompressobj().decompress(text[1:], 4 << 20)
        return bytes.fromhex("".join(text.decode("ascii").split()[2:])).removeprefix(b"Exif\0\0")
    except (ValueError, zlib.error):
        return b""


def _inflate_profile(body: bytes) -> bytes | None:
    _, _, rest = body.partition(b"\x00")
    try:
        return zlib.decompressobj().decompress(rest[1:], 4 << 20) or None
    except zlib.error:
        return None
