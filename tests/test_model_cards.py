"""Every shipped file of weights has a card, and what it says of the file and of its figures is so."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from smarthdr_cli.models.checkpoint import load_model
from smarthdr_cli.models.weights import read_manifest, weights_dir

ROOT = Path(__file__).parents[1]
RESULTS = (ROOT / "benchmarks" / "RESULTS.md").read_text("utf-8")
ENTRIES = read_manifest(weights_dir())
AGAIN = "python benchmarks/card.py writes it anew"


@pytest.fixture(scope="module")
def card() -> ModuleType:
    """benchmarks/card.py."""
    spec = importlib.util.spec_from_file_location("card_benchmark", ROOT / "benchmarks" / "card.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def text_of(name: str) -> str:
    return (weights_dir() / f"{name}.md").read_text("utf-8")


def between(text: str, section: str) -> str:
    (found,) = re.findall(rf"<!-- {section}:begin -->\n(.*?)\n<!-- {section}:end -->", text, re.DOTALL)
    return str(found)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_it_is_of_the_file_that_ships(entry, card):
    text = text_of(entry.name)
    assert text.startswith(f"# {entry.name}\n")
    said = between(text, "file")
    model, checkpoint = load_model(entry.name)
    count = sum(value.numel() for value in model.parameters())
    for fact in (checkpoint.sha256, f"`{checkpoint.config['name']}`", f"{count:,} parameters", f"{entry.size:,} bytes",
                 checkpoint.licence, f"{checkpoint.record['steps']:,} updates"):  # fmt: skip
        assert fact in said, AGAIN
    assert said == card.file_section(weights_dir(), entry), AGAIN
    assert f"**Licence** of the weights: {entry.licence}." in text


@pytest.mark.parametrize("heading", ["The file", "Data and licence", "Recipe", "Figures", "Limits", "Known failures"])
def test_no_heading_is_missing(heading):
    for entry in ENTRIES:
        body = text_of(entry.name).split(f"\n## {heading}\n")[1].split("\n## ")[0]
        assert len(re.sub(r"<!--.*?-->", "", body).strip()) > 80


def test_the_figures_are_those_of_the_results(card):
    """Every table row of the card stands in RESULTS.md, cell by cell; the whole is what the script writes."""
    (default,) = [entry for entry in ENTRIES if entry.default]
    said = between(text_of(default.name), "figures")
    scenes = json.loads((ROOT / "benchmarks" / "quality.json").read_text("utf-8"))
    assert said == card.figures_section(RESULTS, scenes), AGAIN
    known = [set(line.strip("| ").split(" | ")) for line in RESULTS.splitlines() if line.startswith("| ")]
    rows = [line.strip("| ").split(" | ") for line in said.splitlines() if line.startswith("| ")]
    assert len(rows) > 20
    for row in rows:
        if row[0] not in ("method, dB", ":--"):
            assert any(set(row) <= cells for cells in known), row


def test_the_script_takes_the_columns_it_names(card):
    body = "text\n\n| method | a | b |\n| :-- | --: | --: |\n| oracle | 1 | 2 |\n| other | 3 | 4 |\n\nmore\n"
    assert card.picked(body, ("b",)) == "| method, dB | b |\n| :-- | --: |\n| oracle | 2 |"
    with pytest.raises(ValueError, match="no section"):
        card.section("nothing", "quality")
