"""Block means of every frame at the same places of the scene, from which curve, exposure ratios and gains are measured.

A grid of small blocks lies over the reference; each frame is read through its homography. Of block m in frame n:

    z_nm = mean code / white,  s_nm = standard deviation of code / white within the block

At most MAX_BLOCKS blocks are read, so that memory does not grow with the picture and no frame is converted to float.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.align import Alignment
from smarthdr_cli.burst.burst import Burst, Frame
from smarthdr_cli.radiometry import F32

MAX_BLOCKS = 36_000
MIN_BLOCK_SIDE, MAX_BLOCK_SIDE = 3, 8  # pixels
MIN_CODE = 3.0 / 255.0  # of white; darker block means are black level and noise
MAX_CODE = 250.0 / 255.0  # of white; brighter ones clip in part
CLIP_CODE = 253.5 / 255.0  # of white; one such pixel makes its block invalid


@dataclass(frozen=True)
class Samples:
    """Aligned block statistics of N frames and M blocks.

    ``code``: (N, M, 3) float32, z. ``spread``: (N, M, 3) float32, s. ``valid``: (N, M, 3) bool, inside the frame and
    neither clipped nor black. ``grid``: rows and columns of the M blocks.
    """

    code: F32
    spread: F32
    valid: NDArray[np.bool_]
    grid: tuple[int, int]

    def of_frames(self, indices: Sequence[int]) -> "Samples":
        """The samples of the frames ``indices``, in that order."""
        rows = list(indices)
        return Samples(self.code[rows], self.spread[rows], self.valid[rows], self.grid)

    def mask_blocks(self, blocks: NDArray[np.bool_]) -> "Samples":
        """The samples with no block valid outside ``blocks`` (M,)."""
        return Samples(self.code, self.spread, self.valid & blocks[:, None], self.grid)


def sample_blocks(
    burst: Burst, alignment: Alignment, max_blocks: int = MAX_BLOCKS, flows: Mapping[int, F32] | None = None
) -> Samples:
    """Samples of ``burst`` on one grid over the reference, each frame through its homography in ``alignment``.

    ``flows``: (h, w, 2) displacement (x, y) in reference pixels, on equal cells over the picture, of frames whose
    content moves.
    """
    height, width = burst.size
    per_block = np.sqrt(height * width / max_blocks)
    side = int(np.clip(per_block, MIN_BLOCK_SIDE, MAX_BLOCK_SIDE))
    side = max(1, min(side, height, width))
    step = max(per_block, float(side))
    rows, columns = max(1, int(height // step)), max(1, int(width // step))
    y = _block_coordinates(height, rows, side)
    x = _block_coordinates(width, columns, side)
    statistics = [
        _sample_frame(frame, matrix, y, x, side, (flows or {}).get(index))
        for index, (frame, matrix) in enumerate(zip(burst.frames, alignment.homographies, strict=True))
    ]
    code, spread, valid = (np.stack(part) for part in zip(*statistics, strict=True))
    return Samples(code, spread, valid, (rows, columns))


def warp_coordinates(matrix: NDArray[np.float64], x: F32, y: F32) -> tuple[F32, F32]:
    """Pixel coordinates of the reference mapped by the homography ``matrix`` to the frame's, in float32."""
    m = matrix.astype(np.float32)
    w = m[2, 0] * x + m[2, 1] * y + m[2, 2]
    return (m[0, 0] * x + m[0, 1] * y + m[0, 2]) / w, (m[1, 0] * x + m[1, 1] * y + m[1, 2]) / w


def _block_coordinates(length: int, count: int, side: int) -> F32:
    """(count * side,) pixel coordinates of ``count`` blocks of ``side`` pixels spread evenly over ``length``."""
    starts = np.floor((np.arange(count) + 0.5) * length / count - side / 2).clip(0, length - side)
    return np.asarray((starts[:, None] + np.arange(side)).ravel(), np.float32)


def _sample_frame(
    frame: Frame, matrix: NDArray[np.float64], y: F32, x: F32, side: int, flow: F32 | None = None
) -> tuple[F32, F32, NDArray[np.bool_]]:
    """Code, spread and validity (M, 3) of one frame."""
    static = flow is None and np.allclose(matrix, np.eye(3), atol=1e-9)
    map_x, map_y = np.meshgrid(x, y)
    if flow is not None:
        tall, wide = (-(-length // cells) for length, cells in zip(frame.size, flow.shape[:2], strict=True))
        moved = flow[y.astype(np.intp) // tall][:, x.astype(np.intp) // wide]
        map_x, map_y = map_x + moved[..., 0], map_y + moved[..., 1]
    if not static:
        map_x, map_y = warp_coordinates(matrix, map_x, map_y)
    method = cv2.INTER_NEAREST if static else cv2.INTER_LINEAR
    patch = cv2.remap(frame.codes, map_x, map_y, method, borderMode=cv2.BORDER_REPLICATE)
    patch = patch.astype(np.float32) * np.float32(1.0 / frame.white)
    height, width = frame.size
    per_pixel = np.float32(1.0 / side**2)
    mean = _reduce_blocks(np.add, patch, side) * per_pixel
    spread = np.sqrt(np.maximum(_reduce_blocks(np.add, patch * patch, side) * per_pixel - mean * mean, 0.0))
    brightest = _reduce_blocks(np.maximum, patch, side)
    clipped = (brightest >= CLIP_CODE).any(-1, keepdims=True)  # a clipped channel distorts the others
    valid: NDArray[np.bool_] = (mean > MIN_CODE) & (mean < MAX_CODE) & ~clipped
    if frame.clipped is not None:
        mask = cv2.remap(frame.clipped.view(np.uint8), map_x, map_y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        valid &= _reduce_blocks(np.maximum, mask[..., None], side) == 0
    if not static:
        inside = (map_x >= 0) & (map_x <= width - 1) & (map_y >= 0) & (map_y <= height - 1)
        valid &= _reduce_blocks(np.logical_and, inside[..., None], side)
    return mean.reshape(-1, 3), spread.reshape(-1, 3), valid.reshape(-1, 3)


def _reduce_blocks(function: np.ufunc, patch: NDArray[Any], side: int) -> NDArray[Any]:
    """(rows * side, columns * side, k) to (rows, columns, k), ``function`` over each block of ``side`` squared.

    Whole rows first: several times as fast as both axes of a block at once.
    """
    height, width, k = patch.shape
    rows = function.reduce(patch.reshape(height // side, side, width * k), axis=1)
    return np.asarray(function.reduce(rows.reshape(height // side, width // side, side, k), axis=2))
