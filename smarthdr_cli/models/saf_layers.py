"""The levels on which saf looks for motion: a pyramid of box means, and what one level hands to the next."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

CELL = 4  # pixels along the side of a cell, on which trust is decided and features are folded
REACH = 12  # cells a level sees beyond its own: encoder 3, cost volume 2 + 2, decoder 3, head 1, and one more


@dataclass(frozen=True)
class Motion:
    """State of one pyramid level: ``flow`` (P, 2, h, w) in that level's pixels, ``logit`` (P, 1, h, w), ``hidden``."""

    flow: Tensor
    logit: Tensor
    hidden: Tensor


def fold(planes: Tensor) -> Tensor:
    """(P, C, H, W) to (P, C * CELL**2, H / CELL, W / CELL): ``pixel_unshuffle``, which is slower in bf16 on a CPU."""
    p, c, h, w = planes.shape
    cells = planes.view(p, c, h // CELL, CELL, w // CELL, CELL).permute(0, 1, 3, 5, 2, 4)
    return cells.reshape(p, c * CELL * CELL, h // CELL, w // CELL)


def pyramid(image: Tensor, finest: int = CELL) -> list[Tensor]:
    """Box-averaged levels of (P, 3, H, W) from the coarsest (short side 8 to 15) to cells of ``finest`` pixels."""
    levels = [F.avg_pool2d(image, CELL)]
    while min(levels[-1].shape[-2:]) >= 16:
        levels.append(F.avg_pool2d(levels[-1], 2))
    finer = [F.avg_pool2d(image, side) for side in (2, 1) if finest <= side]
    return levels[::-1] + finer


def upsample(state: Motion, factor: int) -> Motion:
    """A level's state brought to ``factor`` times its size."""
    flow, logit, hidden = (F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
                           for x in (state.flow * factor, state.logit, state.hidden))  # fmt: skip
    return Motion(flow, logit, hidden)
