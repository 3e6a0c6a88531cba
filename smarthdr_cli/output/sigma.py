"""The uncertainty in the two units files carry: the mu-law domain and the file's own radiance."""

import math

import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.errors import OutputError
from smarthdr_cli.fusion.result import FusionResult
from smarthdr_cli.radiometry import MU, radiance_per_mu_law

MEANING = (
    f"sigma.mu: the 68 % quantile of |error| in the mu-law domain T(h) = log(1 + {MU:g} h) / log({MU + 1:g}), h = "
    "radiance in units of the shortest frame's clip, mean over channels. sigma.radiance: the same in this file's pixel "
    "units, sigma.mu * dh/dT at the pixel's mean over channels."
)


def sigma_radiance(fused: FusionResult) -> NDArray[np.float32]:
    """(H, W) float32: the uncertainty in units of ``fused.radiance``, sigma * dh/dT / scale_short.

    dh/dT is affine in h, so its mean over the channels is its value at their mean (not below 0).
    """
    scale = np.float32(fused.scale_short)
    mean = fused.radiance.mean(axis=2, dtype=np.float32)
    np.maximum(mean, 0.0, out=mean)
    mean *= scale
    slope = radiance_per_mu_law(mean)
    slope *= fused.uncertainty
    slope /= scale
    return slope


def require_finite(values: NDArray[np.float32], what: str) -> tuple[float, float]:
    """(lowest, highest) of ``values``, in one pass each and without a copy.

    Raises OutputError when the array is empty or holds NaN or infinity: a damaged picture is never written.
    """
    if values.size == 0:
        raise OutputError(f"the {what} is empty and was not written")
    lowest, highest = float(values.min()), float(values.max())  # both pass NaN on
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        raise OutputError(f"the {what} holds values that are not finite and was not written")
    return lowest, highest
