"""Things made of many rigid parts: figures whose joints turn, twigs and wires, swarms of leaves.

A part is a slender shape along its own x axis: half width w (1 + taper x / a) (1 - (x / a)^2)^q about the parabola
y = bend x^2 / a, for |x| < a. q = 1/2 is an ellipse, 1 a leaf, 1/8 a limb with blunt ends.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from smarthdr_cli.data.synth.camera import log_uniform, uniform
from smarthdr_cli.data.synth.geometry import Blur, into_frame
from smarthdr_cli.data.synth.layers import Look


@dataclass(frozen=True)
class Parts:
    """K parts in each of R samples, ``rows`` of a batch; later ones before earlier ones.

    ``centre``: (R, N, K, 2) px in the reference view, ``angle``: (R, N, K). ``half``: (R, K, 2) half length a and half
    width w, px. ``taper``, ``bend``, ``power``: (R, K). ``gain``: (R, K) on the skin; ``place``: (R, K, 2) where on it.
    """

    rows: Tensor
    centre: Tensor
    angle: Tensor
    half: Tensor
    taper: Tensor
    bend: Tensor
    power: Tensor
    gain: Tensor
    place: Tensor

    @property
    def parts(self) -> int:
        """K."""
        return self.half.shape[1]

    def moments(self, blur: Blur) -> "Parts":
        """With the moments of a long exposure behind the frames."""
        own = blur.of(self.rows)
        return replace(self, centre=own.moments(self.centre, pixels=True), angle=own.moments(self.angle, pixels=False))

    def look(self, world: Tensor, shift: Tensor, frame: int) -> Look:
        """The foremost part at every pixel; where shapes only touch a pixel, the foremost of these."""
        alpha, part = self._covered(world, shift, frame)
        some = part.clamp(min=0)
        local = _rotated(world - self._of(self.centre[:, frame], some), -self._of(self.angle[:, frame], some))
        local = torch.where((part >= 0)[..., None], local + self._of(self.place, some), self.place[:, :1, None])
        return Look(alpha[:, None], part, local, self._of(self.gain, some)[:, None])

    def follow(self, points: Tensor, part: Tensor, frame: int) -> Tensor:
        """Where (R, H, W, 2) points of the reference on (R, H, W) ``part`` are at another frame."""
        turned = self._of(self.angle[:, frame] - self.angle[:, 0], part)
        offset = _rotated(points - self._of(self.centre[:, 0], part), turned)
        return offset + self._of(self.centre[:, frame], part)

    def _of(self, value: Tensor, part: Tensor) -> Tensor:
        """(R, K, ...) numbers of the parts at (R, H, W)."""
        flat = part.flatten(1)
        index = flat.view(*flat.shape, *(1,) * (value.dim() - 2)).expand(-1, -1, *value.shape[2:])
        return value.gather(1, index).view(*part.shape, *value.shape[2:])

    def _covered(self, world: Tensor, shift: Tensor, frame: int) -> tuple[Tensor, Tensor]:
        """(R, H, W) coverage and foremost part, -1 where there is none. Every part is drawn in a box of its own."""
        count, height, width, _ = world.shape
        k, device = self.parts, world.device
        far = torch.hypot(self.half[..., 0], self.half[..., 1] + self.bend.abs() * self.half[..., 0])
        reach = math.ceil(1.3 * float(far.max())) + 4
        if 2 * reach + 1 >= min(height, width):
            index = torch.arange(height * width, device=device).expand(count, k, -1)
            inside = torch.ones((), dtype=torch.bool, device=device)
        else:
            middle = into_frame(shift, self.centre[:, frame, None])[:, 0]
            middle = (middle + torch.tensor([(width - 1) / 2, (height - 1) / 2], device=device)).round().long()
            step = torch.arange(-reach, reach + 1, device=device)
            x, y = middle[..., 0, None, None] + step, middle[..., 1, None, None] + step[:, None]
            inside = ((x >= 0) & (x < width) & (y >= 0) & (y < height)).flatten(2)
            index = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).flatten(2)
        points = world.flatten(1, 2).gather(1, index.flatten(1)[..., None].expand(-1, -1, 2)).view(count, k, -1, 2)
        local = _rotated(points - self.centre[:, frame, :, None], -self.angle[:, frame, :, None])
        a, w = self.half[..., 0, None], self.half[..., 1, None]
        along = local[..., 0] / a
        profile = (1 + self.taper[..., None] * along) * (1 - along.square()).clamp(min=0) ** self.power[..., None]
        across = (local[..., 1] - self.bend[..., None] * along * local[..., 0]).abs()
        alpha = ((w * profile - across + 0.5).clamp(0, 1) * (inside & (along.abs() < 1))).flatten(1)
        order = torch.arange(1, k + 1, device=device, dtype=torch.float32).view(1, k, 1)
        order = order.expand(count, -1, index.shape[-1]).flatten(1)
        index = index.flatten(1)

        def foremost(values: Tensor) -> Tensor:
            return torch.zeros(count, height * width, device=device).scatter_reduce(1, index, values, "amax")

        whole, touched = foremost(order * (alpha > 0.5)), foremost(order * (alpha > 0))
        part = torch.where(whole > 0, whole, touched).long() - 1
        return foremost(alpha).view(count, height, width), part.view(count, height, width)


def _rotated(points: Tensor, angle: Tensor) -> Tensor:
    cos, sin = torch.cos(angle), torch.sin(angle)
    x, y = points[..., 0], points[..., 1]
    return torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1)


def _heading(angle: Tensor) -> Tensor:
    return torch.stack([torch.cos(angle), torch.sin(angle)], -1)


def _anywhere(generator: torch.Generator, shape: tuple[int, ...], size: tuple[int, int]) -> Tensor:
    extent = torch.tensor([size[1], size[0]], device=generator.device)
    return uniform(generator, (*shape, 2), -0.45, 0.45) * extent


def _walk(generator: torch.Generator, times: Tensor, speed: Tensor) -> Tensor:
    """(R, N, 2) px: a steady way at (R,) px a frame and a little unrest; 0 at the reference."""
    heading = _heading(uniform(generator, (len(times), 1), 0, 2 * math.pi))
    unrest = torch.randn((*times.shape, 2), generator=generator, device=times.device) * 0.2
    return speed.view(-1, 1, 1) * (heading * times[..., None] + unrest * (times != 0)[..., None])


def figure(generator: torch.Generator, rows: Tensor, times: Tensor, size: tuple[int, int]) -> Parts:
    """A trunk with two limbs of two links each, the joints of which turn from frame to frame. ``times``: (R, N)."""
    count, device = len(rows), times.device
    tall = log_uniform(generator, (count,), 0.12, 0.5) * min(size)
    root = _anywhere(generator, (count, 1), size) + _walk(
        generator, times, log_uniform(generator, (count,), 0.01, 0.35) * tall
    )
    swing = torch.randn((count, 1, 5), generator=generator, device=device) * 0.3
    unrest = torch.randn((count, times.shape[1], 5), generator=generator, device=device) * 0.08
    turn = swing * times[..., None] + unrest * (times != 0)[..., None]
    turn = 1.2 * torch.tanh(turn / 1.2) * torch.tensor([0.3, 1.0, 1.0, 1.0, 1.0], device=device)
    rest = uniform(generator, (count, 1, 5), -0.7, 0.7)
    rest = rest + uniform(generator, (count, 1, 1), 0, 2 * math.pi) * torch.tensor([1.0, 0, 0, 0, 0], device=device)
    bent = rest + turn
    trunk = bent[..., 0]
    upper = [trunk + bent[..., 1], trunk + math.pi * 0.8 + bent[..., 3]]
    lower = [upper[0] + bent[..., 2], upper[1] + bent[..., 4]]
    long = torch.tensor([0.3, 0.22, 0.2], device=device) * tall[:, None]
    shoulder = [root + _heading(trunk) * (0.8 * long[:, :1, None]), root - _heading(trunk) * (0.8 * long[:, :1, None])]
    centre, angle = [root], [trunk]
    for joint, first, second in zip(shoulder, upper, lower, strict=True):
        elbow = joint + _heading(first) * (1.8 * long[:, 1, None, None])
        centre += [joint + _heading(first) * (0.9 * long[:, 1, None, None]),
                   elbow + _heading(second) * (0.9 * long[:, 2, None, None])]  # fmt: skip
        angle += [first, second]
    width = uniform(generator, (count, 1), 0.04, 0.09) * tall[:, None]
    wide = torch.cat([2.2 * width, width, 0.8 * width, width, 0.8 * width], 1).clamp(min=0.7)
    half = torch.stack([long[:, [0, 1, 2, 1, 2]].clamp(min=2), wide], -1)
    order = [3, 4, 0, 1, 2]  # one limb behind the trunk, one before it
    flat = torch.zeros(count, 5, device=device)
    power = torch.tensor([0.4, 0.125, 0.125, 0.125, 0.125], device=device).expand(count, -1)
    gain = torch.exp2(uniform(generator, (count, 1), -3.0, 2.0) + uniform(generator, (count, 5), -0.7, 0.7))
    place = torch.randn((count, 5, 2), generator=generator, device=device) * 40
    return Parts(rows, torch.stack(centre, 2)[:, :, order], torch.stack(angle, 2)[:, :, order], half[:, order],
                 flat - 0.2, flat, power[:, order], gain, place)  # fmt: skip


def twigs(generator: torch.Generator, rows: Tensor, times: Tensor, size: tuple[int, int]) -> Parts:
    """Six bent wires, 1 to 3 px wide, in one wind: they sway together and each a little for itself."""
    count, k, device = len(rows), 6, times.device
    side = float(min(size))
    long = log_uniform(generator, (count, k), 0.1, 0.8) * side
    sway = _walk(generator, times, log_uniform(generator, (count,), 0.5, 12.0))
    own = 0.3 + uniform(generator, (count, 1, k, 1))
    centre = _anywhere(generator, (count, 1, k), size) + sway[:, :, None] * own
    angle = uniform(generator, (count, 1, 1), 0, math.pi) + uniform(generator, (count, 1, k), -0.8, 0.8)
    rock = torch.randn((count, times.shape[1], k), generator=generator, device=device) * (times != 0)[..., None]
    angle = angle + rock * (4.0 / long[:, None])
    half = torch.stack([long, uniform(generator, (count, k), 0.5, 1.5)], -1)
    bend = uniform(generator, (count, k), -0.15, 0.15)
    gain = torch.exp2(uniform(generator, (count, 1), -4.0, 1.0).expand(-1, k))
    place = torch.randn((count, k, 2), generator=generator, device=device) * 40
    return Parts(rows, centre, angle, half, uniform(generator, (count, k), -0.6, 0.0), bend,
                 torch.full((count, k), 0.125, device=device), gain, place)  # fmt: skip


def swarm(generator: torch.Generator, rows: Tensor, times: Tensor, size: tuple[int, int]) -> Parts:
    """Forty leaves, birds or flakes of 1.5 to 10 px, each with a way and a spin of its own in a common wind."""
    count, k, device = len(rows), 40, times.device
    small = log_uniform(generator, (count, 1), 1.5, 6.0) * torch.exp(uniform(generator, (count, k), -0.5, 0.5))
    wind = _walk(generator, times, log_uniform(generator, (count,), 0.3, 15.0))
    pace = log_uniform(generator, (count, 1, 1), 0.3, 8.0)
    each = torch.randn((count, k, 2), generator=generator, device=device) * pace
    middle = _anywhere(generator, (count, 1, 1), size)
    spread = log_uniform(generator, (count, 1, 1, 1), 0.3, 1.0)
    home = middle * (1 - spread) + spread * _anywhere(generator, (count, 1, k), size)
    centre = home + wind[:, :, None] + each[:, None] * times[:, :, None, None]
    spin = torch.randn((count, 1, k), generator=generator, device=device) * 0.5
    angle = uniform(generator, (count, 1, k), 0, 2 * math.pi) + spin * times[..., None]
    half = torch.stack([small, small * uniform(generator, (count, 1), 0.3, 0.8)], -1)
    power = torch.where(uniform(generator, (count, 1)) < 0.5, 1.0, 0.5).expand(-1, k)
    gain = torch.exp2(uniform(generator, (count, 1), -3.0, 2.5) + uniform(generator, (count, k), -0.6, 0.6))
    place = torch.randn((count, k, 2), generator=generator, device=device) * 40
    flat = torch.zeros(count, k, device=device)
    return Parts(rows, centre, angle, half, flat, flat, power, gain, place)
