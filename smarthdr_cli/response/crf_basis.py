"""The family of curves the estimate searches: sRGB times the exponential of a smooth spline over the code.

``ln f(x) = ln srgb(x) + sum_k c_k B_k(s(x))`` with uniform cubic B-splines on ``s(x) = ln(1 + a x) / ln(1 + a)``, which
gives shadows more knots than highlights. The prior on ``c`` is Gaussian: a small second difference (smooth), a small
size (near sRGB) and small differences between the channels, which share one film curve up to a little.
"""

from dataclasses import dataclass

import numpy as np

from smarthdr_cli.radiometry import F64, srgb_to_linear

GRID = 1024  # codes 0..GRID stand for [0, 1]
INTERVALS = 14
WARP = 8.0
MID_GREY = 0.5  # code where the channels are tied
FLOOR_CODE = 0.5 / 255.0


@dataclass(frozen=True)
class Prior:
    """Basis and penalties.

    ``basis``: (GRID + 1, n) B-splines at every grid code. ``log_srgb``: (GRID + 1,) ln srgb (floored at half a code of
    8 bits). ``precision``: (3n, 3n) of the Gaussian prior on the stacked coefficients of R, G, B, ends and ties
    included.
    """

    basis: F64
    log_srgb: F64
    precision: F64


def make_prior(bend: float, size: float, tint: float) -> Prior:
    """The prior with standard deviations ``bend`` (second difference), ``size`` (ln) and ``tint`` (channels, ln)."""
    code = np.linspace(0.0, 1.0, GRID + 1)
    basis = _bsplines(np.log1p(WARP * code) / np.log1p(WARP))
    n = basis.shape[1]
    second = np.diff(np.eye(n), 2, axis=0)
    shape = second.T @ second / bend**2 + np.eye(n) / size**2
    first = np.diff(np.eye(n), 1, axis=0)
    own = np.eye(n) / tint**2 + 4.0 * (second.T @ second) / tint**2 + first.T @ first / tint**2
    mean = np.full((3, 3), 1.0 / 3.0)
    precision = np.kron(mean, shape) + np.kron(np.eye(3) - mean, own)
    end = basis[-1]
    middle = basis[int(MID_GREY * GRID)]
    precision += 1e8 * np.kron(np.eye(3), np.outer(end, end))
    precision += 1e6 * np.kron(np.eye(3) - mean, np.outer(middle, middle))
    return Prior(basis, np.log(srgb_to_linear(np.maximum(code, FLOOR_CODE))), precision)


def _bsplines(s: F64) -> F64:
    """(len(s), INTERVALS + 3) uniform cubic B-splines on [0, 1] (de Boor 1978, blending form)."""
    place = np.clip(s, 0.0, 1.0) * INTERVALS
    cell = np.minimum(place.astype(int), INTERVALS - 1)
    u = place - cell
    parts = np.stack([(1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3], 1) / 6.0
    out = np.zeros((len(s), INTERVALS + 3))
    np.put_along_axis(out, cell[:, None] + np.arange(4), parts, axis=1)
    return out
