"""All files of a set appear or none, whenever the process dies; nothing else is moved or removed."""

import json
import os
from pathlib import Path

import pytest

from smarthdr_cli.atomic import RESERVED_PREFIX
from smarthdr_cli.batch.transaction import (
    COMMIT_FILE,
    close_stage,
    commit,
    finish_commit,
    is_committed,
    open_stage,
    recover,
    stage_key,
)
from smarthdr_cli.errors import OutputError

ROOT = ".smarthdr-batch"
KEY = stage_key("a")
RECORD = {"name": "a", "status": "ok", "inputs": [], "outputs": []}


def staged(out, names=("a.jpg", "a.exr"), key=KEY):
    stage = open_stage(out / ROOT, key)
    for name in names:
        (stage / name).write_text(f"new {name}")
    return stage, {name: out / name for name in names}


def test_files_are_moved_and_the_stage_is_removed(tmp_path):
    stage, targets = staged(tmp_path)
    targets["a.jpg"] = tmp_path / "deep" / "er" / "a.jpg"
    commit(stage, targets, RECORD, overwrite=False)
    assert targets["a.jpg"].read_text() == "new a.jpg"
    assert (tmp_path / "a.exr").read_text() == "new a.exr"
    assert is_committed(stage)
    close_stage(stage)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.exr", "deep"]


def test_an_existing_file_stops_the_commit_before_any_move(tmp_path):
    stage, targets = staged(tmp_path)
    (tmp_path / "a.exr").write_text("old")
    with pytest.raises(OutputError, match="exists already"):
        commit(stage, targets, RECORD, overwrite=False)
    assert not (tmp_path / "a.jpg").exists()
    assert not is_committed(stage)
    commit(stage, targets, RECORD, overwrite=True)
    assert (tmp_path / "a.exr").read_text() == "new a.exr"


def test_an_existing_folder_stops_the_commit_even_with_overwrite(tmp_path):
    stage, targets = staged(tmp_path)
    (tmp_path / "a.exr").mkdir()
    with pytest.raises(OutputError, match="exists already"):
        commit(stage, targets, RECORD, overwrite=True)


class Killed(BaseException):
    """The process ends here, without cleaning up."""


def die_at(monkeypatch, number):
    """Raise at the ``number``-th call that changes the disk; returns the list of calls."""
    calls = []

    def step(real):
        def run(*arguments, **options):
            calls.append(real)
            if len(calls) == number:
                raise Killed
            return real(*arguments, **options)

        return run

    monkeypatch.setattr(os, "replace", step(os.replace))  # Path.replace calls it too
    monkeypatch.setattr(os, "fsync", step(os.fsync))
    return calls


@pytest.mark.parametrize("number", range(1, 9))
def test_killed_at_any_step_all_files_or_none(tmp_path, monkeypatch, number):
    """After recovery either nothing has happened, or all files exist and the record was given once."""
    (tmp_path / "a.exr").write_text("old")
    stage, targets = staged(tmp_path)
    with monkeypatch.context() as patch:
        calls = die_at(patch, number)
        try:
            commit(stage, targets, RECORD, overwrite=True)
        except Killed:
            pass
        else:
            assert len(calls) < number
    records = []
    finished = recover(tmp_path / ROOT, records.append)
    now = {p.name: p.read_text() for p in tmp_path.iterdir()}
    if finished:
        assert records == [RECORD]
        assert now == {"a.jpg": "new a.jpg", "a.exr": "new a.exr"}
    else:
        assert records == []
        assert now == {"a.exr": "old"}
    assert finished == (number > 2)  # flush and move of the commit file are calls 1 and 2
    assert recover(tmp_path / ROOT, records.append) == 0


def test_recovery_can_be_killed_too(tmp_path, monkeypatch):
    stage, targets = staged(tmp_path)
    commit(stage, targets, RECORD, overwrite=False)

    def killed(_record):
        raise Killed

    with pytest.raises(Killed):
        recover(tmp_path / ROOT, killed)
    records = []
    assert recover(tmp_path / ROOT, records.append) == 1
    assert records == [RECORD]


def test_a_commit_file_that_was_being_written_is_removed(tmp_path):
    stage, _ = staged(tmp_path)
    (stage / f"{RESERVED_PREFIX}0123456789ab.json").write_text('{"moves": {"a.exr": "a.e')
    assert recover(tmp_path / ROOT, lambda record: pytest.fail(str(record))) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_torn_commit_file_is_ignored(tmp_path):
    stage, _ = staged(tmp_path)
    (stage / COMMIT_FILE).write_text('{"moves": {"a.exr": "a.e')
    records = []
    assert recover(tmp_path / ROOT, records.append) == 0
    assert list(tmp_path.iterdir()) == []
    assert records == []


def killed_after_the_commit_file(out, monkeypatch, overwrite=False):
    """A stage with a commit file and no file moved yet: killed at the fourth call that changes the disk."""
    stage, targets = staged(out)
    with monkeypatch.context() as patch:
        die_at(patch, 4)
        with pytest.raises(Killed):
            commit(stage, targets, RECORD, overwrite)
    return stage


def test_the_output_folder_may_have_been_renamed_since(tmp_path, monkeypatch):
    killed_after_the_commit_file(tmp_path / "out", monkeypatch)
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    assert recover(tmp_path / "elsewhere" / ROOT, lambda _record: None) == 1
    assert (tmp_path / "elsewhere" / "a.exr").read_text() == "new a.exr"


def test_a_removed_sub_folder_is_made_again(tmp_path, monkeypatch):
    stage, targets = staged(tmp_path, ["a.exr"])
    targets["a.exr"] = tmp_path / "day" / "a.exr"
    with monkeypatch.context() as patch:
        die_at(patch, 4)
        with pytest.raises(Killed):
            commit(stage, targets, RECORD, overwrite=False)
    (tmp_path / "day").rmdir()
    assert recover(tmp_path / ROOT, lambda _record: None) == 1
    assert (tmp_path / "day" / "a.exr").read_text() == "new a.exr"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_that_appeared_since_is_replaced_only_with_overwrite(tmp_path, monkeypatch, overwrite):
    killed_after_the_commit_file(tmp_path, monkeypatch, overwrite)
    (tmp_path / "a.exr").write_text("mine")
    notes = []
    assert recover(tmp_path / ROOT, lambda _record: None, notes.append) == overwrite
    assert (tmp_path / "a.exr").read_text() == ("new a.exr" if overwrite else "mine")
    assert len(notes) == (not overwrite)
    assert all(f"{tmp_path / 'a.exr'} exists already; use --overwrite" in line for line in notes)


def tree(folder):
    """Every path below with what it is: a link's target, a file's text."""
    return {
        str(p.relative_to(folder)): str(p.readlink()) if p.is_symlink() else p.read_text() if p.is_file() else None
        for p in folder.rglob("*")
    }


def forged(out, note, key=KEY, name="a.exr"):
    """A stage that no batch made: the file ``name`` and a commit file of ``note``, an object or text."""
    stage = out / ROOT / key
    stage.mkdir(parents=True)
    (stage / name).write_text("forged")
    (stage / COMMIT_FILE).write_text(note if isinstance(note, str) else json.dumps(note))
    return stage


@pytest.mark.parametrize(
    "place",
    [
        "../victim.exr", "sub/../../victim.exr", "{out}/../victim.exr", "link/victim.exr", "loop/victim.exr",
        ".smarthdr-batch/victim.exr", ".SmartHDR-batch/x/victim.exr", "results.jsonl",
        "results.jsonl/sub/victim.exr", "a\0b/victim.exr",
        "\ud800/victim.exr", "", ".", "..", "/",
    ],
)  # fmt: skip
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_commit_file_moves_only_results_into_the_output_folder(tmp_path, place, overwrite):
    out, name = tmp_path / "out", place.rpartition("/")[2] or "victim.exr"
    moves = {name: place.format(out=out)}
    forged(out, {"moves": moves, "record": RECORD, "overwrite": overwrite}, name="victim.exr")
    (out / "link").symlink_to(tmp_path)
    (out / "loop").symlink_to(out / "loop")
    for victim in (tmp_path / "victim.exr", out / "results.jsonl"):
        victim.write_text("precious")
    notes = []
    assert recover(out / ROOT, lambda _record: None, notes.append) == 0
    assert len(notes) == 1
    assert notes[0].startswith(f"{out / ROOT / KEY / COMMIT_FILE} is ignored: ")
    assert tree(tmp_path) == {
        "victim.exr": "precious", "out": None, "out/results.jsonl": "precious", "out/link": str(tmp_path),
        "out/loop": str(out / "loop"),
    }  # fmt: skip


@pytest.mark.parametrize(
    "note",
    [
        "[]", "3", "null", "{}", "[" * 100_000, "\0", "\0" * 5000, "{\"moves\": 1e999}",
        {"moves": [], "record": RECORD}, {"moves": 3, "record": RECORD},
        {"moves": {"a.exr": ["a.exr"]}, "record": RECORD},
        {"moves": {"a.exr": None}, "record": RECORD}, {"moves": {"a.exr": "a.exr"}},
        {"moves": {"a.exr": "a.exr"}, "record": []}, {"moves": {"a.exr": "a.exr"}, "record": {"name": 3}},
        {"moves": {"a.exr": "a.exr"}, "record": {"name": "a", "status": "ok"}},
        {"moves": {"a.exr": "a.exr"}, "record": RECORD | {"outputs": [3]}},
    ],
)  # fmt: skip
def test_a_commit_file_of_another_form_is_ignored(tmp_path, note):
    stage = forged(tmp_path, note)
    notes = []
    assert finish_commit(stage, notes.append) is None
    assert [line.partition(":")[0] for line in notes] == [f"{stage / COMMIT_FILE} is ignored"]
    assert recover(tmp_path / ROOT, lambda _record: None) == 0
    assert tree(tmp_path) == {}
    assert open_stage(tmp_path / ROOT, KEY).is_dir()


def test_only_what_a_batch_made_is_removed(tmp_path):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    for folder in (elsewhere / KEY, out / ROOT / "mine", out / ROOT / stage_key("b") / "sub.exr"):
        folder.mkdir(parents=True)
        (folder / "a.exr").write_text("precious")
    (out / ROOT / "notes.txt").write_text("precious")
    (out / ROOT / stage_key("c")).symlink_to(elsewhere)
    (out / ROOT / stage_key("b") / "link.exr").symlink_to(elsewhere / KEY / "a.exr")
    (out / ROOT / stage_key("b") / COMMIT_FILE).symlink_to(elsewhere / KEY / "a.exr")
    (out / ROOT / stage_key("b") / "thesis.docx").write_text("precious")
    before = tree(tmp_path)
    stage, _ = staged(out)
    (stage / ".smarthdr-00ff.exr").write_text("half")
    notes = []
    assert recover(out / ROOT, lambda _record: None, notes.append) == 0
    assert tree(tmp_path) == before
    for left in ("mine", "notes.txt", stage_key("b"), stage_key("c")):
        assert sum(line.startswith(f"{out / ROOT / left} is left alone: ") for line in notes) == 1
        with pytest.raises(OutputError, match="move it away"):
            open_stage(out / ROOT, left)
    close_stage(out / ROOT / stage_key("c"))
    assert tree(tmp_path) == before


@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_staging_folder_that_is_a_link_or_a_file_is_refused(tmp_path, kind):
    (tmp_path / "elsewhere" / KEY).mkdir(parents=True)
    (tmp_path / "elsewhere" / KEY / "a.exr").write_text("precious")
    out = tmp_path / "out"
    out.mkdir()
    if kind == "link":
        (out / ROOT).symlink_to(tmp_path / "elsewhere")
    else:
        (out / ROOT).write_text("precious")
    before = tree(tmp_path)
    for step in (lambda: recover(out / ROOT, lambda _record: None), lambda: open_stage(out / ROOT, KEY)):
        with pytest.raises(OutputError, match=f"{out / ROOT} .*move it away"):
            step()
    close_stage(out / ROOT / KEY)
    assert finish_commit(out / ROOT / KEY) is None
    assert tree(tmp_path) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_link_at_the_path_of_a_result_is_not_replaced(tmp_path, overwrite):
    stage, targets = staged(tmp_path)
    (tmp_path / "a.exr").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match=r"a\.exr exists already and is not a regular file; move it away"):
        commit(stage, targets, RECORD, overwrite)
    assert (tmp_path / "a.exr").is_symlink()


def test_a_path_that_cannot_be_written_is_an_output_error(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="cannot write"):
        open_stage(tmp_path / "out" / ROOT, KEY)


def test_targets_outside_the_output_folder_are_refused(tmp_path):
    stage, targets = staged(tmp_path / "out")
    targets["a.exr"] = tmp_path / "elsewhere.exr"
    with pytest.raises(ValueError, match="subpath"):
        commit(stage, targets, RECORD, overwrite=False)


def test_a_parent_removed_meanwhile_is_made_again(tmp_path, monkeypatch):
    real, calls = Path.mkdir, []

    def mkdir(self, *arguments, **options):
        if self.parent.name == ROOT and len(calls) < 3:
            calls.append(self)
            raise FileNotFoundError(2, "No such file or directory")
        return real(self, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    assert open_stage(tmp_path / ROOT, KEY).is_dir()
    assert len(calls) == 3
