"""Brackets of a shoot: which frames belong together, how surely, and why."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from smarthdr_cli.errors import InputError, UsageError
from smarthdr_cli.grouping.files import find_pictures
from smarthdr_cli.grouping.header import Header, read_header
from smarthdr_cli.grouping.result import BracketSet, Grouping, Single, Skipped, Twin, read_sets
from smarthdr_cli.grouping.segmentation import group_row
from smarthdr_cli.grouping.streams import reads_raw, streams, without_twins
from smarthdr_cli.grouping.thumbnails import Tiny, tiny

__all__ = ["BracketSet", "Grouping", "Single", "Skipped", "Twin", "find_pictures", "group_files", "read_sets"]
_THREADS = 4  # waiting for disks; the parsing itself holds Python's lock
_AT_ONCE = 64  # files handed to the threads
_WRITTEN_BY_US = "smarthdr "


def group_files(
    paths: Sequence[Path],
    *,
    bracket: int | None = None,
    gap: float | None = None,
    across_folders: bool = False,
    on_file: Callable[[int, int], None] | None = None,
    on_look: Callable[[int, int], None] | None = None,
    max_pixels: int | None = None,
) -> Grouping:
    """Sort the files of a shoot into brackets, singles, twins and files that cannot be read: each file once.

    Reads headers; decodes, at an eighth of their size, only frames whose headers leave a doubt. ``bracket``: every set
    has exactly this many frames. ``gap``: frames more than this many seconds apart, from the end of one exposure to the
    start of the next, are never of one set, and less is near. ``across_folders``: a set may span folders.
    Frames of more than ``max_pixels`` (None: MAX_PIXELS) are never decoded.
    ``on_file(done, all)`` is called as headers are read, ``on_look(done, all)`` as pictures are looked at; at most all
    of them are. Raises UsageError for a bracket below 2 or above 34 and a
    negative gap.
    """
    if bracket is not None and not 2 <= bracket <= 34:
        raise UsageError(f"--bracket {bracket}: sets have 2 to 34 frames")
    if gap is not None and not gap >= 0:
        raise UsageError(f"--gap {gap:g}: a pause in seconds, 0 or more")
    distinct = list(dict.fromkeys(paths))
    headers, skipped = _read(distinct, on_file)
    raw = reads_raw()
    kept, twins = without_twins(headers, raw=raw)
    crowd = Counter(h.path.parent for h in kept)
    sets: list[BracketSet] = []
    singles: list[Single] = []
    names = _Names()
    looked = 0
    rows = streams(kept, across_folders=across_folders)
    with ThreadPoolExecutor(_THREADS) as pool:

        def look(wanted: Sequence[Header]) -> Iterator[Tiny | None]:
            nonlocal looked
            for at in range(0, len(wanted), _AT_ONCE):
                batch = wanted[at : at + _AT_ONCE]
                yield from pool.map(partial(tiny, max_pixels=max_pixels), batch)
                looked += len(batch)
                if on_look is not None:
                    on_look(looked, len(kept))

        for row in rows:
            alone = len({h.path.parent for h in row}) == 1 and crowd[row[0].path.parent] == len(row)
            for found in group_row(row, bracket=bracket, gap=gap, whole_folder=alone, tinies=look):
                files = tuple(h.path for h in found.frames)
                if len(files) == 1:
                    singles.append(Single(files[0], found.reasons))
                else:
                    name = names.make(files[0])
                    sets.append(BracketSet(name, files, found.confidence, found.reasons, found.ambiguous, found.evs))
    return Grouping(tuple(sets), tuple(singles), tuple(twins), tuple(skipped), tuple(_notes(kept, twins, raw)))


def _read(paths: Sequence[Path], on_file: Callable[[int, int], None] | None) -> tuple[list[Header], list[Skipped]]:
    headers: list[Header] = []
    skipped: list[Skipped] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        for done, (path, read) in enumerate(zip(paths, _ahead(pool, paths), strict=True), 1):
            if isinstance(read, Header) and read.software.startswith(_WRITTEN_BY_US):
                skipped.append(Skipped(path, f"{path.name} was written by smarthdr"))
            elif isinstance(read, Header):
                headers.append(read)
            else:
                skipped.append(Skipped(path, read))
            if on_file is not None:
                on_file(done, len(paths))
    return headers, skipped


def _ahead(pool: ThreadPoolExecutor, paths: Sequence[Path]) -> Iterable[Header | str]:
    """Headers in order, read in batches: a future for each of a million files would cost more than reading it."""
    batches = [paths[at : at + _AT_ONCE] for at in range(0, len(paths), _AT_ONCE)]
    return itertools.chain.from_iterable(pool.map(_batch, batches))


def _batch(paths: Sequence[Path]) -> list[Header | str]:
    found: list[Header | str] = []
    for path in paths:
        try:
            found.append(read_header(path))
        except InputError as error:
            found.append(str(error))
    return found


def _notes(kept: Sequence[Header], twins: Sequence[Twin], raw: bool) -> list[str]:
    notes = []
    pairs = sum(1 for twin in twins if not twin.reason.startswith("a copy"))
    copies = len(twins) - pairs
    if pairs:
        which = "the RAW is taken" if raw else "the JPEG is taken, since rawpy is not installed (smarthdr[raw])"
        notes.append(f"{pairs} {'exposure is' if pairs == 1 else 'exposures are'} there in two formats: {which}")
    if copies:
        notes.append(f"{copies} {'file is a copy' if copies == 1 else 'files are copies'} of others and left aside")
    lone = sum(1 for h in kept if h.kind == "raw")
    if lone and not raw:
        notes.append(f"{lone} RAW {'file needs' if lone == 1 else 'files need'} rawpy to be fused: smarthdr[raw]")
    return notes


class _Names:
    """A name for each set: the first frame's stem, with its folder's name or a number where that is taken."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def make(self, first: Path) -> str:
        plain = [first.stem, f"{first.parent.name}_{first.stem}"]
        numbered = (f"{first.stem}_{number}" for number in itertools.count(2))
        name = next(n for n in itertools.chain(plain, numbered) if n and n not in self._taken)
        self._taken.add(name)
        return name
