"""From radiance back to what a frame would have recorded, for the losses that compare in the LDR domain."""

import torch
import torch.nn.functional as F
from torch import Tensor

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.models.tensor_ops import mu_law
from smarthdr_cli.radiometry import GAMMA
from smarthdr_cli.train.losses import masked_mean
from smarthdr_cli.train.support import least

FLOOR = 1e-4  # linear level below which the gamma code's slope (0.45 / x**0.55) is cut off; 4 of 255 codes
CELL = 8  # pixels a side of what cell_consistency compares
LOW, HIGH = 0.1, 0.9  # gamma codes between which a frame is well exposed: linear 0.006 to 0.79


def code(light: Tensor, *, clip: bool = True) -> Tensor:
    """Linear light in a frame's own units to gamma-2.2 codes; ``clip``: at 1, as the frame does."""
    light = light.clamp(min=FLOOR)
    return (light.clamp(max=1) if clip else light) ** (1 / GAMMA)


def rerender(radiance: Tensor, ev: Tensor, *, clip: bool = True) -> Tensor:
    """(B, 3, H, W) radiance in reference units as a frame of (B,) EV would have coded it."""
    return code(radiance * torch.exp2(ev).view(-1, 1, 1, 1), clip=clip)


def well_exposed(frame: Tensor) -> Tensor:
    """(B, 3, H, W) linear frame in its own units to (B, 1, H, W): 1 where all channels lie between LOW and HIGH."""
    seen = code(frame)
    return ((seen > LOW) & (seen < HIGH)).all(dim=1, keepdim=True).float()


def cell_consistency(predicted: Tensor, batch: Batch) -> Tensor:
    """L1 between T(.) of what prediction and reference hold in cells of 8x8 the reference saw well all over; a scalar.

    ``predicted``: (B, 3, H, W) in reference units. Means, because a prediction must be free to be less noisy than its
    reference, but not of another brightness or colour. 0 where no cell is well exposed. Ours, needs no label.
    """
    seen = least(well_exposed(batch.frames[:, 0]) * batch.valid[:, 0], CELL, CELL) > 0
    scale = batch.scale_short.view(-1, 1, 1, 1)
    ours, theirs = (F.avg_pool2d(light, CELL) for light in (predicted, batch.frames[:, 0]))
    return masked_mean((mu_law(ours * scale) - mu_law(theirs * scale)).abs(), seen)
