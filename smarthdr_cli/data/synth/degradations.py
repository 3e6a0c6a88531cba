"""Degradations of a burst besides noise: white-balance drift, hot pixels, whitened highlights, flickering light,
misstated exposures.

A frame's mean exposure becomes b * light + h: b is a gain per channel, 1 in the reference, and h the dark current of
hot pixels, proportional to the exposure time. Cameras take the colour out of a highlight whose brightest channel is p
times the clip: the others go the share w (1 - p^-1.5) of their way to the clip, as the test of a burst allows
(fusion/pixel_kernel.py); w from 0 to 1 is the camera's.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from smarthdr_cli.data.synth.camera import log_uniform, uniform
from smarthdr_cli.data.synth.config import Variety

MAX_EV_ERROR = 1 / 3  # of a misstated exposure: one click of a camera's dial
MAX_DRIFT = 0.04  # relative, of a channel's gain
MAX_FLICKER_EV = 0.5
MAX_HOT_PIXELS = 24  # in a burst
# Spread of one channel by demosaicing: dy, dx, weight.
HOT_PIXEL_KERNEL = ((0, 0, 1.0), (0, 1, 0.25), (1, 0, 0.25), (0, -1, 0.25), (-1, 0, 0.25))


@dataclass(frozen=True)
class Degradations:
    """``balance``: (B, N, 3, 1, 1) channel gains. ``dark_current``: (B, N, 3, H, W) in units of the clip, or None.
    ``whitening``: (B, 1, 1, 1, 1) w of the camera, or None.
    """

    balance: Tensor
    dark_current: Tensor | None
    whitening: Tensor | None = None

    def apply(self, light: Tensor) -> Tensor:
        """(B, N, 3, H, W) mean exposure with the degradations."""
        light = light * self.balance
        if self.dark_current is not None:
            light = light + self.dark_current
        if self.whitening is None:
            return light
        share = self.whitening * (1 - light.amax(dim=2, keepdim=True).clamp(min=1) ** -1.5)
        return light + share * (1 - light).clamp(min=0)


def draw_degradations(
    generator: torch.Generator, variety: Variety, evs: Tensor, size: tuple[int, int], *, aligned: bool, bits16: Tensor
) -> Degradations:
    """White-balance drift, hot pixels and whitening with the probabilities of ``variety``. ``evs``: (B, N) true EVs.

    ``aligned``: half of the bursts were moved onto the reference by whole pixels, and their hot pixels with them.
    ``bits16``: (B,) whose highlights keep their colour.
    """
    batch, count = evs.shape
    device = generator.device
    balance = torch.ones((batch, count, 3), device=device)
    if variety.drift:
        drifting = (uniform(generator, (batch, 1, 1)) < variety.drift) & (evs != 0)[..., None]
        balance = balance + drifting * uniform(generator, (batch, count, 3), -MAX_DRIFT, MAX_DRIFT)
    dark_current = None
    if variety.hot:
        dark_current = draw_hot_pixels(generator, evs, size, variety.hot, aligned=aligned)
    whitening = None
    if variety.whitened:
        whitens = (uniform(generator, (batch,)) < variety.whitened) & ~bits16
        whitening = (whitens * uniform(generator, (batch,))).view(-1, 1, 1, 1, 1)
    return Degradations(balance[..., None, None], dark_current, whitening)


def draw_hot_pixels(
    generator: torch.Generator, evs: Tensor, size: tuple[int, int], probability: float, *, aligned: bool
) -> Tensor:
    """(B, N, 3, H, W) dark current of up to ``MAX_HOT_PIXELS``, 1 = clip; the same sensor pixels in every frame.

    A hot pixel has one channel, as under a colour filter array, and spreads to its four neighbours by demosaicing.
    """
    batch, count = evs.shape
    device = generator.device
    height, width = size
    shape = (batch, 1, MAX_HOT_PIXELS)
    number = uniform(generator, (batch, 1, 1)) ** 2 * MAX_HOT_PIXELS
    affected = uniform(generator, (batch, 1, 1)) < probability
    hot = affected & (torch.arange(MAX_HOT_PIXELS, device=device) < number)
    y = torch.randint(height, shape, generator=generator, device=device).expand(-1, count, -1)
    x = torch.randint(width, shape, generator=generator, device=device).expand(-1, count, -1)
    channel = torch.randint(3, shape, generator=generator, device=device).expand(-1, count, -1)
    strength = torch.exp2(uniform(generator, shape, -5.0, 2.0)) * hot
    strength = strength * torch.exp2(evs - evs.amax(dim=1, keepdim=True))[..., None]
    if aligned:
        shift = torch.randn((batch, count, 2), generator=generator, device=device) * 8
        shift = (shift * (uniform(generator, (batch, 1, 1)) < 0.5) * (evs != 0)[..., None]).round().long()
        y, x = y + shift[..., :1], x + shift[..., 1:]
    current = torch.zeros((batch * count, 3 * height * width), device=device)
    for dy, dx, weight in HOT_PIXEL_KERNEL:
        row, column = y + dy, x + dx
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        index = (channel * height + row.clamp(0, height - 1)) * width + column.clamp(0, width - 1)
        current.scatter_add_(1, index.flatten(0, 1), (strength * weight * inside).flatten(0, 1))
    return current.view(batch, count, 3, height, width)


def draw_ev_errors(generator: torch.Generator, evs: Tensor, probability: float) -> Tensor:
    """(B, N) errors of stated exposures, up to ``MAX_EV_ERROR``; 0 for the reference."""
    wrong = (uniform(generator, (len(evs), 1)) < probability) & (evs != 0)
    return wrong * uniform(generator, evs.shape, -MAX_EV_ERROR, MAX_EV_ERROR)


def draw_flicker(generator: torch.Generator, points: Tensor, probability: float) -> Tensor:
    """(B, N, 1, H, W) gain of a Gaussian pool of light that changes by up to ``MAX_FLICKER_EV``; 1 in the reference.

    The pool is fixed in the reference view; ``points``: (B, N, H, W, 2) of it that the frames show.
    """
    batch, count, height, width, _ = points.shape
    extent = torch.tensor([width, height], device=points.device)
    centre = uniform(generator, (batch, 1, 1, 1, 2), -0.5, 0.5) * extent
    radius = log_uniform(generator, (batch, 1, 1, 1), 0.1, 1.0) * min(height, width)
    ev = uniform(generator, (batch, count), -MAX_FLICKER_EV, MAX_FLICKER_EV)
    ev = ev * (uniform(generator, (batch, 1)) < probability)
    ev[:, 0] = 0
    pool = torch.exp(-(points - centre).square().sum(-1) / radius.square())
    return torch.exp2(ev[:, :, None, None] * pool)[:, :, None]
