"""Exposure bracketing in maker notes: number of the shot, length of the sequence, EV offset that was set.

Tag numbers and layouts: the ExifTool tag tables, LibRaw's reader of Sony's tag 0x9400, Foveon's description of Sigma's
maker note. The tests compare them with blocks written byte by byte, and for Canon, Nikon, Fujifilm and Sony with
exifread. Maker notes are read by ``tiff_ifd``, because exifread with details follows their counts into gigabytes.
"""

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from PIL.ExifTags import Base as Tag

from smarthdr_cli.burst.exif import Tags
from smarthdr_cli.burst.tiff_ifd import BoundedReader, Ifd, read_byte_order, read_ifd

CAMERA_SETTINGS, FOCAL_LENGTH, SHOT_INFO, FILE_INFO = 0x0001, 0x0002, 0x0004, 0x0093  # Canon
_CANON_RECORDS = (CAMERA_SETTINGS, SHOT_INFO, FILE_INFO)
_SONY_DECIPHER = {pow(value, 3, 249): value for value in range(249)} | {value: value for value in range(249, 256)}
_SONY_TAG9400C = (0x23, 0x24, 0x26, 0x28, 0x31, 0x32, 0x33, 0x41, 0x43)  # first byte of this version of tag 0x9400
_PANASONIC_LENGTHS = {1: 3, 2: 3, 3: 5, 4: 5, 5: 7, 6: 7}  # BracketSettings to frames
_SIGMA_SHOT = re.compile(r"(\d\d?) of (\d\d?)")
_MAX_SHOT = 99
_MAX_EV_OFFSET = 20  # EV


@dataclass(frozen=True)
class MakerBracketing:
    """Bracketing as the maker note of one frame states it; None is unknown.

    ``name``: the maker, for messages. ``shot``: number of this frame, from 1. ``length``: frames of the sequence.
    ``bracket``: whether exposure bracketing was on. ``value``: EV offset of this frame.
    """

    name: str = ""
    shot: int | None = None
    length: int | None = None
    bracket: bool | None = None
    value: float | None = None


UNKNOWN_BRACKETING = MakerBracketing()


def read_bracketing(directories: Sequence[Tags], make: str, maker_note: Tags | None = None) -> MakerBracketing:
    """Bracketing by the MakerNote tag of ``directories``, or by ``maker_note`` where the container stores it apart.

    ``make``: the EXIF make. Returns UNKNOWN_BRACKETING for other makers. Raises IndexError, KeyError, ValueError or
    OverflowError for damaged notes.
    """
    if maker_note is not None:
        return _canon(maker_note) if isinstance(maker_note, Ifd) else _sigma(maker_note)
    exif = next((tags for tags in directories if isinstance(tags, Ifd) and Tag.MakerNote in tags), None)
    if exif is None:
        return UNKNOWN_BRACKETING
    start = exif.entries[Tag.MakerNote].offset
    header = exif.reader.read(start, 16)
    order, base, reader = exif.order, exif.base, exif.reader
    if make.startswith("Canon"):
        return _canon(_canon_ifd(reader, order, base, start))
    if header.startswith(b"Nikon\0\x02"):
        nikon_order = read_byte_order(reader, start + 10)
        pointer = reader.read(start + 14, 4)
        if nikon_order is None or len(pointer) < 4:
            return UNKNOWN_BRACKETING
        return _nikon(read_ifd(reader, nikon_order, start + 10, struct.unpack(nikon_order + "I", pointer)[0]))
    if header.startswith(b"FUJIFILM") and len(header) >= 12:
        return _fujifilm(read_ifd(reader, "<", start, struct.unpack("<I", header[8:12])[0]))
    if header.startswith((b"SONY DSC ", b"SONY CAM ", b"SONY MOBILE")):
        return _sony(read_ifd(reader, order, base, start + 12 - base))
    if make.upper().startswith("SONY"):
        return _sony(read_ifd(reader, order, base, start - base))
    if header.startswith(b"Panasonic\0"):
        return _panasonic(read_ifd(reader, order, base, start + 12 - base))
    if header.startswith(b"OLYMPUS\0"):
        return _olympus(read_ifd(reader, read_byte_order(reader, start + 8) or order, start, 12))
    if header.startswith(b"OM SYSTEM\0"):
        return _olympus(read_ifd(reader, read_byte_order(reader, start + 12) or order, start, 16))
    if header.startswith(b"OLYMP\0"):
        return _olympus(read_ifd(reader, order, base, start + 8 - base))
    if header.startswith(b"AOC\0"):
        return _pentax(read_ifd(reader, read_byte_order(reader, start + 4) or order, base, start + 6 - base))
    if header.startswith(b"PENTAX \0"):
        return _pentax(read_ifd(reader, read_byte_order(reader, start + 8) or order, start, 10))
    if header.startswith((b"SIGMA\0\0\0", b"FOVEON\0\0")):
        return _sigma(read_ifd(reader, order, base, start + 10 - base))
    if make.upper().startswith(("MINOLTA", "KONICA MINOLTA")):
        return _minolta(read_ifd(reader, order, base, start - base))
    return UNKNOWN_BRACKETING


def _shot_number(value: float | None) -> int | None:
    return int(value) if value is not None and 1 <= value <= _MAX_SHOT else None


def _canon_ifd(reader: BoundedReader, order: str, base: int, start: int) -> Ifd:
    """The IFD of Canon's maker note at ``start``, with corrected offsets where an editor has moved the note.

    The values follow the IFD, so the lowest offset shows how far the note was moved. A record begins with its own
    length, which shows whether the offsets are valid as they are.
    """
    ifd = read_ifd(reader, order, base, start - base)
    value_offsets = [entry.offset for entry in ifd.entries.values() if entry.size > 4]
    if not value_offsets or any(canon_record(ifd, tag) for tag in _CANON_RECORDS):
        return ifd
    moved_base = base + ifd.end - min(value_offsets)
    return read_ifd(reader, order, moved_base, start - moved_base)


def canon_record(ifd: Ifd, tag: int) -> tuple[int, ...]:
    """The signed 16-bit numbers of a Canon record; empty unless the first one is the length of the record in bytes."""
    values = tuple(int(v) - 65536 if v > 32767 else int(v) for v in ifd.numbers(tag))
    return values if values and values[0] == ifd.entries[tag].size else ()


def _canon(ifd: Ifd) -> MakerBracketing:
    """FileInfo: bracket mode, value, shot number. Cameras without it: AEB value and shot number of ShotInfo."""
    file_info, shot_info = canon_record(ifd, FILE_INFO), canon_record(ifd, SHOT_INFO)
    aeb_shot = shot_info[16] if len(shot_info) > 16 else None
    aeb_value = canon_ev(shot_info[17]) if len(shot_info) > 17 else None
    mode = file_info[3] if len(file_info) > 5 else None
    if mode in (1, 3):  # AEB, ISO
        value = canon_ev(file_info[4])
        return MakerBracketing("Canon", _shot_number(file_info[5]), None, True, value or aeb_value or value)
    if mode == 0 and aeb_shot in (None, 0):
        return MakerBracketing("Canon", bracket=False)
    if aeb_shot:
        return MakerBracketing("Canon", _shot_number(aeb_shot), None, True, aeb_value)
    return MakerBracketing("Canon", bracket=False if aeb_shot == 0 else None)


def canon_ev(code: int) -> float:
    """Canon's EV code in EV: steps of 1/32, but 12 and 20 of each 32 are one and two thirds."""
    sign = -1 if code < 0 else 1
    ev, steps = divmod(abs(code), 32)
    return sign * (ev + {12: 1 / 3, 20: 2 / 3}.get(steps, steps / 32))


def _nikon(ifd: Ifd) -> MakerBracketing:
    """Bit 4 of ShootingMode (0x0089), ExposureBracketValue (0x0019)."""
    mode, value = ifd.number(0x0089), ifd.number(0x0019)
    bracket = None if mode is None else bool(int(mode) & 16)
    if not bracket or value is None or abs(value) >= _MAX_EV_OFFSET:
        value = None
    return MakerBracketing("Nikon", bracket=bracket, value=value)


def _fujifilm(ifd: Ifd) -> MakerBracketing:
    """AutoBracketing (0x1100), SequenceNumber (0x1101)."""
    mode = ifd.number(0x1100)
    return MakerBracketing("Fujifilm", _shot_number(ifd.number(0x1101)), None, None if mode is None else mode == 1)


def _sony(ifd: Ifd) -> MakerBracketing:
    """Tag 0x9400 in a known version, enciphered; else ReleaseMode (0xb049) and SequenceNumber (0xb04a)."""
    data = ifd.value_bytes(0x9400, 64)
    plain = bytes(_SONY_DECIPHER[value] for value in data)
    offsets: tuple[int, int, int] | None = None  # of release mode, image number (from 0) and length in shots
    if len(data) >= 31 and data[0] in _SONY_TAG9400C:
        offsets = (0x09, 0x12, 0x16)
    elif len(data) >= 31 and data[0] == 0x0C:
        offsets = (0x10, 0x08, 0x1E)
    elif len(data) >= 35 and data[0] == 0x0A:
        offsets = (0x10, 0x08, 0x22)
    if offsets is not None:
        mode, length = plain[offsets[0]], plain[offsets[2]]
        shot = struct.unpack_from("<I", plain, offsets[1])[0] + 1
        if 2 <= length <= 32 and shot <= length:
            return MakerBracketing("Sony", shot, length, True if mode == 2 else None)
        return MakerBracketing("Sony", bracket=True if mode == 2 else False if mode == 0 else None)
    release_mode, sequence_number = ifd.number(0xB049), ifd.number(0xB04A)
    bracket = None if release_mode is None or release_mode == 65535 else release_mode == 5
    return MakerBracketing("Sony", _shot_number(sequence_number), None, bracket)


def _panasonic(ifd: Ifd) -> MakerBracketing:
    """BurstMode (0x2a) 2 is bracketing; SequenceNumber (0x2b), BracketSettings (0x45)."""
    mode, settings = ifd.number(0x2A), ifd.number(0x45)
    length = _PANASONIC_LENGTHS.get(int(settings)) if settings is not None else None
    bracket = None if mode is None else mode == 2
    return MakerBracketing("Panasonic", _shot_number(ifd.number(0x2B)), length if bracket else None, bracket)


def _olympus(ifd: Ifd) -> MakerBracketing:
    """DriveMode (0x0600 of the CameraSettings IFD 0x2020): mode, of which 2 and 4 are bracketing, and shot number."""
    pointer = ifd.entries.get(0x2020)
    if pointer is None:
        return UNKNOWN_BRACKETING
    number = ifd.number(0x2020)
    offset = int(number) if pointer.count == 1 and number is not None else pointer.offset - ifd.base
    drive_mode = read_ifd(ifd.reader, ifd.order, ifd.base, offset).numbers(0x0600)
    if len(drive_mode) < 2:
        return MakerBracketing("Olympus")
    return MakerBracketing("Olympus", _shot_number(drive_mode[1]), None, drive_mode[0] in (2, 4))


def _pentax(ifd: Ifd) -> MakerBracketing:
    """AutoBracketing (0x0018) is the EV step; byte 9 of CameraSettings (0x0205) is shot (from 0) and length."""
    step = ifd.number(0x0018)
    settings = ifd.value_bytes(0x0205)
    if not step:
        return MakerBracketing("Pentax", bracket=None if step is None else False)
    shot, length = divmod(settings[9], 16) if len(settings) > 9 else (0, 0)
    if 2 <= length <= 9 and shot < length:
        return MakerBracketing("Pentax", shot + 1, length, True)
    return MakerBracketing("Pentax", bracket=True)


def _minolta(ifd: Ifd) -> MakerBracketing:
    """The 7th big-endian number of the camera settings (0x0003, older models 0x0001) is DriveMode; 4 is bracketing."""
    settings = ifd.value_bytes(0x0003) or ifd.value_bytes(0x0001)
    if len(settings) < 28:
        return MakerBracketing("Minolta")
    return MakerBracketing("Minolta", bracket=struct.unpack_from(">I", settings, 24) == (4,))


def _sigma(tags: Tags) -> MakerBracketing:
    """AutoBracket (0x0019): text such as "2 of 3", blank when off."""
    match = _SIGMA_SHOT.fullmatch(tags.text(0x0019) or "")
    if match is None:
        return MakerBracketing("Sigma", bracket=False if 0x0019 in tags else None)
    shot, length = int(match.group(1)), int(match.group(2))
    if 1 <= shot <= length and length > 1:
        return MakerBracketing("Sigma", shot, length, True)
    return MakerBracketing("Sigma")
