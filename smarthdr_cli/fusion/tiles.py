"""Tiles: which part of the picture is computed at once, and how large it may be."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smarthdr_cli.aligned_burst import Window
from smarthdr_cli.errors import MemoryLimitError, UsageError, out_of_memory
from smarthdr_cli.fusion.parallel import workers

T = TypeVar("T")
F32 = NDArray[np.float32]
MARGIN = 40  # pixels around a tile's core: the receptive field of verify and refine (9 cells of 4), and one more cell
SMALLEST = 128
LARGEST = 768  # on a CPU: larger tiles leave the caches, smaller ones overlap more
LARGEST_CUDA = 2048
# Bytes a pixel of a tile costs while it is computed, beyond the picture itself: fixed, and for each frame; measured.
BYTES_PER_PIXEL, BYTES_PER_PIXEL_FRAME = 420, 110


@dataclass(frozen=True)
class Tile:
    """``core``: what the tile contributes. ``window``: what it sees: the core and up to MARGIN around it."""

    core: Window
    window: Window


def tensor(image: F32) -> Tensor:
    """(h, w, 3) or (h, w) to (1, C, h, w)."""
    array = image[..., None] if image.ndim == 2 else image
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))[None]


def grid(height: int, width: int, size: int, margin: int = MARGIN) -> Iterator[Tile]:
    """Tiles that cover (height, width) once; ``size`` 0 means one tile. Cores and windows start at multiples of 4."""
    step_y = height if size == 0 else min(_even(height, size), height)
    step_x = width if size == 0 else min(_even(width, size), width)
    for top in range(0, height, step_y):
        for left in range(0, width, step_x):
            core = Window(top, left, min(step_y, height - top), min(step_x, width - left))
            y0, x0 = max(0, top - margin), max(0, left - margin)
            y1, x1 = min(height, top + core.height + margin), min(width, left + core.width + margin)
            yield Tile(core, Window(y0, x0, _up(y1 - y0), _up(x1 - x0)))


def _up(length: int) -> int:
    return -(-length // 4) * 4


def _even(length: int, size: int) -> int:
    """A step of at most ``size`` that divides the length into tiles of like size, a multiple of 4."""
    return _up(-(-length // -(-length // size)))


def tile_size(option: str, frames: int, device: torch.device, max_memory: float | None, overhead: float) -> int:
    """Side of a tile in pixels from ``--tile auto|N|0`` and a budget.

    ``max_memory``: bytes for the whole process on a CPU, of which ``overhead`` are taken already; on CUDA of the
    device.
    Raises UsageError for a size that is no number or too small, MemoryLimitError when not even the smallest tile fits.
    """
    if option == "0":
        return 0
    if option != "auto":
        if not option.isdecimal() or int(option) < SMALLEST:
            raise UsageError(f"--tile {option}: use auto, 0 (one tile) or a size from {SMALLEST} pixels")
        return int(option) // 4 * 4
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0] * 0.6
        budget = free if max_memory is None else min(free, max_memory)
        largest = LARGEST_CUDA
    else:
        budget = float("inf") if max_memory is None else max_memory - overhead
        largest = LARGEST
    each = tile_bytes(frames, device)
    side = int(min(max(budget, 0) / each, float(largest) ** 2) ** 0.5) - 2 * MARGIN * (budget / each < largest**2)
    if side < SMALLEST:
        raise MemoryLimitError("--max-memory is too little even for the smallest tile; raise it, or use fewer frames")
    return side // 4 * 4


def tile_bytes(frames: int, device: torch.device) -> float:
    """Bytes that one pixel of a tile takes, for all tiles that are computed at once."""
    return float((BYTES_PER_PIXEL + BYTES_PER_PIXEL_FRAME * frames) * workers(device))


def with_retreat(size: int, attempt: Callable[[int], T], on_retreat: Callable[[int], None]) -> T:
    """``attempt(size)``, halving the size at each out-of-memory error. Raises MemoryLimitError at last."""
    while True:
        try:
            return attempt(size)
        except Exception as error:  # MemoryError, RuntimeError of torch, cv2.error
            if not out_of_memory(error):
                raise
            smaller = (size or LARGEST_CUDA) // 2 // 4 * 4
            if smaller < SMALLEST:
                raise MemoryLimitError("out of memory even with the smallest tile") from error
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            size = smaller
            on_retreat(size)
