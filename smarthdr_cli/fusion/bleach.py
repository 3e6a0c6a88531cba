"""Where a camera bleaches its highlights, their hue says nothing.

Cameras take the colour out of a highlight as its brightest channel clips, so that it ends in white and not in yellow or
cyan. The channels that did not clip are lifted by that, and no curve of one channel undoes it: lit wood is white in a
long exposure, all codes above 250, and its blue is a quarter of that by what a shorter one shows. Taken at its word,
the white contradicts every frame that sees the wood.
"""

import numpy as np
import torch
from torch import Tensor

from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.models.merge import TAPER_END, TAPER_START, taper
from smarthdr_cli.models.pairwise import MAX_TRAINED_EV

# A channel c of a pixel whose brightest is x times the clip is lifted to c + w (1 - c). On a compact camera's stack
# w is 0.3 at x = 1.35, 0.7 to 0.8 at 6 to 7, 0.9 at 5.4: at most 1 - x ** -FALL.
FALL = 1.5
# Linear light added to a channel, up to which it is as well the noise of the darker frame, and from which it is not.
FAINT, PLAIN = 0.05, 0.15


def bleaches(burst: Burst) -> bool:
    """Whether its frames were developed by a camera: 8-bit files. A RAW clips in all channels at once."""
    return all(frame.codes.dtype == np.uint8 for frame in burst.frames)


def unbleached(ref: Tensor, other: Tensor, ev: Tensor) -> tuple[Tensor, Tensor]:
    """A pair of frames to be compared, the brighter without what bleaching may have added to its hue.

    ``ref``, ``other``: (1, 3, H, W) linear in their own units; ``ev``: (1,) of the other relative to the reference.
    Bleached: at its clip in the channel that is brightest, and beyond it, by what the darker frame shows. Where that is
    nowhere the tensors are returned as they are; so they are beyond FAR, where a darker frame shows its noise.
    """
    brighter, darker = (other, ref) if float(ev) > 0 else (ref, other)
    if abs(float(ev)) > MAX_TRAINED_EV:
        return ref, other
    gain = 2.0 ** abs(float(ev))
    clipped = (brighter.amax(dim=1) > TAPER_START) & (darker.amax(dim=1) * gain > 1)
    where = clipped.flatten().nonzero()[:, 0]
    if not len(where):
        return ref, other
    bright, lifted = brighter.flatten(2)[..., where], darker.flatten(2)[..., where] * gain  # (1, 3, K)
    over, channel = lifted.max(dim=1, keepdim=True)
    most = (1 - over.clamp(min=1).pow(-FALL)) * (1 - taper(bright.gather(1, channel), TAPER_START, TAPER_END))
    lifted = lifted.clamp(max=1)
    added = torch.minimum((bright - lifted).clamp(min=0), most * (1 - lifted))
    hued = bright - added * (1 - taper(added.amax(dim=1, keepdim=True), FAINT, PLAIN))
    mended = brighter.flatten(2).index_copy(2, where, hued).view_as(brighter)
    return (ref, mended) if float(ev) > 0 else (mended, other)
