"""Weights into a network that is ready to fuse, whichever kind they are of."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from smarthdr_cli.aligned_burst import AlignedBurst
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.burst.reference import spanning_frames
from smarthdr_cli.errors import UsageError
from smarthdr_cli.fusion.device import PRECISION_NAMES, resolve_precision
from smarthdr_cli.fusion.gfhdr_fusion import fuse_three, side_within
from smarthdr_cli.fusion.memory_budget import Room
from smarthdr_cli.fusion.network_fusion import Learned, fuse_learned
from smarthdr_cli.fusion.static_merge import RadianceSigma
from smarthdr_cli.models.checkpoint import Checkpoint
from smarthdr_cli.models.judged import JudgedGFHDR
from smarthdr_cli.models.load import load_model
from smarthdr_cli.models.saf import SAF
from smarthdr_cli.models.uncertainty_calibration import Calibration

NETWORK_FRAMES = 9


@dataclass(frozen=True)
class Network:
    """A checkpoint's model on its device. ``record`` goes to the report."""

    checkpoint: Checkpoint
    model: nn.Module
    device: torch.device
    dtype: torch.dtype
    record: dict[str, Any]

    def fuse(
        self,
        source: AlignedBurst,
        room: Room,
        strong: bool,
        on_progress: Callable[[float], None],
        report: dict[str, Any],
    ) -> RadianceSigma:
        """Fuse a burst within ``room``; what the guard saw is added to ``report``."""
        if isinstance(self.model, JudgedGFHDR):
            if strong:
                report.setdefault("notes", []).append("gfhdr has no trust to lower: --deghost strong changes nothing")
            side = side_within(room.tile, room.spare, math.prod(source.burst.size))
            return self._three(self.model, source, side, on_progress, report)
        assert isinstance(self.model, SAF)
        chosen, evidence = members(source.burst)
        learned = Learned(self.model, self.device, self.dtype, self._calibration(source.burst))
        outcome = fuse_learned(
            learned, source, chosen, evidence, room.tile, strong=strong, at_once=room.at_once, on_progress=on_progress
        )
        report |= {
            "tile": room.tile, "network_frames": len(chosen), "evidence_frames": len(evidence),
            "guard": outcome.guard.to_dict() | {"restored_share": outcome.restored}, "mean_trust": outcome.trusted,
            "still_share": outcome.still,
        }  # fmt: skip
        return outcome.plane

    def _calibration(self, burst: Burst) -> Calibration | None:
        found = self.checkpoint.calibration
        return None if found is None else found.for_codes(frame.codes.dtype for frame in burst.frames)

    def _three(
        self,
        model: JudgedGFHDR,
        source: AlignedBurst,
        size: int,
        on_progress: Callable[[float], None],
        report: dict[str, Any],
    ) -> RadianceSigma:
        """gfhdr takes three frames: the reference and the two that span the range best with it."""
        if len(source.burst) < 3:
            raise UsageError("gfhdr weights fuse three frames; this burst has two (saf weights take 2 to 9)")
        chosen = spanning_frames(source.burst, 3)
        calibration = self._calibration(source.burst)
        outcome = fuse_three(model, self.device, self.dtype, calibration, source, chosen, size, on_progress)
        left = len(source.burst) - 3
        if left:
            report.setdefault("notes", []).append(f"gfhdr takes three frames; the other {left} are not used")
        report |= {"tile": size, "network_frames": 3, "evidence_frames": 0, "guard": outcome.guard.to_dict()}
        return outcome.plane


def members(burst: Burst) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The frames for the network (at most nine, spanning the range) and the rest as evidence."""
    chosen = spanning_frames(burst, NETWORK_FRAMES)
    return chosen, tuple(i for i in range(len(burst)) if i not in chosen)


def load_network(weights: str | Path | None, device: torch.device, precision: str) -> Network:
    """Find, verify and build. Raises ModelError for weights that are missing, damaged or of an unknown model."""
    model, checkpoint = load_model(weights)
    dtype = resolve_precision(precision, device)
    model = model.to(device=device, dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    record = {
        "model": {"name": checkpoint.path.stem, "network": checkpoint.config["name"], "sha256": checkpoint.sha256},
        "device": str(device), "precision": PRECISION_NAMES[dtype],
    }  # fmt: skip
    return Network(checkpoint, model, device, dtype, record)
