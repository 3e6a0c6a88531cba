"""RAW that keeps no TIFF header: Canon's CRW, Minolta's MRW and Sigma's X3F, written byte by byte."""

import contextlib
import json
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smarthdr_cli.burst.exif_location import file_exif
from smarthdr_cli.burst.makernotes import Maker
from smarthdr_cli.errors import InputError
from smarthdr_cli.grouping.header import read_header
from tests.cli.conftest import Run, isolated_environment, smarthdr  # noqa: F401 - fixtures
from tests.grouping.shoot import Camera, Shoot, sigma

from .test_agreement import structure

NOON = 1_778_068_800  # 2026-05-06 12:00:00, counted as if the camera's clock were UTC
Heap = Sequence[tuple[int, "bytes | Heap"]]


def heap(entries: Heap) -> bytes:
    """A block of CIFF: the values, then the table of tag, size and offset, then where the table begins."""
    data, table = b"", struct.pack("<H", len(entries))
    for tag, value in entries:
        if tag & 0x4000:
            assert isinstance(value, bytes)
            table += struct.pack("<H8s", tag, value)
            continue
        content = value if isinstance(value, bytes) else heap(value)
        table += struct.pack("<HII", tag, len(content), len(data))
        data += content + b"\0" * (len(content) % 2)
    return data + table + struct.pack("<I", len(data))


def crw(
    *, time: float = 6, aperture: float = 5, shot: int = 0, value: int = 0, rotation: int = 0, exact: bool = True
) -> bytes:
    """``time`` and ``aperture`` by APEX; without ``exact`` only Canon's shot record holds them."""
    record = [68, 0, 160, 0, round(aperture * 32), round(time * 32), 32, *[0] * 27]
    record[16], record[17] = shot, value
    settings = [92, *[0] * 45]
    settings[20] = 4  # exposure by hand
    exposure = [(0x1818, struct.pack("<3f", 1.0, time, aperture))] if exact else []
    exif = [
        (0x102A, struct.pack("<34h", *record)),
        (0x102D, struct.pack("<46h", *settings)),
        (0x5029, struct.pack("<4H", 2, 24 * 32, 907, 595)),  # the focal length stands in the entry itself
        (0x50B4, struct.pack("<HHI", 2, 0, 0)),
    ]
    image = [
        (0x1810, struct.pack("<IIfiIII", 3072, 2048, 1.0, rotation, 8, 24, 1)),
        (0x180E, struct.pack("<IiI", NOON, 0, 0)),
        (0x2807, [(0x080A, b"Canon\0Canon EOS TEST\0"), (0x0810, b"Ada\0"), (0x580B, struct.pack("<II", 1234, 0))]),
        (0x3002, exposure),
        (0x300B, exif),
    ]
    return b"II" + struct.pack("<I", 26) + b"HEAPCCDR" + bytes(12) + heap([(0x2005, bytes(64)), (0x300A, image)])


def mrw(tiff: bytes) -> bytes:
    """The blocks PRD (the size of the picture) and TTW (a TIFF structure), then the pixels."""
    size = b"27820001" + struct.pack(">4H", 2456, 3272, 2448, 3264) + bytes((12, 12, 0x52, 0, 0, 0, 0, 1))
    blocks = b"".join(name + struct.pack(">I", len(body)) + body for name, body in ((b"\0PRD", size), (b"\0TTW", tiff)))
    return b"\0MRM" + struct.pack(">I", len(blocks)) + blocks + bytes(64)


def x3f(properties: dict[str, str], jpeg: bytes = b"", *, rotation: int = 0, version: int = 0x20002) -> bytes:
    """The header, a JPEG where given, the properties, and the directory that the last four bytes point at."""
    head = b"FOVb" + struct.pack("<I", version) + bytes(20)
    head += struct.pack("<3I", 2268, 1512, rotation).rjust(12 if version < 0x40000 else 24, b"\0") + bytes(200)
    text, pairs = "", b""
    for pair in properties.items():
        for part in pair:
            pairs += struct.pack("<I", len(text))
            text += part + "\0"
    section = b"SECp" + struct.pack("<5I", 0x20000, len(properties), 0, 0, len(text)) + pairs + text.encode("utf-16-le")
    picture = b"SECi" + struct.pack("<6I", 0x20000, 2, 18, 96, 64, 0) + jpeg
    sections = [(b"IMA2", picture), (b"PROP", section)]
    body, entries = head, b""
    for kind, content in sections:
        entries += struct.pack("<II4s", len(body), len(content), kind)
        body += content
    return body + b"SECd" + struct.pack("<II", 0x20000, len(sections)) + entries + struct.pack("<I", len(body))


SIGMA = {
    "CAMMANUF": "SIGMA",
    "CAMMODEL": "SIGMA SD10",
    "CAMSERIAL": "01234",
    "SHUTTER": "0.01",
    "APERTURE": "8.0",
    "ISO": "100",
    "EXPCOMP": "-0.5",
    "FLENGTH": "30",
    "PMODE": "M",
    "TIME": str(NOON),
    "BRACKET": "2 of 3",
}


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("exact", [True, False], ids=["exposure record", "shot record"])
def test_crw(tmp_path: Path, exact: bool) -> None:
    found = read_header(written(tmp_path / "a.CRW", crw(exact=exact)))
    assert (found.kind, found.size, found.orientation) == ("raw", (3072, 2048), 1)
    assert (found.time, found.aperture, found.iso) == (1 / 64, pytest.approx(2**2.5), 100)
    assert (found.bias, found.focal, found.manual) == (1.0, 24.0, True)
    assert (found.make, found.model, found.serial, found.start) == ("Canon", "Canon EOS TEST", "1234", NOON)
    assert found.maker == Maker("Canon", bracket=False)


def test_crw_brackets_and_turns(tmp_path: Path) -> None:
    found = read_header(written(tmp_path / "a.CRW", crw(shot=2, value=-32, rotation=270)))
    assert found.maker == Maker("Canon", 2, None, True, -1.0)
    assert (found.orientation, found.size) == (8, (2048, 3072))


def test_mrw(tmp_path: Path, exif: Callable[..., bytes]) -> None:
    block = exif(">", ExposureTime=(1, 5), FNumber=(28, 10), ISOSpeedRatings=64, Make="Konica Minolta", Model="A2")
    found = read_header(written(tmp_path / "a.mrw", mrw(block)))
    assert (found.kind, found.size, found.model) == ("raw", (3264, 2448), "A2")
    assert (found.time, found.aperture, found.iso) == (0.2, 2.8, 64)


@pytest.mark.parametrize("version", [0x20002, 0x40000], ids=hex)
def test_x3f_without_a_jpeg(tmp_path: Path, version: int) -> None:
    found = read_header(written(tmp_path / "a.x3f", x3f(SIGMA, rotation=90, version=version)))
    assert (found.kind, found.size, found.orientation) == ("raw", (1512, 2268), 6)
    assert (found.time, found.aperture, found.iso) == (0.01, 8.0, 100)
    assert (found.bias, found.focal, found.manual, found.start) == (-0.5, 30.0, True, NOON)
    assert (found.make, found.model, found.serial) == ("SIGMA", "SIGMA SD10", "01234")
    assert found.maker == Maker("Sigma", 2, 3, True)


def test_the_exif_of_the_jpeg_inside_an_x3f_comes_first(tmp_path: Path) -> None:
    """Its times have fractions, and its maker note says the same of brackets."""
    jpeg = Shoot(tmp_path, Camera(make="SIGMA")).wait(0.25).take(1, note=sigma("1 of 3")).read_bytes()
    found = read_header(written(tmp_path / "a.x3f", x3f(SIGMA, jpeg)))
    assert (found.size, found.time, found.resolution) == ((2268, 1512), 0.02, 0.001)
    assert found.maker == Maker("Sigma", 1, 3, True)


@pytest.mark.parametrize(
    ("suffix", "data"),
    [(".CRW", crw), (".mrw", lambda: mrw(structure(">", [], [(0x829A, 5, (1, 8))]))), (".x3f", lambda: x3f(SIGMA))],
    ids=["crw", "mrw", "x3f"],
)
def test_frames_and_headers_are_read_alike(tmp_path: Path, suffix: str, data: Callable[[], bytes]) -> None:
    found = read_header(written(tmp_path / f"a{suffix}", data()))
    stated = file_exif(data(), f"a{suffix}")
    assert stated.time is not None
    assert (stated.time, stated.aperture, stated.iso) == (found.time, found.aperture, found.iso)


def test_a_bracket_of_crw_is_grouped(smarthdr: Run, tmp_path: Path) -> None:  # noqa: F811
    files = []
    for number, bias in enumerate((0, -1, 1), 1):
        files.append(written(tmp_path / f"CRW_{number}.CRW", crw(time=6 - bias, shot=number, value=32 * bias)))
    result = smarthdr("group", tmp_path, "--json")
    assert result.exit_code == 0
    (line,) = map(json.loads, result.stdout.splitlines())
    assert ([Path(path) for path in line["frames"]], line["evs"], line["ambiguous"]) == (files, [0.0, -1.0, 1.0], False)


def endless(order: int) -> bytes:
    """CRW whose blocks hold themselves, ever again."""
    entries = struct.pack("<H", order) + order * struct.pack("<HII", 0x300A, 0xFFFF, 0)
    return b"II" + struct.pack("<I", 26) + b"HEAPCCDR" + bytes(12) + entries + bytes(4)


@pytest.mark.parametrize(
    ("suffix", "data"),
    [
        (".CRW", endless(500)),
        (".CRW", crw()[:-4] + b"\xff" * 4),
        (".mrw", b"\0MRM" + bytes(4) + b"\0PRD\xff\xff\xff\xff" + bytes(100)),
        (".mrw", b"\0MRM" + bytes(9000)),
        (".x3f", x3f(SIGMA)[:-4] + b"\xff" * 4),
        (".x3f", x3f({f"N{n}": "v" * 900 for n in range(3000)})),
        (".x3f", x3f({"SHUTTER": "nan", "APERTURE": "inf", "ISO": "1e999", "TIME": "-5", "BRACKET": "9 of 3"})),
    ],
    ids=["loop", "beyond", "long", "zeros", "no directory", "crowd", "no numbers"],
)
def test_what_does_not_fit_is_absent(tmp_path: Path, suffix: str, data: bytes) -> None:
    found = read_header(written(tmp_path / f"a{suffix}", data))
    assert (found.kind, found.time, found.aperture, found.iso) == ("raw", None, None, None)
    assert found.maker.shot is None


JPEG = b"\xff\xd8\xff\xe1\0\x30Exif\0\0" + structure("<", [], [(0x829A, 5, (1, 8))])
ORIGINALS = (
    crw(shot=2),
    crw(exact=False),
    mrw(structure(">", [], [(0x829A, 5, (1, 8))])),
    x3f(SIGMA),
    x3f(SIGMA, JPEG),
)


@given(
    which=st.sampled_from(ORIGINALS),
    edits=st.lists(st.tuples(st.integers(0, 4000), st.sampled_from((0, 1, 2, 16, 127, 128, 254, 255))), max_size=12),
    cut=st.none() | st.integers(1, 4000),
)
def test_damage_is_an_input_error_or_nothing(which: bytes, edits: Sequence[tuple[int, int]], cut: int | None) -> None:
    data = bytearray(which)
    for at, value in edits:
        data[at % len(data)] = value
    with contextlib.suppress(InputError):
        stated = file_exif(bytes(data[:cut]), "a.crw")
        assert abs(stated.exposure().ev) < 200
        assert stated.orientation in range(1, 9)


@given(st.sampled_from([b"II\x1a\0\0\0HEAPCCDR", b"\0MRM", b"FOVb"]), st.binary(max_size=400))
def test_any_bytes_behind_the_signature(head: bytes, rest: bytes) -> None:
    assert abs(file_exif(head + rest, "a.raw").exposure().ev) < 200
