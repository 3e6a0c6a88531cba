"""Bounds on the network's residual: what the frames and the reference measured.

The network adds a residual to the convex merge of the frames. It counts only as far as some trusted frame shows such
light; where a channel of the reference is not clipped, the result stays within what it measured.
"""

import torch
from torch import Tensor

from smarthdr_cli.models.merge import LOOSE_NOISE, TAPER_END, clip_taper, measured_share, noise_bound

SLACK = 0.25  # of the light that the frames show, by which a result may lie beyond it
ABSOLUTE_SLACK = 0.002  # added to it, in units of the shortest frame's clip
FADE = 2.0  # slacks beyond that, over which the residual fades to none


def limit_residual(light: Tensor, merged: Tensor, frames: Tensor, shown: Tensor, evs: Tensor) -> tuple[Tensor, float]:
    """``light``, faded to the convex merge ``merged`` where it is more than the slack beyond every frame, and the share
    of the pixels where it was.

    Of one burst (B = 1). ``frames`` (1, N, 3, H, W), ``evs`` (1, N). ``shown`` (1, N-1, 1, H, W), 0 to 1: how far the
    light of each other frame counts. Frames at their clip bound from below only. No bound is a step, so that rounding
    does not decide a pixel.
    """
    absolute = ABSOLUTE_SLACK * torch.exp2(-evs.amin(dim=1)).view(-1, 1, 1, 1)
    # The merge lies among the frames: what stays within its slack stays within theirs.
    changed = ((light - merged).abs_() > merged * SLACK + absolute).any(dim=1).flatten().nonzero()[:, 0]
    if not len(changed):
        return light, 0.0
    pixels, result = frames.flatten(3)[..., changed], light.flatten(2)[..., changed]  # (1, N, 3, K), (1, 3, K)
    merge = merged.flatten(2)[..., changed]
    share = torch.cat([torch.ones_like(shown[:, :1]), shown], dim=1).flatten(3)[..., changed]
    radiance = torch.lerp(merge[:, None], pixels * torch.exp2(-evs)[..., None, None], share)  # (1, N, 3, K)
    below_clip = share * (pixels.amax(dim=2, keepdim=True) <= TAPER_END)
    absolute = absolute[..., 0]
    lowest = radiance.amin(dim=1)
    highest = torch.where(below_clip > 0, radiance, -torch.inf).amax(dim=1).clamp(min=0)
    under = (lowest - result) / (lowest * SLACK + absolute)
    over = (result - highest) / (highest * SLACK + absolute) * below_clip.amax(dim=1)
    excess = torch.maximum(under, over).amax(dim=1, keepdim=True) - 1
    kept_share = (1 - excess / FADE).clamp(0, 1)
    limited = light.flatten(2).index_copy(2, changed, torch.lerp(merge, result, kept_share)).view_as(light)
    return limited, float((kept_share < 0.5).sum()) / (light.shape[-2] * light.shape[-1])


def clamp_beside_clip(light: Tensor, reference: Tensor) -> Tensor:
    """``light`` with the unclipped channels of pixels of which some channel clips in the reference held to what the
    reference measured there; both (1, 3, H, W).

    The merge leaves such a pixel whole to the other frames, and a ghost with it. Not for 8-bit files, in which a
    camera's colours and JPEG's chroma mix the channels; a RAW reads 1 in all channels where one clips, and is left as
    it is.
    """
    clipped_share = 1 - clip_taper(reference)
    clipped = clipped_share.flatten().nonzero()[:, 0]
    if not len(clipped):
        return light
    result, measured, share = (x.flatten(2)[..., clipped] for x in (light, reference, clipped_share))
    slack = noise_bound(measured, LOOSE_NOISE)
    held = torch.lerp(result, result.clamp(measured - slack, measured + slack), share * measured_share(measured))
    return light.flatten(2).index_copy(2, clipped, held).view_as(light)
