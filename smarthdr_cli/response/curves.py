"""Named response curves, and what every curve of this package keeps to: first 0, last 1, never falling."""

import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.errors import UsageError
from smarthdr_cli.linear import Response

F64 = NDArray[np.float64]

NAMES = ("srgb", "gamma2.2", "linear")
ENTRIES_8BIT = 256
ENTRIES_DEEP = 4096  # sources deeper than 8 bits interpolate between these


def srgb_to_linear(code: F64) -> F64:
    """IEC 61966-2-1 decoding of ``code`` in [0, 1] to linear light in [0, 1]."""
    toe = code / 12.92
    return np.asarray(np.where(code <= 0.04045, toe, ((np.maximum(code, 0.04045) + 0.055) / 1.055) ** 2.4))


def named_response(name: str, entries: int = ENTRIES_8BIT) -> Response:
    """The curve called ``srgb`` (IEC 61966-2-1), ``gamma2.2`` or ``linear``, as a table of ``entries`` codes.

    Raises UsageError for any other name.
    """
    code = np.linspace(0.0, 1.0, entries)
    if name == "srgb":
        curve = srgb_to_linear(code)
    elif name == "gamma2.2":
        curve = code**2.2
    elif name == "linear":
        curve = code
    else:
        raise UsageError(f"unknown response '{name}'; choose auto, {', '.join(NAMES)} or a calibration file")
    return tabulated(name, np.tile(curve, (3, 1)), {"source": name})


def tabulated(name: str, curves: F64, record: dict[str, object]) -> Response:
    """A Response from ``curves`` (3, K), made monotone with ends exactly 0 and 1."""
    table = np.maximum.accumulate(np.clip(curves, 0.0, 1.0), axis=1)
    table[:, 0] = 0.0
    table[:, -1] = 1.0
    return Response(name, table.astype(np.float32), record)


def resampled(response: Response, entries: int) -> Response:
    """The same curve on another number of codes, interpolating its smooth factor over sRGB rather than the curve."""
    have = response.table.shape[1]
    if have == entries:
        return response
    if response.name in NAMES:
        return named_response(response.name, entries)
    old, new = np.linspace(0.0, 1.0, have), np.linspace(0.0, 1.0, entries)
    factors = response.table[:, 1:].astype(np.float64) / srgb_to_linear(old[1:])
    curves = np.stack([srgb_to_linear(new) * np.interp(new, old[1:], factor) for factor in factors])
    return tabulated(response.name, curves, response.record)
