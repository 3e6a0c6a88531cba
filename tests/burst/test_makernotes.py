"""Exposure bracketing by maker notes that the tests write byte by byte; exifread checks the layouts it knows."""

import contextlib
import io
import random
from collections.abc import Callable
from pathlib import Path

import exifread
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smarthdr_cli.burst.exif import interpret_tags
from smarthdr_cli.burst.makernotes import MakerBracketing, canon_ev, read_bracketing
from smarthdr_cli.errors import InputError
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
from tests.support.files import tags_of

pytestmark = pytest.mark.unit
DAMAGED_NOTE = (IndexError, KeyError, ValueError, OverflowError)


def bracketing_of(data: bytes) -> MakerBracketing:
    tags = tags_of(data)
    return read_bracketing(tags.directories, interpret_tags(tags).capture.make or "", tags.maker_note)


@pytest.fixture
def with_note(tmp_path: Path) -> Callable[[str, Note], bytes]:
    """``with_note(make, note)``: a JPEG of this maker with a maker note."""
    return lambda make, note: Shoot(tmp_path, Camera(make=make)).take(note=note).read_bytes()


@pytest.mark.parametrize(
    ("make", "note", "expected"),
    [
        ("SONY", sony(2, 3), MakerBracketing("Sony", 2, 3, True)),
        ("SONY", sony(5, 9, version="b"), MakerBracketing("Sony", 5, 9, True)),
        ("SONY", sony(1, 5, version="a"), MakerBracketing("Sony", 1, 5, True)),
        ("SONY", sony(1, 1, mode=0), MakerBracketing("Sony", None, None, False)),
        ("SONY", sony(7, 10, mode=1), MakerBracketing("Sony", 7, 10, None)),
        ("SONY", sony_old(3), MakerBracketing("Sony", 3, None, True)),
        ("SONY", sony_old(0, mode=0), MakerBracketing("Sony", None, None, False)),
        ("Canon", canon(2, -1 / 3), MakerBracketing("Canon", 2, None, True, pytest.approx(-1 / 3))),
        ("Canon", canon(3, 2), MakerBracketing("Canon", 3, None, True, 2.0)),
        ("Canon", canon(0, 0, mode=0), MakerBracketing("Canon", None, None, False)),
        ("Canon", canon_shot(3, 1), MakerBracketing("Canon", 3, None, True, 1.0)),
        ("Canon", canon_shot(0, 0), MakerBracketing("Canon", None, None, False)),
        ("NIKON", nikon(-1), MakerBracketing("Nikon", None, None, True, -1.0)),
        ("NIKON", nikon(0, mode=1), MakerBracketing("Nikon", None, None, False)),
        ("FUJIFILM", fujifilm(2), MakerBracketing("Fujifilm", 2, None, True)),
        ("FUJIFILM", fujifilm(0, mode=0), MakerBracketing("Fujifilm", None, None, False)),
        ("Panasonic", panasonic(4), MakerBracketing("Panasonic", 4, 5, True)),
        ("OLYMPUS CORPORATION", olympus(2), MakerBracketing("Olympus", 2, None, True)),
        ("OM Digital Solutions", olympus(3, b"OM SYSTEM\0\0\0II\x04\0"), MakerBracketing("Olympus", 3, None, True)),
        ("PENTAX Corporation", pentax(2, 3), MakerBracketing("Pentax", 2, 3, True)),
        ("PENTAX", pentax(5, 5, 10, b"PENTAX \0MM"), MakerBracketing("Pentax", 5, 5, True)),
        ("PENTAX", pentax(1, 0), MakerBracketing("Pentax", None, None, True)),
        ("PENTAX", pentax(2, 3, 0), MakerBracketing("Pentax", None, None, False)),
        ("Minolta Co., Ltd.", minolta(4), MakerBracketing("Minolta", None, None, True)),
        ("KONICA MINOLTA", minolta(4, 0x0001), MakerBracketing("Minolta", None, None, True)),
        ("Konica Minolta Camera, Inc.", minolta(1), MakerBracketing("Minolta", None, None, False)),
        ("SIGMA", sigma("2 of 3"), MakerBracketing("Sigma", 2, 3, True)),
        ("FOVEON", sigma("3 of 3", b"FOVEON\0\0\1\0"), MakerBracketing("Sigma", 3, 3, True)),
        ("SIGMA", sigma(" "), MakerBracketing("Sigma", None, None, False)),
        ("SIGMA", sigma("4 of 3"), MakerBracketing("Sigma")),
        ("SIGMA", sigma(None), MakerBracketing("Sigma")),
        ("Nobody", canon(1, 0), MakerBracketing()),
    ],
)
def test_every_maker(with_note: Callable[[str, Note], bytes], make: str, note: Note, expected: MakerBracketing) -> None:
    assert bracketing_of(with_note(make, note)) == expected


def test_canon_ev_codes() -> None:
    """Steps of 1/32 EV, with 12 and 20 for thirds."""
    assert [canon_ev(code) for code in (0, 12, 16, 20, 32, -12, -44, 64)] == pytest.approx(
        [0, 1 / 3, 0.5, 2 / 3, 1, -1 / 3, -4 / 3, 2]
    )


@pytest.mark.parametrize("offset", [-64, -12, 2, 100])
@pytest.mark.parametrize(
    ("note", "expected"),
    [
        (canon(2, -1), MakerBracketing("Canon", 2, None, True, -1.0)),
        (canon(0, 0, mode=0), MakerBracketing("Canon", None, None, False)),
        (canon_shot(3, 1), MakerBracketing("Canon", 3, None, True, 1.0)),
        (canon_shot(0, 0), MakerBracketing("Canon", None, None, False)),
    ],
    ids=["bracket", "no bracket", "shot record of a bracket", "shot record of no bracket"],
)
def test_a_canon_note_that_an_editor_has_moved(
    with_note: Callable[[str, Note], bytes], offset: int, note: Note, expected: MakerBracketing
) -> None:
    """The offsets in the note still count from its old place."""
    assert bracketing_of(with_note("Canon", displaced(note, offset))) == expected


@pytest.mark.parametrize("stated_length", [0, 38, 42, 255])
def test_a_canon_record_of_another_length_is_ignored(
    with_note: Callable[[str, Note], bytes], stated_length: int
) -> None:
    """A shot record of 40 bytes begins with the number 40."""

    def note(start: int, order: str) -> bytes:
        return directory(order, start, [(0x0004, 8, [stated_length, *[3] * 19])], start=0)

    assert bracketing_of(with_note("Canon", note)) == MakerBracketing("Canon")


@pytest.mark.parametrize(
    ("make", "note", "tags"),
    [
        ("Canon", canon(2, -2), {"BracketMode": "AEB", "BracketShotNumber": "2"}),
        ("Canon", canon_shot(3, 1), {"AutoExposureBracketing": "On (shot 3)"}),
        ("NIKON CORPORATION", nikon(-1), {"BracketingMode": "Single frame, exposure bracketing"}),
        ("FUJIFILM", fujifilm(2), {"MotorOrBracket": "On"}),
        (
            "SONY",
            lambda start, order: sony_old(3)(start - 12, order)[12:],  # exifread reads the note without its header
            {"ReleaseMode": " Exposure Bracketing", "SequenceNumber": "3"},
        ),
    ],
)
def test_exifread_reads_the_same_notes(
    with_note: Callable[[str, Note], bytes], make: str, note: Note, tags: dict[str, str]
) -> None:
    data = with_note(make, note)
    expected = exifread.process_file(io.BytesIO(data), details=True)
    assert {name: str(expected[f"MakerNote {name}"]) for name in tags} == tags
    assert bracketing_of(data).bracket is True


NOTES = (
    ("SONY", sony(2, 3)),
    ("Canon", canon(2, -1)),
    ("NIKON", nikon(1)),
    ("OLYMPUS", olympus(2)),
    ("PENTAX", pentax(2, 3)),
    ("Minolta", minolta(4)),
    ("SIGMA", sigma("2 of 3")),
)


@settings(max_examples=300)
@given(st.sampled_from(NOTES), st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_edited_files_give_plausible_numbers_or_an_input_error(
    originals: dict[str, bytes], note: tuple[str, Note], seed: int, edit_count: int
) -> None:
    data = bytearray(originals[note[0]])
    rng = random.Random(seed)
    for _ in range(edit_count):
        data[rng.randrange(min(len(data), 1500))] = rng.choice((0, 1, 2, 255, 128, rng.randrange(256)))
    with contextlib.suppress(InputError, *DAMAGED_NOTE):
        bracketing = bracketing_of(bytes(data[: rng.randrange(1, len(data))] if seed % 3 == 0 else data))
        assert bracketing.shot is None or 1 <= bracketing.shot <= 99
        assert bracketing.length is None or 2 <= bracketing.length <= 99


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A JPEG with a maker note by make."""
    folder = tmp_path_factory.mktemp("notes")
    return {make: Shoot(folder, Camera(make=make)).take(note=note).read_bytes() for make, note in NOTES}
