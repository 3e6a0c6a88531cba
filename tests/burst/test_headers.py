"""Headers against exifread's reading of the same bytes; containers, maker notes, loops, bombs and damage."""

import contextlib
import io
import random
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import exifread
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from smarthdr_cli.burst.exif_location import locate, parse_exif
from smarthdr_cli.burst.makernotes import Maker
from smarthdr_cli.burst.read import read_frame
from smarthdr_cli.burst.tiff_ifd import Source, first_directory
from smarthdr_cli.errors import InputError
from smarthdr_cli.grouping.header import read_header
from tests.support.camera_files import (
    Camera,
    Note,
    Shoot,
    canon,
    canon_shot,
    directory,
    displaced,
    fujifilm,
    minolta,
    nikon,
    olympus,
    panasonic,
    pentax,
    sigma,
    sony,
    sony_old,
)

from .conftest import EXIF_TAGS
from .test_agreement import structure

Exif = Callable[..., bytes]
Jpeg = Callable[..., Path]
GREY = np.full((48, 64, 3), 90, np.uint8)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "tags",
    [
        {"ExposureTime": (1, 250), "FNumber": (28, 5), "ISOSpeedRatings": 400, "Make": "Canon", "Model": "EOS R5"},
        {"ShutterSpeedValue": (-3, 1), "ApertureValue": (6, 1), "RecommendedExposureIndex": 640},
        {"ISOSpeedRatings": 65535, "RecommendedExposureIndex": 102400, "ExposureTime": (1, 0)},
        {"ISOSpeedRatings": 65535, "ISOSpeed": 204800, "FNumber": (0, 0), "ExposureTime": (0, 1)},
        {"ISOSpeedRatings": 65535, "LensModel": "RF24-70", "FocalLength": (35, 1), "Orientation": 6},
        {"DateTimeOriginal": "2026:05:06 07:08:09", "OffsetTimeOriginal": "-03:30", "DateTime": "2027:01:01 00:00:00"},
    ],
    ids=str,
)
def test_the_same_as_exifread_says(jpeg: Jpeg, exif: Exif, order: str, tags: dict[str, Any]) -> None:
    """Tag by tag; a ratio over 0 is no number."""
    block = exif(order, **tags)
    said = {tag.tag: tag.values for tag in exifread.process_file(io.BytesIO(block), details=False).values()}
    path = jpeg("a.jpg", GREY, block)
    with path.open("rb") as file:
        found = locate(Source(file), path.name)
        for tag in (EXIF_TAGS[name][1] for name in tags):
            if isinstance(said[tag], str):
                assert found.text(tag) == said[tag]
                continue
            (value,) = said[tag]
            undefined = isinstance(value, exifread.utils.Ratio) and value.den == 0
            assert found.number(tag) == (None if undefined else pytest.approx(float(value)))
    stated, header = parse_exif(block), read_header(path)
    assert (header.time, header.aperture, header.iso) == (stated.time, stated.aperture, stated.iso)
    assert header.size == ((48, 64) if stated.orientation == 6 else (64, 48))


def test_the_moment(tmp_path: Path) -> None:
    shoot = Shoot(tmp_path).wait(1.25)
    found = read_header(shoot.take(zone="+02:00"))
    assert found.timestamp == pytest.approx(1_778_068_800 + 1.25)  # 2026-05-06 12:00:00 UTC
    assert (found.clock_step, found.utc_offset) == (0.001, 7200.0)
    assert read_header(Shoot(tmp_path, Camera(subsec=False)).take(name="b")).clock_step == 1.0


@pytest.mark.parametrize(
    ("make", "note", "expected"),
    [
        ("SONY", sony(2, 3), Maker("Sony", 2, 3, True)),
        ("SONY", sony(5, 9, version="b"), Maker("Sony", 5, 9, True)),
        ("SONY", sony(1, 5, version="a"), Maker("Sony", 1, 5, True)),
        ("SONY", sony(1, 1, mode=0), Maker("Sony", None, None, False)),
        ("SONY", sony(7, 10, mode=1), Maker("Sony", 7, 10, None)),
        ("SONY", sony_old(3), Maker("Sony", 3, None, True)),
        ("SONY", sony_old(0, mode=0), Maker("Sony", None, None, False)),
        ("Canon", canon(2, -1 / 3), Maker("Canon", 2, None, True, pytest.approx(-1 / 3))),
        ("Canon", canon(3, 2), Maker("Canon", 3, None, True, 2.0)),
        ("Canon", canon(0, 0, mode=0), Maker("Canon", None, None, False)),
        ("Canon", canon_shot(3, 1), Maker("Canon", 3, None, True, 1.0)),
        ("Canon", canon_shot(0, 0), Maker("Canon", None, None, False)),
        ("NIKON", nikon(-1), Maker("Nikon", None, None, True, -1.0)),
        ("NIKON", nikon(0, mode=1), Maker("Nikon", None, None, False)),
        ("FUJIFILM", fujifilm(2), Maker("Fujifilm", 2, None, True)),
        ("FUJIFILM", fujifilm(0, mode=0), Maker("Fujifilm", None, None, False)),
        ("Panasonic", panasonic(4), Maker("Panasonic", 4, 5, True)),
        ("OLYMPUS CORPORATION", olympus(2), Maker("Olympus", 2, None, True)),
        ("OM Digital Solutions", olympus(3, b"OM SYSTEM\0\0\0II\x04\0"), Maker("Olympus", 3, None, True)),
        ("PENTAX Corporation", pentax(2, 3), Maker("Pentax", 2, 3, True)),
        ("PENTAX", pentax(5, 5, 10, b"PENTAX \0MM"), Maker("Pentax", 5, 5, True)),
        ("PENTAX", pentax(1, 0), Maker("Pentax", None, None, True)),
        ("PENTAX", pentax(2, 3, 0), Maker("Pentax", None, None, False)),
        ("Minolta Co., Ltd.", minolta(4), Maker("Minolta", None, None, True)),
        ("KONICA MINOLTA", minolta(4, 0x0001), Maker("Minolta", None, None, True)),
        ("Konica Minolta Camera, Inc.", minolta(1), Maker("Minolta", None, None, False)),
        ("SIGMA", sigma("2 of 3"), Maker("Sigma", 2, 3, True)),
        ("FOVEON", sigma("3 of 3", b"FOVEON\0\0\1\0"), Maker("Sigma", 3, 3, True)),
        ("SIGMA", sigma(" "), Maker("Sigma", None, None, False)),
        ("SIGMA", sigma("4 of 3"), Maker("Sigma")),
        ("SIGMA", sigma(None), Maker("Sigma")),
        ("Nobody", canon(1, 0), Maker()),
    ],
)
def test_maker_notes(tmp_path: Path, make: str, note: Note, expected: Maker) -> None:
    assert read_header(Shoot(tmp_path, Camera(make=make)).take(note=note)).maker == expected


@pytest.mark.parametrize("by", [-64, -12, 2, 100])
@pytest.mark.parametrize(
    ("note", "expected"),
    [
        (canon(2, -1), Maker("Canon", 2, None, True, -1.0)),
        (canon(0, 0, mode=0), Maker("Canon", None, None, False)),
        (canon_shot(3, 1), Maker("Canon", 3, None, True, 1.0)),
        (canon_shot(0, 0), Maker("Canon", None, None, False)),
    ],
    ids=["bracket", "none", "shot of a bracket", "shot of none"],
)
def test_a_displaced_note_is_found(tmp_path: Path, by: int, note: Note, expected: Maker) -> None:
    """Editors move Canon's note and leave its offsets: where they point now, anything may stand."""
    shoot = Shoot(tmp_path, Camera(make="Canon"))
    assert read_header(shoot.take(note=displaced(note, by))).maker == expected


@pytest.mark.parametrize("length", [0, 38, 42, 255])
def test_a_record_of_another_length_says_nothing(tmp_path: Path, length: int) -> None:
    """Forty bytes that do not say that they are forty are no shot record, whatever stands where the bracket would."""

    def note(at: int, order: str) -> bytes:
        return directory(order, at, [(0x0004, 8, [length, *[3] * 19])], start=0)

    assert read_header(Shoot(tmp_path, Camera(make="Canon")).take(note=note)).maker == Maker("Canon")


@pytest.mark.parametrize(
    ("make", "note", "tags"),
    [
        ("Canon", canon(2, -2), {"BracketMode": "AEB", "BracketShotNumber": "2"}),
        ("Canon", canon_shot(3, 1), {"AutoExposureBracketing": "On (shot 3)"}),
        ("NIKON CORPORATION", nikon(-1), {"BracketingMode": "Single frame, exposure bracketing"}),
        ("FUJIFILM", fujifilm(2), {"MotorOrBracket": "On"}),
        (
            "SONY",
            lambda at, order: sony_old(3)(at - 12, order)[12:],
            {"ReleaseMode": " Exposure Bracketing", "SequenceNumber": "3"},
        ),
    ],
)
def test_exifread_knows_the_layouts_the_tests_write(
    tmp_path: Path, make: str, note: Note, tags: dict[str, str]
) -> None:
    """Of Sony's directory exifread knows the form without a head."""
    path = Shoot(tmp_path, Camera(make=make)).take(note=note)
    said = exifread.process_file(io.BytesIO(path.read_bytes()), details=True)
    assert {name: str(said[f"MakerNote {name}"]) for name in tags} == tags
    assert read_header(path).maker.bracket is True


def test_raw_containers(tmp_path: Path, dng: Callable[..., Path]) -> None:
    arw = read_header(Shoot(tmp_path).take(-1, suffix=".ARW"))
    assert (arw.kind, arw.time, arw.size) == ("raw", 0.005, None)
    found = read_header(dng("a.dng", np.full((32, 48), 900)))
    assert (found.kind, found.make, found.model) == ("raw", "Test", "Camera")


def test_fujifilm_raw(tmp_path: Path) -> None:
    inner = Shoot(tmp_path).take(1, note=fujifilm(2)).read_bytes()
    path = tmp_path / "a.RAF"
    path.write_bytes(b"FUJIFILMCCD-RAW ".ljust(84, b"\0") + struct.pack(">II", 160, len(inner)) + bytes(68) + inner)
    found = read_header(path)
    assert (found.kind, found.time, found.maker.shot) == ("raw", 0.02, 2)


def _box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I", 8 + len(body)) + kind + body


def test_canon_cr3(tmp_path: Path, exif: Exif) -> None:
    """CMT1 holds the camera, CMT2 the exposure, CMT3 the maker note, each as a TIFF structure of its own."""

    def tiff(*entries: bytes) -> bytes:
        return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)

    time = struct.pack("<HHII", 0x829A, 5, 1, 26) + bytes(4) + struct.pack("<II", 1, 50)
    info = struct.pack("<HHII", 0x0093, 8, 6, 26) + bytes(4) + struct.pack("<6h", 12, 0, 0, 1, -64, 2)
    second = b"II*\0\x08\0\0\0" + struct.pack("<H", 1) + time
    third = b"II*\0\x08\0\0\0" + struct.pack("<H", 1) + info
    model = struct.pack("<HHI4s", 0x0110, 2, 3, b"R5\0\0")
    uuid = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
    boxes = _box(b"CMT1", tiff(model)), _box(b"CMT2", second), _box(b"CMT3", third)
    path = tmp_path / "a.CR3"
    path.write_bytes(_box(b"ftyp", b"crx \0\0\0\x01crx isom") + _box(b"moov", _box(b"uuid", uuid, *boxes)))
    found = read_header(path)
    assert (found.kind, found.model, found.time) == ("raw", "R5", 0.02)
    assert found.maker == Maker("Canon", 2, None, True, -2.0)


def test_png_and_tiff(tmp_path: Path, exif: Exif) -> None:
    block = exif(ExposureTime=(1, 8))
    Image.fromarray(GREY).save(tmp_path / "a.png", exif=b"Exif\0\0" + block)
    assert (read_header(tmp_path / "a.png").time, read_header(tmp_path / "a.png").size) == (0.125, (64, 48))
    tifffile.imwrite(tmp_path / "a.tif", GREY)
    found = read_header(tmp_path / "a.tif")
    assert (found.kind, found.size, found.ev) == ("tiff", (64, 48), None)


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8\xff", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"II*\0\xff\xff\xff\x7f", b"x" * 99]
)
def test_what_is_no_picture_is_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"^a\.jpg [^\n]+$"):
        read_header(path)


def test_missing_and_folder(tmp_path: Path) -> None:
    for path, said in (
        (tmp_path / "gone.jpg", "does not exist"),
        (tmp_path, "is a folder"),
        (Path("a\0b"), "cannot|not"),
    ):
        with pytest.raises(InputError, match=said):
            read_header(path)


@pytest.mark.parametrize(("kind", "width"), [(9, -4), (4, 0), (12, 0.5)], ids=["negative", "zero", "less than a pixel"])
def test_a_size_that_is_none_is_unknown(tmp_path: Path, kind: int, width: float) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(structure("<", [(0x0100, kind, width), (0x0101, 3, 64)], []))
    assert read_header(path).size is None


def test_of_equal_tags_the_first_counts(tmp_path: Path) -> None:
    """As to what decodes the pixels."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY, photometric="rgb", metadata=None, extratags=[(0x9999, "I", 1, 7, False)])
    data = bytearray(path.read_bytes())
    at = data.index(struct.pack("<HHII", 0x9999, 4, 1, 7))
    data[at : at + 12] = struct.pack("<HHII", 0x0101, 4, 1, 7)
    path.write_bytes(data)
    assert read_header(path).size == read_frame(path).size[::-1] == (64, 48)


def test_bytes_that_fill_a_jpeg_up_are_passed_over(tmp_path: Path) -> None:
    """Any number of 0xFF may stand before a marker (ITU-T T.81, B.1.1.2)."""
    path = Shoot(tmp_path).take()
    whole = path.read_bytes()
    path.write_bytes(whole[:2] + b"\xff" * 1000 + whole[2:])
    assert read_header(path).size == read_frame(path).size[::-1]
    assert read_header(path).time == read_frame(path).exposure.time == 0.01


@pytest.mark.parametrize("side", [4, 6])
def test_a_jpeg_or_png_without_pixels_is_refused(tmp_path: Path, side: int) -> None:
    """As ``info`` does; 0 at the width or the height."""
    for form, at in (("JPEG", 1 + side), ("PNG", 8 + 2 * side)):
        stream = io.BytesIO()
        Image.fromarray(GREY).save(stream, form)
        data = bytearray(stream.getvalue())
        start = data.index(b"\xff\xc0") if form == "JPEG" else 0
        data[start + at : start + at + (2 if form == "JPEG" else 4)] = bytes(2 if form == "JPEG" else 4)
        path = tmp_path / f"a.{form}"
        path.write_bytes(data)
        with pytest.raises(InputError, match="picture size"):
            read_header(path)


@pytest.mark.parametrize("order", ["<", ">"])
def test_counts_without_end_take_neither_memory_nor_time(jpeg: Jpeg, order: str) -> None:
    """A directory that points at itself, counts of four thousand million, offsets beyond the file."""
    entries = [struct.pack(order + "HHII", 0x8769, 4, 1, 8)]
    entries += [struct.pack(order + "HHII", tag, 2, 0xFFFFFFFF, 8) for tag in (0x010F, 0x0110, 0x9003, 0x927C, 0xA434)]
    entries += [struct.pack(order + "HHII", tag, 12, 0xFFFFFFFF, 0x7FFFFFF0) for tag in (0x829A, 0x829D, 0x8827)]
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(entries))
    path = jpeg("a.jpg", GREY, head + b"".join(entries) + bytes(4))
    tracemalloc.start()
    found = read_header(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.time is None
    assert peak < 2 << 20


def test_a_file_gives_no_more_than_its_budget() -> None:
    source = Source(io.BytesIO(bytes(9 << 20)), budget=1 << 20)
    assert sum(len(source.read(at, 1 << 19)) for at in range(1 << 17, 8 << 20, 1 << 19)) < 1 << 20


def _originals() -> list[bytes]:
    import tempfile

    notes = [("SONY", sony(2, 3)), ("Canon", canon(2, -1)), ("NIKON", nikon(1)), ("OLYMPUS", olympus(2)),
             ("PENTAX", pentax(2, 3)), ("Minolta", minolta(4)), ("SIGMA", sigma("2 of 3"))]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        shoot = Shoot(Path(folder))
        found = []
        for make, note in notes:
            shoot.camera.make = make
            found.append(shoot.take(note=note).read_bytes())
            found.append(shoot.take(note=note, suffix=".ARW").read_bytes())
        return found


ORIGINALS = _originals()


@settings(max_examples=300)
@given(st.integers(0, len(ORIGINALS) - 1), st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_damage_is_an_input_error_or_nothing(
    tmp_path_factory: pytest.TempPathFactory, which: int, seed: int, count: int
) -> None:
    data = bytearray(ORIGINALS[which])
    rng = random.Random(seed)
    for _ in range(count):
        data[rng.randrange(min(len(data), 1500))] = rng.choice((0, 1, 2, 255, 128, rng.randrange(256)))
    path = tmp_path_factory.getbasetemp() / "mutated.arw"
    path.write_bytes(data[: rng.randrange(1, len(data))] if seed % 3 == 0 else data)
    with contextlib.suppress(InputError):
        found = read_header(path)
        assert found.ev is None or abs(found.ev) < 200


def test_text_is_printable_and_short(exif: Exif) -> None:
    block = exif(Make="A\x07B\x1b[31m", Model="m" * 900)
    image = first_directory(Source(io.BytesIO(block)), 0)
    assert image is not None
    assert image.text(0x010F) == "AB[31m"
    assert len(image.text(0x0110) or "") == 500
