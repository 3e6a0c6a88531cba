"""A process's fusions: the network is found, verified and built once, however many sets there are."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from smarthdr_cli.batch.anchor import CommonExposure
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.burst.load import LoadedBurst, Paths
from smarthdr_cli.fusion.fuse_options import FuseOptions
from smarthdr_cli.fusion.pipeline import StageTimer, fuse_loaded, load
from smarthdr_cli.fusion.result import FusionResult

if TYPE_CHECKING:
    import torch

    from smarthdr_cli.fusion.fuser import Fuser


class Session:
    """Loads and fuses bursts one after another; ``opened`` counts the networks built.

    ``load`` may run in another thread than ``fuse``, ``fuse`` in one at a time (it takes a lock).
    """

    def __init__(self) -> None:
        self.opened = 0
        self._networks: dict[tuple[str, str, str], Fuser] = {}
        self._lock = Lock()

    def prepare(self, options: FuseOptions) -> None:
        """Build what ``options`` need, so that what is missing is said before the first set is read.

        Raises UsageError (device, precision) or ModelError.
        """
        from smarthdr_cli.fusion.device import resolve_device, resolve_precision

        device = resolve_device(options.device)
        if options.deghost == "off":
            resolve_precision("fp32" if options.precision == "auto" else options.precision, device)
        else:
            self._open(options.weights, device, options.precision)

    def load(self, files: Paths, options: FuseOptions, clock: StageTimer) -> LoadedBurst:
        """The files of one burst, read. Raises UsageError or InputError."""
        return load(files, options, clock)

    def fuse(self, burst: Burst, options: FuseOptions, clock: StageTimer, notes: Sequence[str] = ()) -> FusionResult:
        """A burst, fused; ``notes`` of reading are for the report. Raises as ``fuse_loaded``."""
        with self._lock:
            return fuse_loaded(burst, options, clock, notes=notes, open_network=self._open)

    def _open(self, weights: str | Path | None, device: "torch.device", precision: str) -> "Fuser":
        from smarthdr_cli.fusion.fuser import load_network

        key = (str(weights), str(device), precision)
        if key not in self._networks:
            self._networks[key] = load_network(weights, device, precision)
            self.opened += 1
        return self._networks[key]


def anchored(fused: FusionResult, common: CommonExposure) -> FusionResult:
    """``fused`` so that 1.0 is the clip of a frame exposed as ``common`` says.

    The radiance is scaled in place by 2 ** (common - reference exposure). Raises InputError where the reference does
    not state its own.
    """
    own = common.of_reference(fused.burst)
    step = common.ev - own - fused.anchor_ev
    radiance = fused.radiance
    radiance *= radiance.dtype.type(2.0**step)
    report = replace(fused.report, common_exposure={"ev": round(common.ev, 4), "reference_ev": round(own, 4)})
    short = fused.scale_short / 2.0**step
    return replace(fused, radiance=radiance, anchor_ev=fused.anchor_ev + step, scale_short=short, report=report)
