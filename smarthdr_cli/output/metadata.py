"""What output files state about themselves: how the result was made, and its sigma in two units.

sigma.mu is the calibrated sigma of the mu-law domain T(h) = log(1 + mu h) / log(1 + mu). In the file's own pixel units
it is, to first order, sigma.radiance = sigma.mu * dh/dT (docs/METHOD.md, section 14).
"""

import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.burst.burst import Frame
from smarthdr_cli.errors import OutputError
from smarthdr_cli.fusion.result import FusionResult
from smarthdr_cli.radiometry import MU, radiance_per_mu_law
from smarthdr_cli.version import __version__

SOFTWARE = f"smarthdr {__version__}"
SIGMA_MEANING = (
    f"sigma.mu: the 68 % quantile of |error| in the mu-law domain T(h) = log(1 + {MU:g} h) / log({MU + 1:g}), h = "
    "radiance in units of the shortest frame's clip, mean over channels. sigma.radiance: the same in this file's pixel "
    "units, sigma.mu * dh/dT at the pixel's mean over channels."
)
_REPORT_KEYS = (
    "response",
    "model",
    "options",
    "alignment",
    "device",
    "precision",
    "fallback",
    "settings",
    "common_exposure",
)


def reference_frame(result: FusionResult) -> Frame:
    """The frame that sets the moment, the pose and, with ``anchor_ev`` 0, the exposure of the result."""
    return result.burst.frames[result.burst.reference]


def anchor_statement(result: FusionResult) -> str:
    """What pixel value 1.0 means in this file, in one sentence."""
    if result.anchor_ev == 0.0:
        return "pixel = radiance at the reference exposure; 1.0 = reference clip"
    return (
        f"pixel = radiance at {result.anchor_ev:+g} EV from the reference exposure; "
        "1.0 = the clip of a frame so exposed"
    )


def provenance(result: FusionResult) -> dict[str, str]:
    """The ``smarthdr:*`` strings of a file, valid UTF-8: plain text, or JSON where there is structure.

    smarthdr:inputs has per frame its name without the folder, sha256, EV relative to the reference and, where known,
    seconds, f-number and ISO.
    """
    inputs = [
        _without_none(
            {
                "name": frame.path.name,
                "sha256": frame.sha256,
                "ev": round(float(ev), 6),
                "time": frame.exposure.time,
                "aperture": frame.exposure.aperture,
                "iso": frame.exposure.iso,
                "exposure_source": frame.exposure.source,
            }
        )
        for frame, ev in zip(result.burst.frames, result.burst.evs, strict=True)
    ]
    strings = {
        "smarthdr:version": __version__,
        "smarthdr:anchor": anchor_statement(result),
        "smarthdr:anchorEV": f"{result.anchor_ev:g}",
        "smarthdr:scaleShort": f"{result.scale_short:.9g}",
        "smarthdr:reference": reference_frame(result).path.name,
        "smarthdr:inputs": as_json(inputs),
        "smarthdr:evs": " ".join(f"{ev:g}" for ev in result.burst.evs.round(4)),
    }
    report = result.report.to_dict()
    for key in _REPORT_KEYS:
        value = report.get(key)
        if value is not None:
            strings[f"smarthdr:{key}"] = value if isinstance(value, str) else as_json(value)
    if result.report.notes:
        strings["smarthdr:notes"] = as_json(list(result.report.notes))
    return {key: _to_utf8(value) for key, value in strings.items()}


def as_json(value: Any) -> str:
    """Compact ASCII JSON; values that JSON does not have (paths, NumPy scalars) become text."""
    return json.dumps(value, default=str, separators=(",", ":"))


def _to_utf8(text: str) -> str:
    """Escape what UTF-8 cannot encode; names of files may hold such bytes."""
    return text.encode(errors="backslashreplace").decode()


def _without_none(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if value is not None}


def sigma_radiance(result: FusionResult) -> NDArray[np.float32]:
    """(H, W) float32: sigma in units of ``result.radiance``, sigma * dh/dT / scale_short.

    dh/dT is affine in h, so its mean over the channels is its value at their mean (at least 0).
    """
    scale = np.float32(result.scale_short)
    mean = result.radiance.mean(axis=2, dtype=np.float32)
    np.maximum(mean, 0.0, out=mean)
    mean *= scale
    slope = radiance_per_mu_law(mean)
    slope *= result.uncertainty
    slope /= scale
    return slope


def require_finite(values: NDArray[np.float32], name: str) -> tuple[float, float]:
    """(minimum, maximum) of ``values``, without a copy. Raises OutputError where they are empty or not finite."""
    if values.size == 0:
        raise OutputError(f"the {name} is empty and was not written")
    minimum, maximum = float(values.min()), float(values.max())  # NaN passes through both
    if not (math.isfinite(minimum) and math.isfinite(maximum)):
        raise OutputError(f"the {name} holds values that are not finite and was not written")
    return minimum, maximum
