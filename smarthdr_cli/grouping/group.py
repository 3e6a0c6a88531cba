"""The brackets of a shoot: which frames belong together, how confidently, and why.

find files -> read headers -> leave out twins and copies -> split into streams -> segment each stream
"""

import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from smarthdr_cli.burst.exif_containers import RAW_SUFFIXES
from smarthdr_cli.errors import InputError, UsageError, full_path, os_reason
from smarthdr_cli.grouping.header import Header, read_header
from smarthdr_cli.grouping.result import BracketSet, Grouping, Single, Skipped, Twin, read_sets
from smarthdr_cli.grouping.segmentation import MAX_SET_LENGTH, segment_frames
from smarthdr_cli.grouping.sequence import natural_key
from smarthdr_cli.grouping.streams import can_read_raw, split_streams, without_twins
from smarthdr_cli.grouping.thumbnails import Thumbnail, read_thumbnail

__all__ = ["BracketSet", "Grouping", "Single", "Skipped", "Twin", "find_pictures", "group_files", "read_sets"]

T = TypeVar("T")

_THREADS = 4  # they wait for disks; parsing itself holds the interpreter lock
_FILES_PER_BATCH = 64  # a future for each of a million files would cost more than reading it
_OWN_SOFTWARE = "smarthdr "
# HEIF, AVIF and WebP are not read; they are listed so that the user is told.
_PLAIN_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".tif", ".tiff", ".heic", ".heif", ".hif", ".avif", ".webp")
_SUFFIXES = RAW_SUFFIXES.union(_PLAIN_SUFFIXES)


def find_pictures(folder: Path, recursive: bool = True, on_error: Callable[[str], None] | None = None) -> list[Path]:
    """The images under ``folder`` by their suffixes, in natural order, without hidden files and links to folders.

    Raises InputError where the folder is missing or unreadable. An unreadable sub-folder goes to ``on_error`` where
    that is given.
    """
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise InputError(f"{full_path(folder)} {problem}; give the folder that holds the frames")
    images: list[Path] = []

    def report(error: OSError) -> None:
        message = f"{error.filename} cannot be read: {os_reason(error)}"
        if on_error is None or Path(error.filename) == folder:
            raise InputError(message) from error
        on_error(message)

    for root, folders, names in os.walk(folder, onerror=report):
        folders[:] = sorted((f for f in folders if not f.startswith(".")), key=natural_key) if recursive else []
        selected = (n for n in names if not n.startswith(".") and Path(n).suffix.lower() in _SUFFIXES)
        images += [Path(root, name) for name in sorted(selected, key=natural_key)]
    return images


def no_pictures(folders: Iterable[Path]) -> str:
    """The message for folders without a file that smarthdr reads."""
    listed = ", ".join(full_path(folder) for folder in folders)
    return f"no pictures in {listed}; give the folder that holds the frames (JPEG, PNG, TIFF or RAW)"


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
    """Sort the files of a shoot into sets, single frames, twins and skipped files; each file is in exactly one.

    Headers are read; only frames whose headers leave a doubt are decoded, reduced, and never those of more than
    ``max_pixels`` (None: MAX_PIXELS). ``bracket``: every set has exactly so many frames. ``gap``: longest time within a
    set in seconds, from the end of one exposure to the start of the next. ``across_folders``: a set may span folders.
    ``on_file(done, total)`` is called for each header read, ``on_look(done, total)`` as images are decoded.

    Raises UsageError for a bracket outside 2 to MAX_SET_LENGTH or a negative gap.
    """
    if bracket is not None and not 2 <= bracket <= MAX_SET_LENGTH:
        raise UsageError(f"--bracket {bracket}: sets have 2 to {MAX_SET_LENGTH} frames")
    if gap is not None and not gap >= 0:
        raise UsageError(f"--gap {gap:g}: a pause in seconds, 0 or more")
    all_headers, skipped = _read_headers(list(dict.fromkeys(paths)), on_file)
    prefer_raw = can_read_raw()
    headers, twins = without_twins(all_headers, prefer_raw=prefer_raw)
    frames_in_folder = Counter(h.path.parent for h in headers)
    sets: list[BracketSet] = []
    singles: list[Single] = []
    names: set[str] = set()
    decoded = 0
    with ThreadPoolExecutor(_THREADS) as pool:

        def read_thumbnails(wanted: Sequence[Header]) -> Iterator[Thumbnail | None]:
            nonlocal decoded
            for batch in _batches(wanted):
                yield from pool.map(partial(read_thumbnail, max_pixels=max_pixels), batch)
                decoded += len(batch)
                if on_look is not None:
                    on_look(decoded, len(headers))

        for stream in split_streams(headers, across_folders=across_folders):
            folders = {h.path.parent for h in stream}
            whole_folder = len(folders) == 1 and frames_in_folder[stream[0].path.parent] == len(stream)
            for result in segment_frames(
                stream, user_length=bracket, max_gap=gap, whole_folder=whole_folder, read_thumbnails=read_thumbnails
            ):
                if isinstance(result, Single):
                    singles.append(result)
                    continue
                name = _unique_name(result.frames[0], names)
                names.add(name)
                sets.append(replace(result, name=name))
    notes = _notes(headers, twins, prefer_raw)
    return Grouping(tuple(sets), tuple(singles), tuple(twins), tuple(skipped), tuple(notes))


def _read_headers(
    paths: Sequence[Path], on_file: Callable[[int, int], None] | None
) -> tuple[list[Header], list[Skipped]]:
    headers: list[Header] = []
    skipped: list[Skipped] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        results = itertools.chain.from_iterable(pool.map(_read_batch, _batches(paths)))
        for done, (path, result) in enumerate(zip(paths, results, strict=True), 1):
            if isinstance(result, str):
                skipped.append(Skipped(path, result))
            elif result.software.startswith(_OWN_SOFTWARE):
                skipped.append(Skipped(path, f"{full_path(path)} was written by smarthdr"))
            else:
                headers.append(result)
            if on_file is not None:
                on_file(done, len(paths))
    return headers, skipped


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + _FILES_PER_BATCH] for start in range(0, len(items), _FILES_PER_BATCH))


def _read_batch(paths: Sequence[Path]) -> list[Header | str]:
    """The header of each file, or why there is none."""
    results: list[Header | str] = []
    for path in paths:
        try:
            results.append(read_header(path))
        except InputError as error:
            results.append(str(error))
    return results


def _notes(headers: Sequence[Header], twins: Sequence[Twin], prefer_raw: bool) -> list[str]:
    notes = []
    pairs = sum(1 for twin in twins if not twin.reason.startswith("a copy"))
    copies = len(twins) - pairs
    if pairs:
        taken = "the RAW is taken" if prefer_raw else "the JPEG is taken, since rawpy is not installed (smarthdr[raw])"
        notes.append(f"{pairs} {'exposure is' if pairs == 1 else 'exposures are'} there in two formats: {taken}")
    if copies:
        notes.append(f"{copies} {'file is a copy' if copies == 1 else 'files are copies'} of others and left aside")
    raw_count = sum(1 for h in headers if h.kind == "raw")
    if raw_count and not prefer_raw:
        needs = "file needs" if raw_count == 1 else "files need"
        notes.append(f"{raw_count} RAW {needs} rawpy to be fused: smarthdr[raw]")
    return notes


def _unique_name(first_frame: Path, names: set[str]) -> str:
    """The stem of the first frame, with its folder's name or a number where that is taken."""
    stem = first_frame.stem
    candidates = itertools.chain(
        (stem, f"{first_frame.parent.name}_{stem}"), (f"{stem}_{number}" for number in itertools.count(2))
    )
    return next(name for name in candidates if name and name not in names)
