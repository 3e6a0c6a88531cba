"""One window of a picture by the network: where the physical merge is at odds.

The network sees the reference and the frames near it in exposure. It merges with the weights of the noise model,

    h = sum_i T_i w_i L_i / sum_i w_i,    w_i = c_i / V_i

with a trust T of its own where the test does not trust a frame, and adds a bounded residual. Pictures of more than 10
megapixels are not sharp at their own pixels: there the network sees means of 2x2. Its trust is enlarged, the merge is
made of full-size pixels, and the residual is added in the mu-law domain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from smarthdr_cli import radiometry
from smarthdr_cli.aligned_burst import Window
from smarthdr_cli.fusion.burst_model import BurstModel
from smarthdr_cli.fusion.physical_merge import PhysicalMerger, WindowMerge
from smarthdr_cli.fusion.pixel_kernel import CLIPPED, HIGHLIGHTS, LEAST_REST
from smarthdr_cli.fusion.residual_bounds import clamp_beside_clip, limit_residual
from smarthdr_cli.fusion.tiles import to_tensor
from smarthdr_cli.models.base import MergeDetail
from smarthdr_cli.models.merge import READ_FLOOR, TAPER_END, TAPER_START, merge, taper
from smarthdr_cli.models.noise_inputs import difference_in_deviations
from smarthdr_cli.models.saf import SAF
from smarthdr_cli.models.saf_layers import Motion
from smarthdr_cli.models.tensor_ops import encode, enlarge, inverse_mu_law, mu_law
from smarthdr_cli.models.uncertainty_calibration import Calibration
from smarthdr_cli.radiometry import MU

F32 = NDArray[np.float32]

SHARP_PIXELS = 10e6  # larger pictures are not sharp at their own pixels
STRONG_LOGIT = 2.0  # by which --deghost strong lowers the network's trust
MAX_FACTOR = 1e3  # by which the noise model may change a weight of the network's merge
CERTAIN = 20.0  # a logit whose sigmoid is 1 in float32
AGREES = (0.5, 0.9)  # trust of the test over which the network is overruled: the frame is merged
SHOWS = 10.0  # a frame trusted by a tenth shows something


def network_side(size: tuple[int, int]) -> int:
    """Pixels along the side of one of the network's, for a picture of ``size``."""
    return 2 if size[0] * size[1] > SHARP_PIXELS else 1


@dataclass(frozen=True)
class WindowNetwork:
    """What all windows of a burst share. ``members``: positions in the model's order of the other frames that the
    network sees. ``strong``: trust other frames less. ``calibration``: of sigma, for the codes of the burst. ``side``:
    pixels along the side of one of the network's.
    """

    model: SAF
    device: torch.device
    calibration: Calibration | None
    merger: PhysicalMerger
    members: Sequence[int]
    strong: bool
    side: int

    @torch.inference_mode()
    def fuse(self, window: Window, inner: Window) -> tuple[F32, F32, float]:
        """Light (h, w, 3) and sigma (h, w) of ``inner``, for which the network looks at ``window`` around it, and the
        share of its residual that was limited. Both begin at multiples of CELL.

        Frames that the network does not see join by their physical weight against its sigma.
        """
        model, side = self.merger.model, self.side
        merged = self.merger.window(window)
        small = self.frames(merged).reduced(side)
        small_light, log_sigma, detail = answer(self.model, small, self.states(window), self.strong)
        part = inside(window, inner, side)
        small_light, log_sigma, convex, trust = (
            x[..., *part] for x in (small_light, log_sigma, detail.merged, detail.trust)
        )
        merged = merged.part(*inside(window, inner))
        frames = self.frames(merged)
        stack = frames.blank()
        light, sigma = small_light, log_sigma.float().exp()
        if side > 1:
            trust = torch.maximum(enlarge(trust, side), frames.agreed) * frames.valid
            small_convex = convex
            convex = merge(stack, frames.evs, trust, frames.factors)[0]
            scale = torch.exp2(frames.evs.amin())
            residual = enlarge(mu_law(small_light * scale) - mu_law(small_convex * scale), side)
            light = inverse_mu_law((mu_law(convex * scale) + residual).clamp(0, 1)) / scale
            sigma = enlarge(sigma, side)
        light, limited = limit_residual(light, convex, stack, (trust * SHOWS).clamp(max=1), frames.evs)
        if not model.eight_bit[0]:
            light = clamp_beside_clip(light, stack[:, 0])
        if self.calibration is not None:
            sigma = self.calibration.apply_torch(sigma)
        radiance = np.ascontiguousarray(light[0].permute(1, 2, 0).cpu().numpy(), np.float32)
        error = np.ascontiguousarray(sigma[0, 0].float().cpu().numpy())
        shares = np.ascontiguousarray(trust[0, :, 0].float().cpu().numpy())
        return (*joined(model, merged, self.members, radiance, error, shares), limited)

    def frames(self, merged: WindowMerge) -> "WindowFrames":
        """What the network sees of a merged window."""

        def planes(arrays: F32) -> Tensor:
            return torch.cat([to_tensor(array) for array in arrays])[None].to(self.device)

        chosen = [0, *self.members]
        stack, place, trust, variance = (
            planes(x[chosen]) for x in (merged.frames, merged.place, merged.trust, merged.variance)
        )
        evs = torch.from_numpy(self.merger.model.exposures[chosen])[None].to(stack).log2()
        return WindowFrames(stack, evs, place, trust[:, 1:], variance, planes(merged.sigma[None])[0])

    def states(self, window: Window) -> list[Motion]:
        """The motion stage's of every member, on the network's cells."""
        states = [self.merger.motions[n].coarse.state_in(window) for n in self.members]
        if self.side == 1:
            return states
        return [Motion(*(F.avg_pool2d(x, self.side) for x in (s.flow, s.logit, s.hidden))) for s in states]


def answer(
    model: SAF, frames: "WindowFrames", states: Sequence[Motion], strong: bool = False
) -> tuple[Tensor, Tensor, MergeDetail]:
    """Light, log sigma and detail, see ``SAF.refine``, of ``frames`` as the network sees them, with their states."""
    ref = frames.stack[:, 0]
    codes, seen = encode(ref), None
    logits, features, gaps = [], [], []
    for k, state in enumerate(states):
        valid, agreed, other, ev = (
            x[:, k] for x in (frames.valid, frames.agreed, frames.stack[:, 1:], frames.evs[:, 1:])
        )
        if model.config.noise_inputs:
            variance = frames.variance[:, 0] + frames.variance[:, k + 1]
            seen = difference_in_deviations(ref, other, ev, variance), frames.trust[:, k]
        logit, feature, gap = model.verify(ref, other, valid, ev, state, codes, seen)
        logit = torch.lerp(logit - STRONG_LOGIT * strong, logit.clamp(min=CERTAIN), agreed)
        logits.append(torch.where(valid > 0, logit, torch.full_like(logit, CERTAIN)))
        features.append(feature)
        gaps.append(gap)
    return model.refine(
        frames.blank(), frames.evs, frames.valid, torch.stack(logits, dim=1), features, torch.stack(gaps, dim=1),
        codes, frames.factors, frames.sigma if model.config.noise_inputs else None,
    )  # fmt: skip


@dataclass(frozen=True)
class WindowFrames:
    """Windows of B bursts of N frames, the reference first, as the network sees them.

    ``stack`` (B, N, 3, h, w) linear, ``evs`` (B, N), ``place`` (B, N, 1, h, w) the border's share, ``trust`` (B, N-1,
    1, h, w) by the test, ``variance`` (B, N, 1, h, w) of radiance, ``sigma`` (B, 1, h, w) of the physical merge.
    """

    stack: Tensor
    evs: Tensor
    place: Tensor
    trust: Tensor
    variance: Tensor
    sigma: Tensor

    @cached_property
    def valid(self) -> Tensor:
        """(B, N-1, 1, h, w): 1 where the others have data."""
        return (self.place[:, 1:] > 0).to(self.stack)

    @cached_property
    def agreed(self) -> Tensor:
        """(B, N-1, 1, h, w): how far the test overrules the network."""
        exposures = torch.exp2(self.evs).view(*self.evs.shape, 1, 1, 1)
        brighter = torch.where(exposures[:, 1:] > 1, self.stack[:, 1:], self.stack[:, :1])
        unclipped = brighter.amax(dim=2, keepdim=True) < TAPER_END
        low, high = AGREES
        return ((self.trust - low) / (high - low)).clamp(0, 1) * unclipped

    @cached_property
    def factors(self) -> Tensor:
        """(B, N, 1, h, w): the weight of the noise model over that of the network's own merge (models/merge.py)."""
        level = self.stack.mean(dim=2, keepdim=True).clamp(min=0)
        factors = (level + READ_FLOOR) / (self.variance * torch.exp2(2 * self.evs).view(*self.evs.shape, 1, 1, 1))
        return (factors / factors[:, :1]).clamp(1 / MAX_FACTOR, MAX_FACTOR) * self.place.clamp(min=0)

    def blank(self) -> Tensor:
        """The stack, 1 (its clip, without weight) where a frame is not valid."""
        others = torch.where(self.valid > 0, self.stack[:, 1:], torch.ones_like(self.stack[:, 1:]))
        return torch.cat([self.stack[:, :1], others], dim=1)

    def reduced(self, side: int) -> "WindowFrames":
        """Means over ``side`` x ``side`` pixels, valid where all of them are. Their noise falls, what is off in
        registration does not.
        """
        if side == 1:
            return self
        stack, place, trust, variance, sigma = (
            F.avg_pool2d(x.flatten(0, 1), side).view(*x.shape[:-2], x.shape[-2] // side, x.shape[-1] // side)
            for x in (self.stack, self.place, self.trust, self.variance, self.sigma[:, None])
        )
        whole = F.avg_pool2d((self.place > 0).to(place).flatten(0, 1), side).view_as(place) > 0.99
        return WindowFrames(stack, self.evs, place * whole, trust, variance / side, sigma[:, 0])


def inside(window: Window, inner: Window, side: int = 1) -> tuple[slice, slice]:
    """Rows and columns of ``inner`` in a picture of ``window`` whose pixels have ``side`` pixels along theirs."""
    top, left = (inner.top - window.top) // side, (inner.left - window.left) // side
    return slice(top, top + inner.height // side), slice(left, left + inner.width // side)


def joined(
    model: BurstModel, merged: WindowMerge, members: Sequence[int], light: F32, sigma: F32, trust: F32
) -> tuple[F32, F32]:
    """The network's ``light`` and ``sigma`` of a window with what physics knows: frames that it did not see join by
    their weight, sigma is no lower than the noise of the merge, and what every frame clips stays the shortest frame's.
    """
    scale = float(model.exposures.min())
    slope = MU * scale / ((1 + MU * scale * light.mean(-1).clip(min=0)) * float(np.log1p(MU)))
    inverse, peak = (merged.place > 0) / merged.variance, torch.from_numpy(merged.frames.max(-1))
    weights, known = (
        taper(peak, *ends).numpy() * inverse for ends in ((TAPER_START, TAPER_END), (HIGHLIGHTS, CLIPPED))
    )
    known = known[0] + (known[list(members)] * trust).sum(0)
    rest = np.maximum(1 - radiometry.mu_law(light.mean(-1) * scale), LEAST_REST)
    sigma = np.maximum(sigma, 1 / np.sqrt(known / slope**2 + 12 / rest**2))
    sigma = np.hypot(sigma, model.curve_error * slope * light.mean(-1)).clip(1e-4, 1)
    others = [n for n in range(1, len(model.order)) if n not in members]
    if others:
        own = (slope / sigma) ** 2
        for n in others:
            weight = weights[n] * merged.trust[n]
            light = light + (merged.frames[n] / model.exposures[n] - light) * (weight / (own + weight))[..., None]
            own = own + weight
        sigma = slope / np.sqrt(own)
    light = light + (merged.light - light) * merged.clipped[..., None]
    lowest = np.where(merged.place > 0, peak, np.inf).min(0)
    return light, np.where(lowest > CLIPPED, 1, sigma).astype(np.float32)
