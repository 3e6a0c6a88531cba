"""The darktable script inside a real darktable, on a virtual screen."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.shoots import TIMES, write_bracket

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "integrations" / "darktable" / "smarthdr.lua"
PROGRAMS = ("darktable", "xvfb-run", "dbus-run-session")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not all(map(shutil.which, PROGRAMS)), reason=f"needs {', '.join(PROGRAMS)}"),
]


def finished(log: Path) -> list[list[str]]:
    lines = [line.split("\t") for line in log.read_text("utf-8").splitlines()] if log.exists() else []
    return lines if lines and lines[-1][0] in ("done", "error") else []


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """What tests/integrations/drive_darktable.lua wrote."""
    folder = tmp_path_factory.mktemp("darktable")
    command = folder / "smarthdr"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m smarthdr_cli "$@"\n')
    command.chmod(0o755)
    write_bracket(folder / "photos" / "one", 0)
    many = folder / "photos" / "many"
    first, _ = write_bracket(many, 1), write_bracket(many, 2)
    for path in first:  # a name that a shell and JSON must quote
        path.rename(path.with_name(path.name.replace("IMG", "it's ü")))
    write_bracket(many, 9, times=TIMES[:1])
    environment = os.environ | {
        "HOME": str(folder), "XDG_CONFIG_HOME": str(folder / "config"), "GDK_BACKEND": "x11",
        "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "DRIVE_FOLDER": str(folder / "photos"),
        "DRIVE_SCRIPT": str(SCRIPT), "DRIVE_LOG": str(folder / "log"), "DRIVE_COMMAND": str(command),
    }  # fmt: skip
    lua = f'dofile("{ROOT / "tests" / "integrations" / "drive_darktable.lua"}")'
    darktable = ["darktable", "--configdir", folder / "config", "--cachedir", folder / "cache", "--disable-opencl",
                 "--library", folder / "library.db", "--luacmd", lua]  # fmt: skip
    with (folder / "darktable.log").open("w") as output:
        process = subprocess.Popen(
            ["xvfb-run", "-a", "dbus-run-session", "--", *map(str, darktable)],
            env=environment, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
        try:
            end = time.monotonic() + 240
            while not finished(folder / "log") and process.poll() is None and time.monotonic() < end:
                time.sleep(0.5)
        finally:
            os.killpg(process.pid, 15)
            process.wait(30)
    lines = finished(folder / "log")
    assert lines, (folder / "darktable.log").read_text()[-2000:]
    assert lines[-1][0] == "done", lines[-1]
    return lines


def lines_of(log: list[list[str]], case: str) -> list[list[str]]:
    return [values for name, *values in log if name == case]


def test_a_bracket_becomes_a_picture_that_leads_its_frames(log: list[list[str]]) -> None:
    assert lines_of(log, "one") == [["IMG_0001-IMG_0003.exr", "4", "IMG_0001-IMG_0003.exr"]]


def test_an_earlier_result_is_kept(log: list[list[str]]) -> None:
    assert lines_of(log, "again") == [["IMG_0001-IMG_0003-2.exr", "4", "IMG_0001-IMG_0003-2.exr"]]
    assert lines_of(log, "tif")[0][0] == "IMG_0001-IMG_0003.tif"


def test_a_selection_is_sorted_into_brackets(log: list[list[str]]) -> None:
    *results, message = lines_of(log, "many")
    assert [(name, members) for name, members, _ in results] == [
        ("IMG_0007-IMG_0009.exr", "4"),
        ("it's ü_0004-it's ü_0006.exr", "4"),
    ]
    assert message == ["2 brackets fused"]


def test_errors_are_reported(log: list[list[str]]) -> None:
    assert lines_of(log, "single") == [["select the frames of a bracket, two or more"]]
    assert lines_of(log, "refused")[0][0].startswith("--reference 9")
    assert lines_of(log, "missing")[0][0].startswith("the command /nowhere/smarthdr was not found")
