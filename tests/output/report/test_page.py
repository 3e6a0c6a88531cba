"""The HTML: whole, self-contained, escaped, and readable without a script."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from smarthdr_cli.errors import OutputError
from smarthdr_cli.output.report.page import IndexEntry, is_intact, read_thumbnail, write_index
from smarthdr_cli.output.write import write_report

HOSTILE = "<script>alert(1)</script>&\"'"


class Page(HTMLParser):
    """The elements, links, text and visible words of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.links: list[str] = []
        self.words = ""
        self.contents: dict[str, str] = {}
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        self.links += [str(attributes[name]) for name in ("src", "href") if name in attributes]
        self._inside = attributes.get("id") or tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside:
            self.contents[self._inside] = data
        else:
            self.words += data


def test_a_page_is_one_file_that_loads_nothing(page: Path):
    text = page.read_text("utf-8")
    parsed = Page(text)
    assert {link.partition(":")[0] for link in parsed.links if not link.startswith("#")} == {"data"}
    assert re.findall(r"url\(|@import|https?://", text) == []
    policy = next(a["content"] for tag, a in parsed.tags if tag == "meta" and "http-equiv" in a)
    assert "default-src 'none'" in str(policy)


def test_figures_and_plots_need_no_script(page: Path, fused):
    parsed = Page(page.read_text("utf-8"))
    for words in ("evening", "reference", "1/400 s, f/4, ISO 100", "−2.00", "+2.00", "EXIF", "moved by up to 3."):
        assert words in parsed.words, words
    assert f"{fused.mean_uncertainty:.4f}" in parsed.words
    assert sum(tag == "svg" for tag, _ in parsed.tags) == 3  # two frames moved, one curve
    assert json.loads(parsed.contents["report"])["reference"] == "img2.jpg"


def test_notes_stand_in_the_page(fused, tmp_path: Path):
    report = replace(fused.report, notes=("these frames may not show one scene", HOSTILE))
    write_report(replace(fused, report=report), tmp_path / "a.html")
    parsed = Page((tmp_path / "a.html").read_text("utf-8"))
    assert "these frames may not show one scene" in parsed.words
    assert HOSTILE in parsed.words
    assert sum(tag == "script" for tag, _ in parsed.tags) == 6


def test_a_title_and_frames_with_any_name(fused, tmp_path: Path):
    name = '<b>&\udcff "x"'
    report = replace(fused.report, files=(name, *fused.report.files[1:]))
    write_report(replace(fused, report=report), tmp_path / "a<i>.html")
    parsed = Page((tmp_path / "a<i>.html").read_text("utf-8"))
    assert "a<i>" in parsed.words
    assert "i" not in [tag for tag, _ in parsed.tags]


def test_an_existing_page_is_kept(fused, page: Path):
    with pytest.raises(OutputError, match="exists already"):
        write_report(fused, page)


def test_a_torn_page_is_seen(page: Path, tmp_path: Path):
    torn = tmp_path / "torn.html"
    torn.write_bytes(page.read_bytes()[:-20])
    assert is_intact(page)
    assert not is_intact(torn)
    (tmp_path / "empty.html").touch()
    assert not is_intact(tmp_path / "empty.html")


def test_the_thumbnail_is_read_back(page: Path, tmp_path: Path):
    assert str(read_thumbnail(page)).startswith("data:image/jpeg;base64,/9j/")
    (tmp_path / "other.html").write_text("<html></html>")
    assert read_thumbnail(tmp_path / "other.html") is None
    assert read_thumbnail(tmp_path / "missing.html") is None


def test_the_index_has_failures_first_and_links_that_resolve(tmp_path: Path):
    entries = [
        IndexEntry("b/set #1", "ok", "b/set #1.html", "data:image/jpeg;base64,/9j/", 0.01, 3.0),
        IndexEntry("c", "ambiguous", problem="the evidence is thin"),
        IndexEntry(HOSTILE, "failed", problem=f"{HOSTILE} is cut short (exit 3)"),
    ]
    write_index(entries, tmp_path / "index.html", "merged")
    parsed = Page((tmp_path / "index.html").read_text("utf-8"))
    statuses = [attributes["data-status"] for tag, attributes in parsed.tags if tag == "li"]
    assert statuses == ["failed", "ambiguous", "ok"]
    assert "b/set%20%231.html" in parsed.links
    assert f"{HOSTILE} is cut short (exit 3)" in parsed.words
    assert "3 sets, 1 failed, 1 skipped as ambiguous" in parsed.words
    assert sum(tag == "script" for tag, _ in parsed.tags) == 1
