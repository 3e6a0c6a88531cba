"""Why a set is a set and a single is none, in plain words."""

import itertools
from collections.abc import Sequence

from smarthdr_cli.grouping import exposure_pattern
from smarthdr_cli.grouping.header import Header
from smarthdr_cli.grouping.likelihood import brackets, offsets


def of_set(
    row: Sequence[Header],
    evs: Sequence[float | None],
    pauses: Sequence[float | None],
    likes: Sequence[float | None] | None,
    *,
    exact: bool,
    whole_folder: bool,
) -> list[str]:
    """The reasons for ``row``; ``pauses`` and ``likes`` (None: not looked at) stand between its frames."""
    said = maker_words(row)
    if all(h.stated for h in row):
        said.append("EXIF says automatic bracket")
    elif all(h.manual for h in row):
        said.append("exposure set by hand")
    said.append(pause_words(row, pauses))
    known = [ev for ev in evs if ev is not None]
    if len(known) == len(row):
        said += ev_words(row, known, exact=exact)
    else:
        said.append("exposures unknown")
    seen = [like for like in likes or () if like is not None]
    if seen:
        low, high = min(seen), max(seen)
        what = "the pictures show one view" if low >= 0.7 else "the pictures differ"
        said.append(
            f"{what} (likeness {low:.2f})" if high - low < 0.005 else f"{what} (likeness {low:.2f} to {high:.2f})"
        )
    elif likes is not None:
        said.append("too little is well exposed in neighbours to compare their pictures")
    if whole_folder:
        said.append("all pictures of their folder")
    if len({h.orientation for h in row}) > 1:
        said.append("the camera was turned in between")
    return said


def maker_words(row: Sequence[Header]) -> list[str]:
    """Sequence numbers, and that bracketing was on."""
    name, length = row[0].maker.name, row[0].maker.length
    shots = [h.maker.shot for h in row]
    if all(shot is not None for shot in shots) and name:
        numbers = f"{shots[0]}-{shots[-1]}" if len(row) > 1 else f"{shots[0]}"
        return [f"{name} sequence {numbers}" + (f" of {length}" if length else "")]
    if all(h.maker.bracket for h in row):
        return [f"{name} bracketing was on"]
    return []


def missing(row: Sequence[Header]) -> str | None:
    """Which frames of a numbered sequence, or which step of an automatic bracket, are not there, or None."""
    length = row[0].maker.length
    shots = [h.maker.shot for h in row]
    if not length or None in shots:
        return _missing_step(row)
    gone = [str(n) for n in range(1, length + 1) if n not in shots]
    if not gone:
        return None
    return (
        f"frame {gone[0]} of {length} is missing"
        if len(gone) == 1
        else f"frames {', '.join(gone)} of {length} are missing"
    )


def _missing_step(row: Sequence[Header]) -> str | None:
    meant = offsets(row)
    if meant is None or not all(brackets(h) for h in row):
        return None
    levels = sorted({round(ev, 2) for ev in meant})
    if len(levels) == 2 and abs(levels[0] + levels[1]) <= exposure_pattern.SAME:
        return "the frame between them, of bias 0, is missing"
    steps = [(high - low, low, high) for low, high in itertools.pairwise(levels)]
    least = min(step for step, _, _ in steps)
    for step, low, high in steps:
        if step > 1.7 * least and abs(step / least - round(step / least)) < 0.15:
            return f"a frame between bias {signed(low)} and {signed(high)} is missing"
    return None


def pause_words(row: Sequence[Header], pauses: Sequence[float | None]) -> str:
    """0.4 s apart; 2 to 7 s apart, exposures of up to 30 s counted."""
    known = [pause for pause in pauses if pause is not None]
    if not known:
        return "no capture times"
    low, high = (f"{pause:.2g}" if pause < 10 else f"{pause:.0f}" for pause in (min(known), max(known)))
    long = max(h.time or 0.0 for h in row)
    said = f"{low} s apart" if low == high else f"{low} to {high} s apart"
    return said + (f", exposures of up to {long:g} s counted" if long >= 1 else "")


def ev_words(row: Sequence[Header], evs: Sequence[float], *, exact: bool) -> list[str]:
    """EV -2, 0, +2 and their order, what was varied, and whether it is what was set."""
    seen = exposure_pattern.judge(evs, exact=exact)
    listed = ", ".join(signed(ev) for ev in relative(evs))
    said = [(f"EV {listed}" if exact else f"brightness about {listed} EV") + (f", {seen.order}" if seen.order else "")]
    if seen.repeats and seen.order:
        said.append(f"each exposure {len(evs) // seen.levels} times")
    elif seen.repeats:
        said.append(f"{seen.repeats} of them of an exposure that is there already")
    if not exact:
        return said
    meant = offsets(row)
    if meant is not None:
        said.append("bias " + ", ".join(signed(bias) for bias in meant))
    kinds = exposure_pattern.varied([h.time for h in row], [h.aperture for h in row], [h.iso for h in row])
    if kinds == ("ISO",):
        said.append("ISO bracketing")
    elif "aperture" in kinds:
        said.append("the aperture varies, and with it the depth of field")
    return said


def of_single(
    row: Sequence[Header], index: int, pauses: Sequence[float | None], evs: Sequence[float | None]
) -> list[str]:
    """Why frame ``index`` of its row stands alone."""
    said = []
    here = row[index]
    length = here.maker.length
    if length and here.maker.shot is not None:
        said.append(f"{here.maker.name} sequence {here.maker.shot} of {length}")
    elif brackets(here):
        said.append("the camera says it is of a bracket")
    if len(row) == 1:
        return [*said, "the only frame of its camera and size here"]
    sides = [side for side in (index - 1, index) if 0 <= side < len(row) - 1]
    near = [pause for side in sides if (pause := pauses[side]) is not None]
    if near and len(near) == len(sides) and min(near) > 8:
        return [*said, f"its nearest neighbour is {min(near):.0f} s away"]
    others = [evs[i] for i in (index - 1, index + 1) if 0 <= i < len(row)]
    ev = evs[index]
    if ev is None:
        return [*said, "its exposure is unknown"]
    if any(other is not None and abs(other - ev) <= exposure_pattern.SAME for other in others):
        return [*said, "the same exposure as its neighbour"]
    return [*said, "the exposures around it form no bracket"]


def relative(evs: Sequence[float]) -> list[float]:
    """EVs against the middle one, the darker of two middles."""
    middle = sorted(evs)[(len(evs) - 1) // 2]
    return [ev - middle for ev in evs]


def signed(ev: float) -> str:
    """-2, 0, +0.7."""
    text = f"{ev:+.1f}".rstrip("0").rstrip(".")
    return "0" if text in ("+", "-", "+0", "-0") else text
