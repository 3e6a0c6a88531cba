"""RGB colour spaces: primaries, white point, and the matrix between two of them.

A linear RGB triple c is M c in CIE XYZ; M has the columns XYZ(red), XYZ(green), XYZ(blue), scaled so that M (1, 1, 1)
is the white point (SMPTE RP 177). From space A to space B: c_B = M_B^-1 C M_A c_A, where C is the Bradford adaptation
between the two white points.

Chromaticities: ITU-R BT.709-6 and BT.2020-2, IEC 61966-2-1 (sRGB), SMPTE EG 432-1 with a D65 white (Display P3),
Adobe RGB (1998), ISO 22028-2 (ROMM/ProPhoto, D50), ACES TB-2014-004 (AP1).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Chromaticities = tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]

D65 = (0.3127, 0.3290)
D50 = (0.34567, 0.35850)
_ACES_WHITE = (0.32168, 0.33767)
_PIXELS_PER_BLOCK = 1 << 20  # converted at a time, to bound the temporary copy

# Bradford cone response (Lam 1985), as used by ICC.1:2022 annex E.
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


@dataclass(frozen=True)
class ColorSpace:
    """An RGB colour space by its primaries.

    ``chromaticities``: CIE xy of red, green, blue and white. ``camera_to_xyz``: for RAW in camera space the 3x3 matrix
    (rows) from white-balanced camera RGB to CIE XYZ (D65); the chromaticities are then nominal.
    """

    name: str
    chromaticities: Chromaticities
    camera_to_xyz: tuple[tuple[float, ...], ...] | None = None

    def to_xyz(self) -> NDArray[np.float64]:
        """(3, 3) matrix from linear RGB to CIE XYZ relative to the white of this space, whose Y is 1."""
        if self.camera_to_xyz is not None:
            return np.array(self.camera_to_xyz, np.float64)
        columns = np.array([_xyz(xy) for xy in self.chromaticities[:3]]).T
        gain = np.linalg.solve(columns, _xyz(self.chromaticities[3]))
        return np.asarray(columns * gain)


def _xyz(xy: tuple[float, float]) -> NDArray[np.float64]:
    return np.array([xy[0] / xy[1], 1.0, (1.0 - xy[0] - xy[1]) / xy[1]])


def conversion(source: ColorSpace, target: ColorSpace) -> NDArray[np.float64]:
    """(3, 3) matrix from linear RGB of ``source`` to linear RGB of ``target``, Bradford-adapted between whites."""
    if source == target:
        return np.eye(3)
    cones_from = _BRADFORD @ _xyz(source.chromaticities[3])
    cones_to = _BRADFORD @ _xyz(target.chromaticities[3])
    adaptation = np.linalg.solve(_BRADFORD, (cones_to / cones_from)[:, None] * _BRADFORD)
    return np.asarray(np.linalg.solve(target.to_xyz(), adaptation @ source.to_xyz()))


def convert_rgb(
    rgb: NDArray[np.float32], source: ColorSpace, target: ColorSpace, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """(H, W, 3) linear RGB of ``source`` to linear RGB of ``target``, by ``conversion``.

    Colours outside the gamut of ``target`` become negative and are not clipped. ``out`` may be ``rgb`` itself.
    """
    if source == target:
        if out is None:
            return rgb
        out[...] = rgb
        return out
    result = np.empty_like(rgb) if out is None else out
    matrix = conversion(source, target)
    rows = max(1, _PIXELS_PER_BLOCK // max(1, rgb.shape[1]))
    for top in range(0, rgb.shape[0], rows):
        block = np.ascontiguousarray(rgb[top : top + rows])
        result[top : top + rows] = cv2.transform(block, matrix)
    return result


REC709 = ColorSpace("rec709", ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), D65))
SRGB = REC709
DISPLAY_P3 = ColorSpace("display-p3", ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), D65))
ADOBE_RGB = ColorSpace("adobe-rgb", ((0.640, 0.330), (0.210, 0.710), (0.150, 0.060), D65))
PROPHOTO = ColorSpace("prophoto", ((0.734699, 0.265301), (0.159597, 0.840403), (0.036598, 0.000105), D50))
REC2020 = ColorSpace("rec2020", ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), D65))
ACESCG = ColorSpace("acescg", ((0.713, 0.293), (0.165, 0.830), (0.128, 0.044), _ACES_WHITE))

OUTPUT_SPACES = {space.name: space for space in (REC709, REC2020, ACESCG)}
