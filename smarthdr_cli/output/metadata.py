"""How a result was made, as strings that go into the file itself."""

import json
from typing import Any

from smarthdr_cli.burst.burst import Frame
from smarthdr_cli.fusion.result import FusionResult
from smarthdr_cli.version import __version__

SOFTWARE = f"smarthdr {__version__}"
_FROM_REPORT = (
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


def reference_frame(fused: FusionResult) -> Frame:
    """The frame whose moment, pose and (with ``anchor_ev`` 0) exposure the result has."""
    return fused.burst.frames[fused.burst.reference]


def anchor_statement(fused: FusionResult) -> str:
    """What pixel value 1.0 means in this file, in one sentence."""
    if fused.anchor_ev == 0.0:
        return "pixel = radiance at the reference exposure; 1.0 = reference clip"
    return (
        f"pixel = radiance at {fused.anchor_ev:+g} EV from the reference exposure; 1.0 = the clip of a frame so exposed"
    )


def provenance(fused: FusionResult) -> dict[str, str]:
    """``smarthdr:*`` keys and their values: plain text, or JSON where there is structure.

    All are valid UTF-8.
    inputs: per frame name (no folder), sha256, EV relative to the reference and, where known, seconds, f-number, ISO.
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
        for frame, ev in zip(fused.burst.frames, fused.burst.evs, strict=True)
    ]
    strings = {
        "smarthdr:version": SOFTWARE.removeprefix("smarthdr "),
        "smarthdr:anchor": anchor_statement(fused),
        "smarthdr:anchorEV": f"{fused.anchor_ev:g}",
        "smarthdr:scaleShort": f"{fused.scale_short:.9g}",
        "smarthdr:reference": reference_frame(fused).path.name,
        "smarthdr:inputs": as_json(inputs),
        "smarthdr:evs": " ".join(f"{ev:g}" for ev in fused.burst.evs.round(4)),
    }
    for key in _FROM_REPORT:
        value = fused.report.get(key)
        if value is not None:
            strings[f"smarthdr:{key}"] = value if isinstance(value, str) else as_json(value)
    if fused.burst.notes:
        strings["smarthdr:notes"] = as_json(list(fused.burst.notes))
    return {key: _encodable(value) for key, value in strings.items()}


def as_json(value: Any) -> str:
    """Compact ASCII JSON; what JSON does not know (paths, arrays' scalars) goes in as text."""
    return json.dumps(value, default=str, separators=(",", ":"))


def _encodable(text: str) -> str:
    """A file's name may hold bytes that are no UTF-8; the formats' headers may not."""
    return text.encode(errors="backslashreplace").decode()


def _without_none(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if value is not None}
