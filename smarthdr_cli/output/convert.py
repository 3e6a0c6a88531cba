"""The last colour step: from the burst's primaries to the output's, negatives kept."""

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.burst.color import ColorSpace, conversion
from smarthdr_cli.fusion.fused import Fused


def convert_rgb(
    rgb: NDArray[np.float32], source: ColorSpace, target: ColorSpace, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """(H, W, 3) linear RGB of ``source`` as linear RGB of ``target``, Bradford-adapted between their whites.

    Colours outside the target's gamut come out negative and stay so. ``out`` may be ``rgb`` itself.
    """
    if source == target:
        if out is None:
            return rgb
        out[...] = rgb
        return out
    result = np.empty_like(rgb) if out is None else out
    matrix = conversion(source, target)
    rows = max(1, (1 << 20) // max(1, rgb.shape[1]))
    for top in range(0, rgb.shape[0], rows):
        block = np.ascontiguousarray(rgb[top : top + rows])
        result[top : top + rows] = cv2.transform(block, matrix)
    return result


def to_colorspace(fused: Fused, target: ColorSpace) -> Fused:
    """``fused`` with its radiance in ``target``; itself where nothing is to be done. White stays white."""
    if fused.colorspace == target:
        return fused
    return replace(fused, radiance=convert_rgb(fused.radiance, fused.colorspace, target), colorspace=target)
