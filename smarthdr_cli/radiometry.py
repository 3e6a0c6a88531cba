"""Tone curves in numpy: sRGB, gamma, mu-law, and camera responses as tables from code to linear light.

Linear light x in [0, 1] is relative to the clip of its frame; codes c are scaled to [0, 1].

- sRGB (IEC 61966-2-1): x = c / 12.92 where c <= 0.04045, else ((c + 0.055) / 1.055)^2.4.
- Gamma 2.2: x = c^2.2.
- mu-law (Kalantari & Ramamoorthi 2017, eq. 6): T(h) = log(1 + mu h) / log(1 + mu), mu = 5000, of radiance h in units of
  the clip of the shortest exposure. dh/dT = log(1 + mu) (h + 1 / mu).
- Response: a monotone table from c to x per channel with x(0) = 0 and x(1) = 1.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.errors import UsageError

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

GAMMA = 2.2
MU = 5000.0
# g, a, b, c, d of ICC.1:2022's parametric curve of type 3: x = (a code + b)^g for code >= d, else c code.
SRGB_PARAMETERS = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)

RESPONSE_NAMES = ("srgb", "gamma2.2", "linear")
ENTRIES_8BIT = 256
ENTRIES_DEEP = 4096  # for sources of more than 8 bits, which are interpolated
_MAX_INTERPOLATED_VALUES = 1 << 12  # above, a table of all 16-bit codes is faster


@dataclass(frozen=True)
class Response:
    """A camera response as a table from source code to linear light.

    ``table``: (3, K) float32 for R, G, B; entry k is the light of code k / (K - 1) * white, monotone from 0 to 1.
    ``name``: its origin ("srgb", "gamma2.2", "linear", "auto" or a file). ``record``: its description in the report.
    """

    name: str
    table: F32
    record: dict[str, Any]

    @cached_property
    def table_16bit(self) -> F32:
        """(1, 65536, 3): the light of every 16-bit code, as cv2.LUT takes it."""
        entries, codes = np.linspace(0.0, 1.0, self.table.shape[1]), np.linspace(0.0, 1.0, 65536)
        values = np.stack([np.interp(codes, entries, channel) for channel in self.table], axis=-1)
        return values[None].astype(np.float32)


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
    """dh/dT at ``radiance`` h >= 0, in its type: converts small errors from the mu-law domain to radiance."""
    return np.asarray(math.log1p(MU) * (radiance + 1.0 / MU))


def named_response(name: str, entries: int = ENTRIES_8BIT) -> Response:
    """The curve ``srgb``, ``gamma2.2`` or ``linear`` as a table of ``entries`` codes.

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
        raise UsageError(f"unknown response '{name}'; choose auto, {', '.join(RESPONSE_NAMES)} or a calibration file")
    return tabulated(name, np.tile(curve, (3, 1)), {"source": name})


def is_response_name(option: str) -> bool:
    """Whether ``--response`` means auto or a named curve, misspelt ones included, rather than a file."""
    return option in ("auto", *RESPONSE_NAMES) or (not Path(option).suffix and not Path(option).exists())


def assumed_response(encoding: str) -> Response:
    """The response assumed before calibration: sRGB for display encoding, else linear."""
    return named_response("srgb" if encoding == "display" else "linear")


def tabulated(name: str, curves: F64, record: dict[str, object]) -> Response:
    """A Response of ``curves`` (3, K), clipped to [0, 1], made monotone, with ends exactly 0 and 1."""
    table = np.maximum.accumulate(np.clip(curves, 0.0, 1.0), axis=1)
    table[:, 0] = 0.0
    table[:, -1] = 1.0
    return Response(name, table.astype(np.float32), record)


def resampled(response: Response, entries: int) -> Response:
    """The same response with another number of entries; interpolates its ratio to sRGB, which is smooth."""
    current = response.table.shape[1]
    if current == entries:
        return response
    if response.name in RESPONSE_NAMES:
        return named_response(response.name, entries)
    old, new = np.linspace(0.0, 1.0, current), np.linspace(0.0, 1.0, entries)
    ratios = response.table[:, 1:].astype(np.float64) / srgb_to_linear(old[1:])
    curves = np.stack([srgb_to_linear(new) * np.interp(new, old[1:], ratio) for ratio in ratios])
    return tabulated(response.name, curves, response.record)


def channel_max(light: F32) -> F32:
    """(h, w) largest channel of (h, w, 3); ``max(axis=2)`` takes several times as long."""
    return np.asarray(np.maximum(np.maximum(light[..., 0], light[..., 1]), light[..., 2]))


def linearize(codes: NDArray[Any], white: float, response: Response) -> F32:
    """(h, w, 3) source codes to linear light in [0, 1], where 1 is the clip of the frame.

    uint8 codes are looked up; uint16 and float32 codes are interpolated linearly between the entries.
    """
    table = response.table
    last = table.shape[1] - 1
    if codes.dtype == np.uint8 and white == 255 and last == 255:
        return np.asarray(cv2.LUT(codes, np.ascontiguousarray(table.T[None])), np.float32)
    if codes.dtype == np.uint16 and white == 65535 and codes.size > _MAX_INTERPOLATED_VALUES:
        return np.asarray(cv2.LUT(codes, response.table_16bit), np.float32)
    scaled: F32 = np.clip(codes.astype(np.float32) * np.float32(1.0 / white), 0.0, 1.0)
    if response.name == "linear":
        return scaled
    out, grid = np.empty_like(scaled), np.linspace(0.0, 1.0, last + 1)
    for channel in range(3):
        out[..., channel] = np.interp(scaled[..., channel], grid, table[channel])
    return out
