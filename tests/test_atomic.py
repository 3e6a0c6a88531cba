"""Atomic writing, and checks of targets before the work."""

import errno
import os
import shutil
import stat
from pathlib import Path

import pytest

from smarthdr_cli.atomic import all_or_none, atomic_file, check_targets
from smarthdr_cli.errors import OutputError, UsageError


def test_the_target_appears_complete_and_alone(tmp_path):
    target = tmp_path / "a.txt"
    with atomic_file(target) as temporary:
        temporary.write_text("whole")
        assert not target.exists()
        assert temporary.parent == tmp_path
    assert target.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [target]


def test_existing_file_is_refused_and_kept(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(OutputError, match="exists already"), atomic_file(target) as temporary:
        temporary.write_text("new")
    with atomic_file(target, overwrite=True) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"


def test_a_file_created_meanwhile_is_kept(tmp_path):
    target = tmp_path / "a.txt"

    def write() -> None:
        with atomic_file(target) as temporary:
            temporary.write_text("ours")
            target.write_text("theirs")

    with pytest.raises(OutputError, match="exists already"):
        write()
    assert target.read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), SystemExit(1), ValueError("x"), MemoryError()])
def test_exceptions_pass_and_leave_no_file(tmp_path, failure):
    def write() -> None:
        with atomic_file(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise failure

    with pytest.raises(type(failure)):
        write()
    assert list(tmp_path.iterdir()) == []


def test_the_temporary_file_may_lie_in_a_staging_folder(tmp_path):
    (tmp_path / "stage").mkdir()
    with atomic_file(tmp_path / "a.txt", staging_folder=tmp_path / "stage") as temporary:
        temporary.write_text("whole")
        assert list(tmp_path.rglob("*.txt")) == [temporary]
        assert temporary.parent == tmp_path / "stage"
    assert (tmp_path / "a.txt").read_text() == "whole"
    assert list((tmp_path / "stage").iterdir()) == []


def write(path: Path, text: str, *, overwrite: bool = False) -> None:
    with atomic_file(path, overwrite=overwrite) as temporary:
        temporary.write_text(text)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_several_files_appear_together(tmp_path):
    (tmp_path / "a").write_text("old")
    with all_or_none():
        write(tmp_path / "a", "new", overwrite=True)
        write(tmp_path / "b", "new")
        assert (tmp_path / "a").read_text() == "old"
        assert not (tmp_path / "b").exists()
    assert contents(tmp_path) == {"a": "new", "b": "new"}


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), ValueError("x"), MemoryError()])
def test_an_exception_between_them_leaves_all_as_they_were(tmp_path, failure):
    (tmp_path / "a").write_text("old")

    def write_two() -> None:
        with all_or_none():
            write(tmp_path / "a", "new", overwrite=True)
            write(tmp_path / "b", "new")
            raise failure

    with pytest.raises(type(failure)):
        write_two()
    assert contents(tmp_path) == {"a": "old"}


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
@pytest.mark.parametrize("failure", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
def test_a_failure_while_they_are_moved_puts_the_moved_ones_back(tmp_path, monkeypatch, failure, links):
    (tmp_path / "a").write_text("old")
    real, moved = os.replace, []

    def fail_at_the_third(source: Path, target: Path) -> None:
        moved.append(target)
        if len(moved) == 3:
            raise failure
        real(source, target)

    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    def write_three() -> None:
        with all_or_none():
            write(tmp_path / "a", "new", overwrite=True)
            write(tmp_path / "b", "new")
            write(tmp_path / "c", "new")
            monkeypatch.setattr(os, "replace", fail_at_the_third)
            if not links:
                monkeypatch.setattr(os, "link", no_links)

    with pytest.raises((OutputError, KeyboardInterrupt)):
        write_three()
    assert contents(tmp_path) == {"a": "old"}


def test_an_old_file_that_cannot_be_backed_up_is_kept(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("old")

    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    def full_disk(_source: Path, copy: Path) -> None:
        copy.write_text("o")
        raise OSError(errno.ENOSPC, "No space left on device")

    def write_two() -> None:
        with all_or_none():
            write(tmp_path / "b", "new")
            write(tmp_path / "a", "new", overwrite=True)
            monkeypatch.setattr(os, "link", no_links)
            monkeypatch.setattr(shutil, "copy2", full_disk)

    with pytest.raises(OutputError, match=r"cannot write .*a: no space left"):
        write_two()
    assert contents(tmp_path) == {"a": "old"}


def test_a_file_that_another_program_writes_meanwhile_stays(tmp_path):
    def write_two() -> None:
        with all_or_none():
            write(tmp_path / "a", "ours")
            write(tmp_path / "b", "ours")
            (tmp_path / "b").write_text("theirs")

    with pytest.raises(OutputError, match="b exists already"):
        write_two()
    assert contents(tmp_path) == {"b": "theirs"}


def test_failed_verification_keeps_the_old_file(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def is_as_written(temporary: Path) -> bool:
        return temporary.read_text() != "new"

    def write_new() -> None:
        with atomic_file(target, overwrite=True, is_as_written=is_as_written) as temporary:
            temporary.write_text("new")

    with pytest.raises(OutputError, match=f"{target} does not read back as it was written"):
        write_new()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_mode_follows_the_umask_or_the_replaced_file(tmp_path):
    target = tmp_path / "a.txt"
    old = os.umask(0o027)
    try:
        with atomic_file(target):
            pass
        assert stat.S_IMODE(target.stat().st_mode) == 0o640
        target.chmod(0o604)
        with atomic_file(target, overwrite=True):
            pass
    finally:
        os.umask(old)
    assert stat.S_IMODE(target.stat().st_mode) == 0o604


def test_link_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "a.txt", tmp_path / "link.txt"
    real.write_text("old")
    link.symlink_to(real)
    with atomic_file(link, overwrite=True) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert real.read_text() == "new"


@pytest.mark.parametrize("path", [Path("/dev/full"), Path("/dev/null")])
def test_devices_are_no_targets(path):
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="not a regular file"):
            check_targets([path], overwrite)


def test_targets_that_cannot_be_written(tmp_path):
    exists = tmp_path / "exists.exr"
    exists.write_bytes(b"x")
    link = tmp_path / "link.exr"
    link.symlink_to(tmp_path / "new.exr")
    loop = tmp_path / "loop.exr"
    loop.symlink_to(loop)
    with pytest.raises(OutputError, match="exists already"):
        check_targets([exists])
    with pytest.raises(OutputError, match="does not exist"):
        check_targets([tmp_path / "absent" / "a.exr"])
    with pytest.raises(OutputError, match="is a folder"):
        check_targets([tmp_path], overwrite=True)
    with pytest.raises(OutputError):
        check_targets([loop])
    with pytest.raises(OutputError):
        check_targets([exists / "a.exr"])
    with pytest.raises(UsageError, match="same name"):
        check_targets([tmp_path / "new.exr", link])
    with pytest.raises(UsageError, match="also an input"):
        check_targets([exists], overwrite=True, inputs=[tmp_path / "." / "exists.exr"])
    check_targets([exists, tmp_path / "new.exr"], overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {"exists.exr", "link.exr", "loop.exr"}


def test_a_read_only_file_system(tmp_path, monkeypatch):
    def read_only(*_: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(OutputError, match="read-only file system"):
        check_targets([tmp_path / "a.exr"])


def test_name_too_long(tmp_path):
    with pytest.raises(OutputError, match="cannot write"):
        check_targets([tmp_path / ("a" * 300 + ".exr")])
