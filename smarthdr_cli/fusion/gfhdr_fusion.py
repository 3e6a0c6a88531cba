"""Fusion by gfhdr: three frames, overlapping tiles, blended, because its attention pools over the tile it sees."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from smarthdr_cli.aligned_burst import AlignedBurst
from smarthdr_cli.burst.burst import Frame
from smarthdr_cli.errors import MemoryLimitError
from smarthdr_cli.fusion.network_fusion import Outcome
from smarthdr_cli.fusion.static_merge import RadianceSigma, compare, flag_clipped, order
from smarthdr_cli.fusion.tiles import SMALLEST, Tile, grid, tensor
from smarthdr_cli.models.judged import JudgedGFHDR, gfhdr_input
from smarthdr_cli.models.measured import held
from smarthdr_cli.models.merge import merge
from smarthdr_cli.models.saf_layers import CELL
from smarthdr_cli.models.uncertainty_calibration import Calibration

F32 = NDArray[np.float32]
OVERLAP = 32  # pixels over which neighbouring tiles fade into each other
LARGEST = 512  # px, side of a tile
SCRATCH, BYTES_PER_PIXEL = 600e6, 2700.0  # what computing tiles takes, and each pixel of one beside; measured on a CPU


def side_within(size: int, spare: float, pixels: int) -> int:
    """Side of a tile, at most ``size`` (0: all ``pixels`` of the picture at once), that ``spare`` bytes hold.

    Raises MemoryLimitError where not even the smallest tile fits, or not the whole picture where that was asked for.
    """
    if not size:
        needed = SCRATCH + BYTES_PER_PIXEL * pixels
        if needed > spare:
            raise MemoryLimitError(f"--max-memory is too little: gfhdr takes {needed / 2**30:.2g}G under --tile 0")
        return 0
    area = max(0.0, min(spare - SCRATCH, 1e12)) / BYTES_PER_PIXEL
    side = min(size, LARGEST, int(area**0.5) - 2 * OVERLAP)
    if side < SMALLEST:
        raise MemoryLimitError("--max-memory is too little: gfhdr takes 0.7G for its smallest tile, beside the picture")
    return side // 4 * 4


@torch.inference_mode()
def fuse_three(
    model: JudgedGFHDR,
    device: torch.device,
    dtype: torch.dtype,
    calibration: Calibration | None,
    source: AlignedBurst,
    chosen: tuple[int, ...],
    size: int,
    on_progress: Callable[[float], None],
) -> Outcome:
    """Fuse the three ``chosen`` frames (ascending EV, the reference among them) in tiles of ``size``, 0 for one."""
    height, width = source.burst.size
    reference = source.burst.reference
    others = [i for i in chosen if i != reference]
    indices = [others[0], reference, others[1]]
    evs = torch.tensor([[float(source.burst.evs[i]) for i in indices]])
    scale = float(torch.exp2(evs.min()))
    light, sigma, weight = (np.zeros((height, width, c), np.float32) for c in (3, 1, 1))
    done = 0
    for tile in grid(height, width, size, margin=OVERLAP):
        w = tile.window
        frames = torch.stack([tensor(source.read(i, w)[0]) for i in indices], dim=1).to(device)
        out = model(gfhdr_input(frames, evs.to(device)).to(dtype))
        result = believed(out.radiance.float() / scale, frames[:, 1], source.burst.frames[reference])
        uncertain = out.log_sigma.exp() if calibration is None else calibration.apply_torch(out.log_sigma.exp())
        fade = ramp(tile, height, width)
        h, v = fade.shape[:2]
        rows, columns = slice(w.top, w.top + h), slice(w.left, w.left + v)
        for target, value in ((light, result), (sigma, uncertain)):
            target[rows, columns] += value[0, :, :h, :v].permute(1, 2, 0).cpu().numpy() * fade
        weight[rows, columns] += fade
        done += tile.core.height * tile.core.width
        on_progress(done / (height * width))
    if not bool((weight > 0).all()):
        raise AssertionError("tiles do not cover the picture")
    light /= weight
    sigma /= weight
    flagged = flag_clipped(tensor(sigma), tensor(light), scale)[0, 0].numpy()
    return Outcome(RadianceSigma(light, flagged), compare(shrunk(light), classical(source, chosen), scale), 0.0, 1.0)


def believed(light: Tensor, seen: Tensor, frame: Frame) -> Tensor:
    """``light`` within what the reference ``frame`` measured, of which ``seen`` is the part in this tile.

    Where a RAW clipped in any channel it reads 1 in all of them (aligned_burst.py): there the brightest one alone is
    known to be no darker.
    """
    result = held(light, seen)
    if frame.clipped is None:
        return result
    lifted = light * (1 / light.amax(dim=1, keepdim=True)).clamp(min=1)
    return torch.where(seen.amin(dim=1, keepdim=True) >= 1, lifted, result)


def ramp(tile: Tile, height: int, width: int) -> F32:
    """(h, w, 1) weight of a tile's pixels inside the picture: 1 in its middle, fading over what it shares."""
    lines = []
    for low, high, end in (
        (tile.window.top, min(tile.window.top + tile.window.height, height), height),
        (tile.window.left, min(tile.window.left + tile.window.width, width), width),
    ):
        at = np.arange(low, high, dtype=np.float32) + 0.5
        rise = np.ones_like(at) if low == 0 else (at - low) / (2 * OVERLAP)
        fall = np.ones_like(at) if high == end else (high - at) / (2 * OVERLAP)
        lines.append(np.clip(np.minimum(rise, fall), 1e-3, 1.0))
    weight: F32 = (lines[0][:, None] * lines[1][None])[..., None]
    return weight


def shrunk(light: F32) -> F32:
    """Box means over cells; edges repeated."""
    image: Tensor = tensor(light)
    h, w = image.shape[-2:]
    image = F.avg_pool2d(F.pad(image, (0, -w % CELL, 0, -h % CELL), mode="replicate"), CELL)
    return image[0].permute(1, 2, 0).numpy()


def classical(source: AlignedBurst, chosen: tuple[int, ...]) -> F32:
    """The physical merge of ``chosen`` on cells, for the guard."""
    indices, evs = order(source, chosen)
    frames = torch.stack([tensor(source.downsample(i, CELL)) for i in indices], dim=1)
    merged, _ = merge(frames, evs, torch.ones_like(frames[:, 1:, :1]))
    return merged[0].permute(1, 2, 0).numpy()
