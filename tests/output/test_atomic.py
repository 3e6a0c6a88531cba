import errno
import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from smarthdr_cli.errors import OutputError, UsageError
from smarthdr_cli.output.atomic import atomic_file, check_targets
from smarthdr_cli.output.write import write_preview, write_result, write_uncertainty

OUTPUTS = [
    (write_result, "a.exr"),
    (write_result, "a.hdr"),
    (write_result, "a.tif"),
    (write_uncertainty, "u.png"),
    (write_uncertainty, "u.exr"),
    (write_preview, "p.jpg"),
    (write_preview, "p.png"),
    (write_preview, "p.tif"),
]


def one_line(error: pytest.ExceptionInfo[OutputError]) -> str:
    text = str(error.value)
    assert text
    assert "\n" not in text
    assert ".smarthdr-" not in text
    assert error.value.exit_code == 5
    return text


def test_content_appears_whole_and_nothing_else(tmp_path):
    target = tmp_path / "a.txt"
    with atomic_file(target) as part:
        part.write_text("whole")
        assert not target.exists()
        assert part.parent == tmp_path
    assert target.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [target]


def test_existing_file_is_refused_and_kept(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(OutputError, match="exists already") as error, atomic_file(target) as part:
        part.write_text("new")
    one_line(error)
    with atomic_file(target, overwrite=True) as part:
        part.write_text("new")
    assert target.read_text() == "new"


def test_file_appearing_meanwhile_is_kept(tmp_path):
    target = tmp_path / "a.txt"

    def write() -> None:
        with atomic_file(target) as part:
            part.write_text("ours")
            target.write_text("theirs")

    with pytest.raises(OutputError, match="exists already"):
        write()
    assert target.read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), SystemExit(1), ValueError("x"), MemoryError()])
def test_whatever_is_raised_passes_and_leaves_nothing(tmp_path, failure):
    def write() -> None:
        with atomic_file(tmp_path / "a.txt") as part:
            part.write_text("half")
            raise failure

    with pytest.raises(type(failure)):
        write()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", ["replace", "fsync"])
@pytest.mark.parametrize(("write", "name"), OUTPUTS)
def test_full_disk_at_the_last_step(tmp_path, monkeypatch, fused, write, name, call):
    target = tmp_path / name
    target.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OutputError, match="no space left") as error:
        write(fused, target, overwrite=True)
    one_line(error)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@contextmanager
def tiny_files() -> Iterator[None]:
    """Files of this process end at 600 bytes: write() itself fails, as on a full disk. No longer than needed: what
    pytest prints may go to a file as well.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(("write", "name"), OUTPUTS)
def test_writing_stopped_by_the_system(tmp_path, fused, write, name):
    with pytest.raises(OutputError, match="cannot write") as error, tiny_files():
        write(fused, tmp_path / name)
    assert name in one_line(error)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("write", "name"), OUTPUTS)
def test_missing_folder(tmp_path, fused, write, name):
    with pytest.raises(OutputError, match="does not exist") as error:
        write(fused, tmp_path / "absent" / name)
    one_line(error)


@pytest.mark.parametrize(("write", "name"), OUTPUTS)
def test_every_writer_refuses_and_replaces(tmp_path, fused, write, name):
    target = tmp_path / name
    write(fused, target)
    before = target.read_bytes()
    with pytest.raises(OutputError, match="--overwrite"):
        write(fused, target)
    target.write_bytes(b"old")
    write(fused, target, overwrite=True)
    assert len(target.read_bytes()) == len(before)
    assert list(tmp_path.iterdir()) == [target]


def test_failed_check_keeps_the_old_file(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def refuse(part: Path) -> None:
        assert part.read_text() == "new"
        raise OutputError("not what was meant")

    with pytest.raises(OutputError, match="not what"), atomic_file(target, overwrite=True, verify=refuse) as part:
        part.write_text("new")
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
    with atomic_file(link, overwrite=True) as part:
        part.write_text("new")
    assert link.is_symlink()
    assert real.read_text() == "new"


@pytest.mark.parametrize("path", [Path("/dev/full"), Path("/dev/null")])
def test_devices_are_no_targets(path):
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="not a regular file"):
            check_targets([path], overwrite)


def test_check_refuses_before_the_work(tmp_path):
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


def test_check_meets_a_folder_that_takes_no_files(tmp_path, monkeypatch):
    def read_only(*_: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(OutputError, match="read-only file system"):
        check_targets([tmp_path / "a.exr"])


def test_name_too_long(tmp_path):
    with pytest.raises(OutputError, match="cannot write"):
        check_targets([tmp_path / ("a" * 300 + ".exr")])
