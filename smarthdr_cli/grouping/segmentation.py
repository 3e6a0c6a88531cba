"""Divide the frames of one camera into brackets and single frames.

A semi-Markov model (Sarawagi and Cohen, NIPS 2004, section 3). A segmentation S of frames 0..n into segments [a, b) has

    p(S) = exp(sum of s(a, b) over its segments) / Z

with s(a, b) the log-odds of a segment in nats (``likelihood``). The best segmentation comes from the Viterbi recursion,
the probability of each of its segments from the forward-backward sums; both are exact.

Headers come first. Where they leave a doubt, neighbouring thumbnails are compared and the segmentation is repeated.
"""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from smarthdr_cli.grouping import likelihood, thumbnails
from smarthdr_cli.grouping.confidence import assess, needs_thumbnails
from smarthdr_cli.grouping.header import Header
from smarthdr_cli.grouping.likelihood import IMPOSSIBLE, WEIGHTS, Evidence, Weights
from smarthdr_cli.grouping.result import BracketSet, Single
from smarthdr_cli.grouping.sequence import counter_steps, time_gaps

MAX_SET_LENGTH = 34  # frames: seventeen exposures, each twice
_MIN_CERTAIN_PROBABILITY = 0.9  # below, thumbnails are compared
_MAX_COMPARABLE_EV = 5.0  # further apart, two frames share too few well exposed pixels
_MIN_CERTAIN_SETS, _MIN_USUAL_SHARE = 3, 0.6  # of the certain sets, before their most frequent length is the usual one

ReadThumbnails = Callable[[Sequence[Header]], Iterable[thumbnails.Thumbnail | None]]


@dataclass(frozen=True)
class Segment:
    """Frames ``start`` to ``stop``, exclusive; ``probability``: over all segmentations, 0 to 1."""

    start: int
    stop: int
    probability: float

    @property
    def length(self) -> int:
        """Frames in the segment."""
        return self.stop - self.start


def best_segmentation(count: int, score: Callable[[int, int], float | None], max_length: int) -> list[Segment]:
    """The most probable segmentation of frames 0..``count`` into segments of at most ``max_length``.

    ``score(start, stop)``: log-odds of a segment, IMPOSSIBLE to exclude it, None to exclude all longer ones from the
    same start too. Segments of one frame need a finite score.
    """
    candidates: list[list[tuple[int, float]]] = [[] for _ in range(count)]
    for start in range(count):
        for stop in range(start + 1, min(start + max_length, count) + 1):
            value = score(start, stop)
            if value is None:
                break
            if value > IMPOSSIBLE:
                candidates[start].append((stop, value))
    best = [0.0] + [-math.inf] * count
    best_start = [0] * (count + 1)
    forward = [0.0] + [-math.inf] * count
    backward = [-math.inf] * count + [0.0]
    for start in range(count):
        for stop, value in candidates[start]:
            if best[start] + value > best[stop]:
                best[stop], best_start[stop] = best[start] + value, start
            forward[stop] = _log_add(forward[stop], forward[start] + value)
    for start in range(count - 1, -1, -1):
        for stop, value in candidates[start]:
            backward[start] = _log_add(backward[start], backward[stop] + value)
    segments: list[Segment] = []
    stop = count
    while stop > 0:
        start = best_start[stop]
        log_probability = forward[start] + dict(candidates[start])[stop] + backward[stop] - forward[count]
        segments.append(Segment(start, stop, math.exp(min(0.0, log_probability))))
        stop = start
    return segments[::-1]


def _log_add(a: float, b: float) -> float:
    """log(exp(a) + exp(b))."""
    high, low = max(a, b), min(a, b)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))


def segment_frames(
    headers: Sequence[Header],
    *,
    user_length: int | None,
    max_gap: float | None,
    whole_folder: bool,
    read_thumbnails: ReadThumbnails,
    weights: Weights = WEIGHTS,
) -> list[BracketSet | Single]:
    """The brackets and single frames of one camera's frames, in order; every frame is in exactly one.

    ``user_length``, ``max_gap``: frames of a set and longest gap in seconds as the user states them. ``whole_folder``:
    these are all images of their folder. ``read_thumbnails`` decodes the frames that have to be compared.
    """
    runs = _split_where_impossible(_header_evidence(headers, user_length, max_gap, whole_folder, weights))
    segmentations = [_segment_run(run, weights) for run in runs]
    for index, run in enumerate(runs):
        if _is_in_doubt(run, segmentations[index]):
            runs[index] = _with_thumbnails(run, read_thumbnails, weights)
            segmentations[index] = _segment_run(runs[index], weights)
    usual_length = _usual_length(segmentations)
    if usual_length is not None and user_length is None:
        for index, run in enumerate(runs):
            if any(segment.probability < _MIN_CERTAIN_PROBABILITY for segment in segmentations[index]):
                runs[index] = replace(run, usual_length=usual_length)
                segmentations[index] = _segment_run(runs[index], weights)
    return [
        assess(run, segment.start, segment.stop, segment.probability)
        for run, segments in zip(runs, segmentations, strict=True)
        for segment in segments
    ]


def _header_evidence(
    headers: Sequence[Header], user_length: int | None, max_gap: float | None, whole_folder: bool, weights: Weights
) -> Evidence:
    gaps = time_gaps(headers)
    steps = counter_steps([h.path.stem for h in headers])
    step_counts = Counter(abs(step) for step in steps if step)
    usual_step = step_counts.most_common(1)[0][0] if step_counts else 1
    join_scores = [
        likelihood.join_log_odds(
            first, second, gap=gap, counter_step=step, usual_step=usual_step, max_gap=max_gap, weights=weights
        )
        for (first, second), gap, step in zip(itertools.pairwise(headers), gaps, steps, strict=True)
    ]
    return Evidence(headers, [h.ev for h in headers], gaps, join_scores, whole_folder, user_length)


def _split_where_impossible(evidence: Evidence) -> list[Evidence]:
    """Runs of frames between which every join is possible."""
    cuts = [index + 1 for index, score in enumerate(evidence.join_scores) if score == IMPOSSIBLE]
    edges = [0, *cuts, len(evidence.headers)]
    return [evidence.slice(start, stop) for start, stop in itertools.pairwise(edges)]


def _segment_run(run: Evidence, weights: Weights) -> list[Segment]:
    join_sums = [0.0, *itertools.accumulate(run.join_scores)]

    def score(start: int, stop: int) -> float | None:
        length = stop - start
        if length == 1:
            return likelihood.single_log_odds(run.headers[start], weights)
        if run.user_length is not None and length != run.user_length:
            return None if length > run.user_length else IMPOSSIBLE
        headers = run.headers[start:stop]
        evs = run.evs[start:stop]
        exposure_score = likelihood.exposure_log_odds(headers, evs, from_exif=run.evs_from_exif, weights=weights)
        if exposure_score is None:
            return None
        total = join_sums[stop - 1] - join_sums[start] + exposure_score
        total += likelihood.completeness_log_odds(headers, weights)
        if run.user_length is None and not likelihood.is_camera_bracket(headers):
            total += likelihood.cut_sweep_log_odds(run.evs, run.gaps, start, stop, weights)
        if run.whole_folder and length == len(run.headers):
            total += weights.whole_folder
        if run.user_length is not None:
            total += weights.user_length + weights.user_length_per_frame * length
        elif length == run.usual_length:
            total += weights.usual_length
        return total

    return best_segmentation(len(run.headers), score, MAX_SET_LENGTH)


def _is_in_doubt(run: Evidence, segments: Sequence[Segment]) -> bool:
    """Whether headers leave a doubt that thumbnails may settle."""
    if len(run.headers) < 2:
        return False
    if any(ev is None for ev in run.evs):
        return True
    has_singles = any(segment.length == 1 for segment in segments)
    if run.user_length is not None and len(run.headers) >= run.user_length and has_singles:
        return True  # the user knows of sets that headers do not show
    return any(
        segment.probability < _MIN_CERTAIN_PROBABILITY
        or (segment.length > 1 and needs_thumbnails(run.slice(segment.start, segment.stop)))
        for segment in segments
    )


def _with_thumbnails(run: Evidence, read_thumbnails: ReadThumbnails, weights: Weights) -> Evidence:
    """The run with the similarity of neighbours in its join scores, and measured EVs where EXIF lacks one."""
    similarities: list[float | None] = []
    measured_evs: list[float | None] = []
    join_scores = list(run.join_scores)
    ev = 0.0
    previous: thumbnails.Thumbnail | None = None
    for index, current in enumerate(read_thumbnails(run.headers)):
        similarity = None
        if previous is not None and current is not None:
            comparison = thumbnails.compare(previous, current)
            ev += comparison.ev
            if not _is_too_far_apart(run.evs[index - 1], run.evs[index]):
                similarity = comparison.similarity
        if similarity is not None:
            join_scores[index - 1] += _similarity_log_odds(similarity, weights)
        if index > 0:
            similarities.append(similarity)
        measured_evs.append(None if current is None else ev)
        previous = current
    from_exif = all(stated_ev is not None for stated_ev in run.evs)
    return replace(
        run,
        similarities=similarities,
        join_scores=join_scores,
        evs=run.evs if from_exif else measured_evs,
        evs_from_exif=from_exif,
    )


def _is_too_far_apart(first_ev: float | None, second_ev: float | None) -> bool:
    return first_ev is not None and second_ev is not None and abs(second_ev - first_ev) > _MAX_COMPARABLE_EV


def _similarity_log_odds(similarity: float, weights: Weights) -> float:
    similarities, scores = zip(*weights.similarity, strict=True)
    return float(np.interp(similarity, similarities, scores))


def _usual_length(segmentations: Sequence[Sequence[Segment]]) -> int | None:
    """The length of most of the certain sets; None where they are few or differ."""
    lengths = Counter(
        segment.length
        for segments in segmentations
        for segment in segments
        if segment.length > 1 and segment.probability >= _MIN_CERTAIN_PROBABILITY
    )
    if not lengths:
        return None
    length, count = lengths.most_common(1)[0]
    return length if count >= _MIN_CERTAIN_SETS and count >= _MIN_USUAL_SHARE * lengths.total() else None
