"""The script behind "open with", run by a shell as a file manager runs it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.shoots import write_bracket

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "integrations" / "desktop"

pytestmark = pytest.mark.skipif(shutil.which("sh") is None, reason="needs a POSIX shell")


@pytest.fixture
def run(tmp_path: Path):
    """Run the script on files; its exit code and what it said. It finds smarthdr and a notifier on the PATH."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "smarthdr").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m smarthdr_cli "$@"\n')
    (programs / "notify-send").write_text('#!/bin/sh\nprintf "%s: %s\\n" "$1" "$2" >>"$NOTICES"\n')
    for program in programs.iterdir():
        program.chmod(0o755)

    def call(*files: Path, **environment: str) -> tuple[int, str]:
        notices = tmp_path / "notices"
        notices.unlink(missing_ok=True)
        environment = {
            "PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT),
            "NOTICES": str(notices), "SMARTHDR_OPTIONS": "--deghost off --device cpu",
        } | environment  # fmt: skip
        done = subprocess.run(
            [str(FOLDER / "smarthdr-fuse"), *map(str, files)], env=environment, capture_output=True, text=True
        )
        assert notices.read_text() == f"smarthdr: {done.stderr}"
        return done.returncode, done.stderr.strip()

    return call


def test_the_result_stands_beside_the_frames_and_keeps_earlier_ones(run, tmp_path: Path) -> None:
    files = write_bracket(tmp_path / "two words", 0)
    assert run(*files) == (0, f"{tmp_path}/two words/IMG_0001-hdr.tif")
    assert run(*files) == (0, f"{tmp_path}/two words/IMG_0001-hdr-2.tif")
    assert run(*files, SMARTHDR_FORMAT="exr") == (0, f"{tmp_path}/two words/IMG_0001-hdr.exr")
    assert (tmp_path / "two words" / "IMG_0001-hdr-2.tif").read_bytes()[:4] == b"II*\0"


def test_errors_are_shown_with_their_code(run, tmp_path: Path) -> None:
    first, *_ = files = write_bracket(tmp_path, 0)
    assert run(first) == (2, "Select the frames of a bracket, two or more.")
    files[1].write_bytes(files[1].read_bytes()[:-300])
    code, message = run(*files)
    assert code == 3
    assert message.startswith(f"smarthdr: {files[1]} is cut short")


@pytest.mark.skipif(shutil.which("desktop-file-validate") is None, reason="needs desktop-file-validate")
def test_the_desktop_entry_is_valid() -> None:
    done = subprocess.run(["desktop-file-validate", FOLDER / "smarthdr.desktop"], capture_output=True, text=True)
    assert done.stdout == ""
    assert done.returncode == 0
