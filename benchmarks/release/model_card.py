"""The generated sections of a model card: the file, and the quality figures of RESULTS.md.

    python -m benchmarks.release.model_card [NAME ...]   # after benchmarks/quality/run.py; default every existing card

Writes the sections "file" and "figures" of weights/NAME.md; the rest of a card is written by hand. Figures are copied
from RESULTS.md, which is measured with the default weights: other cards get the section "file" only.
"""

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.lib.results_file import RESULTS, write_section
from smarthdr_cli.evaluate.tables import markdown_table
from smarthdr_cli.models.checkpoint import read_header
from smarthdr_cli.models.weights import ManifestEntry, read_manifest, weights_dir

ROWS = ("reference frame alone", "OpenCV Debevec, calibrated", "ours, `--deghost off`", "**ours**", "oracle")
SPREADS = (("Scene by scene", "psnr_mu"), ("On moving pixels", "psnr_mu_moving"))
COLUMNS = ("PSNR-μ", "PSNR-μ moving", "PSNR-μ clipped", "PSNR-μ noisy", "PU21-PSNR", "closed (μ)")


def file_section(folder: Path, entry: ManifestEntry) -> str:
    """Name, SHA-256, size, licence, network and training, from manifest and checkpoint."""
    header = read_header(folder / entry.file)
    record = header.description["record"]
    rows = [
        ["name", f"`{entry.name}`" + (", the default" if entry.default else "")],
        ["file", f"`{entry.file}`, {entry.size:,} bytes"],
        ["sha256", f"`{entry.sha256}`"],
        ["licence", entry.licence],
        ["network", f"`{header.network}`, {header.parameters:,} parameters"],
        ["training", f"{record['method']}; {record['steps']:,} updates, {record['hours']:g} hours, {record['device']}"],
    ]
    return markdown_table(["", ""], rows).replace("| :-- | --: |", "| :-- | :-- |", 1)


def figures_section(results: str, scenes: Mapping[str, Any]) -> str:
    """Of the section "quality" ROWS and the uncertainty tables, of "quality-real" the means.

    ``scenes``: the content of quality.json, for the spread between scenes.
    """
    text = ["Copied from benchmarks/RESULTS.md, which says how each figure is measured."]
    quality, real = (section_text(results, name) for name in ("quality", "quality-real"))
    for (title, body), kind in zip(subsections(quality), scenes.values(), strict=True):
        _, uncertainty_table = tables(body)
        text += [f"### {title}", select_table(body, COLUMNS)]
        text += [line.partition("; wanted")[0] + "." for line in body.splitlines() if line.startswith("Ours in")]
        text.append("\n".join(gain_range(kind["scenes"], *spread_of) for spread_of in SPREADS))
        text += [line for line in body.splitlines() if line.startswith("Uncertainty: AUSE")] + [uncertainty_table]
    for title, body in subsections(real):
        text += [f"### Real static stacks: {title[0].lower()}{title[1:]}", select_table(body, ("mean",))]
    text += [line for line in real.splitlines() if line.startswith("Ours over")]
    return "\n\n".join(text)


def gain_range(scenes: Mapping[str, Any], title: str, key: str) -> str:
    """The range of gains of ours over the reference alone, by scene."""
    gains = [
        scene["ours"][key] - scene["reference"][key] for scene in scenes.values() if scene["ours"][key] is not None
    ]
    below = sum(gain < 0 for gain in gains)
    bounds = f"{min(gains):+.2f} to {max(gains):+.2f} dB over the reference alone"
    return f"- {title}: {bounds}, below it in {below} of {len(gains)} scenes."


def section_text(results: str, name: str) -> str:
    """The text between a section's markers. Raises ValueError where there are none."""
    match = re.search(rf"<!-- {name}:begin -->\n(.*?)<!-- {name}:end -->", results, re.DOTALL)
    if match is None:
        raise ValueError(f"RESULTS.md has no section {name!r}")
    return match[1]


def subsections(text: str) -> list[tuple[str, str]]:
    """(title, text) of each ### heading of a section."""
    return [(part.partition("\n")[0].strip(), part.partition("\n")[2]) for part in text.split("\n### ")[1:]]


def tables(body: str) -> list[str]:
    """The markdown tables of a text."""
    return [table.strip() for table in re.findall(r"(?:^\|.*\n?)+", body, re.MULTILINE)]


def select_table(body: str, columns: tuple[str, ...]) -> str:
    """Of the first table of ``body`` ROWS and ``columns``."""
    lines = [line.strip("| ").split(" | ") for line in tables(body)[0].splitlines()]
    header, rows = lines[0], {row[0]: row for row in lines[2:]}
    return markdown_table(
        ["method, dB", *columns],
        [[name, *(rows[name][header.index(column)] for column in columns)] for name in ROWS if name in rows],
    )


def entries_with_card(folder: Path, names: list[str]) -> list[ManifestEntry]:
    """The manifest entries of ``names``, by default those with a card."""
    entries = {entry.name: entry for entry in read_manifest(folder)}
    return [entries[name] for name in names or entries if names or (folder / f"{name}.md").exists()]


def main() -> None:
    parser = argparse.ArgumentParser(description="the generated sections of model cards")
    parser.add_argument("names", nargs="*")
    folder = weights_dir()
    for entry in entries_with_card(folder, parser.parse_args().names):
        card = (folder / entry.file).with_suffix(".md")
        write_section(card, "file", file_section(folder, entry))
        if entry.default:
            scenes = json.loads(RESULTS.with_name("quality.json").read_text("utf-8"))
            write_section(card, "figures", figures_section(RESULTS.read_text("utf-8"), scenes))
        print(card)


if __name__ == "__main__":
    main()
