"""How noisy a burst is all over the picture: for the places of which no two of its frames tell.

One frame's shadow, a sky that clips in a channel of all frames but the shortest: there is noise there too, and the same
camera's as elsewhere.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from smarthdr_cli.aligned_burst import AlignedBurst, Window
from smarthdr_cli.fusion.border import unmoved
from smarthdr_cli.fusion.noise import AROUND, cells, equations
from smarthdr_cli.models.merge import merge
from smarthdr_cli.models.saf_layers import CELL
from smarthdr_cli.models.tensor_ops import box_mean

ACROSS = 6  # windows looked at along either side
SIDE = 64  # pixels of one
# Share of the surroundings that two frames must show: what is left beside clipped light is darker than it.
WHOLE = (0.9, 0.95)
QUIET = 0.25  # of the usual variance: a window with less holds a flat drawing, or what JPEG has smoothed


@torch.inference_mode()
def usual_noise(source: AlignedBurst, indices: Sequence[int], evs: Tensor) -> Tensor | None:
    """(5,) means of ``noise.equations`` over a grid of windows of the frames as aligned; None where none tells any.

    ``indices``: of the burst, the reference first, ``evs`` (1, N). What moved or does not lie upon itself differs by
    more than noise and weighs the less for it: errors are relative. For the same reason windows without noise would
    outweigh all others, and are left out.
    """
    told = []
    for window in _windows(source.burst.size):
        part = unmoved(source, indices, evs, window)
        merged, _ = merge(part.frames, evs, part.counts)
        level = box_mean(cells(merged[..., 1::CELL, :]).mean(dim=1, keepdim=True).clamp(min=0), AROUND)
        sums, known = equations(part.frames, evs, part.counts, level, WHOLE)
        if weight := float(known.sum()):
            told.append(torch.cat([sums.flatten(1).sum(dim=1), sums.new_tensor([weight])]))
    if not told:
        return None
    windows = torch.stack(told, dim=1)
    photons = windows[3] / windows[0]  # as far as each goes, were all of it photon noise
    sums = windows[:, photons >= QUIET * photons.median()].sum(dim=1)
    return sums[:5] / sums[5]


def _windows(size: tuple[int, int]) -> Iterator[Window]:
    """A grid over the picture, on whole cells; all of it where it is small."""
    starts = []
    for length in size:
        side = min(SIDE, length // CELL * CELL)
        room = (length - side) // CELL
        starts.append([(CELL * (room * k // (ACROSS - 1)), side) for k in range(ACROSS if room else 1)])
    for top, height in starts[0]:
        for left, width in starts[1]:
            if height and width:
                yield Window(top, left, height, width)
