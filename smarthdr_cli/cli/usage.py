"""A command line that cannot be parsed: one line that says what is wrong and what to type instead."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from smarthdr_cli.cli.console import print_error
from smarthdr_cli.errors import UsageError
from smarthdr_cli.output.write import FORMATS

_MAX_NAMED_FILES = 3  # in a suggested command


class Commands(TyperGroup):
    """The commands of smarthdr, with errors of typer printed as smarthdr's own."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep the words of the command line for ``next_step``."""
        ctx.obj = tuple(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command. An error of typer ends with its own exit code, 2."""
        try:
            return super().invoke(ctx)
        except typer.TyperException as error:
            if type(error).__name__ == "NoArgsIsHelpError":  # not public; its message is the help
                raise
            problem = error.format_message().strip().rstrip(".")
            problem = problem.replace("Value error, ", "")
            words = ctx.obj if ctx.obj and ctx.obj[0] in self.commands else ("", *ctx.obj)
            print_error(f"{problem[:1].lower()}{problem[1:]}; {next_step(*words)}")
            raise typer.Exit(error.exit_code) from error


def next_step(command: str, *words: str) -> str:
    """What to type instead of ``smarthdr COMMAND WORDS``, which typer cannot parse; "" is an unknown command.

    >>> next_step("", "a.jpg", "b.jpg")
    'to fuse pictures: smarthdr fuse a.jpg b.jpg -o out.exr'
    >>> next_step("fuse", "a.jpg", "b.jpg", "c.exr")
    'put -o before the output: -o c.exr'
    >>> next_step("fuse", "a.jpg", "b.jpg", "--ev", "0", "-2")
    'separate the values by commas, without spaces: --ev=0,-2'
    """
    if not command:
        return _unknown_command(words)
    if (values := _comma_separated_hint(words)) is not None:
        return values
    if command == "fuse" and words and not _has_output(words):
        suffixes = {suffix for form in FORMATS if form.role == "result" for suffix in form.suffixes}
        last, first = (Path(word).suffix.lower() for word in (words[-1], words[0]))
        if last in suffixes and last != first:  # .jpg, .tif and .dng are frames as well
            return f"put -o before the output: -o {shlex.quote(words[-1])}"
        return "name the output, for example: -o out.exr"
    if command == "batch" and (flag := _flag_with_file(words)) is not None:
        return f"{flag} takes no file name in a batch: each set gets its own, beside its result"
    return f"smarthdr {command} --help explains its options"


def _unknown_command(words: Sequence[str]) -> str:
    """What to type for words that begin with no command: as a rule the command is missing before files."""
    first = Path(words[0]) if words else Path()
    if words and first.is_dir():
        return f"to fuse the brackets of a folder: smarthdr batch {shlex.quote(words[0])} -o merged/"
    if words and not words[0].startswith("-") and (first.suffix or first.exists()):
        return f"to fuse pictures: smarthdr fuse {_named(words)}{'' if _has_output(words) else ' -o out.exr'}"
    return "smarthdr --help lists the commands"


def _comma_separated_hint(words: Sequence[str]) -> str | None:
    """What to type where the values of a list are separated by spaces; None where none are."""
    for flag in ("--ev", "--exposure-times"):
        if flag in words[:-1]:
            start = words.index(flag) + 1
            values = []
            for word in words[start:]:
                if not _holds_numbers(word):
                    break
                values.append(word.strip(","))
            if len(values) > 1:
                return f"separate the values by commas, without spaces: {flag}={','.join(values)}"
    return None


def check_stray_values(files: Sequence[Path], **given: Sequence[float] | None) -> None:
    """Raises UsageError where values of an option, separated by spaces, were taken for files.

    ``given``: option, such as ``exposure_times``, to its values or None.
    """
    stray = [str(file) for file in files if _holds_numbers(str(file)) and not file.exists()]
    for name, values in given.items():
        if stray and values is not None:
            flag = f"--{name.replace('_', '-')}"
            listed = ",".join([*(f"{value:g}" for value in values), *(word.strip(",") for word in stray)])
            raise UsageError(f"{flag}: separate the values by commas, without spaces: {flag}={listed}")


def _holds_numbers(word: str) -> bool:
    """Whether ``word`` is a number such as -2, 1/25 or 0.5s, or several with commas."""
    digits = word.strip(",").replace("/", "").replace(",", "").removesuffix("s").lstrip("+-")
    return digits.replace(".", "").replace("-", "").isdecimal()


def _has_output(words: Sequence[str]) -> bool:
    return any(word in ("-o", "--output") or word.startswith("--output=") for word in words)


def _named(words: Sequence[str]) -> str:
    """The words of a command, of many only the first."""
    shown = words if len(words) <= _MAX_NAMED_FILES or _has_output(words) else (*words[:_MAX_NAMED_FILES], "...")
    return " ".join(word if word == "..." else shlex.quote(word) for word in shown)


def _flag_with_file(words: Sequence[str]) -> str | None:
    for flag in ("--preview", "--uncertainty"):
        if flag in words[:-1] and Path(words[words.index(flag) + 1]).suffix:
            return flag
    return None
