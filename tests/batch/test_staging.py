"""A set's files appear together, whatever moment the process dies at."""

import os
from pathlib import Path

import pytest

from smarthdr_cli.batch import staging
from smarthdr_cli.batch.staging import NOTE, close_stage, commit, is_committed, open_stage, recover
from smarthdr_cli.errors import OutputError


def staged(out, names=("a.jpg", "a.exr"), key="k"):
    stage = open_stage(out / ".smarthdr-batch", key)
    for name in names:
        (stage / name).write_text(f"new {name}")
    return stage, {name: out / name for name in names}


def test_files_are_moved_and_the_stage_goes(tmp_path):
    stage, targets = staged(tmp_path)
    targets["a.jpg"] = tmp_path / "deep" / "er" / "a.jpg"
    commit(stage, targets, {"name": "a"}, overwrite=False)
    assert targets["a.jpg"].read_text() == "new a.jpg"
    assert (tmp_path / "a.exr").read_text() == "new a.exr"
    assert is_committed(stage)
    close_stage(stage)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.exr", "deep"]


def test_a_file_in_the_way_stops_it_before_anything_moves(tmp_path):
    stage, targets = staged(tmp_path)
    (tmp_path / "a.exr").write_text("old")
    with pytest.raises(OutputError, match="exists already"):
        commit(stage, targets, {}, overwrite=False)
    assert not (tmp_path / "a.jpg").exists()
    assert not is_committed(stage)
    commit(stage, targets, {}, overwrite=True)
    assert (tmp_path / "a.exr").read_text() == "new a.exr"


def test_a_folder_in_the_way_stops_it_even_with_overwrite(tmp_path):
    stage, targets = staged(tmp_path)
    (tmp_path / "a.exr").mkdir()
    with pytest.raises(OutputError, match="exists already"):
        commit(stage, targets, {}, overwrite=True)


class Killed(BaseException):
    """The process ends here, without cleaning up."""


def die_at(monkeypatch, place):
    """Raise at the ``place``-th step that touches the disk; returns what counts them."""
    seen = []

    def step(real):
        def run(*arguments, **options):
            seen.append(real)
            if len(seen) == place:
                raise Killed
            return real(*arguments, **options)

        return run

    monkeypatch.setattr(Path, "replace", step(Path.replace))
    monkeypatch.setattr(os, "fsync", step(os.fsync))
    return seen


@pytest.mark.parametrize("place", range(1, 9))
def test_whatever_moment_it_dies_at_all_or_nothing(tmp_path, monkeypatch, place):
    """Killed at every step: afterwards either nothing happened, or all is there and its record is kept, once."""
    (tmp_path / "a.exr").write_text("old")
    stage, targets = staged(tmp_path)
    with monkeypatch.context() as patch:
        seen = die_at(patch, place)
        try:
            commit(stage, targets, {"name": "a"}, overwrite=True)
        except Killed:
            pass
        else:
            assert len(seen) < place
    kept = []
    finished = recover(tmp_path / ".smarthdr-batch", kept.append)
    now = {p.name: p.read_text() for p in tmp_path.iterdir()}
    if finished:
        assert kept == [{"name": "a"}]
        assert now == {"a.jpg": "new a.jpg", "a.exr": "new a.exr"}
    else:
        assert kept == []
        assert now == {"a.exr": "old"}
    assert finished == (place > 2)  # the note's flush and its move are steps 1 and 2
    assert recover(tmp_path / ".smarthdr-batch", kept.append) == 0


def test_recovery_survives_dying_itself(tmp_path, monkeypatch):
    stage, targets = staged(tmp_path)
    commit(stage, targets, {"name": "a"}, overwrite=False)

    def killed(_record):
        raise Killed

    with pytest.raises(Killed):
        recover(tmp_path / ".smarthdr-batch", killed)
    kept = []
    assert recover(tmp_path / ".smarthdr-batch", kept.append) == 1
    assert kept == [{"name": "a"}]


def test_a_torn_note_counts_as_none(tmp_path):
    stage, _ = staged(tmp_path)
    (stage / NOTE).write_text('{"moves": {"a.exr": "a.e')
    kept = []
    assert recover(tmp_path / ".smarthdr-batch", kept.append) == 0
    assert list(tmp_path.iterdir()) == []
    assert kept == []


def test_the_folder_may_have_been_moved_since(tmp_path, monkeypatch):
    out = tmp_path / "out"
    stage, targets = staged(out)
    with monkeypatch.context() as patch:
        patch.setattr(staging, "_move", lambda *_: None)
        commit(stage, targets, {"name": "a"}, overwrite=False)
    out.rename(tmp_path / "elsewhere")
    assert recover(tmp_path / "elsewhere" / ".smarthdr-batch", lambda _record: None) == 1
    assert (tmp_path / "elsewhere" / "a.exr").read_text() == "new a.exr"


def test_a_folder_that_refuses_is_an_error_of_one_line(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="cannot write"):
        open_stage(tmp_path / "out" / ".smarthdr-batch", "k")


def test_moves_stay_below_the_folder_of_the_results(tmp_path):
    stage, targets = staged(tmp_path / "out")
    targets["a.exr"] = tmp_path / "elsewhere.exr"
    with pytest.raises(ValueError, match="subpath"):
        commit(stage, targets, {}, overwrite=False)


def test_a_parent_that_vanishes_meanwhile_is_made_again(tmp_path, monkeypatch):
    real, seen = Path.mkdir, []

    def mkdir(self, *arguments, **options):
        if self.name == "k" and len(seen) < 3:
            seen.append(self)
            raise FileNotFoundError(2, "No such file or directory")
        return real(self, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    assert open_stage(tmp_path / ".smarthdr-batch", "k").is_dir()
    assert len(seen) == 3
