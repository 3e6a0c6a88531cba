"""Colour space of a picture by its ICC profile or PNG chunk. Only primaries are used, not the curve of the profile.

ICC.1:2022, sections 7.2 (header), 7.3 (tag table), 10.31 (XYZType). The colorants of a profile are adapted to D50 by
Bradford (annex E); known spaces are adapted alike and compared in XYZ.
"""

import struct

import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.colorspace import (
    ADOBE_RGB,
    D50,
    DISPLAY_P3,
    PROPHOTO,
    REC2020,
    SRGB,
    Chromaticities,
    ColorSpace,
    conversion,
)

KNOWN_SPACES = (SRGB, DISPLAY_P3, ADOBE_RGB, PROPHOTO, REC2020)
_COLORANT_TOLERANCE = 0.004  # XYZ; rounded and older profiles differ from the standards by up to 0.002
_CHRM_TOLERANCE = 0.003  # xy
_WHITE_TOLERANCE = 0.03  # XYZ, of the sum of the colorants against D50; else the profile is damaged
_SPACE_BY_DESCRIPTION = (
    ("display p3", DISPLAY_P3),
    ("adobe rgb", ADOBE_RGB),
    ("prophoto", PROPHOTO),
    ("romm", PROPHOTO),
    ("2020", REC2020),
    ("srgb", SRGB),
)


def colorspace_of_icc(profile: bytes) -> tuple[ColorSpace, str | None]:
    """The colour space of an ICC profile, and a note where it is none of KNOWN_SPACES. Never raises.

    A matrix profile with other primaries keeps them. A profile without colorants (a table profile, or damaged) is sRGB
    unless its description names a known space.
    """
    description = _description(profile)
    if profile[16:20] == b"GRAY":
        return SRGB, None
    colorants = _colorants(profile)
    if colorants is None:
        named = next((space for text, space in _SPACE_BY_DESCRIPTION if text in description.lower()), None)
        if named is not None:
            return named, None
        return SRGB, f"unknown colour profile {description!r}: sRGB primaries assumed"
    for space in KNOWN_SPACES:
        if np.abs(colorants - _d50_colorants(space)).max() < _COLORANT_TOLERANCE:
            return space, None
    sums = colorants.sum(0)
    xy = [(float(x / s), float(y / s)) for (x, y, _), s in zip(colorants.T, sums, strict=True)]
    space = ColorSpace(f"icc:{description}", (xy[0], xy[1], xy[2], D50))
    return space, f"colour profile {description!r} is not a standard one: its own primaries are used"


def colorspace_of_png(primaries: str | tuple[float, ...]) -> tuple[ColorSpace, str | None]:
    """The colour space by a name (sRGB or cICP chunk) or eight xy of white, red, green, blue (cHRM), and a note."""
    if isinstance(primaries, str):
        return next(space for space in KNOWN_SPACES if space.name == primaries), None
    white, *rgb = list(zip(primaries[::2], primaries[1::2], strict=True))
    for space in KNOWN_SPACES:
        if np.abs(np.array([*rgb, white]) - np.array(space.chromaticities)).max() < _CHRM_TOLERANCE:
            return space, None
    return SRGB, "unknown primaries in the PNG's cHRM chunk: sRGB primaries assumed"


def _d50_colorants(space: ColorSpace) -> NDArray[np.float64]:
    """(3, 3) XYZ relative to D50 of red, green and blue, as columns."""
    nominal: Chromaticities = ((1 / 3, 1 / 3), (1 / 3, 1 / 3), (1 / 3, 1 / 3), D50)
    xyz_d50 = ColorSpace("xyz-d50", nominal, camera_to_xyz=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))
    return conversion(space, xyz_d50)


def _tag(profile: bytes, signature: bytes) -> bytes | None:
    count = int.from_bytes(profile[128:132], "big")
    for index in range(min(count, 100)):
        entry = profile[132 + 12 * index : 144 + 12 * index]
        if len(entry) == 12 and entry[:4] == signature:
            offset, size = struct.unpack(">II", entry[4:])
            return profile[offset : offset + size]
    return None


def _colorants(profile: bytes) -> NDArray[np.float64] | None:
    if profile[16:20] != b"RGB ":
        return None
    columns = []
    for signature in (b"rXYZ", b"gXYZ", b"bXYZ"):
        tag = _tag(profile, signature)
        if tag is None or len(tag) < 20 or tag[:4] != b"XYZ ":
            return None
        columns.append([value / 65536 for value in struct.unpack(">3i", tag[8:20])])
    matrix = np.array(columns).T
    white = np.array([D50[0] / D50[1], 1.0, (1 - D50[0] - D50[1]) / D50[1]])
    is_balanced = np.abs(matrix.sum(1) - white).max() < _WHITE_TOLERANCE and np.linalg.det(matrix) > 0.01
    has_chromaticities = (matrix[1] > 0).all() and (matrix.sum(0) > 0.01).all()
    return matrix if is_balanced and has_chromaticities else None


def _description(profile: bytes) -> str:
    tag = _tag(profile, b"desc") or b""
    if tag[:4] == b"desc" and len(tag) > 12:
        text = tag[12 : 12 + int.from_bytes(tag[8:12], "big")].decode("latin-1")
    elif tag[:4] == b"mluc" and len(tag) >= 28:
        length, offset = struct.unpack(">II", tag[20:28])
        text = tag[offset : offset + min(length, 200)].decode("utf-16-be", "replace")
    else:
        text = ""
    printable = "".join(character for character in text if character.isprintable()).strip()
    return printable[:80] or "without a name"
