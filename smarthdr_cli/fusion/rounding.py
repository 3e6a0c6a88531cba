"""How far the codes of a JPEG tell a shadow: a floor under sigma, where no longer exposure helps.

A shadow of a few codes is coarse by rounding alone, and JPEG moves what is left from pixel to pixel and hue to hue.
Neighbouring frames that show it better make up for that, and where none does no two frames show it, so that no noise
can be measured (fusion/noise.py). But what a code is worth is known from the curve.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from smarthdr_cli.aligned_burst import AlignedBurst
from smarthdr_cli.fusion.noise import as_floor, cells
from smarthdr_cli.models.saf_layers import CELL

# 68 % quantile of how many codes a decoded shadow below code 16 is off, mean over channels: 0.8 to 1.2 on panoramas
# darkened to it, at JPEG qualities of 75 to 97 and with noise of 0.5 to 1.5 codes.
CODES = 1.0
NODES = np.linspace(0, 1, 4096) ** 2  # of light, dense where codes are


def code_floor(
    source: AlignedBurst, indices: Sequence[int], evs: Tensor, merged: Tensor, scale: float, each: Sequence[Tensor]
) -> Tensor:
    """(1, 1, H, W) 68 % quantile of the merge's error in the mu-law domain that the codes of JPEG files leave.

    ``indices``: of the frames merged in the burst of ``source``; all else as of ``noise.noise_floor``.
    """
    middle = cells(merged[..., 1::CELL, :])
    variance = torch.zeros_like(middle)
    for n, part in enumerate(each):
        if source.burst.frames[indices[n]].kind == "jpeg":
            gain = 2.0 ** float(evs[0, n])
            variance = variance + (part * _worth(middle * gain, source.response_of(indices[n]).table) / gain).square()
    return as_floor(CODES * variance.sqrt(), middle, scale)


def _worth(light: Tensor, table: np.ndarray) -> Tensor:
    """What one code of 255 is worth at ``light`` (1, 3, h, w) of a frame of curve ``table``, (3, 256) or finer."""
    codes = (table.shape[1] - 1) / 255
    worth = np.stack([np.interp(NODES, curve, np.gradient(curve) * codes) for curve in table])
    at = (light.clamp(0, 1).sqrt() * (len(NODES) - 1)).round().long()
    return torch.from_numpy(worth).to(light)[None].flatten(2).gather(2, at.flatten(2)).view_as(light)
