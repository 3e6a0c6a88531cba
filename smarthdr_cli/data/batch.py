"""A batch of linearised, aligned bursts with their ground truth, as far as that is known."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """B bursts of N frames, the reference at index 0.

    ``frames``: (B, N, 3, H, W) linear in each frame's own units (1 = its clip). ``evs``: (B, N) exposures relative to
    the reference, positive for brighter frames. ``valid``: (B, N, 1, H, W), 0 outside a frame. ``target``: (B, 3, H, W)
    true radiance in units of the reference, capped at the shortest frame's clip. ``flow``: (B, N-1, 2, H, W) true
    displacement (x, y) in px from the reference to every other frame. ``visible``: (B, N-1, 1, H, W), 1 where the
    reference's surface is visible there.
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
        """A copy on another device."""
        tensors = {f.name: tensor for f in fields(self) if (tensor := getattr(self, f.name)) is not None}
        return replace(self, **{name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()})
