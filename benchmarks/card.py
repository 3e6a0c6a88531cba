"""The measured parts of a model card: what the file is, and the figures of RESULTS.md that belong to its quality.

    python benchmarks/card.py [NAME ...]      # after benchmarks/quality.py; without names every card there is

Writes the sections "file" and "figures" of weights/NAME.md; all else in a card is written by hand. Figures are taken
from RESULTS.md word for word, which is measured with the default weights: other cards get the section "file" alone.
"""

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smarthdr_cli.evaluate import report
from smarthdr_cli.models.checkpoint import read_header
from smarthdr_cli.models.weights import ManifestEntry, read_manifest, weights_dir

RESULTS = Path(__file__).parent / "RESULTS.md"
ROWS = ("reference frame alone", "OpenCV Debevec, calibrated", "ours, `--deghost off`", "**ours**", "oracle")
VIEWS = (("Scene by scene", "psnr_mu"), ("On moving pixels", "psnr_mu_moving"))  # PSNR-μ
COLUMNS = ("PSNR-μ", "PSNR-μ moving", "PU21-PSNR", "closed (μ)")


def file_section(folder: Path, entry: ManifestEntry) -> str:
    """Name, sha256, size, licence and network, as manifest and checkpoint have them."""
    head = read_header(folder / entry.file)
    record = head.description["record"]
    rows = [
        ["name", f"`{entry.name}`" + (", the default" if entry.default else "")],
        ["file", f"`{entry.file}`, {entry.size:,} bytes"],
        ["sha256", f"`{entry.sha256}`"],
        ["licence", entry.licence],
        ["network", f"`{head.network}`, {head.parameters:,} parameters"],
        ["training", f"{record['method']}; {record['steps']:,} updates, {record['hours']:g} hours, {record['device']}"],
    ]
    return report.markdown_table(["", ""], rows).replace("| :-- | --: |", "| :-- | :-- |", 1)


def figures_section(results: str, scenes: Mapping[str, Any]) -> str:
    """Of the section "quality" the chosen rows and the judge's tables, of "quality-real" the means.

    ``scenes``: what quality.json holds, for the spread between scenes.
    """
    text = ["Copied from benchmarks/RESULTS.md, which says how each figure is measured."]
    quality, real = (section(results, name) for name in ("quality", "quality-real"))
    for (title, body), kind in zip(parts(quality), scenes.values(), strict=True):
        _, judged = tables(body)
        text += [f"### {title}", picked(body, COLUMNS)]
        text += [line.partition("; wanted")[0] + "." for line in body.splitlines() if line.startswith("Ours in")]
        text.append("\n".join(spread(kind["scenes"], *what) for what in VIEWS))
        text += [line for line in body.splitlines() if line.startswith("Uncertainty: AUSE")] + [judged]
    for title, body in parts(real):
        text += [f"### Real static stacks: {title[0].lower()}{title[1:]}", picked(body, ("mean",))]
    text += [line for line in real.splitlines() if line.startswith("Ours over")]
    return "\n\n".join(text)


def spread(scenes: Mapping[str, Any], what: str, key: str) -> str:
    """How ours stands against the reference alone, scene by scene."""
    gains = [
        scene["ours"][key] - scene["reference"][key] for scene in scenes.values() if scene["ours"][key] is not None
    ]
    below = sum(gain < 0 for gain in gains)
    found = f"{min(gains):+.2f} to {max(gains):+.2f} dB over the reference alone"
    return f"- {what}: {found}, below it in {below} of {len(gains)} scenes."


def section(results: str, name: str) -> str:
    """What stands between a section's markers. Raises ValueError where they are not there."""
    found = re.search(rf"<!-- {name}:begin -->\n(.*?)<!-- {name}:end -->", results, re.DOTALL)
    if found is None:
        raise ValueError(f"RESULTS.md has no section {name!r}")
    return found[1]


def parts(text: str) -> list[tuple[str, str]]:
    """(title, text) of each ### of a section."""
    return [(part.partition("\n")[0].strip(), part.partition("\n")[2]) for part in text.split("\n### ")[1:]]


def tables(body: str) -> list[str]:
    """The markdown tables of a text."""
    return [table.strip() for table in re.findall(r"(?:^\|.*\n?)+", body, re.MULTILINE)]


def picked(body: str, columns: tuple[str, ...]) -> str:
    """The first table of ``body``, of it only ``ROWS`` and these columns."""
    lines = [line.strip("| ").split(" | ") for line in tables(body)[0].splitlines()]
    head, rows = lines[0], {row[0]: row for row in lines[2:]}
    return report.markdown_table(
        ["method, dB", *columns],
        [[name, *(rows[name][head.index(column)] for column in columns)] for name in ROWS if name in rows],
    )


def cards(folder: Path, names: list[str]) -> list[ManifestEntry]:
    """The entries with a card, or those named."""
    known = {entry.name: entry for entry in read_manifest(folder)}
    return [known[name] for name in names or known if names or (folder / f"{name}.md").exists()]


def main() -> None:
    parser = argparse.ArgumentParser(description="the measured parts of model cards")
    parser.add_argument("names", nargs="*")
    folder = weights_dir()
    for entry in cards(folder, parser.parse_args().names):
        card = (folder / entry.file).with_suffix(".md")
        report.write_section(card, "file", file_section(folder, entry))
        if entry.default:
            scenes = json.loads(RESULTS.with_name("quality.json").read_text("utf-8"))
            report.write_section(card, "figures", figures_section(RESULTS.read_text("utf-8"), scenes))
        print(card)


if __name__ == "__main__":
    main()
