"""What the trainer is handed: linearised, aligned bursts with the reference first, and what is known of the truth."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """A batch of B bursts of N frames, the reference at index 0.

    ``frames``: (B, N, 3, H, W) linear in each frame's own units (1 = its clip). ``evs``: (B, N) relative to the
    reference, brighter positive, 0 at index 0. ``valid``: (B, N, 1, H, W), 0 where a frame saw nothing.
    ``target``: (B, 3, H, W) radiance in reference units, capped at the shortest frame's clip, or None for a burst
    without ground truth. ``flow``: (B, N-1, 2, H, W) true displacement (x, y) in pixels from the reference to each
    other frame, and ``visible``: (B, N-1, 1, H, W) where that surface is seen in it; None where unknown.
    """

    frames: Tensor
    evs: Tensor
    valid: Tensor
    target: Tensor | None = None
    flow: Tensor | None = None
    visible: Tensor | None = None

    @property
    def scale_short(self) -> Tensor:
        """(B,) factor from reference units to the scale in which the shortest frame clips at 1."""
        return torch.exp2(self.evs.amin(dim=1))

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        moved = {f.name: getattr(self, f.name).to(device, non_blocking=True)
                 for f in fields(self) if getattr(self, f.name) is not None}  # fmt: skip
        return replace(self, **moved)
