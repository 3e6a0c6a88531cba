"""The family of camera response functions (CRF) and its Gaussian prior.

    ln f(x) = ln srgb(x) + sum_k c_k B_k(s(x)),  s(x) = ln(1 + a x) / ln(1 + a),  a = 8

f maps a code x in [0, 1] to linear light. B_k are uniform cubic B-splines (de Boor 1978); s gives shadows more knots
than highlights. The prior on c is Gaussian: a small second difference (smooth), a small size (near sRGB) and small
differences between the channels. f(1) = 1, and the channels are equal at mid-grey.
"""

from dataclasses import dataclass

import numpy as np

from smarthdr_cli.radiometry import F64, srgb_to_linear

GRID = 1024  # codes 0..GRID stand for [0, 1]
INTERVALS = 14  # of the splines
WARP = 8.0  # a
MID_GREY = 0.5  # code at which the channels are equal
MIN_CODE = 0.5 / 255.0  # half a code of 8 bits, below which ln srgb is constant
END_PRECISION = 1e8  # of f(1) = 1
MID_GREY_PRECISION = 1e6  # of equal channels at mid-grey


@dataclass(frozen=True)
class PriorWidths:
    """Standard deviations (ln) of the prior, chosen on real stacks and on simulated bursts of known curves."""

    second_difference: float = 0.06
    size: float = 1.0
    channel_difference: float = 0.1

    def scaled(self, factor: float) -> "PriorWidths":
        """All of them times ``factor``."""
        return PriorWidths(self.second_difference * factor, self.size * factor, self.channel_difference * factor)


@dataclass(frozen=True)
class Prior:
    """Basis and penalties.

    ``basis``: (GRID + 1, n) B-splines at every grid code. ``log_srgb``: (GRID + 1,) ln srgb. ``precision``: (3n, 3n) of
    the Gaussian prior on the coefficients of R, G and B, with the constraints at white and mid-grey.
    """

    basis: F64
    log_srgb: F64
    precision: F64


def make_prior(widths: PriorWidths) -> Prior:
    """The prior with standard deviations ``widths``."""
    code = np.linspace(0.0, 1.0, GRID + 1)
    basis = _bsplines(np.log1p(WARP * code) / np.log1p(WARP))
    n = basis.shape[1]
    tint = widths.channel_difference
    first = np.diff(np.eye(n), 1, axis=0)
    second = np.diff(np.eye(n), 2, axis=0)
    of_mean = second.T @ second / widths.second_difference**2 + np.eye(n) / widths.size**2
    of_differences = np.eye(n) / tint**2 + 4.0 * (second.T @ second) / tint**2 + first.T @ first / tint**2
    mean = np.full((3, 3), 1.0 / 3.0)
    precision = np.kron(mean, of_mean) + np.kron(np.eye(3) - mean, of_differences)
    end = basis[-1]
    middle = basis[int(MID_GREY * GRID)]
    precision += END_PRECISION * np.kron(np.eye(3), np.outer(end, end))
    precision += MID_GREY_PRECISION * np.kron(np.eye(3) - mean, np.outer(middle, middle))
    return Prior(basis, log_srgb(), precision)


def log_srgb() -> F64:
    """(GRID + 1,) ln srgb at every grid code."""
    return np.asarray(np.log(srgb_to_linear(np.maximum(np.linspace(0.0, 1.0, GRID + 1), MIN_CODE))))


def _bsplines(s: F64) -> F64:
    """(len(s), INTERVALS + 3) uniform cubic B-splines on [0, 1]."""
    position = np.clip(s, 0.0, 1.0) * INTERVALS
    interval = np.minimum(position.astype(int), INTERVALS - 1)
    u = position - interval
    pieces = np.stack([(1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3], 1) / 6.0
    out = np.zeros((len(s), INTERVALS + 3))
    np.put_along_axis(out, interval[:, None] + np.arange(4), pieces, axis=1)
    return out
