"""The documents are true to the tree: what they name exists, and what the code says of them is there."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from .test_imports import ROOMS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "smarthdr_cli"
DEVELOPER_DOCUMENTS = {"CONTRIBUTING.md", "ARCHITECTURE.md", "METHOD.md"}  # these certainly name files and symbols
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
CODE = [
    path
    for folder in ("smarthdr_cli", "benchmarks", "examples", "tests")
    for path in (ROOT / folder).rglob("*.py")
    if path != Path(__file__)
]
FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
EXAMPLES = {  # of CONTRIBUTING's recipes, and nowhere else
    "smarthdr_cli/output/pfm.py", "tests/output/test_pfm.py",
    "smarthdr_cli/train/methods/confident.py", "tests/train/methods/test_confident.py",
}  # fmt: skip


def references(text: str) -> Iterator[tuple[str, str | None]]:
    """(document, number of a section or None) of every "docs/NAME.md, section 4" in a docstring or comment."""
    flat = re.sub(r"\s+(?:#\s*)?", " ", text)
    for found in re.finditer(r"\bdocs/([A-Za-z-]+\.md)(?:, section (\d+(?:\.\d+)?))?", flat):
        yield found[1], found[2]


def sections(document: Path) -> set[str]:
    """The numbers of its numbered headings."""
    return set(re.findall(r"^##+ (\d+(?:\.\d+)?)\.? ", document.read_text("utf-8"), re.MULTILINE))


def unresolved(text: str) -> list[tuple[str, str | None]]:
    """The references of a text to a document or a section that is not there."""
    return [
        (name, number)
        for name, number in references(text)
        if not (ROOT / "docs" / name).is_file() or (number and number not in sections(ROOT / "docs" / name))
    ]


def anchors(document: Path) -> set[str]:
    """What GitHub calls its headings: lower case, punctuation dropped, spaces as hyphens, a number where it repeats."""
    found: Counter[str] = Counter()
    names = set()
    for heading in re.findall(r"^#+ (.*)$", FENCE.sub("", document.read_text("utf-8")), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        names.add(f"{slug}-{found[slug]}" if found[slug] else slug)
        found[slug] += 1
    return names


def broken_links(document: Path) -> list[str]:
    """Its relative links to a file or a heading that is not there."""
    links = re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", document.read_text("utf-8")))
    broken = []
    for link in (link for link in links if not re.match(r"[a-z]+:", link)):
        file, _, anchor = link.partition("#")
        target = document.parent / file if file else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


def test_what_the_code_cites_is_there() -> None:
    wrong = {str(path.relative_to(ROOT)): unresolved(path.read_text("utf-8")) for path in CODE}
    assert {path: found for path, found in wrong.items() if found} == {}
    cited = {reference for path in CODE for reference in references(path.read_text("utf-8"))}
    assert {("METHOD.md", "1"), ("METHOD.md", "4"), ("METHOD.md", "6")} <= cited


def test_the_method_is_cited_by_its_path() -> None:
    """Any other way of naming it would not be checked."""
    bare = {
        str(path.relative_to(ROOT)): re.findall(r"(?<!docs/)\bMETHOD\b.*", path.read_text("utf-8")) for path in CODE
    }
    assert {path: found for path, found in bare.items() if found} == {}


def test_a_citation_of_nothing_is_found() -> None:
    assert list(references("see docs/METHOD.md,\n    # section 4, and docs/METHOD.md")) == [
        ("METHOD.md", "4"),
        ("METHOD.md", None),
    ]
    assert unresolved("see docs/METHOD.md, section 4") == []
    assert unresolved("see docs/METHOD.md, section 99") == [("METHOD.md", "99")]
    assert unresolved("see docs/NOWHERE.md") == [("NOWHERE.md", None)]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    assert broken_links(document) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A b, c\n[x](b.md) [y](#a-b-c) [z](a.md#d) [w](https://example.org/b.md)\n")
    assert broken_links(tmp_path / "a.md") == ["b.md", "a.md#d"]


@pytest.mark.parametrize("document", DOCUMENTS[1:], ids=lambda path: path.name)
def test_files_it_names_exist(document: Path) -> None:
    """In backticks, from the root or, in docs/, from the package; NAME stands for any."""
    text = FENCE.sub("", document.read_text("utf-8"))
    named = {
        name for name in re.findall(r"`([\w.-]+(?:/[\w.-]+)*/[\w-]+\.(?:py|md|toml))`", text) if "NAME" not in name
    }
    assert named or document.name not in DEVELOPER_DOCUMENTS
    bases = (ROOT,) if document.parent == ROOT else (ROOT, PACKAGE)
    assert [name for name in named - EXAMPLES if not any((base / name).is_file() for base in bases)] == []


@pytest.mark.parametrize("document", DOCUMENTS[1:], ids=lambda path: path.name)
def test_names_of_the_code_it_uses_exist(document: Path) -> None:
    """Functions, classes, options and constants in backticks: each part of a dotted name is somewhere in the code."""
    text = FENCE.sub("", document.read_text("utf-8"))
    words = set(re.findall(r"\w+", " ".join(path.read_text("utf-8") for path in (*CODE, ROOT / "pyproject.toml"))))
    named = re.findall(r"`([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)`", text)
    parts = {part for name in named if not re.search(r"\.(py|md|toml)$", name) for part in name.split(".")}
    assert parts or document.name not in DEVELOPER_DOCUMENTS
    assert parts - words == set()


def test_the_rooms_are_those_of_the_import_test() -> None:
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d+) \| (`[^|]*`) \|", text, re.MULTILINE)
    assert [int(rank) for rank, _ in rows] == list(range(1, len(ROOMS) + 1))
    assert [tuple(re.findall(r"`(\w+)`", names)) for _, names in rows] == list(ROOMS)
