import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from smarthdr_cli.errors import OutputError, UsageError
from smarthdr_cli.output.write import check_outputs, write_preview, write_result, write_uncertainty

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


@pytest.mark.parametrize("name", ["out", "out.jpg", "out.exr.bak", "out.EXRS"])
def test_unknown_result_extension(tmp_path, fused, name):
    with pytest.raises(UsageError, match=r"\.exr, \.hdr"):
        check_outputs(tmp_path / name)
    with pytest.raises(UsageError):
        write_result(fused, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_unknown_extensions_of_the_others(tmp_path, fused):
    with pytest.raises(UsageError, match="uncertainty"):
        check_outputs(tmp_path / "a.exr", tmp_path / "u.jpg")
    with pytest.raises(UsageError, match="preview"):
        check_outputs(tmp_path / "a.exr", None, tmp_path / "p.exr")
    with pytest.raises(UsageError):
        write_uncertainty(fused, tmp_path / "u.tif")
    with pytest.raises(UsageError):
        write_preview(fused, tmp_path / "p.gif")


def test_two_outputs_of_one_name_and_an_input(tmp_path):
    with pytest.raises(UsageError, match="same name"):
        check_outputs(tmp_path / "a.exr", tmp_path / "a.exr")
    source = tmp_path / "in.tif"
    source.write_bytes(b"x")
    with pytest.raises(UsageError, match="also an input"):
        check_outputs(source, inputs=[source], overwrite=True)


def test_device_is_an_output_error_whatever_its_extension():
    with pytest.raises(OutputError):
        check_outputs(Path("/dev/full"))


def test_upper_case_extensions(tmp_path, fused):
    check_outputs(tmp_path / "A.EXR", tmp_path / "U.PNG", tmp_path / "P.JPG")
    write_result(fused, tmp_path / "A.EXR")
    write_preview(fused, tmp_path / "P.JPG")
    assert (tmp_path / "A.EXR").read_bytes()[:4] == b"v/1\x01"
    assert (tmp_path / "P.JPG").read_bytes()[:2] == b"\xff\xd8"


def test_embedding_needs_exr(tmp_path, fused):
    with pytest.raises(UsageError, match=r"\.exr only"):
        write_result(fused, tmp_path / "a.hdr", embed_uncertainty=True)


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
