"""The table of formats, checks before the computation, and writers on a full disk, without a folder, over a file."""

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from smarthdr_cli.errors import OutputError, UsageError
from smarthdr_cli.output.write import (
    FORMATS,
    PreviewFormat,
    ResultFormat,
    UncertaintyFormat,
    check_outputs,
    check_write_options,
    find_format,
    is_intact,
    listed,
    read_provenance,
    write_legend,
    write_preview,
    write_report,
    write_result,
    write_results,
    write_uncertainty,
)
from smarthdr_cli.output.write_options import WriteOptions

pytestmark = pytest.mark.unit

OUTPUTS = [
    (write_result, "a.exr"),
    (write_result, "a.hdr"),
    (write_result, "a.tif"),
    (write_result, "a.jpg"),
    (write_result, "a.dng"),
    (write_result, "a.avif"),
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


MAGIC = {
    ".exr": b"v/1\x01",
    ".hdr": b"#?RADIANCE",
    ".tif": b"II*\0",
    ".dng": b"II*\0",
    ".png": b"\x89PNG",
    ".jpg": b"\xff\xd8",
    ".avif": b"\0\0\0 ftypavif",
    ".html": b"<!doctype html>",
}  # first suffix of a format to the first bytes of its files


WRITERS = {
    "result": write_result,
    "uncertainty": write_uncertainty,
    "legend": lambda _result, path: write_legend(path),
    "preview": write_preview,
    "report": write_report,
}


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: f"{form.role}{form.suffixes[0]}")
def test_every_format_of_the_table_is_written_and_read_back(tmp_path, result, form):
    write = WRITERS[form.role]
    for suffix in form.suffixes:
        path = tmp_path / f"out{suffix}"
        write(result, path)
        assert path.read_bytes().startswith(MAGIC[form.suffixes[0]])
        assert find_format(form.role, path) is form
        provenance = read_provenance(path) if form.role == "result" else None
        if provenance is not None:
            assert provenance["smarthdr:reference"] == "img1.jpg"
        if provenance is not None or form.role != "result":
            assert is_intact(path)


def test_suffixes_are_unique_in_their_role():
    suffixes = [(form.role, suffix) for form in FORMATS for suffix in form.suffixes]
    assert len(set(suffixes)) == len(suffixes)


@pytest.mark.parametrize(
    ("role", "words"), [("result", ResultFormat), ("uncertainty", UncertaintyFormat), ("preview", PreviewFormat)]
)
def test_the_choices_of_the_command_line_are_those_of_the_table(role, words):
    suffixes = [f".{word}" for word in get_args(words)]
    assert suffixes == [form.suffixes[0] for form in FORMATS if form.role == role]
    assert listed(role) == f"{', '.join(suffixes[:-1])} or {suffixes[-1]}"


def test_options_that_a_format_lacks():
    check_write_options(Path("a.exr"), float32=True, compression="zip", embed_uncertainty=True)
    check_write_options(Path("a.EXR"), float32=True)
    check_write_options(Path("a.hdr"), float32=None, compression="piz", embed_uncertainty=False)
    for name in ("a.hdr", "a.TIFF", "out"):
        with pytest.raises(UsageError, match=r"^--compression is an option of \.exr, not of "):
            check_write_options(Path(name), float32=None, compression="zip")


@pytest.mark.parametrize("name", ["out", "out.webp", "out.exr.bak", "out.EXRS"])
def test_unknown_suffix_of_a_result(tmp_path, result, name):
    with pytest.raises(UsageError, match=r"\.exr, \.hdr"):
        check_outputs(tmp_path / name)
    with pytest.raises(UsageError):
        write_result(result, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_unknown_suffixes_of_the_others(tmp_path, result):
    with pytest.raises(UsageError, match="uncertainty"):
        check_outputs(tmp_path / "a.exr", tmp_path / "u.jpg")
    with pytest.raises(UsageError, match="preview"):
        check_outputs(tmp_path / "a.exr", None, tmp_path / "p.exr")
    with pytest.raises(UsageError):
        write_uncertainty(result, tmp_path / "u.tif")
    with pytest.raises(UsageError):
        write_preview(result, tmp_path / "p.gif")


def test_two_outputs_of_one_name_and_an_input(tmp_path):
    with pytest.raises(UsageError, match="same name"):
        check_outputs(tmp_path / "a.exr", tmp_path / "a.exr")
    source = tmp_path / "in.tif"
    source.write_bytes(b"x")
    with pytest.raises(UsageError, match="also an input"):
        check_outputs(source, inputs=[source], overwrite=True)


def test_a_device_is_an_output_error_whatever_its_suffix():
    with pytest.raises(OutputError):
        check_outputs(Path("/dev/full"))


def test_upper_case_suffixes(tmp_path, result):
    check_outputs(tmp_path / "A.EXR", tmp_path / "U.PNG", tmp_path / "P.JPG")
    write_result(result, tmp_path / "A.EXR")
    write_preview(result, tmp_path / "P.JPG")
    assert (tmp_path / "A.EXR").read_bytes()[:4] == b"v/1\x01"
    assert (tmp_path / "P.JPG").read_bytes()[:2] == b"\xff\xd8"


def test_an_option_needs_one_file_that_has_it():
    check_write_options([Path("a.hdr"), Path("a.exr")], compression="zip")
    check_write_options(Path("a.jpg"), look="vivid", preview_ev=1.0)
    check_write_options(Path("a.exr"), Path("p.png"), look="neutral")
    with pytest.raises(
        UsageError, match=r"^--look is an option of --preview, \.jpg.*, not of \.hdr, \.exr; leave it out$"
    ):
        check_write_options([Path("a.hdr"), Path("a.exr")], look="neutral")
    with pytest.raises(UsageError, match=r"^--preview-ev is an option of"):
        check_write_options(Path("a.exr"), preview_ev=-1.0)


def test_several_results_appear_together_or_not_at_all(tmp_path, result, make_result):
    paths = [tmp_path / name for name in ("a.exr", "a.jpg", "a.dng")]
    notes = write_results(result, paths, WriteOptions(compression="htj2k", look="vivid"))
    assert notes[0].startswith("a.exr is compressed with HTJ2K")
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    before = {path: path.read_bytes() for path in paths}
    other = make_result(np.full((8, 9, 3), 0.5, np.float32))
    with pytest.raises(OutputError, match="does not exist"):
        write_results(other, [*paths, tmp_path / "no" / "where.exr"], WriteOptions(), overwrite=True)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_embedding_needs_exr(tmp_path, result):
    with pytest.raises(UsageError, match=r"--embed-uncertainty is an option of \.exr, not of \.hdr"):
        write_result(result, tmp_path / "a.hdr", embed_uncertainty=True)


@pytest.mark.parametrize("call", ["replace", "fsync"])
@pytest.mark.parametrize(("write", "name"), OUTPUTS)
def test_full_disk_at_the_last_step(tmp_path, monkeypatch, result, write, name, call):
    target = tmp_path / name
    target.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OutputError, match="no space left") as error:
        write(result, target, overwrite=True)
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
def test_writing_stopped_by_the_system(tmp_path, result, write, name):
    with pytest.raises(OutputError, match="cannot write") as error, tiny_files():
        write(result, tmp_path / name)
    assert name in one_line(error)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("write", "name"), OUTPUTS)
def test_missing_folder(tmp_path, result, write, name):
    with pytest.raises(OutputError, match="does not exist") as error:
        write(result, tmp_path / "absent" / name)
    one_line(error)


@pytest.mark.parametrize(("write", "name"), OUTPUTS)
def test_every_writer_refuses_and_replaces(tmp_path, result, write, name):
    target = tmp_path / name
    write(result, target)
    before = target.read_bytes()
    with pytest.raises(OutputError, match="--overwrite"):
        write(result, target)
    target.write_bytes(b"old")
    write(result, target, overwrite=True)
    assert len(target.read_bytes()) == len(before)
    assert list(tmp_path.iterdir()) == [target]
