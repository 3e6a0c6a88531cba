"""What frames beyond the network's nine add to its result: measured light, where they agree with it."""

import torch
import torch.nn.functional as F
from torch import Tensor

from smarthdr_cli.aligned_burst import AlignedBurst
from smarthdr_cli.fusion.border import edge
from smarthdr_cli.fusion.tiles import Tile, to_tensor
from smarthdr_cli.models.merge import clip_taper, exposure_weight, radiance
from smarthdr_cli.models.pairwise import common_exposure, normalised_difference


def add_evidence(source: AlignedBurst, evidence: tuple[int, ...], tile: Tile, light: Tensor, evs: Tensor) -> Tensor:
    """``light`` (1, 3, h, w) of a tile with the frames ``evidence`` of the burst merged in by their physical weight,
    where they agree with it; ``evs`` (1, N) of the members it was made of.

    Where the result says that such a frame is clipped there is nothing to agree with, and it does not join.
    """
    members = torch.stack([exposure_weight((light * torch.exp2(ev)).clamp(0, 1), ev.view(1)) for ev in evs[0]])
    total = members.sum(dim=0)
    change = torch.zeros_like(light)
    for index in evidence:
        linear, seen = source.read(index, tile.window)
        frame = to_tensor(linear)
        ev = torch.tensor([float(source.burst.evs[index])])
        predicted = (light * torch.exp2(ev)).clamp(0, 1)
        a, b, dark = common_exposure(predicted, frame, torch.zeros(1))
        gap = F.max_pool2d(normalised_difference(a, b, dark, torch.zeros(1)), 3, 1, 1)
        weight = exposure_weight(frame, ev) * to_tensor(seen) * torch.exp(-gap.square()) * clip_taper(predicted)
        ends = edge(source, index, tile.window)
        weight = weight if ends is None else weight * to_tensor(ends.fade)
        change = change + weight * (radiance(frame, ev) - light)
        total = total + weight
    return light + change / total.clamp(min=1e-9)
