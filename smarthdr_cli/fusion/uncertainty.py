"""The sigma of a network's result, in the mu-law domain.

    sigma = max(sigma_c, floor)    sigma_c the calibrated sigma of the uncertainty head

``floor`` is what noise and the quantisation of codes leave in the merge. In bursts with a wider range of exposures than
training shows, with b = ``known`` in [0, 1],

    sigma = max(sigma_c^b min(sigma_c, s_max)^(1 - b), spread, floor)

where s_max is the largest calibrated value and ``spread`` the standard error of the merge.
"""

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
    burst: AlignedBurst, indices: Sequence[int], stack: Tensor, evs: Tensor, trust: Tensor, merged: Tensor,
    factors: Tensor | None, noise: Tensor | None,
) -> Tensor:  # fmt: skip
    """(1, 1, h, w) sigma that noise or quantisation leaves in the merge of frames ``indices``, the larger of the two.

    ``stack`` (1, N, 3, h, w), ``evs``, ``trust``, ``factors`` as ``merge`` takes them, ``merged`` its result.
    ``noise``: of the whole burst, see ``noise_floor``.
    """
    scale, weights = float(torch.exp2(evs.min())), parts(stack, evs, trust, factors)
    from_noise = noise_floor(stack, evs, trust, merged, scale, weights, noise)
    return torch.maximum(from_noise, code_floor(burst, indices, evs, merged, scale, weights))


def calibrated_sigma(
    log_sigma: Tensor, calibration: Calibration | None, stack: Tensor, evs: Tensor, trust: Tensor, merged: Tensor,
    floor: Tensor,
) -> Tensor:  # fmt: skip
    """(1, 1, h, w) sigma of a tile from the output of the uncertainty head, (1, 1, h, w).

    Arguments as in ``sigma_floor``. Without a ``calibration`` the head's output is a ranking, and ``floor`` is not
    used.
    """
    scale = float(torch.exp2(evs.min()))
    sigma = log_sigma.exp()
    if calibration is not None:
        sigma = calibration.apply_torch(sigma)
    trained = known(evs)
    if trained < 1:
        highest = SIGMA_MAX if calibration is None else calibration.calibrated[-1]
        sigma = sigma.pow(trained) * sigma.clamp(max=highest).pow(1 - trained)
        sigma = torch.maximum(sigma, spread(stack, evs, trust, merged, scale))
    return sigma if calibration is None else torch.maximum(sigma, floor)


def sigma_of_rejected_frames(
    stack: Tensor, unfilled: Tensor, evs: Tensor, trust: Tensor, factors: Tensor | None
) -> Tensor:
    """(1, 1, h, w) change of the merge if rejected frames far from the reference were trusted; a floor under sigma.

    ``stack``, ``unfilled``: (1, N, 3, h, w) with what is not trusted in such frames replaced by the merge so far, and
    as they were.
    """
    scale = float(torch.exp2(evs.min()))
    filled_light, unfilled_light = (
        mu_law(merge(frames, evs, trust, factors)[0] * scale) for frames in (stack, unfilled)
    )
    return (filled_light - unfilled_light).abs().mean(dim=1, keepdim=True)
