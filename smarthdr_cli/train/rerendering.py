"""From radiance back to what a frame would have recorded, for losses that compare in the LDR domain.

c = gamma(L 2^EV),   gamma(x) = min(max(x, 1e-4), 1)^(1/2.2),   L in reference units
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.models.tensor_ops import mu_law
from smarthdr_cli.radiometry import GAMMA
from smarthdr_cli.train.losses import masked_mean, min_filter

MIN_LIGHT = 1e-4  # linear level below which the gamma code's slope (0.45 / x**0.55) is cut off; 4 of 255 codes
CELL = 8  # px, side of what cell_consistency compares
MIN_CODE, MAX_CODE = 0.1, 0.9  # gamma codes between which a frame is well exposed: linear 0.006 to 0.79


def gamma_code(light: Tensor, *, clip: bool = True) -> Tensor:
    """Linear light in a frame's own units to gamma-2.2 codes; ``clip``: at 1, as the frame does."""
    light = light.clamp(min=MIN_LIGHT)
    return (light.clamp(max=1) if clip else light) ** (1 / GAMMA)


def rerender(radiance: Tensor, ev: Tensor, *, clip: bool = True) -> Tensor:
    """(B, 3, H, W) radiance in reference units to the codes of a frame of (B,) EV."""
    return gamma_code(radiance * torch.exp2(ev).view(-1, 1, 1, 1), clip=clip)


def well_exposed(frame: Tensor) -> Tensor:
    """(B, 3, H, W) linear frame in its own units to (B, 1, H, W): 1 where all channels are well exposed."""
    codes = gamma_code(frame)
    return ((codes > MIN_CODE) & (codes < MAX_CODE)).all(dim=1, keepdim=True).float()


def cell_consistency(predicted: Tensor, batch: Batch) -> Tensor:
    """L1 between T(.) of the means of prediction and reference over 8x8 cells, a scalar. Ours; needs no label.

    ``predicted``: (B, 3, H, W) in reference units. Only cells that are valid and well exposed all over count; 0 where
    there is none. Means, because a prediction may be less noisy than its reference, but not of another brightness or
    colour.
    """
    mask = min_filter(well_exposed(batch.frames[:, 0]) * batch.valid[:, 0], CELL, CELL) > 0
    scale = batch.scale_short.view(-1, 1, 1, 1)
    ours, theirs = (F.avg_pool2d(light, CELL) for light in (predicted, batch.frames[:, 0]))
    return masked_mean((mu_law(ours * scale) - mu_law(theirs * scale)).abs(), mask)
