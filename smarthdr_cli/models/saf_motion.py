"""The motion decoder of saf: one level of optical flow, called coarse to fine with the same weights (equation 1 of
saf.py).
"""

import torch
from torch import Tensor, nn

from smarthdr_cli.models.pairwise import common_exposure
from smarthdr_cli.models.saf_layers import CELL, Motion, conv, cost_volume, ev_plane, soft_argmin, start_near_zero

FINER_RADIUS = 1  # cells of the cost volume below CELL pixels, where a level corrects what the one above left over


def finer_cells(finest: int) -> tuple[int, ...]:
    """Sides of the motion cells below CELL pixels, coarse to fine, down to ``finest``."""
    return tuple(side for side in (2, 1) if finest <= side < CELL)


class MotionDecoder(nn.Module):
    """Encoder of both frames, cost volume, recurrent decoder and its head.

    ``features``: of the encoder, ``match`` of which are in the cost volume over ``radius`` cells each way. ``width``:
    of the decoder. ``hidden``: recurrent features. ``limit``: cells of the largest correction.
    """

    def __init__(self, features: int, width: int, hidden: int, match: int, radius: int, limit: float) -> None:
        super().__init__()
        self.match, self.radius, self.limit, self.hidden = match, radius, limit, hidden
        self.encoder = nn.Sequential(
            conv(3, features), conv(features, features), nn.Conv2d(features, features, 3, padding=1)
        )
        taps = (2 * radius + 1) ** 2
        self.decoder = nn.Sequential(
            conv(2 * features + taps + hidden + 6, width), conv(width, width), conv(width, features)
        )
        self.motion_head = nn.Conv2d(features, 4 + hidden, 3, padding=1)
        start_near_zero(self.motion_head)
        self.sharpness = nn.Parameter(torch.tensor(20.0))

    def start(self, pairs: int, height: int, width: int, like: Tensor) -> Motion:
        """The state before the coarsest level: no displacement, trust logit 1."""
        zeros = like.new_zeros((pairs, 3 + self.hidden, height, width))
        return Motion(zeros[:, :2].float(), zeros[:, 2:3] + 1.0, zeros[:, 3:])

    def motion_level(self, ref: Tensor, moved: Tensor, ev: Tensor, state: Motion) -> Motion:
        """One pyramid level: (P, 3, h, w) linear frames, the other warped by ``state.flow``; (P,) EVs of the other."""
        a, b, _ = common_exposure(ref, moved, ev)
        dtype = self.motion_head.weight.dtype
        features_a, features_b = self.encoder((torch.cat([a, b]) * 2 - 1).to(dtype)).chunk(2)
        compared = [features[:, : self.match].float().contiguous() for features in (features_a, features_b)]
        cost = cost_volume(compared[0], compared[1], self.radius)
        match = soft_argmin(cost, self.radius, self.sharpness.float())
        planes = [cost, match, state.hidden.float(), state.logit, state.flow / 8, ev_plane(ev, ref)]
        context = torch.cat(planes, dim=1).to(dtype)
        out = self.motion_head(self.decoder(torch.cat([features_a, features_b, context], dim=1))).float()
        step = torch.sigmoid(out[:, 3:4]) * match + self.limit * torch.tanh(out[:, :2] / self.limit)
        return Motion(state.flow + step, state.logit + out[:, 2:3], out[:, 4:].to(dtype))
