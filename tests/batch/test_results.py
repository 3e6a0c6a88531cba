"""Lines of results.jsonl are whole or skipped by readers, after any crash; errors as records."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smarthdr_cli.batch.results import Results, error_record, last_results, read_results, results_files
from smarthdr_cli.errors import InputError, MemoryLimitError, OutputError


def record(name, status="ok", finished="2026-01-01T00:00:00", **more):
    done = {"inputs": [], "outputs": []} if status in ("ok", "skipped") else {}
    return {"name": name, "status": status, "finished": finished} | done | more


def test_appended_records_are_read_back(tmp_path):
    path = tmp_path / "results.jsonl"
    with Results(path) as results:
        results.append(record("a", share=np.float32(0.5)))
    with Results(path) as results:
        results.append(record("b"))
    assert [r["name"] for r in read_results(path)] == ["a", "b"]
    assert next(read_results(path))["share"] == 0.5
    assert path.read_text().count("\n") == 2


def test_each_line_is_on_the_disk_before_append_returns(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    with Results(tmp_path / "r.jsonl") as results:
        results.append(record("a"))
        assert synced == [(tmp_path / "r.jsonl").stat().st_size]


def test_nan_is_refused(tmp_path):
    with Results(tmp_path / "r.jsonl") as results, pytest.raises(ValueError, match="JSON"):
        results.append(record("a", share=float("nan")))
    assert (tmp_path / "r.jsonl").read_bytes() == b""


@given(st.integers(1, 200))
def test_a_torn_last_line_is_skipped_and_the_next_one_is_whole(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("r") / "results.jsonl"
    with Results(path) as results:
        results.append(record("a"))
        results.append(record("b"))
    content = path.read_bytes()
    first = content.index(b"\n") + 1
    path.write_bytes(content[: max(first, len(content) - cut)])
    names = [r["name"] for r in read_results(path)]
    assert names in (["a"], ["a", "b"])
    with Results(path) as results:
        results.append(record("c"))
    assert [r["name"] for r in read_results(path)] == [*names, "c"]


def test_other_lines_are_skipped_with_a_note(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_bytes(b'\xff\xfe\n[1]\n"x"\n{"name": 3, "status": "ok"}\n{"name": "a"}\n' + b"[" * 100000 + b"\n{}\n")
    notes = []
    assert list(read_results(path, notes.append)) == []
    assert [line.partition(" counts")[0] for line in notes] == [f"{path}, line {number}" for number in range(1, 8)]
    assert list(read_results(tmp_path / "none.jsonl")) == []


def test_the_last_record_of_each_set_over_several_files(tmp_path):
    unsharded, shard = tmp_path / "results.jsonl", tmp_path / "results-1-of-2.jsonl"
    lines = [record("a", "failed", "1"), record("a", "ok", "2"), record("a", "skipped", "3"), record("b", "ok", "9")]
    unsharded.write_text("".join(json.dumps(line) + "\n" for line in lines))
    shard.write_text(json.dumps(record("b", "failed", "5")) + "\n" + json.dumps(record("c", "skipped", "1")) + "\n")
    (tmp_path / "results-old.jsonl").write_text(json.dumps(record("z")) + "\n")
    assert results_files(tmp_path) == [unsharded, shard]
    last = last_results(results_files(tmp_path))
    assert {name: r["status"] for name, r in last.items()} == {"a": "ok", "b": "ok", "c": "skipped"}


OPEN = "import os, signal, sys; from pathlib import Path; from smarthdr_cli.batch.results import Results\n"
OPEN += "results = Results(Path(sys.argv[1]))\n"


def opened_elsewhere(path, then=""):
    """Open the file in another process and run ``then``."""
    command = [sys.executable, "-c", OPEN + then, str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_second_writer_is_refused(tmp_path):
    path = tmp_path / "r.jsonl"
    with Results(path):
        assert f"{path} is in use: another smarthdr batch" in opened_elsewhere(path).stderr
        assert opened_elsewhere(tmp_path / "other.jsonl").returncode == 0
        with pytest.raises(OutputError, match="another smarthdr batch"):
            Results(path)
    assert opened_elsewhere(path, "results.close()").returncode == 0
    assert [p.name for p in tmp_path.iterdir() if "other" not in p.name] == ["r.jsonl"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_the_lock_of_a_killed_process_is_free(tmp_path):
    path = tmp_path / "r.jsonl"
    assert opened_elsewhere(path, "os.kill(os.getpid(), signal.SIGKILL)").returncode == -9
    with Results(path) as results:
        results.append(record("a"))
    assert [p.name for p in tmp_path.iterdir()] == ["r.jsonl"]


def test_a_path_that_cannot_be_written_is_an_output_error(tmp_path):
    with pytest.raises(OutputError, match="cannot write"):
        Results(tmp_path / "missing" / "r.jsonl")
    (tmp_path / "r.jsonl").mkdir()
    with pytest.raises(OutputError):
        Results(tmp_path / "r.jsonl")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (InputError("a.jpg\nis damaged"), 3, "a.jpg is damaged"),
        (OutputError("no space"), 5, "no space"),
        (MemoryLimitError("raise it"), 6, "raise it"),
        (MemoryError(), 6, "out of memory"),
        (KeyError("x"), 1, "crashed (KeyError: 'x')"),
    ],
)
def test_errors_as_records(error, code, message):
    record = error_record(error)
    assert (record["code"], record["message"]) == (code, message)
