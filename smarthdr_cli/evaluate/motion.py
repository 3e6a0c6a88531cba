"""Which pixels move between the frames of a burst, estimated from its pixels alone.

Each frame bounds the radiance of a pixel from both sides: what it saw, give or take noise and a pixel of misalignment,
or, where it clipped, anything above. A pixel moves where the bounds of some frame exclude those of the reference. What
moves without a difference to be seen (flat before flat) is not found, and costs no ghost either.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.fusion.source import Source, Window

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

RELATIVE = 0.15  # of the radiance: shot noise, and what is left of vignetting, flare and rounded exposures
FLOOR = 0.004  # of a frame's clip: its read noise and quantisation after the blur
CLIPPED = 0.9  # of a frame's clip, from which it only says "at least this"
BLUR = 1.0  # pixels, sigma
NEIGHBOURS = 5  # pixels across, within which a sample may lie after alignment
MAJORITY = 7  # pixels across, of which more than half must differ


@dataclass(frozen=True)
class Bounds:
    """(H, W, 3) radiance, shortest clip = 1, between which a frame places each pixel; ``high`` inf where it clips."""

    low: F32
    high: F32


def moving_pixels(source: Source) -> Mask:
    """(H, W) True where some frame contradicts the reference. Pixels outside a frame contradict nothing."""
    height, width = source.burst.size
    everything = Window(0, 0, height, width)
    times = np.exp2(source.burst.evs - source.burst.evs.min())
    at = source.burst.reference
    centre = bounds(source.region(at, everything)[0], float(times[at]))
    found = np.zeros((height, width), np.uint8)
    for index, time in enumerate(times):
        if index == at:
            continue
        light, valid = source.region(index, everything)
        other = bounds(light, float(time))
        apart = ((other.low > centre.high) | (other.high < centre.low)).any(axis=2) & (valid > 0)
        found = np.maximum(found, np.asarray(cv2.medianBlur(apart.astype(np.uint8), MAJORITY), np.uint8))
    return np.asarray(cv2.dilate(found, np.ones((NEIGHBOURS, NEIGHBOURS), np.uint8)) > 0)


def bounds(light: F32, time: float) -> Bounds:
    """What a frame (H, W, 3; 1 = its clip; exposure ``time`` over the shortest) says of each pixel's radiance."""
    smooth = cv2.GaussianBlur(light, (0, 0), BLUR)
    window = np.ones((NEIGHBOURS, NEIGHBOURS), np.uint8)
    low, high = cv2.erode(smooth, window), cv2.dilate(smooth, window)
    unknown = cv2.dilate(light, window) >= CLIPPED
    low = np.minimum(low, np.float32(CLIPPED))
    scale = np.float32(1 / time)
    lowest = (low * np.float32(1 - RELATIVE) - np.float32(FLOOR)) * scale
    highest = np.where(unknown, np.float32(np.inf), (high * np.float32(1 + RELATIVE) + np.float32(FLOOR)) * scale)
    return Bounds(np.asarray(lowest, np.float32), np.asarray(highest, np.float32))
