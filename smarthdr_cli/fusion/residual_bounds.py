"""Bounds on the network's residual: what the frames and the reference measured.

The network adds a residual to the convex merge of the frames. It counts only as far as some trusted frame bears it
out; where a channel of the reference is not clipped, the result stays within what it measured.
"""

import torch
from torch import Tensor

from smarthdr_cli.models.merge import LOOSE_NOISE, TAPER_END, clip_taper, measured_share, noise_bound

HULL = 0.25  # relative slack around what the frames show, beyond which the residual fades
FADE = 2.0  # slacks beyond it over which it fades to none
FLOOR = 0.002  # absolute slack, in units of the shortest frame's clip


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
