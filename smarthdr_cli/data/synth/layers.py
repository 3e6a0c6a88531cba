"""What stands before what: things painted one behind the other over the frames of a burst."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from smarthdr_cli.data.synth.geometry import Moving, pixel_grid
from smarthdr_cli.data.synth.sources import SceneBank
from smarthdr_cli.data.synth.textures import Texture


@dataclass(frozen=True)
class Look:
    """What of a thing a frame shows, for R samples.

    ``alpha``: (R, 1, H, W) coverage. ``part``: (R, H, W) which of its parts, or None where it has but one. ``local``:
    (R, H, W, 2) where on its skin, px. ``gain``: (R, 1, H or 1, W or 1) on the skin's radiance. ``shade``: (R, 1, 1, 1)
    bool, or None: it darkens or lights what is behind, by that gain, and does not hide it.
    """

    alpha: Tensor
    part: Tensor | None
    local: Tensor
    gain: Tensor
    shade: Tensor | None = None


class Thing(Moving, Protocol):
    """A thing that can be seen."""

    def look(self, world: Tensor, shift: Tensor, frame: int) -> Look:
        """What a frame shows that looks at (R, H, W, 2) ``world``, the grid displaced by its ``shift``."""


@dataclass(frozen=True)
class Canvas:
    """``frames``: (B, M, 3, H, W) radiance; ``layers``: (B, M, 1, H, W) number of what is seen there, 0 behind all;
    both are painted on in place. ``motion``: (B, M, H, W, 2) px.

    ``steady``: a skin's brightness is one number a burst. Else it follows each frame's mean, as it did when the frozen
    benchmarks were made, and objects change by a little as they move.
    """

    frames: Tensor
    layers: Tensor
    motion: Tensor
    steady: bool

    def paint(self, thing: Thing, first: int, skin_of: Texture, bank: SceneBank) -> None:
        """Put a thing before all that is there; its parts are numbered from ``first``."""
        rows = thing.rows
        grid = pixel_grid(self.frames.shape[-2], self.frames.shape[-1], self.frames.device)
        norm, level = torch.ones(()), torch.ones(())
        for n in range(self.frames.shape[1]):
            shift, behind = self.motion[rows, n], self.frames[rows, n]
            look = thing.look(grid + shift, shift, n)
            skin = skin_of.sample(bank, look.local)
            if n == 0 or not self.steady:
                level = behind.mean(dim=(1, 2, 3), keepdim=True)
                norm = _mean(skin, look).clamp(min=1e-6)
            skin = skin / norm * level.clamp(max=4.0)
            colour = skin * look.gain
            number = torch.full_like(look.alpha, first) if look.part is None else look.part[:, None] + first
            covered = look.alpha > 0.5
            if look.shade is not None:
                colour = torch.where(look.shade, behind * look.gain.clamp(0.2, 2.0), colour)
                covered = covered & ~look.shade
            self.frames[rows, n] = torch.lerp(behind, colour, look.alpha)
            self.layers[rows, n] = torch.where(covered, number.float(), self.layers[rows, n])


def _mean(skin: Tensor, look: Look) -> Tensor:
    """(R, 1, 1, 1) mean of a skin: of the whole of it, or of what is seen of its parts, 1 where nothing is."""
    if look.part is None:
        return skin.mean(dim=(1, 2, 3), keepdim=True)
    seen = (look.alpha > 0).float()
    area = seen.sum(dim=(1, 2, 3), keepdim=True)
    mean = (skin * seen).sum(dim=(1, 2, 3), keepdim=True) / (3 * area).clamp(min=1)
    return torch.where(area > 0, mean, torch.ones_like(mean))
