"""Log-odds that frames are one bracket, from their headers.

The log-odds of a set, in nats, is a sum over independent observations: for each pair of neighbours the time gap,
changed settings, file counters and maker notes (``join_log_odds``); for the whole set its exposures and its
completeness. IMPOSSIBLE rules a join out. No file is opened.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from smarthdr_cli.grouping import exposure_pattern as patterns
from smarthdr_cli.grouping.exposure_pattern import SAME_LEVEL_EV, classify_exposures
from smarthdr_cli.grouping.header import Header
from smarthdr_cli.grouping.sequence import MAX_GAP_S

IMPOSSIBLE = -math.inf
_MAX_BIAS_SPREAD_EV = 0.7  # of EV minus bias within a bracket: the meter may drift by two thirds of a stop
_MANY_SKIPPED_NUMBERS = 10
_FOCAL_TOLERANCE = 0.02  # relative: zoom lenses round differently from frame to frame
_COARSE_CLOCK_S = 1.0  # a clock without fractions is up to this much off
_WAIT_FACTOR, _WAIT_S = 3, 2  # a pause of more than 3 times the longest within the set, plus 2 s, ends a sweep


@dataclass(frozen=True)
class Weights:
    """Every log-odds in nats; positive speaks for one bracket.

    Set by hand: under them the shoots of tests/grouping/catalogue and of tests/grouping/test_random.py are grouped as
    they were taken. The table of gaps: cameras bracket within a second, hands within ten, views are minutes apart.
    """

    # joins of two neighbours
    gap_s: tuple[tuple[float, float], ...] = (
        (0.0, 2.0), (0.5, 1.8), (1, 1.2), (2, 0.4), (4, -0.4), (8, -1.2), (16, -2), (32, -3), (64, -4), (128, -5.5),
    )  # fmt: skip
    gap_per_octave: float = -2.5  # beyond the table
    within_user_gap: float = 1.0  # at least, where the user gave the longest gap
    changed_setting: float = -6.0  # each: focal length, orientation, flash
    skipped_few_numbers: float = -1.5
    skipped_many_numbers: float = -3.0
    next_of_length: float = 4.0  # consecutive numbers of a sequence whose length is stated
    next_number: float = 1.5
    later_of_length: float = 1.0  # numbers with a frame missing between them
    later_number: float = -1.0
    both_flagged: float = 1.5  # the camera calls both frames bracketed
    one_flagged: float = -4.0
    # sets of two or more
    any_set: float = -2.0
    unknown_exposure: float = -3.0  # per frame of a set with exposures unknown
    time_varies: float = 0.5  # the exposure time alone
    aperture_and_more_vary: float = -1.5
    other_varies: float = -0.5
    matches_bias: float = 2.5  # exposures differ as the exposure bias does
    contradicts_bias: float = -0.5
    metered: float = -5.0  # automatic exposure under one bias: the light changed
    bracketing_off: float = -2.0
    manual_sweep: float = 2.0  # replaces the pattern's shape score where the exposure time was swept by hand
    manual_sweep_per_step: float = 1.8
    cut_sweep: float = -2.0  # each end at which the sweep continues beyond the set
    whole_sequence: float = 4.0  # numbered first to last
    part_of_sequence: float = -2.0
    whole_folder: float = 2.0
    usual_length: float = 1.5
    user_length: float = 3.0
    user_length_per_frame: float = 1.0
    # frames that stand alone
    numbered_single: float = -3.0
    flagged_single: float = -2.0
    # similarity of neighbouring thumbnails: pairs of one view have 0.8 to 1, in a crowd 0.6, of two views up to 0.66
    similarity: tuple[tuple[float, float], ...] = ((0.4, -9.0), (0.6, -2.0), (0.7, 0.0), (0.95, 3.0))


WEIGHTS = Weights()


@dataclass(frozen=True)
class Evidence:
    """Consecutive frames, and per frame or per pair of neighbours what is known of them.

    ``evs``: relative exposures, ``evs_from_exif`` or measured. ``gaps``: seconds. ``join_scores``: log-odds.
    ``whole_folder``: these are all images of their folder. ``user_length``: frames of a set as the user states it;
    ``usual_length``: of most sets of this camera. ``similarities``: of thumbnails; None before they are compared.
    """

    headers: Sequence[Header]
    evs: Sequence[float | None]
    gaps: Sequence[float | None]
    join_scores: Sequence[float]
    whole_folder: bool
    user_length: int | None
    usual_length: int | None = None
    similarities: Sequence[float | None] | None = None
    evs_from_exif: bool = True

    def slice(self, start: int, stop: int) -> "Evidence":
        """The evidence of frames ``start`` to ``stop``, exclusive."""
        return replace(
            self,
            headers=self.headers[start:stop],
            evs=self.evs[start:stop],
            gaps=self.gaps[start : stop - 1],
            join_scores=self.join_scores[start : stop - 1],
            whole_folder=self.whole_folder and stop - start == len(self.headers),
            similarities=None if self.similarities is None else self.similarities[start : stop - 1],
        )

    @property
    def known_evs(self) -> list[float]:
        """The exposures that are known."""
        return [ev for ev in self.evs if ev is not None]

    @property
    def known_similarities(self) -> list[float]:
        """The similarities of the pairs that could be compared."""
        return [value for value in self.similarities or () if value is not None]


def gap_log_odds(gap: float, weights: Weights = WEIGHTS) -> float:
    """Log-odds of a time gap in seconds: piecewise linear, IMPOSSIBLE from MAX_GAP_S on."""
    if gap >= MAX_GAP_S:
        return IMPOSSIBLE
    for (low, low_score), (high, high_score) in itertools.pairwise(weights.gap_s):
        if gap <= high:
            return low_score + (high_score - low_score) * (gap - low) / (high - low)
    last, last_score = weights.gap_s[-1]
    return last_score + weights.gap_per_octave * math.log2(gap / last)


def join_log_odds(
    first: Header,
    second: Header,
    *,
    gap: float | None,
    counter_step: int | None,
    usual_step: int,
    max_gap: float | None = None,
    weights: Weights = WEIGHTS,
) -> float:
    """Log-odds that ``second`` follows ``first`` within a bracket.

    ``gap``: seconds between them. ``counter_step``: how far the file counter moves; ``usual_step``: how far it mostly
    does. ``max_gap``: the longest gap within a set as the user states it.
    """
    score = 0.0
    if gap is not None:
        if max_gap is not None and gap > max_gap:
            return IMPOSSIBLE
        has_coarse_clock = max(first.clock_step, second.clock_step) >= _COARSE_CLOCK_S
        gap_score = gap_log_odds(max(0.0, gap - _COARSE_CLOCK_S) if has_coarse_clock else gap, weights)
        score += gap_score if max_gap is None else max(weights.within_user_gap, gap_score)
    if first.lens and second.lens and first.lens != second.lens:
        return IMPOSSIBLE
    score += weights.changed_setting * _changed_settings(first, second)
    if counter_step is not None and abs(counter_step) > abs(usual_step):
        is_near = abs(counter_step) < _MANY_SKIPPED_NUMBERS
        score += weights.skipped_few_numbers if is_near else weights.skipped_many_numbers
    return score + _maker_log_odds(first, second, weights)


def _changed_settings(first: Header, second: Header) -> int:
    """How many of focal length, orientation and flash differ; what only one of them states does not count."""
    is_zoomed = is_flash_changed = False
    if first.focal_length and second.focal_length:
        is_zoomed = abs(first.focal_length - second.focal_length) > _FOCAL_TOLERANCE * first.focal_length
    if first.flash is not None and second.flash is not None:
        is_flash_changed = first.flash != second.flash
    return is_zoomed + is_flash_changed + (first.orientation != second.orientation)


def _maker_log_odds(first: Header, second: Header, weights: Weights) -> float:
    """Log-odds from maker notes and EXIF's automatic bracket."""
    first_maker, second_maker = first.maker, second.maker
    score = 0.0
    if first_maker.shot is not None and second_maker.shot is not None:
        if second_maker.shot <= first_maker.shot or first_maker.length != second_maker.length:
            return IMPOSSIBLE
        if second_maker.shot > first_maker.shot + 1:
            score += weights.later_of_length if first_maker.length else weights.later_number
        else:
            score += weights.next_of_length if first_maker.length else weights.next_number
    elif (first_maker.shot is None) != (second_maker.shot is None) and (first_maker.length or second_maker.length):
        return IMPOSSIBLE
    flagged_count = is_flagged(first) + is_flagged(second)
    return score + (0.0, weights.one_flagged, weights.both_flagged)[flagged_count]


def is_flagged(header: Header) -> bool:
    """Whether the camera calls this frame part of an exposure bracket."""
    return header.auto_bracket or header.maker.bracket is True


def is_whole_sequence(headers: Sequence[Header]) -> bool:
    """Whether the frames are numbered from the first to the last of their sequence."""
    return _is_numbered(headers) and headers[0].maker.shot == 1 and headers[-1].maker.shot == headers[0].maker.length


def _is_numbered(headers: Sequence[Header]) -> bool:
    return bool(headers[0].maker.length) and all(h.maker.shot is not None for h in headers)


def is_camera_bracket(headers: Sequence[Header]) -> bool:
    """Whether the camera calls these frames a bracket, by a flag in each or by a whole numbered sequence."""
    return all(is_flagged(h) for h in headers) or is_whole_sequence(headers)


def single_log_odds(header: Header, weights: Weights = WEIGHTS) -> float:
    """Log-odds of a frame that stands alone."""
    if header.maker.shot is not None and header.maker.length and header.maker.length > 1:
        return weights.numbered_single
    return weights.flagged_single if is_flagged(header) else 0.0


def intended_evs(headers: Sequence[Header]) -> list[float] | None:
    """The EV by which each frame was meant to differ: of the maker note where it varies, else the exposure bias."""
    for values in ([h.maker.value for h in headers], [h.bias for h in headers]):
        stated = [value for value in values if value is not None]
        if len(stated) == len(headers) and max(stated) - min(stated) > SAME_LEVEL_EV:
            return stated
    return None


def exposure_log_odds(
    headers: Sequence[Header], evs: Sequence[float | None], *, from_exif: bool = True, weights: Weights = WEIGHTS
) -> float | None:
    """Log-odds that two or more frames are one bracket by their exposures; None where no longer row can be one."""
    known_evs = [ev for ev in evs if ev is not None]
    if len(known_evs) < len(headers):
        return weights.unknown_exposure * len(headers)
    pattern = classify_exposures(known_evs, from_exif=from_exif)
    score = weights.any_set + pattern.score
    if pattern.repeat_count > (8 if pattern.order else 4) + pattern.level_count:
        return None
    if not from_exif:
        return score
    varied = patterns.varied_settings(
        [h.time for h in headers], [h.aperture for h in headers], [h.iso for h in headers]
    )
    if varied == ("time",):
        score += weights.time_varies
    else:
        with_aperture = len(varied) > 1 and "aperture" in varied
        score += weights.aperture_and_more_vary if with_aperture else weights.other_varies
    intended = intended_evs(headers)
    is_manual = all(h.manual_exposure is True for h in headers)
    # nothing but exposures is stated
    is_bare = all(h.manual_exposure is None and h.timestamp is None for h in headers)
    if intended is not None:
        intended_pattern = classify_exposures(intended)
        metered = [ev - bias for ev, bias in zip(known_evs, intended, strict=True)]
        agrees = max(metered) - min(metered) <= _MAX_BIAS_SPREAD_EV and not intended_pattern.repeat_count
        score += weights.matches_bias if agrees else weights.contradicts_bias
        if intended_pattern.repeat_count > pattern.repeat_count and intended_pattern.score < pattern.score:
            score += intended_pattern.score - pattern.score
    elif not is_manual and all(h.bias is not None for h in headers) and not all(is_flagged(h) for h in headers):
        score += weights.metered
    if not is_manual and not is_bare and all(h.maker.bracket is False for h in headers):
        score += weights.bracketing_off
    is_sweep = pattern.order in patterns.MONOTONE_ORDERS or (
        pattern.order and pattern.even and pattern.level_count >= 5
    )
    if (is_manual or is_bare) and is_sweep and pattern.level_count >= 3 and varied == ("time",):
        sweep_score = weights.manual_sweep + weights.manual_sweep_per_step * (pattern.level_count - 1)
        score += sweep_score - pattern.shape_score  # hands turn the dial one way to its end, in uneven steps
    return score


def cut_sweep_log_odds(
    evs: Sequence[float | None], gaps: Sequence[float | None], start: int, stop: int, weights: Weights = WEIGHTS
) -> float:
    """Log-odds of a set that ascends or descends while its neighbours continue the sweep without a pause."""
    inside = [ev for ev in evs[start:stop] if ev is not None]
    if len(inside) < stop - start or classify_exposures(inside).order not in patterns.MONOTONE_ORDERS:
        return 0.0
    direction = inside[-1] - inside[0]
    longest_gap = max((gap for gap in gaps[start : stop - 1] if gap is not None), default=0.0)
    score = 0.0
    for outer, inner in ((start - 1, start), (stop, stop - 1)):
        if not 0 <= outer < len(evs):
            continue
        outer_ev, inner_ev, gap = evs[outer], evs[inner], gaps[min(outer, inner)]
        has_pause = gap is not None and gap > _WAIT_FACTOR * longest_gap + _WAIT_S
        if outer_ev is None or inner_ev is None or has_pause:
            continue
        step = inner_ev - outer_ev if outer < inner else outer_ev - inner_ev
        if step * direction > 0 and abs(step) > SAME_LEVEL_EV:
            score += weights.cut_sweep
    return score


def completeness_log_odds(headers: Sequence[Header], weights: Weights = WEIGHTS) -> float:
    """Log-odds of a numbered sequence that is whole, or of a part of one; 0 without numbers."""
    if not _is_numbered(headers):
        return 0.0
    return weights.whole_sequence if is_whole_sequence(headers) else weights.part_of_sequence
