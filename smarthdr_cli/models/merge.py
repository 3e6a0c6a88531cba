"""The physical merge and the bounds that the reference frame sets. No learned part.

For frames x_i, linear with 1 at their clip, e_i EV above the reference, the merge in reference units is

    h = sum_i w_i t_i 2^-e_i x_i / sum_i w_i t_i,   w_i = 4^e_i / (mean(x_i) + READ_FLOOR) * taper(max(x_i))

where w_i is the inverse variance under photon and read noise (Hasinoff, Durand and Freeman 2010, eq. 5) and t_i in
[0, 1] the trust in frame i; the weight that trust removes goes to the reference. The taper falls to 0 towards the clip
by the brightest channel, so a pixel that clips in one channel loses all three and keeps its hue.

The reference x_0 is a measurement of the result's own moment. Below its clip it bounds the result from both sides, up
to noise; where it clips, only from below.
"""

import torch
from torch import Tensor

READ_FLOOR = 0.0025  # read and quantisation noise relative to photon noise at clip: var(x) ~ x + READ_FLOOR
TAPER_START, TAPER_END = 0.80, 0.97  # linear level over which a frame's weight falls to 0, fraction of its clip
# Where every frame is tapered the shortest decides: its floor is too small to matter elsewhere.
SHORTEST_FLOOR = 1e-4
# Bounds by the reference: standard deviations of its noise, and electrons at clip.
LOOSE_NOISE = (3.0, 1000.0)  # a full-frame sensor at ISO 6400
STRICT_NOISE = (1.0, 10_000.0)  # for gfhdr, whose output is not a merge and may contradict the reference
CHANNEL_TAPER_START, CHANNEL_TAPER_END = 0.63, 0.80  # linear level over which a channel stops bounding from above
GRADIENT_LEAK = 0.1  # share of the gradient that reaches a result outside the bounds, so that training can return


def taper(level: Tensor, start: float, end: float) -> Tensor:
    """1 below ``start``, 0 above ``end``, smooth between (3 t^2 - 2 t^3)."""
    t = ((level - start) / (end - start)).clamp(0, 1)
    return 1 - t * t * (3 - 2 * t)


def clip_taper(frame: Tensor) -> Tensor:
    """(..., 3, H, W) linear in frame units to (..., 1, H, W): 1 below TAPER_START, 0 above TAPER_END."""
    return taper(frame.amax(dim=-3, keepdim=True), TAPER_START, TAPER_END)


def exposure_weight(frame: Tensor, ev: Tensor) -> Tensor:
    """w: (B, 3, H, W) frame and (B,) EV relative to the reference to (B, 1, H, W)."""
    level = frame.mean(dim=-3, keepdim=True).clamp(min=0)
    squared_gain = torch.exp2(2 * ev).view(-1, 1, 1, 1)
    return squared_gain / (level + READ_FLOOR) * clip_taper(frame)


def radiance(frame: Tensor, ev: Tensor) -> Tensor:
    """(B, 3, H, W) linear frame to radiance in reference units (reference clip = 1)."""
    return frame * gain(ev)


def gain(ev: Tensor) -> Tensor:
    """(B,) EVs to the factors (B, 1, 1, 1) from frame units to reference units."""
    return torch.exp2(-ev).view(-1, 1, 1, 1)


def merge(frames: Tensor, evs: Tensor, trust: Tensor, factors: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """h and the share of weight that trust moved to the reference, (B, 3, H, W) in reference units and (B, 1, H, W).

    ``frames``: (B, N, 3, H, W), the reference first. ``evs``: (B, N). ``trust``: (B, N-1, 1, H, W) in [0, 1] of the
    others. ``factors``: (B, N, 1, H, W), at least 0, multiply the weights of all frames. Where no frame has weight (all
    clip) the shortest with trust decides.
    """
    shortest = evs == evs.amin(dim=1, keepdim=True)
    floor = (shortest * SHORTEST_FLOOR * torch.exp2(2 * evs)).view(*evs.shape, 1, 1, 1)
    reference_weight = exposure_weight(frames[:, 0], evs[:, 0])
    reference_weight = (reference_weight if factors is None else reference_weight * factors[:, 0]) + floor[:, 0]
    total, trusted = reference_weight, list[Tensor]()
    removed = torch.zeros_like(total)
    for i in range(1, frames.shape[1]):
        weight = exposure_weight(frames[:, i], evs[:, i])
        weight = (weight if factors is None else weight * factors[:, i]) + floor[:, i]
        trusted.append(weight * trust[:, i - 1])
        removed = removed + (weight - trusted[-1])
        total = total + weight
    # One-channel planes are combined before they multiply those of three.
    merged = frames[:, 0] * ((reference_weight + removed) / total * gain(evs[:, 0]))
    for i, weight in enumerate(trusted, start=1):
        merged = torch.addcmul(merged, frames[:, i], weight / total * gain(evs[:, i]))
    return merged, removed / total


def noise_bound(reference: Tensor, noise: tuple[float, float]) -> Tensor:
    """Distance from ``reference`` that its photon and read noise explain; ``noise`` as LOOSE_NOISE, any shape."""
    deviations, full_well = noise
    return deviations * ((reference.clamp(min=0) + READ_FLOOR) / full_well).sqrt()


def measured_share(reference: Tensor) -> Tensor:
    """How far each channel counts as measured instead of clipped: 1 to 0, any shape."""
    return taper(reference, CHANNEL_TAPER_START, CHANNEL_TAPER_END)


def clamp_to_reference_strict(light: Tensor, reference: Tensor) -> Tensor:
    """``light`` clamped to what the reference measured within STRICT_NOISE, both (B, 3, H, W) in reference units.

    Each channel by itself: bounded from below everywhere, from above where the reference does not clip. With gradients,
    results outside the bounds receive GRADIENT_LEAK of theirs.
    """
    slack = noise_bound(reference, STRICT_NOISE)
    above = light.maximum(reference - slack)
    bounded = torch.lerp(above, above.minimum(reference + slack), measured_share(reference))
    return bounded + GRADIENT_LEAK * (light - light.detach()) if light.requires_grad else bounded
