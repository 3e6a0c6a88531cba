"""Files of a shoot as streams of frames: one camera, folder and size each, in capture order, every exposure once."""

import filecmp
import importlib.util
import itertools
from collections import defaultdict
from collections.abc import Hashable, Sequence
from pathlib import Path

from smarthdr_cli.grouping.exposure_pattern import SAME_LEVEL_EV
from smarthdr_cli.grouping.header import Header
from smarthdr_cli.grouping.result import Twin
from smarthdr_cli.grouping.sequence import parse_file_name, sort_keys, timestamps

_FORMATS_BY_PREFERENCE = ("jpeg", "heif", "tiff", "png")
_PROBE_BYTES = 1024  # from the middle of a file; they tell most files apart


def can_read_raw() -> bool:
    """Whether rawpy is installed; does not import it."""
    return importlib.util.find_spec("rawpy") is not None


def without_twins(headers: Sequence[Header], *, prefer_raw: bool) -> tuple[list[Header], list[Twin]]:
    """Every exposure once, and the files left out.

    Of one exposure in two formats the RAW is kept (the other where ``prefer_raw`` is False), of copies the first.
    """
    by_stem: dict[Hashable, list[Header]] = defaultdict(list)
    for header in headers:
        by_stem[(header.path.parent, header.path.stem.casefold())].append(header)
    preference = ("raw", *_FORMATS_BY_PREFERENCE) if prefer_raw else (*_FORMATS_BY_PREFERENCE, "raw")
    twins: dict[Path, Twin] = {}
    for candidates in by_stem.values():
        kept, *others = sorted(candidates, key=lambda h: preference.index(h.kind))
        for other in others:
            if other.kind != kept.kind and _is_same_exposure(kept, other):
                reason = f"the same exposure as {kept.path.name}"
                if kept.kind != "raw" and other.kind == "raw":
                    reason += ", which needs no rawpy"
                twins[other.path] = Twin(other.path, kept.path, reason)
    remaining = [header for header in headers if header.path not in twins]
    for original, copy in _find_copies(remaining):
        twins[copy.path] = Twin(copy.path, original.path, f"a copy of {original.path.name}")
    return [h for h in remaining if h.path not in twins], [twins[h.path] for h in headers if h.path in twins]


def _is_same_exposure(first: Header, second: Header) -> bool:
    if first.timestamp is not None and second.timestamp is not None:
        clock_step = max(first.clock_step, second.clock_step)
        if abs(first.timestamp - second.timestamp) > clock_step:
            return False
    return first.ev is None or second.ev is None or abs(first.ev - second.ev) < 2 * SAME_LEVEL_EV


def _find_copies(headers: Sequence[Header]) -> list[tuple[Header, Header]]:
    """(original, copy) of files with equal bytes in one folder; opens only files with equal headers."""
    candidates: dict[Hashable, list[Header]] = defaultdict(list)
    for h in headers:
        candidates[(h.path.parent, h.file_size, h.timestamp, h.ev, h.size, h.kind)].append(h)
    copies = []
    for alike in candidates.values():
        if len(alike) < 2:
            continue
        by_probe: dict[bytes, list[Header]] = defaultdict(list)
        for h in sorted(alike, key=lambda h: (len(h.path.name), h.path.name)):
            by_probe[_probe(h)].append(h)
        for original, *others in by_probe.values():
            copies += [(original, other) for other in others if _has_equal_bytes(original.path, other.path)]
    return copies


def _has_equal_bytes(first: Path, second: Path) -> bool:
    try:
        return filecmp.cmp(first, second, shallow=False)
    except OSError:
        return False


def _probe(header: Header) -> bytes:
    """Bytes from the middle of the file; its name where it cannot be read."""
    try:
        with header.path.open("rb") as file:
            file.seek(header.file_size // 2)
            return file.read(_PROBE_BYTES)
    except OSError:
        return str(header.path).encode(errors="surrogateescape")


def split_streams(headers: Sequence[Header], *, across_folders: bool = False) -> list[list[Header]]:
    """One stream per camera, folder (unless ``across_folders``), size and RAW or not, in the order of first files.

    Frames with and without a capture time are in separate streams.
    """
    streams: dict[Hashable, list[Header]] = defaultdict(list)
    for h in headers:
        folder = None if across_folders else h.path.parent
        key = (folder, h.make, h.model, h.serial, h.kind == "raw", h.size, h.timestamp is not None)
        streams[key].append(h)
    split = []
    for stream in streams.values():
        ordered = in_capture_order(stream)
        split += [ordered] if stream[0].serial else _split_by_prefix(ordered)
    return split


def in_capture_order(headers: Sequence[Header]) -> list[Header]:
    """Sorted by capture time, then by name; by name alone where there is no time."""
    times = timestamps(headers)
    name_keys = sort_keys([h.path.stem for h in headers])
    folders = [str(h.path.parent) for h in headers]
    order = sorted(range(len(headers)), key=lambda i: (times[i] or 0.0, folders[i], name_keys[i]))
    return [headers[i] for i in order]


def _split_by_prefix(stream: list[Header]) -> list[list[Header]]:
    """Two bodies of one model without serial numbers, by the prefixes of file names that interleave in time."""
    if stream[0].timestamp is None:
        return [stream]
    by_prefix: dict[str, list[int]] = defaultdict(list)
    for index, h in enumerate(stream):
        name = parse_file_name(h.path.stem)
        by_prefix[name.prefix if name.number is not None else ""].append(index)
    if len(by_prefix) < 2 or min(len(indices) for indices in by_prefix.values()) < 2:
        return [stream]
    interleave = any(b != a + 1 for indices in by_prefix.values() for a, b in itertools.pairwise(indices))
    return [[stream[i] for i in indices] for indices in by_prefix.values()] if interleave else [stream]
