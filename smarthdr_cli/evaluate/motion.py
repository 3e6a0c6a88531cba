"""Which pixels of a burst do not show what the truth shows, estimated where a set does not say what moves.

The truth has the reference's moment and pose. Every other frame, aligned, bounds the radiance of a pixel from both
sides: what it saw, give or take noise and a pixel of misalignment, or, where it clipped, that and anything above. A
pixel moves where the bounds of some frame exclude the truth. What moves without a difference to be seen (flat before
flat) is not found, and costs no ghost either.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.aligned_burst import AlignedBurst, Window
from smarthdr_cli.evaluate.protocol import fit_pixels, fit_scale, fits

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

RELATIVE = 0.15  # of the radiance: shot noise, and what is left of vignetting, flare and rounded exposures
FLOOR = 0.004  # of a frame's clip: its read noise and quantisation after the blur
CLIPPED = 0.9  # of a frame's clip, from which it only says "at least this"
BLUR = 1.0  # pixels, sigma
NEIGHBOURS = 3  # pixels across, within which a sample may lie after alignment
MAJORITY = 5  # pixels across, of which more than half must differ


def moving_pixels(source: AlignedBurst, truth: F32) -> Mask:
    """(H, W) True where some frame contradicts ``truth`` (H, W, 3; shortest clip = 1 but for one scale, fitted here).

    Pixels outside a frame contradict nothing.
    """
    height, width = source.burst.size
    everything = Window(0, 0, height, width)
    times = np.exp2(source.burst.evs - source.burst.evs.min())
    at = source.burst.reference
    seen = source.read(at, everything)[0] / np.float32(times[at])
    pixels = fit_pixels(truth, float(times[at]), None)
    scale = fit_scale(seen, truth, pixels) if fits(seen, truth, pixels) else 1.0
    true = cv2.GaussianBlur(truth, (0, 0), BLUR) / np.float32(scale)
    found = np.zeros((height, width), np.uint8)
    for index, time in enumerate(times):
        if index != at:
            light, valid = source.read(index, everything)
            low, high = bounds(light, float(time))
            apart = ((low > true) | (high < true)).any(axis=2) & (valid > 0)
            found = np.maximum(found, np.asarray(cv2.medianBlur(apart.astype(np.uint8), MAJORITY), np.uint8))
    return np.asarray(cv2.dilate(found, np.ones((NEIGHBOURS, NEIGHBOURS), np.uint8)) > 0)


def bounds(light: F32, time: float) -> tuple[F32, F32]:
    """The radiance (shortest clip = 1) between which a frame places each pixel; the upper is inf where it clips.

    ``light``: (H, W, 3), 1 = the frame's clip. ``time``: its exposure over the shortest's.
    """
    smooth = cv2.GaussianBlur(light, (0, 0), BLUR)
    window = np.ones((NEIGHBOURS, NEIGHBOURS), np.uint8)
    reach = np.ones((NEIGHBOURS + 4, NEIGHBOURS + 4), np.uint8)  # what the blur has carried there, too
    clips = cv2.dilate(light, reach) >= CLIPPED
    low = cv2.erode(smooth, window) * np.float32(1 - RELATIVE) - np.float32(FLOOR)
    high = cv2.dilate(smooth, window) * np.float32(1 + RELATIVE) + np.float32(FLOOR)
    open_ended = np.where(clips, np.float32(np.inf), high)
    return np.asarray(low / np.float32(time), np.float32), np.asarray(open_ended / np.float32(time), np.float32)
