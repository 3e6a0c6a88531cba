"""What the reference itself measured: the bounds that its own values set to any answer, whichever network gave it."""

import torch
from torch import Tensor

from smarthdr_cli.models.merge import READ_FLOOR, TAPER_END

FULL_WELL = 10_000.0  # electrons at clip whose noise is allowed for, as in the merge's own sigma
DEVIATIONS = 1.0  # of that noise, by which an answer may leave what was measured
LEAK = 0.1  # share of the gradient that an answer outside the bounds still gets


def held(light: Tensor, reference: Tensor) -> Tensor:
    """``light`` within what the reference measured of its moment, both (B, 3, H, W) in reference units.

    A value that is not clipped was measured, up to photon and read noise (Hasinoff, Durand and Freeman 2010, eq. 5);
    a clipped one bounds the light from below and leaves it open above. What other frames show of another moment
    cannot take an answer out of these bounds, so it is at least as good as the reference up to its noise. While
    training, answers outside still get ``LEAK`` of their gradient, so that none is stuck there.
    """
    slack = DEVIATIONS * ((reference.clamp(min=0) + READ_FLOOR) / FULL_WELL).sqrt()
    top = torch.where(reference < TAPER_END, reference + slack, torch.inf)
    bounded = light.maximum(reference - slack).minimum(top)
    return bounded + LEAK * (light - light.detach()) if light.requires_grad else bounded
