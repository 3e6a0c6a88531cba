"""What a fusion takes of memory, and what fits into a limit: the tile, and how many motions are found at once.

Figures were measured as peaks of the resident set on 12 and 24 megapixels and hold for a CPU; on CUDA the limit is the
device's and concerns tiles alone.
"""

import math
from dataclasses import dataclass

import torch

from smarthdr_cli.errors import MemoryLimitError
from smarthdr_cli.fusion.parallel import workers
from smarthdr_cli.fusion.tiles import MARGIN, SMALLEST, tile_bytes, tile_size

PROCESS = 450e6  # bytes of the libraries and the network; peaks of one burst differ by a tenth from run to run
# Bytes for each pixel of the picture:
RESULT = 16.0  # radiance and sigma
STATE = 6.0  # what the motion of one frame leaves behind
MOTION = 36.0  # what finding one motion takes while it goes on


@dataclass(frozen=True)
class Room:
    """``tile``: side in pixels, 0 for one tile. ``at_once``: motions found side by side. ``spare``: bytes for tiles."""

    tile: int
    at_once: int
    spare: float = math.inf


@dataclass(frozen=True)
class Load:
    """A burst to be fused: ``pixels`` of a frame, ``codes`` bytes of all, ``frames`` that go through the network."""

    pixels: float
    codes: float
    frames: int

    def motion_bytes(self, at_once: int) -> float:
        """While motions are found; the result is not there yet."""
        return PROCESS + self.codes + self.pixels * (STATE * (self.frames - 1) + MOTION * at_once)

    def held_bytes(self) -> float:
        """While tiles are fused, without the tiles."""
        return PROCESS + self.codes + self.pixels * (RESULT + STATE * (self.frames - 1))

    def least_bytes(self, device: torch.device, *, moving: bool = True) -> float:
        """The smallest limit that this burst can be fused within; not ``moving``: by the physics alone."""
        return max(self.motion_bytes(1) if moving else 0.0, self.tiled_bytes(SMALLEST, device))

    def tiled_bytes(self, tile: int, device: torch.device) -> float:
        """While tiles of that side are fused; 0 is one tile."""
        area = min((tile + 2 * MARGIN) ** 2, self.pixels) if tile else self.pixels
        return self.held_bytes() + area * tile_bytes(self.frames, device)


def room(option: str, load: Load, device: torch.device, max_memory: float | None, *, moving: bool = True) -> Room:
    """What ``--tile`` and ``--max-memory`` leave.

    Raises UsageError for a tile that is no number or too small, MemoryLimitError, which names what would be needed,
    for a limit below what the burst takes.
    """
    count = workers(device)
    if max_memory is None or device.type != "cpu":
        return Room(tile_size(option, load.frames, device, max_memory, 0.0), count)
    needed = load.least_bytes(device, moving=moving)
    if option != "auto":
        needed = max(needed, load.tiled_bytes(tile_size(option, load.frames, device, None, 0.0), device))
    if max_memory < needed:
        tiles = "" if option == "auto" else f" under --tile {option}"
        said = f"{load.frames} frames of {load.pixels / 1e6:.1f} megapixels{tiles} need about {needed / 2**30:.2g}G"
        raise MemoryLimitError(f"--max-memory is too little: {said}")
    tile = tile_size(option, load.frames, device, max_memory, load.held_bytes())
    return Room(tile, count if load.motion_bytes(count) <= max_memory else 1, max_memory - load.held_bytes())
