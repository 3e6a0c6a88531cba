"""The reference of the command line, docs/reference.md: every command and flag, from the declarations themselves.

python -m smarthdr_cli.cli.reference > docs/reference.md
"""

import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from typer.models import ArgumentInfo

from smarthdr_cli.cli.app import app
from smarthdr_cli.cli.options import OPTIONS

HEADER = """# Command-line reference

Written by `python -m smarthdr_cli.cli.reference > docs/reference.md` from the declarations of the options: do not edit.
`smarthdr COMMAND --help` shows the same texts. The exit codes are in [batch.md](batch.md).
"""
WORDS = {str: "text", int: "integer", float: "number", Path: "path", bool: "flag"}


def reference() -> str:
    """The document as Markdown."""
    groups = [("smarthdr", app)]
    groups += [
        (f"smarthdr {group.name}", group.typer_instance) for group in app.registered_groups if group.typer_instance
    ]
    sections = [
        section(f"{program} {info.name}", info.callback)
        for program, group in groups
        for info in group.registered_commands
        if info.callback
    ]
    return "\n".join([HEADER, *sections])


def section(name: str, command: Callable[..., Any]) -> str:
    """One command: its usage, its description, and a table of flags for each heading of its help."""
    arguments: list[tuple[str, str, str, str]] = []
    panels: dict[str, list[tuple[str, str, str, str]]] = {}
    usage = [name]
    for parameter in inspect.signature(command).parameters.values():
        kind, info = parameter.annotation.__origin__, parameter.annotation.__metadata__[0]
        required = parameter.default is parameter.empty
        if isinstance(info, ArgumentInfo):
            placeholder = str(info.metavar)
            usage.append(placeholder if required or placeholder.startswith("[") else f"[{placeholder}]")
            arguments.append((f"`{placeholder}`", _type(kind), _default(parameter.default, info), str(info.help)))
        else:
            flags = ", ".join(f"`{flag}`" for flag in _flags(info))
            row = (flags, _value(kind, info), _default(parameter.default, info), str(info.help))
            panels.setdefault(str(info.rich_help_panel or OPTIONS), []).append(row)
    description, _, examples = inspect.cleandoc(str(command.__doc__)).partition("Examples: ")
    lines = [f"## {name}", "", f"`{' '.join([*usage, '[OPTIONS]'])}`", "", " ".join(description.split()), ""]
    if examples:
        lines += ["```sh", *(" ".join(example.split()) for example in examples.split("·")), "```", ""]
    if arguments:
        lines += [*_table("Argument", arguments), ""]
    for panel, rows in panels.items():
        lines += [f"**{panel}**", "", *_table("Option", rows), ""]
    return "\n".join(lines)


def _table(first: str, rows: list[tuple[str, str, str, str]]) -> Iterator[str]:
    yield f"| {first} | Value | Default | Meaning |"
    yield "|---|---|---|---|"
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def _flags(info: Any) -> tuple[str, ...]:
    """All names of an option; typer keeps the first one in ``default``, and both of "--on/--off" in one text."""
    names = (info.default, *(info.param_decls or ())) if isinstance(info.default, str) else info.param_decls or ()
    return tuple(flag for name in names for flag in name.split("/"))


def _value(kind: Any, info: Any) -> str:
    """``auto|N`` where the option has such a text, else the choices or the type; the limits of a number."""
    text = f"`{info.metavar}`" if info.metavar else _type(kind)
    limits = [f"from {info.min:g}"] if info.min is not None else []
    limits += [f"up to {info.max:g}"] if info.max is not None else []
    return " ".join([text, *limits])


def _type(kind: Any) -> str:
    members = [member for member in get_args(kind) if member is not NoneType]
    if get_origin(kind) is Literal:
        return " ".join(f"`{member}`" for member in members)
    if get_origin(kind) is list:
        return f"{_type(members[0])}, repeatable"
    return _type(members[0]) if members else WORDS[kind]


def _default(default: Any, info: Any) -> str:
    if default is inspect.Parameter.empty:
        return "required"
    if isinstance(info.show_default, str):
        return info.show_default
    if default is None or default is False:
        return ""
    return "on" if default is True else f"`{default}`"


if __name__ == "__main__":
    sys.stdout.write(reference())
