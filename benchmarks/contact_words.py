"""The section "contact" of RESULTS.md: the figures of ``contact.py``, and for each burst the words of ``contact.toml``,
written by hand by whoever looked at its sheet.
"""

import tomllib
from pathlib import Path
from typing import Any

from smarthdr_cli.evaluate import report

WORDS = Path(__file__).parent / "contact.toml"


def read_words(path: Path) -> dict[str, Any]:
    """``contact.toml``: ``weights``, their sha256, ``date``, ``summary``, and a table a burst with ours and rivals."""
    return tomllib.loads(path.read_text("utf-8")) if path.exists() else {"weights": "", "date": ""}


def section(found: dict[str, list[Any]], words: dict[str, Any], weights: str) -> str:
    """The markdown: a table of figures, a table of words, and whether the words are about these weights."""
    said = {name: words.get(name, {}) for name in found}
    seen = "these weights" if words["weights"] == weights else "other weights than these, so they may be out of date"
    head = ["burst", "frames", "EV", "size", "mean σ", "clipped in every frame", "changed by the network"]
    return "\n\n".join(
        [
            "## Real bursts, looked at",
            report.circumstances(),
            "Real bursts without a ground truth, as `fuse` takes them with its defaults; of large "
            "frames the middle, at full size. A sheet each: the reference frame, ours, AlignMTB + "
            "calibrated Debevec and AlignMTB + Mertens (OpenCV), our uncertainty, the whole view and three crops at "
            "100 %, chosen by the script where ours departs most from the reference frame, where it departs most from "
            "Debevec's, and where its own sigma is highest. The photographs have no free licence, so no sheet is kept "
            f"here; `benchmarks/contact.py` makes them. The words were written by eye on {words['date']}, about {seen} "
            f"(sha256 `{words['weights'][:16]}`).",
            words.get("summary", ""),
            report.markdown_table(head, [[name, *row] for name, row in found.items()]),
            report.markdown_table(
                ["burst", "wrong in ours", "the rivals"],
                [[name, one.get("ours", "not looked at"), one.get("rivals", "")] for name, one in said.items()],
            ).replace("| :-- | --: | --: |", "| :-- | :-- | :-- |"),
        ]
    )
