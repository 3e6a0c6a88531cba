"""Rigid moving objects and shadows of synthetic bursts.

A shape is a superellipse |x/r|^p + |y/(a r)|^p = rho^p whose radius is modulated by harmonics of the polar angle,
rho = 1 + sum_k A_k cos(k phi + phi_k), k = 2 to 5. Positions are pixels (x, y) relative to the picture's centre.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from smarthdr_cli.data.synth.camera import log_uniform, uniform
from smarthdr_cli.data.synth.compositing import RenderedLayer
from smarthdr_cli.data.synth.config import Variety
from smarthdr_cli.data.synth.geometry import MotionBlur, rotate, unit_vector

HARMONICS = 4
BRIGHT_CELL = 8  # pixels: bright points are drawn from means of squares of this side


@dataclass(frozen=True)
class MovingObject:
    """One object in every burst of a batch.

    ``centre``: (B, N, 2) px, ``angle``: (B, N) rad, ``scale``: (B, N), 1 at the reference. ``radius``: (B,) px,
    ``aspect``: (B,) in (0, 1], ``power``: (B,) superellipse exponent p, ``wave``: (B, HARMONICS, 2) amplitude and
    phase. ``gain``: (B,) factor on the texture's radiance. ``shadow``: (B,) bool, multiplies what is behind instead of
    covering it. ``present``: (B,) bool.
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
        """All bursts."""
        return slice(None)

    @property
    def part_count(self) -> int:
        """1: the object is rigid."""
        return 1

    def render_layer(self, points: Tensor, displacement: Tensor, frame: int) -> RenderedLayer:
        """What a frame shows of the object at (B, H, W, 2) points of the reference view."""
        local = self.to_local(points, frame)
        limit = 2 * points.shape[1]
        shadow = self.shadow.view(-1, 1, 1, 1)
        gain = self.gain.view(-1, 1, 1, 1)
        return RenderedLayer(self.coverage(local), None, local.clamp(-limit, limit), gain, shadow)

    def track(self, points: Tensor, part: Tensor, frame: int) -> Tensor:
        """(B, H, W, 2) points of the reference on the object to their positions in another frame."""
        return self.from_local(self.to_local(points, 0), frame)

    def with_blur(self, blur: MotionBlur) -> "MovingObject":
        """The object with the moments of a long exposure appended to its frames."""
        return replace(self, centre=blur.extend_positions(self.centre), angle=blur.extend_values(self.angle),
                       scale=blur.extend_values(self.scale))  # fmt: skip

    def to_local(self, points: Tensor, frame: int) -> Tensor:
        """(B, H, W, 2) points of the reference view to object coordinates: px at scale 1, unrotated."""
        offset = points - self.centre[:, frame, None, None]
        return rotate(offset, -self.angle[:, frame, None, None]) / self.scale[:, frame, None, None, None]

    def from_local(self, points: Tensor, frame: int) -> Tensor:
        """The inverse of ``to_local``."""
        rotated = rotate(points * self.scale[:, frame, None, None, None], self.angle[:, frame, None, None])
        return rotated + self.centre[:, frame, None, None]

    def coverage(self, local: Tensor) -> Tensor:
        """(B, 1, H, W) alpha at object coordinates; the edge is a pixel wide, 0.4 of the radius for shadows."""
        x, y = local[..., 0], local[..., 1] / self.aspect.view(-1, 1, 1)
        phi = torch.atan2(y, x)[:, None]
        order = torch.arange(2, 2 + HARMONICS, device=local.device).view(1, -1, 1, 1)
        amplitude, phase = self.wave[..., 0, None, None], self.wave[..., 1, None, None]
        rho = 1 + (amplitude * torch.cos(order * phi + phase)).sum(1)
        p = self.power.view(-1, 1, 1)
        radius = self.radius.view(-1, 1, 1)
        norm = ((x / radius).abs().clamp(min=1e-6) ** p + (y / radius).abs().clamp(min=1e-6) ** p) ** (1 / p)
        edge = torch.where(self.shadow, self.radius * 0.4, torch.ones_like(self.radius)).view(-1, 1, 1)
        alpha = (rho - norm) * radius * self.aspect.view(-1, 1, 1).clamp(min=0.2) / edge + 0.5
        return (alpha.clamp(0, 1) * self.present.view(-1, 1, 1))[:, None]


def draw_object(
    generator: torch.Generator, batch: int, times: Tensor, size: tuple[int, int], parent: MovingObject | None
) -> MovingObject:
    """A random object for every burst; attached to ``parent`` in a third of the bursts where that is present.

    ``times``: (B, N) in frame intervals, 0 at the reference. Speeds are 0.5 px up to the object's size per frame.
    """
    height, width = size
    shape = (batch, 1)
    side = float(min(height, width))
    radius = log_uniform(generator, (batch,), 3.0, 0.55 * side)
    start = torch.stack(
        [uniform(generator, (batch,), -0.5, 0.5) * width, uniform(generator, (batch,), -0.5, 0.5) * height], -1
    )
    speed = log_uniform(generator, shape, 0.5, 1.0) * torch.exp(
        uniform(generator, shape) * torch.log((radius.view(-1, 1) * 1.5).clamp(2, 0.3 * side))
    )
    heading = uniform(generator, shape, 0, 2 * math.pi)
    jitter = torch.randn((batch, times.shape[1], 2), generator=generator, device=times.device) * 0.15
    jitter = jitter * (times != 0)[..., None]
    velocity = unit_vector(heading) * speed[..., None]
    centre = start[:, None] + velocity * (times[..., None] + jitter)
    spin = torch.randn(shape, generator=generator, device=times.device) * 0.15
    angle = uniform(generator, shape, 0, 2 * math.pi) + spin * times
    growth = torch.randn(shape, generator=generator, device=times.device) * 0.03
    scale = torch.exp(growth * times)
    if parent is not None:
        attached = (uniform(generator, (batch,)) < 0.35) & parent.present
        offset = parent.radius[:, None] * torch.tensor([0.9, 0.0], device=times.device)
        offset = rotate(offset, parent.angle[:, 0])
        centre = torch.where(attached[:, None, None], parent.centre + offset[:, None], centre)
        radius = torch.where(attached, parent.radius * 0.6, radius)
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


def apply_variety(
    plain: MovingObject, variety: Variety, generator: torch.Generator, times: Tensor, size: tuple[int, int],
    bright_point: Tensor,
) -> MovingObject:  # fmt: skip
    """Make some objects large, luminous, fast, or cross ``bright_point`` (B, 2), with the probabilities of ``variety``.

    A changed object is present in its burst and no shadow.
    """
    batch, side = len(times), float(min(size))
    start, centre, radius, aspect = plain.centre[:, :1], plain.centre, plain.radius, plain.aspect
    gain, shadow, present = plain.gain, plain.shadow, plain.present
    if variety.large:
        large = uniform(generator, (batch,)) < variety.large
        radius = torch.where(large, uniform(generator, (batch,), 0.45, 0.9) * side, radius)
        aspect = torch.where(large, uniform(generator, (batch,), 0.6, 1.0), aspect)
        centre = torch.where(large.view(-1, 1, 1), centre - 0.6 * start, centre)
        present, shadow = present | large, shadow & ~large
    if variety.lamps:
        lamp = uniform(generator, (batch,)) < variety.lamps
        radius = torch.where(lamp, radius.clamp(max=0.06 * side), radius)
        gain = torch.where(lamp, torch.exp2(uniform(generator, (batch,), 3.0, 7.0)), gain)
        present, shadow = present | lamp, shadow & ~lamp
    if variety.across:
        across = uniform(generator, (batch,)) < variety.across
        centre = torch.where(across.view(-1, 1, 1), centre - centre[:, :1] + bright_point[:, None], centre)
        gain = torch.where(across, torch.exp2(uniform(generator, (batch,), -5.0, 0.0)), gain)
        present, shadow = present | across, shadow & ~across
    if variety.fast:
        fast = uniform(generator, (batch,)) < variety.fast
        speed = (uniform(generator, (batch,), 0.8, 2.0) * radius).clamp(max=0.6 * side)
        present, shadow = present | fast, shadow & ~fast
        centre = torch.where(fast.view(-1, 1, 1), centre - 0.4 * centre[:, :1], centre)
        speed_before = (centre[:, 1] - centre[:, 0]).norm(dim=-1) / times[:, 1].abs()
        factor = torch.where(fast, speed / speed_before.clamp(min=0.1), torch.ones_like(speed))
        centre = centre[:, :1] + (centre - centre[:, :1]) * factor.view(-1, 1, 1)
    return replace(plain, centre=centre, radius=radius, aspect=aspect, gain=gain, shadow=shadow, present=present)


def draw_bright_point(radiance: Tensor, generator: torch.Generator) -> Tensor:
    """(B, 2) px: a random point of each (B, 3, H, W) picture, within a factor of 2 of its brightest ``BRIGHT_CELL``."""
    means = torch.nn.functional.avg_pool2d(radiance.mean(dim=1, keepdim=True), BRIGHT_CELL, ceil_mode=True)[:, 0]
    rows, columns = means.shape[-2:]
    score = means.clamp(min=1e-6).log2() + uniform(generator, (len(radiance), rows, columns))
    best = score.flatten(1).argmax(dim=1)
    x = (best % columns) * BRIGHT_CELL + BRIGHT_CELL // 2 - radiance.shape[-1] / 2
    y = torch.div(best, columns, rounding_mode="floor") * BRIGHT_CELL + BRIGHT_CELL // 2 - radiance.shape[-2] / 2
    return torch.stack([x, y], -1)
