"""What the second frozen set says beside its figures: its gains against those of the first. Used by quality.py."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smarthdr_cli.evaluate import report

FIRST = Path(__file__).with_name("quality.json")
ABOUT = (
    "The second frozen set, from another generator (`benchmarks/renders.py`): random scenes of real depth, rendered "
    "free of Monte-Carlo noise, through a camera held in the hand, with things, people, leaves and lamps that move. "
    "The network was trained on nothing of its kind: its bursts are made of flat layers cut from panoramas."
)
WANTED = 2 / 3  # of the gain over the reference alone on the first set


def framed(texts: Sequence[str], data: Mapping[str, Any], kinds: Mapping[str, str]) -> list[str]:
    """The texts of the section between what the set is and how it stands to the first, as quality.json has that."""
    return [ABOUT, *texts, against(data, json.loads(FIRST.read_text("utf-8")), kinds)]


def against(second: Mapping[str, Any], first: Mapping[str, Any], kinds: Mapping[str, str]) -> str:
    """Markdown: gains of ours over the reference alone in both sets and their ratio, a row a kind.

    ``second``, ``first``: figures as quality.py writes them as JSON, by kind. A kind without ours, the reference or a
    first figure is left out.
    """
    rows: list[list[object]] = []
    for kind, figures in second.items():
        if not {"ours", "reference"} <= figures["mean"].keys() or kind not in first:
            continue
        here, there = (
            one["mean"]["ours"]["psnr_mu"] - one["mean"]["reference"]["psnr_mu"] for one in (figures, first[kind])
        )
        moving = figures["mean"]["ours"]["psnr_mu_moving"] - figures["mean"]["reference"]["psnr_mu_moving"]
        gains = [scene["ours"]["psnr_mu"] - scene["reference"]["psnr_mu"] for scene in figures["scenes"].values()]
        below = f"{sum(gain < 0 for gain in gains)} of {len(gains)}, worst {min(gains):+.2f}"
        rows.append([kinds[kind], f"{here:+.2f}", f"{there:+.2f}", f"{here / there:.2f}", f"{moving:+.2f}", below])
    if not rows:
        return ""
    head = ["gain over the reference alone, PSNR-μ, dB", "here", "first set", "ratio", "moving", "scenes below it"]
    return (
        f"### Against the first set\n\n{report.markdown_table(head, rows)}\n\nWanted: a ratio of {WANTED:.2f} or more."
    )
