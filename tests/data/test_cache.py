"""Folders of the cache: whole or not there, whoever is stopped or faster."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from smarthdr_cli.data import cache
from smarthdr_cli.data.cache import RECORD, array_file, key_of, stamp, stored
from smarthdr_cli.errors import InputError, OutputError

ARRAYS = ("a.npy",)


def fill(folder, value=1):
    with array_file(folder / "a.npy", (2, 3), np.uint16) as write:
        write(np.full((1, 3), value))
        write(np.full((1, 3), value + 1))
    (folder / RECORD).write_text("{}")


def test_an_array_in_pieces_reads_back(tmp_path):
    folder = stored(tmp_path / "cache" / "k", ARRAYS, fill)
    assert np.load(folder / "a.npy").tolist() == [[1, 1, 1], [2, 2, 2]]
    assert np.load(folder / "a.npy").dtype == np.uint16


def test_what_is_there_is_not_made_again(tmp_path):
    stored(tmp_path / "k", ARRAYS, fill)
    stored(tmp_path / "k", ARRAYS, lambda _: pytest.fail("made again"))


def test_an_error_leaves_nothing(tmp_path):
    def fails(folder):
        fill(folder)
        raise InputError("no")

    with pytest.raises(InputError):
        stored(tmp_path / "k", ARRAYS, fails)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_was_faster_is_believed(tmp_path):
    def slow(folder):
        fill(folder, 7)
        (tmp_path / "k").mkdir()
        fill(tmp_path / "k", 1)

    folder = stored(tmp_path / "k", ARRAYS, slow)
    assert np.load(folder / "a.npy")[0, 0] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["k"]


def test_a_killed_run_leaves_no_half_folder(tmp_path):
    code = """if True:
        import os, signal, sys
        from pathlib import Path
        from smarthdr_cli.data.cache import stored
        def fill(folder):
            (folder / "record.json").write_text("{}")
            (folder / "a.npy").write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        stored(Path(sys.argv[1]), ("a.npy",), fill)
    """
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "k")], timeout=60)
    assert done.returncode == -9
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".k-")
    stored(tmp_path / "k", ARRAYS, fill)
    assert left.exists()  # it may be somebody's who is still at it
    os.utime(left, (time.time() - 2 * 86400,) * 2)
    (tmp_path / "k" / RECORD).unlink()
    stored(tmp_path / "k", ARRAYS, fill)
    assert [p.name for p in tmp_path.iterdir()] == ["k"]


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "_append", full)
    with pytest.raises(OutputError, match=r"cannot write prepared scenes there: No space left on device$"):
        stored(tmp_path / "k", ARRAYS, fill)
    assert list(tmp_path.iterdir()) == []


def test_stamps_and_keys(tmp_path, monkeypatch):
    file = tmp_path / "a"
    file.write_text("one")
    before = stamp(file)
    assert before[:2] == [str(file), 3]
    monkeypatch.chdir(tmp_path)
    assert stamp(type(file)("a")) == before
    file.write_text("three")
    assert stamp(file) != before
    assert key_of({"a": 1, "b": before}) == key_of({"b": before, "a": 1}) != key_of({"a": 2, "b": before})
    with pytest.raises(InputError, match="absent cannot be read"):
        stamp(tmp_path / "absent")
