"""Cache folders: complete or absent, also where a run is interrupted or two runs build the same one."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from smarthdr_cli.data.cache import RECORD, build_arrays, cache_home, cache_key, file_state, npy_writer
from smarthdr_cli.errors import InputError, OutputError

ARRAYS = ("a.npy",)


def fill(folder, value=1):
    with npy_writer(folder / "a.npy", (2, 3), np.uint16) as write:
        write(np.full((1, 3), value))
        write(np.full((1, 3), value + 1))
    (folder / RECORD).write_text("{}")


def test_an_array_written_in_pieces_reads_back(tmp_path):
    folder = build_arrays(tmp_path / "cache" / "k", ARRAYS, fill)
    assert np.load(folder / "a.npy").tolist() == [[1, 1, 1], [2, 2, 2]]
    assert np.load(folder / "a.npy").dtype == np.uint16


def test_a_complete_folder_is_not_built_again(tmp_path):
    build_arrays(tmp_path / "k", ARRAYS, fill)
    build_arrays(tmp_path / "k", ARRAYS, lambda _: pytest.fail("built again"))


def test_an_error_leaves_no_folder(tmp_path):
    def fails(folder):
        fill(folder)
        raise InputError("no")

    with pytest.raises(InputError):
        build_arrays(tmp_path / "k", ARRAYS, fails)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_another_run_completed_first_is_used(tmp_path):
    def slow(folder):
        fill(folder, 7)
        (tmp_path / "k").mkdir()
        fill(tmp_path / "k", 1)

    folder = build_arrays(tmp_path / "k", ARRAYS, slow)
    assert np.load(folder / "a.npy")[0, 0] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["k"]


def test_a_killed_run_leaves_a_temporary_folder_that_is_removed_after_a_day(tmp_path):
    code = """if True:
        import os, signal, sys
        from pathlib import Path
        from smarthdr_cli.data.cache import build_arrays
        def fill(folder):
            (folder / "record.json").write_text("{}")
            (folder / "a.npy").write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        build_arrays(Path(sys.argv[1]), ("a.npy",), fill)
    """
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "k")], timeout=60)
    assert done.returncode == -9
    (temporary,) = tmp_path.iterdir()
    assert temporary.name.startswith(".k-")
    build_arrays(tmp_path / "k", ARRAYS, fill)
    assert temporary.exists()  # a running process may own it
    os.utime(temporary, (time.time() - 2 * 86400,) * 2)
    (tmp_path / "k" / RECORD).unlink()
    build_arrays(tmp_path / "k", ARRAYS, fill)
    assert [p.name for p in tmp_path.iterdir()] == ["k"]


def test_a_full_disk_is_an_output_error(tmp_path):
    def full(_folder):
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=r"cannot write prepared scenes there: No space left on device$"):
        build_arrays(tmp_path / "k", ARRAYS, full)
    assert list(tmp_path.iterdir()) == []


def test_file_state_changes_with_the_file_and_not_with_the_working_directory(tmp_path, monkeypatch):
    file = tmp_path / "a"
    file.write_text("one")
    before = file_state(file)
    assert before[:2] == [str(file), 3]
    monkeypatch.chdir(tmp_path)
    assert file_state(Path("a")) == before
    file.write_text("three")
    assert file_state(file) != before
    with pytest.raises(InputError, match="absent cannot be read"):
        file_state(tmp_path / "absent")


def test_keys_depend_on_values_and_not_on_their_order():
    assert cache_key({"a": 1, "b": [2]}) == cache_key({"b": [2], "a": 1}) != cache_key({"a": 2, "b": [2]})


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {"SMARTHDR_HOME": "/mine"}, "/mine/cache"),
        ("linux", {"SMARTHDR_HOME": "~/mine"}, "{home}/mine/cache"),
        ("linux", {}, "{home}/.cache/smarthdr"),
        ("linux", {"XDG_CACHE_HOME": "/xdg"}, "/xdg/smarthdr"),
        ("linux", {"XDG_CACHE_HOME": ""}, "{home}/.cache/smarthdr"),
        ("darwin", {"XDG_CACHE_HOME": "/xdg"}, "{home}/Library/Caches/smarthdr"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/smarthdr"),
    ],
)
def test_cache_home_follows_the_platform(monkeypatch, platform, environment, expected):
    for name in ("SMARTHDR_HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert cache_home() == Path(expected.format(home=Path.home()))
