"""The code from which a camera's JPEGs are clipped, which is often not the last one.

In-camera colour processing, chroma subsampling and JPEG leave what the sensor clipped at codes a little below 255, now
this and now that one, and a curve says of them that they are well exposed. The darker frames of the burst know better:
they saw how bright the place was. From the lowest code on that often stands for more than the clip level, the curve is
made to say "clipped". Under an assumed curve that bends another way near white the same is found, and does the same
good: what that curve says there is wrong.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.align import Alignment
from smarthdr_cli.burst.burst import Burst, Frame
from smarthdr_cli.radiometry import F64, Response
from smarthdr_cli.response.samples import through

F32 = NDArray[np.float32]
PLACES = 120_000  # single pixels; means of blocks would hide what is looked for
WHITE = 255
FIRST, STEP = 236, 2  # the lowest code that is believed, and how many are looked at together
TAPERED = 253  # from here on the merge does not look anyway
USUAL = (200, 228)  # codes that no camera clips at: what is off there is motion, exposure or curve
TELLS = (0.02, 0.7)  # level at which a darker frame tells how bright a place is
APART = 0.2  # EV that it must be darker by
BEYOND = 1.15  # times the clip: more than a curve's error
OFTEN = 0.35  # share of a code's pixels beyond, over the usual codes' share
CALM = 0.2  # the usual codes' share above which nothing can be told
ENOUGH = 60  # pixels
RAMP = 4  # codes over which the curve goes up to 1: single clipped pixels lie there too


@dataclass(frozen=True)
class Evidence:
    """Of one channel, pixel by pixel: ``codes`` (M,) of 0 to 255, the linear ``level`` (M,) that the curve gives them,
    and the ``light`` (M,) that darker frames saw in the same places. 1 is the clip level."""

    codes: NDArray[np.intp]
    level: F64
    light: F64


def with_clip(response: Response, burst: Burst, alignment: Alignment) -> Response:
    """``response`` with every channel at 1 from its practical clip code on, and ``clip_codes`` (of 255) in its record.

    ``response`` itself where that is the last code, where the frames are linear, or where too little can be told.
    """
    if all(frame.encoding == "linear" for frame in burst.frames):
        return response
    found = [clip_code(evidence) for evidence in gather(response, burst, alignment)]
    if min(found) == WHITE:
        return response
    table = np.stack([_raised(row, code) for row, code in zip(response.table, found, strict=True)])
    return replace(response, table=table, record={**response.record, "clip_codes": found})


def clip_code(evidence: Evidence) -> int:
    """The lowest code of a channel from which on every code often stands for more than the clip; WHITE without one."""
    usual = (evidence.codes >= USUAL[0]) & (evidence.codes < USUAL[1])
    if int(usual.sum()) < ENOUGH:
        return WHITE
    excess = evidence.light / evidence.level
    scale = float(np.median(excess[usual]))  # a stated exposure that is wrong, or the curve
    wild = float(np.mean(excess[usual] > BEYOND * scale))
    if wild > CALM:
        return WHITE
    found = WHITE
    beyond = evidence.light > BEYOND * scale
    for code in range(WHITE - STEP + 1, FIRST - 1, -STEP):
        here = beyond[(evidence.codes >= code) & (evidence.codes < code + STEP)]
        if here.size >= ENOUGH:
            if float(here.mean()) - wild < OFTEN:
                break
            found = code
    return found if found < TAPERED else WHITE


def gather(response: Response, burst: Burst, alignment: Alignment) -> list[Evidence]:
    """What darker frames saw where others have bright codes, of each channel, on one grid over the reference."""
    height, width = burst.size
    step = max(1.0, float(np.sqrt(height * width / PLACES)))
    x, y = (np.floor((np.arange(int(n / step)) + 0.5) * step).astype(np.float32) for n in (width, height))
    pixels = zip(burst.frames, alignment.homographies, strict=True)
    codes = [_codes(frame, matrix, x, y) for frame, matrix in pixels]
    entries = np.linspace(0, WHITE, response.table.shape[1])
    return [
        _channel([seen[..., channel] for seen in codes], np.interp(np.arange(WHITE + 1), entries, row), burst.evs)
        for channel, row in enumerate(response.table)
    ]


def _codes(frame: Frame, matrix: F64, x: F32, y: F32) -> NDArray[np.intp]:
    """(len(y), len(x), 3) the nearest pixel's codes, of 255; -1 outside the frame."""
    map_x, map_y = through(matrix, *np.meshgrid(x, y))
    height, width = frame.size
    seen = cv2.remap(frame.codes, map_x, map_y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    out = np.rint(seen.astype(np.float32) * np.float32(WHITE / frame.white)).astype(np.intp)
    inside = (map_x >= 0) & (map_x <= width - 1) & (map_y >= 0) & (map_y <= height - 1)
    return np.where(inside[..., None], out, -1)


def _channel(seen: list[NDArray[np.intp]], levels: F64, evs: F64) -> Evidence:
    codes, light = [], []
    for n, bright in enumerate(seen):
        told = np.full(bright.shape, np.nan)
        for dark, ev in zip(seen[:n], evs[:n], strict=True):  # from the darkest up: the best exposed has the last word
            level = levels[dark]
            tells = (dark >= 0) & (level > TELLS[0]) & (level < TELLS[1]) & (evs[n] - ev >= APART)
            told[tells] = level[tells] * 2.0 ** (evs[n] - ev)
        use = np.isfinite(told) & (bright >= USUAL[0])
        codes.append(bright[use])
        light.append(told[use])
    every = np.concatenate(codes)
    return Evidence(every, levels[every], np.concatenate(light))


def _raised(row: F32, code: int) -> F32:
    """(K,) a curve going up to 1 over the last RAMP codes before ``code``."""
    if code == WHITE:
        return row
    share = ((np.linspace(0, WHITE, len(row)) - (code - RAMP)) / RAMP).clip(0, 1)
    return np.asarray(row + (1 - row) * share, np.float32)
