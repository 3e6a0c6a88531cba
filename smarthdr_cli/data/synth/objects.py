"""Things that move through a synthetic burst: shapes, poses over time, textures and shadows.

A shape is star-convex: a superellipse whose radius is modulated by a few harmonics, from blobs to twigs. All positions
are pixels of the reference view, (x, y), batched over samples and frames.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from smarthdr_cli.data.synth.camera import log_uniform, uniform
from smarthdr_cli.data.synth.geometry import Blur
from smarthdr_cli.data.synth.layers import Look
from smarthdr_cli.data.synth.variety import Variety

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

    @property
    def rows(self) -> slice:
        """All samples."""
        return slice(None)

    @property
    def parts(self) -> int:
        """It is rigid."""
        return 1

    def look(self, world: Tensor, shift: Tensor, frame: int) -> Look:
        """What of it a frame shows at (B, H, W, 2) points of the reference view."""
        local = self.local(world, frame)
        reach = 2 * world.shape[1]
        shade = self.shadow.view(-1, 1, 1, 1)
        return Look(self.coverage(local), None, local.clamp(-reach, reach), self.gain.view(-1, 1, 1, 1), shade)

    def follow(self, points: Tensor, part: Tensor, frame: int) -> Tensor:
        """Where (B, H, W, 2) points of the reference on it are at another frame."""
        return self.placed(self.local(points, 0), frame)

    def moments(self, blur: Blur) -> "MovingObject":
        """With the moments of a long exposure behind the frames."""
        return replace(self, centre=blur.moments(self.centre, pixels=True),
                       angle=blur.moments(self.angle, pixels=False),
                       scale=blur.moments(self.scale, pixels=False))  # fmt: skip

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


def varied(
    thing: MovingObject, variety: Variety, generator: torch.Generator, times: Tensor, size: tuple[int, int],
    bright: Tensor,
) -> MovingObject:  # fmt: skip
    """Some of the objects made frame-filling, as fast as they are large, luminous, or sent across ``bright`` (B, 2)."""
    batch, side = len(times), float(min(size))
    home, centre, radius, aspect = thing.centre[:, :1], thing.centre, thing.radius, thing.aspect
    gain, shadow, present = thing.gain, thing.shadow, thing.present
    if variety.large:
        large = uniform(generator, (batch,)) < variety.large
        radius = torch.where(large, uniform(generator, (batch,), 0.45, 0.9) * side, radius)
        aspect = torch.where(large, uniform(generator, (batch,), 0.6, 1.0), aspect)
        centre = torch.where(large.view(-1, 1, 1), centre - 0.6 * home, centre)
        present, shadow = present | large, shadow & ~large
    if variety.lamps:
        lamp = uniform(generator, (batch,)) < variety.lamps
        radius = torch.where(lamp, radius.clamp(max=0.06 * side), radius)
        gain = torch.where(lamp, torch.exp2(uniform(generator, (batch,), 3.0, 7.0)), gain)
        present, shadow = present | lamp, shadow & ~lamp
    if variety.across:
        across = uniform(generator, (batch,)) < variety.across
        start = centre[:, :1]
        centre = torch.where(across.view(-1, 1, 1), centre - start + bright[:, None], centre)
        gain = torch.where(across, torch.exp2(uniform(generator, (batch,), -5.0, 0.0)), gain)
        present, shadow = present | across, shadow & ~across
    if variety.fast:
        fast = uniform(generator, (batch,)) < variety.fast
        wanted = (uniform(generator, (batch,), 0.8, 2.0) * radius).clamp(max=0.6 * side)
        present, shadow = present | fast, shadow & ~fast
        start = centre[:, :1]
        centre = torch.where(fast.view(-1, 1, 1), centre - 0.4 * start, centre)
        gone = (centre[:, 1] - centre[:, 0]).norm(dim=-1) / times[:, 1].abs()
        factor = torch.where(fast, wanted / gone.clamp(min=0.1), torch.ones_like(wanted))
        centre = centre[:, :1] + (centre - centre[:, :1]) * factor.view(-1, 1, 1)
    return replace(thing, centre=centre, radius=radius, aspect=aspect, gain=gain, shadow=shadow, present=present)


def brightest(light: Tensor, generator: torch.Generator) -> Tensor:
    """(B, 2) a bright place, drawn, of each (B, 3, H, W) picture."""
    coarse = torch.nn.functional.avg_pool2d(light.mean(dim=1, keepdim=True), 8, ceil_mode=True)[:, 0]
    high, wide = coarse.shape[-2:]
    chance = coarse.clamp(min=1e-6).log2() + uniform(generator, (len(light), high, wide))
    best = chance.flatten(1).argmax(dim=1)
    x = (best % wide) * 8 + 4 - light.shape[-1] / 2
    y = torch.div(best, wide, rounding_mode="floor") * 8 + 4 - light.shape[-2] / 2
    return torch.stack([x, y], -1)
