"""How a field of an options dataclass appears on the command line.

An option is declared once, in the room that uses it: a dataclass field with its type, its default and, as ``Annotated``
metadata, a ``CommandOption``. cli/options.py makes the flag of every command from it. This module imports nothing of
smarthdr, and modules that declare options load neither NumPy nor torch, so that ``--help`` is immediate.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# Headings of --help: an option stands under the same heading in every command.
INPUT, FUSION, COMPUTATION, OUTPUT = "Input", "Fusion", "Computation", "Output"
QUALITY = "Quality check"  # its own heading: the long flag would squeeze the help texts of its neighbours


@dataclass(frozen=True)
class CommandOption:
    """The flag of a field: ``help`` ends in a full stop, ``panel`` is its heading in --help.

    ``flags``: names such as ("--output", "-o"); without any, the field's name with hyphens. ``metavar``: what stands
    for the value in --help. ``parse``: turns the text of the command line into the field's value and raises UsageError;
    without it typer converts by the field's type, and the words of a ``Literal`` are the choices. ``minimum``,
    ``maximum``: of a number. ``show_default``: words in place of the default, False for none.
    """

    help: str
    panel: str
    flags: tuple[str, ...] = ()
    metavar: str | None = None
    parse: Callable[[str], Any] | None = None
    minimum: float | None = None
    maximum: float | None = None
    show_default: str | bool = True
