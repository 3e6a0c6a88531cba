"""What else is wrong with the frames of a burst: white balance that drifts, hot pixels, pulsing lamps, wrong EXIF."""

from dataclasses import dataclass

import torch
from torch import Tensor

from smarthdr_cli.data.synth.camera import log_uniform, uniform
from smarthdr_cli.data.synth.variety import Variety

MISSTATED = 1 / 3  # EV, at most
DRIFT = 0.04  # of a channel's gain, at most
FLICKER = 0.5  # EV, at most
HOTTEST = 24  # pixels a burst


@dataclass(frozen=True)
class Blemishes:
    """``balance``: (B, N, 3, 1, 1) gain of each channel, 1 in the reference. ``hot``: (B, N, 3, H, W) dark current in
    units of the clip, the same pixels of the sensor in every frame, growing with the exposure; None for none."""

    balance: Tensor
    hot: Tensor | None

    def on(self, light: Tensor) -> Tensor:
        """(B, N, 3, H, W) mean exposure as this camera has it."""
        light = light * self.balance
        return light if self.hot is None else light + self.hot


def draw_blemishes(
    generator: torch.Generator, variety: Variety, evs: Tensor, size: tuple[int, int], *, aligned: bool
) -> Blemishes:
    """For a batch with (B, N) true ``evs``. ``aligned``: frames were moved onto the reference, half of the bursts by
    whole pixels, and hot pixels with them."""
    batch, count = evs.shape
    device = generator.device
    balance = torch.ones((batch, count, 3), device=device)
    if variety.drift:
        some = (uniform(generator, (batch, 1, 1)) < variety.drift) & (evs != 0)[..., None]
        balance = balance + some * uniform(generator, (batch, count, 3), -DRIFT, DRIFT)
    hot = None
    if variety.hot:
        hot = hot_pixels(generator, evs, size, variety.hot, aligned=aligned)
    return Blemishes(balance[..., None, None], hot)


def hot_pixels(
    generator: torch.Generator, evs: Tensor, size: tuple[int, int], share: float, *, aligned: bool
) -> Tensor:
    """(B, N, 3, H, W) dark current of up to ``HOTTEST`` pixels in a ``share`` of bursts, 1 = clip.

    One channel each, as under a colour filter, and a quarter of it in the four neighbours, as demosaicing spreads it.
    """
    batch, count = evs.shape
    device = generator.device
    height, width = size
    shape = (batch, 1, HOTTEST)
    many = uniform(generator, (batch, 1, 1)) ** 2 * HOTTEST
    there = (uniform(generator, (batch, 1, 1)) < share) & (torch.arange(HOTTEST, device=device) < many)
    y = torch.randint(height, shape, generator=generator, device=device).expand(-1, count, -1)
    x = torch.randint(width, shape, generator=generator, device=device).expand(-1, count, -1)
    channel = torch.randint(3, shape, generator=generator, device=device).expand(-1, count, -1)
    strength = torch.exp2(uniform(generator, shape, -5.0, 2.0)) * there
    strength = strength * torch.exp2(evs - evs.amax(dim=1, keepdim=True))[..., None]
    if aligned:
        moved = torch.randn((batch, count, 2), generator=generator, device=device) * 8
        moved = (moved * (uniform(generator, (batch, 1, 1)) < 0.5) * (evs != 0)[..., None]).round().long()
        y, x = y + moved[..., :1], x + moved[..., 1:]
    current = torch.zeros((batch * count, 3 * height * width), device=device)
    for dy, dx, part in ((0, 0, 1.0), (0, 1, 0.25), (1, 0, 0.25), (0, -1, 0.25), (-1, 0, 0.25)):
        row, column = y + dy, x + dx
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        index = (channel * height + row.clamp(0, height - 1)) * width + column.clamp(0, width - 1)
        current.scatter_add_(1, index.flatten(0, 1), (strength * part * inside).flatten(0, 1))
    return current.view(batch, count, 3, height, width)


def misstated(generator: torch.Generator, evs: Tensor, share: float) -> Tensor:
    """(B, N) EV by which stated exposures of a ``share`` of bursts are wrong, never the reference's."""
    some = (uniform(generator, (len(evs), 1)) < share) & (evs != 0)
    return some * uniform(generator, evs.shape, -MISSTATED, MISSTATED)


def flicker(generator: torch.Generator, points: Tensor, share: float) -> Tensor:
    """(B, N, 1, H, W) gain of a pool of light that pulses by up to half a stop in a ``share`` of bursts.

    It stays in its place of the view, (B, N, H, W, 2) points of which the frames show; 1 in the first.
    """
    batch, count, height, width, _ = points.shape
    extent = torch.tensor([width, height], device=points.device)
    centre = uniform(generator, (batch, 1, 1, 1, 2), -0.5, 0.5) * extent
    radius = log_uniform(generator, (batch, 1, 1, 1), 0.1, 1.0) * min(height, width)
    pulse = uniform(generator, (batch, count), -FLICKER, FLICKER) * (uniform(generator, (batch, 1)) < share)
    pulse[:, 0] = 0
    pool = torch.exp(-(points - centre).square().sum(-1) / radius.square())
    return torch.exp2(pulse[:, :, None, None] * pool)[:, :, None]
