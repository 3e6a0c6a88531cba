"""Every shipped file of weights has a card, whose facts and figures are those of the file and of RESULTS.md."""

import json
import re
from pathlib import Path

import pytest

from benchmarks.release import model_card
from smarthdr_cli.models.checkpoint import load_model
from smarthdr_cli.models.weights import read_manifest, weights_dir

ROOT = Path(__file__).parents[2]
RESULTS = (ROOT / "benchmarks" / "RESULTS.md").read_text("utf-8")
ENTRIES = read_manifest(weights_dir())
HINT = "python -m benchmarks.release.model_card writes it anew"


def text_of(name: str) -> str:
    return (weights_dir() / f"{name}.md").read_text("utf-8")


def between(text: str, section: str) -> str:
    (found,) = re.findall(rf"<!-- {section}:begin -->\n(.*?)\n<!-- {section}:end -->", text, re.DOTALL)
    return str(found)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_the_card_describes_the_shipped_file(entry):
    text = text_of(entry.name)
    assert text.startswith(f"# {entry.name}\n")
    text_of_section = between(text, "file")
    model, checkpoint = load_model(entry.name)
    count = sum(value.numel() for value in model.parameters())
    for fact in (checkpoint.sha256, f"`{checkpoint.config['name']}`", f"{count:,} parameters", f"{entry.size:,} bytes",
                 checkpoint.licence, f"{checkpoint.record['steps']:,} updates"):  # fmt: skip
        assert fact in text_of_section, HINT
    assert text_of_section == model_card.file_section(weights_dir(), entry), HINT
    assert f"**Licence** of the weights: {entry.licence}." in text


@pytest.mark.parametrize("heading", ["The file", "Data and licence", "Recipe", "Figures", "Limits", "Known failures"])
def test_every_card_has_all_headings(heading):
    for entry in ENTRIES:
        body = text_of(entry.name).split(f"\n## {heading}\n")[1].split("\n## ")[0]
        assert len(re.sub(r"<!--.*?-->", "", body).strip()) > 80


def test_the_figures_are_those_of_results_md():
    """Every table row of the card stands in RESULTS.md, cell by cell; the whole is what the script writes."""
    (default,) = [entry for entry in ENTRIES if entry.default]
    text_of_section = between(text_of(default.name), "figures")
    scenes = json.loads((ROOT / "benchmarks" / "quality.json").read_text("utf-8"))
    assert text_of_section == model_card.figures_section(RESULTS, scenes), HINT
    known = [set(line.strip("| ").split(" | ")) for line in RESULTS.splitlines() if line.startswith("| ")]
    rows = [line.strip("| ").split(" | ") for line in text_of_section.splitlines() if line.startswith("| ")]
    assert len(rows) > 20
    for row in rows:
        if row[0] not in ("method, dB", ":--"):
            assert any(set(row) <= cells for cells in known), row


def test_a_table_is_reduced_to_known_rows_and_chosen_columns():
    body = "text\n\n| method | a | b |\n| :-- | --: | --: |\n| oracle | 1 | 2 |\n| other | 3 | 4 |\n\nmore\n"
    assert model_card.select_table(body, ("b",)) == "| method, dB | b |\n| :-- | --: |\n| oracle | 2 |"
    with pytest.raises(ValueError, match="no section"):
        model_card.section_text("nothing", "quality")
