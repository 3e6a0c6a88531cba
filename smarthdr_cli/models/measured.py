"""What the reference itself measured: the bounds that its own values set to any answer, whichever network gave it."""

import torch
from torch import Tensor

from smarthdr_cli.models.merge import READ_FLOOR

DEVIATIONS, FULL_WELL = 3.0, 1000.0  # of the noise allowed for, electrons at clip: a full-frame sensor at ISO 6400
TIGHT = (1.0, 10_000.0)  # the same for an answer that must not be believed against the reference: gfhdr's
FADE_START, FADE_END = 0.63, 0.80  # level of a channel over which its upper bound is given up, before it clips
LEAK = 0.1  # share of the gradient that an answer outside the bounds still gets


def allowed(reference: Tensor, deviations: float = DEVIATIONS, full_well: float = FULL_WELL) -> Tensor:
    """How far an answer may lie from ``reference``: deviations of its photon and read noise."""
    return deviations * ((reference.clamp(min=0) + READ_FLOOR) / full_well).sqrt()


def held(light: Tensor, reference: Tensor, deviations: float = DEVIATIONS, full_well: float = FULL_WELL) -> Tensor:
    """``light`` within what the reference measured of its moment, both (B, 3, H, W) in reference units.

    A value below its clip was measured, up to noise (Hasinoff, Durand and Freeman 2010, eq. 5), channel by channel,
    whatever the others do; one that clips bounds the light from below and leaves it open above. What other frames show
    of another moment cannot take an answer out of these bounds. While training, answers outside still get ``LEAK`` of
    their gradient, so that none is stuck there.
    """
    slack = allowed(reference, deviations, full_well)
    t = ((reference - FADE_START) / (FADE_END - FADE_START)).clamp(0, 1)
    above = light.maximum(reference - slack)
    bounded = torch.lerp(above.minimum(reference + slack), above, t * t * (3 - 2 * t))
    return bounded + LEAK * (light - light.detach()) if light.requires_grad else bounded
