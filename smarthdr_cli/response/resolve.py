"""The one call the pipeline makes: which curve and which exposures a burst is fused under, and what to say of it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smarthdr_cli.align import Alignment
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.radiometry import ENTRIES_8BIT, ENTRIES_DEEP, RESPONSE_NAMES, Response, named_response, resampled
from smarthdr_cli.response.calibration_file import load_response
from smarthdr_cli.response.crf_estimate import estimate_response
from smarthdr_cli.response.exposure_ratios import ExposureCheck, check_exposures, measure_ratios, with_evs
from smarthdr_cli.response.fallback import fall_back


@dataclass(frozen=True)
class Resolved:
    """``burst`` with its final exposures, ``alignment`` in that burst's order, the ``response``, and the ``notes`` to
    say aloud. ``assumed`` is True where a curve was taken for want of evidence."""

    burst: Burst
    alignment: Alignment
    response: Response
    notes: tuple[str, ...]
    assumed: bool


def resolve_response(
    burst: Burst, alignment: Alignment, option: str = "auto", exposure_check: ExposureCheck = "warn"
) -> Resolved:
    """Choose curve and exposures for ``burst``.

    ``option``: auto, srgb, gamma2.2, linear, or the path of a calibration file. Linear sources (RAW, float) are linear
    whatever it says. Under a known curve the exposures are measured and ``exposure_check`` decides; under ``auto`` with
    stated exposures the curve is estimated; with neither stated, sRGB is taken and the exposures are measured.
    Raises UsageError for an unknown option and InputError for a damaged file or exposures that do not differ.
    """
    entries = ENTRIES_8BIT if all(frame.codes.dtype == np.uint8 for frame in burst.frames) else ENTRIES_DEEP
    stated = all(frame.exposure.source not in ("none", "pixels") for frame in burst.frames)
    notes: tuple[str, ...] = ()
    assumed = False
    if all(frame.encoding == "linear" for frame in burst.frames):
        response = named_response("linear", entries)
        if option not in ("auto", "linear"):
            notes = (f"the frames are linear already; response {option} is not applied",)
    elif option in RESPONSE_NAMES:
        response = named_response(option, entries)
    elif option != "auto":
        response = _from_file(option, entries)
    elif stated:
        return _automatic(burst, alignment, exposure_check, entries)
    else:
        response, assumed = named_response("srgb", entries), True
        notes = (
            "neither exposures nor a camera curve are known: sRGB assumed, exposure ratios measured from the pixels",
        )
    if not stated:
        final = with_evs(burst, measure_ratios(burst, alignment, response).evs)
        if not assumed:
            notes = (*notes, f"exposure ratios measured from the pixels under {response.name}")
    else:
        final, said = check_exposures(burst, alignment, response, exposure_check)
        notes = (*notes, *said)
    return Resolved(final, reordered(alignment, burst, final), response, notes, assumed)


def reordered(alignment: Alignment, before: Burst, after: Burst) -> Alignment:
    """``alignment`` of ``before`` in the order of ``after``, whose frames are the same files at other exposures."""
    place = {id(frame.codes): n for n, frame in enumerate(before.frames)}
    order = [place[id(frame.codes)] for frame in after.frames]
    scores = tuple(alignment.scores[n] for n in order) if alignment.scores else ()
    return Alignment(alignment.homographies[order], tuple(alignment.moved[n] for n in order), scores)


def _from_file(option: str, entries: int) -> Response:
    path = Path(option)
    if not path.suffix and not path.exists():
        return named_response(option, entries)  # a misspelt name: its error lists the right ones
    return resampled(load_response(path), entries)


def _automatic(burst: Burst, alignment: Alignment, exposure_check: ExposureCheck, entries: int) -> Resolved:
    found = estimate_response(burst, alignment)
    if found.response is not None:
        return Resolved(burst, alignment, found.response, (), False)
    if not found.contradicted:
        note = f"no camera curve could be estimated, sRGB assumed: {found.reason}"
        return Resolved(burst, alignment, named_response("srgb", entries), (note,), True)
    second = fall_back(burst, alignment)
    response = second.response or named_response("srgb", entries)
    note = second.note if second.response else f"no camera curve could be estimated, sRGB assumed: {second.note}"
    final, said = burst, tuple[str, ...]()
    if exposure_check == "fix" or (exposure_check == "warn" and second.response is not None and second.misstated):
        final, said = check_exposures(burst, alignment, response, exposure_check)
    return Resolved(final, reordered(alignment, burst, final), response, (note, *said), second.response is None)
