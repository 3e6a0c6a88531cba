"""Fusion by gfhdr: three frames, in overlapping tiles that are blended.

The channel attention averages over a tile, so neighbouring tiles differ where they overlap. With t the tiles, f_t the
result of one and w_t its weight, 1 in the middle and falling linearly to 0 over 2 OVERLAP pixels towards its
neighbours:

    H = sum_t w_t f_t / sum_t w_t
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from smarthdr_cli.aligned_burst import AlignedBurst
from smarthdr_cli.burst.burst import Frame
from smarthdr_cli.burst.reference import spanning_frames
from smarthdr_cli.errors import MemoryLimitError, UsageError
from smarthdr_cli.fusion.memory_budget import MemoryBudget
from smarthdr_cli.fusion.result import FuserRecord, FusionStatistics, RadianceSigma, TiledFusion
from smarthdr_cli.fusion.static_merge import difference_from_classical, flag_clipped
from smarthdr_cli.fusion.tiles import MIN_TILE, Tile, tile_grid, to_tensor
from smarthdr_cli.models.gfhdr import FRAMES, GFHDR, pack_frames
from smarthdr_cli.models.merge import clamp_to_reference_strict, merge
from smarthdr_cli.models.saf_layers import CELL
from smarthdr_cli.models.uncertainty_calibration import Calibration

F32 = NDArray[np.float32]
OVERLAP = 32  # pixels by which a tile reaches into its neighbours
MAX_TILE = 512  # pixels
MIN_WEIGHT = 1e-3  # of a tile's outermost pixels
# Bytes for computing tiles at all, and for each pixel of one; measured on a CPU in fp32, with freed memory kept.
FIXED_BYTES, BYTES_PER_PIXEL = 600e6, 3800.0


@dataclass(frozen=True)
class GFHDRFuser:
    """gfhdr on its device, in its precision, as a ``Fuser``."""

    model: GFHDR
    device: torch.device
    dtype: torch.dtype
    calibration: Calibration | None
    record: FuserRecord

    @torch.inference_mode()
    def fuse(
        self, burst: AlignedBurst, budget: MemoryBudget, *, strong: bool, on_progress: Callable[[float], None]
    ) -> TiledFusion:
        """Fuse the reference and the two frames that span the range of exposures best with it.

        Raises UsageError for a burst of two frames, MemoryLimitError where the smallest tile does not fit.
        """
        notes = ["gfhdr has no trust to lower: --deghost strong changes nothing"] if strong else []
        size = tile_within(budget.tile, budget.tile_bytes, math.prod(burst.burst.size))
        unused = len(burst.burst) - FRAMES
        if unused < 0:
            raise UsageError("gfhdr weights fuse three frames; this burst has two (saf weights take 2 to 9)")
        members = spanning_frames(burst.burst, FRAMES)
        image = fuse_three(self, burst, members, size, on_progress)
        if unused:
            notes.append(f"gfhdr takes three frames; the other {unused} are not used")
        scale = float(np.exp2(burst.burst.evs[list(members)].min()))
        difference = difference_from_classical(cell_means(image.radiance), classical_cells(burst, members), scale)
        return TiledFusion(image, FusionStatistics(size, FRAMES, 0, difference, notes=tuple(notes)))


def tile_within(size: int, available: float, pixels: int) -> int:
    """Side of a tile, at most ``size`` (0: one tile of all ``pixels``), that ``available`` bytes hold.

    Raises MemoryLimitError where the smallest tile does not fit, or the whole image where that was asked for.
    """
    if not size:
        needed = FIXED_BYTES + BYTES_PER_PIXEL * pixels
        if needed > available:
            raise MemoryLimitError(f"--max-memory is too little: gfhdr takes {needed / 2**30:.2g}G under --tile 0")
        return 0
    area = max(0.0, min(available - FIXED_BYTES, 1e12)) / BYTES_PER_PIXEL
    side = min(size, MAX_TILE, int(area**0.5) - 2 * OVERLAP)
    if side < MIN_TILE:
        raise MemoryLimitError("--max-memory is too little: gfhdr takes 0.7G for its smallest tile, beside the picture")
    return side // CELL * CELL


@torch.inference_mode()
def fuse_three(
    fuser: GFHDRFuser, burst: AlignedBurst, members: tuple[int, ...], size: int, on_progress: Callable[[float], None]
) -> RadianceSigma:
    """Fuse three frames (by rising exposure, the reference among them) in tiles of ``size`` pixels, 0 for one tile."""
    height, width = burst.burst.size
    reference = burst.burst.reference
    others = [i for i in members if i != reference]
    indices = [others[0], reference, others[1]]
    evs = torch.tensor([[float(burst.burst.evs[i]) for i in indices]])
    scale = float(torch.exp2(evs.min()))
    calibration = fuser.calibration
    if calibration is not None:
        calibration = calibration.for_codes(frame.codes.dtype for frame in burst.burst.frames)
    light, sigma, total = (np.zeros((height, width, channels), np.float32) for channels in (3, 1, 1))
    done = 0
    for tile in tile_grid(height, width, size, margin=OVERLAP):
        window = tile.window
        frames = torch.stack([to_tensor(burst.read(i, window)[0]) for i in indices], dim=1).to(fuser.device)
        output = fuser.model.predict(pack_frames(frames, evs.to(fuser.device)).to(fuser.dtype))
        radiance = output.radiance.float() / scale
        radiance = clamp_to_reference_frame(radiance, frames[:, 1], burst.burst.frames[reference])
        raw_sigma = output.log_sigma.exp()
        tile_sigma = raw_sigma if calibration is None else calibration.apply_torch(raw_sigma)
        weight = blend_weight(tile, height, width)
        h, w = weight.shape[:2]
        rows, columns = slice(window.top, window.top + h), slice(window.left, window.left + w)
        for target, value in ((light, radiance), (sigma, tile_sigma)):
            target[rows, columns] += value[0, :, :h, :w].permute(1, 2, 0).cpu().numpy() * weight
        total[rows, columns] += weight
        done += tile.core.height * tile.core.width
        on_progress(done / (height * width))
    if not bool((total > 0).all()):
        raise AssertionError("tiles do not cover the picture")
    light /= total
    sigma /= total
    return RadianceSigma(light, flag_clipped(to_tensor(sigma), to_tensor(light), scale)[0, 0].numpy())


def clamp_to_reference_frame(light: Tensor, reference: Tensor, frame: Frame) -> Tensor:
    """``light`` clamped to what the reference measured, ``reference`` its pixels in a tile and ``frame`` its file.

    Clipped pixels of a RAW file read 1 in all channels (aligned_burst.py); of them only the brightest channel is known,
    and only from below.
    """
    clamped = clamp_to_reference_strict(light, reference)
    if frame.clipped is None:
        return clamped
    raised = light * (1 / light.amax(dim=1, keepdim=True)).clamp(min=1)
    return torch.where(reference.amin(dim=1, keepdim=True) >= 1, raised, clamped)


def blend_weight(tile: Tile, height: int, width: int) -> F32:
    """w: (h, w, 1) of the pixels of a tile's window that lie inside the image."""
    ramps = []
    for low, high, end in (
        (tile.window.top, min(tile.window.top + tile.window.height, height), height),
        (tile.window.left, min(tile.window.left + tile.window.width, width), width),
    ):
        centre = np.arange(low, high, dtype=np.float32) + 0.5
        rise = np.ones_like(centre) if low == 0 else (centre - low) / (2 * OVERLAP)
        fall = np.ones_like(centre) if high == end else (high - centre) / (2 * OVERLAP)
        ramps.append(np.clip(np.minimum(rise, fall), MIN_WEIGHT, 1.0))
    weight: F32 = (ramps[0][:, None] * ramps[1][None])[..., None]
    return weight


def cell_means(light: F32) -> F32:
    """(H, W, 3) to the means of its cells; edges are repeated."""
    image: Tensor = to_tensor(light)
    h, w = image.shape[-2:]
    image = F.avg_pool2d(F.pad(image, (0, -w % CELL, 0, -h % CELL), mode="replicate"), CELL)
    return image[0].permute(1, 2, 0).numpy()


def classical_cells(burst: AlignedBurst, members: tuple[int, ...]) -> F32:
    """The classical merge of the cell means of ``members``."""
    reference = burst.burst.reference
    indices = [reference, *(i for i in members if i != reference)]
    evs = torch.tensor([[float(burst.burst.evs[i]) for i in indices]])
    frames = torch.stack([to_tensor(burst.downsample(i, CELL)) for i in indices], dim=1)
    merged, _ = merge(frames, evs, torch.ones_like(frames[:, 1:, :1]))
    return merged[0].permute(1, 2, 0).numpy()
