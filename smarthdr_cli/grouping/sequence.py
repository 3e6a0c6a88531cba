"""Order, time gaps and file counters of the frames of one camera.

Gap in seconds between frame i and the next: g = start(i+1) - end(i), so that long exposures do not split a bracket. The
capture time t of EXIF (DateTimeOriginal) is the start of the exposure e for most cameras and its end for some:

    t is the start:  g = t(i+1) - t(i) - e(i)
    t is the end:    g = t(i+1) - t(i) - e(i+1)

The reading under which exposures of one camera overlap is ruled out. Where neither is, t is the start, unless gaps are
short only when t is the end.

The counter of a file is the last number in its name. DCF (CIPA DC-009) numbers run from 0001 to 9999, then start again.
"""

import itertools
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from smarthdr_cli.grouping.header import Header

MAX_GAP_S = 600.0  # nobody waits longer within a bracket
_OVERLAP = 0.95  # a gap below this share of the exposure is an overlap; the rest allows for rounded exposure times
_MIN_EXPOSURE_CHANGE_S = 1.0  # below, the two readings of a capture time differ too little to tell them apart
_MAX_END_GAP_RATIO = 0.2  # capture times are ends where that makes the gaps this much shorter in total
_MAX_COUNTER_DIGITS = 6  # more digits are a date or a time
_COUNTERS = 10_000
_LAST_BEFORE_ROLLOVER, _FIRST_AFTER_ROLLOVER = 9_900, 100  # counters this close to 9999 and 0001 may roll over
_DIGITS = re.compile(r"(\d+)")
_LAST_NUMBER = re.compile(r"(.*?)(\d{1,9})([^\d]*)", re.DOTALL)


def timestamps(headers: Sequence[Header]) -> list[float | None]:
    """Capture times in seconds on one clock: UTC where every frame states its offset, else the camera's own."""
    if any(h.utc_offset is None for h in headers):
        return [h.timestamp for h in headers]
    return [None if h.timestamp is None else h.timestamp - (h.utc_offset or 0.0) for h in headers]


def time_gaps(headers: Sequence[Header]) -> list[float | None]:
    """Seconds from the end of each frame to the start of the next, at least 0; None without capture times."""
    times = timestamps(headers)
    intervals = [
        None
        if before is None or after is None
        else _Interval(after - before, h.time or 0.0, next_h.time or 0.0, max(h.clock_step, next_h.clock_step))
        for (before, after), (h, next_h) in zip(itertools.pairwise(times), itertools.pairwise(headers), strict=True)
    ]
    are_ends = _timestamps_are_ends([interval for interval in intervals if interval is not None])
    return [None if i is None else max(0.0, i.gap_of_ends if are_ends else i.gap_of_starts) for i in intervals]


@dataclass(frozen=True)
class _Interval:
    """Seconds: between two capture times, both exposures, and the step of the clock."""

    seconds: float
    first_exposure: float
    second_exposure: float
    clock_step: float

    @property
    def gap_of_starts(self) -> float:
        return self.seconds - self.first_exposure

    @property
    def gap_of_ends(self) -> float:
        return self.seconds - self.second_exposure


def _timestamps_are_ends(intervals: Sequence[_Interval]) -> bool:
    overlaps_of_starts = sum(i.seconds + i.clock_step < _OVERLAP * i.first_exposure for i in intervals)
    overlaps_of_ends = sum(i.seconds + i.clock_step < _OVERLAP * i.second_exposure for i in intervals)
    if overlaps_of_starts or overlaps_of_ends:
        return overlaps_of_starts > overlaps_of_ends
    informative = [
        i
        for i in intervals
        if abs(i.first_exposure - i.second_exposure) > _MIN_EXPOSURE_CHANGE_S and i.seconds < MAX_GAP_S
    ]
    gaps_of_starts, gaps_of_ends = sum(i.gap_of_starts for i in informative), sum(i.gap_of_ends for i in informative)
    return len(informative) > 1 and gaps_of_ends < _MAX_END_GAP_RATIO * gaps_of_starts


@dataclass(frozen=True)
class FileName:
    """A stem without its counter, and the counter: ("dsc_…", 11) of DSC_0011; None where there is none."""

    prefix: str
    number: int | None


def parse_file_name(stem: str) -> FileName:
    """Split a stem at its last number; a number of more than six digits is a date or time and no counter."""
    match = _LAST_NUMBER.fullmatch(stem)
    if match is None or len(match[2]) > _MAX_COUNTER_DIGITS:
        return FileName(stem.casefold(), None)
    head, digits, tail = match.groups()
    return FileName(f"{head}…{tail}".casefold(), int(digits))


def rolls_over(numbers: Sequence[int]) -> bool:
    """Whether counters pass from 9999 to 0001: some just below, some just above, and a wide gap in between."""
    counters = sorted({number % _COUNTERS for number in numbers})
    if len(counters) < 2 or counters[-1] < _LAST_BEFORE_ROLLOVER or counters[0] > _FIRST_AFTER_ROLLOVER:
        return False
    return max(high - low for low, high in itertools.pairwise(counters)) > _COUNTERS // 2


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which 2 comes before 10: digits by value, other characters with case ignored."""
    parts = _DIGITS.split(text.casefold())
    return tuple((0, int(p), "") if i % 2 and p.isascii() else (1, 0, p) for i, p in enumerate(parts) if p)


def sort_keys(stems: Sequence[str]) -> list[tuple[object, ...]]:
    """A sort key for each stem of one camera: natural order, with numbers after a roll-over behind those before it."""
    names = [parse_file_name(stem) for stem in stems]
    numbers: dict[str, list[int]] = defaultdict(list)
    for name in names:
        if name.number is not None:
            numbers[name.prefix].append(name.number)
    rolling = {prefix for prefix, counters in numbers.items() if rolls_over(counters)}
    return [
        (
            name.prefix in rolling and name.number is not None and name.number % _COUNTERS < _COUNTERS // 2,
            natural_key(stem),
        )
        for stem, name in zip(stems, names, strict=True)
    ]


def counter_steps(stems: Sequence[str]) -> list[int | None]:
    """How far the counter moves from each stem to the next, across a roll-over; None for names of different form."""
    return [_step(first, second) for first, second in itertools.pairwise(map(parse_file_name, stems))]


def _step(first: FileName, second: FileName) -> int | None:
    if first.prefix != second.prefix or first.number is None or second.number is None:
        return None
    step = second.number - first.number
    if step < 0 and step % _COUNTERS < _FIRST_AFTER_ROLLOVER and first.number % _COUNTERS >= _LAST_BEFORE_ROLLOVER:
        return step % _COUNTERS - 1 or 1  # 0000 is not used
    return step
