"""Bursts in which nothing moves: there the physics has the answer, and the network has nothing to add to it.

Who was taught to doubt doubts noise as well, and light beyond the reference's clip: where nothing moves either costs a
little. So a burst is looked through before it is fused, and where all but a hot pixel or a far bird stands still, its
frames are believed as the classical merge believes them. Only of files of more than 8 bits and RAW: in what a camera
developed, curves and JPEG differ too.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from smarthdr_cli.aligned_burst import AlignedBurst, Window
from smarthdr_cli.fusion.belief import SURE
from smarthdr_cli.fusion.motion import cells_of
from smarthdr_cli.fusion.noise import solved, variance_at
from smarthdr_cli.fusion.stillness import Likeness
from smarthdr_cli.fusion.tiles import MAX_TILE_CPU, Tile, parallel_map, tile_grid, to_tensor, worker_count
from smarthdr_cli.models.merge import TAPER_END
from smarthdr_cli.models.pairwise import MAX_TRAINED_EV, common_exposure, explained_difference
from smarthdr_cli.models.saf_layers import CELL
from smarthdr_cli.models.tensor_ops import box_max, box_mean

ALIKE = 0.99  # share of the textured windows of every pair within reach
DRIFT = 0.2  # EV by which a frame may be brighter than stated, as rounded shutter times are
# What two frames' means over 2x2 and over 12x12 pixels may differ by, in units of ``compare.explained_difference``: no
# more than LEAST and SURELY deviations of the burst's own noise, and never more than MOST, which is ISO 6400's.
SIDES = (2, 3 * CELL)
LEAST, MOST = (0.4, 0.3), (3.0, 0.6)
SURELY = 7.0
# Share of cells that differ by more, up to which the burst stands still but for those. Of 36 synthetic tripod bursts
# of ISO 100 to 6400 not one cell does; in their twins in which something moves 0.66 % and more.
FEW = 1e-3
NEAR = 33  # cells around such a cell that are left to the network, fully so as far as half of them
HOT = (6.0, 8.0)  # disagreement of two single pixels over which trust goes back to the network: such is no noise
WHITE = 0.9  # lifted level of a darker frame's brightest channel from which a RAW may be white above it


def at_rest(
    source: AlignedBurst, indices: Sequence[int], evs: Tensor, likeness: Mapping[int, Likeness],
    usual: Tensor | None, size: tuple[int, int], side: int,
) -> Tensor | None:  # fmt: skip
    """(1, 1, *size) on cells, 0 to 1: how surely a place stands still in all frames ``indices``, the reference first,
    ``evs`` (1, N), as aligned; 0 where one of them saw nothing. None unless next to all of the picture stands still.

    ``likeness`` of each other frame with the reference, by its place in ``indices``; ``usual``: the burst's noise, as
    ``usual_noise`` finds it. It is looked at in tiles of ``side``, 0 for as large as any.
    """
    if usual is None or any(frame.codes.dtype == np.uint8 for frame in source.burst.frames):
        return None
    near = [one for n, one in likeness.items() if abs(float(evs[0, n])) <= MAX_TRAINED_EV]
    told = [one.alike for one in near if one.alike is not None]
    if not told or min(told) < ALIKE or any(float(one.gain.abs().amax()) > DRIFT for one in near):
        return None
    gains, noise = {0: torch.zeros(3), **{n: one.gain for n, one in likeness.items()}}, solved(usual)
    height, width = source.burst.size
    tiles = list(tile_grid(height, width, min(side or MAX_TILE_CPU, MAX_TILE_CPU), margin=2 * CELL))
    tiles = [tile for first in range(8) for tile in tiles[first::8]]  # what moves is found early

    def look(tile: Tile) -> tuple[Tensor, Tensor]:
        return _differing(source, indices, evs, gains, noise, tile)

    left = FEW * -(-height // CELL) * -(-width // CELL)
    unsure = torch.zeros(1, 1, *size)
    for tile, (differs, unseen) in zip(
        tiles, parallel_map(look, tiles, worker_count(torch.device("cpu"))), strict=True
    ):
        left -= float(differs.sum())
        if left < 0:
            return None
        unsure[..., *cells_of(tile.core)] = differs.maximum(unseen)
    return 1 - box_mean(box_max(unsure, NEAR), NEAR // 2 + 1)


def believed(logit: Tensor, gap: Tensor, still: Tensor) -> tuple[Tensor, Tensor]:
    """Trust logits and disagreement, (1, 1, h, w), of a frame where it is known to stand ``still``, 0 to 1: full trust,
    and none, but for a hot pixel. In between, trust is mixed and not its logit.
    """
    same = still * ((HOT[1] - gap) / (HOT[1] - HOT[0])).clamp(0, 1)
    mixed = torch.lerp(logit.sigmoid(), torch.ones_like(logit), same).logit(eps=1e-7).maximum(logit)
    return torch.where(same < 1, torch.where(same > 0, mixed, logit), logit.clamp(min=SURE)), gap * (1 - same)


def _differing(
    source: AlignedBurst,
    indices: Sequence[int],
    evs: Tensor,
    gains: Mapping[int, Tensor],
    noise: tuple[Tensor, Tensor],
    tile: Tile,
) -> tuple[Tensor, Tensor]:
    """(1, 1, h, w) each, the cells of a tile's core: 1 where two frames differ by more than noise; and where not all
    saw it.

    Each is compared with the next in exposure, since what the reference clips is seen by the others only and they must
    agree there too, and with the reference, since what drifts slowly differs little from one to the next.
    """
    area = tile.window
    height, width = source.burst.size
    window = Window(area.top, area.left, min(area.height, height - area.top), min(area.width, width - area.left))
    parts = [tuple(to_tensor(part) for part in source.read(index, window)) for index in indices]
    seen = torch.stack([valid for _, valid in parts]).amin(dim=0)
    rising = evs[0].argsort().tolist()
    own = rising.index(0)
    pairs = {*pairwise(rising), *((n, 0) for n in rising[:own]), *((0, n) for n in rising[own + 1 :])}
    far = torch.zeros_like(F.max_pool2d(seen, CELL, ceil_mode=True))
    for darker, brighter in pairs:
        ev = (evs[0, brighter] - evs[0, darker]).view(1)
        drift = gains[brighter] - gains[darker]
        dark, bright = parts[darker][0] * torch.exp2(drift).view(1, 3, 1, 1), parts[brighter][0]
        raw = source.burst.frames[indices[brighter]].clipped is not None
        far = far.maximum(_apart(dark, bright, ev, seen, raw, noise))
    unseen = F.max_pool2d(1 - seen, CELL, ceil_mode=True)
    rows, columns = cells_of(tile.core)
    at = (..., slice(rows.start - area.top // CELL, rows.stop - area.top // CELL),
          slice(columns.start - area.left // CELL, columns.stop - area.left // CELL))  # fmt: skip
    return far[at], unseen[at]


def _apart(dark: Tensor, bright: Tensor, ev: Tensor, seen: Tensor, raw: bool, noise: tuple[Tensor, Tensor]) -> Tensor:
    """(1, 1, h, w) cells: 1 where two frames (1, 3, H, W), linear in their own units, differ by more than ``noise``,
    its photons' and the sensor's as ``noise.solved`` gives them; not where ``seen`` (1, 1, H, W) is 0.

    A ``raw`` file is white as soon as one channel clips, whatever the others were.
    """
    a, b, codes = common_exposure(dark, bright, ev)
    compared = seen > 0
    if raw:
        white = bright.amin(dim=1, keepdim=True) >= TAPER_END
        compared &= ~(white & ((dark * torch.exp2(ev)).amax(dim=1, keepdim=True) >= WHITE))
    both = torch.cat([(a - b) * compared, codes], dim=1)
    height, width = both.shape[-2:]
    small = _halved(F.pad(both, (0, -width % CELL, 0, -height % CELL), mode="replicate"))
    large = box_mean(_halved(small), SIDES[1] // CELL)  # around every cell
    fine, coarse = (
        (means[:, :3].abs() > _allowed(means[:, 3:], ev, noise, side, least, most)).any(dim=1, keepdim=True).float()
        for means, side, least, most in zip((small, large), SIDES, LEAST, MOST, strict=True)
    )
    return F.max_pool2d(fine, CELL // SIDES[0]).maximum(coarse)


def _halved(x: Tensor) -> Tensor:
    """Means over 2x2, of sides that are even; torch's own pooling takes three times as long."""
    rows = x[..., ::2, :] + x[..., 1::2, :]
    return (rows[..., ::2] + rows[..., 1::2]) / 4


def _allowed(codes: Tensor, ev: Tensor, noise: tuple[Tensor, Tensor], side: int, least: float, most: float) -> Tensor:
    """(1, 3, h, w) what means over ``side`` pixels of two frames' codes at the common exposure may differ by, where the
    darker one has ``codes``."""
    photons, read = noise[0].float(), noise[1].float()
    lift = torch.exp2(ev).view(-1, 1, 1, 1)
    level = codes.clamp(min=1e-3).log2() * 2.2
    own, shown = level.exp2(), (level + ev.view(-1, 1, 1, 1)).clamp(max=0)
    variance = lift.square() * variance_at(own, photons, read) + variance_at(shown.exp2(), photons, read)
    deviation = variance.sqrt() * (shown * (1 / 2.2 - 1)).exp2() / 2.2  # of codes
    unit = explained_difference(codes, ev)
    return (least * unit + SURELY / side * deviation).minimum(most * unit)
