"""Where surfaces get their radiance: places in the sources, sampled at the scale of the picture."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from smarthdr_cli.data.synth.camera import log_uniform, uniform
from smarthdr_cli.data.synth.sources import SceneBank


@dataclass(frozen=True)
class Texture:
    """One place per sample: ``source`` of the bank, ``centre`` (B, 2) as a share of it, ``scale`` source px per px.

    ``soft``: how often a mip coarser than needed, and smoothed, is taken: 0 is sharp.
    """

    source: list[int]
    centre: Tensor
    scale: list[float]
    soft: list[int]

    @staticmethod
    def draw(bank: SceneBank, generator: torch.Generator, batch: int, soft: float = 0.0) -> "Texture":
        """Places anywhere but at the poles; ``soft``: the share that is out of focus."""
        index = torch.randint(len(bank), (batch,), generator=generator, device=generator.device).tolist()
        centre = torch.stack([uniform(generator, (batch,)), uniform(generator, (batch,), 0.25, 0.75)], -1)
        scale = log_uniform(generator, (batch,), 0.5, 2.0).tolist()
        blurred = [0] * batch
        if soft:
            draw = uniform(generator, (batch,)).tolist()
            blurred = [0 if each >= soft else 1 if each >= soft / 3 else 2 for each in draw]
        return Texture(index, centre, scale, blurred)

    def sample(self, bank: SceneBank, points: Tensor) -> Tensor:
        """(B, 3, h, w) radiance at (B, h, w, 2) points in pixels of the picture."""
        return torch.stack([
            sample_source(bank, self.source[b], points[b], self.centre[b], self.scale[b], self.soft[b])
            for b in range(len(points))])  # fmt: skip


def sample_source(bank: SceneBank, source: int, points: Tensor, centre: Tensor, scale: float, soft: int = 0) -> Tensor:
    """(3, h, w) radiance of a source at (h, w, 2) points in pixels, ``scale`` source pixels per pixel, wrapped in x."""
    level = min(max(round(math.log2(max(scale, 1.0))) + soft, 0), len(bank.mips) - 1)
    mip = bank.mips[level][source]
    _, height, width = mip.shape
    factor = scale / 2**level
    where = points * factor + centre * torch.tensor([width, height], device=points.device)
    low = where.amin(dim=(0, 1)).floor().long() - 1
    high = where.amax(dim=(0, 1)).ceil().long() + 2
    columns = torch.arange(int(low[0]), int(high[0]), device=points.device) % width
    rows = torch.arange(int(low[1]), int(high[1]), device=points.device).clamp(0, height - 1)
    patch = mip[:, rows][:, :, columns].float()
    if soft:  # a coarser mip alone would show its bilinear diamonds
        weights = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=patch.device) / 16
        padded = F.pad(patch[:, None], (2, 2, 2, 2), mode="replicate")
        patch = F.conv2d(F.conv2d(padded, weights.view(1, 1, 1, 5)), weights.view(1, 1, 5, 1))[:, 0]
    size = torch.tensor([patch.shape[2], patch.shape[1]], device=points.device)
    unit = (where - low + 0.5) / size * 2 - 1
    return F.grid_sample(patch[None], unit[None], mode="bilinear", padding_mode="border", align_corners=False)[0]
