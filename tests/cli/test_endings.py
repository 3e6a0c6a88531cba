"""How the command ends when it is interrupted, crashes, or cannot print."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from smarthdr_cli.cli.console import print_json

from .conftest import Refused, Run, WriteBurst

# A slow fusion: it writes a marker when the merge has run, then waits for the signal.
SLOW = """
import os, sys, time
from pathlib import Path
from smarthdr_cli.fusion.static_merge import StaticFuser
merge = StaticFuser.fuse

def slow(*arguments, **options):
    result = merge(*arguments, **options)
    Path(sys.argv[1]).touch()
    time.sleep({before})
    return result

StaticFuser.fuse = slow
fsync = os.fsync

def slow_fsync(descriptor):
    Path(sys.argv[1]).touch()
    time.sleep({writing})
    fsync(descriptor)

os.fsync = slow_fsync
marker = sys.argv.pop(1)
sys.argv.insert(1, marker)
from smarthdr_cli.cli.app import app
app(sys.argv[2:])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "terminated"])
@pytest.mark.parametrize(("before", "writing"), [(60, 0), (0, 60)], ids=["fusing", "writing"])
def test_an_interrupted_fusion_leaves_no_files(
    burst: list[Path], tmp_path: Path, number: signal.Signals, before: int, writing: int
) -> None:
    marker = tmp_path / "begun"
    script = SLOW.format(before=before, writing=writing)
    out = tmp_path / "out"
    out.mkdir()
    options = ["-o", str(out / "o.exr"), "--deghost", "off"]
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(marker), "fuse", *map(str, burst), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 100
    while not marker.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    if writing:  # the marker comes before the temporary file
        while not list(out.iterdir()) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
    time.sleep(0.1)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stdout == ""
    assert stderr.splitlines()[-1] == "smarthdr: interrupted; nothing was left half-written"
    assert list(out.iterdir()) == []


def test_a_crash_is_one_line(
    refused: Refused, burst: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object, **_options: object) -> None:
        raise ZeroDivisionError("a [fault]\nin the code")

    monkeypatch.setattr("smarthdr_cli.aligned_burst.align_burst", broken)
    line = refused(1, "fuse", *burst, "-o", tmp_path / "o.exr", "--deghost", "off")
    assert line == (
        "smarthdr: crashed (ZeroDivisionError: a [fault] in the code); set SMARTHDR_TRACEBACK=1 to see where"
    )
    monkeypatch.setenv("SMARTHDR_TRACEBACK", "1")
    from typer.testing import CliRunner

    from smarthdr_cli.cli.app import app

    result = CliRunner().invoke(app, ["fuse", *map(str, burst), "-o", str(tmp_path / "o.exr"), "--deghost", "off"])
    assert isinstance(result.exception, ZeroDivisionError)


def test_file_names_are_printed_unchanged(refused: Refused, tmp_path: Path) -> None:
    """No markup, no emoji, no line break changes a name."""
    name = "[bold]a[red] \\[b] :cat: " + "long" * 40 + ".jpg"
    line = refused(3, "fuse", tmp_path / name, tmp_path / "b.jpg", "-o", tmp_path / "o.exr")
    assert name in line


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes")
def test_a_closed_pipe(burst: list[Path]) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "smarthdr_cli", "info", "--json", *map(str, burst)]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=100)
    os.close(write)
    assert done.returncode == 1
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("command", [("info", "--json"), ("group",)])
def test_stdout_on_a_full_disk(burst: list[Path], command: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "smarthdr_cli", *command, *map(str, burst)],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=100,
        )  # fmt: skip
    assert done.returncode == 5
    assert done.stderr.splitlines()[-1] == "smarthdr: cannot write to stdout: no space left on device"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_stderr_on_a_full_disk_does_not_change_the_exit_code() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "smarthdr_cli", "info", "absent.jpg"]
        assert subprocess.run(command, stderr=full, timeout=100).returncode == 3


def test_json_of_numpy_numbers_and_paths(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": np.float32(0.5), "b": np.int64(3), "c": np.arange(2), "d": Path("x")})
    assert json.loads(capsys.readouterr().out) == {"a": 0.5, "b": 3, "c": [0, 1], "d": "x"}
    with pytest.raises(ValueError, match="JSON"):
        print_json({"a": float("nan")})


def test_no_colour_outside_a_terminal(
    smarthdr: Run, write_burst: WriteBurst, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    files = write_burst(stated=None)
    result = smarthdr("fuse", *files, "-o", tmp_path / "o.exr", "--deghost", "off")
    assert "note: " in result.stderr
    assert "\x1b" not in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("fuse", "img1.jpg", "img2.jpg", "-o"),
        ("calibrate", "img1.jpg", "img2.jpg", "-o"),
        ("synth",),
        ("train", "--minutes", "1", "-o"),
    ],
)
def test_a_file_name_that_is_too_long(
    refused: Refused, burst: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(burst[0].parent)
    suffix = {"fuse": ".exr", "calibrate": ".toml"}.get(arguments[0], "")
    assert "too long" in refused(5, *arguments, tmp_path / ("x" * 300 + suffix))
