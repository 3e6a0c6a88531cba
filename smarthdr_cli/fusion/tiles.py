"""Tiles: how an image is split, how large a tile may be, and how tiles run in parallel.

A tile computes its core; it reads a window that extends the core by the receptive field of the computation. On a CPU
each tile runs in one thread on one core: copies, resampling and small layers then run side by side, and no thread waits
for another. On a GPU tiles run one after another.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smarthdr_cli.aligned_burst import Window
from smarthdr_cli.errors import MemoryLimitError, UsageError
from smarthdr_cli.models.saf_layers import CELL

A = TypeVar("A")
R = TypeVar("R")
F32 = NDArray[np.float32]

RECEPTIVE_FIELD = 40  # pixels around a core that SAF.verify and SAF.refine see: 9 cells of 4, and one more cell
MIN_TILE = 128  # pixels
MAX_TILE_CPU = 768  # pixels: larger tiles leave the caches, smaller ones overlap more
MAX_TILE_CUDA = 2048  # pixels
MAX_CUDA_SHARE = 0.6  # of the free memory of the device
# Bytes per pixel of a tile while it is computed, fixed and per frame, beyond the image itself; measured on a CPU.
BYTES_PER_PIXEL, BYTES_PER_PIXEL_FRAME = 420, 110


@dataclass(frozen=True)
class Tile:
    """``core``: the pixels that the tile contributes. ``window``: the pixels that it reads."""

    core: Window
    window: Window


def to_tensor(image: F32) -> Tensor:
    """(h, w, C) or (h, w) to (1, C, h, w)."""
    array = image[..., None] if image.ndim == 2 else image
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))[None]


def cells_of(window: Window) -> tuple[slice, slice]:
    """Rows and columns of the cells that a window covers; it begins on whole ones."""
    rows, columns = -(-(window.top + window.height) // CELL), -(-(window.left + window.width) // CELL)
    return slice(window.top // CELL, rows), slice(window.left // CELL, columns)


def around(core: Window, margin: int, size: tuple[int, int], unit: int = CELL) -> Window:
    """``core`` and ``margin`` pixels around it, within the picture of ``size`` but for sides that are multiples of
    ``unit``.
    """
    top, left = max(core.top - margin, 0) // unit * unit, max(core.left - margin, 0) // unit * unit
    bottom = min(core.top + core.height + margin, size[0])
    right = min(core.left + core.width + margin, size[1])
    return Window(top, left, -(-(bottom - top) // unit) * unit, -(-(right - left) // unit) * unit)


def tile_grid(height: int, width: int, size: int, margin: int) -> Iterator[Tile]:
    """Tiles of at most ``size`` pixels whose cores cover (height, width) once; ``size`` 0 is one tile."""
    step_y = height if size == 0 else min(_even_step(height, size), height)
    step_x = width if size == 0 else min(_even_step(width, size), width)
    for top in range(0, height, step_y):
        for left in range(0, width, step_x):
            core = Window(top, left, min(step_y, height - top), min(step_x, width - left))
            y0, x0 = max(0, top - margin), max(0, left - margin)
            y1, x1 = min(height, top + core.height + margin), min(width, left + core.width + margin)
            yield Tile(core, Window(y0, x0, _round_up(y1 - y0), _round_up(x1 - x0)))


def tile_size(option: str, frames: int, device: torch.device, max_memory: float | None, overhead: float) -> int:
    """Side of a tile in pixels, 0 for one tile, from ``--tile`` and a memory limit.

    ``max_memory``: bytes, on a CPU for the process, which needs ``overhead`` of them beside the tiles, on CUDA for the
    device. Raises UsageError for an invalid size, MemoryLimitError where the smallest tile does not fit.
    """
    if option == "0":
        return 0
    if option != "auto":
        if not option.isdecimal() or int(option) < MIN_TILE:
            raise UsageError(f"--tile {option}: use auto, 0 (one tile) or a size from {MIN_TILE} pixels")
        return _round_down(int(option))
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0] * MAX_CUDA_SHARE
        budget = free if max_memory is None else min(free, max_memory)
        largest = MAX_TILE_CUDA
    else:
        budget = float("inf") if max_memory is None else max_memory - overhead
        largest = MAX_TILE_CPU
    area = max(budget, 0) / tile_bytes(frames, device)
    side = int(min(area, float(largest) ** 2) ** 0.5) - 2 * RECEPTIVE_FIELD * (area < largest**2)
    if side < MIN_TILE:
        raise MemoryLimitError("--max-memory is too little even for the smallest tile; raise it, or use fewer frames")
    return _round_down(side)


def tile_bytes(frames: int, device: torch.device) -> float:
    """Bytes per pixel of a tile, for all tiles that are computed at the same time."""
    return float((BYTES_PER_PIXEL + BYTES_PER_PIXEL_FRAME * frames) * worker_count(device))


def smaller_tile(size: int, error: Exception) -> int:
    """Half of ``size``, for another attempt after the out-of-memory ``error``.

    Raises MemoryLimitError where that is below MIN_TILE.
    """
    smaller = _round_down((size or MAX_TILE_CUDA) // 2)
    if smaller < MIN_TILE:
        raise MemoryLimitError("out of memory even with the smallest tile") from error
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return smaller


def worker_count(device: torch.device) -> int:
    """Number of tiles computed at the same time: torch's number of threads on a CPU, 1 on a GPU."""
    return 1 if device.type != "cpu" else max(1, torch.get_num_threads())


def parallel_map(work: Callable[[A], R], items: Iterable[A], count: int) -> Iterator[R]:
    """``work`` of every item, in order, ``count`` at a time, one thread each, without gradients.

    The first exception ends it and is raised.
    """
    if count == 1:
        yield from map(partial(_without_gradients, work), items)
        return
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(partial(_without_gradients, work), items)
    finally:
        torch.set_num_threads(threads)


def _without_gradients(work: Callable[[A], R], item: A) -> R:
    with torch.inference_mode():  # a setting of the thread
        return work(item)


def _round_up(length: int) -> int:
    return -(-length // CELL) * CELL


def _round_down(length: int) -> int:
    return length // CELL * CELL


def _even_step(length: int, size: int) -> int:
    """The step of at most ``size`` that splits ``length`` into tiles of similar size, a multiple of CELL."""
    return _round_up(-(-length // -(-length // size)))
