"""Coarse optical flow over the whole picture: every near frame against the reference, on cells, coarse to fine.

The network looks at means over cells of 4x4 pixels, a sixteenth of the picture. Its displacement is taken where the
frame then passes the test of consistency.py better than as aligned, so a wrong one is refused like any other
disagreement. Single pixels are followed only where frames still differ (motion_refinement.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from smarthdr_cli.aligned_burst import AlignedBurst, Window
from smarthdr_cli.fusion.burst_model import MAX_PAIR_EV, BurstModel, moved_cells, valid_cells
from smarthdr_cli.fusion.consistency import PairModel, cell_trust, frame_noise, to_planes
from smarthdr_cli.fusion.motion_refinement import (
    DEFAULT_CONFIG,
    CoarseMotion,
    FlowRefinement,
    RefinementConfig,
    refine_motion,
)
from smarthdr_cli.fusion.pixel_functions import pixel_functions
from smarthdr_cli.fusion.pixel_kernel import TAU, WHITE_NONE
from smarthdr_cli.fusion.tiles import parallel_map, to_tensor
from smarthdr_cli.models.merge import TAPER_END, TAPER_START
from smarthdr_cli.models.pairwise import DEAD_ZONE, common_exposure, warp
from smarthdr_cli.models.saf import SAF
from smarthdr_cli.models.saf_layers import CELL, COARSEST_SIDE, Motion, upsample
from smarthdr_cli.models.tensor_ops import box_mean, enlarge
from smarthdr_cli.radiometry import channel_max

F32 = NDArray[np.float32]

MAX_LEVEL_CELLS = 160_000  # the cost volume holds some hundred floats for each
MIN_FLOW = 0.17  # px along each axis: no vector of such is longer than the dead zone
SURROUNDINGS = 31  # cells around a place where the reference clips, more than half of which must move
MISSED_ERROR = 0.01  # in the mu-law domain, from which a frame that is not trusted is missed
MAX_LOSS = 0.02  # of trust, by which a displacement may agree worse


@dataclass(frozen=True)
class PairMotion:
    """What is known of the motion of one frame: the ``coarse`` levels of the network, and what single pixels add."""

    coarse: CoarseMotion
    refinement: FlowRefinement | None = None

    def cells(self, rows: int, columns: int) -> F32:
        """(rows, columns, 2) displacement in pixels of the picture's cells."""
        return np.ascontiguousarray(self.coarse.flow[0, :, :rows, :columns].permute(1, 2, 0).cpu().numpy())

    def displacement(self, window: Window) -> F32 | None:
        """(h, w, 2) displacement in pixels of a window, or None where nothing moves."""
        top, left = window.top // CELL, window.left // CELL
        h, w = window.height // CELL, window.width // CELL
        height, width = self.coarse.flow.shape[-2:]
        y0, x0, y1, x1 = max(top - 1, 0), max(left - 1, 0), min(top + h + 1, height), min(left + w + 1, width)
        cells = self.coarse.flow[..., y0:y1, x0:x1]
        finer = None if self.refinement is None else self.refinement.within(window)
        if finer is None:
            if float(cells.abs().amax()) < MIN_FLOW:
                return None
            finer = np.empty((2, 0, 0), np.float32)
        oy, ox = (top - y0) * CELL, (left - x0) * CELL
        out = np.empty((2, window.height, window.width), np.float32)
        flow = np.ascontiguousarray(cells[0].float().cpu().numpy())
        if not pixel_functions().displacement(flow, finer, oy, ox, *(np.float32(x) for x in DEAD_ZONE), out):
            return None
        return out.transpose(1, 2, 0)


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
def coarse_motions(
    network: SAF, cells: Mapping[int, F32], order: Sequence[int], evs: NDArray[np.floating], device: torch.device,
    at_once: int, on_progress: Callable[[float], None] = lambda _: None,
) -> dict[int, CoarseMotion]:  # fmt: skip
    """The coarse flow of every frame within MAX_PAIR_EV of the reference, by its place in ``order``, the reference
    first.

    ``cells``: (h, w, 3) means over CELL pixels by frame; ``evs`` by frame, relative to the reference.
    """
    near = [n for n in range(1, len(order)) if abs(float(evs[order[n]])) <= MAX_PAIR_EV]
    reference = pad_for_pyramid(cells[order[0]], device)

    def motion(place: int) -> CoarseMotion:
        frame = order[place]
        return coarse_motion(network, cells[order[0]], cells[frame], reference, float(evs[frame]))

    motions: dict[int, CoarseMotion] = {}
    for place, found in zip(near, parallel_map(motion, near, at_once), strict=True):
        motions[place] = found
        on_progress(len(motions) / len(near))
    return motions


def coarse_motion(network: SAF, ref: F32, other: F32, reference: Tensor, ev_of_other: float) -> CoarseMotion:
    """Coarse to fine over the picture; ``reference``: ``ref`` padded, (1, 3, h, w)."""
    moving, ev = pad_for_pyramid(other, reference.device), reference.new_full((1,), ev_of_other)
    count = pyramid_depth(*ref.shape[:2])
    state: Motion | None = None
    for level_ref, level_other in zip(pyramid_levels(reference, count), pyramid_levels(moving, count), strict=True):
        h, w = level_ref.shape[-2:]
        if state is not None and h * w > MAX_LEVEL_CELLS:
            break
        state = upsample(state, 2) if state is not None else network.start(1, h, w, level_ref)
        state = network.motion_level(level_ref, warp(level_other, state.flow), ev, state)
    assert state is not None
    factor = reference.shape[-1] // state.flow.shape[-1]
    flow = enlarge(state.flow, factor) * factor
    a, moved, _ = common_exposure(reference, warp(moving, flow), ev)
    _, still, _ = common_exposure(reference, moving, ev)
    through, without = (structure_difference(a, b) for b in (moved, still))
    better = (through < 0.9 * without).to(through)
    seen = (reference.amax(dim=1, keepdim=True) < TAPER_END).to(through)
    around = box_mean(better * seen, SURROUNDINGS) > 0.5 * box_mean(seen, SURROUNDINGS)
    helps = torch.where(seen > 0, better > 0, around)  # where the reference clips, nothing there could agree better
    helps &= flow.abs().amax(dim=1, keepdim=True) * CELL >= MIN_FLOW
    return CoarseMotion(state, flow * helps * CELL, CELL * factor)


def structure_difference(a: Tensor, b: Tensor) -> Tensor:
    """(1, 1, h, w) variance of the difference of two pictures in windows of 5x5: blind to an offset of light."""
    difference = (a - b).mean(dim=1, keepdim=True)
    mean = box_mean(difference, 5)
    return (box_mean(difference.square(), 5) - mean.square()).clamp(min=0)


@torch.inference_mode()
def find_motions(
    source: AlignedBurst, model: BurstModel, coarse: Mapping[int, CoarseMotion], at_once: int,
    refinement: RefinementConfig = DEFAULT_CONFIG,
) -> dict[int, PairMotion]:  # fmt: skip
    """Coarse motions where the test agrees with them, to single pixels where a frame that still differs is missed."""

    def kept(position: int) -> tuple[CoarseMotion, F32]:
        pair, whole = model.pairs[position - 1], coarse[position]
        helps, trust = flow_helps(model, pair, whole.flow / CELL)
        # Beyond its border a frame has nothing to show.
        return replace(whole, flow=whole.flow * helps), np.where(valid_cells(source, pair.other), trust, 1)

    trusted = dict(zip(coarse, parallel_map(kept, coarse, at_once), strict=True))
    missed = missed_cells(source, model, trusted)

    def motion(position: int) -> PairMotion:
        pair, (whole, trust) = model.pairs[position - 1], trusted[position]
        ev = float(np.log2(pair.ratio))
        finer = refine_motion(source, pair.other, whole, ev, 1 - trust, missed, len(coarse), refinement)
        return PairMotion(whole, finer)

    return dict(zip(coarse, parallel_map(motion, coarse, at_once), strict=True))


def missed_cells(source: AlignedBurst, model: BurstModel, trusted: Mapping[int, tuple[CoarseMotion, F32]]) -> F32:
    """(h, w) from 0 to 1: how far the merge of the cells misses what it does not trust, or where the reference clips.

    ``trusted``: motion and trust (h, w) of the frames near the reference, by position in the order.
    """
    positions = [0, *trusted]
    rows, columns = model.cells[model.order[0]].shape[:2]
    frames = np.empty((len(positions), 3, rows, columns), np.float32)
    trust, place, variance = np.ones((3, len(positions), rows, columns), np.float32)
    for k, n in enumerate(positions):
        index = model.order[n]
        cells = model.cells[index]
        if n:
            motion, trust[k] = trusted[n]
            place[k] = np.where(valid_cells(source, index), 1, -1)
            cells = moved_cells(cells, PairMotion(motion).cells(rows, columns) / np.float32(CELL))
        frames[k] = to_planes(cells)
        whole = to_planes(np.pad(cells, ((0, -rows % CELL), (0, -columns % CELL), (0, 0)), "edge"))
        noise = frame_noise(whole, model.noise.frames[index], model.eight_bit[n])
        variance[k] = noise[:, :rows, :columns].mean(0) * (TAU / MISSED_ERROR / model.exposures[n]) ** 2
    light = np.empty((rows, columns, 3), np.float32)
    sigma, lost, clipped = np.empty((3, rows, columns), np.float32)
    pixel_functions().merge(
        frames, model.exposures[positions], trust, place, variance, WHITE_NONE, model.curve_error,
        light, sigma, lost, clipped,
    )  # fmt: skip
    return np.maximum(lost, channel_max(model.cells[model.order[0]]) > TAPER_START)


def flow_helps(model: BurstModel, pair: PairModel, flow: Tensor) -> tuple[Tensor, F32]:
    """1 where the frame through ``flow`` (1, 2, h, w) in cells agrees no worse than as aligned, else 0, (1, 1, h, w) on
    padded cells; and the better trust of both, (rows, columns).
    """
    ref, other = model.cells[pair.ref], model.cells[pair.other]
    rows, columns = ref.shape[:2]
    field = np.ascontiguousarray(flow[0, :, :rows, :columns].permute(1, 2, 0).cpu().numpy())
    position = model.order.index(pair.other)
    errors = model.shoulder(position), model.white_of_brighter(position)
    still = cell_trust(ref, other, pair, model.noise.frames, *errors)
    if not field.any():
        return torch.ones_like(flow[:, :1]), still
    through = cell_trust(ref, moved_cells(other, field), pair, model.noise.frames, *errors)
    smooth = [cv2.GaussianBlur(trust, (5, 5), 0.8) for trust in (still, through)]
    helps = smooth[1] > smooth[0] - MAX_LOSS
    pad = (0, flow.shape[-1] - columns, 0, flow.shape[-2] - rows)
    padded = F.pad(torch.from_numpy(helps.astype(np.float32))[None, None], pad, mode="replicate")
    return padded.to(flow.device), np.where(helps, through, still)
