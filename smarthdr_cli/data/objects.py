"""Things that move through a synthetic burst: shapes, poses over time, textures and shadows.

A shape is star-convex: a superellipse whose radius is modulated by a few harmonics, from blobs to twigs. All positions
are pixels of the reference view, (x, y), batched over samples and frames.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from smarthdr_cli.data.camera import log_uniform, uniform

HARMONICS = 4


@dataclass(frozen=True)
class MovingObject:
    """One object per sample of a batch.

    ``centre``: (B, N, 2) px, ``angle``: (B, N) rad, ``scale``: (B, N). ``radius``: (B,) px, ``aspect``: (B,) in (0, 1],
    ``power``: (B,) superellipse exponent, ``wave``: (B, HARMONICS, 2) radius modulation. ``gain``: (B,) factor on its
    texture's radiance. ``shadow``: (B,) bool, darkens or lights what is behind instead of covering it. ``present``:
    (B,) bool.
    """

    centre: Tensor
    angle: Tensor
    scale: Tensor
    radius: Tensor
    aspect: Tensor
    power: Tensor
    wave: Tensor
    gain: Tensor
    shadow: Tensor
    present: Tensor

    def local(self, points: Tensor, frame: int) -> Tensor:
        """(B, H, W, 2) picture points to the object's own frame of reference, in px at scale 1."""
        offset = points - self.centre[:, frame, None, None]
        return rotate(offset, -self.angle[:, frame]) / self.scale[:, frame, None, None, None]

    def placed(self, points: Tensor, frame: int) -> Tensor:
        """The inverse of ``local``."""
        turned = rotate(points * self.scale[:, frame, None, None, None], self.angle[:, frame])
        return turned + self.centre[:, frame, None, None]

    def coverage(self, local: Tensor) -> Tensor:
        """(B, 1, H, W) alpha in [0, 1] at local points, a pixel wide at the edge (half a radius for shadows)."""
        x, y = local[..., 0], local[..., 1] / self.aspect.view(-1, 1, 1)
        phi = torch.atan2(y, x)[:, None]
        order = torch.arange(2, 2 + HARMONICS, device=local.device).view(1, -1, 1, 1)
        amplitude, phase = self.wave[..., 0, None, None], self.wave[..., 1, None, None]
        rho = 1 + (amplitude * torch.cos(order * phi + phase)).sum(1)
        p = self.power.view(-1, 1, 1)
        radius = self.radius.view(-1, 1, 1)
        norm = ((x / radius).abs().clamp(min=1e-6) ** p + (y / radius).abs().clamp(min=1e-6) ** p) ** (1 / p)
        edge = torch.where(self.shadow, self.radius * 0.4, torch.ones_like(self.radius)).view(-1, 1, 1)
        inside = (rho - norm) * radius * self.aspect.view(-1, 1, 1).clamp(min=0.2) / edge + 0.5
        return (inside.clamp(0, 1) * self.present.view(-1, 1, 1))[:, None]


def rotate(points: Tensor, angle: Tensor) -> Tensor:
    """(B, H, W, 2) rotated by (B,) radians."""
    cos, sin = torch.cos(angle).view(-1, 1, 1), torch.sin(angle).view(-1, 1, 1)
    x, y = points[..., 0], points[..., 1]
    return torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1)


def draw_object(
    generator: torch.Generator, batch: int, times: Tensor, size: tuple[int, int], parent: MovingObject | None
) -> MovingObject:
    """A random object per sample; a child of ``parent`` in a third of the samples that have one (a limb, a flag).

    ``times``: (B, N) moment of each frame, 0 at the reference. Steps between frames are 0.5 px up to the object's size.
    """
    height, width = size
    shape = (batch, 1)
    side = float(min(height, width))
    radius = log_uniform(generator, (batch,), 3.0, 0.55 * side)
    home = torch.stack(
        [uniform(generator, (batch,), -0.5, 0.5) * width, uniform(generator, (batch,), -0.5, 0.5) * height], -1
    )
    speed = log_uniform(generator, shape, 0.5, 1.0) * torch.exp(
        uniform(generator, shape) * torch.log((radius.view(-1, 1) * 1.5).clamp(2, 0.3 * side))
    )
    heading = uniform(generator, shape, 0, 2 * math.pi)
    jitter = torch.randn((batch, times.shape[1], 2), generator=generator, device=times.device) * 0.15
    jitter = jitter * (times != 0)[..., None]
    step = torch.stack([torch.cos(heading), torch.sin(heading)], -1) * speed[..., None]
    centre = home[:, None] + step * (times[..., None] + jitter)
    spin = torch.randn(shape, generator=generator, device=times.device) * 0.15
    angle = uniform(generator, shape, 0, 2 * math.pi) + spin * times
    growth = torch.randn(shape, generator=generator, device=times.device) * 0.03
    scale = torch.exp(growth * times)
    if parent is not None:
        limb = (uniform(generator, (batch,)) < 0.35) & parent.present
        reach = rotate(parent.radius.view(-1, 1, 1, 1) * torch.tensor([0.9, 0.0], device=times.device).view(1, 1, 1, 2),
                       parent.angle[:, 0])[:, 0, 0]  # fmt: skip
        centre = torch.where(limb[:, None, None], parent.centre + reach[:, None], centre)
        radius = torch.where(limb, parent.radius * 0.6, radius)
    wave = torch.stack([
        torch.randn((batch, HARMONICS), generator=generator, device=times.device) * 0.12,
        uniform(generator, (batch, HARMONICS), 0, 2 * math.pi)], -1)  # fmt: skip
    thin = uniform(generator, (batch,)) < 0.25
    aspect = torch.where(thin, uniform(generator, (batch,), 0.06, 0.2), uniform(generator, (batch,), 0.35, 1.0))
    return MovingObject(
        centre=centre, angle=angle, scale=scale, radius=radius, aspect=aspect,
        power=torch.where(uniform(generator, (batch,)) < 0.3, 8.0, 2.0), wave=wave,
        gain=torch.exp2(uniform(generator, (batch,), -3.0, 3.0)),
        shadow=uniform(generator, (batch,)) < 0.12, present=uniform(generator, (batch,)) < 0.75,
    )  # fmt: skip
