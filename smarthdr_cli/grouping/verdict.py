"""How far a set can be trusted, whether it is left alone, and what is said of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from smarthdr_cli.grouping import explain, exposure_pattern, likelihood
from smarthdr_cli.grouping.header import Header
from smarthdr_cli.grouping.segment import Span

SURE = 0.6  # confidence below which a set is ambiguous
_SLOW = 0.6  # seconds between frames: more than a camera's own bracket takes, enough for a hand to turn away
_UNLIKE = 0.6  # likeness below which two frames do not show one view
_ALIKE = 0.9  # that neighbours without EXIF need: brackets have 0.93 and more, graphics of one layout up to 0.90
# What a set can be trusted at most: numbered by its camera, called a bracket by it, EXIF alone, no times, brightness
# measured from pixels; and one whose pictures differ, or that nobody calls a bracket and whose pictures cannot tell.
_NUMBERED, _CALLED, _EXIF, _UNTIMED, _MEASURED, _BLIND = 0.99, 0.97, 0.95, 0.85, 0.7, 0.55


@dataclass(frozen=True)
class Found:
    """A span of the row, with what was found out about it."""

    frames: tuple[Header, ...]
    confidence: float
    reasons: tuple[str, ...]
    ambiguous: bool
    evs: tuple[float, ...] | None


@dataclass(frozen=True)
class Run:
    """Frames between which nothing is impossible, and the evidence: per frame, or between each and the next.

    ``joins``: log-odds of one set. ``whole``: these are all pictures of their folder. ``bracket``: how many frames a
    set was said to have, ``usual`` how many most have. ``likes``: likeness where pictures were compared. ``exact``: EVs
    are EXIF's, not measured.
    """

    headers: Sequence[Header]
    evs: Sequence[float | None]
    pauses: Sequence[float | None]
    joins: Sequence[float]
    whole: bool
    bracket: int | None
    usual: int | None = None
    likes: Sequence[float | None] | None = None
    exact: bool = True

    def part(self, start: int, stop: int) -> "Run":
        """Frames ``start`` to ``stop``, exclusive."""
        return replace(
            self,
            headers=self.headers[start:stop],
            evs=self.evs[start:stop],
            pauses=self.pauses[start : stop - 1],
            joins=self.joins[start : stop - 1],
            whole=self.whole and stop - start == len(self.headers),
            likes=None if self.likes is None else self.likes[start : stop - 1],
        )


def unsettled(run: Run) -> bool:
    """Whether nobody calls these a bracket, and there was time to turn to another view or the order is nobody's."""
    if likelihood.called(run.headers):
        return False
    known = [ev for ev in run.evs if ev is not None]
    odd = len(known) > 2 and not exposure_pattern.judge(known).order
    if likelihood.offsets(run.headers) is not None:
        return odd
    blunt = max(h.resolution for h in run.headers) / 2
    return odd or any(pause is None or pause + blunt > _SLOW + 0.1 for pause in run.pauses)


def judge_span(run: Run, span: Span) -> Found:
    """The verdict on one span of a run."""
    if span.stop - span.start == 1:
        reasons = explain.of_single(run.headers, span.start, run.pauses, run.evs)
        if span.probability < SURE:
            reasons.append("perhaps of a bracket with its neighbours")
        return Found((run.headers[span.start],), span.probability, tuple(reasons), False, None)
    part = run.part(span.start, span.stop)
    row = tuple(part.headers)
    reasons = explain.of_set(row, part.evs, part.pauses, part.likes, exact=part.exact, whole_folder=part.whole)
    if part.bracket is not None:
        reasons.append(f"sets of {part.bracket} were asked for")
    elif part.usual == len(row):
        reasons.append(f"most sets of this camera have {len(row)} frames")
    confidence = span.probability * _most(part)
    gone = explain.missing(row)
    if gone is not None:
        reasons.append(gone)
    if confidence < SURE:
        reasons.append("other divisions are as likely" if span.probability < 0.8 else "the evidence is thin")
    known = [ev for ev in part.evs if ev is not None]
    stated = tuple(explain.relative(known)) if part.exact and len(known) == len(row) else None
    return Found(row, confidence, tuple(reasons), gone is not None or confidence < SURE, stated)


def _most(part: Run) -> float:
    """The most a set of this kind can be trusted; pictures that differ outweigh names, times and EXIF."""
    seen = [like for like in part.likes or () if like is not None]
    if seen and min(seen) < _UNLIKE:
        return _BLIND
    if likelihood.complete(part.headers) > 0:
        return _NUMBERED
    known = [ev for ev in part.evs if ev is not None]
    if not part.exact:
        if len(seen) < len(part.headers) - 1 or min(seen) < _ALIKE:
            return _BLIND
        ordered = part.bracket is not None or len(known) == 2 or bool(exposure_pattern.judge(known, exact=False).order)
        return _MEASURED if ordered else _BLIND
    if part.bracket is None and unsettled(part):
        even = exposure_pattern.judge(known).regular
        if not seen or (2 * len(seen) < len(part.headers) and not even):
            return _BLIND
    if any(pause is None for pause in part.pauses):
        return _UNTIMED
    called = likelihood.called(part.headers) or likelihood.offsets(part.headers) is not None
    return _CALLED if called else _EXIF
