"""Motion over the whole image: every other frame against the reference, on cells of 4x4 pixels, coarse to fine.

The recurrent decoder of saf (models/saf.py) runs on a pyramid of cell means; whole levels fit in memory, the finest are
computed in bands of rows that overlap by the receptive field. The displacement of a pixel is

    dead_zone(up(flow on cells) + refinement) (1 - static)

with ``refinement`` of the blocks that need finer levels (motion_refinement.py) and ``static`` the confidence that the
burst is static there. Frames further than MAX_TRAINED_EV from the reference get no displacement.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from smarthdr_cli.aligned_burst import AlignedBurst, Window
from smarthdr_cli.fusion.bleach import bleaches, unbleached
from smarthdr_cli.fusion.motion_refinement import (
    DEFAULT_CONFIG,
    CoarseMotion,
    FlowRefinement,
    RefinementConfig,
    refine_motion,
)
from smarthdr_cli.fusion.reach import Light, Link, links
from smarthdr_cli.fusion.stillness import Likeness, Settled, settle_still
from smarthdr_cli.fusion.tiles import parallel_map, to_tensor
from smarthdr_cli.models.pairwise import (
    MAX_TRAINED_EV,
    apply_tolerance,
    common_exposure,
    dead_zone,
    flow_helps,
    limit_ev,
    normalised_difference,
    warp,
)
from smarthdr_cli.models.saf import SAF
from smarthdr_cli.models.saf_layers import CELL, COARSEST_SIDE, LEVEL_RADIUS, Motion, upsample
from smarthdr_cli.models.tensor_ops import box_mean, encode

F32 = NDArray[np.float32]
BAND_CELLS = 1 << 17  # cells of a band, in whole rows: the cost volume holds some hundred floats for each
# Levels with more cells are not computed: an image of more than 10 megapixels is not sharp at its own pixels, and what
# is left to find there is a fraction of a pixel of what was found at half its size.
MAX_LEVEL_CELLS = 625_000
CLIPPED_CODE = 0.9  # of the brightest channel, from which a cell of the reference cannot be matched
MAX_STATIC_FLOW = 0.17  # pixels along each axis: every such vector lies in the dead zone


@dataclass(frozen=True)
class PairMotion:
    """Motion of one frame, (1, C, h, w) on cells.

    ``flow`` (C = 2) in pixels, ``logit`` (1) and ``hidden`` of the network; ``offset`` (3), ``slack`` (1) and
    ``likeness`` as ``stillness.settle_still`` gives them. ``refinement``: added to the flow. ``static``: (1) confidence
    that a place is static, as ``tripod.at_rest`` gives it.
    """

    flow: Tensor
    logit: Tensor
    hidden: Tensor
    offset: Tensor
    slack: Tensor
    likeness: Likeness
    refinement: FlowRefinement | None = None
    static: Tensor | None = None

    def static_in(self, window: Window) -> Tensor | None:
        """(1, 1, h, w) confidence that the pixels of a window are static; None where the burst is not."""
        if self.static is None:
            return None
        cells = self.static[..., *cells_of(window)]
        return F.interpolate(cells, scale_factor=CELL, mode="bilinear", align_corners=False)

    def tolerance_in(self, window: Window) -> tuple[Tensor, Tensor] | None:
        """Offset (1, 3, h, w) and slack (1, 1, h, w) of the pixels of a window; None where they change nothing."""
        offset, slack = self.offset[..., *cells_of(window)], self.slack[..., *cells_of(window)]
        if not bool(offset.any()) and float(slack.amax()) == 1:
            return None
        offset = F.interpolate(offset, scale_factor=CELL, mode="bilinear", align_corners=False)
        return offset, F.interpolate(slack, scale_factor=CELL, mode="nearest")

    def state_in(self, window: Window) -> Motion:
        """The state on the cells of a window, for ``SAF.verify``."""
        return Motion(*(x[..., *cells_of(window)] for x in (self.flow, self.logit, self.hidden)))

    def displacement(self, window: Window) -> F32 | None:
        """(h, w, 2) displacement (x, y) of the pixels of a window; None where it is 0 everywhere."""
        top, left = window.top // CELL, window.left // CELL
        h, w = window.height // CELL, window.width // CELL
        height, width = self.flow.shape[-2:]
        y0, x0, y1, x1 = max(top - 1, 0), max(left - 1, 0), min(top + h + 1, height), min(left + w + 1, width)
        cells = self.flow[..., y0:y1, x0:x1]
        refinement = None if self.refinement is None else self.refinement.within(window)
        if refinement is None and float(cells.abs().amax()) < MAX_STATIC_FLOW:
            return None
        flow = F.interpolate(cells, scale_factor=CELL, mode="bilinear", align_corners=False)
        oy, ox = (top - y0) * CELL, (left - x0) * CELL
        flow = flow[..., oy : oy + window.height, ox : ox + window.width]
        flow = dead_zone(flow if refinement is None else flow + refinement)
        if (static := self.static_in(window)) is not None:
            flow = flow * (1 - static)
        if not bool(flow.any()):
            return None
        return np.ascontiguousarray(flow[0].permute(1, 2, 0).cpu().numpy())


def cells_of(window: Window) -> tuple[slice, slice]:
    """Rows and columns of the cells that a window covers; it begins on whole ones."""
    rows, columns = -(-(window.top + window.height) // CELL), -(-(window.left + window.width) // CELL)
    return slice(window.top // CELL, rows), slice(window.left // CELL, columns)


def pyramid_depth(height: int, width: int) -> int:
    """How often (height, width) cells can be halved until the short side is 8 to 15."""
    count = 0
    while min(height, width) >> count >= COARSEST_SIDE:
        count += 1
    return count


def pad_for_pyramid(cells: F32, device: torch.device) -> Tensor:
    """(h, w, 3) cells to (1, 3, H, W), edges repeated up to a size that halves evenly."""
    image = to_tensor(cells).to(device)
    h, w = image.shape[-2:]
    unit = 1 << pyramid_depth(h, w)
    return F.pad(image, (0, -w % unit, 0, -h % unit), mode="replicate")


def pyramid_levels(finest: Tensor, count: int) -> list[Tensor]:
    """``count`` halvings of ``finest``, coarse to fine, and itself."""
    levels = [finest]
    for _ in range(count):
        levels.append(F.avg_pool2d(levels[-1], 2))
    return levels[::-1]


@torch.inference_mode()
def find_motions(
    model: SAF, burst: AlignedBurst, indices: Sequence[int], evs: Tensor, reference: Tensor, parallel: int,
    on_progress: Callable[[float], None] = lambda _share: None, *, corrected: bool = True,
) -> dict[int, PairMotion]:  # fmt: skip
    """The motion of every other frame, by its position in ``indices`` (the reference first); ``evs`` (1, N).

    ``reference``: its cells as ``pad_for_pyramid`` gives them. ``parallel``: frames at a time, of those that are
    compared with the reference; frames beyond its range follow one by one. ``corrected``: see ``estimate_motion``.
    """
    chain = links(evs)
    near, far = [link for link in chain if not link.anchor], [link for link in chain if link.anchor]
    motions: dict[int, PairMotion] = {}
    estimate = partial(_estimate_link, model, burst, indices, reference, len(chain), corrected, None)
    for link, motion in zip(near, parallel_map(estimate, near, parallel), strict=True):
        motions[link.place] = motion
        on_progress(len(motions) / len(chain))
    merge_so_far = Light(reference) if far else None
    pending = near  # to be merged before the next frame is compared
    for link in far:
        assert merge_so_far is not None
        for merged_link in pending:
            add_to_merge(merge_so_far, burst, indices[merged_link.place], merged_link, motions[merged_link.place])
        motions[link.place] = _estimate_link(
            model, burst, indices, reference, len(chain), corrected, merge_so_far, link
        )
        pending = [link]
        on_progress(len(motions) / len(chain))
    return motions


def _estimate_link(
    model: SAF, burst: AlignedBurst, indices: Sequence[int], reference: Tensor, pairs: int, corrected: bool,
    merge_so_far: Light | None, link: Link,
) -> PairMotion:  # fmt: skip
    return estimate_motion(model, burst, indices[link.place], reference, link, merge_so_far, pairs, corrected=corrected)


def estimate_motion(
    model: SAF, burst: AlignedBurst, index: int, reference: Tensor, link: Link, merge_so_far: Light | None = None,
    pairs: int = 1, *, corrected: bool = True, refinement: RefinementConfig = DEFAULT_CONFIG,
) -> PairMotion:  # fmt: skip
    """Motion and trust of frame ``index``, one of ``pairs``, against the cells of the reference (1, 3, h, w).

    Where ``link`` has an anchor, against the merge so far. ``corrected``: False leaves out what the texture says about
    static places.
    """
    other = pad_for_pyramid(burst.downsample(index, CELL), reference.device)
    chained = merge_so_far is not None and link.anchor != 0
    ref = merge_so_far.shown_to(other, link) if merge_so_far is not None and chained else reference
    ev = ref.new_full((1,), link.apart)
    if link.apart > 0:
        other, ev = limit_ev(ref, other, ev)
    depth = pyramid_depth(*(-(-side // CELL) for side in burst.burst.size))
    state: Motion | None = None
    for level_ref, level_other in zip(pyramid_levels(ref, depth), pyramid_levels(other, depth), strict=True):
        h, w = level_ref.shape[-2:]
        if state is not None and h * w > MAX_LEVEL_CELLS:
            break
        state = upsample(state, 2) if state is not None else model.start(1, h, w, level_ref)
        state = motion_level_in_bands(model, level_ref, warp(level_other, state.flow), ev, state)
    assert state is not None
    skipped = ref.shape[-1] // state.flow.shape[-1]
    if skipped > 1:
        state = upsample(state, skipped)
    can_match = matchable(ref, ev) if not burst.alignment.moved[index] else torch.ones_like(ref[:, :1])
    flow = state.flow * flow_helps(ref, other, state.flow, ev) * can_match
    far = abs(link.apart) > MAX_TRAINED_EV or chained
    if far:
        flow = torch.zeros_like(flow)  # the frames share too little for a displacement
    keep, offset, slack, likeness = _settled(ref, other, warp(other, flow), ev, corrected)
    keep = keep * can_match
    flow = flow * keep
    finer = None
    if not far:
        coarse = CoarseMotion(ref, warp(other, flow), state, flow * CELL, keep, offset, slack, ev, CELL * skipped)
        finer = refine_motion(model, burst, index, coarse, pairs, refinement)
    return PairMotion(flow * CELL, state.logit, state.hidden, offset, slack, likeness, finer)


def _settled(ref: Tensor, other: Tensor, moved: Tensor, ev: Tensor, corrected: bool) -> Settled:
    """``settle_still``, or its result where it finds nothing."""
    if corrected:
        return settle_still(ref, other, moved, ev)
    ones = torch.ones_like(ref[:, :1])
    return Settled(ones, torch.zeros_like(ref), ones, Likeness(None, torch.zeros(3)))


def add_to_merge(merge_so_far: Light, burst: AlignedBurst, index: int, link: Link, motion: PairMotion) -> None:
    """Add frame ``index``, warped by its ``motion``, on cells, weighted by how well it agrees with the merge."""
    moved = warp(pad_for_pyramid(burst.downsample(index, CELL), motion.flow.device), motion.flow / CELL)
    ev = moved.new_full((1,), link.apart)
    target, compared = merge_so_far.shown_to(moved, link), moved
    if not link.anchor and bleaches(burst.burst):
        target, compared = unbleached(target, compared, ev)
    a, b, dark = common_exposure(target, compared, ev)
    difference = normalised_difference(a, apply_tolerance(a, b, motion.offset, motion.slack), dark, ev)
    merge_so_far.join(moved, link.ev, torch.exp(-difference.square()))


def matchable(ref: Tensor, ev: Tensor) -> Tensor:
    """(1, 1, h, w), 0 to 1: where cells of the reference (1, 3, h, w) can be matched with a darker frame.

    1 everywhere for a brighter frame, ``ev`` (1,) above 0. Where the reference clips, the network extrapolates the
    displacement around it, by many pixels in a large sky. That is wrong for a frame that the alignment left in place (a
    tripod); where the camera moved, parallax makes it the best estimate there is.
    """
    if float(ev) > 0:
        return torch.ones_like(ref[:, :1])
    unclipped = (encode(ref).amax(dim=1, keepdim=True) < CLIPPED_CODE).to(ref.dtype)
    return (2 * box_mean(unclipped, 5)).clamp(max=1)


def motion_level_in_bands(
    model: SAF, ref: Tensor, moved: Tensor, ev: Tensor, state: Motion, band_cells: int = BAND_CELLS
) -> Motion:
    """``SAF.motion_level`` in bands of about ``band_cells``; the same result as in one piece."""
    height, width = ref.shape[-2:]
    rows_per_band = max(band_cells // width, 2 * LEVEL_RADIUS)
    if height <= rows_per_band + 2 * LEVEL_RADIUS:
        return model.motion_level(ref, moved, ev, state)
    bands: list[Motion] = []
    for top in range(0, height, rows_per_band):
        bottom = min(top + rows_per_band, height)
        y0, y1 = max(0, top - LEVEL_RADIUS), min(height, bottom + LEVEL_RADIUS)
        band_state = Motion(*(x[..., y0:y1, :] for x in (state.flow, state.logit, state.hidden)))
        band = model.motion_level(ref[..., y0:y1, :], moved[..., y0:y1, :], ev, band_state)
        rows = slice(top - y0, bottom - y0)
        bands.append(Motion(*(x[..., rows, :] for x in (band.flow, band.logit, band.hidden))))
    return Motion(*(torch.cat([getattr(band, name) for band in bands], dim=-2) for name in ("flow", "logit", "hidden")))
