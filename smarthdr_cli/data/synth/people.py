"""Rendered people in synthetic bursts, from sprites of consecutive phases of a motion (``sprites.py``).

A burst takes phases at a constant stride around the reference phase. A person who would move beyond the first or the
last phase stands still there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from smarthdr_cli.data.synth.camera import log_uniform, uniform
from smarthdr_cli.data.synth.compositing import RenderedLayer
from smarthdr_cli.data.synth.geometry import MotionBlur
from smarthdr_cli.data.synth.sources import HELD_OUT
from smarthdr_cli.data.synth.sprites import Sprite, read_sprite
from smarthdr_cli.errors import InputError

MAX_PEOPLE = 3  # in a burst
MORE_PEOPLE = (0.45, 0.4)  # probability of a second person, and of a third where there is a second
STRIDES = (1, 2)  # phases between two frames
SCALES = (0.35, 1.0)  # size in a burst relative to the sprite's; beyond 1 a sprite would be blurred
HORIZON = (-0.6, 0.35)  # bounds of the horizon in shares of the picture's height, from its middle, downwards
EYE_LEVEL = (0.75, 1.1)  # height of the camera relative to that of a person
LIGHT_EV = (-1.5, 1.5)  # of the people's light relative to the picture's geometric mean


def load_people(folder: Path) -> tuple[Sprite, ...]:
    """All sprites of a folder (.npz), by name.

    Raises InputError where there are none, for a damaged one, and for one under the light of a held-out panorama.
    """
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise InputError(f"{folder}: no sprites of people (.npz) there; benchmarks/people/make_people.py makes them")
    sprites = tuple(read_sprite(path) for path in paths)
    for path, sprite in zip(paths, sprites, strict=True):
        if sprite.panorama in HELD_OUT:
            raise InputError(f"{path}: lit by {sprite.panorama}, which is held out of training; delete the file")
    return sprites


@dataclass(frozen=True)
class Person:
    """One person in each of R bursts, the ``rows`` of a batch.

    ``phase``: (R, N) of the sprite. ``anchor``: (R, N, 2) px of the root in the reference view. ``scale``: (R,) px per
    pixel of the sprite. ``side``: (R,) -1 where the sprite is mirrored, else 1. ``gain``: (R,) factor on the radiance.
    """

    rows: Tensor
    sprites: tuple[Sprite, ...]
    phase: Tensor
    anchor: Tensor
    scale: Tensor
    side: Tensor
    gain: Tensor

    @property
    def part_count(self) -> int:
        """1: which parts of a person hide others is in the sprite."""
        return 1

    def render_layer(self, points: Tensor, displacement: Tensor, frame: int) -> RenderedLayer:
        """What a frame shows of the people at (R, H, W, 2) points of the reference view."""
        local = self._to_sprite(points, frame)
        layers = []
        for r, sprite in enumerate(self.sprites):
            phase = int(self.phase[r, frame])
            planes = torch.cat([sprite.rgba[phase], sprite.shadow[phase]])[None].float()
            level = max(0, round(-math.log2(max(float(self.scale[r]), 1e-3))))
            layers.append(_sample(planes, local[r], 2**level))
        planes = torch.stack(layers)
        return RenderedLayer(
            planes[:, 3:4].clamp(0, 1), None, local, self.gain.view(-1, 1, 1, 1),
            radiance=planes[:, :3], transmission=1 - planes[:, 4:].clamp(0, 1),
        )  # fmt: skip

    def track(self, points: Tensor, part: Tensor, frame: int) -> Tensor:
        """(R, H, W, 2) points of the reference on the people to their positions in another frame; NaN where hidden."""
        local = self._to_sprite(points, 0)
        moved = []
        for r, sprite in enumerate(self.sprites):
            phase = int(self.phase[r, frame])
            motion = _sample(sprite.motion[phase][None].float(), local[r]).permute(1, 2, 0)
            seen = _sample(sprite.visible[phase][None].float(), local[r])[0, ..., None] > 0.5
            motion = motion * torch.stack([self.side[r], torch.ones_like(self.side[r])]) * self.scale[r]
            moved.append(torch.where(seen, points[r] + motion, torch.nan))
        return torch.stack(moved) + (self.anchor[:, frame] - self.anchor[:, 0])[:, None, None]

    def with_blur(self, blur: MotionBlur) -> "Person":
        """The people with the moments of a long exposure appended: whole people move, their limbs do not."""
        blur = blur.select(self.rows)
        return replace(self, anchor=blur.extend_positions(self.anchor), phase=blur.extend_static(self.phase))

    def _to_sprite(self, points: Tensor, frame: int) -> Tensor:
        """(R, H, W, 2) points of the reference view to px of the sprites, from the middle of their pictures."""
        offset = (points - self.anchor[:, frame, None, None]) / self.scale.view(-1, 1, 1, 1)
        mirror = torch.stack([self.side, torch.ones_like(self.side)], -1)
        root = torch.stack([sprite.root for sprite in self.sprites])
        return offset * mirror[:, None, None] + root[:, None, None]


def _sample(planes: Tensor, points: Tensor, reduction: int = 1) -> Tensor:
    """(C, h, w) of (1, C, H, W) planes at (h, w, 2) px from their middle; 0 outside. ``reduction``: box means first."""
    height, width = planes.shape[-2:]
    if reduction > 1:
        down, right = -height % reduction, -width % reduction
        planes = F.avg_pool2d(F.pad(planes, (0, right, 0, down)), reduction)
        points = points - torch.tensor([right / 2, down / 2], device=points.device)
        height, width = height + down, width + right
    unit = points * torch.tensor([2.0 / width, 2.0 / height], device=points.device)
    return F.grid_sample(planes, unit[None], mode="bilinear", padding_mode="zeros", align_corners=False)[0]


def draw_people(
    generator: torch.Generator,
    people: Sequence[Sprite],
    rows: Tensor,
    times: Tensor,
    size: tuple[int, int],
    horizon: Tensor,
) -> list[Person]:
    """One to ``MAX_PEOPLE`` people in each of the bursts ``rows``, those further away first.

    ``times``: (R, N). ``horizon``: (R,) px of the backdrop's horizon below the picture's middle, kept in ``HORIZON``.
    People stand on one level ground: the feet of one who is h px high are h e px below the horizon, e the camera's
    height relative to a person's. All of a burst have the same light.
    """
    count, device = len(rows), times.device
    number = uniform(generator, (count, len(MORE_PEOPLE)))
    present = (number < torch.tensor(MORE_PEOPLE, device=device)).float().cumprod(1)
    present = torch.cat([torch.ones(count, 1, device=device), present], 1) > 0
    pick = torch.randint(len(people), (count, MAX_PEOPLE), generator=generator, device=device)
    heights = torch.tensor([sprite.height for sprite in people], device=device)[pick]
    scale = log_uniform(generator, (count, MAX_PEOPLE), *SCALES)
    order = (heights * scale).argsort(dim=1)
    pick, scale, height = pick.gather(1, order), scale.gather(1, order), (heights * scale).gather(1, order)
    low, high = (share * size[0] for share in HORIZON)
    feet = horizon.clamp(low, high)[:, None] + uniform(generator, (count, 1), *EYE_LEVEL) * height
    across = uniform(generator, (count, MAX_PEOPLE), -0.5, 0.5) * size[1]
    side = torch.where(uniform(generator, (count, MAX_PEOPLE)) < 0.5, -1.0, 1.0)
    stride = torch.tensor(STRIDES, device=device)
    stride = stride[torch.randint(len(STRIDES), (count, MAX_PEOPLE, 1), generator=generator, device=device)]
    gain = torch.exp2(uniform(generator, (count,), *LIGHT_EV))
    persons = []
    for k in range(MAX_PEOPLE):
        chosen = present[:, k].nonzero()[:, 0]
        if not len(chosen):
            continue
        sprites = tuple(people[int(i)] for i in pick[chosen, k])
        middle = torch.tensor([[sprite.phases // 2] for sprite in sprites], device=device)
        last = torch.tensor([[sprite.phases - 1] for sprite in sprites], device=device)
        phase = (middle + times[chosen].long() * stride[chosen, k]).clamp(min=0).minimum(last)
        travel = torch.stack([sprite.travel[p] for sprite, p in zip(sprites, phase, strict=True)])
        mirror = torch.stack([side[chosen, k], torch.ones(len(chosen), device=device)], -1)
        start = torch.stack([across[chosen, k], feet[chosen, k]], -1)
        anchor = start[:, None] + travel * (mirror * scale[chosen, k, None])[:, None]
        persons.append(Person(rows[chosen], sprites, phase, anchor, scale[chosen, k], side[chosen, k], gain[chosen]))
    return persons
