"""The code from which a camera's JPEGs are clipped, often below the last one.

In-camera colour processing, chroma subsampling and JPEG leave clipped pixels at varying codes a little below 255, which
the response takes for well exposed. The darker frames of the burst record how bright such a place is. Of the pixels
with code c in channel k, let

    p(c) = share with light L > 1.15 r,  r = median of L / f(c) at codes that no camera clips at

L is the light that the best exposed darker frame records there, relative to the clip; r allows for misstated exposures.
The clip code is the lowest one from which p exceeds its value at those control codes by 0.35 all the way up. From
there on the curve is set to 1. Under an assumed curve that is wrong near white this finds the same and helps as much.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.align import Alignment
from smarthdr_cli.burst.burst import Burst, Frame
from smarthdr_cli.radiometry import F32, F64, Response
from smarthdr_cli.response.samples import warp_coordinates

# Codes are of 255, whatever the depth of the frames.
WHITE = 255
CONTROL_CODES = (200, 228)  # that no camera clips at; an excess there is motion, exposure or curve
MIN_CLIP_CODE = 236
MIN_TAPERED_CODE = 253  # from here on the merge gives no weight anyway
CODE_STEP = 2  # codes counted together
RAMP_CODES = 4  # below the clip code, over which the curve rises to 1: single clipped pixels lie there too
MAX_PIXELS = 120_000  # single pixels, since block means hide the effect
DARK_LEVELS = (0.02, 0.7)  # of a darker frame that measures the light of a place
MIN_STEP_EV = 0.2  # by which that frame must be darker
CLIP_FACTOR = 1.15  # times the clip; more than the error of a curve
MIN_EXCESS_SHARE = 0.35  # of a code's pixels beyond the clip, over the share at control codes
MAX_CONTROL_SHARE = 0.2  # at control codes, above which nothing is found
MIN_PIXELS = 60


@dataclass(frozen=True)
class ClipSamples:
    """Pixels of one channel.

    ``codes``: (M,) of 0 to 255. ``level``: (M,) linear light that the curve gives them. ``light``: (M,) linear light
    that a darker frame records there. 1 is the clip.
    """

    codes: NDArray[np.intp]
    level: F64
    light: F64


def apply_clip_level(response: Response, burst: Burst, alignment: Alignment) -> Response:
    """``response`` with every channel at 1 from its clip code on, and ``clip_codes`` (of 255) in its record.

    ``response`` itself where that is the last code, where the frames are linear, or where too few pixels decide.
    """
    if all(frame.encoding == "linear" for frame in burst.frames):
        return response
    codes = [find_clip_code(channel) for channel in sample_bright_codes(response, burst, alignment)]
    if min(codes) == WHITE:
        return response
    table = np.stack([_ramp_to_clip(row, code) for row, code in zip(response.table, codes, strict=True)])
    return replace(response, table=table, record={**response.record, "clip_codes": codes})


def find_clip_code(samples: ClipSamples) -> int:
    """The clip code of one channel; WHITE where there is none below."""
    control = (samples.codes >= CONTROL_CODES[0]) & (samples.codes < CONTROL_CODES[1])
    if int(control.sum()) < MIN_PIXELS:
        return WHITE
    ratio = samples.light / samples.level
    scale = float(np.median(ratio[control]))
    control_share = float(np.mean(ratio[control] > CLIP_FACTOR * scale))
    if control_share > MAX_CONTROL_SHARE:
        return WHITE
    clip_code = WHITE
    beyond = samples.light > CLIP_FACTOR * scale
    for code in range(WHITE - CODE_STEP + 1, MIN_CLIP_CODE - 1, -CODE_STEP):
        at_code = beyond[(samples.codes >= code) & (samples.codes < code + CODE_STEP)]
        if at_code.size >= MIN_PIXELS:
            if float(at_code.mean()) - control_share < MIN_EXCESS_SHARE:
                break
            clip_code = code
    return clip_code if clip_code < MIN_TAPERED_CODE else WHITE


def sample_bright_codes(response: Response, burst: Burst, alignment: Alignment) -> list[ClipSamples]:
    """Bright pixels of each channel that a darker frame measures, from one grid over the reference."""
    height, width = burst.size
    step = max(1.0, float(np.sqrt(height * width / MAX_PIXELS)))
    x, y = (np.floor((np.arange(int(n / step)) + 0.5) * step).astype(np.float32) for n in (width, height))
    pixels = zip(burst.frames, alignment.homographies, strict=True)
    codes = [_nearest_codes(frame, matrix, x, y) for frame, matrix in pixels]
    entries = np.linspace(0, WHITE, response.table.shape[1])
    return [
        _sample_channel([c[..., channel] for c in codes], np.interp(np.arange(WHITE + 1), entries, row), burst.evs)
        for channel, row in enumerate(response.table)
    ]


def _nearest_codes(frame: Frame, matrix: F64, x: F32, y: F32) -> NDArray[np.intp]:
    """(len(y), len(x), 3) codes of the nearest pixels, of 255; -1 outside the frame."""
    map_x, map_y = warp_coordinates(matrix, *np.meshgrid(x, y))
    height, width = frame.size
    nearest = cv2.remap(frame.codes, map_x, map_y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    codes = np.rint(nearest.astype(np.float32) * np.float32(WHITE / frame.white)).astype(np.intp)
    inside = (map_x >= 0) & (map_x <= width - 1) & (map_y >= 0) & (map_y <= height - 1)
    return np.where(inside[..., None], codes, -1)


def _sample_channel(codes: list[NDArray[np.intp]], levels: F64, evs: F64) -> ClipSamples:
    """The bright pixels of one channel; ``codes``: of each frame, ``levels``: (256,) the curve."""
    bright_codes, bright_light = [], []
    for n, bright in enumerate(codes):
        light = np.full(bright.shape, np.nan)
        for dark, ev in zip(codes[:n], evs[:n], strict=True):  # from the darkest up: the best exposed one stays
            level = levels[dark]
            measures = (dark >= 0) & (level > DARK_LEVELS[0]) & (level < DARK_LEVELS[1]) & (evs[n] - ev >= MIN_STEP_EV)
            light[measures] = level[measures] * 2.0 ** (evs[n] - ev)
        use = np.isfinite(light) & (bright >= CONTROL_CODES[0])
        bright_codes.append(bright[use])
        bright_light.append(light[use])
    all_codes = np.concatenate(bright_codes)
    return ClipSamples(all_codes, levels[all_codes], np.concatenate(bright_light))


def _ramp_to_clip(row: F32, code: int) -> F32:
    """(K,) a curve that rises to 1 over the last RAMP_CODES codes before ``code``."""
    if code == WHITE:
        return row
    share = ((np.linspace(0, WHITE, len(row)) - (code - RAMP_CODES)) / RAMP_CODES).clip(0, 1)
    return np.asarray(row + (1 - row) * share, np.float32)
