"""Sections of RESULTS.md and JSON files."""

import json
from pathlib import Path

import pytest

from benchmarks.lib.results_file import write_json, write_section

pytestmark = pytest.mark.unit


def test_a_section_is_appended_then_replaced_without_other_changes(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    write_section(path, "quality", "first")
    write_section(path, "speed", "fast")
    before = path.read_text()
    write_section(path, "quality", "second\n\n")
    after = path.read_text()
    assert after == before.replace("first", "second")
    assert after.startswith("# Results")
    assert "<!-- speed:begin -->\nfast\n<!-- speed:end -->" in after
    assert [p.name for p in tmp_path.iterdir()] == ["RESULTS.md"]


def test_text_around_the_markers_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    path.write_text("mine\n<!-- quality:begin -->\nold\n<!-- quality:end -->\nalso mine\n")
    write_section(path, "quality", "new")
    assert path.read_text() == "mine\n<!-- quality:begin -->\nnew\n<!-- quality:end -->\nalso mine\n"


@pytest.mark.parametrize(
    "text",
    [
        "<!-- quality:begin -->",
        "<!-- quality:end -->\n<!-- quality:begin -->",
        "<!-- quality:begin --><!-- quality:begin --><!-- quality:end -->",
    ],
)
def test_damaged_markers_raise_and_leave_the_file_unchanged(tmp_path: Path, text: str) -> None:
    path = tmp_path / "RESULTS.md"
    path.write_text(text)
    with pytest.raises(ValueError, match="damaged"):
        write_section(path, "quality", "new")
    assert path.read_text() == text


def test_a_name_that_would_break_the_markers_raises(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a section name"):
        write_section(tmp_path / "r.md", "a -->", "text")


def test_json_has_null_for_nan(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_json(path, {"a": 1.5, "b": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1.5, "b": None}
