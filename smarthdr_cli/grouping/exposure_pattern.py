"""Whether a row of exposures is a bracket: how many, in what steps, in which order, and what was varied.

Scores are log-odds in nats of "one bracket" against "frames that happen to stand side by side".
"""

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

SAME = 0.17  # EV: half a third of a stop, the finest step cameras bracket in
SAME_MEASURED = 0.45  # EV measured from pixels stray by the camera's tone curve
UP, DOWN = LADDERS = ("from dark to bright", "from bright to dark")
_COUNTS = {2: -0.5, 3: 1.0, 4: 0.0, 5: 1.0, 6: -0.3, 7: 1.0, 8: -0.5, 9: 0.7}
_REPEATED = -2.5


@dataclass(frozen=True)
class Pattern:
    """``score``, and ``shape``, the part of it that number and evenness make. ``regular``: the steps are equal.

    ``order``: its name, or "". ``levels``: how many EVs are distinct; ``repeats``: how many are not.
    """

    score: float
    shape: float
    regular: bool
    order: str
    levels: int
    repeats: int


def judge(evs: Sequence[float], *, exact: bool = True) -> Pattern:
    """The pattern of two or more EVs in capture order; ``exact``: stated by EXIF, not measured."""
    first = evs[0]
    return _judge(tuple(round(ev - first, 2) for ev in evs), exact)


@functools.lru_cache(maxsize=1 << 16)
def _judge(evs: tuple[float, ...], exact: bool) -> Pattern:
    same = SAME if exact else SAME_MEASURED
    index = level_of(evs, same)
    count, levels = len(evs), max(index) + 1
    repeats = count - levels
    if levels < 2:
        return Pattern(-math.inf, 0.0, False, "", levels, repeats)
    heights = [
        sum(e for e, i in zip(evs, index, strict=True) if i == level) / index.count(level) for level in range(levels)
    ]
    steps = [high - low for low, high in itertools.pairwise(heights)]
    mean = sum(steps) / len(steps)
    loose = 0.2 + 0.05 * mean if exact else 0.35 * mean
    regular = all(abs(step - mean) <= loose for step in steps)
    trust = 1.0 if exact else 0.5
    score = 0.0 if levels > 9 else _COUNTS[levels]
    if levels >= 3:
        score += (2.0 + 0.4 * (levels - 2) if regular else -1.0) * trust
    shape = score
    score -= 2.0 if levels > 17 else 0.0
    if heights[-1] - heights[0] < (0.5 if exact else 0.8):
        score -= 3.0
    if max(steps) > 3.5:
        score -= 1.0
    once = _once(index)
    if once is not None:  # every exposure taken twice or more before the next
        order = order_of(once)
        score -= 1.0 if repeats else 0.0
    else:
        order = ""
        score += _REPEATED * repeats
    if levels >= 3:
        score += 1.0 if order else -1.5 * trust
    return Pattern(score, shape, regular and levels >= 3, order, levels, repeats)


def level_of(evs: Sequence[float], same: float = SAME) -> list[int]:
    """For each EV the rank of its level, 0 the darkest; EVs closer than ``same`` to their neighbour share a level."""
    ranked = sorted(range(len(evs)), key=lambda i: evs[i])
    found = [0] * len(evs)
    level = 0
    for before, here in itertools.pairwise(ranked):
        level += evs[here] - evs[before] > same
        found[here] = level
    return found


def _once(index: Sequence[int]) -> list[int] | None:
    """The levels in order when each comes equally often in one stretch, else None."""
    stretches: list[list[int]] = []
    for level in index:
        if stretches and stretches[-1][0] == level:
            stretches[-1].append(level)
        else:
            stretches.append([level])
    levels = [stretch[0] for stretch in stretches]
    if len(set(levels)) < len(levels) or len({len(stretch) for stretch in stretches}) > 1:
        return None
    return levels


def order_of(levels: Sequence[int]) -> str:
    """The name of the order of distinct levels: up, down, or from the middle outwards; "" for any other."""
    count = len(levels)
    ordered = list(range(count))
    if list(levels) == ordered:
        return UP
    if list(levels) == ordered[::-1]:
        return DOWN
    if count % 2 == 0 or levels[0] != count // 2:
        return ""
    rest = [level - count // 2 for level in levels[1:]]
    outwards = [sign * step for step in range(1, count // 2 + 1) for sign in (-1, 1)]
    if rest == outwards or rest == [-r for r in outwards]:
        return "from the middle outwards"
    below, above = [r for r in rest if r < 0], [r for r in rest if r > 0]
    halves = rest in (below + above, above + below)
    if halves and all(_monotone(half) for half in (below, above)):
        return "the middle first"
    return ""


def _monotone(values: Sequence[int]) -> bool:
    return list(values) in (sorted(values), sorted(values, reverse=True))


def varied(
    times: Sequence[float | None], apertures: Sequence[float | None], isos: Sequence[float | None]
) -> tuple[str, ...]:
    """Which of time, aperture and ISO differ within a row by more than a sixth of a stop."""
    found = []
    for name, values, stops in (("time", times, 1.0), ("aperture", apertures, 2.0), ("ISO", isos, 1.0)):
        known = [value for value in values if value]
        if known and stops * math.log2(max(known) / min(known)) > SAME:
            found.append(name)
    return tuple(found)
