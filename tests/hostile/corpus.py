"""Odd and hostile files, made from scratch: pictures in every dress that is read, and what only looks like one."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

WIDTH, HEIGHT = 96, 64
EVS = (-2, 0, 2)
# Adam7 (W3C PNG third edition, 8): first column, first row, step across, step down of each pass.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def light() -> NDArray[np.float64]:
    """(H, W, 3) linear, 1 = the clip of the middle frame: smooth waves over five stops."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    waves = 0.6 + 0.25 * np.sin(x / 7 + y / 13) + 0.15 * np.sin(y / 5 - x / 17)
    return np.asarray((waves * 2.0 ** (5 * x / WIDTH - 3.5))[..., None] * np.array([1.0, 0.9, 0.75]))


def codes(ev: float, grey: bool = False) -> NDArray[np.uint16]:
    """16-bit sRGB codes of the scene at an exposure; of its green alone where ``grey``."""
    linear = np.clip(light()[..., 1:2] if grey else light(), None, None) * 2.0**ev
    linear = np.clip(linear, 0, 1)
    shown = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)  # IEC 61966-2-1
    return np.round(shown * 65535).astype(np.uint16).squeeze()


def eight(ev: float, grey: bool = False) -> NDArray[np.uint8]:
    return np.round(codes(ev, grey) / 257).astype(np.uint8)


def pillow(pixels: NDArray[Any], form: str, mode: str | None = None, **options: Any) -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(stream, form, **options)
    return stream.getvalue()


def tiff(*pages: NDArray[Any], **options: Any) -> bytes:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream, bigtiff=options.pop("bigtiff", False)) as file:
        for page in pages:
            file.write(page, metadata=None, **options)
    return stream.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(pixels: NDArray[Any], *, interlaced: bool = False) -> bytes:
    """Of (H, W[, C]) uint8 or uint16, without filters, in Adam7's passes where ``interlaced``."""
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    color = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    big = pixels.astype(pixels.dtype.newbyteorder(">"))
    passes = [big[y::down, x::across] for x, y, across, down in _PASSES] if interlaced else [big]
    rows = b"".join(b"\0" + row.tobytes() for part in passes if part.size for row in part)
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.dtype.itemsize, color, 0, 0, interlaced)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def with_alpha(pixels: NDArray[Any]) -> NDArray[Any]:
    """A fourth channel that is half transparent in places: what is stored counts, not how it would be laid over."""
    alpha = np.full((*pixels.shape[:2], 1), np.iinfo(pixels.dtype).max, pixels.dtype)
    alpha[::2] //= 3
    return np.concatenate([pixels if pixels.ndim == 3 else pixels[..., None], alpha], axis=-1)


# Name of a file that must be read, and what it holds at an exposure. Grey ones hold the green of the scene.
READ: dict[str, Callable[[float], bytes]] = {
    "plain.jpg": lambda ev: pillow(eight(ev), "JPEG", quality=95, subsampling=0),
    "progressive.jpg": lambda ev: pillow(eight(ev), "JPEG", quality=95, subsampling=0, progressive=True),
    "restarts.jpg": lambda ev: pillow(eight(ev), "JPEG", quality=95, subsampling=0, restart_marker_blocks=3),
    "grey.jpg": lambda ev: pillow(eight(ev, True), "JPEG", quality=95),
    "after.jpg": lambda ev: pillow(eight(ev), "JPEG", quality=95, subsampling=0) + b"MPF and trailers" * 99,
    "really-a.png.jpg": lambda ev: png(eight(ev)),
    "really-a.tif.png": lambda ev: tiff(codes(ev), photometric="rgb"),
    "really-a.jpg.tif": lambda ev: pillow(eight(ev), "JPEG", quality=95, subsampling=0),
    "without-ending": lambda ev: png(eight(ev)),
    "interlaced.png": lambda ev: png(eight(ev), interlaced=True),
    "interlaced16.png": lambda ev: png(codes(ev), interlaced=True),
    "grey16.png": lambda ev: png(codes(ev, True)),
    "alpha.png": lambda ev: png(with_alpha(eight(ev))),
    "grey-alpha16.png": lambda ev: png(with_alpha(codes(ev, True))),
    "grey16.tif": lambda ev: tiff(codes(ev, True), photometric="minisblack"),
    "alpha16.tif": lambda ev: tiff(with_alpha(codes(ev)), photometric="rgb", extrasamples=["unassalpha"]),
    "pages.tif": lambda ev: tiff(codes(ev), codes(0)[::-1], photometric="rgb"),
    "lzw.tif": lambda ev: pillow(eight(ev), "TIFF", compression="tiff_lzw"),
    "tiles-big.tif": lambda ev: tiff(codes(ev), photometric="rgb", bigtiff=True, tile=(16, 32), compression="zlib"),
}


def ifd(*entries: tuple[int, int, int, int], after: int = 0) -> bytes:
    """A directory of (tag, type, count, value) and the offset of the next."""
    body = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return struct.pack("<H", len(entries)) + body + struct.pack("<I", after)


def block(*directories: bytes) -> bytes:
    return b"II*\0\x08\0\0\0" + b"".join(directories)


def chain(count: int, entries: int) -> bytes:
    """Overlapping directories, each of ``entries`` entries and each leading to the next."""
    data = bytearray(8 + 6 * count + 2 + 12 * entries + 8 + 6 * count)
    data[:8] = b"II*\0\x08\0\0\0"
    for at in range(8, 8 + 6 * count, 6):
        struct.pack_into("<H", data, at, entries)
    for at in range(8, 8 + 6 * (count - 1), 6):
        struct.pack_into("<I", data, at + 2 + 12 * entries, at + 6)
    return bytes(data)


# EXIF blocks that lead in circles or promise more than there is.
EXIF: dict[str, bytes] = {
    "next-is-itself": block(ifd((0x0112, 3, 1, 1), after=8)),
    "exif-is-itself": block(ifd((0x8769, 4, 1, 8), (0x8825, 4, 1, 8), (0xA005, 4, 1, 8), after=8)),
    "two-in-a-ring": block(ifd((0x0112, 3, 1, 1), after=26), ifd((0x0112, 3, 1, 1), after=8)),
    "chain": chain(400, 4500),
    "texts": block(ifd(*((0x9000 + n, 2, 0xFFFFFFFF, 8) for n in range(4500)))).ljust(64_000, b"A"),
    "counts": block(ifd(*((tag, kind, 0xFFFFFFFF, 0x7FFFFFF0) for tag in (0x829A, 0x829D, 0x8827, 0x927C)
                          for kind in (3, 5, 12)))),
    "beyond": block(struct.pack("<H", 65535)),
    "thumbnail": block(ifd((0x8769, 4, 1, 8), after=26), ifd((0x0201, 4, 1, 0), (0x0202, 4, 1, 0xFFFFFFFF))),
}  # fmt: skip


def jpeg_with(exif: bytes, ev: float) -> bytes:
    whole, body = READ["plain.jpg"](ev), b"Exif\0\0" + exif[:65_000]
    return whole[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + whole[2:]


def png_bomb() -> bytes:
    """60000 x 4000 pixels in a quarter of a megabyte: what deflate can, and more than the limit of pixels a byte."""
    header = struct.pack(">IIBBBBB", 60000, 4000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1 << 20)))+ chunk(b"IEND", b"")  # fmt: skip  # noqa: E501


def scan_bomb() -> bytes:
    """A progressive JPEG whose last scan, of some dozens of bytes, comes ten thousand times: a pass over it each."""
    whole = pillow(np.full((2000, 3000, 3), 40, np.uint8), "JPEG", progressive=True)
    last = whole[whole.rindex(b"\xff\xda") : -2]
    return whole[:-2] + 10_000 * last + whole[-2:]


def png_with_more() -> bytes:
    """A PNG that holds twice the rows that its header states."""
    twice = png(np.concatenate([eight(0), eight(0)]))
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    return twice[:8] + chunk(b"IHDR", header) + twice[33:]


def png_that_inflates() -> bytes:
    """A small PNG with a picture's data of three gigabytes, in as many megabytes: libpng reads them to their end."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = deflate.compress(bytes(1 << 24)) + deflate.flush(zlib.Z_FULL_FLUSH)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"\x78\xda" + 200 * block) + chunk(b"IEND", b"")  # fmt: skip  # noqa: E501


def lzw_zeroed() -> bytes:
    """An LZW TIFF with the last 65 % of its pixel bytes zero: libtiff goes on and leaves the rest black."""
    data = bytearray(tiff(eight(0), photometric="rgb", compression="lzw", rowsperstrip=HEIGHT))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        (at,), (length,) = file.pages.first.dataoffsets, file.pages.first.databytecounts
    kept = length * 35 // 100
    data[at + kept : at + length] = bytes(length - kept)
    return bytes(data)


def encoded_tiff(segment: bytes, shape: tuple[int, ...], compression: str) -> bytes:
    """A TIFF of one strip that holds what is given, whatever its header says."""
    stream = io.BytesIO()
    options = {"photometric": "rgb", "compression": compression, "rowsperstrip": shape[0]}
    tifffile.imwrite(stream, iter([segment]), shape=shape, dtype="u1", metadata=None, **options)
    return stream.getvalue()


def _flipped(data: bytes) -> bytes:
    out = bytearray(data)
    out[len(out) // 2] ^= 0x10
    return bytes(out)


# Files that must be refused, and a word of the line that says why.
REFUSED: dict[str, tuple[bytes, str]] = {
    "empty.jpg": (b"", "is empty"),
    "text.jpg": (b"no picture\n" * 99, "is not a picture"),
    "zeros.jpg": (bytes(5000), "is not a picture"),
    "cmyk.jpg": (pillow(eight(0), "JPEG", "CMYK"), "CMYK"),
    "gif.jpg": (pillow(eight(0), "GIF"), "is a GIF"),
    "webp.png": (b"RIFF\x24\0\0\0WEBPVP8 ".ljust(60, b"\0"), "is a WebP"),
    "heic.jpg": (b"\0\0\0\x18ftypheic".ljust(60, b"\0"), "HEIF"),
    "one.png": (png(np.full((1, 1, 3), 90, np.uint8)), "1x1"),
    "bomb.png": (png_bomb(), "cannot hold"),
    "lzw-zeroed.tif": (lzw_zeroed(), "damaged"),
    "inflates.tif": (encoded_tiff(zlib.compress(bytes(1 << 26), 1), (100, 100, 3), "zlib"), "damaged"),
    "claims.tif": (encoded_tiff(imagecodecs.lzw_encode(bytes(160_000)), (9000, 9000, 3), "lzw"), "damaged"),
    "jpeg2000.tif": (tiff(eight(0), photometric="rgb", compression="jpeg2000"), "compression that is not read"),
    "more.png": (png_with_more(), "Too much image data"),
    "inflates.png": (png_that_inflates(), "inflate to more"),
    "scans.jpg": (scan_bomb(), "more than 100 scans"),
    "flipped.png": (_flipped(READ["alpha.png"](0)), "checksum"),
    "markers.jpg": (b"\xff\xd8\xff\xe0\0\x02" * 20_000, "damaged"),
    "soi.jpg": (b"\xff\xd8\xff\xd8" * 2000, "cut short"),
    "circle.tif": (EXIF["next-is-itself"], "damaged"),
    "ring.tif": (EXIF["two-in-a-ring"], "damaged"),
    "chain.tif": (chain(2000, 4000), "damaged"),
    "beyond.tif": (b"II*\0\xff\xff\xff\x7f", "damaged"),
    "jpeg-with-less.jpg": (READ["plain.jpg"](0)[:-400] + b"\xff\xd9", "cut short"),
}
