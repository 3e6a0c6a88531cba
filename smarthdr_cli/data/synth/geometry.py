"""Where things go in a synthetic burst: the camera's own motion, blur during an exposure, and the true displacement.

Points are pixels (x, y) relative to the middle of the picture.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from smarthdr_cli.data.synth.camera import log_uniform, uniform

Way = Callable[[Tensor], Tensor]


def pixel_grid(height: int, width: int, device: torch.device) -> Tensor:
    """(H, W, 2) pixel centres (x, y) relative to the middle of the picture."""
    y = torch.arange(height, device=device, dtype=torch.float32) - (height - 1) / 2
    x = torch.arange(width, device=device, dtype=torch.float32) - (width - 1) / 2
    return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)


def look_up(field: Tensor, points: Tensor, mode: str = "bilinear", padding: str = "border") -> Tensor:
    """(B, C, H, W) sampled at (B, h, w, 2) pixel points relative to its middle, edges repeated or reflected."""
    h, w = field.shape[-2:]
    unit = points * torch.tensor([2.0 / w, 2.0 / h], device=points.device)
    return F.grid_sample(field, unit, mode=mode, padding_mode=padding, align_corners=False)


def camera_motion(
    generator: torch.Generator, batch: int, count: int, size: tuple[int, int], *, shake: str, reach_px: float
) -> Tensor:
    """(B, N, H, W, 2): where each pixel of a frame looks in the reference view, as a displacement; 0 at index 0.

    ``shake``: "handheld", by up to ``reach_px`` and two degrees or so; "aligned", what alignment leaves; or "tripod",
    nothing.
    """
    device = generator.device
    height, width = size
    if shake == "tripod":
        return torch.zeros(batch, count, height, width, 2, device=device)
    grid = pixel_grid(height, width, device)
    if shake == "handheld":
        reach = log_uniform(generator, (batch, 1), 1.0, reach_px).expand(-1, count)
        turn = 0.035
    else:  # what alignment leaves: mostly a fraction of a pixel, sometimes a failure, sometimes nothing at all
        pick = uniform(generator, (batch, count))
        reach = torch.where(pick < 0.65, 0.4, torch.where(pick < 0.85, 3.0, 14.0))
        reach = reach * (pick > 0.08)
        turn = 0.5 / max(height, width)
    normal = torch.randn((batch, count, 8), generator=generator, device=device)
    shift = normal[..., :2] * 0.6 * reach[..., None]
    turned = normal[..., 2] * turn * (reach > 0)
    zoom = normal[..., 3] * turn * 0.3 * (reach > 0)
    tilt = normal[..., 4:6] * turn * 0.2 / max(height, width) * (reach > 0)[..., None]
    cos, sin = torch.cos(turned) * (1 + zoom), torch.sin(turned) * (1 + zoom)
    x, y = grid[..., 0], grid[..., 1]
    view = (..., None, None)
    px, py = cos[view] * x - sin[view] * y, sin[view] * x + cos[view] * y
    depth = 1 + tilt[..., 0][view] * x + tilt[..., 1][view] * y
    looked = torch.stack([px, py], -1) / depth[..., None] + shift[:, :, None, None]
    displacement = looked - grid
    cells = int(torch.randint(2, 9, (1,), generator=generator, device=device))
    field = torch.randn((batch * count, 2, cells, cells), generator=generator, device=device)
    parallax = log_uniform(generator, (batch, count), 0.2, 6.0) * (uniform(generator, (batch, 1)) < 0.5)
    smooth = F.interpolate(field, size=(height, width), mode="bicubic", align_corners=True)
    displacement = (
        displacement + smooth.view(batch, count, 2, height, width).permute(0, 1, 3, 4, 2) * parallax[view][..., None]
    )
    displacement[:, 0] = 0
    return displacement


def into_frame(shift: Tensor, world: Tensor) -> Tensor:
    """(B, h, w, 2) points of the reference view to where a frame shows them: its (B, H, W, 2) displacement inverted.

    By fixed-point iteration, which converges where the displacement changes by less than a pixel a pixel.
    """
    field, found = shift.permute(0, 3, 1, 2), world
    for _ in range(4):
        found = world - look_up(field, found).permute(0, 2, 3, 1)
    return found


@dataclass(frozen=True)
class Blur:
    """The moments at which a long exposure is sampled besides its middle: everything goes on as it went.

    ``frame``: (B,) index of the long one, 0 for none. ``duty``: (B, T) of the way from the reference to that frame.
    ``shake``: (B, T, 2) px of the camera's own. A pose goes no further than ``FURTHEST`` from its middle, so that few
    samples make a smear.
    """

    frame: Tensor
    duty: Tensor
    shake: Tensor

    FURTHEST = 4.0
    TAPS = (-1.0, -0.5, 0.5, 1.0)

    @staticmethod
    def draw(generator: torch.Generator, evs: Tensor, times: Tensor) -> "Blur":
        """The brightest frame of each burst, where that is not the reference, open for 3 to 30 % of the interval."""
        batch = len(evs)
        frame = evs.argmax(dim=1)
        gap = times.gather(1, frame[:, None]).abs().clamp(min=1)
        taps = torch.tensor(Blur.TAPS, device=evs.device)
        duty = log_uniform(generator, (batch, 1), 0.03, 0.3) / gap * (frame != 0)[:, None] * taps
        shake = torch.randn((batch, 1, 2), generator=generator, device=evs.device) * (frame != 0).view(-1, 1, 1)
        return Blur(frame, duty, (0.8 * shake).clamp(-2, 2) * taps.view(1, -1, 1))

    def of(self, rows: Tensor) -> "Blur":
        """For some samples of the batch."""
        return Blur(self.frame[rows], self.duty[rows], self.shake[rows])

    def moments(self, pose: Tensor, *, pixels: bool) -> Tensor:
        """(B, N, ...) poses with T more of the long exposure behind them; ``pixels``: (..., 2) positions."""
        there = pose[torch.arange(len(pose), device=pose.device), self.frame]
        duty = self.duty.view(*self.duty.shape, *(1,) * (pose.dim() - 2))
        way = (there - pose[:, 0])[:, None] * duty
        if pixels:
            way = way * (self.FURTHEST / way.norm(dim=-1, keepdim=True).clamp(min=self.FURTHEST))
        return torch.cat([pose, there[:, None] + way], 1)

    def repeated(self, frames: Tensor) -> Tensor:
        """(B, N, ...) of what does not change during an exposure, with T more of the long one behind it."""
        there = frames[torch.arange(len(frames), device=frames.device), self.frame]
        return torch.cat([frames, there[:, None].expand(-1, self.duty.shape[1], *there.shape[1:])], 1)

    def camera(self, motion: Tensor) -> Tensor:
        """(B, N, H, W, 2) displacement with that of the T moments behind it."""
        there = motion[torch.arange(len(motion), device=motion.device), self.frame]
        return torch.cat([motion, there[:, None] + self.shake[:, :, None, None]], 1)

    def integrated(self, moments: Tensor) -> Tensor:
        """(B, N + T, ...) pictures to (B, N, ...), the long one a mean of its moments."""
        count = moments.shape[1] - self.duty.shape[1]
        rows = torch.arange(len(moments), device=moments.device)
        frames = moments[:, :count].clone()
        total = frames[rows, self.frame] + moments[:, count:].sum(1)
        frames[rows, self.frame] = total / (1 + self.duty.shape[1])
        return frames


class Moving(Protocol):
    """A thing made of ``parts`` rigid ones, in the samples ``rows`` of a batch."""

    @property
    def rows(self) -> Tensor | slice:
        """Which samples have it."""

    @property
    def parts(self) -> int:
        """How many places in the order of depth it takes."""

    def follow(self, points: Tensor, part: Tensor, frame: int) -> Tensor:
        """(R, H, W, 2) points of the reference on its (R, H, W) ``part`` to where they are at another frame."""


def true_motion(motion: Tensor, things: Sequence[Moving], layers: Tensor) -> tuple[Tensor, Tensor]:
    """Displacement (B, N-1, 2, H, W) from the reference to each other frame and where the same surface is seen there.

    ``layers``: (B, N, 1, H, W) number of what is seen: 0 behind all, then the parts of the things in their order. The
    camera's displacement field is inverted by fixed-point iteration; things' poses in closed form.
    """
    batch, _, height, width, _ = motion.shape
    count = layers.shape[1]
    points = pixel_grid(height, width, motion.device).expand(batch, -1, -1, -1)
    flows, seen = [], []
    for n in range(1, count):
        target = into_frame(motion[:, n], points)
        first = 1
        for thing in things:
            rows = thing.rows
            part = layers[rows, 0, 0] - first
            there = into_frame(motion[rows, n], thing.follow(points[rows], part.clamp(0, thing.parts - 1).long(), n))
            on = ((part >= 0) & (part < thing.parts))[..., None]
            target[rows] = torch.where(on, there, target[rows])
            first += thing.parts
        limit = torch.tensor([width / 2, height / 2], device=motion.device)
        inside = (target.abs() <= limit).all(dim=-1)[:, None]
        same = look_up(layers[:, n], target, mode="nearest") == layers[:, 0]
        flows.append((target - points).permute(0, 3, 1, 2))
        seen.append((inside & same).float())
    return torch.stack(flows, 1), torch.stack(seen, 1)
