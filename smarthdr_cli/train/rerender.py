"""From radiance back to what a frame would have recorded, for the losses that compare in the LDR domain."""

import torch
from torch import Tensor

GAMMA = 2.2
FLOOR = 1e-4  # linear level below which the gamma code's slope (0.45 / x**0.55) is cut off; 4 of 255 codes
LOW, HIGH = 0.1, 0.9  # gamma codes between which a frame is well exposed: linear 0.006 to 0.79


def code(light: Tensor, *, clip: bool = True) -> Tensor:
    """Linear light in a frame's own units to gamma-2.2 codes; ``clip``: at 1, as the frame does."""
    light = light.clamp(min=FLOOR)
    return (light.clamp(max=1) if clip else light) ** (1 / GAMMA)


def rerender(radiance: Tensor, ev: Tensor, *, clip: bool = True) -> Tensor:
    """(B, 3, H, W) radiance in reference units as a frame of (B,) EV would have coded it."""
    return code(radiance * torch.exp2(ev).view(-1, 1, 1, 1), clip=clip)


def well_exposed(frame: Tensor) -> Tensor:
    """(B, 3, H, W) linear frame in its own units to (B, 1, H, W): 1 where all channels lie between LOW and HIGH."""
    seen = code(frame)
    return ((seen > LOW) & (seen < HIGH)).all(dim=1, keepdim=True).float()
