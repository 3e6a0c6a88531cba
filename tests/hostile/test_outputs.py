"""Outputs that go away, fill up or never were a place to write: one line, 5, and nothing half-written."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from smarthdr_cli.fusion.static_merge import StaticFuser

from .conftest import OFF, STATED

Frames = Callable[..., list[Path]]


@pytest.fixture
def vanishing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder that is there when the work begins and gone when it is done."""
    out = tmp_path / "out"
    merge = StaticFuser.fuse

    def and_then_gone(*arguments: Any, **options: Any) -> Any:
        plane = merge(*arguments, **options)
        shutil.rmtree(out)
        return plane

    monkeypatch.setattr(StaticFuser, "fuse", and_then_gone)
    out.mkdir()
    return out


def test_the_folder_vanishes_while_fusing(refused: Any, frames: Frames, vanishing: Path) -> None:
    line = refused(5, "fuse", *frames("plain.jpg"), "-o", vanishing / "o.exr", *STATED, *OFF)
    assert "o.exr" in line
    assert not vanishing.exists()


def test_the_folder_vanishes_during_a_batch(smarthdr: Any, frames: Frames, vanishing: Path, tmp_path: Path) -> None:
    """What is lost then is said: the record of what was done."""
    described = tmp_path / "sets.jsonl"
    described.write_text(json.dumps({"name": "a", "frames": [str(p) for p in frames("plain.jpg")], "confidence": 1.0}))
    result = smarthdr("batch", "--sets", described, "-o", vanishing, "--json", "-q", *STATED, *OFF)
    assert result.exit_code == 5, result.stderr
    assert result.stderr.count("\n") == 1
    assert "results.jsonl was removed meanwhile" in result.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("role", ["--uncertainty", "--preview"])
def test_dev_full_as_another_output(refused: Any, frames: Frames, tmp_path: Path, role: str) -> None:
    files = frames("plain.jpg")
    line = refused(5, "fuse", *files, "-o", tmp_path / "o.exr", role, "/dev/full", *STATED, *OFF)
    assert "/dev/full" in line
    assert not (tmp_path / "o.exr").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_dev_full_as_a_batchs_folder(refused: Any, frames: Frames) -> None:
    folder = frames("plain.jpg")[0].parent
    assert "/dev/full" in refused(5, "batch", folder, "-o", "/dev/full", "--ambiguous", "merge", "-q", *STATED, *OFF)


@pytest.fixture(
    params=[
        pytest.param("device", marks=pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")),
        pytest.param("flush", marks=pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc here")),
    ]
)
def full_disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Suffixes of files for which the disk is full, nothing being mounted: while writing, or at the flush."""
    suffixes: set[str] = set()
    real_open, real_fsync = os.open, os.fsync

    def open_on_a_full_device(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if flags & os.O_EXCL and Path(path).suffix in suffixes:
            Path(path).symlink_to("/dev/full")  # the writer of the format gets the error
            flags &= ~(os.O_EXCL | os.O_CREAT)
        return real_open(path, flags, *arguments, **options)

    def fsync_on_a_full_disk(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").resolve().suffix in suffixes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real_fsync(descriptor)

    if request.param == "device":
        monkeypatch.setattr(os, "open", open_on_a_full_device)
    else:
        monkeypatch.setattr(os, "fsync", fsync_on_a_full_disk)
    return suffixes


@pytest.mark.parametrize("ending", [".exr", ".hdr", ".tif"])
def test_a_full_disk(refused: Any, frames: Frames, tmp_path: Path, full_disk: set[str], ending: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    full_disk.add(ending)
    line = refused(5, "fuse", *frames("plain.jpg"), "-o", out / f"o{ending}", *STATED, *OFF)
    assert f"cannot write {out / f'o{ending}'}: " in line
    assert "no space left on the disk" in line or "is the disk full?" in line or "No space left" in line
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("role", ["preview p.jpg", "preview p.png", "preview p.tif", "uncertainty u.png"])
def test_a_disk_that_is_full_after_the_result(
    refused: Any, frames: Frames, tmp_path: Path, full_disk: set[str], role: str
) -> None:
    """The result stays, whole; of what did not fit nothing is left."""
    out = tmp_path / "out"
    out.mkdir()
    flag, name = role.split()
    full_disk.add(Path(name).suffix)
    given = ("-o", out / "o.exr", f"--{flag}", out / name)
    assert f"cannot write {out / name}: " in refused(5, "fuse", *frames("plain.jpg"), *given, *STATED, *OFF)
    assert [path.name for path in out.iterdir()] == ["o.exr"]


def test_a_batch_onto_a_full_disk(smarthdr: Any, frames: Frames, tmp_path: Path, full_disk: set[str]) -> None:
    """The set fails, and its line, for which there was room, says so."""
    described, out = tmp_path / "sets.jsonl", tmp_path / "out"
    described.write_text(json.dumps({"name": "a", "frames": [str(p) for p in frames("plain.jpg")], "confidence": 1.0}))
    full_disk.add(".exr")
    result = smarthdr("batch", "--sets", described, "-o", out, "--preview", "-q", *STATED, *OFF)
    assert result.exit_code == 7, result.stderr
    (record,) = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert (record["status"], record["error"]["code"], record["outputs"]) == ("failed", 5, [])
    assert [path.name for path in out.rglob("*") if not path.is_dir()] == ["results.jsonl"]


def test_a_results_file_that_is_a_folder(refused: Any, frames: Frames, tmp_path: Path) -> None:
    described = tmp_path / "sets.jsonl"
    described.write_text(json.dumps({"name": "a", "frames": [str(p) for p in frames("plain.jpg")], "confidence": 1.0}))
    (tmp_path / "out" / "results.jsonl").mkdir(parents=True)
    refused(5, "batch", "--sets", described, "-o", tmp_path / "out", "-q", *STATED, *OFF)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("option", ["-o", "--preview"])
def test_a_pipe_as_output_is_not_waited_for(refused: Any, frames: Frames, tmp_path: Path, option: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    outputs = {"-o": tmp_path / "o.exr"} | {option: tmp_path / "pipe"}
    given = [part for pair in outputs.items() for part in pair]
    assert "not a regular file" in refused(5, "fuse", *frames("plain.jpg"), *given, "--overwrite", *STATED, *OFF)
