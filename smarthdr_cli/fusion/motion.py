"""The motion stage over a whole picture: every other frame against the reference, on cells, coarse to fine.

The picture is seen in cells of 4x4 pixels, a sixteenth of its area, so that whole levels fit in memory; the finest are
computed in bands that overlap by the receptive field of a level.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from smarthdr_cli.aligned_burst import AlignedBurst, Window
from smarthdr_cli.fusion.bleach import bleaches, unbleached
from smarthdr_cli.fusion.motion_refinement import CoarseMotion, FlowRefinement, refine_motion
from smarthdr_cli.fusion.reach import Light, Link, links
from smarthdr_cli.fusion.stillness import Likeness, settle_still
from smarthdr_cli.fusion.tiles import parallel_map
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
from smarthdr_cli.models.saf_layers import CELL, LEVEL_RADIUS, Motion, upsample
from smarthdr_cli.models.tensor_ops import box_mean, encode

F32 = NDArray[np.float32]
BAND_CELLS = 1 << 17  # cells at once, in whole rows: the cost volume holds some hundred floats for each
# Levels with more cells than this are not computed: a picture of more than 10 megapixels is not sharp at its own
# pixels, and what is left to find there is a fraction of a pixel of what was found at half its size.
MAX_LEVEL_CELLS = 625_000
CLIPPED_CODE = (
    0.9  # code of the brightest channel from which a cell of the reference shows nothing that could be matched
)
MAX_STATIC_FLOW = 0.17  # pixels along each axis: no vector of such is longer than what ``dead_zone`` takes for none


@dataclass(frozen=True)
class PairMotion:
    """What the motion stage says of one frame: ``flow`` (1, 2, h, w) in pixels at cells, ``logit``, ``hidden``;
    ``offset``, ``slack`` and ``likeness`` as ``stillness.settle_still`` gives them; ``fine``, what finer levels add
    to the flow; ``still`` (1, 1, h, w), how surely places stand still, as ``tripod.at_rest`` gives it."""

    flow: Tensor
    logit: Tensor
    hidden: Tensor
    offset: Tensor
    slack: Tensor
    likeness: Likeness
    fine: FlowRefinement | None = None
    still: Tensor | None = None

    def stands(self, window: Window) -> Tensor | None:
        """(1, 1, h, w) of a window's pixels, 0 to 1: how surely they stand still; None where the burst does not."""
        if self.still is None:
            return None
        cells = self.still[..., *cells_of(window)]
        return F.interpolate(cells, scale_factor=CELL, mode="bilinear", align_corners=False)

    def leniency(self, window: Window) -> tuple[Tensor, Tensor] | None:
        """Offset (1, 3, h, w) and slack (1, 1, h, w) of a window's pixels; None where there is neither."""
        offset, slack = self.offset[..., *cells_of(window)], self.slack[..., *cells_of(window)]
        if not bool(offset.any()) and float(slack.amax()) == 1:
            return None
        fine = F.interpolate(offset, scale_factor=CELL, mode="bilinear", align_corners=False)
        return fine, F.interpolate(slack, scale_factor=CELL, mode="nearest")

    def cut(self, window: Window) -> Motion:
        """The state of a window's cells, for ``SAF.verify``."""
        return Motion(*(x[..., *cells_of(window)] for x in (self.flow, self.logit, self.hidden)))

    def displacement(self, window: Window) -> F32 | None:
        """(h, w, 2) settled displacement in pixels of a window, or None where nothing moves."""
        top, left = window.top // CELL, window.left // CELL
        h, w = window.height // CELL, window.width // CELL
        height, width = self.flow.shape[-2:]
        y0, x0, y1, x1 = max(top - 1, 0), max(left - 1, 0), min(top + h + 1, height), min(left + w + 1, width)
        cells = self.flow[..., y0:y1, x0:x1]
        finer = None if self.fine is None else self.fine.within(window)
        if finer is None and float(cells.abs().amax()) < MAX_STATIC_FLOW:
            return None
        flow = F.interpolate(cells, scale_factor=CELL, mode="bilinear", align_corners=False)
        oy, ox = (top - y0) * CELL, (left - x0) * CELL
        flow = flow[..., oy : oy + window.height, ox : ox + window.width]
        settled = dead_zone(flow if finer is None else flow + finer)
        if (still := self.stands(window)) is not None:
            settled = settled * (1 - still)
        if not bool(settled.any()):
            return None
        return np.ascontiguousarray(settled[0].permute(1, 2, 0).cpu().numpy())


def cells_of(window: Window) -> tuple[slice, slice]:
    """Rows and columns of the cells that a window covers; it begins on whole ones."""
    rows, columns = -(-(window.top + window.height) // CELL), -(-(window.left + window.width) // CELL)
    return slice(window.top // CELL, rows), slice(window.left // CELL, columns)


def pyramid_depth(height: int, width: int) -> int:
    """How often (height, width) cells can be halved until the short side is 8 to 15."""
    count = 0
    while min(height, width) >> count >= 16:
        count += 1
    return count


def pad_for_pyramid(cells: F32, device: torch.device) -> Tensor:
    """(h, w, 3) cells as (1, 3, H, W), edges repeated up to a size that halves evenly."""
    image = torch.from_numpy(np.ascontiguousarray(cells.transpose(2, 0, 1)))[None].to(device)
    h, w = image.shape[-2:]
    unit = 1 << pyramid_depth(h, w)
    return F.pad(image, (0, -w % unit, 0, -h % unit), mode="replicate")


def pyramid_levels(finest: Tensor, count: int) -> list[Tensor]:
    """Coarse to fine, the last being ``finest``."""
    found = [finest]
    for _ in range(count):
        found.append(F.avg_pool2d(found[-1], 2))
    return found[::-1]


def estimate_motion(
    model: SAF,
    source: AlignedBurst,
    index: int,
    reference: Tensor,
    link: Link,
    light: Light | None = None,
    pairs: int = 1,
) -> PairMotion:
    """Motion and first trust of frame ``index``, one of ``pairs``, against the cells of the reference (1, 3, h, w) as
    ``pad_for_pyramid`` gives them, or, where ``link`` says so, against the ``light`` so far.
    """
    other = pad_for_pyramid(source.downsample(index, CELL), reference.device)
    chained = light is not None and link.anchor != 0
    ref = light.shown_to(other, link) if light is not None and chained else reference
    ev = ref.new_full((1,), link.apart)
    if link.apart > 0:
        other, ev = limit_ev(ref, other, ev)
    count = pyramid_depth(*(-(-side // CELL) for side in source.burst.size))
    state: Motion | None = None
    for level_ref, level_other in zip(pyramid_levels(ref, count), pyramid_levels(other, count), strict=True):
        h, w = level_ref.shape[-2:]
        if state is not None and h * w > MAX_LEVEL_CELLS:
            break
        state = upsample(state, 2) if state is not None else model.start(1, h, w, level_ref)
        state = motion_level_in_bands(model, level_ref, warp(level_other, state.flow), ev, state)
    assert state is not None
    missing = ref.shape[-1] // state.flow.shape[-1]
    if missing > 1:
        state = upsample(state, missing)
    seen = matchable(ref, ev) if not source.alignment.moved[index] else torch.ones_like(ref[:, :1])
    flow = state.flow * flow_helps(ref, other, state.flow, ev) * seen
    far = abs(link.apart) > MAX_TRAINED_EV or chained
    if far:
        flow = torch.zeros_like(flow)  # too little is seen in both to say where anything went
    keep, offset, slack, likeness = settle_still(ref, other, warp(other, flow), ev)
    keep = keep * seen
    held = flow * keep
    fine = None
    if not far:
        coarse = CoarseMotion(ref, warp(other, held), state, held * CELL, keep, offset, slack, ev, CELL * missing)
        fine = refine_motion(model, source, index, coarse, pairs)
    return PairMotion(held * CELL, state.logit, state.hidden, offset, slack, likeness, fine)


@torch.inference_mode()
def find_motions(
    model: SAF, source: AlignedBurst, indices: Sequence[int], evs: Tensor, reference: Tensor, at_once: int,
    on_progress: Callable[[float], None] = lambda _: None,
) -> dict[int, PairMotion]:  # fmt: skip
    """The motion of every other frame of ``indices``, the reference first, by its place there; ``evs`` (1, N).

    ``at_once`` of those that are compared with the reference; those beyond its reach follow one by one.
    """
    chain = links(evs)
    near, far = [link for link in chain if not link.anchor], [link for link in chain if link.anchor]
    motions: dict[int, PairMotion] = {}

    def motion(link: Link) -> PairMotion:
        return estimate_motion(model, source, indices[link.place], reference, link, light, len(chain))

    light: Light | None = None
    for link, found in zip(near, parallel_map(motion, near, at_once), strict=True):
        motions[link.place] = found
        on_progress(len(motions) / len(chain))
    waiting = near  # to be placed before the next
    for link in far:
        light = Light(reference) if light is None else light
        for one in waiting:
            add_to_light(light, source, indices[one.place], one, motions[one.place])
        motions[link.place], waiting = motion(link), [link]
        on_progress(len(motions) / len(chain))
    return motions


def add_to_light(light: Light, source: AlignedBurst, index: int, link: Link, motion: PairMotion) -> None:
    """Join frame ``index`` to the light on cells, as far as it bears it out through its ``motion``."""
    moved = warp(pad_for_pyramid(source.downsample(index, CELL), motion.flow.device), motion.flow / CELL)
    ev = moved.new_full((1,), link.apart)
    known, look = light.shown_to(moved, link), moved
    if not link.anchor and bleaches(source.burst):
        known, look = unbleached(known, look, ev)
    a, b, dark = common_exposure(known, look, ev)
    gap = normalised_difference(a, apply_tolerance(a, b, motion.offset, motion.slack), dark, ev)
    light.join(moved, link.ev, torch.exp(-gap.square()))


def matchable(ref: Tensor, ev: Tensor) -> Tensor:
    """(1, 1, h, w), 0 to 1: where the reference's cells (1, 3, h, w) show something that a darker frame can be matched
    with; 1 everywhere for a brighter one, ``ev`` (1,) above 0.

    What the network finds where the reference is clipped is continued from around it, by many pixels in a large sky. A
    frame that the alignment left where it was comes from a tripod, and there is no reason to believe it then; where the
    camera moved there is parallax, and it is the best there is.
    """
    if float(ev) > 0:
        return torch.ones_like(ref[:, :1])
    dim = (encode(ref).amax(dim=1, keepdim=True) < CLIPPED_CODE).to(ref.dtype)
    return (2 * box_mean(dim, 5)).clamp(max=1)


def motion_level_in_bands(model: SAF, ref: Tensor, moved: Tensor, ev: Tensor, state: Motion) -> Motion:
    """``SAF.motion_level`` in bands of rows; the same result as in one piece."""
    height, width = ref.shape[-2:]
    band = max(BAND_CELLS // width, 2 * LEVEL_RADIUS)
    if height <= band + 2 * LEVEL_RADIUS:
        return model.motion_level(ref, moved, ev, state)
    parts: list[Motion] = []
    for top in range(0, height, band):
        bottom = min(top + band, height)
        y0, y1 = max(0, top - LEVEL_RADIUS), min(height, bottom + LEVEL_RADIUS)
        cut = Motion(*(x[..., y0:y1, :] for x in (state.flow, state.logit, state.hidden)))
        done = model.motion_level(ref[..., y0:y1, :], moved[..., y0:y1, :], ev, cut)
        rows = slice(top - y0, bottom - y0)
        parts.append(Motion(*(x[..., rows, :] for x in (done.flow, done.logit, done.hidden))))
    return Motion(*(torch.cat([getattr(p, name) for p in parts], dim=-2) for name in ("flow", "logit", "hidden")))
