"""Every error ends with its exit code and one line on stderr, and leaves no files."""

import errno
import os
import re
import struct
import sys
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from smarthdr_cli.output.write import FORMATS
from tests.support.shoots import TIMES, jpeg

from .conftest import Refused, Run, WriteBurst, parse

OFF = ("--deghost", "off")


def test_missing_input(refused: Refused, burst: list[Path], tmp_path: Path) -> None:
    assert "absent.jpg" in refused(3, "fuse", *burst, tmp_path / "absent.jpg", "-o", tmp_path / "o.exr")


def test_missing_input_with_stated_exposures(refused: Refused, burst: list[Path], tmp_path: Path) -> None:
    files = [*burst[:2], tmp_path / "absent.jpg"]
    assert "absent.jpg" in refused(3, "fuse", *files, "--ev", "-2,0,2", "-o", tmp_path / "o.exr")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--ev", "-2,2"), "2 values for 3 files"),
        (("--ev", "a,b,c"), "'a' is not a number"),
        (("--ev", "-2,0,nan"), "--ev"),
        (("--exposure-times", "1/100,1/25"), "2 values for 3 files"),
        (("--exposure-times", "1/0,1,2"), "not a number"),
        (("--exposure-times", "0,1,2"), "positive"),
        (("--ev", "-2,0,2", "--exposure-times", "1,2,3"), "exclude each other"),
        (("--reference", "0"), "--reference"),
        (("--reference", "first"), "--reference"),
        (("--reference", "4"), "4"),
        (("--response", "sgrb", *OFF), "srgb"),
        (("--tile", "100"), "--tile"),
        (("--tile", "many"), "--tile"),
        (("--max-memory", "lots"), "--max-memory"),
        (("--max-memory", "-1G"), "--max-memory"),
        (("--device", "tpu"), "tpu"),
        (("--device", "cuda:9"), "cuda:9"),
        (("--device", "cpu", "--precision", "fp16"), "fp16"),
        (("--quiet", "--verbose"), "exclude each other"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_usage(
    refused: Refused, burst: list[Path], weights: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    given = () if "--deghost" in options else ("--weights", weights)
    assert message in refused(2, "fuse", *burst, "-o", tmp_path / "o.exr", *given, *options)
    assert [path.name for path in tmp_path.iterdir()] == ["burst"]


@pytest.mark.parametrize(
    "options",
    [("--deghost", "maybe"), ("--precision", "fp8"), ("--anchor", "long"), ("--compression", "rle"), ("--colour", "x")],
)
def test_unknown_words_and_options(smarthdr: Run, burst: list[Path], options: tuple[str, str]) -> None:
    result = smarthdr("fuse", *burst, "-o", "o.exr", *options)
    assert result.exit_code == 2
    assert options[0] in result.stderr


def test_a_missing_output_option(refused: Refused, burst: list[Path]) -> None:
    assert refused(2, "fuse", *burst).endswith("; name the output, for example: -o out.exr")
    assert refused(2, "fuse", *burst, "a.exr").endswith("; put -o before the output: -o a.exr")


def test_files_without_a_command(refused: Refused, burst: list[Path]) -> None:
    line = refused(2, *burst[:2])
    assert line.endswith(f"; to fuse pictures: smarthdr fuse {burst[0]} {burst[1]} -o out.exr")
    assert refused(2, burst[0].parent).endswith(f"smarthdr batch {burst[0].parent} -o merged/")


@pytest.mark.parametrize("values", [("-2", "0", "2"), ("-2,", "0,", "2")])
def test_values_separated_by_spaces(
    refused: Refused, burst: list[Path], tmp_path: Path, values: tuple[str, ...]
) -> None:
    out = tmp_path / "o.exr"
    for arguments in ((*burst, "-o", out, "--ev", *values), ("--ev", *values, *burst, "-o", out)):
        line = refused(2, "fuse", *arguments)
        assert "separate the values by commas, without spaces: --ev=-2,0,2" in line


def test_usage_is_checked_before_existing_outputs(refused: Refused, burst: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "o.exr"
    out.write_bytes(b"older")
    for options in (
        ("--ev", "1,2"), ("--reference", "9"), ("--device", "tpu"), ("--tile", "many"), ("--response", "sgrb"),
        ("--float", "--preview", out), ("--preview", tmp_path / "p.exr"), ("--fail-if-uncertainty-above", "2"),
    ):  # fmt: skip
        assert "--overwrite" not in refused(2, "fuse", *burst, "-o", out, *options)
    assert "--overwrite" in refused(5, "fuse", *burst, "-o", out)


def test_an_unmatched_pattern(refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    line = refused(3, "fuse", "photos/*.jpg", "-o", "o.exr")
    assert line == (
        f"smarthdr: no file matches {tmp_path / 'photos' / '*.jpg'}; ls {tmp_path / 'photos'} shows what is there"
    )


def test_one_file_twice(refused: Refused, burst: list[Path], tmp_path: Path) -> None:
    assert f"{burst[0]} is given twice" in refused(2, "fuse", *burst, burst[0], "-o", tmp_path / "o.exr")
    copy = tmp_path / "copy.jpg"
    copy.write_bytes(burst[0].read_bytes())
    line = refused(3, "fuse", *burst, copy, "-o", tmp_path / "o.exr")
    assert f"{burst[0]} and {copy} hold the same picture" in line


@pytest.mark.parametrize(("format_name", "mode", "content"), [("JPEG", "CMYK", "CMYK"), ("WEBP", "RGB", "a WebP")])
def test_pictures_that_are_to_be_converted(
    refused: Refused, burst: list[Path], tmp_path: Path, format_name: str, mode: str, content: str
) -> None:
    with Image.open(burst[0]) as picture:
        picture.convert(mode).save(burst[0], format_name)
    line = refused(3, "fuse", *burst, "-o", tmp_path / "o.exr")
    assert line.startswith(f"smarthdr: {burst[0]} is ")
    assert content in line
    assert re.search(rf"magick {burst[0]} .*{burst[0].with_suffix('.png')}$", line)


def test_heic_is_to_be_converted(
    refused: Refused, burst: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    burst[0].write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    line = refused(3, "fuse", *burst, "-o", tmp_path / "o.exr")
    assert f"{burst[0]} is a HEIC/HEIF picture" in line
    assert f"magick {burst[0]} {burst[0].with_suffix('.png')}" in line


def test_one_frame_without_exif(smarthdr: Run, write_burst: WriteBurst, tmp_path: Path) -> None:
    """What the others state is kept, and the frame is measured under the curve of the others."""
    files = write_burst(stated=(TIMES[0], None, TIMES[2]))
    result = smarthdr("fuse", *files, "-o", tmp_path / "o.exr", "--json", *OFF)
    assert result.exit_code == 0
    assert "no exposure time in img2.jpg: measured from the pixels; --ev states" in result.stderr
    report = parse(result.stdout)
    assert report["evs"][2] - report["evs"][0] == pytest.approx(4, abs=1e-3)
    assert report["evs"] == pytest.approx([-2, 0, 2], abs=0.1)
    assert report["response"]["name"] == "auto"


def test_equal_stated_exposures_of_unequal_frames(
    smarthdr: Run, refused: Refused, write_burst: WriteBurst, tmp_path: Path
) -> None:
    files = write_burst(stated=(TIMES[1],) * 3)
    line = refused(3, "fuse", *files, "-o", tmp_path / "o.exr", *OFF)
    assert "are equal, but their pixels differ by 4.0 EV" in line
    assert "--ev=-2,0,2" in line
    fixed = smarthdr("fuse", *files, "-o", tmp_path / "o.exr", *OFF, "--json", "--exposure-check", "fix")
    assert fixed.exit_code == 0, fixed.stderr
    assert parse(fixed.stdout)["evs"] == pytest.approx([-2, 0, 2], abs=0.1)


def test_cuda_without_a_device(
    refused: Refused, burst: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    line = refused(2, "fuse", *burst, "-o", tmp_path / "o.exr", "--device", "cuda")
    assert line == "smarthdr: --device cuda: this machine has 0 CUDA devices"


@pytest.mark.parametrize("options", [("--float",), ("--compression", "zip"), ("--embed-uncertainty",)])
def test_exr_options_with_another_format(
    refused: Refused, burst: list[Path], tmp_path: Path, options: tuple[str, ...]
) -> None:
    assert ".exr" in refused(2, "fuse", *burst, "-o", tmp_path / "o.hdr", *options)


@pytest.mark.parametrize(
    ("option", "name"), [("-o", "o.png"), ("-o", "o"), ("--uncertainty", "u.jpg"), ("--preview", "p.exr")]
)
def test_unknown_extensions(refused: Refused, burst: list[Path], tmp_path: Path, option: str, name: str) -> None:
    outputs = {"-o": "o.exr"} | {option: name}
    line = refused(2, "fuse", *burst, *(a for o, n in outputs.items() for a in (o, tmp_path / n)))
    assert str(tmp_path / name) in line
    role = {"-o": "result", "--uncertainty": "uncertainty", "--preview": "preview"}[option]
    assert [suffix for form in FORMATS if form.role == role for suffix in form.suffixes if suffix not in line] == []


def test_two_outputs_at_one_path(refused: Refused, burst: list[Path], tmp_path: Path) -> None:
    same = tmp_path / "o.tif"
    assert "o.tif" in refused(2, "fuse", *burst, "-o", same, "--preview", same)


def test_an_output_over_an_input(refused: Refused, burst: list[Path], tmp_path: Path) -> None:
    before = burst[0].read_bytes()
    line = refused(2, "fuse", *burst, "-o", tmp_path / "o.exr", "--preview", burst[0], "--overwrite")
    assert "img1.jpg" in line
    assert burst[0].read_bytes() == before


def bad_file(kind: str, whole_file: bytes) -> bytes:
    if kind == "text":
        return b"this is not an image\n" * 40
    if kind == "empty":
        return b""
    if kind == "truncated":
        return whole_file[: len(whole_file) // 2]
    header = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(1000))
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, data, b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("kind", ["text", "empty", "truncated", "huge header"])
def test_bad_files(refused: Refused, burst: list[Path], tmp_path: Path, kind: str) -> None:
    bad = burst[1].with_name("bad.png" if kind == "huge header" else "bad.jpg")
    bad.write_bytes(bad_file(kind, burst[1].read_bytes()))
    assert bad.name in refused(3, "fuse", burst[0], bad, burst[2], "-o", tmp_path / "o.exr")
    assert [path.name for path in tmp_path.iterdir()] == ["burst"]


def test_a_folder_as_input(refused: Refused, burst: list[Path], tmp_path: Path) -> None:
    line = refused(3, "fuse", tmp_path / "burst", "-o", tmp_path / "o.exr")
    assert line.startswith(f"smarthdr: {tmp_path / 'burst'} is a folder")
    assert [
        word for word in ("smarthdr batch", "smarthdr group", str(tmp_path / "burst" / "*.jpg")) if word not in line
    ] == []


def test_an_exposure_time_of_1_0_in_exif_is_unknown(smarthdr: Run, write_burst: WriteBurst, tmp_path: Path) -> None:
    """Its exposure comes from the pixels, with a note."""
    files = write_burst(stated=(TIMES[0], (1, 0), TIMES[2]))
    result = smarthdr("fuse", *files, "-o", tmp_path / "o.exr", *OFF)
    assert result.exit_code == 0
    assert "no exposure time in img2.jpg" in result.stderr


def test_equal_exposures(refused: Refused, write_burst: WriteBurst, tmp_path: Path) -> None:
    files = write_burst(true=(TIMES[1], TIMES[1] * Fraction(101, 100)), stated=(TIMES[1], TIMES[1]))
    assert "equal exposures" in refused(3, "fuse", *files, "-o", tmp_path / "o.exr")


def test_one_file(refused: Refused, burst: list[Path], tmp_path: Path) -> None:
    assert "at least two" in refused(3, "fuse", burst[0], "-o", tmp_path / "o.exr")


def test_different_sizes(refused: Refused, burst: list[Path], tmp_path: Path) -> None:
    burst[2].write_bytes(jpeg(np.zeros((100, 160, 3), np.uint8), TIMES[2]))
    line = refused(3, "fuse", *burst, "-o", tmp_path / "o.exr")
    assert "img3.jpg 160x100" in line


@pytest.mark.parametrize("damage", ["text", "cut", "changed"])
def test_corrupt_weights(refused: Refused, burst: list[Path], weights: Path, tmp_path: Path, damage: str) -> None:
    data = weights.read_bytes()
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes({"text": b"no tensors", "cut": data[: len(data) // 2], "changed": data[:8] + b"x" * 99}[damage])
    assert "bad.safetensors" in refused(4, "fuse", *burst, "-o", tmp_path / "o.exr", "--weights", bad)


@pytest.mark.parametrize("given", ["no-such-network", "./absent.safetensors"])
def test_unknown_weights(refused: Refused, burst: list[Path], tmp_path: Path, given: str) -> None:
    assert given.removeprefix("./") in refused(4, "fuse", *burst, "-o", tmp_path / "o.exr", "--weights", given)


def test_existing_outputs(refused: Refused, burst: list[Path], tmp_path: Path) -> None:
    for name, option in (("o.exr", "-o"), ("u.png", "--uncertainty"), ("p.jpg", "--preview")):
        (tmp_path / name).write_bytes(b"older")
        outputs = {"-o": tmp_path / "new.exr"} | {option: tmp_path / name}
        line = refused(5, "fuse", *burst, *(a for pair in outputs.items() for a in pair))
        assert "--overwrite" in line
        assert (tmp_path / name).read_bytes() == b"older"
    assert not (tmp_path / "new.exr").exists()


def test_missing_folder(refused: Refused, burst: list[Path], tmp_path: Path) -> None:
    assert "does not exist" in refused(5, "fuse", *burst, "-o", tmp_path / "absent" / "o.exr")


def test_a_file_in_place_of_the_output_folder(refused: Refused, burst: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    refused(5, "fuse", *burst, "-o", tmp_path / "file" / "o.exr")


def test_a_folder_as_output(refused: Refused, burst: list[Path], tmp_path: Path) -> None:
    (tmp_path / "o.exr").mkdir()
    assert "folder" in refused(5, "fuse", *burst, "-o", tmp_path / "o.exr", "--overwrite")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_dev_full(refused: Refused, burst: list[Path]) -> None:
    assert "/dev/full" in refused(5, "fuse", *burst, "-o", "/dev/full", "--overwrite")


@pytest.mark.parametrize("at", ["fsync", "replace"])
def test_full_disk(
    refused: Refused, burst: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, at, full)
    line = refused(5, "fuse", *burst, "-o", tmp_path / "o.exr", *OFF)
    assert "no space left" in line
    assert [path.name for path in tmp_path.iterdir()] == ["burst"]


def test_too_little_memory(refused: Refused, burst: list[Path], weights: Path, tmp_path: Path) -> None:
    line = refused(6, "fuse", *burst, "-o", tmp_path / "o.exr", "--weights", weights, "--max-memory", "50M")
    assert "--max-memory" in line


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory")],
    ids=["python", "torch"],
)
def test_memory_that_runs_out(
    refused: Refused, burst: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def exhausted(*_arguments: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr("smarthdr_cli.aligned_burst.align_burst", exhausted)
    assert "out of memory" in refused(6, "fuse", *burst, "-o", tmp_path / "o.exr", *OFF)


def test_equal_images_without_exif(refused: Refused, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.fromarray(np.full((80, 80, 3), 90, np.uint8)).save(tmp_path / name)
    refused(3, "fuse", tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "o.exr")
