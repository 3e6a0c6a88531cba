"""What of the network's answer is believed: physics overrules it where the frames themselves are clear."""

import torch
from torch import Tensor

from smarthdr_cli.models.merge import (
    LOOSE_NOISE,
    TAPER_END,
    clip_taper,
    exposure_weight,
    measured_share,
    noise_bound,
    radiance,
)

HULL = 0.25  # relative slack around what the frames show, beyond which the residual is not believed
FADE = 2.0  # slacks beyond it over which belief falls to none
AGREE = 0.25  # of the tolerated difference, up to which two frames show the same; doubtful up to twice of it
SURE = 20.0  # a logit whose sigmoid is 1 in float32
KNOWN, UNKNOWN = 4.0, 8.0  # EV below the reference to which training bursts mostly reach, and which none goes beyond
HEARD = 0.01  # share of the merge's weight from which a frame's disagreement counts in full
FLOOR = 0.002  # and absolute slack, in units of the shortest frame's clip


def known(evs: Tensor) -> float:
    """How much of the residual to take for (1, N) EVs, 0 to 1: none where the shortest frame is of no kind that the
    network was trained on.

    Its step in the mu-law domain of a frame that short is several times the light of the shadows, and dots come of it.
    """
    return min(max((UNKNOWN + float(evs.amin())) / (UNKNOWN - KNOWN), 0.0), 1.0)


def unheard(gaps: list[Tensor], frames: Tensor, evs: Tensor) -> list[Tensor]:
    """Disagreements (1, 1, h, w) of the other frames, without those of frames that have no say where they disagree.

    What a frame far darker than the rest shows of a shadow is its noise; it has next to no weight there, and must not
    open the residual.
    """
    weights = [exposure_weight(frames[:, i], evs[:, i]) for i in range(frames.shape[1])]
    total = torch.stack(weights).sum(dim=0).clamp(min=1e-12)
    return [gap * (weight / total / HEARD).clamp(max=1) for gap, weight in zip(gaps, weights[1:], strict=True)]


def agreed(logit: Tensor, gap: Tensor, ref: Tensor, other: Tensor, ev: Tensor) -> Tensor:
    """Trust logits with the network overruled where the two frames show the same: full trust, so no residual either.

    Of one pair. Same: within AGREE of what noise and codes explain, neither at its clip, where any two look alike.
    """
    brighter = other if float(ev) > 0 else ref
    same = ((2 * AGREE - gap) / AGREE).clamp(0, 1) * (brighter.amax(dim=1, keepdim=True) < TAPER_END)
    return torch.lerp(logit, logit.clamp(min=SURE), same)


def at_clip(light: Tensor, peak: Tensor, frames: Tensor, seen: Tensor, evs: Tensor) -> Tensor:
    """Where every frame that saw a place is clipped, what the shortest of them shows: its clip level, neutral.

    ``peak``: (1, 1, h, w) as ``lowest_peak`` gives it.
    """
    clipped = 1 - clip_taper(peak)
    if not bool(clipped.any()):
        return light
    shortest = radiance(frames[:, 0], evs[:, 0])
    darkest_last = sorted(range(1, frames.shape[1]), key=lambda i: -float(evs[0, i]))
    for i in (i for i in darkest_last if evs[0, i] < evs[0, 0]):
        shortest = torch.where(seen[:, i - 1] > 0, radiance(frames[:, i], evs[:, i]), shortest)
    return torch.lerp(light, shortest, clipped)


def bounded(light: Tensor, merged: Tensor, frames: Tensor, say: Tensor, evs: Tensor) -> tuple[Tensor, float]:
    """The residual is kept only where it stays near what some trusted frame shows; elsewhere the convex combination.

    Of one burst (B = 1). ``say`` (1, N-1, 1, H, W) from 0 to 1: how far each other frame counts as showing something.
    Frames at their clip bound from below only. Nothing here is a step: rounding must not decide a pixel. Returns the
    light and the share put back.
    """
    floor = FLOOR * torch.exp2(-evs.amin(dim=1)).view(-1, 1, 1, 1)
    # The combination lies among the frames: what stays within the slack of it stays within theirs.
    touched = ((light - merged).abs_() > merged * HULL + floor).any(dim=1).flatten().nonzero()[:, 0]
    if not len(touched):
        return light, 0.0
    pixels, given = frames.flatten(3)[..., touched], light.flatten(2)[..., touched]  # (1, N, 3, K), (1, 3, K)
    middle = merged.flatten(2)[..., touched]
    say = torch.cat([torch.ones_like(say[:, :1]), say], dim=1).flatten(3)[..., touched]
    shown = torch.lerp(middle[:, None], pixels * torch.exp2(-evs)[..., None, None], say)  # (1, N, 3, K)
    below_clip = say * (pixels.amax(dim=2, keepdim=True) <= TAPER_END)
    floor = floor[..., 0]
    least, most = shown.amin(dim=1), torch.where(below_clip > 0, shown, -torch.inf).amax(dim=1).clamp(min=0)
    under = (least - given) / (least * HULL + floor)  # in slacks: beyond 1 no frame bears it out
    over = (given - most) / (most * HULL + floor) * below_clip.amax(dim=1)
    beyond = torch.maximum(under, over).amax(dim=1, keepdim=True) - 1
    believed = (1 - beyond / FADE).clamp(0, 1)
    kept = torch.lerp(middle, given, believed)
    out = light.flatten(2).index_copy(2, touched, kept).view_as(light)
    return out, float((believed < 0.5).sum()) / (light.shape[-2] * light.shape[-1])


def as_measured(light: Tensor, reference: Tensor) -> Tensor:
    """Where some channel of the reference clips, its others within what they measured, (1, 3, h, w) both.

    The merge leaves such a pixel whole to the other frames, and a ghost with it. Where nothing clips the reference is
    weighed there. Not for 8-bit files, in which a camera's colours and JPEG's chroma mix the channels; a RAW reads 1 in
    all channels where one clipped, and is left as it is.
    """
    beside = 1 - clip_taper(reference)
    where = beside.flatten().nonzero()[:, 0]
    if not len(where):
        return light
    answer, own, share = (x.flatten(2)[..., where] for x in (light, reference, beside))  # (1, 3, K), (1, 1, K)
    slack = noise_bound(own, LOOSE_NOISE)
    kept = torch.lerp(answer, answer.clamp(own - slack, own + slack), share * measured_share(own))
    return light.flatten(2).index_copy(2, where, kept).view_as(light)
