"""Displacement to single pixels, in windows where the frame, displaced by the coarse motion, still differs.

Windows cover the cells in which the frame is distrusted (1 - trust of consistency.py, mean over 5x5 cells) and missed
by the merge, and some cells around, as blocks.py covers what is at odds. There OpenCV's dense inverse search (Kroeger
et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016) finds what is left, once more where that is much:

    f <- f + DIS(a, b through f),   a, b the grey codes of both frames at the exposure of the brighter (pairwise.py)

What a frame hides is not to be found, and the search goes far aside to what looks like it. But a place of a frame shows
one place of the scene: of those taken to the same one, only the best match keeps a large correction (the mapping
uniqueness of Xu et al., "Motion Detail Preserving Optical Flow Estimation", TPAMI 2012).

The search sees pixels, or means of 2x2 and more where the coarse cells are larger than 8 pixels. What is found replaces
the coarse displacement, fading around a window. It runs on the CPU, whatever the network's device, and is
deterministic.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from smarthdr_cli.aligned_burst import AlignedBurst, Window
from smarthdr_cli.fusion.blocks import BlockConfig, network_share, windows
from smarthdr_cli.fusion.tiles import around, cells_of, to_tensor
from smarthdr_cli.models.pairwise import common_exposure, flow_helps, grey, squared_difference
from smarthdr_cli.models.saf_layers import CELL, Motion, upsample

F32 = NDArray[np.float32]

MAX_SEARCHES = 2  # one after the other, from the displacement of the one before
MIN_MOVED_SHARE = 0.05  # of a window: where less has moved by a pixel, another search finds little more
SMOOTHNESS_WEIGHT = 8.0  # alpha of the search's variational refinement; OpenCV's presets have 20
MAX_FREE_CORRECTION = 12.0  # pixels of correction, above which a place must be the best match of what it is taken to
UNIQUENESS_MARGIN = 1e-3  # squared codes, by which the best may be better
CORRECTION_PENALTY = 1e-5  # squared codes for each pixel of correction
MIN_SIDE = 16  # of what the search sees; below it there is no pyramid


@dataclass(frozen=True)
class RefinementConfig:
    """``threshold``: mean of 1 - trust over 5x5 cells from which a place is refined. ``missed``: the same of how far
    the merge misses a frame there. ``ring``: cells around both. ``pixels``: of a burst that are refined at most,
    margins included. In pixels of what the search sees ``margin``: around a window, a multiple of CELL; ``largest``: a
    window's side.
    """

    threshold: float = 0.3
    missed: float = 0.06
    ring: int = 4
    margin: int = 16
    pixels: float = 2e6
    largest: int = 1024


DEFAULT_CONFIG = RefinementConfig()


@dataclass(frozen=True)
class FlowRefinement:
    """Added to the coarse displacement: for each of some windows that do not overlap, (2, h, w) float16 pixels."""

    parts: tuple[tuple[Window, NDArray[np.float16]], ...]

    def within(self, window: Window) -> F32 | None:
        """(2, h, w) in pixels for a window; None where it meets none of the refined ones."""
        flow: F32 | None = None
        for part, delta in self.parts:
            top, left = max(part.top, window.top), max(part.left, window.left)
            bottom = min(part.top + part.height, window.top + window.height)
            right = min(part.left + part.width, window.left + window.width)
            if top >= bottom or left >= right:
                continue
            if flow is None:
                flow = np.zeros((2, window.height, window.width), np.float32)
            source = delta[:, top - part.top : bottom - part.top, left - part.left : right - part.left]
            flow[:, top - window.top : bottom - window.top, left - window.left : right - window.left] = source
        return flow


@dataclass(frozen=True)
class CoarseMotion:
    """The coarse levels of one frame.

    ``state`` of the network at the last level, whose cells have ``side`` pixels; ``flow`` (1, 2, h, w) in pixels, on
    padded cells of CELL pixels: its displacement where the frame agrees better so, or does around what the reference
    clips; else 0.
    """

    state: Motion
    flow: Tensor
    side: int

    def state_in(self, window: Window) -> Motion:
        """The state of a window's cells of CELL pixels, its flow in such cells."""
        factor = self.side // CELL
        rows, columns = cells_of(window)
        (y0, y1), (x0, x1) = ((max(at.start // factor - 1, 0), -(-at.stop // factor) + 1) for at in (rows, columns))
        state = self.state
        part = upsample(Motion(*(x[..., y0:y1, x0:x1] for x in (state.flow, state.logit, state.hidden))), factor)
        top, left = rows.start - y0 * factor, columns.start - x0 * factor
        bottom, right = rows.stop - y0 * factor, columns.stop - x0 * factor
        return Motion(*(x[..., top:bottom, left:right] for x in (part.flow, part.logit, part.hidden)))


def refined_share(distrust: F32, missed: F32, config: RefinementConfig = DEFAULT_CONFIG) -> F32:
    """(h, w) cells: 1 where the displacement is refined, falling to 0 around."""
    places = ((distrust, config.threshold), (missed, config.missed))
    distrusted, needed = (
        network_share(cv2.blur(x, (5, 5)) > least, BlockConfig(ring=config.ring)) for x, least in places
    )
    return np.minimum(distrusted, needed)


def worst_windows(cores: Iterable[Window], distrust: F32, margin: int, max_pixels: float) -> list[Window]:
    """Of ``cores`` those with the most distrust, as many as take ``max_pixels`` with the ``margin`` around them."""
    chosen, pixels = [], 0
    for core in sorted(cores, key=lambda core: -float(distrust[cells_of(core)].mean())):
        pixels += (core.height + 2 * margin) * (core.width + 2 * margin)
        if pixels <= max_pixels:
            chosen.append(core)
    return chosen


def refine_motion(
    burst: AlignedBurst, index: int, coarse: CoarseMotion, ev: float, distrust: F32, missed: F32, pairs: int,
    config: RefinementConfig = DEFAULT_CONFIG,
) -> FlowRefinement | None:  # fmt: skip
    """Frame ``index``, one of ``pairs``, to single pixels; None where nothing differs or the picture is tiny.

    ``ev`` of the frame relative to the reference; in the image's cells (h, w) ``distrust``: 1 - trust, ``missed``: how
    far the merge misses the frames it does not trust. Independent of the tiles that are fused later.
    """
    size, step = burst.burst.size, max(coarse.side // (2 * CELL), 1)
    if min(size) < MIN_SIDE * step:
        return None
    share = refined_share(distrust, missed, config)
    margin = config.margin * step
    cores = windows(share, size, BlockConfig(context=margin), config.largest * step)
    parts = []
    for core in worst_windows(cores, distrust, margin, config.pixels / pairs):
        window = around(core, margin, size, max(CELL, step))
        flow = _dense_flow(burst, index, ev, window, coarse.state_in(window).flow, step)
        before = _resized_flow(coarse.flow[..., *cells_of(window)].cpu(), (window.height, window.width))
        part = np.s_[core.top - window.top :, core.left - window.left :]
        delta = (flow - before)[0].numpy()[:, *part][:, : core.height, : core.width]
        weight = cv2.resize(share[cells_of(core)], None, fx=CELL, fy=CELL, interpolation=cv2.INTER_NEAREST)
        parts.append((core, (delta * weight[: core.height, : core.width]).astype(np.float16)))
    return FlowRefinement(tuple(parts)) if parts else None


def _dense_flow(burst: AlignedBurst, index: int, ev: float, window: Window, start: Tensor, step: int) -> Tensor:
    """(1, 2, h, w) displacement in pixels. ``start``: that of the window's cells, in cells; ``step``: side of what the
    search sees as a pixel.
    """
    whole, size = (window.height, window.width), (window.height // step, window.width // step)
    exposure = torch.tensor([ev])

    def read(frame: int, flow: Tensor | None) -> Tensor:
        wide = None if flow is None else _resized_flow(flow, whole)[0].permute(1, 2, 0).contiguous().numpy() * step
        light = to_tensor(burst.read(frame, window, wide)[0])
        return light if step == 1 else F.avg_pool2d(light, step)

    coarse = flow = _resized_flow(start.cpu(), size) * (CELL / step)
    reference, still = read(burst.burst.reference, None), read(index, None)
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    search.setFinestScale(0)
    search.setVariationalRefinementAlpha(SMOOTHNESS_WEIGHT)
    for _ in range(MAX_SEARCHES):
        first, second = (grey(x)[0] for x in common_exposure(reference, read(index, flow), exposure)[:2])
        found = to_tensor(np.asarray(search.calc(first, second, np.zeros((*size, 2), np.float32)), np.float32))
        flow = flow + found
        if float((found.square().sum(dim=1) > 1).float().mean()) < MIN_MOVED_SHARE:
            break
    correction = (flow - coarse).square().sum(dim=1, keepdim=True).sqrt()
    if (far := correction > MAX_FREE_CORRECTION).any():
        difference = squared_difference(reference, read(index, flow), exposure) + CORRECTION_PENALTY * correction
        unique = torch.from_numpy(uniquely_mapped(difference[0, 0].numpy(), flow[0].numpy()))
        flow = torch.where(far & ~unique, coarse, flow)
    return _resized_flow(flow * flow_helps(reference, still, flow, exposure), whole) * step


def uniquely_mapped(difference: F32, flow: F32) -> NDArray[np.bool_]:
    """(h, w): False where ``flow`` (2, h, w) takes another place of a smaller ``difference`` (h, w), by more than
    UNIQUENESS_MARGIN, to the same pixel or one beside it.
    """
    height, width = difference.shape
    y, x = np.indices((height, width))
    rows = np.rint(y + flow[1]).clip(0, height - 1).astype(np.intp)
    columns = np.rint(x + flow[0]).clip(0, width - 1).astype(np.intp)
    least = np.full((height, width), np.inf, np.float32)
    np.minimum.at(least, (rows, columns), difference)
    around = cv2.erode(least, np.ones((3, 3), np.uint8))
    unique: NDArray[np.bool_] = difference <= around[rows, columns] + UNIQUENESS_MARGIN
    return unique


def _resized_flow(flow: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(flow.float(), size=size, mode="bilinear", align_corners=False)
