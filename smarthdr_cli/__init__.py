"""smarthdr: ghost-free HDR fusion of bracketed bursts, with calibrated per-pixel uncertainty.

``fuse`` and ``FusionResult`` are imported on first use, so that importing the package loads no torch.
"""

from typing import TYPE_CHECKING, Any

from smarthdr_cli.version import __version__

if TYPE_CHECKING:
    from smarthdr_cli.fusion.pipeline import fuse
    from smarthdr_cli.fusion.result import FusionResult

__all__ = ["FusionResult", "__version__", "fuse"]


def __getattr__(name: str) -> Any:
    if name == "fuse":
        from smarthdr_cli.fusion.pipeline import fuse

        return fuse
    if name == "FusionResult":
        from smarthdr_cli.fusion.result import FusionResult

        return FusionResult
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
