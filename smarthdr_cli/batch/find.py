"""The sets of a run: told in a file, or grouped from what lies in a folder."""

from collections.abc import Callable
from pathlib import Path

from smarthdr_cli.batch.names import real_path
from smarthdr_cli.grouping.group import BracketSet, find_pictures, group_files


def group_shoot(
    shoot: Path, output: Path, *, bracket: int | None = None, gap: float | None = None, max_pixels: int | None = None,
    on_file: Callable[[int, int], None] | None = None,
) -> tuple[list[BracketSet], list[str]]:  # fmt: skip
    """The brackets below ``shoot``, and what there is to say of the rest.

    What lies in ``output`` is of earlier runs and no frame. ``on_file`` is told how many of how many are read. Raises
    InputError for a folder that cannot be read.
    """
    notes: list[str] = []
    pictures, own = find_pictures(shoot, on_error=notes.append), real_path(output)
    if own != real_path(shoot):  # which is refused, where all is checked
        pictures = [path for path in pictures if not real_path(path).is_relative_to(own)]
    grouping = group_files(pictures, bracket=bracket, gap=gap, on_file=on_file, max_pixels=max_pixels)
    notes += grouping.notes
    notes += [f"{skipped.path}: {skipped.reason}" for skipped in grouping.skipped]
    if grouping.singles:
        notes.append(f"{len(grouping.singles)} frames belong to no bracket (smarthdr group says why)")
    return list(grouping.sets), notes
