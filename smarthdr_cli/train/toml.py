"""A config as TOML that ``--config`` reads again: the standard library reads the format and does not write it."""

import json
from collections.abc import Mapping
from typing import Any


def as_toml(values: Mapping[str, Any]) -> str:
    """Plain values, then nested tables. Raises ValueError for what a config does not hold."""
    return "\n".join(_lines(values, ""))


def _lines(values: Mapping[str, Any], table: str) -> list[str]:
    lines = [f"{key} = {_value(value)}" for key, value in values.items() if not isinstance(value, Mapping)]
    for key, value in values.items():
        if isinstance(value, Mapping):
            lines += ["", f"[{table}{key}]", *_lines(value, f"{table}{key}.")]
    return lines


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(each) for each in value) + "]"
    raise ValueError(f"{value!r} has no place in a config")
