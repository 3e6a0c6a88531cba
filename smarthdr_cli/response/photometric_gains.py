"""Gain compensation: per-frame channel gains that make overlapping frames agree.

    g_n = ev_n - ev'_n

of each channel, in EV: ev is the stated exposure, ev' the one measured in that channel as in `exposure_ratios`. White
balance drifts from frame to frame, apertures and shutter times are stated in rounded steps; without gains such
differences appear as contours where the merge passes from one frame to another. Panorama stitching does the same (Brown
and Lowe 2007, section 6). The reference has no gain.
"""

from dataclasses import replace

import numpy as np

from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.radiometry import F64, Response
from smarthdr_cli.response.crf_fit import frame_pairs
from smarthdr_cli.response.exposure_ratios import MIN_BLOCKS, log2_light, mode_of_steps, reconcile_steps
from smarthdr_cli.response.samples import Samples

MIN_GAIN_EV = 0.1  # of the largest channel; exposures and curves are off by as much anyway
MAX_GAIN_EV = 1.0  # a larger difference has another cause
MIN_REPORTED_EV = 0.2  # smaller gains have no note
MAX_PAIR_BLOCKS = 6_000  # more do not move the step of a pair
MIN_SUPPORT = 0.2  # share of a pair's blocks that agree on its step; with motion or misalignment they do not
MAX_LEVEL_DEPENDENCE_EV = 0.28  # of a pair's step; above, curve or motion cause it, not a gain
FADE_START = 0.7  # level from which a gain fades towards the clip


def compensate_gains(
    burst: Burst, samples: Samples, response: Response
) -> tuple[tuple[Response, ...], tuple[str, ...]]:
    """The curve of each frame of ``burst`` with its gains, and notes for the user; empty where no frame has any."""
    gains = measure_gains(burst, samples, response)
    if not gains.any():
        return (), ()
    curves = tuple(with_gains(response, frame_gains) for frame_gains in gains)
    largest = np.abs(gains).max(axis=1)
    count, worst = int((largest >= MIN_REPORTED_EV).sum()), int(largest.argmax())
    if not count:
        return curves, ()
    frames = "one frame" if count == 1 else f"{count} frames"
    note = (
        f"exposure or white balance of {frames} drifted by up to {largest[worst]:.2f} EV "
        f"({burst.frames[worst].path.name}): matched to the reference (--gains off leaves them)"
    )
    return curves, (note,)


def measure_gains(burst: Burst, samples: Samples, response: Response) -> F64:
    """(N, 3) EV by which the light of each frame's channels is to be raised.

    Pairs with a step that depends on the level are left out. 0 for the reference, for frames that no chain of pairs
    links to it, and for frames with a largest gain outside MIN_GAIN_EV to MAX_GAIN_EV.
    """
    light, sigma = log2_light(samples, response)
    valid = np.asarray(samples.valid.all(axis=2))
    steps: list[dict[tuple[int, int], float]] = [{}, {}, {}]
    weights: list[dict[tuple[int, int], float]] = [{}, {}, {}]
    for i, j in frame_pairs(burst.evs):
        both = np.flatnonzero(valid[i] & valid[j])
        if both.size < MIN_BLOCKS:
            continue
        use = both[:: -(-both.size // MAX_PAIR_BLOCKS)]
        difference, level = light[j, use] - light[i, use], light[j, use] + light[i, use]
        modes = [mode_of_steps(difference[:, c], np.hypot(sigma[i, use, c], sigma[j, use, c])) for c in range(3)]
        if min(support for _, support in modes) < MIN_SUPPORT:
            continue
        if level_dependence(difference, level) > MAX_LEVEL_DEPENDENCE_EV:
            continue
        for channel, (step, support) in enumerate(modes):
            steps[channel][i, j], weights[channel][i, j] = step, float(np.sqrt(both.size)) * support
    measured = [reconcile_steps(len(burst), burst.reference, s, w) for s, w in zip(steps, weights, strict=True)]
    gains = burst.evs[:, None] - np.stack(measured, axis=1)
    largest = np.abs(gains).max(axis=1)
    gains[~((largest > MIN_GAIN_EV) & (largest <= MAX_GAIN_EV))] = 0  # also NaN: frames that are not linked
    return np.asarray(gains)


def level_dependence(difference: F64, level: F64) -> float:
    """How much the median of ``difference`` (M, 3) EV varies between the thirds of ``level`` (M, 3), worst channel.

    A gain is the same at every level; a wrong curve, motion and haze are not.
    """
    worst = 0.0
    for channel in range(3):
        dark, bright = np.quantile(level[:, channel], (1 / 3, 2 / 3))
        third = (level[:, channel] > dark).astype(int) + (level[:, channel] > bright)
        medians = [float(np.median(difference[third == n, channel])) for n in range(3) if bool((third == n).any())]
        worst = max(worst, max(medians) - min(medians))
    return worst


def with_gains(response: Response, gains: F64) -> Response:
    """``response`` with its channels raised by ``gains`` (3,) EV, fading towards the clip, which stays 1.

    Still monotone. The gains stand in its record as ``gains_ev``.
    """
    if not gains.any():
        return response
    table = response.table.astype(np.float64)
    fade = ((1 - table) / (1 - FADE_START)).clip(0, 1)
    raised = np.maximum.accumulate(np.minimum(table * np.exp2(gains[:, None] * fade), 1), axis=1)
    record = {**response.record, "gains_ev": [round(float(gain), 3) for gain in gains]}
    return replace(response, name=f"{response.name} with gains", table=raised.astype(np.float32), record=record)
