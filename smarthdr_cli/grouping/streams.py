"""Files of a shoot as rows of frames: one camera, folder and size, in the order they were taken, each frame once."""

import filecmp
import importlib.util
import itertools
from collections import defaultdict
from collections.abc import Hashable, Sequence
from pathlib import Path

from smarthdr_cli.grouping.exposure_pattern import SAME
from smarthdr_cli.grouping.header import Header
from smarthdr_cli.grouping.names import order_keys, parse_name
from smarthdr_cli.grouping.result import Twin
from smarthdr_cli.grouping.sequence import moments

_PREFERRED = ("jpeg", "tiff", "png")


def reads_raw() -> bool:
    """Whether rawpy is installed; asked without loading it."""
    return importlib.util.find_spec("rawpy") is not None


def without_twins(headers: Sequence[Header], *, raw: bool) -> tuple[list[Header], list[Twin]]:
    """Each exposure once: of one stem in two formats the RAW (the JPEG where ``raw`` is False), of copies the first."""
    stems: dict[Hashable, list[Header]] = defaultdict(list)
    for header in headers:
        stems[(header.path.parent, header.path.stem.casefold())].append(header)
    order = ("raw", *_PREFERRED) if raw else (*_PREFERRED, "raw")
    twins: dict[Path, Twin] = {}
    for group in stems.values():
        kept, *others = sorted(group, key=lambda h: order.index(h.kind))
        for other in others:
            if other.kind != kept.kind and _one_moment(kept, other):
                why = f"the same exposure as {kept.path.name}"
                if kept.kind != "raw" and other.kind == "raw":
                    why += ", which needs no rawpy"
                twins[other.path] = Twin(other.path, kept.path, why)
    left = [header for header in headers if header.path not in twins]
    for one, two in _copies(left):
        twins[two.path] = Twin(two.path, one.path, f"a copy of {one.path.name}")
    return [h for h in left if h.path not in twins], [twins[h.path] for h in headers if h.path in twins]


def _one_moment(one: Header, two: Header) -> bool:
    timed = one.start is not None and two.start is not None
    if timed and abs((one.start or 0.0) - (two.start or 0.0)) > max(one.resolution, two.resolution):
        return False
    return one.ev is None or two.ev is None or abs(one.ev - two.ev) < 2 * SAME


def _copies(headers: Sequence[Header]) -> list[tuple[Header, Header]]:
    """(original, copy) for files with equal bytes in one folder; only those alike in every header are opened."""
    alike: dict[Hashable, list[Header]] = defaultdict(list)
    for h in headers:
        alike[(h.path.parent, h.bytes, h.start, h.ev, h.size, h.kind)].append(h)
    found = []
    for group in alike.values():
        if len(group) < 2:
            continue
        probed: dict[bytes, list[Header]] = defaultdict(list)
        for h in sorted(group, key=lambda h: (len(h.path.name), h.path.name)):
            probed[_probe(h)].append(h)
        for original, *others in probed.values():
            found += [(original, other) for other in others if _equal(original.path, other.path)]
    return found


def _equal(one: Path, two: Path) -> bool:
    try:
        return filecmp.cmp(one, two, shallow=False)
    except OSError:
        return False


def _probe(header: Header) -> bytes:
    """Some bytes from the middle, which tell most files apart; the name where they cannot be read."""
    try:
        with header.path.open("rb") as file:
            file.seek(header.bytes // 2)
            return file.read(1024)
    except OSError:
        return str(header.path).encode(errors="surrogateescape")


def streams(headers: Sequence[Header], *, across_folders: bool = False) -> list[list[Header]]:
    """The rows, in the order of their first files; frames with a capture time and frames without are not mixed."""
    rows: dict[Hashable, list[Header]] = defaultdict(list)
    for h in headers:
        folder = None if across_folders else h.path.parent
        rows[(folder, h.make, h.model, h.serial, h.kind == "raw", h.size, h.start is not None)].append(h)
    found = []
    for row in rows.values():
        ordered = in_order(row)
        found += [ordered] if row[0].serial else _by_prefix(ordered)
    return found


def in_order(row: Sequence[Header]) -> list[Header]:
    """By capture time, then by name; by name alone where there is no time."""
    times = moments(row)
    keys = order_keys([h.path.stem for h in row])
    folders = [str(h.path.parent) for h in row]
    ranked = sorted(range(len(row)), key=lambda i: (times[i] or 0.0, folders[i], keys[i]))
    return [row[i] for i in ranked]


def _by_prefix(row: list[Header]) -> list[list[Header]]:
    """Two bodies of one model that state no serial number, told by their file names where their frames interleave."""
    if row[0].start is None:
        return [row]
    spans: dict[str, list[int]] = defaultdict(list)
    for index, h in enumerate(row):
        name = parse_name(h.path.stem)
        spans[name.prefix if name.number is not None else ""].append(index)
    if len(spans) < 2 or min(len(indices) for indices in spans.values()) < 2:
        return [row]
    changes = sum(1 for indices in spans.values() for a, b in itertools.pairwise(indices) if b != a + 1)
    if not changes:
        return [row]
    return [[row[i] for i in indices] for indices in spans.values()]
