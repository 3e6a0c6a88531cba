"""Which camera response and which exposures a burst is fused under.

Pixels give the response where the exposures are known, and the exposures where the response is known (Grossberg and
Nayar 2003), so:

| response | exposures | taken |
|---|---|---|
| linear source, named or from a file | stated | that response; exposures checked under it |
| the same | unknown | that response; exposures measured under it |
| auto | stated | response estimated; sRGB where that fails |
| auto | unknown | sRGB; exposures measured under it |

Where some frames state their exposures and others do not, the stated ones decide the response, and the others are
measured under it.

The blocks of the burst are sampled once for all of this, and handed on with the result.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from smarthdr_cli.align import Alignment
from smarthdr_cli.burst.burst import MIN_EV_RANGE, Burst, Exposure, ExposureCheck, Frame
from smarthdr_cli.radiometry import ENTRIES_8BIT, ENTRIES_DEEP, Response, is_response_name, named_response, resampled
from smarthdr_cli.response.calibration_file import load_response
from smarthdr_cli.response.crf_estimate import estimate_response
from smarthdr_cli.response.exposure_ratios import check_exposures, measure_ratios, with_exposures
from smarthdr_cli.response.samples import Samples, sample_blocks


@dataclass(frozen=True)
class ResolvedResponse:
    """The outcome: ``burst`` with its final exposures, and the ``response``.

    ``alignment`` and ``samples`` are in the order of its frames. ``notes``: for the user. ``assumed``: whether the
    curve is sRGB for want of a better one.
    """

    burst: Burst
    alignment: Alignment
    samples: Samples
    response: Response
    notes: tuple[str, ...]
    assumed: bool


def resolve_response(
    burst: Burst, alignment: Alignment, option: str = "auto", exposure_check: ExposureCheck = "warn"
) -> ResolvedResponse:
    """Choose response and exposures of ``burst``, by the table above.

    ``option``: auto, srgb, gamma2.2, linear, or the path of a calibration file. Linear sources (RAW, float) are linear
    whatever it is.

    Raises UsageError for an unknown option, and InputError for a damaged file or exposures that do not differ.
    """
    samples = sample_blocks(burst, alignment)
    known = [n for n, frame in enumerate(burst.frames) if frame.exposure.is_stated]
    if len(known) == len(burst) or len(known) < 2 or float(np.ptp(burst.evs[known])) < MIN_EV_RANGE:
        chosen = _choose(burst, samples, option, exposure_check)
    else:
        chosen = _choose(_subset(burst, known), samples.of_frames(known), option, exposure_check)
        chosen = replace(chosen, burst=_with_unstated_measured(burst, samples, chosen.burst, chosen.response))
    final = chosen.burst
    index = {id(frame.codes): n for n, frame in enumerate(burst.frames)}
    order = [index[id(frame.codes)] for frame in final.frames]
    aligned, ordered = alignment.reordered(order), samples.of_frames(order)
    return ResolvedResponse(final, aligned, ordered, chosen.response, chosen.notes, chosen.assumed)


@dataclass(frozen=True)
class _Choice:
    """``ResolvedResponse`` without what follows from the order of the frames."""

    burst: Burst
    response: Response
    notes: tuple[str, ...]
    assumed: bool


def _choose(burst: Burst, samples: Samples, option: str, exposure_check: ExposureCheck) -> _Choice:
    """Response and exposures of a burst whose frames state theirs all, or of which too few do."""
    entries = ENTRIES_8BIT if all(frame.codes.dtype == np.uint8 for frame in burst.frames) else ENTRIES_DEEP
    stated = all(frame.exposure.is_stated for frame in burst.frames)
    response, notes = _known_response(burst, option, entries)
    assumed, check = False, exposure_check
    if response is None and stated:
        estimate = estimate_response(burst, samples, robust=True)
        response, assumed = estimate.response or named_response("srgb", entries), estimate.response is None
        if assumed:
            notes = (f"no camera curve could be estimated, sRGB assumed: {estimate.note}",)
        elif estimate.note:
            notes = (estimate.note,)
        # The estimate has checked the exposures; they are measured only where it blames them, or for "fix".
        if not estimate.contradicted or (check == "warn" and (assumed or not estimate.misstated)):
            check = "off"
    elif response is None:
        response, assumed = named_response("srgb", entries), True
        notes = (
            "neither exposures nor a camera curve are known: sRGB assumed, exposure ratios measured from the pixels",
        )
    if stated:
        final, check_notes = check_exposures(burst, samples, response, check)
        notes = (*notes, *check_notes)
    else:
        final = with_exposures(burst, measure_ratios(burst, samples, response).evs)
        if not assumed:
            notes = (*notes, f"exposure ratios measured from the pixels under {response.name}")
    return _Choice(final, response, notes, assumed)


def _subset(burst: Burst, indices: Sequence[int]) -> Burst:
    """The frames ``indices`` of ``burst``; the reference is its own, or the one nearest to it in EV."""
    nearest = min(range(len(indices)), key=lambda n: abs(float(burst.evs[indices[n]])))
    return Burst(tuple(burst.frames[n] for n in indices), nearest)


def _with_unstated_measured(burst: Burst, samples: Samples, part: Burst, response: Response) -> Burst:
    """``burst`` with the exposures of ``part`` for its frames, and for the others those measured under ``response``."""
    exposures = {id(frame.codes): frame.exposure for frame in part.frames}
    evs = np.array([exposures.get(id(f.codes), replace(f.exposure, ev=np.nan)).ev for f in burst.frames])
    measured = measure_ratios(burst, samples, response).evs
    evs = np.where(np.isnan(evs), measured + np.nanmedian(evs - measured), evs)
    frames = tuple(
        frame if np.isnan(ev) else replace(frame, exposure=exposures.get(id(frame.codes), _by_pixels(frame, float(ev))))
        for frame, ev in zip(burst.frames, evs, strict=True)
    )
    return Burst(frames, burst.reference)


def _by_pixels(frame: Frame, ev: float) -> Exposure:
    return replace(frame.exposure, ev=ev, source="pixels")


def _known_response(burst: Burst, option: str, entries: int) -> tuple[Response | None, tuple[str, ...]]:
    """The response that source or ``option`` determine, None for auto; and notes."""
    if all(frame.encoding == "linear" for frame in burst.frames):
        ignored = option not in ("auto", "linear")
        notes = (f"the frames are linear already; response {option} is not applied",) if ignored else ()
        return named_response("linear", entries), notes
    if option == "auto":
        return None, ()
    if is_response_name(option):
        return named_response(option, entries), ()  # raises for a misspelt name, and lists the right ones
    return resampled(load_response(Path(option)), entries), ()
