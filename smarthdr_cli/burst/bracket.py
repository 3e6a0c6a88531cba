"""Brackets of a shoot: which frames belong together, how surely, and why."""

from collections.abc import Callable, Sequence
from pathlib import Path

from smarthdr_cli.burst.grouping.files import find_pictures
from smarthdr_cli.burst.grouping.sets import BracketSet, Grouping, Single, Skipped, Twin, read_sets

__all__ = ["BracketSet", "Grouping", "Single", "Skipped", "Twin", "find_pictures", "group_files", "read_sets"]


def group_files(
    paths: Sequence[Path],
    *,
    bracket: int | None = None,
    gap: float | None = None,
    across_folders: bool = False,
    on_file: Callable[[int, int], None] | None = None,
) -> Grouping:
    """Sort the files of a shoot into brackets, singles, twins and files that cannot be read.

    ``bracket``: every set has exactly this many frames. ``gap``: frames more than this many seconds apart, from the end
    of one exposure to the start of the next, are never of one set. ``across_folders``: a set may span folders.
    ``on_file(done, all)`` is called as headers are read.
    """
    raise NotImplementedError
