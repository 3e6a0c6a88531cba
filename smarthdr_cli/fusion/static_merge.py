"""The static merge: aligned frames merged by inverse variance, no deghosting; and what results are compared with.

The model is that of physical_merge.py with every frame trusted. The result stands for the reference's moment, so a
ghost is an error: sigma^2 is that of the merge that trusts by the test, and the squared distance from it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from smarthdr_cli.aligned_burst import AlignedBurst
from smarthdr_cli.fusion.burst_model import fit_burst, frame_order
from smarthdr_cli.fusion.memory_budget import MemoryBudget
from smarthdr_cli.fusion.physical_merge import PhysicalMerger
from smarthdr_cli.fusion.pixel_functions import kernel_choice
from smarthdr_cli.fusion.pixel_kernel import CELL
from smarthdr_cli.fusion.result import ClassicalDifference, FuserRecord, TiledFusion
from smarthdr_cli.models.tensor_ops import mu_law

F32 = NDArray[np.float32]
MIN_CHANGE = 0.01  # in the mu-law domain: smaller differences from the classical merge do not count as changes
STATIC_RECORD = FuserRecord("none", "cpu", "fp32")


@dataclass(frozen=True)
class StaticFuser:
    """``--deghost off`` as a ``Fuser``; on the CPU, in float32."""

    record: FuserRecord = STATIC_RECORD

    def fuse(
        self, burst: AlignedBurst, budget: MemoryBudget, *, strong: bool, on_progress: Callable[[float], None]
    ) -> TiledFusion:
        """Merge every frame of the burst."""
        order = frame_order(burst.burst.evs, burst.burst.reference)
        cells = {index: burst.downsample(index, CELL) for index in order}
        model = fit_burst(burst, order, cells, {})
        merge = PhysicalMerger(burst, model, {}).picture(budget.tile, on_progress, static=True)
        return TiledFusion(merge.image, kernel=kernel_choice().kernel)


def difference_from_classical(result: F32, classical: F32, scale: float) -> ClassicalDifference:
    """Of two (h, w, 3) images in reference units; ``scale`` takes them to short clip = 1."""
    a, b = (mu_law(torch.from_numpy(np.ascontiguousarray(x)) * scale) for x in (result, classical))
    difference = (a - b).abs().mean(dim=-1)
    changed = difference > MIN_CHANGE
    if not bool(changed.any()):
        return ClassicalDifference(0.0, 0.0, 0.0)
    over = difference[changed]
    return ClassicalDifference(float(changed.float().mean()), float(over.mean()), float(over.max()))
