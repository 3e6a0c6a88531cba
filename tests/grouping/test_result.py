"""Sets as JSON lines: written, read back, and refused with the number of a damaged line."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smarthdr_cli.errors import InputError
from smarthdr_cli.grouping.result import BracketSet, read_sets

pytestmark = pytest.mark.unit

A1 = BracketSet("a1", (Path("d/a1.jpg"), Path("d/a2.jpg")), 0.93, ("0.2 s apart",), False, (0.0, -2.0))


def write(path: Path, *lines: Any) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines), "utf-8")
    return path


def test_written_sets_read_back_equal(tmp_path: Path) -> None:
    other = BracketSet("b", (Path("ü \udcff.jpg"),), 0.4, (), True)
    path = write(tmp_path / "s.jsonl", A1.to_dict(), "", {"kind": "single", "file": "x"}, other.to_dict())
    assert read_sets(path) == [A1, other]


def test_sets_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(A1.to_dict())))
    assert read_sets(Path("-")) == [A1]


def test_only_frames_are_required(tmp_path: Path) -> None:
    path = write(tmp_path / "s.jsonl", {"frames": ["x/a.jpg", "x/b.jpg"]})
    assert read_sets(path) == [BracketSet("a", (Path("x/a.jpg"), Path("x/b.jpg")), 1.0, (), False, None)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"frames": ["a.jpg"', "line 2: not JSON, or cut short"),
        ("[" * 100_000, "line 2: not JSON, or cut short"),
        (" " * (1 << 20) + "{}", "line 2: the line is too long"),
        ("[1]", "line 2: not a JSON object"),
        ("{}", "a set needs frames"),
        ('{"frames": []}', "a set needs frames"),
        ('{"frames": [1]}', "a set needs frames"),
        ('{"frames": ["a", "a"]}', "names a frame twice"),
        ('{"frames": ["a\\u0000"]}', "no file name"),
        ('{"frames": ["a\\ud800"]}', "no file name"),
        ('{"frames": ["b"], "name": "x\\ud800"}', "without a slash"),
        ('{"frames": ["b"], "name": "x/y"}', "without a slash"),
        ('{"frames": ["b"], "confidence": 2}', "confidence"),
        ('{"frames": ["b"], "confidence": NaN}', "confidence"),
        ('{"frames": ["b"], "confidence": true}', "confidence"),
        (f'{{"frames": ["b"], "confidence": {10**400}}}', "confidence"),
        ('{"frames": ["b"], "ambiguous": 1}', "ambiguous"),
        ('{"frames": ["b"], "reasons": "x"}', "reasons"),
        ('{"frames": ["b"], "evs": [1, 2]}', "evs"),
        ('{"frames": ["b"], "evs": [100]}', "evs"),
        ('{"frames": ["b"], "evs": [1e999]}', "evs"),
        (f'{{"frames": ["b"], "evs": [-{10**400}]}}', "evs"),
        ('{"frames": ["b"], "name": "a1"}', "line 2: the set a1 stands on line 1 already"),
        ('{"kind": "sett", "frames": ["b"]}', "'sett' is not known"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(InputError, match=r"^s\.jsonl, line 2") as caught:
        read_sets(write(tmp_path / "s.jsonl", A1.to_dict(), line))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_without_sets(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    for path, message in (
        (tmp_path / "gone", "cannot be read"),
        (tmp_path / "bytes", "not UTF-8"),
        (tmp_path, "cannot be read"),
        (write(tmp_path / "none", {"kind": "skipped", "file": "x"}), "holds no sets"),
    ):
        with pytest.raises(InputError, match=message):
            read_sets(path)


@given(st.text(max_size=200))
def test_any_text_is_an_input_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_text(text, "utf-8", errors="replace")
    with pytest.raises(InputError):
        read_sets(path)
