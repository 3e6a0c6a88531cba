"""One row of frames into sets and singles: headers first, tiny pictures only where those leave a doubt."""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from smarthdr_cli.grouping import likelihood, thumbnails
from smarthdr_cli.grouping.header import Header
from smarthdr_cli.grouping.names import steps as steps_of
from smarthdr_cli.grouping.segment import Span, divide
from smarthdr_cli.grouping.sequence import pauses as pauses_of
from smarthdr_cli.grouping.verdict import Found, Run, judge_span, unsettled

LONGEST = 34  # frames: seventeen exposures, each twice
DOUBT = 0.9  # probability below which the pictures are looked at
_APART = 5.0  # EV: further apart, what both expose well is too little to tell a view by
_WHOLE, _USUAL = 2.0, 1.5  # log-odds: all of a folder; as many as the other sets
_TOLD = 3.0, 1.0  # log-odds of as many as told: for the set, and for each frame
# Likeness against log-odds, measured on pairs of one view (0.8 to 1, a crowd 0.6) and of two (up to 0.66).
_ALIKE = ((0.4, -9.0), (0.6, -2.0), (0.7, 0.0), (0.95, 3.0))

Tinies = Callable[[Sequence[Header]], Iterable[thumbnails.Tiny | None]]


def group_row(
    headers: Sequence[Header], *, bracket: int | None, gap: float | None, whole_folder: bool, tinies: Tinies
) -> list[Found]:
    """Every frame of the row, in order, in exactly one Found. ``tinies`` decodes what has to be looked at."""
    pauses = pauses_of(headers)
    steps = steps_of([h.path.stem for h in headers])
    usual = _usual_step(steps)
    joins = [
        likelihood.join(one, two, pause=pause, step=step, usual=usual, gap=gap)
        for one, two, pause, step in zip(headers[:-1], headers[1:], pauses, steps, strict=True)
    ]
    row = Run(headers, [h.ev for h in headers], pauses, joins, whole_folder, bracket)
    runs = _runs(row)
    divided = [_divide(run) for run in runs]
    for index, run in enumerate(runs):
        if _in_doubt(run, divided[index]):
            runs[index] = _looked_at(run, tinies)
            divided[index] = _divide(runs[index])
    usual_length = _usual_length(divided)
    if usual_length is not None and bracket is None:
        for index, run in enumerate(runs):
            if any(span.probability < DOUBT for span in divided[index]):
                runs[index] = replace(run, usual=usual_length)
                divided[index] = _divide(runs[index])
    return [judge_span(run, span) for run, spans in zip(runs, divided, strict=True) for span in spans]


def _usual_step(steps: Sequence[int | None]) -> int:
    counted = Counter(abs(step) for step in steps if step)
    return counted.most_common(1)[0][0] if counted else 1


def _runs(row: Run) -> list[Run]:
    cuts = [index + 1 for index, join in enumerate(row.joins) if join == likelihood.CUT]
    edges = [0, *cuts, len(row.headers)]
    return [row.part(low, high) for low, high in itertools.pairwise(edges)]


def _divide(run: Run) -> list[Span]:
    total = [0.0]
    for join in run.joins:
        total.append(total[-1] + join)

    def score(start: int, stop: int) -> float | None:
        count = stop - start
        if count == 1:
            return likelihood.alone(run.headers[start])
        if run.bracket is not None and count != run.bracket:
            return None if count > run.bracket else -math.inf
        row = run.headers[start:stop]
        exposed = likelihood.exposures(row, run.evs[start:stop], exact=run.exact)
        if exposed is None:
            return None
        value = total[stop - 1] - total[start] + exposed + likelihood.complete(row)
        if run.bracket is None and not likelihood.called(row):
            value += likelihood.cuts_a_ladder(run.evs, run.pauses, start, stop)
        if run.whole and count == len(run.headers):
            value += _WHOLE
        if run.bracket is not None:
            value += _TOLD[0] + _TOLD[1] * count
        elif count == run.usual:
            value += _USUAL
        return value

    return divide(len(run.headers), score, LONGEST)


def _in_doubt(run: Run, spans: Sequence[Span]) -> bool:
    """Whether headers leave a doubt that pictures may settle."""
    if len(run.headers) < 2:
        return False
    if any(ev is None for ev in run.evs):
        return True
    if run.bracket is not None and len(run.headers) >= run.bracket and any(s.stop - s.start == 1 for s in spans):
        return True  # somebody knows of sets here, and these are none
    for span in spans:
        if span.probability < DOUBT:
            return True
        if span.stop - span.start < 2:
            continue
        if unsettled(run.part(span.start, span.stop)):
            return True
    return False


def _looked_at(run: Run, tinies: Tinies) -> Run:
    """The run with its neighbours' likeness weighed in, and measured EVs where EXIF has none."""
    likes: list[float | None] = []
    chain: list[float | None] = []
    joins = list(run.joins)
    last, one = 0.0, None
    for index, two in enumerate(tinies(run.headers), -1):
        if one is None or two is None:
            if index >= 0:
                likes.append(None)
            chain.append(None if two is None else last)
            one = two
            continue
        likeness = thumbnails.compare(one, two)
        before, after = run.evs[index], run.evs[index + 1]
        apart = before is not None and after is not None and abs(after - before) > _APART
        likes.append(None if apart else likeness.same)
        last += likeness.ev
        chain.append(last)
        same = likes[-1]
        if same is not None:
            joins[index] += _likeness_score(same)
        one = two
    stated = all(ev is not None for ev in run.evs)
    return replace(run, likes=likes, joins=joins, evs=run.evs if stated else chain, exact=stated)


def _likeness_score(same: float) -> float:
    likenesses, scores = zip(*_ALIKE, strict=True)
    return float(np.interp(same, likenesses, scores))


def _usual_length(divided: Sequence[Sequence[Span]]) -> int | None:
    """The length of most of the sets that are sure, where there are at least three."""
    sure = Counter(
        s.stop - s.start for spans in divided for s in spans if s.stop - s.start > 1 and s.probability >= DOUBT
    )
    if not sure:
        return None
    length, count = sure.most_common(1)[0]
    return length if count >= 3 and count >= 0.6 * sure.total() else None
