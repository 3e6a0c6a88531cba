"""ICC matrix profiles of an RGB space: XYZ_D50 = M * f(rgb), with f linear or the sRGB curve.

ICC.1:2022 (version 4): header (7.2), tag table (7.3), multiLocalizedUnicode (10.15), XYZ (10.31), parametric curve
(10.18), chromatic adaptation (9.2.15). The date is fixed, so that equal profiles have equal bytes.
"""

import struct
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.colorspace import PROPHOTO, ColorSpace, conversion
from smarthdr_cli.radiometry import SRGB_PARAMETERS

_PCS_WHITE = (0.9642, 1.0, 0.8249)  # D50, the white of the profile connection space (7.2.16)


def matrix_profile(space: ColorSpace, curve: Literal["linear", "srgb"]) -> bytes:
    """The ICC profile of ``space`` with a linear or the IEC 61966-2-1 curve, about 500 bytes."""
    columns = _to_pcs(space)
    parameters = (1.0,) if curve == "linear" else SRGB_PARAMETERS
    trc = b"para" + bytes(4) + struct.pack(">HH", 0 if curve == "linear" else 3, 0) + _fixed(parameters)
    name = f"smarthdr {space.name} {'linear' if curve == 'linear' else 'sRGB curve'}"
    # The columns are adapted to D50; 'chad' states the adaptation from the white of ``space``.
    adapt = _adaptation(space)
    tags = {
        b"desc": _text(name),
        b"cprt": _text("No copyright, use freely"),
        b"wtpt": b"XYZ " + bytes(4) + _fixed(_PCS_WHITE),
        b"chad": b"sf32" + bytes(4) + _fixed(adapt.ravel()),
        b"rXYZ": b"XYZ " + bytes(4) + _fixed(columns[:, 0]),
        b"gXYZ": b"XYZ " + bytes(4) + _fixed(columns[:, 1]),
        b"bXYZ": b"XYZ " + bytes(4) + _fixed(columns[:, 2]),
        b"rTRC": trc,
        b"gTRC": trc,
        b"bTRC": trc,
    }
    offset = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    offsets: dict[bytes, int] = {}
    for signature, data in tags.items():
        if data not in offsets:  # the three curves share one offset
            offsets[data] = offset + len(body)
            body += data + bytes(-len(data) % 4)
        table += signature + struct.pack(">II", offsets[data], len(data))
    head = struct.pack(
        ">I4sI4s4s4s6H4s4sIIIQI12s4s44x",
        offset + len(body),
        bytes(4),
        0x04400000,
        b"mntr",
        b"RGB ",
        b"XYZ ",
        *(2026, 1, 1, 0, 0, 0),
        b"acsp",
        bytes(4),
        *(0, 0, 0, 0, 0),
        _fixed(_PCS_WHITE),
        bytes(4),
    )
    return head + table + body


def _to_pcs(space: ColorSpace) -> NDArray[np.float64]:
    """(3, 3) linear RGB to XYZ relative to D50, scaled so that white is exactly the connection space's."""
    columns = PROPHOTO.to_xyz() @ conversion(space, PROPHOTO)  # through a space whose white is D50
    return np.asarray(columns * (np.array(_PCS_WHITE) / columns.sum(axis=1))[:, None])


def _adaptation(space: ColorSpace) -> NDArray[np.float64]:
    return np.asarray(_to_pcs(space) @ np.linalg.inv(space.to_xyz()))


def _fixed(values: "list[float] | tuple[float, ...] | NDArray[np.float64]") -> bytes:
    return struct.pack(f">{len(values)}i", *(round(float(value) * 65536) for value in values))


def _text(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(encoded), 28) + encoded
