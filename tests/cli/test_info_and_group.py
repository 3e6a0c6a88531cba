"""``smarthdr info`` and ``smarthdr group`` state the same exposures for every container and form of EXIF tags."""

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

from smarthdr_cli.burst.read import read_file
from smarthdr_cli.burst.scan import TEXT_CHUNK_KEYWORD
from smarthdr_cli.grouping.header import read_header
from tests.support.camera_files import picture
from tests.support.files import COLOR_MATRIX, TAIL_OFFSET, Entry, png_chunk, tiff_structure, with_png_chunk
from tests.support.raw_files import crw

Run = Callable[..., Any]
EVS = (-2, 0, 2)
SEED = 3  # of the scene
TIME, APERTURE, ISO, EXPOSURE_INDEX, ISO_SPEED = 0x829A, 0x829D, 0x8827, 0x8832, 0x8833
TIME_VALUE, APERTURE_VALUE = 0x9201, 0x9202
MODEL, ORIENTATION, EXIF_IFD = 0x0110, 0x0112, 0x8769
F8 = (APERTURE, 5, (8, 1))


def ratio(ev: int, denominator: int, numerator: int = 1) -> tuple[int, int]:
    """numerator / denominator x 2^ev."""
    return numerator * 2 ** max(ev, 0), denominator * 2 ** max(-ev, 0)


# Exif IFD entries that state 1/100 s at EV 0, f/8, ISO 100, or a bracket of another kind.
STATED: dict[str, Callable[[int], list[Entry]]] = {
    "plain": lambda ev: [(TIME, 5, ratio(ev, 100)), F8, (ISO, 3, 100)],
    "large rationals": lambda ev: [(TIME, 5, ratio(ev, 4_000_000, 40_001)), (APERTURE, 5, (9999, 1250)), (ISO, 3, 100)],
    "signed rationals": lambda ev: [(TIME, 10, ratio(ev, 100)), (APERTURE, 10, (-8, -1)), (ISO, 3, 100)],
    "floating point": lambda ev: [(TIME, 11, 2.0**ev / 100), (APERTURE, 12, 8.0), (ISO, 4, 100)],
    "APEX only": lambda ev: [(TIME_VALUE, 10, (6 - ev, 1)), (APERTURE_VALUE, 5, (6, 1)), (ISO, 3, 100)],
    "one second by APEX": lambda ev: [(TIME_VALUE, 10, (-ev, 1)), F8],
    "zero denominators": lambda ev: [(TIME, 5, (1, 0)), (TIME_VALUE, 10, (6 - ev, 1)), (APERTURE, 5, (0, 0)),
                                     (APERTURE_VALUE, 5, (6, 1)), (ISO, 3, 0), (EXPOSURE_INDEX, 4, 100)],
    "manual lens": lambda ev: [(TIME, 5, ratio(ev, 100)), (APERTURE, 5, (0, 1)), (APERTURE_VALUE, 5, (0, 1))],
    "ISO beyond 16 bits": lambda ev: [(TIME, 5, ratio(ev, 100)), (ISO, 3, 65535), (EXPOSURE_INDEX, 4, 102_400)],
    "ISO speed": lambda ev: [(TIME, 5, ratio(ev, 100)), (ISO, 3, 65535), (ISO_SPEED, 4, 204_800)],
    "ISO bracket": lambda ev: [(TIME, 5, (1, 100)), F8, (ISO, 3, int(400 * 2**ev))],
}  # fmt: skip
# Entries that leave the exposure unknown.
UNKNOWN: dict[str, list[Entry]] = {
    "nothing": [],
    "time and APEX time 0": [(TIME, 5, (0, 1)), (TIME_VALUE, 10, (0, 1)), F8],
    "time 0/0, APEX time 0": [(TIME, 5, (0, 0)), (TIME_VALUE, 10, (0, 1)), F8],
    "time as text": [(TIME, 2, b"1/100\0"), F8],
    "time out of range": [(TIME, 5, (4_000_000_000, 1)), (TIME_VALUE, 10, (90, 1))],
    "APEX time 1/0": [(TIME_VALUE, 10, (1, 0)), F8],
}


def saved(ev: float, format_: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture(SEED, ev).save(stream, format_, **options)
    return stream.getvalue()


def app1_segment(block: bytes) -> bytes:
    body = b"Exif\0\0" + block
    return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body


def jpeg(ev: float, block: bytes) -> bytes:
    data = saved(ev, "JPEG")
    return data[:2] + app1_segment(block) + data[2:]


def jpeg_with_exif_before_the_scan(ev: float, block: bytes) -> bytes:
    data = saved(ev, "JPEG")
    scan = data.index(b"\xff\xda")
    return data[:scan] + app1_segment(block) + data[scan:]


def png(ev: float, block: bytes) -> bytes:
    return with_png_chunk(saved(ev, "PNG"), b"eXIf", block)


def png_with_exif_after_the_pixels(ev: float, block: bytes) -> bytes:
    data = saved(ev, "PNG")
    return data[:-12] + png_chunk(b"eXIf", block) + data[-12:]


def imagemagick_text(block: bytes) -> bytes:
    """The profile's name, its length in eight columns, and lines of 36 bytes in hexadecimal."""
    digits = (b"Exif\0\0" + block).hex()
    lines = "\n".join(digits[start : start + 72] for start in range(0, len(digits), 72))
    return f"\nexif\n{len(digits) // 2:8}\n{lines}\n".encode()


def png_with_text(ev: float, block: bytes) -> bytes:
    return with_png_chunk(saved(ev, "PNG"), b"tEXt", TEXT_CHUNK_KEYWORD + b"\0" + imagemagick_text(block))


def png_with_compressed_text(ev: float, block: bytes) -> bytes:
    data = saved(ev, "PNG")
    body = TEXT_CHUNK_KEYWORD + b"\0\0" + zlib.compress(imagemagick_text(block))
    return data[:-12] + png_chunk(b"zTXt", body) + data[-12:]


CONTAINERS: dict[str, Callable[[float, bytes], bytes]] = {
    "jpg": jpeg,
    "jpg before the scan": jpeg_with_exif_before_the_scan,
    "png": png,
    "png after the pixels": png_with_exif_after_the_pixels,
    "png text": png_with_text,
    "png compressed text": png_with_compressed_text,
}


def tiff(order: str, ev: float, ifd0: Sequence[Entry], exif: Sequence[Entry]) -> bytes:
    pixels = np.asarray(picture(SEED, ev))
    height, width = pixels.shape[:2]
    layout: list[Entry] = [
        (0x0100, 3, width), (0x0101, 3, height), (0x0102, 3, (8, 8, 8)), (0x0103, 3, 1), (0x0106, 3, 2),
        (0x0111, 4, TAIL_OFFSET), (0x0115, 3, 3), (0x0116, 3, height), (0x0117, 4, pixels.size),
    ]  # fmt: skip
    return tiff_structure(order, [*layout, *ifd0], exif, pixels.tobytes())


def write_bracket(
    folder: Path, container: str, order: str, entries: Callable[[int], list[Entry]], ifd: str = "exif"
) -> list[Path]:
    """One file for each of EVS, with the entries in the Exif IFD or in IFD0."""
    files = []
    for number, ev in enumerate(EVS, 1):
        ifd0, exif = (entries(ev), []) if ifd == "ifd0" else ([], entries(ev))
        if container == "tif":
            data = tiff(order, ev, ifd0, exif)
        else:
            data = CONTAINERS[container](ev, tiff_structure(order, [(MODEL, 2, b"Model X\0"), *ifd0], exif))
        path = folder / f"IMG_{number}.{container[:3]}"
        path.write_bytes(data)
        files.append(path)
    return files


def frame_by_info(run: Run, path: Path) -> dict[str, Any]:
    return dict(json.loads(run("info", path, "--json").stdout)["frames"][0])


def info_and_group(run: Run, files: Sequence[Path]) -> tuple[list[dict[str, Any]], list[float] | None]:
    """The frames by ``info``, and the EVs of the one set by ``group``."""
    info, group = run("info", *files, "--json"), run("group", *files, "--bracket", "3", "--json")
    assert (info.exit_code, group.exit_code) == (0, 0), info.stderr + group.stderr
    sets = [line for line in map(json.loads, group.stdout.splitlines()) if line["kind"] == "set"]
    assert [Path(path).name for path in sets[0]["frames"]] == [path.name for path in files]
    return json.loads(info.stdout)["frames"], sets[0]["evs"]


def check_agreement(run: Run, files: Sequence[Path]) -> list[dict[str, Any]]:
    """The frames by ``info``, whose EVs are EVS, by ``group`` too, and whose exposures are those of the headers."""
    frames, evs = info_and_group(run, files)
    assert evs == pytest.approx(EVS, abs=0.006)  # rounded to 0.01 EV
    assert [frame["ev"] - frames[1]["ev"] for frame in frames] == pytest.approx(evs, abs=0.006)
    for frame, header in zip(frames, map(read_header, files), strict=True):
        assert (frame["time"], frame["aperture"], frame["iso"]) == (header.time, header.aperture, header.iso)
    return frames


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("ifd", ["exif", "ifd0"])
@pytest.mark.parametrize("container", [*CONTAINERS, "tif"])
def test_every_container(smarthdr: Run, tmp_path: Path, container: str, ifd: str, order: str) -> None:
    frames = check_agreement(smarthdr, write_bracket(tmp_path, container, order, STATED["plain"], ifd))
    assert [frames[1][key] for key in ("time", "aperture", "iso")] == [0.01, 8.0, 100.0]


@pytest.mark.parametrize("container", ["jpg", "tif"])
@pytest.mark.parametrize("form", STATED)
def test_every_form_of_tags(smarthdr: Run, tmp_path: Path, container: str, form: str) -> None:
    check_agreement(smarthdr, write_bracket(tmp_path, container, "<", STATED[form]))


@pytest.mark.parametrize("container", ["jpg", "png text", "tif"])
@pytest.mark.parametrize("form", UNKNOWN)
def test_unknown_exposures(smarthdr: Run, tmp_path: Path, container: str, form: str) -> None:
    files = write_bracket(tmp_path, container, ">", lambda _: UNKNOWN[form])
    frames, evs = info_and_group(smarthdr, files)
    assert evs is None
    assert {(frame["time"], frame["ev"], frame["ev_source"]) for frame in frames} == {(None, None, "none")}
    assert {read_header(path).time for path in files} == {None}


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_damaged_exif_ifd_leaves_ifd0_readable(smarthdr: Run, tmp_path: Path, container: str) -> None:
    """The Exif IFD states 42,148 entries; IFD0 holds the orientation and an aperture."""
    block = bytearray(tiff_structure("<", [(ORIENTATION, 3, 6), F8], STATED["plain"](0)))
    (exif_offset,) = struct.unpack_from("<I", block, block.index(struct.pack("<HHI", EXIF_IFD, 4, 1)) + 8)
    block[exif_offset:] = b"\xa4" * len(block[exif_offset:])
    block += struct.pack("<II", 8, 1)
    struct.pack_into("<I", block, block.index(struct.pack("<HHI", APERTURE, 5, 1)) + 8, len(block) - 8)
    path = tmp_path / f"a.{container[:3]}"
    path.write_bytes(CONTAINERS[container](0, bytes(block)))
    frame, header = frame_by_info(smarthdr, path), read_header(path)
    assert (frame["width"], frame["height"]) == header.size == (64, 96)
    assert frame["aperture"] == header.aperture == 8.0


def test_orientation_of_a_png(smarthdr: Run, tmp_path: Path) -> None:
    """96x64 as stored; orientation 6 is a quarter turn."""
    path = tmp_path / "a.png"
    path.write_bytes(png_with_compressed_text(0, tiff_structure("<", [(ORIENTATION, 3, 6)], [])))
    frame = frame_by_info(smarthdr, path)
    assert (frame["width"], frame["height"]) == read_header(path).size == (64, 96)


@pytest.mark.parametrize(
    "text",
    [b"", b"\nexif\n  4\n4d4", b"\nexif\n  4\nno digits", b"\xff" * 9, b"\nexif\n 99\n" + b"00" * 99],
    ids=["empty", "odd number of digits", "words", "no text", "zeros"],
)
def test_damaged_exif_in_a_text_chunk_is_a_note(smarthdr: Run, tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(with_png_chunk(saved(0, "PNG"), b"tEXt", TEXT_CHUNK_KEYWORD + b"\0" + text))
    info = json.loads(smarthdr("info", path, "--json").stdout)
    assert info["frames"][0]["time"] is None
    assert "a.png: its EXIF is damaged and was ignored" in info["notes"]
    assert read_header(path).time is None


def test_compressed_text_chunks_are_inflated_to_a_limit(tmp_path: Path) -> None:
    """Forty chunks of 64 MB each."""
    body = TEXT_CHUNK_KEYWORD + b"\0\0" + zlib.compress(b"\nexif\n9\n" + b"0" * (64 << 20))
    data = saved(0, "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(data[:33] + 40 * png_chunk(b"zTXt", body) + data[33:])
    tracemalloc.start()
    start = process_time()
    assert read_header(path).time is None
    assert read_file(path).exif.time is None
    assert process_time() - start < 1
    assert tracemalloc.get_traced_memory()[1] < 48 << 20
    tracemalloc.stop()


def dng(ev: int, *, exposure_in_sub_ifd: bool) -> bytes:
    """A Bayer DNG (DNG 1.4) with its exposure in IFD0, or beside the raw image in a SubIFD."""
    mosaic = np.clip(np.asarray(picture(SEED, 0).convert("L"), np.float64) * 20 * 2.0**ev, 0, 15_000) + 512
    exposure = [(TIME, "2I", 1, ratio(ev, 100), True), (APERTURE, "2I", 1, (8, 1), True), (ISO, "H", 1, 100, True)]
    camera = [
        (271, "s", 0, "Test", True),
        (272, "s", 0, "Camera", True),
        (50706, "B", 4, bytes((1, 4, 0, 0)), True),
        (50721, "2i", 9, [part for value in COLOR_MATRIX for part in (round(value * 10000), 10000)], True),
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
        if exposure_in_sub_ifd:
            thumbnail = np.asarray(picture(SEED, ev).resize((24, 16)))
            file.write(thumbnail, photometric="rgb", subifds=1, extratags=camera, metadata=None)
        tags = [*raw, *exposure] if exposure_in_sub_ifd else [*camera, *raw, *exposure]
        file.write(mosaic.astype(np.uint16), photometric=32803, extratags=tags, metadata=None)
    return stream.getvalue()


@pytest.mark.parametrize("exposure_in_sub_ifd", [False, True], ids=["IFD0", "SubIFD, which only LibRaw reads"])
def test_dng(smarthdr: Run, tmp_path: Path, exposure_in_sub_ifd: bool) -> None:
    pytest.importorskip("rawpy")
    files = []
    for number, ev in enumerate(EVS, 1):
        files.append(tmp_path / f"IMG_{number}.dng")
        files[-1].write_bytes(dng(ev, exposure_in_sub_ifd=exposure_in_sub_ifd))
    check_agreement(smarthdr, files)


def test_an_aperture_out_of_range_is_unknown_by_libraw_too(smarthdr: Run, tmp_path: Path) -> None:
    """f/0.0014."""
    pytest.importorskip("rawpy")
    data, f8 = dng(0, exposure_in_sub_ifd=True), struct.pack("<II", 8, 1)
    assert data.count(f8) == 1
    path = tmp_path / "a.dng"
    path.write_bytes(data.replace(f8, struct.pack("<II", 1, 700)))
    frame, header = frame_by_info(smarthdr, path), read_header(path)
    assert frame["time"] == header.time == pytest.approx(0.01)
    assert frame["aperture"] is None
    assert header.aperture is None


def test_big_tiff_has_no_exposure(smarthdr: Run, tmp_path: Path) -> None:
    files = []
    for number, ev in enumerate(EVS, 1):
        files.append(tmp_path / f"IMG_{number}.tif")
        tifffile.imwrite(files[-1], np.asarray(picture(SEED, ev)), bigtiff=True, photometric="rgb")
    frames, evs = info_and_group(smarthdr, files)
    assert evs is None
    assert {frame["ev"] for frame in frames} == {None}


def test_a_bracket_of_crw_files_is_grouped(smarthdr: Run, tmp_path: Path) -> None:
    files = []
    for number, ev in enumerate((0, -1, 1), 1):
        files.append(tmp_path / f"CRW_{number}.CRW")
        files[-1].write_bytes(crw(time_value=6 - ev, shot=number, bracket_value=32 * ev))
    (line,) = map(json.loads, smarthdr("group", tmp_path, "--json").stdout.splitlines())
    assert [Path(path) for path in line["frames"]] == files
    assert (line["evs"], line["ambiguous"]) == ([0.0, -1.0, 1.0], False)
