"""Pauses between frames, from the end of one exposure to the start of the next: long exposures do not split a set.

Most cameras state the moment an exposure began, some the moment it ended. A clock that would make exposures of one
camera overlap is refuted; without refutation the moment is the beginning, as EXIF has it.
"""

from collections.abc import Sequence

from smarthdr_cli.burst.grouping.header import Header


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
    began = sum(1 for p in pairs if p is not None and p[0] + p[3] < 0.95 * p[1])  # overlaps if moments are beginnings
    ended = sum(1 for p in pairs if p is not None and p[0] + p[3] < 0.95 * p[2])
    return [None if p is None else max(0.0, p[0] - (p[2] if began > ended else p[1])) for p in pairs]
