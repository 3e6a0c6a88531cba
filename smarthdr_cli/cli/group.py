"""``smarthdr group``: which frames of a shoot belong together, and why. A dry run of ``smarthdr batch``."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smarthdr_cli.cli import options as opt
from smarthdr_cli.cli.console import handled, print_json, print_table, progress, say, shown
from smarthdr_cli.errors import InputError

if TYPE_CHECKING:
    from smarthdr_cli.grouping.group import BracketSet, Grouping


@handled
def command(
    paths: Annotated[
        list[Path], typer.Argument(metavar="FOLDER|FILES", help="A shoot's folder, or its files.", show_default=False)
    ],
    bracket: opt.Bracket = None,
    gap: opt.Gap = None,
    recursive: Annotated[
        bool, typer.Option("--recursive/--no-recursive", help="Look into sub-folders.", rich_help_panel=opt.INPUT)
    ] = True,
    across_folders: Annotated[
        bool,
        typer.Option("--across-folders", help="Let a set span folders, as at a card's 999.", rich_help_panel=opt.INPUT),
    ] = False,
    max_pixels: Annotated[
        str | None,
        typer.Option(
            "--max-pixels",
            metavar="N",
            help="Larger pictures are never looked at, only their headers, e.g. 60M; without it 250M.",
            rich_help_panel=opt.COMPUTATION,
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print JSON lines on stdout: a line for each set, single frame, twin and skipped file.",
            rich_help_panel=opt.OUTPUT,
        ),
    ] = False,
    quiet: opt.Quiet = False,
) -> None:  # fmt: skip
    """Sort a shoot into brackets, each with its confidence and reasons; nothing is written.

    Headers are read, and pixels only where those leave a doubt. A set marked "?" is ambiguous: batch leaves it alone
    unless told.

    Examples: smarthdr group shoot/ · smarthdr group shoot/ --json > sets.jsonl · smarthdr group shoot/ --bracket 5
    """
    from smarthdr_cli.grouping.group import group_files

    notes: list[str] = []
    most = opt.parse_pixels(max_pixels)
    files = pictures(paths, recursive, notes)
    with progress(quiet=quiet) as tell:
        found = group_files(
            files,
            bracket=bracket,
            gap=gap,
            across_folders=across_folders,
            on_file=lambda done, every: tell("headers", done / every),
            on_look=lambda done, every: tell("pictures", done / every),
            max_pixels=most,
        )
    if len(found.skipped) == len(files):
        first = found.skipped[0].reason
        raise InputError(first if len(files) == 1 else f"none of {len(files)} files can be read; the first: {first}")
    if as_json:
        for lines in (found.sets, found.singles, found.twins, found.skipped):
            for line in lines:
                print_json(line.to_dict())
    else:
        show(found)
    say([*notes, *found.notes, summary(found)], quiet=quiet)


def pictures(paths: Sequence[Path], recursive: bool, notes: list[str]) -> list[Path]:
    """The files named and the pictures of the folders named. Raises InputError where there are none."""
    from smarthdr_cli.grouping.group import find_pictures

    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += find_pictures(path, recursive, notes.append)
        elif path.exists():
            files.append(path)
        else:
            raise InputError(f"{path} does not exist")
    if not files:
        raise InputError(f"there are no pictures in {', '.join(str(path) for path in paths)}")
    return files


def show(found: "Grouping") -> None:
    """A row for each set, single, twin and skipped file; whole rows wherever it goes, as in ``smarthdr info``."""
    from rich.table import Table
    from rich.text import Text

    root = _root(found)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("files", "frames", "EV", "confidence", "why"):
        table.add_column(name, justify="right" if name in ("frames", "confidence") else "left", overflow="fold")

    def row(files: Sequence[Path], count: str, evs: str, confidence: str, why: Sequence[str]) -> None:
        named = " .. ".join(_shown(path, root) for path in dict.fromkeys((files[0], files[-1])))
        cells = (named, count, evs, confidence, "; ".join(why))
        table.add_row(*(Text(shown(cell)) for cell in cells))

    for one in found.sets:
        mark = "?" if one.ambiguous else ""
        row(one.frames, str(len(one.frames)), _evs(one), f"{one.confidence:.2f}{mark}", one.reasons)
    for single in found.singles:
        row((single.path,), "1", "", "", single.reasons)
    for twin in found.twins:
        row((twin.path,), "-", "", "", (twin.reason,))
    for skipped in found.skipped:
        row((skipped.path,), "-", "", "", (f"skipped: {skipped.reason}",))
    print_table(table)


def _root(found: "Grouping") -> Path | None:
    """The folder that all files have in common, which need not be said on every row."""
    folders = {p.parent for one in found.sets for p in one.frames}
    folders |= {one.path.parent for lines in (found.singles, found.twins, found.skipped) for one in lines}
    try:
        return Path(os.path.commonpath(folders))
    except ValueError:  # relative and absolute, or two drives
        return None


def _shown(path: Path, root: Path | None) -> str:
    return str(path if root is None else path.relative_to(root))


def _evs(one: "BracketSet") -> str:
    """All of up to nine, the ends of more."""
    if one.evs is None:
        return "-"
    said = [f"{ev:+.1f}" for ev in one.evs]
    return " ".join(said) if len(said) <= 9 else f"{said[0]} .. {said[-1]}"


def summary(found: "Grouping") -> str:
    """12 sets (1 ambiguous), 3 single frames, 2 files skipped."""
    unsure = sum(one.ambiguous for one in found.sets)
    parts = [
        _many(len(found.sets), "set") + (f" ({unsure} ambiguous)" if unsure else ""),
        _many(len(found.singles), "single frame"),
    ]
    if found.skipped:
        parts.append(f"{_many(len(found.skipped), 'file')} skipped")
    return ", ".join(parts)


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
