"""A near layer with gaps, foliage or bars, that shifts against what is behind it as the camera moves: parallax."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from smarthdr_cli.data.synth.camera import log_uniform, uniform
from smarthdr_cli.data.synth.geometry import Blur, look_up, pixel_grid
from smarthdr_cli.data.synth.layers import Look

SLOPES = (1.1, 1.8)  # of the amplitude spectrum of a silhouette: leaves to boulders


@dataclass(frozen=True)
class Foreground:
    """One layer in each of R samples, ``rows`` of a batch.

    ``mask``: (R, 1, S, S) coverage, a texel a pixel, reflected at its edges. ``offset``: (R, N, 2) px in the reference
    view; ``zoom``: (R, N); both 0 and 1 at the reference. ``gain``: (R,) on its skin.
    """

    rows: Tensor
    mask: Tensor
    offset: Tensor
    zoom: Tensor
    gain: Tensor

    @property
    def parts(self) -> int:
        """It is rigid."""
        return 1

    def look(self, world: Tensor, shift: Tensor, frame: int) -> Look:
        """What of it a frame shows at (R, H, W, 2) points of the reference view."""
        local = (world - self.offset[:, frame, None, None]) / self.zoom[:, frame, None, None, None]
        alpha = look_up(self.mask, local, padding="reflection")
        return Look(alpha, None, local, self.gain.view(-1, 1, 1, 1))

    def follow(self, points: Tensor, part: Tensor, frame: int) -> Tensor:
        """Where (R, H, W, 2) points of the reference on it are at another frame."""
        return points * self.zoom[:, frame, None, None, None] + self.offset[:, frame, None, None]

    def moments(self, blur: Blur) -> "Foreground":
        """With the moments of a long exposure behind the frames."""
        own = blur.of(self.rows)
        return replace(self, offset=own.moments(self.offset, pixels=True), zoom=own.moments(self.zoom, pixels=False))


def draw_foreground(
    generator: torch.Generator, rows: Tensor, times: Tensor, size: tuple[int, int]
) -> tuple[Foreground, Tensor]:
    """A layer in each of ``rows`` and how the rest moves against the camera: (R, N, 2) px, the way of what is behind.

    ``times``: (R, N). Layers shift by 1 to 20 px: before a still background (alignment held on to that), with the
    background moving behind a still layer (it held on to this), or both in part.
    """
    count, device = len(rows), times.device
    mask = torch.where(
        (uniform(generator, (count,)) < 0.7).view(-1, 1, 1, 1),
        silhouette(generator, count, size), bars(generator, count, size),
    )  # fmt: skip
    way = uniform(generator, (count, 1), 0, 2 * math.pi)
    way = torch.stack([torch.cos(way), torch.sin(way)], -1)
    unrest = torch.randn((*times.shape, 2), generator=generator, device=device) * 0.3
    part = (times / times.abs().amax(dim=1, keepdim=True))[..., None]
    offset = log_uniform(generator, (count, 1, 1), 1.0, 20.0) * (way * part + unrest * (part != 0))
    zoom = 1 + torch.randn(times.shape, generator=generator, device=device) * 0.01 * (times != 0)
    held = uniform(generator, (count, 1, 1))
    share = torch.where(held < 0.5, torch.zeros_like(held), torch.where(held < 0.75, torch.ones_like(held), held))
    gain = torch.exp2(uniform(generator, (count,), -5.0, 1.0))  # mostly against the light
    return Foreground(rows, mask, offset, zoom, gain), share * offset


def noise(generator: torch.Generator, count: int, side: int, slopes: tuple[float, float]) -> Tensor:
    """(R, S, S) Gaussian noise with 1/f**slope amplitude spectra, slopes drawn; zero mean, unit variance, periodic."""
    device = generator.device
    fy = torch.fft.fftfreq(side, device=device)[:, None]
    fx = torch.fft.rfftfreq(side, device=device)[None]
    slope = uniform(generator, (count, 1, 1), *slopes)
    amplitude = torch.hypot(fy, fx).clamp(min=1.0 / side) ** -slope
    amplitude[:, 0, 0] = 0
    phase = torch.randn((count, 2, side, side // 2 + 1), generator=generator, device=device)
    field: Tensor = torch.fft.irfft2(amplitude * torch.complex(phase[:, 0], phase[:, 1]), s=(side, side))
    deviation: Tensor = field.std(dim=(1, 2), keepdim=True)
    return field / deviation


def silhouette(generator: torch.Generator, count: int, size: tuple[int, int]) -> Tensor:
    """(R, 1, S, S) coverage by foliage: noise over a threshold, more of it towards one side; edges 1 to 4 px wide."""
    side = _side(size)
    field = noise(generator, count, side, SLOPES)
    angle = uniform(generator, (count, 1, 1), 0, 2 * math.pi)
    x, y = pixel_grid(side, side, generator.device).unbind(-1)
    lean = uniform(generator, (count, 1, 1), 0.0, 4.0) * (torch.cos(angle) * x + torch.sin(angle) * y) / max(size)
    field = field + lean
    top, left = (side - size[0]) // 2, (side - size[1]) // 2
    seen = field[:, top : top + size[0], left : left + size[1]].flatten(1)[:, ::17].sort(dim=1).values
    bare = uniform(generator, (count, 1), 0.5, 0.9)
    threshold = seen.gather(1, (bare * (seen.shape[1] - 1)).long())[..., None]
    steep = field.diff(dim=2).abs().mean(dim=(1, 2)).view(-1, 1, 1) * 1.5
    edge = torch.exp(uniform(generator, (count, 1, 1), 0.0, 2.0).square() * 0.35)
    return ((field - threshold) / (steep * edge) + 0.5).clamp(0, 1)[:, None]


def bars(generator: torch.Generator, count: int, size: tuple[int, int]) -> Tensor:
    """(R, 1, S, S) coverage by parallel bars 1.5 px wide or wider, half of them crossed, some crooked, some in part."""
    side = _side(size)
    shape, device = (count, 1, 1), generator.device
    grid = pixel_grid(side, side, device)
    x, y = grid.unbind(-1)
    angle = uniform(generator, shape, 0, math.pi)
    crooked = uniform(generator, shape, 0.0, 8.0) * (uniform(generator, shape) < 0.4)
    u = torch.cos(angle) * x + torch.sin(angle) * y + crooked * noise(generator, count, side, (1.8, 2.2))
    v = torch.cos(angle) * y - torch.sin(angle) * x
    period = log_uniform(generator, shape, 10.0, 60.0)
    width = torch.exp(uniform(generator, shape) * torch.log(0.3 * period)) + 0.5
    cover = _stripes(u, period, width)
    crossed = _stripes(v, period * uniform(generator, shape, 1.0, 4.0), width)
    cover = torch.maximum(cover, crossed * (uniform(generator, shape) < 0.5))
    end = uniform(generator, shape, -0.3, 0.3) * min(size)
    cut = (v < end) | (uniform(generator, shape) < 0.5)
    return (cover * cut)[:, None]


def _stripes(u: Tensor, period: Tensor, width: Tensor) -> Tensor:
    return (width / 2 - ((u % period) - period / 2).abs() + 0.5).clamp(0, 1)


def _side(size: tuple[int, int]) -> int:
    """Wide enough for the picture and its shifts, with small factors for the transform."""
    return math.ceil((max(size) + 64) / 32) * 32
