"""Classical rivals and bounds, each from source codes to radiance at the reference's pose, shortest clip = 1.

Frames come darkest first as (H, W, 3) uint8 or uint16 codes; ``times`` are exposures relative to the shortest
(``2**EV``, first 1). OpenCV 5's MergeDebevec takes 8- and 16-bit frames when the response has 256 or 65536 entries;
CalibrateDebevec and AlignMTB take 8 bits only, so 16-bit frames are calibrated and aligned on their 8-bit versions, the
curve interpolated in log to 65536 entries, and the 16-bit codes merged.
"""

from collections.abc import Sequence
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.radiometry import GAMMA, Response, linearize

F32 = NDArray[np.float32]
Codes = NDArray[Any]

SAMPLES = 300  # OpenCV's 70 lose up to 6 dB on real stacks of three frames
CLIP_RAMP = (0.80, 0.95)  # share of the clip level, linear, over which a frame's weight falls to zero
_MID = 128  # CalibrateDebevec's response is 1 here, in every channel


def reference_alone(frame: Codes, time: float, response: Response) -> F32:
    """The reference frame by itself, linearised under ``response``; its clip comes out at 1 / ``time``."""
    return np.asarray(linearize(frame, _white(frame), response) / np.float32(time), np.float32)


def curve_from_truth(frame: Codes, exposed: F32, static: NDArray[np.bool_]) -> Response:
    """The best curve a frame could be linearised with: per code the median truth, per channel, made monotone.

    ``exposed``: (H, W, 3) true linear exposure of the frame, 1 = its clip. Codes that no static, unclipped pixel has
    are interpolated in code; 16-bit codes are pooled to 4096 entries.
    """
    white = _white(frame)
    entries = 256 if frame.dtype == np.uint8 else 4096
    grid, channels = np.arange(entries), []
    for channel in range(3):
        keep = static & (frame[..., channel] < white) & (exposed[..., channel] < 1)
        code = np.round(frame[..., channel][keep] / white * (entries - 1)).astype(int)
        order = np.argsort(code, kind="stable")
        values, starts, counts = np.unique(code[order], return_index=True, return_counts=True)
        medians = [float(np.median(part)) for part in np.split(exposed[..., channel][keep][order], starts[1:])]
        inner = (values > 0) & (values < entries - 1)
        known = np.r_[0, values[inner], entries - 1]
        rising = _isotonic(np.array(medians)[inner], counts[inner])
        channels.append(np.interp(grid, known, np.r_[0.0, rising, 1.0]))
    return Response("truth", np.stack(channels).astype(np.float32), {})


def debevec(
    frames: Sequence[Codes], times: Sequence[float], *, curve: Literal["calibrated", "gamma2.2"] = "calibrated"
) -> F32:
    """OpenCV's MergeDebevec (Debevec & Malik 1997), frames taken as they lie.

    ``curve``: "calibrated" runs CalibrateDebevec on these frames (300 samples, lambda 10) and ties it to gamma 2.2 at
    code 128; "gamma2.2" is the uncalibrated merge.
    """
    codes = [np.ascontiguousarray(f) for f in frames]
    table = calibrated_curve(frames, times) if curve == "calibrated" else gamma_curve(256)
    if codes[0].dtype == np.uint16:
        table = _to_16_bits(table) if curve == "calibrated" else gamma_curve(65536)
    seconds = np.asarray(times, np.float32)
    merged = cv2.createMergeDebevec().process(codes, times=seconds, response=table)
    return np.asarray(merged, np.float32)


def calibrated_curve(frames: Sequence[Codes], times: Sequence[float], samples: int = SAMPLES) -> F32:
    """(256, 1, 3) response of CalibrateDebevec on the 8-bit versions, scaled to gamma 2.2's value at code 128."""
    seconds = np.asarray(times, np.float32)
    table = cv2.createCalibrateDebevec(samples).process([to_8_bits(f) for f in frames], times=seconds)
    return np.asarray(table * (_MID / 255) ** GAMMA, np.float32)


def gamma_curve(levels: int) -> F32:
    """(levels, 1, 3) gamma 2.2 response; code 0 gets half of code 1, since Debevec works in logarithms."""
    curve = (np.arange(levels) / (levels - 1)) ** GAMMA
    curve[0] = curve[1] / 2
    return np.repeat(curve.astype(np.float32)[:, None, None], 3, axis=2)


def align_mtb(frames: Sequence[Codes], reference: int) -> tuple[Codes, ...]:
    """Every frame shifted onto the reference by OpenCV's AlignMTB (Ward 2003), its defaults; translation only.

    Borders are replicated, which is kinder than AlignMTB's own zeros or crop.
    """
    mtb = cv2.createAlignMTB()
    pivot = cv2.cvtColor(to_8_bits(frames[reference]), cv2.COLOR_RGB2GRAY)
    out: list[Codes] = []
    for i, frame in enumerate(frames):
        if i == reference:
            out.append(frame)
            continue
        dx, dy = mtb.calculateShift(pivot, cv2.cvtColor(to_8_bits(frame), cv2.COLOR_RGB2GRAY))
        matrix = np.array([[1, 0, dx], [0, 1, dy]], np.float64)
        size = (frame.shape[1], frame.shape[0])
        moved = cv2.warpAffine(frame, matrix, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        out.append(np.asarray(moved))
    return tuple(out)


def mertens(frames: Sequence[Codes]) -> F32:
    """OpenCV's exposure fusion (Mertens et al. 2007): a display picture in [0, 1], for looking at, not for scoring."""
    merged = cv2.createMergeMertens().process([to_8_bits(f) for f in frames])
    return np.clip(np.asarray(merged, np.float32), 0.0, 1.0)


def static_merge(linear: Sequence[F32], times: Sequence[float]) -> F32:
    """Exposure-weighted merge of frames that already lie on each other: the oracle, when given the oracle's frames.

    ``linear``: (H, W, 3) float32 each, 1 = that frame's clip, darkest first. h = sum(w y) / sum(w t): weights t on y/t
    are inverse to its photon noise variance (Kirk and Andersen 2006, section 3), times a ramp that reaches zero below
    the clip of the brightest channel, one weight for the three channels. Where every frame clips: the shortest, as is.
    """
    top = np.zeros(linear[0].shape, np.float32)
    bottom = np.zeros((*linear[0].shape[:2], 1), np.float32)
    for frame, time in zip(linear, times, strict=True):
        level = frame.max(axis=2, keepdims=True)
        weight = np.clip((CLIP_RAMP[1] - level) / (CLIP_RAMP[1] - CLIP_RAMP[0]), 0.0, 1.0)
        top += weight * frame
        bottom += weight * np.float32(time)
    short = linear[0] / np.float32(times[0])
    return np.where(bottom > 1e-3, top / np.maximum(bottom, np.float32(1e-3)), short).astype(np.float32)


def to_8_bits(frame: Codes) -> NDArray[np.uint8]:
    """uint8 as it is; uint16 rounded to 8 bits."""
    if frame.dtype == np.uint8:
        return np.ascontiguousarray(frame)
    return np.ascontiguousarray(np.round(frame.astype(np.float32) / 257.0).astype(np.uint8))


def _white(frame: Codes) -> float:
    return float(np.iinfo(frame.dtype).max)


def _isotonic(values: NDArray[np.float64], weights: NDArray[np.int_]) -> NDArray[np.float64]:
    """The non-falling sequence nearest to ``values`` in weighted squares (pool adjacent violators)."""
    blocks: list[tuple[float, int, int]] = []  # mean, weight, length
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        blocks.append((value, weight, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, wa, na), (b, wb, nb) = blocks[-2:]
            blocks[-2:] = [((a * wa + b * wb) / (wa + wb), wa + wb, na + nb)]
    return np.repeat([mean for mean, _, _ in blocks], [length for _, _, length in blocks])


def _to_16_bits(table: F32) -> F32:
    codes, grid = np.arange(65536) / 257.0, np.arange(256)
    channels = [np.exp(np.interp(codes, grid, np.log(table[:, 0, c]))) for c in range(3)]
    return np.ascontiguousarray(np.stack(channels, axis=1)[:, None].astype(np.float32))
