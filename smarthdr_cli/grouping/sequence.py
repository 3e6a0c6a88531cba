"""Pauses between frames, from the end of one exposure to the start of the next: long exposures do not split a set.

Most cameras state the moment an exposure began, some the moment it ended. A clock that would make exposures of one
camera overlap is refuted. Without refutation the moment is the beginning, as EXIF has it, unless only ends explain why
every pause grew with the exposure after it.
"""

from collections.abc import Sequence

from smarthdr_cli.grouping.header import Header

_FAR, _TIGHT = 600.0, 0.2


def moments(headers: Sequence[Header]) -> list[float | None]:
    """Seconds on one clock: UTC where every frame states its offset, else the camera's own."""
    zoned = all(h.offset is not None for h in headers)
    return [None if h.start is None else h.start - (h.offset or 0.0 if zoned else 0.0) for h in headers]


def pauses(headers: Sequence[Header]) -> list[float | None]:
    """Seconds from the end of each frame to the start of the next, frames in order; at least 0, None where unknown."""
    start = moments(headers)
    pairs: list[tuple[float, float, float, float] | None] = []
    for index in range(len(headers) - 1):
        one, two = start[index], start[index + 1]
        if one is None or two is None:
            pairs.append(None)
        else:
            slack = max(headers[index].resolution, headers[index + 1].resolution)
            pairs.append((two - one, headers[index].time or 0.0, headers[index + 1].time or 0.0, slack))
    known = [pair for pair in pairs if pair is not None]
    ends = _states_ends(known)
    return [None if p is None else max(0.0, p[0] - (p[2] if ends else p[1])) for p in pairs]


def _states_ends(pairs: Sequence[tuple[float, float, float, float]]) -> bool:
    """Whether the moments are ends, by (seconds between two moments, first exposure, second exposure, clock's step)."""
    began = sum(1 for between, one, _, step in pairs if between + step < 0.95 * one)  # overlaps, were they beginnings
    ended = sum(1 for between, _, two, step in pairs if between + step < 0.95 * two)
    if began or ended:
        return began > ended
    telling = [
        (between - one, between - two) for between, one, two, _ in pairs if abs(one - two) > 1 and between < _FAR
    ]
    return len(telling) > 1 and sum(e for _, e in telling) < _TIGHT * sum(b for b, _ in telling)
