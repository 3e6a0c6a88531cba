"""ColorVideoVDP (Mantiuk et al. 2024), where its package is installed: quality in JOD, 10 is no visible difference."""

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.errors import UsageError

PEAK = 1000.0  # cd/m^2 of radiance 1, as for PU21
AMBIENT = 10.0  # lux
GEOMETRY = "standard_hdr_linear"  # the metric's own viewing distance and size
VARIANT = f"radiance 1 at {PEAK:.0f} cd/m², BT.709 primaries, {AMBIENT:.0f} lux, geometry {GEOMETRY}"
_MODULE = "pycvvdp"  # what the distribution cvvdp installs

Quality = Callable[[NDArray[Any], NDArray[Any]], float]


def check_installed() -> None:
    """Raises UsageError where the package is not there."""
    if importlib.util.find_spec(_MODULE) is None:
        raise UsageError("--cvvdp needs the package cvvdp, which is not installed: pip install cvvdp")


def load(device: str) -> Quality:
    """What to call with (prediction, truth), (H, W, 3) radiance in [0, 1], for the quality in JOD.

    ``device``: as torch names it. Raises UsageError where the package is not there.
    """
    check_installed()
    import torch

    package: Any = importlib.import_module(_MODULE)
    screen = package.vvdp_display_photo_eotf(
        PEAK, contrast=1_000_000, source_colorspace="BT.709", EOTF="linear", E_ambient=AMBIENT
    )
    metric = package.cvvdp(
        display_name=GEOMETRY, display_photometry=screen, heatmap=None, quiet=True, device=torch.device(device)
    )

    def quality(prediction: NDArray[Any], truth: NDArray[Any]) -> float:
        shown = [np.ascontiguousarray(image * PEAK, np.float32) for image in (prediction, truth)]
        with torch.inference_mode():
            jod, _ = metric.predict(*shown, dim_order="HWC")
        return float(jod)

    return quality
