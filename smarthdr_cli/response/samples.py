"""Block means of every frame at the same places of the scene: all that the curve and the ratios are measured from.

The picture is never copied as float: a grid of small blocks is drawn from each frame through its homography.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.align import Alignment
from smarthdr_cli.burst.burst import Burst, Frame

F32 = NDArray[np.float32]

MAX_BLOCKS = 36_000
MIN_BLOCK, MAX_BLOCK = 3, 8  # pixels a side
LOW_CODE = 3.0 / 255.0  # darker block means are black level and noise
HIGH_CODE = 250.0 / 255.0  # brighter ones are clipping in part
CLIP_CODE = 253.5 / 255.0  # one such pixel spoils its block


@dataclass(frozen=True)
class Samples:
    """Aligned block statistics.

    ``code``: (N, M, 3) float32, mean code / white of block m in frame n. ``spread``: (N, M, 3) float32, the standard
    deviation within the block. ``good``: (N, M, 3) bool, inside the frame and neither clipped nor black. ``grid``: rows
    and columns of the M blocks.
    """

    code: F32
    spread: F32
    good: NDArray[np.bool_]
    grid: tuple[int, int]


def draw(burst: Burst, alignment: Alignment, max_blocks: int = MAX_BLOCKS) -> Samples:
    """Sample ``burst`` on one grid over the reference, each frame through its homography in ``alignment``."""
    height, width = burst.size
    per_block = np.sqrt(height * width / max_blocks)
    side = int(np.clip(per_block, MIN_BLOCK, MAX_BLOCK))
    side = max(1, min(side, height, width))
    step = max(per_block, float(side))
    rows, cols = max(1, int(height // step)), max(1, int(width // step))
    y = _positions(height, rows, side)
    x = _positions(width, cols, side)
    drawn = [
        _draw_frame(frame, matrix, y, x, side)
        for frame, matrix in zip(burst.frames, alignment.homographies, strict=True)
    ]
    code, spread, good = (np.stack(part) for part in zip(*drawn, strict=True))
    return Samples(code, spread, good, (rows, cols))


def _positions(length: int, count: int, side: int) -> F32:
    """(count * side,) pixel coordinates of ``count`` blocks of ``side`` pixels spread evenly over ``length``."""
    starts = np.floor((np.arange(count) + 0.5) * length / count - side / 2).clip(0, length - side)
    return np.asarray((starts[:, None] + np.arange(side)).ravel(), np.float32)


def _draw_frame(
    frame: Frame, matrix: NDArray[np.float64], y: F32, x: F32, side: int
) -> tuple[F32, F32, NDArray[np.bool_]]:
    still = np.allclose(matrix, np.eye(3), atol=1e-9)
    map_x, map_y = np.meshgrid(x, y)
    if not still:
        map_x, map_y = through(matrix, map_x, map_y)
    method = cv2.INTER_NEAREST if still else cv2.INTER_LINEAR
    patch = cv2.remap(frame.codes, map_x, map_y, method, borderMode=cv2.BORDER_REPLICATE)
    patch = patch.astype(np.float32) * np.float32(1.0 / frame.white)
    height, width = frame.size
    share = np.float32(1.0 / side**2)
    mean = _over_blocks(np.add, patch, side) * share
    spread = np.sqrt(np.maximum(_over_blocks(np.add, patch * patch, side) * share - mean * mean, 0.0))
    brightest = _over_blocks(np.maximum, patch, side)
    clipped = (brightest >= CLIP_CODE).any(-1, keepdims=True)  # one channel's clip bends the others
    good: NDArray[np.bool_] = (mean > LOW_CODE) & (mean < HIGH_CODE) & ~clipped
    if frame.clipped is not None:
        near = cv2.remap(frame.clipped.view(np.uint8), map_x, map_y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        good &= _over_blocks(np.maximum, near[..., None], side) == 0
    if not still:
        inside = (map_x >= 0) & (map_x <= width - 1) & (map_y >= 0) & (map_y <= height - 1)
        good &= _over_blocks(np.logical_and, inside[..., None], side)
    return mean.reshape(-1, 3), spread.reshape(-1, 3), good.reshape(-1, 3)


def _over_blocks(function: np.ufunc, patch: NDArray[Any], side: int) -> NDArray[Any]:
    """(rows * side, columns * side, k) to (rows, columns, k), ``function`` over each block of ``side`` squared.

    Whole rows first: several times as fast as both axes of a block at once.
    """
    height, width, k = patch.shape
    rows = function.reduce(patch.reshape(height // side, side, width * k), axis=1)
    return np.asarray(function.reduce(rows.reshape(height // side, width // side, side, k), axis=2))


def through(matrix: NDArray[np.float64], x: F32, y: F32) -> tuple[F32, F32]:
    """Pixel coordinates of the reference taken through ``matrix`` to the frame's."""
    m = matrix.astype(np.float32)
    w = m[2, 0] * x + m[2, 1] * y + m[2, 2]
    return (m[0, 0] * x + m[0, 1] * y + m[0, 2]) / w, (m[1, 0] * x + m[1, 1] * y + m[1, 2]) / w
