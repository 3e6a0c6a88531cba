"""Tables that the benchmarks write: markdown in RESULTS.md, one section per benchmark, and JSON beside it."""

import datetime
import json
import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from smarthdr_cli import system
from smarthdr_cli.atomic import atomic_file
from smarthdr_cli.version import __version__

HEADER = "# Results\n\nEach section is written by the benchmark it is named after; edit none by hand.\n"
_NAME = re.compile(r"[a-z0-9-]+")


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A markdown table; floats with two decimals, None and NaN as a dash, the first column left, the rest right.

    Raises ValueError for a row that is not as long as the header.
    """
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"a row of {len(row)} cells under a header of {len(header)}")
    lines = [header, [":--", *["--:"] * (len(header) - 1)], *[[cell(value) for value in row] for row in rows]]
    return "\n".join("| " + " | ".join(str(value) for value in line) + " |" for line in lines)


def cell(value: object) -> str:
    """One table cell as text."""
    if value is None or (isinstance(value, float) and value != value):
        return "–"
    return f"{value:.2f}" if isinstance(value, float) else str(value).replace("|", "\\|")


def circumstances() -> str:
    """One line: date, version, CPUs available to the process, torch's version. No machine is named."""
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    cpus = system.usable_cores()
    try:
        torch = f"torch {metadata.version('torch')}"
    except metadata.PackageNotFoundError:
        torch = "no torch"
    return f"Measured on {date}: smarthdr {__version__}, {cpus} CPU core{'s' if cpus != 1 else ''}, {torch}."


def write_section(path: Path, name: str, text: str) -> None:
    """Replaces the text between ``<!-- name:begin -->`` and ``<!-- name:end -->`` in ``path``, and nothing else.

    A section not there yet is added at the end, a file not there yet is made. Raises ValueError for a name other than
    lower-case letters, digits and dashes, or a file whose markers are damaged.
    """
    if not _NAME.fullmatch(name):
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
    """Writes ``data`` as indented JSON; NaN and infinities become null, since JSON has neither."""
    _replace(path, json.dumps(plain(data), indent=1, allow_nan=False) + "\n")


def plain(value: Any) -> Any:
    """``value`` as JSON has it: NumPy's arrays and numbers as lists and numbers, NaN and infinities as None."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float):
        value = float(value)
        return value if abs(value) < float("inf") else None
    return plain(value.tolist()) if hasattr(value, "tolist") else value


def _replace(path: Path, text: str) -> None:
    with atomic_file(path, overwrite=True) as partial:
        partial.write_text(text, encoding="utf-8")
