"""Mutated files give a Frame or a SmartHDRError, never another exception, nor more pixels than their bytes allow."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from smarthdr_cli.burst.load import load_burst
from smarthdr_cli.burst.read import read_frame
from smarthdr_cli.errors import SmartHDRError
from tests.support.files import exif_block

PIXELS = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
CHECKS = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
FAST = settings(max_examples=300, deadline=3000, suppress_health_check=CHECKS)
SLOW = settings(max_examples=4000, deadline=3000, suppress_health_check=CHECKS)


@st.composite
def mutations(draw: st.DrawFn) -> list[tuple[str, float, bytes]]:
    """One to six edits: (kind, place as a share of the first bytes, content)."""
    edit = st.tuples(
        st.sampled_from(["set", "set", "set", "insert", "delete", "cut", "huge"]),
        st.floats(0, 1, exclude_max=True),
        st.binary(min_size=1, max_size=4),
    )
    return draw(st.lists(edit, min_size=1, max_size=6))


def mutate(data: bytes, edits: list[tuple[str, float, bytes]], head: int) -> bytes:
    out = bytearray(data)
    for kind, share, content in edits:
        position = int(share * min(head, len(out)))
        if kind == "set":
            out[position : position + len(content)] = content
        elif kind == "insert":
            out[position:position] = content
        elif kind == "delete":
            del out[position : position + len(content)]
        elif kind == "cut":
            del out[int(share * len(out)) :]
        else:
            out[position : position + 4] = b"\xff\xff\xff\x7f"
    return bytes(out)


def check_read(path: Path, data: bytes) -> None:
    """Reading the data gives a frame of a plausible size, or an error in one line with the name of the file."""
    path.write_bytes(data)
    try:
        frame = read_frame(path)
    except SmartHDRError as error:
        message = str(error)
    else:
        message = ""
    if message:
        assert "\n" not in message
        assert path.name in message
        return
    assert frame.codes.ndim == 3
    assert frame.codes.shape[2] == 3
    assert np.isfinite(frame.exposure.ev)
    assert frame.codes.size < 4_000 * len(data)


def jpeg_of() -> bytes:
    block = exif_block(
        ExposureTime=(1, 60),
        FNumber=(28, 10),
        ISOSpeedRatings=200,
        Make="Maker",
        Orientation=6,
        DateTimeOriginal="2026:01:02 03:04:05",
        OffsetTimeOriginal="+02:00",
        RecommendedExposureIndex=200,
        ShutterSpeedValue=(6, 1),
    )
    file = io.BytesIO()
    profile = bytes(128) + struct.pack(">I", 0)
    Image.fromarray(PIXELS).save(file, "JPEG", exif=b"Exif\0\0" + block, icc_profile=profile)
    return file.getvalue()


def tiff_of() -> bytes:
    file = io.BytesIO()
    extra = [(274, "H", 1, 6, True), (33434, "2I", 1, (1, 60), True), (34675, "B", 8, bytes(8), True)]
    tifffile.imwrite(
        file, PIXELS.astype(np.uint16), photometric="rgb", compression="zlib", metadata=None, extratags=extra
    )
    return file.getvalue()


def lzw_of() -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "TIFF", compression="tiff_lzw", tiffinfo={274: 6})
    return file.getvalue()


def png_of() -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(
        file, "PNG", exif=b"Exif\0\0" + exif_block(ExposureTime=(1, 60)), icc_profile=bytes(140)
    )
    return file.getvalue()


def fix_checksums(png: bytes) -> bytes:
    """The PNG with correct checksums, so that mutations reach what the checksums protect."""
    out, position = bytearray(png), 8
    while position + 12 <= len(out):
        length = int.from_bytes(out[position : position + 4], "big")
        end = position + 8 + length
        if end + 4 > len(out):
            break
        struct.pack_into(">I", out, end, zlib.crc32(out[position + 4 : end]))
        position = end + 4
    return bytes(out)


def check_mutated(kind: str, edits: Any, dng: Callable[..., Path], path: Path) -> None:
    if kind == "jpeg":
        data = mutate(jpeg_of(), edits, 700)
    elif kind == "png":
        data = fix_checksums(mutate(png_of(), edits, 400))
    elif kind == "dng":
        ramp = np.tile(np.linspace(512, 16000, 24), (16, 1))
        data = mutate(dng("source.dng", ramp).read_bytes(), edits, 700)
    else:
        data = mutate(tiff_of() if kind == "tiff" else lzw_of(), edits, 400)
    check_read(path, data)


@given(edits=mutations())
@FAST
def test_mutated_jpeg(edits: Any, dng: Any, tmp_path: Path) -> None:
    check_mutated("jpeg", edits, dng, tmp_path / "m.jpg")


@given(edits=mutations(), kind=st.sampled_from(["png", "tiff", "lzw", "dng"]))
@FAST
def test_mutated_png_tiff_and_dng(edits: Any, kind: str, dng: Any, tmp_path: Path) -> None:
    check_mutated(kind, edits, dng, tmp_path / "m.bin")


@pytest.mark.slow
@given(edits=mutations())
@SLOW
def test_thousands_of_mutated_jpegs(edits: Any, dng: Any, tmp_path: Path) -> None:
    check_mutated("jpeg", edits, dng, tmp_path / "m.jpg")


@pytest.mark.slow
@given(edits=mutations(), kind=st.sampled_from(["png", "tiff", "lzw", "dng"]))
@SLOW
def test_thousands_of_mutated_other_files(edits: Any, kind: str, dng: Any, tmp_path: Path) -> None:
    check_mutated(kind, edits, dng, tmp_path / "m.bin")


@given(edits=mutations())
@settings(max_examples=60, deadline=3000, suppress_health_check=CHECKS)
def test_a_burst_with_a_mutated_frame(edits: Any, tmp_path: Path) -> None:
    intact = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    for path, (time, level) in zip(intact, ((10, 40), (40, 90)), strict=True):
        Image.fromarray(PIXELS // 3 + level).save(path, exif=b"Exif\0\0" + exif_block(ExposureTime=(1, time)))
    (tmp_path / "m.jpg").write_bytes(mutate(jpeg_of(), edits, 700))
    try:
        burst, _ = load_burst([*intact, tmp_path / "m.jpg"])
    except SmartHDRError as error:
        message = str(error)
    else:
        message = ""
    if message:
        assert "\n" not in message
        return
    assert len(burst) == 3
    assert np.isfinite(burst.evs).all()


@pytest.mark.parametrize("length", range(8, 45))
def test_a_png_header_cut_at_every_byte(length: int, tmp_path: Path) -> None:
    path = tmp_path / "c.png"
    path.write_bytes(png_of()[:length])
    with pytest.raises(SmartHDRError, match=r"c\.png is cut short"):
        read_frame(path)


@given(
    data=st.binary(max_size=300),
    magic=st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*"]),
)
@FAST
def test_random_bytes(data: bytes, magic: bytes, tmp_path: Path) -> None:
    check_read(tmp_path / "r.jpg", magic + data)
