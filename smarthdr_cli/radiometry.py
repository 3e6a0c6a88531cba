"""Codes, light and the mu-law: every tone curve of this package in numpy, and a camera's response as a table.

Linear light x is relative to the clip of its frame, in [0, 1]; a code c is in [0, 1] too.

- sRGB (IEC 61966-2-1): x = c / 12.92 where c <= 0.04045, else ((c + 0.055) / 1.055)^2.4.
- Gamma 2.2: x = c^2.2.
- mu-law (Kalantari & Ramamoorthi 2017, eq. 6): T(h) = log(1 + mu h) / log(1 + mu), mu = 5000, of radiance h in units of
  the shortest frame's clip. dh/dT = log(1 + mu) (h + 1 / mu).
- A response: a table from code to x per channel, x(0) = 0, x(1) = 1, never falling.
"""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.errors import UsageError

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

GAMMA = 2.2
MU = 5000.0
# g, a, b, c, d of ICC.1:2022's parametric curve of type 3: x = (a c + b)^g from d on, below it c times the code.
SRGB_PARAMETERS = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)

NAMES = ("srgb", "gamma2.2", "linear")
ENTRIES_8BIT = 256
ENTRIES_DEEP = 4096  # sources deeper than 8 bits interpolate between these
_FEW_VALUES = 1 << 16  # below so many values, interpolating each is faster than a table of every 16-bit code


@dataclass(frozen=True)
class Response:
    """A camera response as a table from source code to linear light.

    ``table``: (3, K) float32 for R, G, B; entry k is the linear value of code k/(K-1) * white, in [0, 1], monotone,
    first 0 and last 1. ``name`` says where it comes from ("srgb", "gamma2.2", "linear", "auto", a file). ``record``
    goes to the report as it is.
    """

    name: str
    table: F32
    record: dict[str, Any]


def srgb_to_linear(code: NDArray[Any]) -> NDArray[Any]:
    """Codes in [0, 1] to linear light in [0, 1], in the type of ``code`` (floats).

    >>> srgb_to_linear(np.array([0.0, 0.04, 0.5, 1.0])).round(6).tolist()
    [0.0, 0.003096, 0.214041, 1.0]
    """
    toe = code / 12.92
    return np.asarray(np.where(code <= 0.04045, toe, ((np.maximum(code, 0.04045) + 0.055) / 1.055) ** 2.4))


def linear_to_srgb(light: NDArray[Any]) -> NDArray[Any]:
    """(h, w) or (h, w, C) linear light in [0, 1] to codes in [0, 1], in the type of ``light`` (floats)."""
    curve = 1.055 * cv2.pow(light, 1 / 2.4) - 0.055
    return np.asarray(np.where(light <= 0.0031308, light * 12.92, curve))


def mu_law(radiance: NDArray[Any], mu: float = MU) -> F64:
    """T(h) in float64; negatives count as 0.

    >>> mu_law(np.array([-1.0, 0.0, 0.01, 1.0])).round(4).tolist()
    [0.0, 0.0, 0.4616, 1.0]
    """
    return np.asarray(np.log1p(mu * np.maximum(radiance, 0.0, dtype=np.float64)) / np.log1p(mu))


def radiance_per_mu_law(radiance: NDArray[Any]) -> NDArray[Any]:
    """dh/dT at ``radiance`` h >= 0, in its type: what an error in the mu-law domain is worth in radiance."""
    return np.asarray(math.log1p(MU) * (radiance + 1.0 / MU))


def named_response(name: str, entries: int = ENTRIES_8BIT) -> Response:
    """The curve called ``srgb``, ``gamma2.2`` or ``linear``, as a table of ``entries`` codes.

    Raises UsageError for any other name.
    """
    code = np.linspace(0.0, 1.0, entries)
    if name == "srgb":
        curve = srgb_to_linear(code)
    elif name == "gamma2.2":
        curve = code**GAMMA
    elif name == "linear":
        curve = code
    else:
        raise UsageError(f"unknown response '{name}'; choose auto, {', '.join(NAMES)} or a calibration file")
    return tabulated(name, np.tile(curve, (3, 1)), {"source": name})


def assumed_response(encoding: str) -> Response:
    """The curve of a frame before any calibration: sRGB where its codes are for display, else linear."""
    return named_response("srgb" if encoding == "display" else "linear")


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


def linearize(codes: NDArray[Any], white: float, response: Response) -> F32:
    """(h, w, 3) source codes to linear light of that frame, in [0, 1] (1 = its clip).

    uint8 goes through the table exactly; uint16 and float32 interpolate it linearly in code.
    """
    table = response.table
    last = table.shape[1] - 1
    if codes.dtype == np.uint8 and white == 255 and last == 255:
        return np.asarray(cv2.LUT(codes, np.ascontiguousarray(table.T[None])), np.float32)
    grid = np.linspace(0.0, 1.0, last + 1)
    if codes.dtype == np.uint16 and white == 65535 and codes.size > _FEW_VALUES:
        every = np.linspace(0.0, 1.0, 65536)
        wide = np.stack([np.interp(every, grid, table[channel]) for channel in range(3)], axis=-1)
        return np.asarray(cv2.LUT(codes, wide[None].astype(np.float32)), np.float32)
    scaled: F32 = np.clip(codes.astype(np.float32) * np.float32(1.0 / white), 0.0, 1.0)
    if response.name == "linear":
        return scaled
    out = np.empty_like(scaled)
    for channel in range(3):
        out[..., channel] = np.interp(scaled[..., channel], grid, table[channel])
    return out
