"""Markdown tables, values as JSON, and the line that states under which conditions figures were measured.

Imports neither NumPy nor torch: ``benchmarks/performance`` measures the memory of child processes, which start with the
peak of their parent.
"""

import datetime
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

from smarthdr_cli import system
from smarthdr_cli.version import __version__


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A markdown table: floats with two decimals, None and NaN as a dash, the first column left, the others right.

    Raises ValueError where a row is not as long as the header.

    >>> print(markdown_table(["method", "dB"], [["static", 31.256], ["oracle", None]]))
    | method | dB |
    | :-- | --: |
    | static | 31.26 |
    | oracle | – |
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


def measurement_conditions() -> str:
    """One line: date, version, CPU cores available to the process, version of torch. No machine is named."""
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    cores = system.usable_cores()
    try:
        torch = f"torch {metadata.version('torch')}"
    except metadata.PackageNotFoundError:
        torch = "no torch"
    return f"Measured on {date}: smarthdr {__version__}, {cores} CPU core{'s' if cores != 1 else ''}, {torch}."


def json_value(value: Any) -> Any:
    """``value`` for JSON: NumPy arrays and numbers as lists and numbers, NaN and infinities as None."""
    if isinstance(value, Mapping):
        return {str(key): json_value(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(entry) for entry in value]
    if isinstance(value, float):
        value = float(value)
        return value if abs(value) < float("inf") else None
    return json_value(value.tolist()) if hasattr(value, "tolist") else value
