"""``smarthdr group``: its table, its JSON lines, its exit codes."""

import json
import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from smarthdr_cli.grouping.group import read_sets

from .conftest import Run

Write = Callable[..., list[Path]]


@pytest.fixture
def shoot(tmp_path: Path) -> Path:
    """Two automatic brackets, a single frame and a file that is not an image."""
    moment = datetime(2026, 5, 6, 12, 0, 0)
    folder = tmp_path / "shoot"
    folder.mkdir()
    grey = Image.fromarray(np.full((48, 64, 3), 90, np.uint8))
    for number, ev in enumerate((0, -2, 2, 0, -2, 2, 0), 1):
        exif = Image.Exif()
        exif[0x0110] = "Model X"
        details = exif.get_ifd(0x8769)
        details[0x829A], details[0x829D], details[0x8827] = 0.01 * 2.0**ev, 8.0, 100
        details[0x9204], details[0xA402] = float(ev), 2 if number < 7 else 0
        moment += timedelta(seconds=60 if number in (4, 7) else 0.25)
        details[0x9003], details[0x9291] = moment.strftime("%Y:%m:%d %H:%M:%S"), f"{moment.microsecond // 1000:03d}"
        grey.save(folder / f"IMG_{number:04d}.JPG", exif=exif)
    (folder / "notes.jpg").write_text("not a picture")
    return folder


def test_the_table(smarthdr: Run, shoot: Path) -> None:
    result = smarthdr("group", str(shoot))
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["files", "frames", "EV", "confidence", "why"]
    assert [line.split("  ")[0] for line in lines[1:]] == [
        "IMG_0001.JPG .. IMG_0003.JPG",
        "IMG_0004.JPG .. IMG_0006.JPG",
        "IMG_0007.JPG",
        "notes.jpg",
    ]
    assert "+0.0 -2.0 +2.0" in lines[1]
    assert "EXIF says automatic bracket; " in lines[1]
    assert "its nearest neighbour is 60 s away" in lines[3]
    assert f"skipped: {shoot / 'notes.jpg'} is not a picture" in lines[4]
    assert "2 sets, 1 single frame, 1 file skipped" in result.stderr
    assert smarthdr("group", str(shoot), "-q").stderr == ""


def test_read_sets_reads_the_json_lines(smarthdr: Run, shoot: Path) -> None:
    result = smarthdr("group", str(shoot), "--json")
    assert result.exit_code == 0
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["kind"] for line in lines] == ["set", "set", "single", "skipped"]
    assert all(line["reasons"] for line in lines)
    path = shoot.parent / "sets.jsonl"
    path.write_text(result.stdout)
    sets = read_sets(path)
    assert [s.name for s in sets] == ["IMG_0001", "IMG_0004"]
    assert [s.evs for s in sets] == [(0.0, -2.0, 2.0)] * 2
    assert [s.frames[0] for s in sets] == [shoot / "IMG_0001.JPG", shoot / "IMG_0004.JPG"]


def test_files_instead_of_a_folder(smarthdr: Run, shoot: Path) -> None:
    files = sorted(str(path) for path in shoot.glob("IMG*"))
    result = smarthdr("group", *files[:5], "--json", "-q")
    assert [json.loads(line)["kind"] for line in result.stdout.splitlines()] == ["set", "set"]


def test_no_recursive_ignores_sub_folders(smarthdr: Run, shoot: Path) -> None:
    (shoot / "more").mkdir()
    (shoot / "IMG_0007.JPG").rename(shoot / "more" / "IMG_0007.JPG")
    assert "IMG_0007" in smarthdr("group", str(shoot)).stdout
    assert "IMG_0007" not in smarthdr("group", str(shoot), "--no-recursive").stdout


def test_bracket_and_gap(smarthdr: Run, shoot: Path) -> None:
    assert "0 sets" in smarthdr("group", str(shoot), "--gap", "0.1").stderr
    assert "sets of 3 were asked for" in smarthdr("group", str(shoot), "--bracket", "3").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["gone"], 3, "gone does not exist"),
        (["empty"], 3, "no pictures in "),
        (["shoot/notes.jpg"], 3, "notes.jpg is not a picture"),
        (["shoot", "--bracket", "1"], 2, "--bracket 1: sets have 2 to 34 frames"),
        (["shoot", "--gap", "-1"], 2, "--gap -1: a pause in seconds"),
        (["shoot", "--bracket", "x"], 2, "--bracket"),
        ([], 2, "missing argument"),
    ],
)
def test_errors(
    smarthdr: Run, shoot: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, message: str
) -> None:
    monkeypatch.chdir(shoot.parent)
    Path("empty").mkdir()
    result = smarthdr("group", *arguments)
    assert result.exit_code == code
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_a_file_name_that_is_not_utf_8(smarthdr: Run, shoot: Path) -> None:
    (shoot / "IMG_0001.JPG").rename(shoot / os.fsdecode(b"IMG_\xff_0001.JPG"))
    table, lines = smarthdr("group", str(shoot)), smarthdr("group", str(shoot), "--json")
    assert (table.exit_code, lines.exit_code) == (0, 0)
    assert "\\udcff" in table.stdout
    named = [f for line in map(json.loads, lines.stdout.splitlines()) for f in line.get("frames", [line.get("file")])]
    assert any(os.fsencode(name).endswith(b"IMG_\xff_0001.JPG") for name in named)
