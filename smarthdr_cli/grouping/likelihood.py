"""What speaks for two neighbouring frames being of one bracket, and what for a whole row being one.

Scores are log-odds in nats; CUT says that it cannot be. Nothing here opens a file.
"""

import itertools
import math
from collections.abc import Sequence

from smarthdr_cli.grouping import exposure_pattern
from smarthdr_cli.grouping.header import Header

CUT = -math.inf
SET, SINGLE_STATED, SINGLE_NUMBERED = -2.0, -2.0, -3.0
_BROKEN = 2.0
FAR = 600.0  # seconds: nobody waits so long within a bracket
# Pause in seconds against log-odds: cameras bracket within a second, hands within ten, views are minutes apart.
_PAUSES = ((0.0, 2.0), (0.5, 1.8), (1, 1.2), (2, 0.4), (4, -0.4), (8, -1.2), (16, -2), (32, -3), (64, -4), (128, -5.5))


def pause_score(pause: float) -> float:
    """The pause's log-odds: piecewise linear in seconds, CUT from FAR on."""
    if pause >= FAR:
        return CUT
    for (low, above), (high, below) in itertools.pairwise(_PAUSES):
        if pause <= high:
            return above + (below - above) * (pause - low) / (high - low)
    return _PAUSES[-1][1] - 2.5 * math.log2(pause / _PAUSES[-1][0])


def join(
    one: Header, two: Header, *, pause: float | None, step: int | None, usual: int, gap: float | None = None
) -> float:
    """Log-odds that ``two`` follows ``one`` in a bracket.

    ``pause``: seconds between them. ``step``: how far the file counter moved, ``usual`` how far it moves as a rule.
    ``gap``: the user's word on the longest pause.
    """
    score = 0.0
    if pause is not None:
        blunt = max(0.0, pause - (1.0 if max(one.resolution, two.resolution) >= 1.0 else 0.0))
        if gap is not None and pause > gap:
            return CUT
        score += pause_score(blunt) if gap is None else max(1.0, pause_score(blunt))
    if one.lens and two.lens and one.lens != two.lens:
        return CUT
    if one.focal and two.focal and abs(one.focal - two.focal) > 0.02 * one.focal:
        score -= 6.0
    if one.orientation != two.orientation:
        score -= 6.0
    if one.flash is not None and two.flash is not None and one.flash != two.flash:
        score -= 6.0
    if step is not None and abs(step) > abs(usual):
        score -= 1.5 if abs(step) < 10 else 3.0
    said = maker_join(one, two)
    if said == CUT:
        return CUT
    return score + said


def maker_join(one: Header, two: Header) -> float:
    """Log-odds by the makers' tags and EXIF's automatic bracket."""
    a, b = one.maker, two.maker
    score = 0.0
    if a.shot is not None and b.shot is not None:
        if b.shot <= a.shot or a.length != b.length:
            return CUT
        if b.shot > a.shot + 1:  # one between was deleted
            score += 1.0 if a.length else -1.0
        else:
            score += 4.0 if a.length else 1.5
    elif (a.shot is None) != (b.shot is None) and (a.length or b.length):
        return CUT
    ons = (brackets(one), brackets(two))
    if ons == (True, True):
        score += 1.5
    elif True in ons:
        score -= 4.0
    return score


def brackets(header: Header) -> bool:
    """Whether the camera says that this frame is of an exposure bracket."""
    return header.stated or header.maker.bracket is True


def called(row: Sequence[Header]) -> bool:
    """Whether the camera itself calls these a bracket."""
    return all(brackets(h) for h in row) or complete(row) > 0


def alone(header: Header) -> float:
    """Log-odds of a frame standing alone."""
    if header.maker.shot is not None and header.maker.length and header.maker.length > 1:
        return SINGLE_NUMBERED
    return SINGLE_STATED if brackets(header) else 0.0


def offsets(row: Sequence[Header]) -> list[float] | None:
    """The EV by which each frame was meant to differ: the maker's value where it varies, else the bias, else None."""
    for values in ([h.maker.value for h in row], [h.bias for h in row]):
        known = [value for value in values if value is not None]
        if len(known) == len(row) and max(known) - min(known) > exposure_pattern.SAME:
            return known
    return None


def exposures(row: Sequence[Header], evs: Sequence[float | None], *, exact: bool = True) -> float | None:
    """Log-odds of a row of two or more being one bracket by its exposures; None when longer ones cannot be either."""
    known = [ev for ev in evs if ev is not None]
    if len(known) < len(row):
        return -3.0 * len(row)
    seen = exposure_pattern.judge(known, exact=exact)
    score = SET + seen.score
    if seen.repeats > (8 if seen.order else 4) + seen.levels:
        return None
    if not exact:
        return score
    kinds = exposure_pattern.varied([h.time for h in row], [h.aperture for h in row], [h.iso for h in row])
    score += 0.5 if kinds == ("time",) else -1.5 if len(kinds) > 1 and "aperture" in kinds else -0.5
    meant = offsets(row)
    manual = all(h.manual is True for h in row)
    silent = all(h.manual is None and h.start is None for h in row)
    if meant is not None:
        again = exposure_pattern.judge(meant)
        middle = [ev - bias for ev, bias in zip(known, meant, strict=True)]
        agree = max(middle) - min(middle) <= 0.7
        score += 2.5 if agree and not again.repeats else -0.5
        if again.repeats > seen.repeats and exposure_pattern.judge(meant).score < seen.score:
            score += again.score - seen.score
    elif not manual and all(h.bias is not None for h in row) and not all(brackets(h) for h in row):
        score -= 5.0  # the meter's doing, not a bracket's
    if not manual and not silent and all(h.maker.bracket is False for h in row):
        score -= 2.0
    drilled = seen.order in exposure_pattern.LADDERS or (seen.order and seen.regular and seen.levels >= 5)
    if (manual or silent) and drilled and seen.levels >= 3 and kinds == ("time",):
        score += 2.0 + 1.8 * (seen.levels - 1) - seen.shape  # hands turn the wheel one way, as far as it goes, unevenly
    return score


def cuts_a_ladder(evs: Sequence[float | None], pauses: Sequence[float | None], start: int, stop: int) -> float:
    """Log-odds against a set that goes up or down and whose neighbours in the row go on the same way, unhindered."""
    inside = [ev for ev in evs[start:stop] if ev is not None]
    if len(inside) < stop - start or exposure_pattern.judge(inside).order not in exposure_pattern.LADDERS:
        return 0.0
    way = inside[-1] - inside[0]
    longest = max((pause for pause in pauses[start : stop - 1] if pause is not None), default=0.0)
    score = 0.0
    for outer, inner, edge in ((start - 1, start, start - 1), (stop, stop - 1, stop - 1)):
        if not 0 <= outer < len(evs):
            continue
        there, here, pause = evs[outer], evs[inner], pauses[edge]
        waited = pause is not None and pause > 3 * longest + 2
        if there is not None and here is not None and not waited:
            step = here - there if outer < inner else there - here
            score -= _BROKEN if step * way > 0 and abs(step) > exposure_pattern.SAME else 0.0
    return score


def complete(row: Sequence[Header]) -> float:
    """Log-odds of the row being a whole numbered sequence, or a broken one."""
    length = row[0].maker.length
    if not length or any(h.maker.shot is None for h in row):
        return 0.0
    return 4.0 if row[0].maker.shot == 1 and row[-1].maker.shot == length else -2.0
