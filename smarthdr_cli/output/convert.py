"""The last colour step: from the burst's primaries to the output's, negatives kept."""

from dataclasses import replace

from smarthdr_cli.colorspace import ColorSpace, convert_rgb
from smarthdr_cli.fusion.fused import Fused


def to_colorspace(fused: Fused, target: ColorSpace) -> Fused:
    """``fused`` with its radiance in ``target``; itself where nothing is to be done. White stays white."""
    if fused.colorspace == target:
        return fused
    return replace(fused, radiance=convert_rgb(fused.radiance, fused.colorspace, target), colorspace=target)
