"""Reports of fusions that never ran."""

from typing import Any

from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.fusion.result import FuserRecord, FusionReport, UncertaintySummary


def report_of(burst: Burst, **changes: Any) -> FusionReport:
    """A ``FusionReport`` of ``burst`` by the static merge, with some fields changed."""
    values: dict[str, Any] = {
        "options": {},
        "fuser": FuserRecord("none", "cpu", "fp32"),
        "response": {"name": "srgb"},
        "files": tuple(f.path.name for f in burst.frames),
        "reference": burst.frames[burst.reference].path.name,
        "evs": tuple(burst.evs.tolist()),
        "moved": (False,) * len(burst),
        "size": (burst.size[1], burst.size[0]),
        "colorspace": "rec709",
        "source_colorspace": "rec709",
        "uncertainty": UncertaintySummary(0.01, 0.02, 0.0),
    }
    return FusionReport(**(values | changes))
