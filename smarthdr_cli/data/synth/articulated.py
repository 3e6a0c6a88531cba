"""Moving objects of several rigid parts: articulated figures, twigs in the wind, swarms of leaves.

A part is a slender shape along its own x axis. At x, |x| < a, it extends w (1 + taper x/a) (1 - (x/a)^2)^q to each side
of the parabola y = bend x^2 / a, with half length a and half width w in px. q = 1/2 is an ellipse, 1 a leaf, 1/8 a limb
with blunt ends.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from smarthdr_cli.data.synth.camera import log_uniform, uniform
from smarthdr_cli.data.synth.compositing import RenderedLayer
from smarthdr_cli.data.synth.geometry import MotionBlur, rotate, to_frame, unit_vector

LIMB_POWER, TRUNK_POWER = 0.125, 0.4  # q of a figure's parts
TWIGS, SWARM = 6, 40  # parts of an object
TEXTURE_SPREAD_PX = 40  # standard deviation of the parts' positions on their common texture


@dataclass(frozen=True)
class MultiPartObject:
    """K parts in each of R bursts, the ``rows`` of a batch; later parts are in front of earlier ones.

    ``centre``: (R, N, K, 2) px and ``angle``: (R, N, K) rad in the reference view. ``half_size``: (R, K, 2) half length
    a and half width w, px. ``taper``, ``bend``, ``power``: (R, K). ``gain``: (R, K) factor on the texture's radiance.
    ``texture_offset``: (R, K, 2) px.
    """

    rows: Tensor
    centre: Tensor
    angle: Tensor
    half_size: Tensor
    taper: Tensor
    bend: Tensor
    power: Tensor
    gain: Tensor
    texture_offset: Tensor

    @property
    def part_count(self) -> int:
        """K."""
        return self.half_size.shape[1]

    def with_blur(self, blur: MotionBlur) -> "MultiPartObject":
        """The object with the moments of a long exposure appended to its frames."""
        blur = blur.select(self.rows)
        return replace(self, centre=blur.extend_positions(self.centre), angle=blur.extend_values(self.angle))

    def render_layer(self, points: Tensor, displacement: Tensor, frame: int) -> RenderedLayer:
        """What a frame shows at (R, H, W, 2) points: the foremost part that covers more than half of the pixel."""
        alpha, part = self._coverage(points, displacement, frame)
        index = part.clamp(min=0)
        offset = points - _per_pixel(self.centre[:, frame], index)
        local = rotate(offset, -_per_pixel(self.angle[:, frame], index)) + _per_pixel(self.texture_offset, index)
        local = torch.where((part >= 0)[..., None], local, self.texture_offset[:, :1, None])
        return RenderedLayer(alpha[:, None], part, local, _per_pixel(self.gain, index)[:, None])

    def track(self, points: Tensor, part: Tensor, frame: int) -> Tensor:
        """(R, H, W, 2) points of the reference on the (R, H, W) ``part`` to their positions in another frame."""
        turn = _per_pixel(self.angle[:, frame] - self.angle[:, 0], part)
        offset = rotate(points - _per_pixel(self.centre[:, 0], part), turn)
        return offset + _per_pixel(self.centre[:, frame], part)

    def _coverage(self, points: Tensor, displacement: Tensor, frame: int) -> tuple[Tensor, Tensor]:
        """(R, H, W) alpha and index of the foremost part, -1 for none.

        Each part is evaluated in a box around its centre; the picture's largest part sets the size of the boxes. Where
        no part covers half of the pixel, the foremost part that touches it counts.
        """
        count, height, width, _ = points.shape
        k, device = self.part_count, points.device
        a, w = self.half_size.unbind(-1)
        reach = math.ceil(1.3 * float(torch.hypot(a, w + self.bend.abs() * a).max())) + 4
        if 2 * reach + 1 >= min(height, width):
            index = torch.arange(height * width, device=device).expand(count, k, -1)
            inside = torch.ones((), dtype=torch.bool, device=device)
        else:
            middle = to_frame(displacement, self.centre[:, frame, None])[:, 0]
            middle = (middle + torch.tensor([(width - 1) / 2, (height - 1) / 2], device=device)).round().long()
            step = torch.arange(-reach, reach + 1, device=device)
            x, y = middle[..., 0, None, None] + step, middle[..., 1, None, None] + step[:, None]
            inside = ((x >= 0) & (x < width) & (y >= 0) & (y < height)).flatten(2)
            index = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).flatten(2)
        box = points.flatten(1, 2).gather(1, index.flatten(1)[..., None].expand(-1, -1, 2)).view(count, k, -1, 2)
        alpha = (self._alpha(box, frame) * inside).flatten(1)
        order = torch.arange(1, k + 1, device=device, dtype=torch.float32).view(1, k, 1)
        order = order.expand(count, -1, index.shape[-1]).flatten(1)
        index = index.flatten(1)

        def foremost(values: Tensor) -> Tensor:
            return torch.zeros(count, height * width, device=device).scatter_reduce(1, index, values, "amax")

        covering, touching = foremost(order * (alpha > 0.5)), foremost(order * (alpha > 0))
        part = torch.where(covering > 0, covering, touching).long() - 1
        return foremost(alpha).view(count, height, width), part.view(count, height, width)

    def _alpha(self, points: Tensor, frame: int) -> Tensor:
        """(R, K, P) coverage of every part at its own (R, K, P, 2) points."""
        local = rotate(points - self.centre[:, frame, :, None], -self.angle[:, frame, :, None])
        a, w = self.half_size[..., 0, None], self.half_size[..., 1, None]
        along = local[..., 0] / a
        profile = (1 + self.taper[..., None] * along) * (1 - along.square()).clamp(min=0) ** self.power[..., None]
        across = (local[..., 1] - self.bend[..., None] * along * local[..., 0]).abs()
        return (w * profile - across + 0.5).clamp(0, 1) * (along.abs() < 1)


def _per_pixel(values: Tensor, part: Tensor) -> Tensor:
    """(R, K, ...) values of the parts at (R, H, W) indices, as (R, H, W, ...)."""
    flat = part.flatten(1)
    index = flat.view(*flat.shape, *(1,) * (values.dim() - 2)).expand(-1, -1, *values.shape[2:])
    return values.gather(1, index).view(*part.shape, *values.shape[2:])


def _random_points(generator: torch.Generator, shape: tuple[int, ...], size: tuple[int, int]) -> Tensor:
    """(*shape, 2) points within the picture, 5 % from its edges."""
    extent = torch.tensor([size[1], size[0]], device=generator.device)
    return uniform(generator, (*shape, 2), -0.45, 0.45) * extent


def _random_path(generator: torch.Generator, times: Tensor, speed: Tensor) -> Tensor:
    """(R, N, 2) px: uniform motion at (R,) px per frame with 20 % jitter; 0 at the reference."""
    direction = unit_vector(uniform(generator, (len(times), 1), 0, 2 * math.pi))
    jitter = torch.randn((*times.shape, 2), generator=generator, device=times.device) * 0.2
    return speed.view(-1, 1, 1) * (direction * times[..., None] + jitter * (times != 0)[..., None])


def draw_figure(generator: torch.Generator, rows: Tensor, times: Tensor, size: tuple[int, int]) -> MultiPartObject:
    """A trunk with two limbs of two links each, whose joints turn from frame to frame. ``times``: (R, N)."""
    count, device = len(rows), times.device
    height = log_uniform(generator, (count,), 0.12, 0.5) * min(size)
    root = _random_points(generator, (count, 1), size)
    root = root + _random_path(generator, times, log_uniform(generator, (count,), 0.01, 0.35) * height)
    swing = torch.randn((count, 1, 5), generator=generator, device=device) * 0.3
    jitter = torch.randn((count, times.shape[1], 5), generator=generator, device=device) * 0.08
    turn = swing * times[..., None] + jitter * (times != 0)[..., None]
    turn = 1.2 * torch.tanh(turn / 1.2) * torch.tensor([0.3, 1.0, 1.0, 1.0, 1.0], device=device)
    rest = uniform(generator, (count, 1, 5), -0.7, 0.7)
    rest = rest + uniform(generator, (count, 1, 1), 0, 2 * math.pi) * torch.tensor([1.0, 0, 0, 0, 0], device=device)
    joints = rest + turn
    trunk = joints[..., 0]
    upper = [trunk + joints[..., 1], trunk + math.pi * 0.8 + joints[..., 3]]
    lower = [upper[0] + joints[..., 2], upper[1] + joints[..., 4]]
    half_lengths = torch.tensor([0.3, 0.22, 0.2], device=device)  # of trunk, upper and lower link, per height
    length = half_lengths * height[:, None]
    to_shoulder = unit_vector(trunk) * (0.8 * length[:, :1, None])
    centre, angle = [root], [trunk]
    for shoulder, first, second in zip((root + to_shoulder, root - to_shoulder), upper, lower, strict=True):
        elbow = shoulder + unit_vector(first) * (1.8 * length[:, 1, None, None])
        centre += [shoulder + unit_vector(first) * (0.9 * length[:, 1, None, None]),
                   elbow + unit_vector(second) * (0.9 * length[:, 2, None, None])]  # fmt: skip
        angle += [first, second]
    width = uniform(generator, (count, 1), 0.04, 0.09) * height[:, None]
    widths = torch.cat([2.2 * width, width, 0.8 * width, width, 0.8 * width], 1).clamp(min=0.7)
    half_size = torch.stack([length[:, [0, 1, 2, 1, 2]].clamp(min=2), widths], -1)
    order = [3, 4, 0, 1, 2]  # one limb behind the trunk, one in front
    flat = torch.zeros(count, 5, device=device)
    power = torch.tensor([TRUNK_POWER] + 4 * [LIMB_POWER], device=device).expand(count, -1)
    gain = torch.exp2(uniform(generator, (count, 1), -3.0, 2.0) + uniform(generator, (count, 5), -0.7, 0.7))
    offset = torch.randn((count, 5, 2), generator=generator, device=device) * TEXTURE_SPREAD_PX
    return MultiPartObject(rows, torch.stack(centre, 2)[:, :, order], torch.stack(angle, 2)[:, :, order],
                           half_size[:, order], flat - 0.2, flat, power[:, order], gain, offset)  # fmt: skip


def draw_twigs(generator: torch.Generator, rows: Tensor, times: Tensor, size: tuple[int, int]) -> MultiPartObject:
    """Six bent wires 1 to 3 px wide that sway in a common wind, each by its own amount. ``times``: (R, N)."""
    count, k, device = len(rows), TWIGS, times.device
    length = log_uniform(generator, (count, k), 0.1, 0.8) * float(min(size))
    sway = _random_path(generator, times, log_uniform(generator, (count,), 0.5, 12.0))
    amount = 0.3 + uniform(generator, (count, 1, k, 1))
    centre = _random_points(generator, (count, 1, k), size) + sway[:, :, None] * amount
    angle = uniform(generator, (count, 1, 1), 0, math.pi) + uniform(generator, (count, 1, k), -0.8, 0.8)
    rocking = torch.randn((count, times.shape[1], k), generator=generator, device=device) * (times != 0)[..., None]
    angle = angle + rocking * (4.0 / length[:, None])
    half_size = torch.stack([length, uniform(generator, (count, k), 0.5, 1.5)], -1)
    bend = uniform(generator, (count, k), -0.15, 0.15)
    gain = torch.exp2(uniform(generator, (count, 1), -4.0, 1.0).expand(-1, k))
    offset = torch.randn((count, k, 2), generator=generator, device=device) * TEXTURE_SPREAD_PX
    taper = uniform(generator, (count, k), -0.6, 0.0)
    power = torch.full((count, k), LIMB_POWER, device=device)
    return MultiPartObject(rows, centre, angle, half_size, taper, bend, power, gain, offset)


def draw_swarm(generator: torch.Generator, rows: Tensor, times: Tensor, size: tuple[int, int]) -> MultiPartObject:
    """Forty leaves, birds or flakes of 1.5 to 10 px, each with its own velocity and spin in a common wind."""
    count, k, device = len(rows), SWARM, times.device
    length = log_uniform(generator, (count, 1), 1.5, 6.0) * torch.exp(uniform(generator, (count, k), -0.5, 0.5))
    wind = _random_path(generator, times, log_uniform(generator, (count,), 0.3, 15.0))
    speed = log_uniform(generator, (count, 1, 1), 0.3, 8.0)
    velocity = torch.randn((count, k, 2), generator=generator, device=device) * speed
    middle = _random_points(generator, (count, 1, 1), size)
    spread = log_uniform(generator, (count, 1, 1, 1), 0.3, 1.0)
    start = middle * (1 - spread) + spread * _random_points(generator, (count, 1, k), size)
    centre = start + wind[:, :, None] + velocity[:, None] * times[:, :, None, None]
    spin = torch.randn((count, 1, k), generator=generator, device=device) * 0.5
    angle = uniform(generator, (count, 1, k), 0, 2 * math.pi) + spin * times[..., None]
    half_size = torch.stack([length, length * uniform(generator, (count, 1), 0.3, 0.8)], -1)
    power = torch.where(uniform(generator, (count, 1)) < 0.5, 1.0, 0.5).expand(-1, k)
    gain = torch.exp2(uniform(generator, (count, 1), -3.0, 2.5) + uniform(generator, (count, k), -0.6, 0.6))
    offset = torch.randn((count, k, 2), generator=generator, device=device) * TEXTURE_SPREAD_PX
    flat = torch.zeros(count, k, device=device)
    return MultiPartObject(rows, centre, angle, half_size, flat, flat, power, gain, offset)
