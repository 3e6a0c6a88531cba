"""One row of frames into sets and singles: headers first, tiny pictures only where those leave a doubt."""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from smarthdr_cli.burst.grouping import evidence, look, words
from smarthdr_cli.burst.grouping.clock import pauses as pauses_of
from smarthdr_cli.burst.grouping.header import Header
from smarthdr_cli.burst.grouping.names import steps as steps_of
from smarthdr_cli.burst.grouping.segment import Span, divide

LONGEST = 34  # frames: seventeen exposures, each twice
SURE, DOUBT = 0.6, 0.9  # below SURE a set is ambiguous; below DOUBT the pictures are looked at
_SLOW = 2.0  # seconds between frames, from which on exposures alone do not settle it
_APART = 5.0  # EV: further apart, what both expose well is too little to tell a view by
_WHOLE, _USUAL, _ORDERED = 2.0, 1.5, 4.0  # log-odds: all of a folder; as many as the other sets; as many as told
_ALIKE = ((0.5, -3.5), (0.75, 0.0), (0.95, 3.0))  # likeness against log-odds, measured on pairs of one view and of two
# What a set can be trusted at most: numbered by its camera, called a bracket by it, EXIF alone, no times, brightness
# measured from pixels, and a slow one that nobody calls a bracket and whose pictures cannot be compared.
_NUMBERED, _CALLED, _EXIF, _UNTIMED, _MEASURED, _BLIND = 0.99, 0.97, 0.95, 0.85, 0.7, 0.55

Tinies = Callable[[Sequence[Header]], list[look.Tiny | None]]


@dataclass(frozen=True)
class Found:
    """A span of the row, with what was found out about it."""

    frames: tuple[Header, ...]
    confidence: float
    reasons: tuple[str, ...]
    ambiguous: bool
    evs: tuple[float, ...] | None


@dataclass(frozen=True)
class _Row:
    headers: Sequence[Header]
    evs: Sequence[float | None]
    pauses: Sequence[float | None]
    joins: Sequence[float]
    whole: bool
    bracket: int | None
    usual: int | None = None
    likes: Sequence[float | None] | None = None
    exact: bool = True

    def part(self, start: int, stop: int) -> "_Row":
        return replace(
            self,
            headers=self.headers[start:stop],
            evs=self.evs[start:stop],
            pauses=self.pauses[start : stop - 1],
            joins=self.joins[start : stop - 1],
            whole=self.whole and stop - start == len(self.headers),
        )


def group_row(
    headers: Sequence[Header], *, bracket: int | None, gap: float | None, whole_folder: bool, tinies: Tinies
) -> list[Found]:
    """Every frame of the row, in order, in exactly one Found. ``tinies`` decodes what has to be looked at."""
    pauses = pauses_of(headers)
    steps = steps_of([h.path.stem for h in headers])
    usual = _usual_step(steps)
    joins = [
        evidence.join(one, two, pause=pause, step=step, usual=usual, gap=gap)
        for one, two, pause, step in zip(headers[:-1], headers[1:], pauses, steps, strict=True)
    ]
    row = _Row(headers, [h.ev for h in headers], pauses, joins, whole_folder, bracket)
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
    return [_found(run, span) for run, spans in zip(runs, divided, strict=True) for span in spans]


def _usual_step(steps: Sequence[int | None]) -> int:
    counted = Counter(abs(step) for step in steps if step)
    return counted.most_common(1)[0][0] if counted else 1


def _runs(row: _Row) -> list[_Row]:
    cuts = [index + 1 for index, join in enumerate(row.joins) if join == evidence.CUT]
    edges = [0, *cuts, len(row.headers)]
    return [row.part(low, high) for low, high in itertools.pairwise(edges)]


def _divide(run: _Row) -> list[Span]:
    total = [0.0]
    for join in run.joins:
        total.append(total[-1] + join)

    def score(start: int, stop: int) -> float | None:
        count = stop - start
        if count == 1:
            return evidence.alone(run.headers[start])
        if run.bracket is not None and count != run.bracket:
            return None if count > run.bracket else -math.inf
        row = run.headers[start:stop]
        exposed = evidence.exposures(row, run.evs[start:stop], exact=run.exact)
        if exposed is None:
            return None
        value = total[stop - 1] - total[start] + exposed + evidence.complete(row)
        if run.bracket is None and not _called(row):
            value += evidence.cuts_a_ladder(run.evs, run.pauses, start, stop)
        if run.whole and count == len(run.headers):
            value += _WHOLE
        if run.bracket is not None:
            value += _ORDERED
        elif count == run.usual:
            value += _USUAL
        return value

    return divide(len(run.headers), score, LONGEST)


def _in_doubt(run: _Row, spans: Sequence[Span]) -> bool:
    """Whether headers leave a doubt that pictures may settle."""
    if len(run.headers) < 2:
        return False
    if any(ev is None for ev in run.evs):
        return True
    for span in spans:
        if span.probability < DOUBT:
            return True
        if span.stop - span.start < 2:
            continue
        if _slow(run.pauses[span.start : span.stop - 1]) and not _called(run.headers[span.start : span.stop]):
            return True
    return False


def _slow(pauses: Sequence[float | None]) -> bool:
    return any(pause is None or pause > _SLOW for pause in pauses)


def _called(row: Sequence[Header]) -> bool:
    """Whether the camera itself calls these a bracket."""
    return all(evidence.brackets(h) for h in row) or evidence.complete(row) > 0


def _looked_at(run: _Row, tinies: Tinies) -> _Row:
    """The run with its neighbours' likeness weighed in, and measured EVs where EXIF has none."""
    seen = tinies(run.headers)
    likes: list[float | None] = []
    chain: list[float | None] = [0.0 if seen[0] is not None else None]
    joins = list(run.joins)
    last = 0.0
    for index, (one, two) in enumerate(itertools.pairwise(seen)):
        if one is None or two is None:
            likes.append(None)
            chain.append(None if two is None else last)
            continue
        likeness = look.compare(one, two)
        before, after = run.evs[index], run.evs[index + 1]
        apart = before is not None and after is not None and abs(after - before) > _APART
        likes.append(None if apart else likeness.same)
        last += likeness.ev
        chain.append(last)
        same = likes[-1]
        if same is not None:
            joins[index] += _likeness_score(same)
    stated = all(ev is not None for ev in run.evs)
    return replace(run, likes=likes, joins=joins, evs=run.evs if stated else chain, exact=stated)


def _likeness_score(same: float) -> float:
    low, middle, high = _ALIKE
    if same <= middle[0]:
        return max(low[1], low[1] + (middle[1] - low[1]) * (same - low[0]) / (middle[0] - low[0]))
    return min(high[1], (high[1] - middle[1]) * (same - middle[0]) / (high[0] - middle[0]))


def _usual_length(divided: Sequence[Sequence[Span]]) -> int | None:
    """The length of most of the sets that are sure, where there are at least three."""
    sure = Counter(
        s.stop - s.start for spans in divided for s in spans if s.stop - s.start > 1 and s.probability >= DOUBT
    )
    if not sure:
        return None
    length, count = sure.most_common(1)[0]
    return length if count >= 3 and count >= 0.6 * sure.total() else None


def _found(run: _Row, span: Span) -> Found:
    row = tuple(run.headers[span.start : span.stop])
    evs = run.evs[span.start : span.stop]
    if len(row) == 1:
        reasons = words.of_single(run.headers, span.start, run.pauses, run.evs)
        if span.probability < SURE:
            reasons.append("perhaps of a bracket with its neighbours")
        return Found(row, span.probability, tuple(reasons), False, None)
    between = run.pauses[span.start : span.stop - 1]
    likes = None if run.likes is None else run.likes[span.start : span.stop - 1]
    whole = run.whole and len(row) == len(run.headers)
    reasons = words.of_set(row, evs, between, likes, exact=run.exact, whole_folder=whole)
    if run.bracket is not None:
        reasons.append(f"sets of {run.bracket} were asked for")
    elif run.usual == len(row):
        reasons.append(f"most sets of this camera have {len(row)} frames")
    confidence = span.probability * _most(run, row, between, likes)
    gone = words.missing(row)
    if gone is not None:
        reasons.append(gone)
    if confidence < SURE:
        reasons.append("other divisions are as likely" if span.probability < 0.8 else "the evidence is thin")
    known = [ev for ev in evs if ev is not None]
    stated = tuple(words.relative(known)) if run.exact and len(known) == len(row) else None
    return Found(row, confidence, tuple(reasons), gone is not None or confidence < SURE, stated)


def _most(
    run: _Row, row: Sequence[Header], between: Sequence[float | None], likes: Sequence[float | None] | None
) -> float:
    if evidence.complete(row) > 0:
        return _NUMBERED
    if not run.exact:
        return _MEASURED
    if _slow(between) and not _called(row) and all(like is None for like in likes or ()) and run.bracket is None:
        return _BLIND
    if any(pause is None for pause in between):
        return _UNTIMED
    return _CALLED if _called(row) or evidence.offsets(row) is not None else _EXIF
