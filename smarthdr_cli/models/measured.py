"""What the reference itself measured: the bounds that its own values set to any answer, whichever network gave it."""

import torch
from torch import Tensor

from smarthdr_cli.models.merge import READ_FLOOR, taper

LOOSE = (3.0, 1000.0)  # deviations of the noise allowed for, electrons at clip: a full-frame sensor at ISO 6400
TIGHT = (1.0, 10_000.0)  # for a network that must not be believed against the reference: gfhdr
FADE_START, FADE_END = 0.63, 0.80  # level of a channel over which its upper bound is given up, before it clips
LEAK = 0.1  # share of the gradient that an answer outside the bounds still gets


def allowed(reference: Tensor, noise: tuple[float, float]) -> Tensor:
    """How far an answer may lie from ``reference``: deviations of its photon and read noise."""
    deviations, full_well = noise
    return deviations * ((reference.clamp(min=0) + READ_FLOOR) / full_well).sqrt()


def unclipped(reference: Tensor) -> Tensor:
    """How far each channel counts as measured, not as clipped: 1 to 0, channel by channel."""
    return taper(reference, FADE_START, FADE_END)


def held(light: Tensor, reference: Tensor) -> Tensor:
    """``light`` within what the reference measured of its moment, both (B, 3, H, W) in reference units.

    A value below its clip was measured, up to noise (``TIGHT``; Hasinoff, Durand and Freeman 2010, eq. 5), whatever the
    other channels do; one that clips bounds the light from below and leaves it open above. What other frames show of
    another moment cannot take an answer out of these bounds. While training, answers outside still get ``LEAK`` of
    their gradient, so that none is stuck there.
    """
    slack = allowed(reference, TIGHT)
    above = light.maximum(reference - slack)
    bounded = torch.lerp(above, above.minimum(reference + slack), unclipped(reference))
    return bounded + LEAK * (light - light.detach()) if light.requires_grad else bounded
