"""gfhdr with its judge: what training trains and fusing runs. saf carries its judge inside."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from smarthdr_cli.models.gfhdr import GFHDR, GFHDRConfig
from smarthdr_cli.models.uncertainty_head import Judge


class Judged(NamedTuple):
    """``radiance`` (B, 3, H, W) in [0, 1], short clip = 1; ``log_sigma`` (B, 1, H, W), natural log of raw sigma."""

    radiance: Tensor
    log_sigma: Tensor


class JudgedGFHDR(nn.Module):
    """The backbone and, on its F_att, the judge (arXiv 2511.12939)."""

    def __init__(self, config: GFHDRConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = GFHDR(config)
        self.judge = Judge(self.backbone.feature_channels)

    def forward(self, frames: Tensor) -> Judged:
        """(B, 3, 6, H, W): short, reference, long, each [linear RGB, ldr RGB] in [0, 1]."""
        out = self.backbone(frames)
        return Judged(out.radiance, self.judge(out.features))


def gfhdr_input(linear: Tensor, evs: Tensor) -> Tensor:
    """(B, 3, 3, H, W) linear frames in their own units and (B, 3) EVs to the input (B, 3, 6, H, W) of the network
    (docs/METHOD.md, section 1).

    ldr = clip(linear) ** (1/2.2); linear = ldr ** 2.2 / t with t = 2 ** EV relative to the shortest frame.
    """
    ldr = linear.clamp(0, 1) ** (1 / 2.2)
    times = torch.exp2(evs - evs.amin(dim=1, keepdim=True)).view(*evs.shape, 1, 1, 1)
    return torch.cat([linear.clamp(0, 1) / times, ldr], dim=2)
