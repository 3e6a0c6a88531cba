"""Odd files are fused, hostile ones refused in one line; a batch loses neither the others nor the reason."""

import contextlib
import json
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import pytest

from smarthdr_cli.burst.exif import ExifMetadata
from smarthdr_cli.burst.exif_containers import exif_of_block, exif_of_file
from smarthdr_cli.burst.read import read_file
from smarthdr_cli.errors import InputError
from smarthdr_cli.grouping.header import read_header
from smarthdr_cli.grouping.thumbnails import read_thumbnail

from . import corpus
from .conftest import OFF, STATED

Frames = Callable[..., list[Path]]


def radiance(path: Path) -> Any:
    with OpenEXR.File(str(path)) as file:
        return np.asarray(file.channels()["RGB"].pixels, np.float64)


@pytest.mark.parametrize("name", corpus.READ)
def test_odd_files_are_fused(smarthdr: Any, frames: Frames, tmp_path: Path, name: str) -> None:
    result = smarthdr("fuse", *frames(name), "-o", tmp_path / "o.exr", *STATED, *OFF)
    assert result.exit_code == 0, result.stderr
    found, truth = radiance(tmp_path / "o.exr"), corpus.light()
    if "grey" in name:
        assert (found == found[..., :1]).all()
        truth = truth[..., 1:2]
    assert np.median(np.abs(found / truth - 1)) < 0.02
    assert ("several pictures; the first is read" in result.stderr) == (name == "pages.tif")


def test_a_burst_of_several_formats(smarthdr: Any, frames: Frames, tmp_path: Path) -> None:
    files = frames("progressive.jpg", "interlaced16.png", "lzw.tif")
    result = smarthdr("fuse", *files, "-o", tmp_path / "o.exr", *STATED, *OFF)
    assert result.exit_code == 0, result.stderr
    assert np.median(np.abs(radiance(tmp_path / "o.exr") / corpus.light() - 1)) < 0.02


def hostile(folder: Path) -> dict[str, str]:
    """Every hostile thing that can stand where a frame should, in ``folder``; name to a word of what is said of it."""
    folder.mkdir(exist_ok=True)
    for name, (data, _) in corpus.REFUSED.items():
        (folder / name).write_bytes(data)
    (folder / "folder.jpg").mkdir()
    (folder / "dangling.jpg").symlink_to(folder / "gone.jpg")
    (folder / "circle.jpg").symlink_to(folder / "circle.jpg")
    os.mkfifo(folder / "pipe.jpg")
    others = {
        "folder.jpg": "is a folder", "dangling.jpg": "is a link, and", "circle.jpg": "is a link, and",
        "pipe.jpg": "is not a regular file", "absent.jpg": "does not exist",
    }  # fmt: skip
    return {name: said for name, (_, said) in corpus.REFUSED.items()} | others


needs_posix = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")


@needs_posix
def test_hostile_files_are_refused_in_one_line(
    refused: Any, frames: Frames, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first, _, last = frames("plain.jpg")
    for name, said in hostile(tmp_path / "bad").items():
        begun = time.process_time()
        line = refused(3, "fuse", first, tmp_path / "bad" / name, last, "-o", tmp_path / "o.exr", *STATED, *OFF)
        assert said in line, name
        assert time.process_time() - begun < 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad", "in"]
    assert capfd.readouterr().err == ""  # what C libraries print


@needs_posix
def test_a_batch_of_hostile_sets(smarthdr: Any, frames: Frames, tmp_path: Path) -> None:
    """Each fails for its own reason with the code that fuse ends with; the sound ones around them are fused."""
    first, middle, last = map(str, frames("plain.jpg"))
    bad = hostile(tmp_path / "bad")
    sets = [{"name": f"bad-{n}", "frames": [first, str(tmp_path / "bad" / name), last]} for n, name in enumerate(bad)]
    sets = [{"name": "before", "frames": [first, middle, last]}, *sets, {"name": "after", "frames": [last, middle]}]
    described = tmp_path / "sets.jsonl"
    described.write_text("".join(json.dumps(s | {"confidence": 1.0}) + "\n" for s in sets))
    out = tmp_path / "out"
    result = smarthdr("batch", "--sets", described, "-o", out, "--name", "{stem}", "--json", "-q",
                      "--ev", "-2,0,2", *OFF)  # fmt: skip
    assert result.exit_code == 7, result.stderr
    assert result.stderr.count("\n") == 1
    records = {Path(record["name"]).name: record for record in map(json.loads, result.stdout.splitlines())}
    assert records["before"]["status"] == "ok"
    assert (out / "in" / "before.exr").stat().st_size > 1000
    assert records["after"]["error"]["code"] == 2  # three exposures for two files
    for number, (name, said) in enumerate(bad.items()):
        error = records[f"bad-{number}"]["error"]
        assert error["code"] == 3, (name, error)
        assert error["type"] in ("InputError", "DamagedFileError"), (name, error)
        assert said in error["message"]
        assert "\n" not in error["message"]
    written = sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())
    assert written == ["in/before.exr", "results.jsonl"]


@needs_posix
def test_a_folder_of_hostile_files_is_grouped(
    smarthdr: Any, frames: Frames, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing hangs on the pipe, nothing is lost from sight: every file is on a line."""
    bad = hostile(tmp_path / "in")
    files = frames("plain.jpg")
    result = smarthdr("group", tmp_path / "in", "--json")
    assert result.exit_code == 0, result.stderr
    told = [json.loads(line) for line in result.stdout.splitlines()]
    named = [Path(p).name for line in told for p in line.get("frames", [line.get("file")])]
    there = {p.name for p in files} | set(bad) - {"absent.jpg", "folder.jpg"}  # folders are looked into
    assert sorted(named) == sorted(there)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("good", "bad"),
    [("lzw.tif", "lzw-zeroed.tif"), ("without-ending", "more.png"), ("plain.jpg", "jpeg-with-less.jpg")],
)
def test_info_and_group_agree_on_damage(
    smarthdr: Any, refused: Any, frames: Frames, good: str, bad: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """What ``info`` refuses is no picture to ``group`` either: it stays out of the set that its pixels would make."""
    files = frames(good)
    assert "1 set" in smarthdr("group", *files).stderr
    data, said = corpus.REFUSED[bad]
    files[1].write_bytes(data)
    assert said in refused(3, "info", *files)
    result = smarthdr("group", *files, "--json")
    assert result.exit_code == 0, result.stderr
    told = [json.loads(line) for line in result.stdout.splitlines()]
    assert {line["kind"] for line in told if str(files[1]) in (line.get("file"), *line.get("frames", []))} == {"single"}
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["plain.jpg", "progressive.jpg"])
def test_a_jpeg_cut_at_every_kilobyte(refused: Any, frames: Frames, tmp_path: Path, name: str) -> None:
    first, cut, last = frames(name)
    whole = corpus.pillow(np.random.default_rng(0).integers(0, 256, (corpus.HEIGHT, corpus.WIDTH, 3), np.uint8), "JPEG",
                          quality=97, subsampling=0, progressive=name == "progressive.jpg")  # fmt: skip
    assert len(whole) > 12_000
    for length in range(0, len(whole), 1024):
        cut.write_bytes(whole[:length])
        line = refused(3, "fuse", first, cut, last, "-o", tmp_path / "o.exr", *STATED, *OFF)
        assert cut.name in line
        assert "empty" in line if not length else "cut short" in line
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_with_flipped_bits_is_refused_said_to_be_doubtful_or_decodes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], progressive: bool
) -> None:
    """Nothing but our own words: libjpeg would print its remarks, without the file's name."""
    rng = np.random.default_rng(1)
    whole = corpus.pillow(rng.integers(0, 256, (corpus.HEIGHT, corpus.WIDTH, 3), np.uint8), "JPEG", quality=90,
                          progressive=progressive)  # fmt: skip
    kinds = {"refused": 0, "said": 0, "silent": 0}
    for _ in range(150):
        data = bytearray(whole)
        data[rng.integers(len(whole) // 4, len(whole) - 2)] ^= 1 << rng.integers(8)
        try:
            found = read_file(_written(tmp_path / "f.jpg", bytes(data)))
        except InputError as error:
            message = str(error)
            assert message.startswith(f"{tmp_path / 'f.jpg'} ")
            kinds["refused"] += 1
            continue
        assert found.frame.codes.shape == (corpus.HEIGHT, corpus.WIDTH, 3)
        kinds["said" if found.notes else "silent"] += 1
        assert all(note.startswith("f.jpg: its picture may be damaged") for note in found.notes)
    assert min(kinds.values()) > 0
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["interlaced16.png", "pages.tif", "lzw.tif", "tiles-big.tif", "alpha16.tif"])
def test_other_files_cut_at_every_kilobyte(tmp_path: Path, name: str) -> None:
    """A TIFF's second page may be lost: the first is what is read."""
    whole = corpus.READ[name](0)
    path = tmp_path / name
    pixels = read_file(_written(path, whole)).frame.codes
    for length in range(0, len(whole), 1024):
        try:
            found = read_file(_written(path, whole[:length])).frame.codes
        except InputError as error:
            message = str(error)
            assert message.startswith(f"{path} ")
            assert "\n" not in message
            continue
        assert name == "pages.tif"
        assert (found == pixels).all()


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_grouping_does_not_look_through_ten_thousand_scans(tmp_path: Path) -> None:
    header = read_header(_written(tmp_path / "a.jpg", corpus.scan_bomb()))
    begun = time.process_time()
    assert read_thumbnail(header) is None
    assert time.process_time() - begun < 0.5
    assert read_thumbnail(read_header(_written(tmp_path / "b.jpg", corpus.READ["progressive.jpg"](0)))) is not None


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (1, 700), (700, 1)])
def test_the_smallest_bursts(smarthdr: Any, tmp_path: Path, shape: tuple[int, int]) -> None:
    """One pixel is a picture: network, alignment, curve and previews take it."""
    base = np.random.default_rng(0).uniform(0.02, 1, (*shape, 3))
    files = [
        _written(
            tmp_path / f"{ev}.png", corpus.png(np.round(255 * np.clip(base * 2.0**ev, 0, 1) ** 0.45).astype(np.uint8))
        )
        for ev in corpus.EVS
    ]
    outputs = ("--preview", tmp_path / "o.jpg", "--uncertainty", tmp_path / "u.png")
    result = smarthdr("fuse", *files, "-o", tmp_path / "o.exr", *outputs, *STATED, "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    assert radiance(tmp_path / "o.exr").shape == (*shape, 3)
    assert smarthdr("info", *files).exit_code == 0
    assert smarthdr("group", *files).exit_code == 0


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero on this system")
def test_sets_without_end(refused: Any, tmp_path: Path) -> None:
    assert "line 1: the line is too long" in refused(3, "batch", "--sets", "/dev/zero", "-o", tmp_path / "o")
    assert "cannot be read" in refused(3, "batch", "--sets", tmp_path, "-o", tmp_path / "o")


@needs_posix
@pytest.mark.parametrize(
    ("closed", "arguments", "code", "said"),
    [
        ("stdout", ("info", "--json"), 5, "smarthdr: cannot write to stdout: it is closed\n"),
        ("stdin", ("batch", "-o", "o", "--sets", "-"), 3, "smarthdr: stdin is closed\n"),
    ],
)
def test_closed_streams(frames: Frames, tmp_path: Path, closed: str, arguments: Any, code: int, said: str) -> None:
    files = [str(path) for path in frames("plain.jpg")] if closed == "stdout" else []
    shell = '"$@" >&-' if closed == "stdout" else '"$@" <&-'
    command = ["sh", "-c", shell, "sh", sys.executable, "-m", "smarthdr_cli", *arguments, *files]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=100, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (code, said)


@pytest.mark.parametrize("name", corpus.EXIF)
def test_exif_that_leads_in_circles(smarthdr: Any, tmp_path: Path, name: str) -> None:
    """The pictures are fused, their EXIF counts for nothing, and neither time nor memory is spent on it."""
    files = [_written(tmp_path / f"{ev}.jpg", corpus.jpeg_with(corpus.EXIF[name], ev)) for ev in corpus.EVS]
    begun = time.process_time()
    result = smarthdr("fuse", *files, "-o", tmp_path / "o.exr", *STATED, *OFF)
    assert result.exit_code == 0, result.stderr
    grouped = smarthdr("group", *files, "--json")
    assert time.process_time() - begun < 4
    assert grouped.exit_code == 0, grouped.stderr
    assert np.median(np.abs(radiance(tmp_path / "o.exr") / corpus.light() - 1)) < 0.02


@pytest.mark.parametrize(
    "data", [*corpus.EXIF.values(), corpus.chain(4000, 60_000), corpus.EXIF["texts"].ljust(20_000_000, b"A")]
)
@pytest.mark.parametrize("read", [exif_of_block, lambda data: exif_of_file(data, "a.tif")], ids=["block", "file"])
def test_bombs_cost_little(tmp_path: Path, data: bytes, read: Callable[[bytes], ExifMetadata]) -> None:
    path = _written(tmp_path / "a.tif", data)
    begun = time.process_time()
    tracemalloc.start()
    stated = read(data)
    with contextlib.suppress(InputError):
        read_header(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert stated.time is None
    assert peak < 32 << 20
    assert time.process_time() - begun < 3
