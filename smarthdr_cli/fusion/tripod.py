"""Bursts in which nothing moves: there the physics has the answer, and the network has nothing to add to it.

Who was taught to doubt doubts noise as well, and light beyond the reference's clip: where nothing moves either costs a
little. So a burst is looked through before it is fused, and where all of it stands still its frames are believed as the
classical merge believes them. Only of 16-bit files and RAW: in what a camera developed, curves and JPEG differ too.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from smarthdr_cli.fusion.belief import SURE
from smarthdr_cli.fusion.bleach import bleaches
from smarthdr_cli.fusion.parallel import each
from smarthdr_cli.fusion.source import Source, Window
from smarthdr_cli.fusion.tiles import tensor
from smarthdr_cli.models.compare import FAR, common_exposure, disagreement
from smarthdr_cli.models.windows import box_mean

ALIKE = 0.99  # share of the textured windows of every pair within reach
# Sides of windows in pixels, and the disagreement of two frames' means over one that no noise explains. On 36 synthetic
# tripod bursts of ISO 100 to 6400 not one pixel lies above either; where something moves, 0.1 % and more do.
SIDES = ((9, 0.75), (3, 2.0))
FEW = 1e-4  # share of pixels above it that is put down to hot pixels
HOT = (6.0, 8.0)  # disagreement of two single pixels over which trust goes back to the network: such is no noise
BAND = 1 << 19  # pixels looked at at once


def nothing_moves(source: Source, indices: Sequence[int], evs: Tensor, alike: Mapping[int, float], count: int) -> bool:
    """Whether all frames ``indices`` of the burst, the reference first, ``evs`` (1, N), show one still scene, aligned.

    ``alike``: share of each other frame's textured windows that correlate with the reference's, by its place in
    ``indices``, 0 where none tells. ``count`` bands are looked at side by side.
    """
    if bleaches(source.burst):
        return False
    told = [share for n, share in alike.items() if share and abs(float(evs[0, n])) <= FAR]
    if not told or min(told) < ALIKE:
        return False
    height, width = source.burst.size
    allowed, found = FEW * height * width, 0
    for differing in each(lambda rows: _differing(source, indices, evs, rows), _bands(height, width), count):
        found += differing
        if found > allowed:
            return False
    return True


def at_rest(logit: Tensor, gap: Tensor) -> tuple[Tensor, Tensor]:
    """Trust logits and disagreement, (1, 1, h, w), of a frame known to stand still: full trust, and none, but for a hot
    pixel.
    """
    same = ((HOT[1] - gap) / (HOT[1] - HOT[0])).clamp(0, 1)
    return torch.lerp(logit, logit.clamp(min=SURE), same), gap * (1 - same)


def _bands(height: int, width: int) -> list[tuple[int, int]]:
    """First row and the one after the last of bands of BAND pixels, every eighth first: what moves is found early."""
    rows = max(BAND // width, 16)
    bands = [(top, min(top + rows, height)) for top in range(0, height, rows)]
    return [band for first in range(8) for band in bands[first::8]]


def _differing(source: Source, indices: Sequence[int], evs: Tensor, rows: tuple[int, int]) -> int:
    """Pixels of some rows where two frames next to one another in exposure differ by more than noise, of the two that
    differ most. What the reference clips is seen by the others only, and they must agree there too.
    """
    margin = max(side for side, _ in SIDES) // 2
    top, bottom = max(rows[0] - margin, 0), min(rows[1] + margin, source.burst.size[0])
    window = Window(top, 0, bottom - top, source.burst.size[1])
    rising = evs[0].argsort().tolist()
    most = 0
    before: tuple[Tensor, Tensor] | None = None
    for n, place in enumerate(rising):
        frame, valid = (tensor(part) for part in source.region(indices[place], window))
        if before is not None:
            ev = (evs[0, place] - evs[0, rising[n - 1]]).view(1)
            a, b, dark = common_exposure(before[0], frame, ev)
            b = torch.where(valid * before[1] > 0, b, a)
            far = torch.zeros_like(valid, dtype=torch.bool)
            for side, limit in SIDES:
                a_mean, b_mean, dark_mean = (box_mean(x, side) for x in (a, b, dark))
                far |= disagreement(a_mean, b_mean, dark_mean, ev) > limit
            most = max(most, int(far[..., rows[0] - top : rows[1] - top, :].sum()))
        before = frame, valid
    return most
