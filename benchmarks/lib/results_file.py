"""``benchmarks/RESULTS.md``: one section per benchmark between HTML comments, and JSON files beside it.

Imports neither NumPy nor torch, see ``smarthdr_cli/evaluate/tables.py``.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smarthdr_cli.atomic import atomic_file
from smarthdr_cli.evaluate.tables import json_value

RESULTS = Path(__file__).parents[1] / "RESULTS.md"
HEADER = "# Results\n\nScripts in `benchmarks/` write the sections; do not edit them by hand.\n"
_SECTION_NAME = re.compile(r"[a-z0-9-]+")


def write_section(path: Path, name: str, text: str) -> None:
    """Replace the text between ``<!-- name:begin -->`` and ``<!-- name:end -->`` in ``path``, and nothing else.

    Appends a section that is not there yet; creates the file where it does not exist. Raises ValueError where ``name``
    has characters other than lower-case letters, digits and dashes, or where the markers in the file are damaged.
    """
    if not _SECTION_NAME.fullmatch(name):
        raise ValueError(f"not a section name: {name!r}")
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    old = path.read_text(encoding="utf-8") if path.exists() else HEADER
    section = f"{begin}\n{text.strip()}\n{end}"
    counts = old.count(begin), old.count(end)
    if counts == (0, 0):
        new = f"{old.rstrip()}\n\n{section}\n"
    elif counts == (1, 1) and old.index(begin) < old.index(end):
        new = old[: old.index(begin)] + section + old[old.index(end) + len(end) :]
    else:
        raise ValueError(f"{path}: the markers of section {name!r} are damaged")
    _replace(path, new)


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write ``data`` as indented JSON; NaN and infinities become null, since JSON has neither."""
    _replace(path, json.dumps(json_value(data), indent=1, allow_nan=False) + "\n")


def _replace(path: Path, text: str) -> None:
    with atomic_file(path, overwrite=True) as partial:
        partial.write_text(text, encoding="utf-8")
