"""Whether a sequence of exposures is a bracket: how many levels, in which steps, in which order, what was varied.

A bracket is L distinct EVs (levels) at equal steps, in an order that cameras or photographers use: ascending,
descending, or from the middle outwards. Scores are log-odds in nats of "one bracket" against "unrelated neighbours".
They were set by hand; the shoots of tests/grouping are grouped correctly under them.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

SAME_LEVEL_EV = 0.17  # half of a third of a stop, the finest step of a camera's bracketing
_SAME_LEVEL_MEASURED_EV = 0.45  # EVs measured from pixels are off by the camera's tone curve
ASCENDING, DESCENDING = MONOTONE_ORDERS = ("from dark to bright", "from bright to dark")
_MIDDLE_OUTWARDS, _MIDDLE_FIRST = "from the middle outwards", "the middle first"

_LEVEL_COUNT_SCORE = {2: -0.5, 3: 1.0, 4: 0.0, 5: 1.0, 6: -0.3, 7: 1.0, 8: -0.5, 9: 0.7}
_MAX_CAMERA_LEVELS = 9  # more are taken by hand
_MAX_LEVELS = 17
_TOO_MANY_LEVELS_SCORE = -2.0
_EVEN_SCORE, _EVEN_SCORE_PER_LEVEL, _UNEVEN_SCORE = 2.0, 0.4, -1.0
_MIN_RANGE_EV, _MIN_RANGE_MEASURED_EV, _NARROW_SCORE = 0.5, 0.8, -3.0
_MAX_STEP_EV, _WIDE_STEP_SCORE = 3.5, -1.0
_REPEAT_SCORE = -2.5  # of each exposure that returns later
_REPEATED_IN_PLACE_SCORE = -1.0  # of a bracket in which every exposure is taken several times before the next
_NAMED_ORDER_SCORE, _NO_ORDER_SCORE = 1.0, -1.5
_MEASURED_WEIGHT = 0.5  # of evenness and order where EVs are measured


@dataclass(frozen=True)
class ExposurePattern:
    """``score``: log-odds of one bracket; ``shape_score``: the part of it from level count and even steps.

    ``even``: three or more levels at equal steps. ``order``: its name, or "". ``level_count``: distinct EVs;
    ``repeat_count``: frames beyond one per level.
    """

    score: float
    shape_score: float
    even: bool
    order: str
    level_count: int
    repeat_count: int


def classify_exposures(evs: Sequence[float], *, from_exif: bool = True) -> ExposurePattern:
    """The pattern of two or more EVs in capture order. ``from_exif``: False where EVs are measured from pixels.

    >>> classify_exposures([0, -2, 2]).order
    'from the middle outwards'
    """
    first = evs[0]
    return _classify(tuple(round(ev - first, 2) for ev in evs), from_exif)


@functools.lru_cache(maxsize=1 << 16)
def _classify(evs: tuple[float, ...], from_exif: bool) -> ExposurePattern:
    ranks = level_ranks(evs, SAME_LEVEL_EV if from_exif else _SAME_LEVEL_MEASURED_EV)
    level_count = max(ranks) + 1
    repeat_count = len(evs) - level_count
    if level_count < 2:
        return ExposurePattern(-math.inf, 0.0, False, "", level_count, repeat_count)
    levels = [
        sum(ev for ev, rank in zip(evs, ranks, strict=True) if rank == level) / ranks.count(level)
        for level in range(level_count)
    ]
    steps = [high - low for low, high in itertools.pairwise(levels)]
    mean_step = sum(steps) / len(steps)
    tolerance = 0.2 + 0.05 * mean_step if from_exif else 0.35 * mean_step
    even = all(abs(step - mean_step) <= tolerance for step in steps)
    weight = 1.0 if from_exif else _MEASURED_WEIGHT

    score = 0.0 if level_count > _MAX_CAMERA_LEVELS else _LEVEL_COUNT_SCORE[level_count]
    if level_count >= 3:
        score += (_EVEN_SCORE + _EVEN_SCORE_PER_LEVEL * (level_count - 2) if even else _UNEVEN_SCORE) * weight
    shape_score = score
    if level_count > _MAX_LEVELS:
        score += _TOO_MANY_LEVELS_SCORE
    if levels[-1] - levels[0] < (_MIN_RANGE_EV if from_exif else _MIN_RANGE_MEASURED_EV):
        score += _NARROW_SCORE
    if max(steps) > _MAX_STEP_EV:
        score += _WIDE_STEP_SCORE
    sequence = _levels_in_turn(ranks)
    if sequence is None:
        order = ""
        score += _REPEAT_SCORE * repeat_count
    else:
        order = order_name(sequence)
        score += _REPEATED_IN_PLACE_SCORE if repeat_count else 0.0
    if level_count >= 3:
        score += _NAMED_ORDER_SCORE if order else _NO_ORDER_SCORE * weight
    return ExposurePattern(score, shape_score, even and level_count >= 3, order, level_count, repeat_count)


def level_ranks(evs: Sequence[float], same_level_ev: float = SAME_LEVEL_EV) -> list[int]:
    """For each EV the rank of its level, 0 the darkest; EVs closer than ``same_level_ev`` to the next share a level."""
    ascending = sorted(range(len(evs)), key=lambda index: evs[index])
    ranks = [0] * len(evs)
    rank = 0
    for darker, brighter in itertools.pairwise(ascending):
        rank += evs[brighter] - evs[darker] > same_level_ev
        ranks[brighter] = rank
    return ranks


def _levels_in_turn(ranks: Sequence[int]) -> list[int] | None:
    """The levels in order of capture where each is taken equally often and without a break, else None."""
    groups = [(rank, len(list(frames))) for rank, frames in itertools.groupby(ranks)]
    levels = [rank for rank, _ in groups]
    if len(set(levels)) < len(levels) or len({count for _, count in groups}) > 1:
        return None
    return levels


def order_name(levels: Sequence[int]) -> str:
    """The name of the order of distinct levels: ascending, descending, or from the middle outwards; "" for others."""
    count = len(levels)
    ascending = list(range(count))
    if list(levels) == ascending:
        return ASCENDING
    if list(levels) == ascending[::-1]:
        return DESCENDING
    if count % 2 == 0 or levels[0] != count // 2:
        return ""
    rest = [level - count // 2 for level in levels[1:]]
    outwards = [sign * step for step in range(1, count // 2 + 1) for sign in (-1, 1)]
    if rest == outwards or rest == [-level for level in outwards]:
        return _MIDDLE_OUTWARDS
    darker, brighter = [level for level in rest if level < 0], [level for level in rest if level > 0]
    if rest in (darker + brighter, brighter + darker) and _is_monotone(darker) and _is_monotone(brighter):
        return _MIDDLE_FIRST
    return ""


def _is_monotone(values: Sequence[int]) -> bool:
    return list(values) in (sorted(values), sorted(values, reverse=True))


def varied_settings(
    times: Sequence[float | None], apertures: Sequence[float | None], isos: Sequence[float | None]
) -> tuple[str, ...]:
    """Which of "time", "aperture" and "ISO" differ between frames by more than SAME_LEVEL_EV."""
    varied = []
    for name, values, stops_per_octave in (("time", times, 1.0), ("aperture", apertures, 2.0), ("ISO", isos, 1.0)):
        stated = [value for value in values if value]
        if stated and stops_per_octave * math.log2(max(stated) / min(stated)) > SAME_LEVEL_EV:
            varied.append(name)
    return tuple(varied)
