"""Which camera response and which exposures a burst is fused under.

Pixels give the response where the exposures are known, and the exposures where the response is known (Grossberg and
Nayar 2003), so:

| response | exposures | taken |
|---|---|---|
| linear source, named or from a file | stated | that response; exposures checked under it |
| the same | unknown | that response; exposures measured under it |
| auto | stated | response estimated; sRGB where that fails |
| auto | unknown | sRGB; exposures measured under it |

The blocks of the burst are sampled once for all of this, and handed on with the result.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smarthdr_cli.align import Alignment
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.radiometry import ENTRIES_8BIT, ENTRIES_DEEP, RESPONSE_NAMES, Response, named_response, resampled
from smarthdr_cli.response.calibration_file import load_response
from smarthdr_cli.response.crf_estimate import estimate_response
from smarthdr_cli.response.exposure_ratios import ExposureCheck, check_exposures, measure_ratios, with_exposures
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
    entries = ENTRIES_8BIT if all(frame.codes.dtype == np.uint8 for frame in burst.frames) else ENTRIES_DEEP
    stated = all(frame.exposure.source not in ("none", "pixels") for frame in burst.frames)
    response, notes = _known_response(burst, option, entries)
    samples = sample_blocks(burst, alignment)
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
    index = {id(frame.codes): n for n, frame in enumerate(burst.frames)}
    order = [index[id(frame.codes)] for frame in final.frames]
    return ResolvedResponse(final, alignment.reordered(order), samples.of_frames(order), response, notes, assumed)


def _known_response(burst: Burst, option: str, entries: int) -> tuple[Response | None, tuple[str, ...]]:
    """The response that source or ``option`` determine, None for auto; and notes."""
    if all(frame.encoding == "linear" for frame in burst.frames):
        ignored = option not in ("auto", "linear")
        notes = (f"the frames are linear already; response {option} is not applied",) if ignored else ()
        return named_response("linear", entries), notes
    if option == "auto":
        return None, ()
    path = Path(option)
    if option in RESPONSE_NAMES or (not path.suffix and not path.exists()):
        return named_response(option, entries), ()  # raises for a misspelt name, and lists the right ones
    return resampled(load_response(path), entries), ()
