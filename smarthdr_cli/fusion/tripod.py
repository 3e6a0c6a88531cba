"""Bursts in which nothing moves: there the physics has the answer, and the network has nothing to add to it.

Who was taught to doubt doubts noise as well, and light beyond the reference's clip: where nothing moves either costs a
little. So a burst is looked through before it is fused, and where all but a hot pixel or a far bird stands still, its
frames are believed as the classical merge believes them. Only of 16-bit files and RAW: in what a camera developed,
curves and JPEG differ too.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from smarthdr_cli.fusion.belief import SURE
from smarthdr_cli.fusion.bleach import bleaches
from smarthdr_cli.fusion.parallel import each
from smarthdr_cli.fusion.source import Source, Window
from smarthdr_cli.fusion.stillness import around
from smarthdr_cli.fusion.tiles import tensor
from smarthdr_cli.models.compare import FAR, common_exposure, disagreement
from smarthdr_cli.models.levels import CELL

ALIKE = 0.99  # share of the textured windows of every pair within reach
# Disagreement of two frames' means over 2x2 and over 8x8 pixels that no noise explains. On 40 synthetic tripods of
# ISO 100 to 6400 the largest are 2.4 and 0.63; where something moves, 8 and 1.5 and more are reached.
OVER_2, OVER_8 = 3.0, 0.8
FEW = 1e-3  # share of cells with one above it, up to which the burst stands still but for those
NEAR = 33  # cells around such a cell that are left to the network, less and less towards their edge
HOT = (6.0, 8.0)  # disagreement of two single pixels over which trust goes back to the network: such is no noise
BAND = 1 << 19  # pixels looked at at once


def at_rest(
    source: Source, indices: Sequence[int], evs: Tensor, alike: Mapping[int, float], size: tuple[int, int], count: int
) -> Tensor | None:
    """(1, 1, *size) on cells, 0 to 1: how surely a place stands still in all frames ``indices``, the reference first,
    ``evs`` (1, N), as aligned. None unless next to all of the picture does.

    ``alike``: share of each other frame's textured windows that correlate with the reference's, by its place in
    ``indices``, 0 where none tells. ``count`` bands are looked at side by side.
    """
    if bleaches(source.burst):
        return None
    told = [share for n, share in alike.items() if share and abs(float(evs[0, n])) <= FAR]
    if not told or min(told) < ALIKE:
        return None
    height, width = source.burst.size
    bands = _bands(height, width)
    differs = torch.zeros(1, 1, *size)
    left = FEW * -(-height // CELL) * -(-width // CELL)
    found = each(lambda rows: _differing(source, indices, evs, rows), bands, count)
    for (top, bottom), cells in zip(bands, found, strict=True):
        left -= float(cells.sum())
        if left < 0:
            return None
        differs[..., top // CELL : -(-bottom // CELL), : cells.shape[-1]] = cells
    return 1 - around(differs, NEAR)


def believed(logit: Tensor, gap: Tensor, still: Tensor) -> tuple[Tensor, Tensor]:
    """Trust logits and disagreement, (1, 1, h, w), of a frame where it is known to stand ``still``, 0 to 1: full trust,
    and none, but for a hot pixel.
    """
    same = still * ((HOT[1] - gap) / (HOT[1] - HOT[0])).clamp(0, 1)
    return torch.lerp(logit, logit.clamp(min=SURE), same), gap * (1 - same)


def _bands(height: int, width: int) -> list[tuple[int, int]]:
    """First row and the one after the last of bands of BAND pixels, on whole cells, every eighth first: what moves is
    found early."""
    rows = max(BAND // width // CELL, 4) * CELL
    bands = [(top, min(top + rows, height)) for top in range(0, height, rows)]
    return [band for first in range(8) for band in bands[first::8]]


def _differing(source: Source, indices: Sequence[int], evs: Tensor, rows: tuple[int, int]) -> Tensor:
    """(1, 1, h, w), the cells of some rows: 1 where two frames next to one another in exposure differ by more than
    noise, else 0.

    What the reference clips is seen by the others only, and they must agree there too.
    """
    top, bottom = max(rows[0] - CELL, 0), min(rows[1] + CELL, source.burst.size[0])  # a window of 8 reaches over a cell
    window = Window(top, 0, bottom - top, source.burst.size[1])
    rising = evs[0].argsort().tolist()
    far = torch.zeros(1, 1, -(-window.height // CELL), -(-window.width // CELL))
    before, known, none, codes = torch.empty(0), torch.empty(0), torch.zeros(()), None
    for n, place in enumerate(rising):
        frame, valid = (tensor(part) for part in source.region(indices[place], window))
        if n:
            ev = (evs[0, place] - evs[0, rising[n - 1]]).view(1)
            a, codes, dark = common_exposure(before, frame, ev, codes)
            both = torch.cat([(a - codes) * (valid * known > 0), dark], dim=1)
            small = F.avg_pool2d(both, 2, ceil_mode=True, count_include_pad=False)
            large = F.avg_pool2d(small, 4, 2, 1, ceil_mode=True, count_include_pad=False)  # centred on every cell
            by_2, by_8 = (disagreement(means[:, :3], none, means[:, 3:], ev) for means in (small, large))
            far = far.maximum(F.max_pool2d((by_2 > OVER_2).float(), 2, ceil_mode=True)).maximum(by_8 > OVER_8)
        before, known = frame, valid
    return far[..., (rows[0] - top) // CELL :, :][..., : -(-(rows[1] - rows[0]) // CELL), :]
