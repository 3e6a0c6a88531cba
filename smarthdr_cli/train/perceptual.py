"""Perceptual terms that need no download: multi-scale gradients, and 1 - MS-SSIM, on the mu-law picture.

MS-SSIM: Wang, Simoncelli and Bovik, "Multi-scale structural similarity for image quality assessment", Asilomar 2003:
11x11 Gaussian windows of sigma 1.5, K = (0.01, 0.03), data range 1, contrast and structure of every scale and the
luminance of the coarsest, to the powers below. Small crops have no room for five scales: those whose window does not
fit are left out and the remaining powers scaled to the same sum.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from smarthdr_cli.train.losses import weighted_mean
from smarthdr_cli.train.support import least, tone_pair

POWERS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2


def gradient(
    predicted: Tensor, target: Tensor, scale_short: Tensor, weight: Tensor | None = None, *, levels: int = 4
) -> Tensor:
    """L1 between the forward differences of T(prediction) and T(target), a mean over ``levels`` box-averaged scales.

    (B, 3, H, W) radiance in reference units; ``weight``: (B, 1, H, W), 0 leaves a pixel out. A difference weighs the
    least of the pixels it is made of. Scales of less than two pixels are left out.
    """
    seen, wanted, weight = tone_pair(predicted, target, scale_short, weight)
    gap = seen - wanted  # differences are linear: those of the gap are the gap of those
    terms = []
    for _ in range(levels):
        if min(gap.shape[-2:]) < 2:
            break
        for axis in (-2, -1):
            side = None if weight is None else torch.minimum(_shifted(weight, axis), _kept(weight, axis))
            terms.append(weighted_mean((_shifted(gap, axis) - _kept(gap, axis)).abs(), side))
        gap = F.avg_pool2d(gap, 2)
        weight = None if weight is None else least(weight, 2, 2)
    if not terms:
        raise ValueError(f"gradients need two pixels each way, got {tuple(predicted.shape[-2:])}")
    return torch.stack(terms).mean()


def _shifted(x: Tensor, axis: int) -> Tensor:
    return x.narrow(axis, 1, x.shape[axis] - 1)


def _kept(x: Tensor, axis: int) -> Tensor:
    return x.narrow(axis, 0, x.shape[axis] - 1)


def scales(height: int, width: int) -> tuple[float, ...]:
    """The powers for a picture of this size: the scales whose window fits, summing to what all five sum to.

    Raises ValueError below 11x11.
    """
    side, count = min(height, width), 0
    while count < len(POWERS) and side >= WINDOW:
        side, count = side // 2, count + 1
    if not count:
        raise ValueError(f"MS-SSIM needs at least 11x11 pixels, got {height}x{width}")
    total = sum(POWERS[:count])
    return tuple(power * sum(POWERS) / total for power in POWERS[:count])


def ssim_maps(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Luminance and contrast-structure (B, C, H - 10, W - 10) of two pictures in [0, 1], whole windows only."""
    with torch.autocast(a.device.type, enabled=False):
        stack = torch.stack([a, b, a * a, b * b, a * b])
        stack = _band(a.shape[-2], a) @ stack @ _band(a.shape[-1], a).mT
    mean_a, mean_b, aa, bb, ab = stack.unbind()
    variance = (aa - mean_a.square()).clamp(min=0) + (bb - mean_b.square()).clamp(min=0)
    luminance = (2 * mean_a * mean_b + C1) / (mean_a.square() + mean_b.square() + C1)
    return luminance, (2 * (ab - mean_a * mean_b) + C2) / (variance + C2)


def _band(length: int, like: Tensor) -> Tensor:
    """(length - 10, length): the window as a matrix; 16 times as fast as convolving planes of one channel on a CPU."""
    place = torch.arange(length, device=like.device)
    away = (place[None] - place[WINDOW // 2 : length - WINDOW // 2, None]).to(like.dtype)
    kernel = torch.exp(-away.square() / (2 * SIGMA**2)) * (away.abs() <= WINDOW // 2)
    return kernel / kernel.sum(dim=1, keepdim=True)


def ms_ssim(predicted: Tensor, target: Tensor, scale_short: Tensor, weight: Tensor | None = None) -> Tensor:
    """1 - MS-SSIM of T(prediction) and T(target), a mean over bursts and channels.

    (B, 3, H, W) radiance in reference units, at least 11x11; ``weight``: (B, 1, H, W). A window weighs the least of its
    pixels; a scale without a window left drops out of that burst's product, its power going to the others (and with the
    coarsest the luminance, which L^r has anyway); a burst without any counts nothing. A burst's term is multiplied by
    the mean weight of its windows. Negative structure counts as 0.001: its power has no real value.
    """
    seen, wanted, weight = tone_pair(predicted, target, scale_short, weight)
    powers = seen.new_tensor(scales(*seen.shape[-2:]))
    similar, shares = [], []
    mean_weight = None
    for number in range(len(powers)):
        luminance, structure = ssim_maps(seen, wanted)
        value = luminance * structure if number == len(powers) - 1 else structure
        windows = value.new_ones((len(value), 1, *value.shape[-2:])) if weight is None else least(weight, WINDOW)
        total = windows.sum(dim=(2, 3))  # (B, 1)
        if mean_weight is None:
            mean_weight = total / (windows > 0).sum(dim=(2, 3)).clamp(min=1)
        shares.append((total > 0).float())
        similar.append((value * windows).sum(dim=(2, 3)) / torch.where(total > 0, total, torch.ones_like(total)))
        seen, wanted = F.avg_pool2d(seen, 2), F.avg_pool2d(wanted, 2)
        weight = None if weight is None else least(weight, 2, 2)
    assert mean_weight is not None
    present = torch.stack(shares)  # (scales, B, 1)
    power = powers.view(-1, 1, 1) * present
    power = power * powers.sum() / power.sum(dim=0).clamp(min=1e-6)
    # A scale left out has power 0; its value is replaced so that the logarithm has a finite gradient.
    values = torch.where(present > 0, torch.stack(similar), torch.ones_like(power)).clamp(min=1e-3)
    product = torch.exp((power * values.log()).sum(dim=0))  # (B, 3)
    counted = present[0] > 0
    return weighted_mean(1 - product, torch.where(counted, mean_weight, torch.zeros_like(mean_weight)))
