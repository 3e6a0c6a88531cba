"""Format, dimensions and metadata blocks of a file before it is decoded, and a check that it is complete.

JPEG: ITU-T T.81 annex B (markers), EXIF 2.32 section 4.7 (APP1), ICC.1:2022 annex B.4 (APP2). PNG: W3C PNG third
edition, sections 5 and 11.
"""

import re
import shlex
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from smarthdr_cli.errors import DamagedFileError, InputError

MAX_PIXELS = 250_000_000  # default limit, above any camera's images; 750 MB as 8-bit RGB
MAX_FILE_BYTES = 4 << 30
MAX_JPEG_SCANS = 100  # encoders write about 10; each costs a pass over all pixels

FileKind = Literal["jpeg", "png", "tiff", "raw", "heif"]

_OTHER_FORMATS = (
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
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1")  # ISO/IEC 23008-12, 10.2 and annex B
_TIFF_MAGIC = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
# The byte after 0xFF that ends entropy-coded data: not stuffing (00), not a restart (D0-D7), not fill (FF).
_SCAN_END = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_MARKER = re.compile(rb"\xff+([^\x00\xff])")
_SOF_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start of frame
_HUFFMAN_SEQUENTIAL, _READ_SOF = (0xC0, 0xC1), (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)
# A Huffman-coded block takes bits even when empty: 4:2:0 needs 12 bits for 256 pixels, a progressive DC scan 6.
_MAX_JPEG_PIXELS_PER_BYTE = 400
# PNG colour type to channels and permitted bit depths.
_PNG_COLOR = {0: (1, (1, 2, 4, 8, 16)), 2: (3, (8, 16)), 3: (1, (1, 2, 4, 8)), 4: (2, (8, 16)), 6: (4, (8, 16))}
_PNG_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
TEXT_CHUNK_KEYWORD = b"Raw profile type exif"  # of EXIF in a PNG text chunk, as ImageMagick writes it
_MAX_INFLATED_BYTES = 4 << 20  # of a compressed text chunk or ICC profile
_MAX_DEFLATE_RATIO = 1100  # deflate cannot expand by more than 1032:1
_INFLATE_STEP = 1 << 18  # bytes


@dataclass(frozen=True)
class ImageHeader:
    """Dimensions and metadata blocks of a JPEG or PNG.

    ``exif``: the TIFF-structured EXIF block, without "Exif" prefix. ``icc``: the embedded profile. ``primaries``: of a
    PNG by its sRGB, cICP or cHRM chunk, a name or eight chromaticity coordinates (white first). ``scan_end``: of a
    sequential JPEG the offset of its end-of-image marker, else 0. ``pixel_chunks``: a PNG of only those chunks that its
    pixels need. ``rounding_error``: of a JPEG's luma and chroma, the mean squared error of rounding every DCT
    coefficient, in squared codes.
    """

    width: int
    height: int
    exif: bytes | None = None
    icc: bytes | None = None
    primaries: str | tuple[float, ...] | None = None
    scan_end: int = 0
    pixel_chunks: bytes = b""
    rounding_error: tuple[float, float] = (0.0, 0.0)


def sniff(data: bytes, name: str) -> FileKind:
    """Kind of file by its first 64 bytes; RAW in a TIFF structure counts as "tiff".

    Raises InputError for any other content.
    """
    if not data:
        raise DamagedFileError(f"{name} is empty")
    if data[:3] == b"\xff\xd8\xff":
        return "jpeg"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if data[:4] in _TIFF_MAGIC:
        return "raw" if data[8:11] == b"CR\x02" else "tiff"
    if data.startswith(_RAW_MAGIC) or data[6:14] == b"HEAPCCDR" or data[4:11] == b"ftypcrx":
        return "raw"
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        return "heif"
    if data[4:8] == b"ftyp":
        content = "an AVIF" if data[8:12] in (b"avif", b"avis") else "a video or another HEIF file"
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        content = "a WebP"
    else:
        content = next((label for magic, label in _OTHER_FORMATS if data.startswith(magic)), "not a picture")
    if content == "not a picture":
        raise InputError(f"{name} is not a picture that smarthdr reads (JPEG, PNG, TIFF or RAW); leave it out")
    raise InputError(f"{name} is {content}; JPEG, PNG, TIFF and RAW are read. {conversion(name)}")


def conversion(name: str, options: str = "") -> str:
    """The sentence that says how to convert the file ``name``; ``options`` of ImageMagick end in a space.

    >>> conversion("/photos/a.webp")
    'Convert it first, for example with ImageMagick: magick /photos/a.webp /photos/a.png'
    """
    target = shlex.quote(str(Path(name).with_suffix(".png")))
    return f"Convert it first, for example with ImageMagick: magick {shlex.quote(name)} {options}{target}"


def check_size(width: int, height: int, name: str, max_pixels: int = MAX_PIXELS) -> None:
    """Check stated dimensions. Raises InputError where one is below 1, or for more than ``max_pixels`` pixels."""
    if width < 1 or height < 1:
        raise DamagedFileError(f"{name} is damaged: its header says {width}x{height} pixels")
    if width * height > max_pixels:
        limit = f"{max_pixels / 1e6:g} megapixels" if max_pixels >= 1_000_000 else f"{max_pixels} pixels"
        raise InputError(f"{name} is {width}x{height} pixels; at most {limit} are read; --max-pixels raises the limit")


def check_file_size(size: int, name: str) -> None:
    """Raises InputError for a file of more than MAX_FILE_BYTES."""
    if size > MAX_FILE_BYTES:
        raise InputError(f"{name} is larger than {MAX_FILE_BYTES >> 30} GB; leave it out")


def scan_jpeg(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """Header of a JPEG, by all its markers up to the end of image.

    Raises InputError where it is cut short, damaged, of an unsupported kind, or of more than ``max_pixels`` pixels.
    """
    position, exif = 2, None
    icc_parts: dict[int, bytes] = {}
    errors: dict[int, float] = {}
    width = height = sof_marker = scan_count = 0
    while True:
        match = _MARKER.match(data, position)
        if match is None:
            raise DamagedFileError(
                f"{name} is damaged or cut short: the JPEG breaks off at byte {position} of {len(data)}"
            )
        marker, position = match.group(1)[0], match.end()
        if marker == 0xD9:
            break
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            continue
        length = int.from_bytes(data[position : position + 2], "big")
        segment = data[position + 2 : position + length]
        if length < 2 or len(segment) != length - 2:
            raise DamagedFileError(
                f"{name} is damaged or cut short: the JPEG breaks off at byte {position} of {len(data)}"
            )
        position += length
        if marker == 0xE1 and segment[:6] == b"Exif\x00\x00" and exif is None and not scan_count:
            exif = segment[6:]
        elif marker == 0xE2 and segment[:12] == b"ICC_PROFILE\x00" and len(segment) > 14:
            icc_parts[segment[12]] = segment[14:]
        elif marker == 0xDB:
            errors |= _rounding_errors(segment)
        elif marker in _SOF_MARKERS:
            sof_marker = marker
            width, height = _check_jpeg_frame(marker, segment, len(data), name, max_pixels)
        elif marker == 0xDA:
            scan_end = _SCAN_END.search(data, position)
            if scan_end is None or not sof_marker:
                raise DamagedFileError(f"{name} is cut short: the JPEG has no end-of-image marker")
            position, scan_count = scan_end.start(), scan_count + 1
            if scan_count > MAX_JPEG_SCANS:
                raise DamagedFileError(f"{name} is damaged: a JPEG of more than {MAX_JPEG_SCANS} scans")
    if not sof_marker:
        raise DamagedFileError(f"{name} is damaged: the JPEG holds no picture")
    icc = b"".join(icc_parts[number] for number in sorted(icc_parts)) or None
    end = position - 2 if sof_marker in _HUFFMAN_SEQUENTIAL else 0
    error = (errors[min(errors)], errors[max(errors)]) if errors else (0.0, 0.0)
    return ImageHeader(width, height, exif, icc, None, end, rounding_error=error)


def _rounding_errors(segment: bytes) -> dict[int, float]:
    """Table number to mean(step^2) / 12 of the quantisation tables of a DQT segment (T.81, B.2.4.1)."""
    errors: dict[int, float] = {}
    while segment:
        wide, number = segment[0] >> 4, segment[0] & 15
        length = 1 + 64 * (1 + wide)
        if wide > 1 or len(segment) < length:
            break  # the decoder rejects it
        steps = struct.unpack(">64H" if wide else ">64B", segment[1:length])
        errors[number] = sum(step * step for step in steps) / 64 / 12
        segment = segment[length:]
    return errors


def _check_jpeg_frame(marker: int, segment: bytes, file_bytes: int, name: str, max_pixels: int) -> tuple[int, int]:
    """(width, height) of a start-of-frame segment. Raises InputError as ``scan_jpeg`` does."""
    if len(segment) < 6:
        raise DamagedFileError(f"{name} is damaged: its JPEG frame header is too short")
    precision, height, width, components = struct.unpack(">BHHB", segment[:6])
    check_size(width, height, name, max_pixels)
    if precision != 8 or components not in (1, 3) or marker not in _READ_SOF:
        kind = "CMYK" if components == 4 else f"{precision}-bit, {components} components"
        raise InputError(
            f"{name} is a JPEG of a kind that is not read ({kind}); 8-bit grey and RGB are. "
            f"{conversion(name, '-colorspace sRGB -depth 8 ')}"
        )
    is_huffman = marker < 0xC9
    if is_huffman and file_bytes * _MAX_JPEG_PIXELS_PER_BYTE < width * height:
        raise DamagedFileError(
            f"{name} is damaged or cut short: {file_bytes} bytes cannot hold {width}x{height} pixels"
        )
    return width, height


def scan_png(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """Header of a PNG, by all its chunks; checks the CRC of each.

    Raises InputError where it is cut short, damaged, or of more than ``max_pixels`` pixels.
    """
    position, idat_bytes, exif, text_exif, icc = 8, 0, None, None, None
    pixel_chunks = [data[:8]]
    ihdr: tuple[int, ...] = ()
    primaries: str | tuple[float, ...] | None = None
    while True:
        if position + 12 > len(data):
            raise DamagedFileError(f"{name} is cut short: the PNG breaks off at byte {len(data)}")
        length, chunk = struct.unpack_from(">I4s", data, position)
        body = data[position + 8 : position + 8 + length]
        position += 12 + length
        if ihdr == () and chunk == b"IHDR" and len(body) == 13:
            ihdr = struct.unpack(">IIBBBBB", body)
            check_size(ihdr[0], ihdr[1], name, max_pixels)
        if position > len(data):
            raise DamagedFileError(f"{name} is cut short: the PNG breaks off at byte {len(data)}")
        if zlib.crc32(body, zlib.crc32(chunk)) != int.from_bytes(data[position - 4 : position], "big") or not ihdr:
            raise DamagedFileError(
                f"{name} is damaged: the checksum of its PNG chunk {chunk.decode('latin-1')!r} is wrong"
            )
        if chunk in _PNG_PIXEL_CHUNKS:
            pixel_chunks.append(data[position - 12 - length : position])
        if chunk == b"IDAT":
            idat_bytes += length
        elif chunk == b"IEND":
            break
        elif chunk == b"eXIf":
            exif = body if exif is None else exif
        elif chunk in (b"tEXt", b"zTXt") and text_exif is None:
            text_exif = exif_of_text_chunk(chunk, body)
        elif chunk == b"iCCP":
            icc = _inflate_icc(body)
        elif chunk == b"sRGB" or (chunk == b"cICP" and body[:1] == b"\x01"):
            primaries = "rec709"
        elif chunk == b"cICP" and body[:1] in (b"\x09", b"\x0c"):
            primaries = "rec2020" if body[0] == 9 else "display-p3"
        elif chunk == b"cHRM" and length == 32 and primaries is None:
            primaries = tuple(value / 100_000 for value in struct.unpack(">8I", body))
    width, height, depth, color_type, compression, filters, interlace = ihdr
    channels, depths = _PNG_COLOR.get(color_type, (0, ()))
    if depth not in depths or (compression, filters) != (0, 0) or interlace > 1:
        raise DamagedFileError(f"{name} is damaged: its PNG header states a type that does not exist")
    if idat_bytes * _MAX_DEFLATE_RATIO * 8 < height * width * channels * depth:
        raise DamagedFileError(
            f"{name} is damaged or cut short: {idat_bytes} bytes cannot hold {width}x{height} pixels"
        )
    _check_inflated_size(pixel_chunks, height * (1 + (width * channels * depth + 7) // 8), name)
    exif = text_exif if exif is None else exif
    return ImageHeader(width, height, exif, icc, primaries, pixel_chunks=b"".join(pixel_chunks))


def _check_inflated_size(chunks: Iterable[bytes], size: int, name: str) -> None:
    """Raise InputError where the IDAT chunks inflate to far more than ``size`` bytes; libpng would inflate it all.

    Interlacing adds less than ``size``. Other damage is left to libpng.
    """
    inflater, left = zlib.decompressobj(), 2 * size
    for chunk in chunks:
        body = chunk[8:-4] if chunk[4:8] == b"IDAT" else b""
        while body and not inflater.eof:
            try:
                left -= len(inflater.decompress(body, _INFLATE_STEP))
            except zlib.error:
                return
            if left < 0:
                raise DamagedFileError(f"{name} is damaged: its data inflate to more than its header states")
            body = inflater.unconsumed_tail


def exif_of_text_chunk(chunk: bytes, body: bytes) -> bytes | None:
    """The EXIF block in a PNG text chunk as ImageMagick writes it; empty when damaged, None in any other chunk.

    The text behind the keyword is the profile's name, its length, and its bytes in hexadecimal.
    """
    keyword, _, text = body.partition(b"\0")
    if keyword != TEXT_CHUNK_KEYWORD:
        return None
    try:
        if chunk == b"zTXt":
            text = zlib.decompressobj().decompress(text[1:], _MAX_INFLATED_BYTES)
        return bytes.fromhex("".join(text.decode("ascii").split()[2:])).removeprefix(b"Exif\0\0")
    except (ValueError, zlib.error):
        return b""


def _inflate_icc(body: bytes) -> bytes | None:
    _, _, compressed = body.partition(b"\x00")
    try:
        return zlib.decompressobj().decompress(compressed[1:], _MAX_INFLATED_BYTES) or None
    except zlib.error:
        return None
