"""The confidence of a set, and whether it is ambiguous.

    confidence = probability of the segment * the highest confidence its kind of evidence allows

An ambiguous set has a confidence below MIN_CONFIDENCE or lacks a frame; batch leaves it alone. The limits were set by
hand on the shoots of tests/grouping and on real ones.
"""

from smarthdr_cli.grouping.explain import explain_set, explain_single, missing_frames, relative_evs
from smarthdr_cli.grouping.exposure_pattern import classify_exposures
from smarthdr_cli.grouping.likelihood import Evidence, intended_evs, is_camera_bracket, is_whole_sequence
from smarthdr_cli.grouping.result import BracketSet, Single

MIN_CONFIDENCE = 0.6
_MIN_CLEAR_PROBABILITY = 0.8  # of a segment; below, another segmentation is nearly as probable

# Highest confidence by the kind of evidence.
_MAX_NUMBERED = 0.99  # the camera numbers the frames
_MAX_FLAGGED = 0.97  # the camera calls them a bracket
_MAX_EXIF = 0.95  # exposures and times agree
_MAX_UNTIMED = 0.85  # no capture times
_MAX_MEASURED = 0.7  # exposures are measured from pixels
_MAX_UNVERIFIED = 0.55  # images differ, or nothing but an exposure pattern speaks for the set and images cannot tell

_MAX_CAMERA_GAP_S = 0.6  # a camera's own bracket is faster; in more, a photographer can turn to another view
_GAP_ROUNDING_S = 0.1
_MIN_SIMILARITY = 0.6  # below, two frames show different views
_MIN_SIMILARITY_WITHOUT_EXIF = 0.9  # brackets have 0.93 and more, graphics of one layout up to 0.90


def needs_thumbnails(evidence: Evidence) -> bool:
    """Whether thumbnails must confirm a set: not called a bracket by the camera, and slow or in no common order."""
    if is_camera_bracket(evidence.headers):
        return False
    known_evs = evidence.known_evs
    has_no_order = len(known_evs) > 2 and not classify_exposures(known_evs).order
    if intended_evs(evidence.headers) is not None:
        return has_no_order
    clock_error = max(h.clock_step for h in evidence.headers) / 2
    return has_no_order or any(
        gap is None or gap + clock_error > _MAX_CAMERA_GAP_S + _GAP_ROUNDING_S for gap in evidence.gaps
    )


def assess(evidence: Evidence, start: int, stop: int, probability: float) -> BracketSet | Single:
    """The result for frames ``start`` to ``stop`` of a run, a segment of this ``probability``."""
    if stop - start == 1:
        reasons = explain_single(evidence.headers, start, evidence.gaps, evidence.evs)
        if probability < MIN_CONFIDENCE:
            reasons.append("perhaps of a bracket with its neighbours")
        return Single(evidence.headers[start].path, tuple(reasons))
    segment = evidence.slice(start, stop)
    length = stop - start
    reasons = explain_set(segment)
    if segment.user_length is not None:
        reasons.append(f"sets of {segment.user_length} were asked for")
    elif segment.usual_length == length:
        reasons.append(f"most sets of this camera have {length} frames")
    confidence = probability * _max_confidence(segment)
    missing = missing_frames(segment.headers)
    if missing is not None:
        reasons.append(missing)
    if confidence < MIN_CONFIDENCE:
        is_clear = probability >= _MIN_CLEAR_PROBABILITY
        reasons.append("the evidence is thin" if is_clear else "other divisions are as likely")
    known_evs = segment.known_evs
    frames = tuple(h.path for h in segment.headers)
    return BracketSet(
        name=frames[0].stem,
        frames=frames,
        confidence=confidence,
        reasons=tuple(reasons),
        ambiguous=missing is not None or confidence < MIN_CONFIDENCE,
        evs=tuple(relative_evs(known_evs)) if segment.evs_from_exif and len(known_evs) == length else None,
    )


def _max_confidence(segment: Evidence) -> float:
    """The highest confidence of a set with this evidence; images that differ outweigh names, times and EXIF."""
    similarities = segment.known_similarities
    if similarities and min(similarities) < _MIN_SIMILARITY:
        return _MAX_UNVERIFIED
    if is_whole_sequence(segment.headers):
        return _MAX_NUMBERED
    if not segment.evs_from_exif:
        return _max_confidence_of_measured(segment)
    if segment.user_length is None and needs_thumbnails(segment):
        is_mostly_compared = 2 * len(similarities) >= len(segment.headers)
        is_even = classify_exposures(segment.known_evs).even
        if not similarities or not (is_mostly_compared or is_even):
            return _MAX_UNVERIFIED
    if None in segment.gaps:
        return _MAX_UNTIMED
    is_flagged = is_camera_bracket(segment.headers) or intended_evs(segment.headers) is not None
    return _MAX_FLAGGED if is_flagged else _MAX_EXIF


def _max_confidence_of_measured(segment: Evidence) -> float:
    similarities, evs = segment.known_similarities, segment.known_evs
    if len(similarities) < len(segment.headers) - 1 or min(similarities) < _MIN_SIMILARITY_WITHOUT_EXIF:
        return _MAX_UNVERIFIED
    if segment.user_length is not None or len(evs) == 2 or classify_exposures(evs, from_exif=False).order:
        return _MAX_MEASURED
    return _MAX_UNVERIFIED
