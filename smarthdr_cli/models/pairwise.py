"""How two frames are compared: at a common exposure, through a displacement, in units of what noise explains."""

import torch
import torch.nn.functional as F
from torch import Tensor

from smarthdr_cli.models.tensor_ops import box_mean
from smarthdr_cli.models.tone import encode

FAR = 4.5  # EV between two frames, the most that training shows
STILL = 1e-4  # mean squared difference of codes that noise explains: a hundredth of the code range


def common_exposure(
    ref: Tensor, other: Tensor, ev: Tensor, ref_codes: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Reference and other as the brighter of the two would have recorded them, and the darker as it is; gamma codes.

    ``ref``, ``other``: (P, 3, H, W) linear in frame units; ``ev``: (P,) of the other relative to the reference;
    ``ref_codes``: ``encode(ref)`` where it is at hand.
    """
    lift = torch.exp2(ev.abs() / 2.2).view(-1, 1, 1, 1)  # a factor on light is one on codes
    brighter = (ev > 0).view(-1, 1, 1, 1)
    seen, found = encode(ref) if ref_codes is None else ref_codes, encode(other)
    if len(ev) == 1:  # one pair: nothing to choose pixel by pixel
        if float(ev) > 0:
            return (seen * lift).clamp_(max=1), found, seen
        return seen, (found * lift).clamp_(max=1), found
    a = torch.where(brighter, (seen * lift).clamp(max=1), seen)
    b = torch.where(brighter, found, (found * lift).clamp(max=1))
    return a, b, torch.where(brighter, seen, found)


def within_reach(ref: Tensor, frame: Tensor, ev: Tensor) -> tuple[Tensor, Tensor]:
    """A frame as the network may look at it: no further than FAR stops from the reference, as in its training.

    ``ref``, ``frame``: (1, 3, H, W) linear in their own units, ``ev``: (1,). A brighter frame is darkened to FAR; where
    it is clipped it shows what the reference does if that would have clipped too, and its clip if not. A darker one is
    lifted, noise and all, and clips earlier. Only for looking: what is merged is the frame itself.
    """
    beyond = float(ev.abs()) - FAR
    if beyond <= 0:
        return frame, ev
    if float(ev) < 0:
        return (frame * 2.0**beyond).clamp(max=1), torch.full_like(ev, -FAR)
    alike = (ref * 2.0**FAR).clamp(max=1)
    clipped = torch.where(ref * 2.0 ** float(ev) >= 0.97, alike, torch.ones_like(frame))
    return torch.where(frame >= 0.97, clipped, frame * 2.0**-beyond), torch.full_like(ev, FAR)


def disagreement(a: Tensor, b: Tensor, dark: Tensor, ev: Tensor) -> Tensor:
    """(P, 1, H, W) largest channel difference at the common exposure, in units of what noise and codes explain."""
    return (a - b).abs().amax(dim=1, keepdim=True) / tolerance(dark, ev)


def tolerance(dark: Tensor, ev: Tensor) -> Tensor:
    """(P, 1, H, W) difference of codes at the common exposure that noise and codes explain, of whatever camera.

    The darker frame was lifted by |ev| stops: one 8-bit code and photon noise there grow with it.
    """
    lift = torch.exp2(ev.abs() / 2.2).view(-1, 1, 1, 1)
    return 0.012 + 0.006 * lift / (dark.amax(dim=1, keepdim=True) + 0.05)


def lenient(a: Tensor, b: Tensor, offset: Tensor, slack: Tensor) -> Tensor:
    """``b`` brought nearer to ``a``, both (P, 3, H, W) codes at the common exposure, by what is known not to be motion:
    an ``offset`` (P, 3, H, W) of codes, and a ``slack`` (P, 1, H, W), at least 1, that divides what is left.
    """
    return a + ((b + offset).clamp(0, 1) - a) / slack


def worthwhile(ref: Tensor, other: Tensor, flow: Tensor, ev: Tensor) -> Tensor:
    """(P, 1, h, w): 0 where a place stands still and a displacement brings it no nearer to the reference, 1 elsewhere.

    Squared differences of codes in a window of 5x5, all at one level, ``flow`` in its pixels. What stands still is not
    to be moved because the network was wrong about it.
    """
    moved, unmoved = (
        box_mean((a - b).square().mean(dim=1, keepdim=True), 5)
        for a, b, _ in (common_exposure(ref, image, ev) for image in (warp(other, flow), other))
    )
    return ((moved < 0.9 * unmoved) | (unmoved > STILL)).to(flow.dtype)


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """(P, C, H, W) image seen through (P, 2, H, W) displacement in pixels; edges repeated."""
    h, w = image.shape[-2:]
    y = torch.arange(h, device=image.device, dtype=torch.float32).view(1, -1, 1) + 0.5
    x = torch.arange(w, device=image.device, dtype=torch.float32).view(1, 1, -1) + 0.5
    grid = torch.stack([(x + flow[:, 0].float()) * (2 / w) - 1, (y + flow[:, 1].float()) * (2 / h) - 1], dim=-1)
    return F.grid_sample(image.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)


def settle(flow: Tensor) -> Tensor:
    """Displacements below a quarter pixel are none: what stands still is not resampled. (P, 2, H, W) in pixels."""
    length = flow.square().sum(dim=1, keepdim=True).clamp(min=1e-8).sqrt()
    t = ((length - 0.25) / 0.5).clamp(0, 1)
    return flow * (t * t * (3 - 2 * t))


def inside(flow: Tensor) -> Tensor:
    """(P, 1, H, W): 1 where a displaced pixel still lies in the picture."""
    h, w = flow.shape[-2:]
    x = torch.arange(w, device=flow.device).view(1, 1, 1, -1) + flow[:, :1]
    y = torch.arange(h, device=flow.device).view(1, 1, -1, 1) + flow[:, 1:]
    return ((x >= -0.5) & (x <= w - 0.5) & (y >= -0.5) & (y <= h - 0.5)).float()
