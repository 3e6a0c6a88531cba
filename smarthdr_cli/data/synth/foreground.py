"""A foreground layer with gaps, foliage or bars, that shifts against the background with the camera: parallax.

A mask of foliage thresholds Gaussian noise with a power-law amplitude spectrum, A(f) = f^-s; bars are periodic stripes.
The layer moves by ``offset`` and ``zoom``; the background moves by a share of the offset, because alignment may have
followed the background (share 0), the layer (share 1) or a mean of both.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from smarthdr_cli.data.synth.camera import log_uniform, uniform
from smarthdr_cli.data.synth.compositing import RenderedLayer
from smarthdr_cli.data.synth.geometry import MotionBlur, pixel_grid, sample_at, unit_vector

FOLIAGE_SLOPES = (1.1, 1.8)  # range of s: leaves to boulders
CROOKED_SLOPES = (1.8, 2.2)  # range of s of the noise that bends bars
OFFSET_PX = (1.0, 20.0)  # range of the layer's shift in the frame furthest in time from the reference
MARGIN_PX = 64  # by which masks are larger than the picture


@dataclass(frozen=True)
class Foreground:
    """One rigid layer in each of R bursts, the ``rows`` of a batch.

    ``mask``: (R, 1, S, S) coverage, one texel per pixel, reflected at its edges. ``offset``: (R, N, 2) px and ``zoom``:
    (R, N), 0 and 1 at the reference. ``gain``: (R,) factor on the texture's radiance.
    """

    rows: Tensor
    mask: Tensor
    offset: Tensor
    zoom: Tensor
    gain: Tensor

    @property
    def part_count(self) -> int:
        """1: the layer is rigid."""
        return 1

    def render_layer(self, points: Tensor, displacement: Tensor, frame: int) -> RenderedLayer:
        """What a frame shows of the layer at (R, H, W, 2) points of the reference view."""
        local = (points - self.offset[:, frame, None, None]) / self.zoom[:, frame, None, None, None]
        alpha = sample_at(self.mask, local, padding="reflection")
        return RenderedLayer(alpha, None, local, self.gain.view(-1, 1, 1, 1))

    def track(self, points: Tensor, part: Tensor, frame: int) -> Tensor:
        """(R, H, W, 2) points of the reference on the layer to their positions in another frame."""
        return points * self.zoom[:, frame, None, None, None] + self.offset[:, frame, None, None]

    def with_blur(self, blur: MotionBlur) -> "Foreground":
        """The layer with the moments of a long exposure appended to its frames."""
        blur = blur.select(self.rows)
        return replace(self, offset=blur.extend_positions(self.offset), zoom=blur.extend_values(self.zoom))


def draw_foreground(
    generator: torch.Generator, rows: Tensor, times: Tensor, size: tuple[int, int]
) -> tuple[Foreground, Tensor]:
    """A layer in each of the bursts ``rows``, and the (R, N, 2) px displacement of the background.

    ``times``: (R, N). The layer shifts by ``OFFSET_PX``; the background by none of that (in half of the bursts), all
    of it (a quarter) or 75 to 100 % of it (a quarter).
    """
    count, device = len(rows), times.device
    mask = torch.where(
        (uniform(generator, (count,)) < 0.7).view(-1, 1, 1, 1),
        foliage_mask(generator, count, size), bars_mask(generator, count, size),
    )  # fmt: skip
    direction = unit_vector(uniform(generator, (count, 1), 0, 2 * math.pi))
    jitter = torch.randn((*times.shape, 2), generator=generator, device=device) * 0.3
    progress = (times / times.abs().amax(dim=1, keepdim=True))[..., None]
    offset = log_uniform(generator, (count, 1, 1), *OFFSET_PX) * (direction * progress + jitter * (progress != 0))
    zoom = 1 + torch.randn(times.shape, generator=generator, device=device) * 0.01 * (times != 0)
    number = uniform(generator, (count, 1, 1))
    share = torch.where(number < 0.5, 0.0, torch.where(number < 0.75, 1.0, number))
    gain = torch.exp2(uniform(generator, (count,), -5.0, 1.0))  # mostly darker than the background
    return Foreground(rows, mask, offset, zoom, gain), share * offset


def power_law_noise(generator: torch.Generator, count: int, side: int, slopes: tuple[float, float]) -> Tensor:
    """(R, S, S) periodic Gaussian noise with amplitude spectrum f^-s, s uniform in ``slopes``; mean 0, variance 1."""
    device = generator.device
    fy = torch.fft.fftfreq(side, device=device)[:, None]
    fx = torch.fft.rfftfreq(side, device=device)[None]
    slope = uniform(generator, (count, 1, 1), *slopes)
    amplitude = torch.hypot(fy, fx).clamp(min=1.0 / side) ** -slope
    amplitude[:, 0, 0] = 0
    normal = torch.randn((count, 2, side, side // 2 + 1), generator=generator, device=device)
    noise: Tensor = torch.fft.irfft2(amplitude * torch.complex(normal[:, 0], normal[:, 1]), s=(side, side))
    deviation: Tensor = noise.std(dim=(1, 2), keepdim=True)
    return noise / deviation


def foliage_mask(generator: torch.Generator, count: int, size: tuple[int, int]) -> Tensor:
    """(R, 1, S, S) coverage of 10 to 50 % of the picture, denser towards one side; edges 1 to 4 px wide."""
    side = _mask_side(size)
    noise = power_law_noise(generator, count, side, FOLIAGE_SLOPES)
    angle = uniform(generator, (count, 1, 1), 0, 2 * math.pi)
    x, y = pixel_grid(side, side, generator.device).unbind(-1)
    slant = uniform(generator, (count, 1, 1), 0.0, 4.0) * (torch.cos(angle) * x + torch.sin(angle) * y) / max(size)
    level = noise + slant
    top, left = (side - size[0]) // 2, (side - size[1]) // 2
    ordered = level[:, top : top + size[0], left : left + size[1]].flatten(1)[:, ::17].sort(dim=1).values
    bare = uniform(generator, (count, 1), 0.5, 0.9)
    threshold = ordered.gather(1, (bare * (ordered.shape[1] - 1)).long())[..., None]
    slope = level.diff(dim=2).abs().mean(dim=(1, 2)).view(-1, 1, 1) * 1.5
    edge = torch.exp(uniform(generator, (count, 1, 1), 0.0, 2.0).square() * 0.35)
    return ((level - threshold) / (slope * edge) + 0.5).clamp(0, 1)[:, None]


def bars_mask(generator: torch.Generator, count: int, size: tuple[int, int]) -> Tensor:
    """(R, 1, S, S) coverage by parallel bars from 1.5 px wide: half are crossed, some bent, half of them cut off."""
    side = _mask_side(size)
    shape = (count, 1, 1)
    x, y = pixel_grid(side, side, generator.device).unbind(-1)
    angle = uniform(generator, shape, 0, math.pi)
    bend = uniform(generator, shape, 0.0, 8.0) * (uniform(generator, shape) < 0.4)
    u = torch.cos(angle) * x + torch.sin(angle) * y + bend * power_law_noise(generator, count, side, CROOKED_SLOPES)
    v = torch.cos(angle) * y - torch.sin(angle) * x
    period = log_uniform(generator, shape, 10.0, 60.0)
    width = torch.exp(uniform(generator, shape) * torch.log(0.3 * period)) + 0.5
    mask = _stripes(u, period, width)
    crossing = _stripes(v, period * uniform(generator, shape, 1.0, 4.0), width)
    mask = torch.maximum(mask, crossing * (uniform(generator, shape) < 0.5))
    end = uniform(generator, shape, -0.3, 0.3) * min(size)
    present = (v < end) | (uniform(generator, shape) < 0.5)
    return (mask * present)[:, None]


def _stripes(u: Tensor, period: Tensor, width: Tensor) -> Tensor:
    return (width / 2 - ((u % period) - period / 2).abs() + 0.5).clamp(0, 1)


def _mask_side(size: tuple[int, int]) -> int:
    """Side of a mask for a picture of ``size``; a multiple of 32 for the FFT."""
    return math.ceil((max(size) + MARGIN_PX) / 32) * 32
