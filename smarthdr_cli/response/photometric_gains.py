"""Gain compensation: frames that are a little brighter, darker or differently tinted than their exposures say.

Automatic white balance drifts from frame to frame, apertures and shutters are stated in rounded steps, in-camera
processing follows the exposure; where one frame hands over to the next the difference shows as contours and patches of
colour. As in panorama stitching (Brown and Lowe 2007, section 6) each frame's channels get a factor such that what two
frames both see comes out alike. The reference keeps its own.
"""

from dataclasses import replace

import numpy as np

from smarthdr_cli.align import Alignment
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.radiometry import F64, Response
from smarthdr_cli.response.crf_fit import frame_pairs
from smarthdr_cli.response.exposure_ratios import MIN_BLOCKS, common_step, log_light, reconcile
from smarthdr_cli.response.samples import draw

USUAL = 0.1  # EV; exposures and curves are off by this anyway: a frame that no channel departs further has no gains
LARGEST = 1.0  # EV; what is further off has another mistake in it
TOLD = 0.2  # EV, from which a gain is said aloud
PAIR_BLOCKS = 6_000  # of a pair that are looked at; more would not move its step
MIN_SUPPORT = 0.2  # share of a pair's blocks that agree on its step; motion and misalignment agree on none
UNEVEN = 0.28  # EV between the levels of a pair, above which it tells no gain
FADES = 0.7  # level from which a gain fades, so that the clip stays where it is


def matched(burst: Burst, alignment: Alignment, response: Response) -> tuple[tuple[Response, ...], tuple[str, ...]]:
    """The curve of each frame of ``burst``, its gains in it, and the notes to say aloud; none where none has any."""
    gains = frame_gains(burst, alignment, response)
    if not gains.any():
        return (), ()
    curves = tuple(gained(response, own) for own in gains)
    largest = np.abs(gains).max(axis=1)
    count, most = int((largest >= TOLD).sum()), int(largest.argmax())
    if not count:
        return curves, ()
    who = "one frame" if count == 1 else f"{count} frames"
    note = (
        f"exposure or white balance of {who} drifted by up to {largest[most]:.2f} EV ({burst.frames[most].path.name}): "
        "matched to the reference (--gains off leaves them)"
    )
    return curves, (note,)


def frame_gains(burst: Burst, alignment: Alignment, response: Response) -> F64:
    """(N, 3) EV by which the light of each frame's channels is to be raised; 0 for the reference.

    Steps between frames are measured as exposure ratios are (``ratios.py``), each channel for itself, on the same
    blocks; pairs that say one thing in the dark and another in the light are left out. Frames that no chain of pairs
    links to the reference, and those nearer than USUAL or further off than LARGEST, have none.
    """
    samples = draw(burst, alignment)
    light, error = log_light(samples, response)
    good = np.asarray(samples.good.all(axis=2))
    steps: list[dict[tuple[int, int], float]] = [{}, {}, {}]
    weights: list[dict[tuple[int, int], float]] = [{}, {}, {}]
    for i, j in frame_pairs(burst.evs):
        both = np.flatnonzero(good[i] & good[j])
        if both.size < MIN_BLOCKS:
            continue
        use = both[:: -(-both.size // PAIR_BLOCKS)]
        apart, level = light[j, use] - light[i, use], light[j, use] + light[i, use]
        found = [common_step(apart[:, c], np.hypot(error[i, use, c], error[j, use, c])) for c in range(3)]
        if min(support for _, support in found) < MIN_SUPPORT or unevenness(apart, level) > UNEVEN:
            continue
        for channel, (step, support) in enumerate(found):
            steps[channel][i, j], weights[channel][i, j] = step, float(np.sqrt(both.size)) * support
    measured = [reconcile(len(burst), burst.reference, *known) for known in zip(steps, weights, strict=True)]
    gains = burst.evs[:, None] - np.stack(measured, axis=1)
    largest = np.abs(gains).max(axis=1)
    gains[~((largest > USUAL) & (largest <= LARGEST))] = 0  # NaN: not linked
    return np.asarray(gains)


def unevenness(apart: F64, level: F64) -> float:
    """How much more the dark third of the blocks says than the bright one, or the middle, in EV: the largest of three
    channels. ``apart``, ``level``: (M, 3). A gain is the same at every level; a wrong curve, motion and haze are not.
    """
    worst = 0.0
    for channel in range(3):
        dark, bright = np.quantile(level[:, channel], (1 / 3, 2 / 3))
        third = (level[:, channel] > dark).astype(int) + (level[:, channel] > bright)
        said = [float(np.median(apart[third == n, channel])) for n in range(3) if bool((third == n).any())]
        worst = max(worst, max(said) - min(said))
    return worst


def gained(response: Response, gains: F64) -> Response:
    """``response`` with its channels raised by ``gains`` (3,) EV, less and less towards the clip, which stays 1. They
    stand in its record as ``gains_ev``. Still monotone.
    """
    if not gains.any():
        return response
    table = response.table.astype(np.float64)
    fade = ((1 - table) / (1 - FADES)).clip(0, 1)
    raised = np.maximum.accumulate(np.minimum(table * np.exp2(gains[:, None] * fade), 1), axis=1)
    record = {**response.record, "gains_ev": [round(float(gain), 3) for gain in gains]}
    return replace(response, name=f"{response.name} with gains", table=raised.astype(np.float32), record=record)
