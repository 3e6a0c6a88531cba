"""The reasons of a set or a single frame, as short phrases."""

import itertools
from collections.abc import Sequence

from smarthdr_cli.grouping.exposure_pattern import SAME_LEVEL_EV, classify_exposures, varied_settings
from smarthdr_cli.grouping.header import Header
from smarthdr_cli.grouping.likelihood import Evidence, intended_evs, is_flagged

_MIN_SIMILAR = 0.7  # similarity from which two frames are said to show one view
_LONG_EXPOSURE_S = 1.0  # from here on, exposures are a visible part of the time between frames
_ISOLATED_S = 8.0  # a single frame this far from its neighbours is explained by the time gap
_MIN_SKIPPED_STEPS, _STEP_TOLERANCE = 1.7, 0.15  # a step of about 2, 3, ... times the smallest lacks a frame


def explain_set(evidence: Evidence) -> list[str]:
    """The reasons of a set."""
    headers, evs = evidence.headers, evidence.known_evs
    reasons = _maker_reasons(headers)
    if all(h.auto_bracket for h in headers):
        reasons.append("EXIF says automatic bracket")
    elif all(h.manual_exposure for h in headers):
        reasons.append("exposure set by hand")
    reasons.append(_gap_reason(headers, evidence.gaps))
    if len(evs) == len(headers):
        reasons += _exposure_reasons(headers, evs, from_exif=evidence.evs_from_exif)
    else:
        reasons.append("exposures unknown")
    if evidence.similarities is not None:
        reasons.append(_similarity_reason(evidence.known_similarities))
    if evidence.whole_folder:
        reasons.append("all pictures of their folder")
    if len({h.orientation for h in headers}) > 1:
        reasons.append("the camera was turned in between")
    return reasons


def explain_single(
    headers: Sequence[Header], index: int, gaps: Sequence[float | None], evs: Sequence[float | None]
) -> list[str]:
    """The reasons why frame ``index`` of a run stands alone."""
    header, ev = headers[index], evs[index]
    reasons = []
    if header.maker.length and header.maker.shot is not None:
        reasons.append(f"{header.maker.name} sequence {header.maker.shot} of {header.maker.length}")
    elif is_flagged(header):
        reasons.append("the camera says it is of a bracket")
    if len(headers) == 1:
        return [*reasons, "the only frame of its camera and size here"]
    neighbour_gaps = gaps[max(index - 1, 0) : index + 1]
    known_gaps = [gap for gap in neighbour_gaps if gap is not None]
    if len(known_gaps) == len(neighbour_gaps) and min(known_gaps) > _ISOLATED_S:
        return [*reasons, f"its nearest neighbour is {min(known_gaps):.0f} s away"]
    if ev is None:
        return [*reasons, "its exposure is unknown"]
    neighbour_evs = [evs[i] for i in (index - 1, index + 1) if 0 <= i < len(headers)]
    if any(other is not None and abs(other - ev) <= SAME_LEVEL_EV for other in neighbour_evs):
        return [*reasons, "the same exposure as its neighbour"]
    return [*reasons, "the exposures around it form no bracket"]


def missing_frames(headers: Sequence[Header]) -> str | None:
    """Which frames of a numbered sequence, or which level of an automatic bracket, are missing; None where none is."""
    length = headers[0].maker.length
    shots = [h.maker.shot for h in headers]
    if not length or None in shots:
        return _missing_level(headers)
    missing = [str(shot) for shot in range(1, length + 1) if shot not in shots]
    if not missing:
        return None
    if len(missing) == 1:
        return f"frame {missing[0]} of {length} is missing"
    return f"frames {', '.join(missing)} of {length} are missing"


def _missing_level(headers: Sequence[Header]) -> str | None:
    intended = intended_evs(headers)
    if intended is None or not all(is_flagged(h) for h in headers):
        return None
    levels = sorted({round(ev, 2) for ev in intended})
    if len(levels) == 2 and abs(levels[0] + levels[1]) <= SAME_LEVEL_EV:
        return "the frame between them, of bias 0, is missing"
    steps = [(high - low, low, high) for low, high in itertools.pairwise(levels)]
    smallest_step = min(step for step, _, _ in steps)
    for step, low, high in steps:
        ratio = step / smallest_step
        if ratio > _MIN_SKIPPED_STEPS and abs(ratio - round(ratio)) < _STEP_TOLERANCE:
            return f"a frame between bias {signed(low)} and {signed(high)} is missing"
    return None


def _maker_reasons(headers: Sequence[Header]) -> list[str]:
    """Sequence numbers, or that bracketing was on."""
    name, length = headers[0].maker.name, headers[0].maker.length
    shots = [h.maker.shot for h in headers]
    if all(shot is not None for shot in shots) and name:
        return [f"{name} sequence {shots[0]}-{shots[-1]}" + (f" of {length}" if length else "")]
    if all(h.maker.bracket for h in headers):
        return [f"{name} bracketing was on"]
    return []


def _gap_reason(headers: Sequence[Header], gaps: Sequence[float | None]) -> str:
    """For example "2 to 7 s apart, exposures of up to 30 s counted"."""
    known_gaps = [gap for gap in gaps if gap is not None]
    if not known_gaps:
        return "no capture times"
    low, high = (f"{gap:.2g}" if gap < 10 else f"{gap:.0f}" for gap in (min(known_gaps), max(known_gaps)))
    reason = f"{low} s apart" if low == high else f"{low} to {high} s apart"
    longest = max(h.time or 0.0 for h in headers)
    return reason + (f", exposures of up to {longest:g} s counted" if longest >= _LONG_EXPOSURE_S else "")


def _exposure_reasons(headers: Sequence[Header], evs: Sequence[float], *, from_exif: bool) -> list[str]:
    """EVs and their order, repeats, and what was varied."""
    pattern = classify_exposures(evs, from_exif=from_exif)
    listed = ", ".join(signed(ev) for ev in relative_evs(evs))
    order = f", {pattern.order}" if pattern.order else ""
    reasons = [f"EV {listed}{order}" if from_exif else f"brightness about {listed} EV{order}"]
    if pattern.repeat_count and pattern.order:
        reasons.append(f"each exposure {len(evs) // pattern.level_count} times")
    elif pattern.repeat_count:
        reasons.append(f"{pattern.repeat_count} of them of an exposure that is there already")
    if not from_exif:
        return reasons
    intended = intended_evs(headers)
    if intended is not None:
        reasons.append("bias " + ", ".join(signed(ev) for ev in intended))
    varied = varied_settings([h.time for h in headers], [h.aperture for h in headers], [h.iso for h in headers])
    if varied == ("ISO",):
        reasons.append("ISO bracketing")
    elif "aperture" in varied:
        reasons.append("the aperture varies, and with it the depth of field")
    return reasons


def _similarity_reason(similarities: Sequence[float]) -> str:
    if not similarities:
        return "too little is well exposed in neighbours to compare their pictures"
    low, high = min(similarities), max(similarities)
    finding = "the pictures show one view" if low >= _MIN_SIMILAR else "the pictures differ"
    values = f"{low:.2f}" if high - low < 0.005 else f"{low:.2f} to {high:.2f}"
    return f"{finding} (likeness {values})"


def relative_evs(evs: Sequence[float]) -> list[float]:
    """EVs relative to the middle one; of an even number, to the darker of the two middle ones."""
    middle = sorted(evs)[(len(evs) - 1) // 2]
    return [ev - middle for ev in evs]


def signed(ev: float) -> str:
    """An EV with its sign and at most one decimal: -2, 0, +0.7."""
    text = f"{ev:+.1f}".rstrip("0").rstrip(".")
    return "0" if text in ("+", "-", "+0", "-0") else text
