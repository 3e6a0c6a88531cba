"""The sigma of a learned fusion: what the judge says, and what it cannot know and physics does."""

from collections.abc import Sequence

import torch
from torch import Tensor

from smarthdr_cli.aligned_burst import AlignedBurst
from smarthdr_cli.fusion.belief import known
from smarthdr_cli.fusion.noise import noise_floor, parts
from smarthdr_cli.fusion.rounding import code_floor
from smarthdr_cli.fusion.static_merge import spread
from smarthdr_cli.models.merge import merge
from smarthdr_cli.models.tensor_ops import mu_law
from smarthdr_cli.models.uncertainty_calibration import Calibration
from smarthdr_cli.models.uncertainty_head import SIGMA_MAX


def sigma_floor(
    source: AlignedBurst, indices: Sequence[int], stack: Tensor, evs: Tensor, trust: Tensor, merged: Tensor,
    share: Tensor | None, usual: Tensor | None,
) -> Tensor:  # fmt: skip
    """(1, 1, h, w) what noise leaves in the merge of frames ``indices`` of ``source``, or codes, whichever is more.

    ``stack`` (1, N, 3, h, w), ``evs``, ``trust``, ``share`` as ``merge`` takes them, ``merged`` as it gives it;
    ``usual``: of the whole picture, see ``noise_floor``.
    """
    scale, each = float(torch.exp2(evs.min())), parts(stack, evs, trust, share)
    noise = noise_floor(stack, evs, trust, merged, scale, each, usual)
    return torch.maximum(noise, code_floor(source, indices, evs, merged, scale, each))


def calibrated_sigma(
    log_sigma: Tensor, calibration: Calibration | None, stack: Tensor, evs: Tensor, trust: Tensor, merged: Tensor,
    floor: Tensor,
) -> Tensor:  # fmt: skip
    """(1, 1, h, w) sigma in the mu-law domain of a tile: the judge's, no lower than the ``floor`` (1, 1, h, w).

    ``stack`` (1, N, 3, h, w), ``evs``, ``trust`` as ``merge`` takes them, ``merged`` as it gives it. Without a
    ``calibration`` the judge's output is a ranking and no measure, and the floor is left out of it.
    """
    scale = float(torch.exp2(evs.min()))
    sigma = log_sigma.exp()
    if calibration is not None:
        sigma = calibration.apply_torch(sigma)
    believed = known(evs)
    if believed < 1:  # the judge has seen no such burst: no more than it was calibrated on, no less than scatter
        highest = SIGMA_MAX if calibration is None else calibration.calibrated[-1]
        sigma = sigma.pow(believed) * sigma.clamp(max=highest).pow(1 - believed)
        sigma = torch.maximum(sigma, spread(stack, evs, trust, merged, scale))
    if calibration is None:
        return sigma
    return torch.maximum(sigma, floor)


def sigma_of_rejected_frames(stack: Tensor, meant: Tensor, evs: Tensor, trust: Tensor, weight: Tensor | None) -> Tensor:
    """(1, 1, h, w) what frames beyond reach would have changed, had they been trusted: a floor under sigma, which knows
    nothing of it.

    ``stack``, ``meant``: (1, N, 3, h, w) with the light so far in their place where it filled them, and as they were.
    """
    scale = float(torch.exp2(evs.min()))
    with_, without = (mu_law(merge(frames, evs, trust, weight)[0] * scale) for frames in (stack, meant))
    return (with_ - without).abs().mean(dim=1, keepdim=True)
