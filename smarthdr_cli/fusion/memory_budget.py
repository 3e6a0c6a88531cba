"""What ``--tile`` and ``--max-memory`` mean for one burst: the tile size and the number of parallel motion estimates.

Peak memory of a fusion in bytes, for P pixels per frame, N frames through the network, C bytes of source codes, m
parallel motion estimates and tiles of A pixels:

    motion  PROCESS + C + P (MOTION_STATE (N - 1) + MOTION_WORK m)
    tiles   PROCESS + C + P (RESULT + MOTION_STATE (N - 1)) + A tile_bytes(N)

The constants are peaks of the resident set measured on 12 and 24 megapixels; they hold for a CPU. On CUDA the limit is
the device's and concerns the tiles alone.
"""

import math
from dataclasses import dataclass

import torch

from smarthdr_cli.errors import MemoryLimitError
from smarthdr_cli.fusion.tiles import MIN_TILE, RECEPTIVE_FIELD, tile_bytes, tile_size, worker_count

PROCESS = 450e6  # bytes of the libraries and the network; peaks of one burst differ by a tenth from run to run
# Bytes per pixel of a frame:
RESULT = 16.0  # radiance and sigma
MOTION_STATE = 6.0  # what is kept of the motion of one frame
MOTION_WORK = 36.0  # one motion estimate while it runs


@dataclass(frozen=True)
class MemoryBudget:
    """``tile``: side in pixels, 0 for one tile. ``parallel_motions``: motion estimates at a time. ``tile_bytes``: bytes
    left for tiles."""

    tile: int
    parallel_motions: int
    tile_bytes: float = math.inf


@dataclass(frozen=True)
class BurstSize:
    """``pixels`` of a frame, ``code_bytes`` of all frames, ``frames`` that go through the network."""

    pixels: float
    code_bytes: float
    frames: int

    def motion_bytes(self, parallel: int) -> float:
        """Peak while motion is estimated."""
        return PROCESS + self.code_bytes + self.pixels * (MOTION_STATE * (self.frames - 1) + MOTION_WORK * parallel)

    def image_bytes(self) -> float:
        """Peak while tiles are fused, without the tiles."""
        return PROCESS + self.code_bytes + self.pixels * (RESULT + MOTION_STATE * (self.frames - 1))

    def tiled_bytes(self, tile: int, device: torch.device) -> float:
        """Peak while tiles of that side are fused; 0 is one tile."""
        area = min((tile + 2 * RECEPTIVE_FIELD) ** 2, self.pixels) if tile else self.pixels
        return self.image_bytes() + area * tile_bytes(self.frames, device)

    def min_bytes(self, device: torch.device, *, with_motion: bool = True) -> float:
        """The smallest limit under which the burst can be fused, with or without motion estimation."""
        return max(self.motion_bytes(1) if with_motion else 0.0, self.tiled_bytes(MIN_TILE, device))


def memory_budget(
    tile: str, size: BurstSize, device: torch.device, max_memory: float | None, *, with_motion: bool = True
) -> MemoryBudget:
    """What the options ``--tile`` and ``--max-memory`` (bytes) allow for a burst.

    Raises UsageError for an invalid tile, MemoryLimitError, naming what is needed, for a limit below that.
    """
    count = worker_count(device)
    if max_memory is None or device.type != "cpu":
        return MemoryBudget(tile_size(tile, size.frames, device, max_memory, 0.0), count)
    needed = size.min_bytes(device, with_motion=with_motion)
    if tile != "auto":
        needed = max(needed, size.tiled_bytes(tile_size(tile, size.frames, device, None, 0.0), device))
    if max_memory < needed:
        condition = "" if tile == "auto" else f" under --tile {tile}"
        burst = f"{size.frames} frames of {size.pixels / 1e6:.1f} megapixels{condition}"
        enough = f"{math.ceil(needed / 2**20 / 10) * 10}M"  # as the flag takes it, and no less than is needed
        raise MemoryLimitError(f"--max-memory is too little: {burst} need --max-memory {enough}")
    side = tile_size(tile, size.frames, device, max_memory, size.image_bytes())
    parallel = count if size.motion_bytes(count) <= max_memory else 1
    return MemoryBudget(side, parallel, max_memory - size.image_bytes())
