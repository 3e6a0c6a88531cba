"""A burst seen through its response and alignment: linear radiance of any region, made on demand.

Source codes stay as they were read (8 or 16 bits); linear float32 exists only for the region asked for, so that the
peak memory of a fusion does not grow with the number of frames times float32.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
_FEW = 1 << 16  # below so many values, interpolating each beats making a table of every 16-bit code


@dataclass(frozen=True)
class Response:
    """A camera response as a table from source code to linear light.

    ``table``: (3, K) float32 for R, G, B; entry k is the linear value of code k/(K-1) * white, in [0, 1], monotone,
    first 0 and last 1. ``name`` says where it comes from ("srgb", "gamma2.2", "linear", "auto", a file). ``record``
    goes to the report as it is.
    """

    name: str
    table: F32
    record: dict[str, Any]


@dataclass(frozen=True)
class Alignment:
    """Homographies (N, 3, 3) float64, each taking reference pixel coordinates (x, y, 1) to that frame's.

    Pixel centres are at integer coordinates (OpenCV's convention). ``moved[i]`` is False where identity was kept.
    ``scores`` holds for each frame the residual before and after, as measured on well-exposed pixels.
    """

    homographies: NDArray[np.float64]
    moved: tuple[bool, ...]
    scores: tuple[tuple[float, float], ...] = ()

    @staticmethod
    def identity(count: int) -> "Alignment":
        """No motion for ``count`` frames."""
        return Alignment(np.tile(np.eye(3), (count, 1, 1)), (False,) * count)


def linearize(codes: NDArray[Any], white: float, response: Response) -> F32:
    """(h, w, 3) source codes to linear light of that frame, in [0, 1] (1 = its clip).

    uint8 goes through the table exactly; uint16 and float32 interpolate it linearly in code.
    """
    table = response.table
    last = table.shape[1] - 1
    if codes.dtype == np.uint8 and white == 255 and last == 255:
        return np.asarray(cv2.LUT(codes, np.ascontiguousarray(table.T[None])), np.float32)
    grid = np.linspace(0.0, 1.0, last + 1)
    if codes.dtype == np.uint16 and white == 65535 and codes.size > _FEW:
        every = np.linspace(0.0, 1.0, 65536)
        wide = np.stack([np.interp(every, grid, table[channel]) for channel in range(3)], axis=-1)
        return np.asarray(cv2.LUT(codes, wide[None].astype(np.float32)), np.float32)
    scaled: F32 = np.clip(codes.astype(np.float32) * np.float32(1.0 / white), 0.0, 1.0)
    if response.name == "linear":
        return scaled
    out = np.empty_like(scaled)
    for channel in range(3):
        out[..., channel] = np.interp(scaled[..., channel], grid, table[channel])
    return out
