"""What fuses an aligned burst: one interface for the networks and the static merge, and the table of networks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch

from smarthdr_cli.aligned_burst import AlignedBurst
from smarthdr_cli.fusion.device import PRECISION_NAMES, resolve_precision
from smarthdr_cli.fusion.gfhdr_fusion import GFHDRFuser
from smarthdr_cli.fusion.memory_budget import MemoryBudget
from smarthdr_cli.fusion.network_fusion import SAFFuser
from smarthdr_cli.fusion.result import FuserRecord, TiledFusion
from smarthdr_cli.models.checkpoint import load_model
from smarthdr_cli.models.uncertainty_calibration import Calibration


class Fuser(Protocol):
    """Fuses aligned bursts, one after another."""

    @property
    def record(self) -> FuserRecord:
        """For the report."""

    def fuse(
        self, burst: AlignedBurst, budget: MemoryBudget, *, strong: bool, on_progress: Callable[[float], None]
    ) -> TiledFusion:
        """The image and its statistics.

        ``strong``: trust other frames less (``--deghost strong``). ``on_progress`` receives the share that is done, 0
        to 1. Raises UsageError for bursts that it does not take, MemoryLimitError where the budget is too small.
        """


# Model, device, precision, calibration and record to a Fuser, by the network's name. A new network is a row here.
FUSERS: dict[str, Callable[[Any, torch.device, torch.dtype, Calibration | None, FuserRecord], Fuser]] = {
    "saf": SAFFuser,
    "gfhdr": GFHDRFuser,
}


def load_network(weights: str | Path | None, device: torch.device, precision: str) -> Fuser:
    """The network of ``weights`` on its device. Raises ModelError as ``load_model``, UsageError for the precision."""
    model, checkpoint = load_model(weights)
    dtype = resolve_precision(precision, device)
    model = model.to(device=device, dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    network = checkpoint.config["name"]
    record = FuserRecord(
        {"name": checkpoint.path.stem, "network": network, "sha256": checkpoint.sha256},
        str(device),
        PRECISION_NAMES[dtype],
    )
    return FUSERS[network](model, device, dtype, checkpoint.calibration, record)
