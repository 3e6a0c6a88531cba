"""Sections in RESULTS.md, tables and JSON."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from smarthdr_cli.evaluate import report


def test_a_section_is_added_then_replaced_and_nothing_else_changes(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    report.write_section(path, "quality", "first")
    report.write_section(path, "speed", "fast")
    before = path.read_text()
    report.write_section(path, "quality", "second\n\n")
    after = path.read_text()
    assert after == before.replace("first", "second")
    assert after.startswith("# Results")
    assert "<!-- speed:begin -->\nfast\n<!-- speed:end -->" in after
    assert [p.name for p in tmp_path.iterdir()] == ["RESULTS.md"]


def test_text_around_the_markers_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    path.write_text("mine\n<!-- quality:begin -->\nold\n<!-- quality:end -->\nalso mine\n")
    report.write_section(path, "quality", "new")
    assert path.read_text() == "mine\n<!-- quality:begin -->\nnew\n<!-- quality:end -->\nalso mine\n"


@pytest.mark.parametrize(
    "text",
    [
        "<!-- quality:begin -->",
        "<!-- quality:end -->\n<!-- quality:begin -->",
        "<!-- quality:begin --><!-- quality:begin --><!-- quality:end -->",
    ],
)
def test_damaged_markers_are_refused_and_the_file_left(tmp_path: Path, text: str) -> None:
    path = tmp_path / "RESULTS.md"
    path.write_text(text)
    with pytest.raises(ValueError, match="damaged"):
        report.write_section(path, "quality", "new")
    assert path.read_text() == text


def test_a_name_that_could_break_the_markers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a section name"):
        report.write_section(tmp_path / "r.md", "a -->", "text")


def test_a_table() -> None:
    table = report.markdown_table(["method", "dB"], [["a|b", 1.234], ["none", None], ["nan", float("nan")], ["n", 3]])
    assert table.splitlines() == [
        "| method | dB |",
        "| :-- | --: |",
        "| a\\|b | 1.23 |",
        "| none | – |",
        "| nan | – |",
        "| n | 3 |",
    ]
    with pytest.raises(ValueError, match="3 cells"):
        report.markdown_table(["a", "b"], [[1, 2, 3]])


def test_circumstances_name_date_version_cpus_and_torch() -> None:
    line = report.circumstances()
    assert re.fullmatch(r"Measured on \d{4}-\d\d-\d\d: smarthdr \S+, \d+ CPU cores?, torch \S+\.", line)


def test_json_holds_numpy_values_and_null_for_nan(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    report.write_json(path, {"a": np.float64(1.5), "b": float("nan"), "c": [np.int64(3), np.inf], "d": np.arange(2.0)})
    assert json.loads(path.read_text()) == {"a": 1.5, "b": None, "c": [3, None], "d": [0.0, 1.0]}
