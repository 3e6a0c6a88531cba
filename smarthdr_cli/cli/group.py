"""``smarthdr group``: which frames of a shoot form a bracket, and why. A dry run of ``smarthdr batch``."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smarthdr_cli.cli import options as opt
from smarthdr_cli.cli.console import cli_command, print_json, print_notes, print_table, printable, progress
from smarthdr_cli.command_option import COMPUTATION, INPUT, OUTPUT, CommandOption
from smarthdr_cli.errors import InputError
from smarthdr_cli.fusion.fuse_options import parse_pixels

if TYPE_CHECKING:
    from smarthdr_cli.grouping.group import BracketSet, Grouping

MAX_LISTED_EVS = 9  # of a bracket; of longer ones the first and the last


@cli_command
def command(
    paths: Annotated[
        list[Path], typer.Argument(metavar="FOLDER|FILES", help="A shoot's folder, or its files.", show_default=False)
    ],
    bracket: opt.Bracket = None,
    gap: opt.Gap = None,
    recursive: Annotated[bool, CommandOption("Search sub-folders.", INPUT, ("--recursive/--no-recursive",))] = True,
    across_folders: Annotated[
        bool,
        CommandOption("Allow a bracket to span folders, as when a camera starts a new folder after 999 files.", INPUT),
    ] = False,
    max_pixels: Annotated[
        int | None,
        CommandOption(
            "Use only the headers of larger images, e.g. 60M.",
            COMPUTATION,
            metavar="N",
            parse=parse_pixels,
            show_default="250M",
        ),
    ] = None,
    as_json: Annotated[
        bool,
        CommandOption(
            "Print one line of JSON on stdout for each set, single frame, twin and skipped file.", OUTPUT, ("--json",)
        ),
    ] = False,
    quiet: opt.Quiet = False,
) -> None:
    """Sort a shoot into brackets, each with its confidence and reasons. Writes nothing.

    Decides by headers, and by pixels only where those leave a doubt. A set marked "?" is ambiguous: batch skips it
    unless --ambiguous merge is given.

    Examples: smarthdr group shoot/ · smarthdr group shoot/ --json > sets.jsonl · smarthdr group shoot/ --bracket 5
    """
    from smarthdr_cli.grouping.group import group_files

    notes: list[str] = []
    files = find_files(paths, recursive, notes)
    with progress(quiet=quiet) as report_progress:
        grouping = group_files(
            files,
            bracket=bracket,
            gap=gap,
            across_folders=across_folders,
            on_file=lambda done, total: report_progress("headers", done / total),
            on_look=lambda done, total: report_progress("pictures", done / total),
            max_pixels=max_pixels,
        )
    if len(grouping.skipped) == len(files):
        reason = grouping.skipped[0].reason
        raise InputError(reason if len(files) == 1 else f"none of {len(files)} files can be read; the first: {reason}")
    if as_json:
        for items in (grouping.sets, grouping.singles, grouping.twins, grouping.skipped):
            for item in items:
                print_json(item.to_dict())
    else:
        print_grouping(grouping)
    print_notes([*notes, *grouping.notes, grouping.summary()], quiet=quiet)


def find_files(paths: Sequence[Path], recursive: bool, notes: list[str]) -> list[Path]:
    """The given files and the images of the given folders. Raises InputError if there are none."""
    from smarthdr_cli.burst.read import check_file
    from smarthdr_cli.grouping.group import find_pictures, no_pictures

    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += find_pictures(path, recursive, notes.append)
        elif path.exists():
            files.append(path)
        else:
            check_file(path)
    if not files:
        raise InputError(no_pictures([path for path in paths if path.is_dir()]))
    return files


def print_grouping(grouping: "Grouping") -> None:
    """Print a row for each set, single frame, twin and skipped file on stdout."""
    from rich.table import Table
    from rich.text import Text

    root = _common_folder(grouping)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("files", "frames", "EV", "confidence", "why"):
        table.add_column(name, justify="right" if name in ("frames", "confidence") else "left", overflow="fold")

    def add_row(files: Sequence[Path], count: str, evs: str, confidence: str, reasons: Sequence[str]) -> None:
        ends = (str(path if root is None else path.relative_to(root)) for path in (files[0], files[-1]))
        cells = (" .. ".join(dict.fromkeys(ends)), count, evs, confidence, "; ".join(reasons))
        table.add_row(*(Text(printable(cell)) for cell in cells))

    for bracket in grouping.sets:
        mark = "?" if bracket.ambiguous else ""
        confidence = f"{bracket.confidence:.2f}{mark}"
        add_row(bracket.frames, str(len(bracket.frames)), _evs(bracket), confidence, bracket.reasons)
    for single in grouping.singles:
        add_row((single.path,), "1", "", "", single.reasons)
    for twin in grouping.twins:
        add_row((twin.path,), "-", "", "", (twin.reason,))
    for skipped in grouping.skipped:
        add_row((skipped.path,), "-", "", "", (f"skipped: {skipped.reason}",))
    print_table(table)


def _common_folder(grouping: "Grouping") -> Path | None:
    """The folder that holds all files, left out of every row; None for two drives, or relative and absolute paths."""
    folders = {path.parent for bracket in grouping.sets for path in bracket.frames}
    folders |= {item.path.parent for items in (grouping.singles, grouping.twins, grouping.skipped) for item in items}
    try:
        return Path(os.path.commonpath(folders))
    except ValueError:
        return None


def _evs(bracket: "BracketSet") -> str:
    if bracket.evs is None:
        return "-"
    texts = [f"{ev:+.1f}" for ev in bracket.evs]
    return " ".join(texts) if len(texts) <= MAX_LISTED_EVS else f"{texts[0]} .. {texts[-1]}"
