"""smarthdr: ghost-free HDR fusion of bracketed bursts, with calibrated per-pixel uncertainty.

    from pathlib import Path

    import smarthdr_cli as smarthdr

    result = smarthdr.fuse(sorted(Path("photos").glob("*.jpg")))
    smarthdr.write_result(result, "out.exr")
    smarthdr.write_preview(result, "out.jpg")
    smarthdr.write_uncertainty(result, "trust.png")

``fuse`` takes the flags of ``smarthdr fuse`` as keywords. Every error that a user can cause is a ``SmartHDRError``. All
names are imported on first use, so that importing the package loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from smarthdr_cli.version import __version__

if TYPE_CHECKING:
    from smarthdr_cli.errors import SmartHDRError
    from smarthdr_cli.fusion.pipeline import fuse
    from smarthdr_cli.fusion.result import FusionReport, FusionResult
    from smarthdr_cli.output.preview import preview_png
    from smarthdr_cli.output.write import write_legend, write_preview, write_report, write_result, write_uncertainty

__all__ = [
    "FusionReport",
    "FusionResult",
    "SmartHDRError",
    "__version__",
    "fuse",
    "preview_png",
    "write_legend",
    "write_preview",
    "write_report",
    "write_result",
    "write_uncertainty",
]
_MODULES = {
    "FusionReport": "fusion.result",
    "FusionResult": "fusion.result",
    "SmartHDRError": "errors",
    "fuse": "fusion.pipeline",
    "preview_png": "output.preview",
    "write_legend": "output.write",
    "write_preview": "output.write",
    "write_report": "output.write",
    "write_result": "output.write",
    "write_uncertainty": "output.write",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
