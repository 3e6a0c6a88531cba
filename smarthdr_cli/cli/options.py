"""From dataclasses to flags: the options of every command, and those that only the command line has.

A parameter of a command is one of three things:

- an options dataclass such as ``FuseOptions``: every field with a ``CommandOption`` is a flag of the command;
- ``Annotated[type, CommandOption(...)]``: one flag;
- anything else: an argument or an option as typer knows it.
"""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from smarthdr_cli.command_option import INPUT, OUTPUT, CommandOption
from smarthdr_cli.errors import full_path

R = TypeVar("R")

OPTIONS = "Options"  # typer's own heading, where --help stands too

Files = Annotated[
    list[Path], typer.Argument(metavar="FILES", help="The frames of one burst, in any order.", show_default=False)
]
Bracket = Annotated[int | None, CommandOption("Every bracket has exactly N frames.", INPUT, metavar="N")]
Gap = Annotated[
    float | None,
    CommandOption(
        "Frames are in different brackets if the pause between them, from the end of one exposure to the start of the "
        "next, is longer.",
        INPUT,
        metavar="SECONDS",
    ),
]
Panoramas = Annotated[
    Path | None,
    CommandOption(
        "Folder of HDR images (.exr, .hdr) to render bursts from. Without it: procedural scenes.", INPUT, metavar="DIR"
    ),
]
Seed = Annotated[int, CommandOption("Seed of the random numbers.", OPTIONS, minimum=0)]
Overwrite = Annotated[bool, CommandOption("Replace existing files.", OUTPUT)]
Json = Annotated[bool, CommandOption("Print one JSON object on stdout.", OUTPUT, ("--json",))]
JsonLines = Annotated[bool, CommandOption("Print one line of JSON for each set on stdout.", OUTPUT, ("--json",))]
Quiet = Annotated[bool, CommandOption("Show no progress, no notes and no closing line.", OUTPUT, ("--quiet", "-q"))]
Verbose = Annotated[
    bool,
    CommandOption("Also print on stderr what was found and how long each stage took.", OUTPUT, ("--verbose", "-v")),
]


def flatten(command: Callable[..., R]) -> tuple[Callable[..., R], inspect.Signature]:
    """A callable of plain values, and the signature that typer reads its flags from.

    It parses the text of options that have a parser, makes the paths of options absolute (messages and records then
    name files in full), builds the dataclasses and calls ``command`` with them.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, tuple[type, list[str]]] = {}
    options: list[str] = []
    parsers: dict[str, Callable[[str], Any]] = {}
    flat: list[inspect.Parameter] = []

    def add(name: str, hint: Any, default: Any) -> None:
        flat.append(_typer_parameter(name, hint, default))
        if (option := _command_option(hint)) is not None:
            options.append(name)
            if option.parse is not None:
                parsers[name] = option.parse

    for name, parameter in inspect.signature(command).parameters.items():
        if is_dataclass(hints[name]):
            groups[name] = (hints[name], [])
            for field, hint, default in _option_fields(hints[name]):
                groups[name][1].append(field)
                add(field, hint, default)
        else:
            add(name, hints[name], parameter.default)

    def call(**values: Any) -> R:
        for name in options:
            values[name] = _absolute(values[name])
        for name, parse in parsers.items():
            if isinstance(values[name], str):
                values[name] = parse(values[name])
        for name, (kind, names) in groups.items():
            values[name] = kind(**{field: values.pop(field) for field in names})
        return command(**values)

    return call, inspect.Signature(flat)


def _absolute(value: Any) -> Any:
    """A path, or each path of a list, from the root; any other value as it is."""
    if isinstance(value, list):
        return [_absolute(item) for item in value]
    return Path(full_path(value.expanduser())) if isinstance(value, Path) else value


def _option_fields(kind: type) -> Iterator[tuple[str, Any, Any]]:
    """(name, type, default) of each field with a ``CommandOption``."""
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        if _command_option(hints[field.name]) is not None:
            yield field.name, hints[field.name], field.default


def _command_option(hint: Any) -> CommandOption | None:
    return next((data for data in getattr(hint, "__metadata__", ()) if isinstance(data, CommandOption)), None)


def _typer_parameter(name: str, hint: Any, default: Any) -> inspect.Parameter:
    """The parameter as typer understands it; text stays text where smarthdr parses it itself."""
    option = _command_option(hint)
    if option is not None:
        kind = hint.__origin__ if option.parse is None else str if isinstance(default, str) else str | None
        hint = Annotated[
            kind,
            typer.Option(
                *(option.flags or (f"--{name.replace('_', '-')}",)),
                help=option.help,
                rich_help_panel=option.panel,
                metavar=option.metavar,
                min=option.minimum,
                max=option.maximum,
                show_default=option.show_default,
            ),
        ]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
