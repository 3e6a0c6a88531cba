"""Camera files for tests: small images of a view at an exposure, EXIF by Pillow, maker notes byte by byte."""

import io
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

WIDTH, HEIGHT = 96, 64
NOON = datetime(2026, 5, 6, 12, 0, 0, tzinfo=UTC)
# The bytes of a maker note, given their offset in the TIFF block and its byte order.
Note = Callable[[int, str], bytes]


@cache
def view(seed: int) -> NDArray[np.float64]:
    """(H, W, 3) linear light of a random scene, 16 pixels wider and higher than a frame."""
    rng = np.random.default_rng(seed)
    total = np.zeros((HEIGHT + 16, WIDTH + 16))
    for cells, weight in ((4, 1.3), (10, 0.8), (28, 0.4)):
        coarse = Image.fromarray(rng.normal(0, 1, (cells, cells)).astype(np.float32))
        total += weight * np.asarray(coarse.resize((WIDTH + 16, HEIGHT + 16), Image.Resampling.BICUBIC), np.float64)
    return np.asarray(0.18 * np.exp(total)[..., None] * np.array([1.1, 1.0, 0.85]))


def picture(seed: int, ev: float, shift: int = 0, *, turned: bool = False) -> Image.Image:
    """An 8-bit sRGB frame of a view at ``ev``, with the camera moved by ``shift`` pixels."""
    linear = np.clip(view(seed)[8 : 8 + HEIGHT, 8 + shift : 8 + shift + WIDTH] * 2.0**ev, 0, 1)
    codes = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    image = Image.fromarray(np.round(255 * codes).astype(np.uint8))
    return image.transpose(Image.Transpose.ROTATE_90) if turned else image


def directory(order: str, base: int, entries: Sequence[tuple[int, int, Any]], *, start: int) -> bytes:
    """A TIFF directory at ``start`` of its maker note; ``base`` is added to the offsets in the note.

    Entries are (tag, type, values): type 3 SHORT, 4 LONG, 8 SSHORT, 10 SRATIONAL (pairs), 2 and 7 bytes.
    """
    codes = {3: "H", 4: "I", 8: "h", 10: "i"}
    body, extra = struct.pack(order + "H", len(entries)), b""
    after = start + 2 + 12 * len(entries) + 4
    for tag, kind, values in sorted(entries):
        raw = values if kind in (2, 7) else struct.pack(f"{order}{len(values)}{codes[kind]}", *values)
        count = len(values) // 2 if kind == 10 else len(values)
        body += struct.pack(order + "HHI", tag, kind, count)
        if len(raw) <= 4:
            body += raw.ljust(4, b"\0")
        else:
            body += struct.pack(order + "I", base + after + len(extra))
            extra += raw + b"\0" * (len(raw) % 2)
    return body + b"\0" * 4 + extra


def sony(shot: int, length: int, mode: int = 2, version: str = "c") -> Note:
    """0x9400, enciphered byte by byte as the cube modulo 249."""
    plain = bytearray(64)
    head, release, image, count = {"c": (None, 9, 18, 22), "b": (0x0C, 16, 8, 30), "a": (0x0A, 16, 8, 34)}[version]
    plain[release], plain[count] = mode, length
    struct.pack_into("<I", plain, image, shot - 1)
    coded = bytearray(pow(v, 3, 249) if v < 249 else v for v in plain)
    coded[0] = 0x23 if head is None else head
    return lambda at, order: b"SONY DSC \0\0\0" + directory(order, at, [(0x9400, 7, bytes(coded))], start=12)


def sony_old(shot: int, mode: int = 5) -> Note:
    return lambda at, order: (
        b"SONY DSC \0\0\0" + directory(order, at, [(0xB049, 3, [mode]), (0xB04A, 3, [shot])], start=12)
    )


def canon(shot: int, value: float, mode: int = 1) -> Note:
    """FileInfo: bracket mode, value in Canon's code, shot number."""
    whole, part = divmod(round(abs(value) * 3), 3)
    code = (whole * 32 + (0, 12, 20)[part]) * (1 if value >= 0 else -1)
    info = [24, 1, 0, mode, code, shot, 0, 0, 0, 0, 0, 0]
    return lambda at, order: directory(order, at, [(0x0093, 8, info)], start=0)


def canon_shot(shot: int, value: float) -> Note:
    """ShotInfo only: the AEB shot and the value in 1/32 EV."""
    info = [40] + [0] * 19  # the record's length in bytes comes first
    info[16], info[17] = shot, round(value * 32)
    return lambda at, order: directory(order, at, [(0x0004, 8, info)], start=0)


def nikon(value: float, mode: int = 16) -> Note:
    entries = [(0x0089, 3, [mode]), (0x0019, 10, [round(value * 6), 6])]
    return lambda at, order: b"Nikon\0\x02\x10\0\0" + b"MM\0*\0\0\0\x08" + directory(">", 0, entries, start=8)


def fujifilm(shot: int, mode: int = 1) -> Note:
    entries = [(0x1100, 3, [mode]), (0x1101, 3, [shot])]
    return lambda at, order: b"FUJIFILM\x0c\0\0\0" + directory("<", 0, entries, start=12)


def panasonic(shot: int, settings: int = 3) -> Note:
    entries = [(0x2A, 3, [2]), (0x2B, 4, [shot]), (0x45, 3, [settings])]
    return lambda at, order: b"Panasonic\0\0\0" + directory(order, at, entries, start=12)


def olympus(shot: int, head: bytes = b"OLYMPUS\0II\x03\0") -> Note:
    start = len(head)
    outer = directory("<", 0, [(0x2020, 4, [start + 18])], start=start)
    inner = directory("<", 0, [(0x0600, 3, [2, shot, 0, 0, 0])], start=start + 18)
    return lambda at, order: head + outer + inner


def pentax(shot: int, length: int, step: int = 3, head: bytes = b"AOC\0MM") -> Note:
    """The step in thirds; of the 23 bytes of settings the tenth holds the shot, from 0, and how many there are."""
    settings = bytes(9) + bytes(((shot - 1) * 16 + length if length else 0,)) + bytes(13)
    entries = [(0x0018, 3, [step]), (0x0205, 7, settings)]
    absolute = head.startswith(b"AOC")
    return lambda at, order: head + directory(">", at if absolute else 0, entries, start=len(head))


def minolta(mode: int, tag: int = 0x0003) -> Note:
    settings = struct.pack(">20I", *[0] * 6, mode, *[0] * 13)
    return lambda at, order: directory(order, at, [(tag, 7, settings)], start=0)


def sigma(bracket: str | None, head: bytes = b"SIGMA\0\0\0\1\0") -> Note:
    entries = [] if bracket is None else [(0x0019, 2, bracket.encode() + b"\0")]
    return lambda at, order: head + directory(order, at, [(0x0003, 2, b"AB\0"), *entries], start=len(head))


def displaced(note: Note, by: int) -> Note:
    """A note that an editor moved by ``by`` bytes without changing the offsets in it."""
    return lambda at, order: note(max(at - by, 0), order)


@dataclass
class Camera:
    """The tags that all frames of a camera share."""

    make: str = "Maker"
    model: str = "Model X"
    serial: str | None = "1001"
    lens: str | None = "35mm F1.8"
    subsec: bool = True
    base: float = 1 / 100  # seconds at EV 0
    prefix: str = "IMG_"
    digits: int = 4


@dataclass
class Shoot:
    """A shoot in progress: ``clock`` advances with every exposure; files are written at once."""

    folder: Path
    camera: Camera = field(default_factory=Camera)
    clock: datetime = NOON
    number: int = 1
    view: int = 0
    files: dict[str, Path] = field(default_factory=dict)

    def wait(self, seconds: float) -> "Shoot":
        self.clock += timedelta(seconds=seconds)
        return self

    def take(
        self,
        ev: float = 0.0,
        *,
        name: str | None = None,
        suffix: str = ".JPG",
        time: float | None = None,
        aperture: float | None = 8.0,
        iso: int | None = 100,
        bias: float | None = None,
        mode: int | None = None,
        flash: int | None = None,
        focal: float | None = 35.0,
        orientation: int | None = None,
        zone: str | None = None,
        note: Note | None = None,
        stamped: str = "start",
        without_exif: bool = False,
        shift: int = 0,
        pixel_ev: float | None = None,
    ) -> Path:
        """One exposure, written at once. ``stamped``: "start", "end" or "never"; ``pixel_ev``: None is ``ev``."""
        exposure = self.camera.base * 2.0**ev if time is None else time
        begun = self.clock
        self.clock += timedelta(seconds=exposure)
        stem = f"{self.camera.prefix}{self.number:0{self.camera.digits}d}" if name is None else name
        self.number += 1
        exif = Image.Exif()
        details = exif.get_ifd(0x8769)
        camera = self.camera
        exif[0x010F], exif[0x0110] = camera.make, camera.model
        moment = begun if stamped == "start" else self.clock
        if stamped != "never":
            details[0x9003] = moment.strftime("%Y:%m:%d %H:%M:%S")
            if camera.subsec:
                details[0x9291] = f"{moment.microsecond // 1000:03d}"
        details[0x829A] = IFDRational(round(exposure * 10**6), 10**6)
        rationals = {0x829D: aperture, 0x920A: focal}
        for tag, number in rationals.items():
            if number is not None:
                details[tag] = IFDRational(round(number * 100), 100)
        if bias is not None:
            details[0x9204] = IFDRational(round(bias * 6), 6)
        others = {0x8827: iso, 0xA402: mode, 0x9209: flash, 0xA431: camera.serial, 0xA434: camera.lens, 0x9011: zone}
        for tag, value in others.items():
            if value is not None:
                details[tag] = value
        if orientation is not None:
            exif[0x0112] = orientation
        path = self.folder / f"{stem}{suffix}"
        block = b"" if without_exif else _block(exif, note)
        image = picture(self.view, ev if pixel_ev is None else pixel_ev, shift)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(block[6:] if suffix in (".ARW", ".NEF") else _jpeg(image, block))
        self.files[stem] = path
        return path


def _block(exif: Image.Exif, note: Note | None) -> bytes:
    """ "Exif" prefix and TIFF block; the note is written twice, the second time with its final offset."""
    if note is None:
        return _prefixed(exif.tobytes())
    order = {b"II": "<", b"MM": ">"}[_prefixed(exif.tobytes())[6:8]]
    first = note(0, order)
    exif.get_ifd(0x8769)[0x927C] = first
    block = _prefixed(exif.tobytes())
    at = block.index(first)
    return block[:at] + note(at - 6, order) + block[at + len(first) :]


def _prefixed(block: bytes) -> bytes:
    return block if block.startswith(b"Exif\0\0") else b"Exif\0\0" + block


def _jpeg(image: Image.Image, block: bytes) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=92)
    body = stream.getvalue()
    return body if not block else body[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + body[2:]


def orders(count: int, step: float) -> dict[str, list[float]]:
    """The EVs of a bracket in the orders of cameras: "-0+" ascending, "0-+" the middle first, and so on."""
    half = count // 2
    rising = [step * (i - half) for i in range(count)]
    outwards = [0.0] + [sign * step * i for i in range(1, half + 1) for sign in (-1, 1)]
    first = [0.0, *(step * -i for i in range(1, half + 1)), *(step * i for i in range(1, half + 1))]
    return {"-0+": rising, "+0-": rising[::-1], "0-+": outwards if count <= 3 else first, "0-+-+": outwards}
