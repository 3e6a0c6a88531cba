"""``smarthdr info`` and ``smarthdr group`` state the same exposures, wherever a file keeps them and however written."""

import io
import json
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from smarthdr_cli.burst.read import read_file
from smarthdr_cli.burst.scan import raw_profile
from smarthdr_cli.grouping.header import read_header
from tests.cli.conftest import Run, isolated_environment, smarthdr  # noqa: F401 - fixtures
from tests.grouping.shoot import picture

from .conftest import MATRIX

EVS = (-2, 0, 2)
_CODES = {1: "B", 3: "H", 4: "I", 5: "II", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d"}
Entry = tuple[int, int, Any]  # tag, TIFF type, value: a number, a pair of a rational, or bytes

TIME, APERTURE, ISO, INDEX, SPEED, APEX_TIME, APEX_APERTURE = 0x829A, 0x829D, 0x8827, 0x8832, 0x8833, 0x9201, 0x9202
EIGHT = (APERTURE, 5, (8, 1))
PROFILE = b"Raw profile type exif"

# How tags state 1/100 s at EV 0, f/8, ISO 100. "image": in the first directory instead of EXIF's.
STATED: dict[str, Callable[[int], list[Entry]]] = {
    "plain": lambda ev: [(TIME, 5, _ratio(ev, 100)), EIGHT, (ISO, 3, 100)],
    "odd rationals": lambda ev: [(TIME, 5, _ratio(ev, 4_000_000, 40_001)), (APERTURE, 5, (9999, 1250)), (ISO, 3, 100)],
    "signed rationals": lambda ev: [(TIME, 10, _ratio(ev, 100)), (APERTURE, 10, (-8, -1)), (ISO, 3, 100)],
    "floating point": lambda ev: [(TIME, 11, 2.0**ev / 100), (APERTURE, 12, 8.0), (ISO, 4, 100)],
    "APEX only": lambda ev: [(APEX_TIME, 10, (6 - ev, 1)), (APEX_APERTURE, 5, (6, 1)), (ISO, 3, 100)],
    "one second by APEX": lambda ev: [(APEX_TIME, 10, (-ev, 1)), EIGHT],
    "zero denominators": lambda ev: [(TIME, 5, (1, 0)), (APEX_TIME, 10, (6 - ev, 1)), (APERTURE, 5, (0, 0)),
                                     (APEX_APERTURE, 5, (6, 1)), (ISO, 3, 0), (INDEX, 4, 100)],
    "a silent lens": lambda ev: [(TIME, 5, _ratio(ev, 100)), (APERTURE, 5, (0, 1)), (APEX_APERTURE, 5, (0, 1))],
    "sensitivity beyond 16 bits": lambda ev: [(TIME, 5, _ratio(ev, 100)), (ISO, 3, 65535), (INDEX, 4, 102_400)],
    "sensitivity by ISO speed": lambda ev: [(TIME, 5, _ratio(ev, 100)), (ISO, 3, 65535), (SPEED, 4, 204_800)],
    "sensitivity bracket": lambda ev: [(TIME, 5, (1, 100)), EIGHT, (ISO, 3, int(400 * 2**ev))],
}  # fmt: skip
# Tags that leave the exposure unknown.
UNKNOWN: dict[str, Callable[[int], list[Entry]]] = {
    "nothing": lambda _: [],
    "time and APEX time are zero": lambda _: [(TIME, 5, (0, 1)), (APEX_TIME, 10, (0, 1)), EIGHT],
    "undefined time, APEX time zero": lambda _: [(TIME, 5, (0, 0)), (APEX_TIME, 10, (0, 1)), EIGHT],
    "time in words": lambda _: [(TIME, 2, b"1/100\0"), EIGHT],
    "time beyond reason": lambda _: [(TIME, 5, (4_000_000_000, 1)), (APEX_TIME, 10, (90, 1))],
    "undefined APEX time": lambda _: [(APEX_TIME, 10, (1, 0)), EIGHT],
}


def _ratio(ev: int, bottom: int, top: int = 1) -> tuple[int, int]:
    return top * 2 ** max(ev, 0), bottom * 2 ** max(-ev, 0)


def structure(order: str, image: Sequence[Entry], exif: Sequence[Entry], tail: bytes = b"") -> bytes:
    """A TIFF structure of a first directory and EXIF's. ``tail`` follows; StripOffsets (0x0111) point at it."""
    first = sorted([*image, *([(0x8769, 4, 0)] if exif else [])])
    at = 8 + 2 + 12 * len(first) + 4
    behind = at + (2 + 12 * len(exif) + 4 if exif else 0)
    heap = b""

    def directory(entries: Sequence[Entry]) -> bytes:
        nonlocal heap
        out = struct.pack(order + "H", len(entries))
        for tag, kind, value in entries:
            if isinstance(value, bytes):
                raw, count = value, len(value)
            else:
                values = value if isinstance(value, tuple) else (value,)
                count = 1 if kind in (5, 10) else len(values)
                raw = struct.pack(order + (_CODES[kind] if kind in (5, 10) else count * _CODES[kind]), *values)
            if tag == 0x8769:
                raw = struct.pack(order + "I", at)
            out += struct.pack(order + "HHI", tag, kind, count)
            if len(raw) > 4:
                out += struct.pack(order + "I", behind + len(heap))
                heap += raw + b"\0" * (len(raw) % 2)
            else:
                out += raw.ljust(4, b"\0")
        return out + bytes(4)

    second = directory(sorted(exif)) if exif else b""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    body = directory(first)
    placed = head + body + second + heap
    return placed.replace(struct.pack(order + "I", 0xDEADBEEF), struct.pack(order + "I", len(placed))) + tail


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _raw_profile(block: bytes) -> bytes:
    """As ImageMagick writes it: a name, the length in eight columns, 36 bytes of hexadecimal a line."""
    digits = (b"Exif\0\0" + block).hex()
    lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    return f"\nexif\n{len(digits) // 2:8}\n{lines}\n".encode()


def _saved(ev: float, form: str) -> bytes:
    stream = io.BytesIO()
    picture(3, ev).save(stream, form)
    return stream.getvalue()


def _jpeg(ev: float, block: bytes) -> bytes:
    whole, body = _saved(ev, "JPEG"), b"Exif\0\0" + block
    return whole[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + whole[2:]


def _jpeg_behind_the_frame_header(ev: float, block: bytes) -> bytes:
    whole, body = _saved(ev, "JPEG"), b"Exif\0\0" + block
    at = whole.index(b"\xff\xda")
    return whole[:at] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + whole[at:]


def _png(kind: bytes, wrap: Callable[[bytes], bytes], last: bool = False) -> Callable[[float, bytes], bytes]:
    def write(ev: float, block: bytes) -> bytes:
        whole = _saved(ev, "PNG")
        at = len(whole) - 12 if last else 33
        return whole[:at] + _chunk(kind, wrap(block)) + whole[at:]

    return write


BLOCKS: dict[str, Callable[[float, bytes], bytes]] = {
    "jpg": _jpeg,
    "jpg behind the frame header": _jpeg_behind_the_frame_header,
    "png": _png(b"eXIf", lambda block: block),
    "png behind the pixels": _png(b"eXIf", lambda block: block, last=True),
    "png text": _png(b"tEXt", lambda block: PROFILE + b"\0" + _raw_profile(block)),
    "png packed text": _png(b"zTXt", lambda block: PROFILE + b"\0\0" + zlib.compress(_raw_profile(block)), last=True),
}


def _tiff(order: str, ev: float, image: Sequence[Entry], exif: Sequence[Entry]) -> bytes:
    pixels = np.asarray(picture(3, ev))
    height, width = pixels.shape[:2]
    plain: list[Entry] = [
        (0x0100, 3, width), (0x0101, 3, height), (0x0102, 3, (8, 8, 8)), (0x0103, 3, 1), (0x0106, 3, 2),
        (0x0111, 4, 0xDEADBEEF), (0x0115, 3, 3), (0x0116, 3, height), (0x0117, 4, pixels.size),
    ]  # fmt: skip
    return structure(order, [*plain, *image], exif, pixels.tobytes())


def _write(folder: Path, container: str, order: str, tags: Callable[[int], list[Entry]], where: str) -> list[Path]:
    files = []
    for number, ev in enumerate(EVS, 1):
        image, exif = (tags(ev), []) if where == "image" else ([], tags(ev))
        if container == "tif":
            data = _tiff(order, ev, image, exif)
        else:
            data = BLOCKS[container](ev, structure(order, [(0x0110, 2, b"Model X\0"), *image], exif))
        path = folder / f"IMG_{number}.{container[:3]}"
        path.write_bytes(data)
        files.append(path)
    return files


def _said(run: Run, files: Sequence[Path]) -> tuple[list[dict[str, Any]], list[float] | None]:
    """The frames of ``info``, and the exposures of the one set that ``group`` finds."""
    info, group = run("info", *files, "--json"), run("group", *files, "--bracket", "3", "--json")
    assert (info.exit_code, group.exit_code) == (0, 0), info.stderr + group.stderr
    sets = [line for line in map(json.loads, group.stdout.splitlines()) if line["kind"] == "set"]
    assert [Path(path).name for path in sets[0]["frames"]] == [path.name for path in files]
    return json.loads(info.stdout)["frames"], sets[0]["evs"]


def _agree(frames: Sequence[dict[str, Any]], evs: Sequence[float] | None, files: Sequence[Path]) -> None:
    assert evs is not None
    middle = frames[1]["ev"]
    assert [frame["ev"] - middle for frame in frames] == pytest.approx(evs, abs=0.006)  # group rounds to 0.01 EV
    assert evs == pytest.approx(EVS, abs=0.006)
    for frame, header in zip(frames, map(read_header, files), strict=True):
        assert (frame["time"], frame["aperture"], frame["iso"]) == (header.time, header.aperture, header.iso)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("where", ["exif", "image"])
@pytest.mark.parametrize("container", [*BLOCKS, "tif"])
def test_wherever_the_tags_are(smarthdr: Run, tmp_path: Path, container: str, where: str, order: str) -> None:  # noqa: F811
    files = _write(tmp_path, container, order, STATED["plain"], where)
    frames, evs = _said(smarthdr, files)
    _agree(frames, evs, files)
    assert [(frame["time"], frame["aperture"], frame["iso"]) for frame in frames][1] == (0.01, 8.0, 100.0)


@pytest.mark.parametrize("container", ["jpg", "tif"])
@pytest.mark.parametrize("tags", STATED)
def test_however_the_tags_are_written(smarthdr: Run, tmp_path: Path, container: str, tags: str) -> None:  # noqa: F811
    files = _write(tmp_path, container, "<", STATED[tags], "exif")
    frames, evs = _said(smarthdr, files)
    _agree(frames, evs, files)


@pytest.mark.parametrize("container", ["jpg", "png text", "tif"])
@pytest.mark.parametrize("tags", UNKNOWN)
def test_what_is_unknown_is_unknown_to_both(smarthdr: Run, tmp_path: Path, container: str, tags: str) -> None:  # noqa: F811
    files = _write(tmp_path, container, ">", UNKNOWN[tags], "exif")
    frames, evs = _said(smarthdr, files)
    assert evs is None
    assert {(frame["time"], frame["ev"], frame["ev_source"]) for frame in frames} == {(None, None, "none")}
    assert {read_header(path).time for path in files} == {None}


@pytest.mark.parametrize("container", BLOCKS)
def test_a_directory_that_is_none_silences_no_other(smarthdr: Run, tmp_path: Path, container: str) -> None:  # noqa: F811
    """EXIF's directory says that it has 42,148 entries; the first says how the picture is turned."""
    block = bytearray(structure("<", [(0x0112, 3, 6), (APERTURE, 5, (8, 1))], STATED["plain"](0)))
    pointer = block.index(struct.pack("<HHI", 0x8769, 4, 1)) + 8
    (at,) = struct.unpack_from("<I", block, pointer)
    block[at:] = b"\xa4" * len(block[at:])
    block += struct.pack("<II", 8, 1)
    struct.pack_into("<I", block, block.index(struct.pack("<HHI", APERTURE, 5, 1)) + 8, len(block) - 8)
    path = tmp_path / f"a.{container[:3]}"
    path.write_bytes(BLOCKS[container](0, bytes(block)))
    frame, header = json.loads(smarthdr("info", path, "--json").stdout)["frames"][0], read_header(path)
    assert (frame["width"], frame["height"]) == header.size == (64, 96)
    assert frame["aperture"] == header.aperture == 8.0


def test_exif_of_png_turns_the_picture(smarthdr: Run, tmp_path: Path) -> None:  # noqa: F811
    """96x64 as stored; orientation 6 shows it upright."""
    path = tmp_path / "a.png"
    path.write_bytes(BLOCKS["png packed text"](0, structure("<", [(0x0112, 3, 6)], [])))
    frame = json.loads(smarthdr("info", path, "--json").stdout)["frames"][0]
    assert (frame["width"], frame["height"]) == read_header(path).size == (64, 96)


@pytest.mark.parametrize(
    "body",
    [b"", b"\nexif\n  4\n4d4", b"\nexif\n  4\nno digits", b"\xff" * 9, b"\nexif\n 99\n" + b"00" * 99],
    ids=["empty", "odd", "words", "bytes", "zeros"],
)
def test_a_damaged_profile_is_named(smarthdr: Run, tmp_path: Path, body: bytes) -> None:  # noqa: F811
    path = tmp_path / "a.png"
    path.write_bytes(_png(b"tEXt", lambda _: PROFILE + b"\0" + body)(0, b""))
    result = smarthdr("info", path, "--json")
    assert json.loads(result.stdout)["frames"][0]["time"] is None
    assert "a.png: its EXIF is damaged and was ignored" in json.loads(result.stdout)["notes"]
    assert read_header(path).time is None


def test_profiles_that_unpack_to_gigabytes_cost_little(tmp_path: Path) -> None:
    """Forty chunks of 64 megabytes each."""
    bomb = _chunk(b"zTXt", PROFILE + b"\0\0" + zlib.compress(b"\nexif\n9\n" + b"0" * (64 << 20)))
    whole = _saved(0, "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(whole[:33] + 40 * bomb + whole[33:])
    tracemalloc.start()
    begun = process_time()
    assert read_header(path).time is None
    assert read_file(path).stated.time is None
    assert process_time() - begun < 1
    assert tracemalloc.get_traced_memory()[1] < 48 << 20
    tracemalloc.stop()


@given(st.sampled_from([b"tEXt", b"zTXt"]), st.binary(max_size=200), st.booleans())
def test_any_text_is_a_profile_or_none(kind: bytes, body: bytes, packed: bool) -> None:
    text = PROFILE + b"\0" + (b"\0" + zlib.compress(b"\nexif\n9\n" + body.hex().encode()) if packed else body)
    found = raw_profile(kind, text)
    assert found is not None
    assert len(found) <= len(text) + 200


def _dng(ev: int, *, nested: bool) -> bytes:
    """A Bayer DNG (DNG 1.4) with its exposure in the first directory, or beside the raw picture in a sub-directory."""
    mosaic = np.clip(np.asarray(picture(3, 0).convert("L"), np.float64) * 20 * 2.0**ev, 0, 15_000) + 512
    exposure = [(TIME, "2I", 1, _ratio(ev, 100), True), (APERTURE, "2I", 1, (8, 1), True), (ISO, "H", 1, 100, True)]
    camera = [
        (271, "s", 0, "Test", True),
        (272, "s", 0, "Camera", True),
        (50706, "B", 4, bytes((1, 4, 0, 0)), True),
        (50721, "2i", 9, [part for value in MATRIX for part in (round(value * 10000), 10000)], True),
        (50728, "2I", 3, (1, 2, 1, 1, 5, 8), True),
        (50778, "H", 1, 21, True),
    ]
    raw = [
        (33421, "H", 2, (2, 2), True),
        (33422, "B", 4, bytes((0, 1, 1, 2)), True),
        (50714, "H", 1, 512, True),
        (50717, "H", 1, 16000, True),
    ]
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as file:
        if nested:
            small = np.asarray(picture(3, ev).resize((24, 16)))
            file.write(small, photometric="rgb", subifds=1, extratags=camera, metadata=None)
        tags = [*raw, *exposure] if nested else [*camera, *raw, *exposure]
        file.write(mosaic.astype(np.uint16), photometric=32803, extratags=tags, metadata=None)
    return stream.getvalue()


@pytest.mark.parametrize("nested", [False, True], ids=["in the first directory", "where LibRaw alone looks"])
def test_raw(smarthdr: Run, tmp_path: Path, nested: bool) -> None:  # noqa: F811
    pytest.importorskip("rawpy")
    files = []
    for number, ev in enumerate(EVS, 1):
        files.append(tmp_path / f"IMG_{number}.dng")
        files[-1].write_bytes(_dng(ev, nested=nested))
    frames, evs = _said(smarthdr, files)
    _agree(frames, evs, files)


@pytest.mark.parametrize("inner", [False, True], ids=["in the first directory", "in a sub-directory"])
@pytest.mark.parametrize(("tag", "value"), [(259, 65535), (259, 34713), (262, 32803), (262, 34892)])
def test_a_raw_by_any_name_is_one(tmp_path: Path, inner: bool, tag: int, value: int) -> None:
    """Compressions and photometrics that only cameras write."""
    pytest.importorskip("rawpy")
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        if inner:
            file.write(np.zeros((8, 8), np.uint8), photometric="minisblack", subifds=1, metadata=None)
        file.write(np.zeros((32, 48), np.uint16), photometric="minisblack", metadata=None)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        first = tiff.pages.first
        (first.pages[0] if inner else first).tags[tag].overwrite(value)
    assert read_header(path).kind == read_file(path).frame.kind == "raw"


def test_what_libraw_says_is_within_reason_too(smarthdr: Run, tmp_path: Path) -> None:  # noqa: F811
    """An aperture of f/0.0014 is none, whoever reads it."""
    pytest.importorskip("rawpy")
    data, eight = _dng(0, nested=True), struct.pack("<II", 8, 1)
    assert data.count(eight) == 1
    path = tmp_path / "a.dng"
    path.write_bytes(data.replace(eight, struct.pack("<II", 1, 700)))
    frame, header = json.loads(smarthdr("info", path, "--json").stdout)["frames"][0], read_header(path)
    assert frame["time"] == header.time == pytest.approx(0.01)
    assert frame["aperture"] is None
    assert header.aperture is None


def test_big_tiff(smarthdr: Run, tmp_path: Path) -> None:  # noqa: F811
    """64-bit offsets are no EXIF of 32 bits: nothing is read out of them by mistake."""
    files = []
    for number, ev in enumerate(EVS, 1):
        files.append(tmp_path / f"IMG_{number}.tif")
        tifffile.imwrite(files[-1], np.asarray(picture(3, ev)), bigtiff=True, photometric="rgb")
    frames, evs = _said(smarthdr, files)
    assert evs is None
    assert {frame["ev"] for frame in frames} == {None}


def test_a_second_exif_in_the_scan_is_nobodys(smarthdr: Run, tmp_path: Path) -> None:  # noqa: F811
    """Between the scans of a progressive JPEG; the headers end at the first."""
    stream = io.BytesIO()
    picture(3, 0).save(stream, "JPEG", progressive=True)
    whole, body = stream.getvalue(), b"Exif\0\0" + structure("<", [], STATED["plain"](0))
    at = whole.rindex(b"\xff\xda")
    path = tmp_path / "a.jpg"
    path.write_bytes(whole[:at] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + whole[at:])
    frame = json.loads(smarthdr("info", path, "--json").stdout)["frames"][0]
    assert (frame["time"], read_header(path).time) == (None, None)
    with Image.open(path) as image:
        image.load()  # it is a whole picture
