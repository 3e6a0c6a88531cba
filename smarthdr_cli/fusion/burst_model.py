"""What is fitted once per burst: its noise, and how each frame may differ from the one it is compared with.

A frame is compared with the reference. One that is more than MAX_PAIR_EV away sees little of the same light: it is
compared with its neighbour in exposure towards the reference, and trusted no more than that neighbour.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from smarthdr_cli.aligned_burst import AlignedBurst, Window
from smarthdr_cli.fusion.consistency import (
    SHOULDER,
    PairModel,
    corrected_samples,
    fit_pair,
    frame_noise,
    from_planes,
    to_planes,
    whitening,
)
from smarthdr_cli.fusion.noise_model import NoiseModel, fit_noise
from smarthdr_cli.fusion.pixel_kernel import CELL
from smarthdr_cli.fusion.samples import Displacement, draw
from smarthdr_cli.fusion.tiles import parallel_map, worker_count

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

MAX_PAIR_EV = 4.5  # EV between the two frames of a pair


@dataclass(frozen=True)
class BurstModel:
    """Noise, and the pair of every other frame.

    ``order``: frames, the reference first, then by distance in exposure; ``exposures``: t of each. ``pairs``: of
    ``order[1:]``; ``anchors``: position in ``order`` of the frame that each of them is compared with. ``cells``: (h, w,
    3) means over CELL pixels of every frame, the others under the photometric grid. ``curve_error``: relative error of
    light under the response. ``white``: of ``order``, see ``whitening``.
    """

    noise: NoiseModel
    order: tuple[int, ...]
    exposures: F32
    pairs: tuple[PairModel, ...]
    anchors: tuple[int, ...]
    eight_bit: tuple[bool, ...]
    cells: dict[int, F32]
    curve_error: np.float32
    white: tuple[int, ...]

    def white_of_brighter(self, position: int) -> int:
        """``whitening`` of the brighter of a frame, at its ``position`` in the order, and that it is compared with."""
        return self.white[position if self.pairs[position - 1].ratio > 1 else self.anchors[position - 1]]

    def shoulder(self, position: int) -> float:
        """What is added to the relative model error towards the clip, for a frame at its ``position`` in the order."""
        anchor = self.anchors[position - 1]
        return SHOULDER if self.eight_bit[anchor] or self.eight_bit[position] else 0.0


def frame_order(evs: NDArray[np.floating], reference: int) -> tuple[int, ...]:
    """Frames by rising distance of exposure from the reference, which comes first."""
    others = sorted((i for i in range(len(evs)) if i != reference), key=lambda i: abs(float(evs[i])))
    return (reference, *others)


def anchor_positions(evs: Sequence[float]) -> tuple[int, ...]:
    """For the frames of an order after the first, the position of the frame that each is compared with.

    >>> anchor_positions([0, -2, 3, -5, 6, -8])
    (0, 0, 1, 2, 3)
    """
    anchors = []
    for position, ev in enumerate(evs[1:], start=1):
        between = [k for k in range(1, position) if evs[k] * ev > 0 and abs(evs[k]) < abs(ev)]
        far = abs(ev) > MAX_PAIR_EV and between
        anchors.append(max(between, key=lambda k: abs(evs[k])) if far else 0)
    return tuple(anchors)


def fit_burst(
    source: AlignedBurst, order: Sequence[int], cells: Mapping[int, F32], flows: Mapping[int, F32],
    displacement: Displacement = lambda _index, _window: None,
) -> BurstModel:  # fmt: skip
    """Draw the samples once and fit everything from them.

    ``order``: as ``frame_order``. ``cells``: (h, w, 3) means over CELL pixels by frame; ``flows``: (h, w, 2)
    displacement in pixels of their cells, where there is one; ``displacement``: the same for the pixels of a window.
    """
    burst = source.burst
    samples = draw(source, displacement)
    noise = fit_noise(source, samples)
    eight_bit = tuple(burst.frames[i].codes.dtype == np.uint8 for i in order)
    seen = {i: valid_cells(source, i) for i in order}
    variance = {
        i: from_planes(frame_noise(to_planes(samples.light[i]), noise.frames[i], flag))
        for i, flag in zip(order, eight_bit, strict=True)
    }
    evs = [float(burst.evs[i]) for i in order]
    anchors = anchor_positions(evs)
    first = order[0]
    pairs: dict[int, PairModel] = {}
    corrected, light = {first: cells[first]}, {first: samples.light[first]}
    moved = {i: moved_cells(cells[i], flows[i] / np.float32(CELL)) if i in flows else cells[i] for i in order}

    def fitted(n: int) -> tuple[PairModel, F32, F32, F32]:
        i, j, ratio = order[n], order[anchors[n - 1]], 2.0 ** (evs[n] - evs[anchors[n - 1]])
        pair = fit_pair(samples, light[j], moved, seen, noise.frames, variance, j, i, ratio, burst.size)
        own = corrected_samples(samples, i, pair.grid, ratio, burst.size)
        return pair, corrected_cells(cells[i], pair), own, corrected_cells(moved[i], pair)

    near = [n for n, anchor in enumerate(anchors, start=1) if anchor == 0]
    far = [[n] for n, anchor in enumerate(anchors, start=1) if anchor]  # a pair waits for that of its anchor
    for places in (near, *far):
        for n, fit in zip(places, parallel_map(fitted, places, worker_count(torch.device("cpu"))), strict=True):
            pairs[n], corrected[order[n]], light[order[n]], moved[order[n]] = fit
    ordered = tuple(pairs[n] for n in sorted(pairs))
    exposures = np.exp2(evs).astype(np.float32)
    curve_error = np.float32(np.log(2) * source.curve_error_ev)
    white = tuple(whitening(burst.frames[i]) for i in order)
    return BurstModel(noise, tuple(order), exposures, ordered, anchors, eight_bit, corrected, curve_error, white)


def valid_cells(source: AlignedBurst, index: int) -> Mask:
    """(h, w) whether frame ``index`` saw the middle of each cell."""
    height, width = source.burst.size
    whole = Window(0, 0, -(-height // CELL) * CELL, -(-width // CELL) * CELL)
    if not source.alignment.moved[index]:
        return np.ones((whole.height // CELL, whole.width // CELL), bool)
    x, y = source.sample_coordinates(index, whole, None, CELL)
    return np.asarray((x >= 0) & (x <= width - 4) & (y >= 0) & (y <= height - 4))


def moved_cells(cells: F32, flow: F32) -> F32:
    """(h, w, 3) cells seen through ``flow`` (h, w, 2) in cells, edges repeated."""
    rows, columns = np.indices(cells.shape[:2], np.float32)
    x, y = columns + flow[..., 0], rows + flow[..., 1]
    return np.asarray(cv2.remap(cells, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def corrected_cells(cells: F32, pair: PairModel) -> F32:
    """The cells of a whole picture under the photometric grid."""
    rows, columns = cells.shape[:2]
    wide = np.pad(cells, ((0, -rows % CELL), (0, -columns % CELL), (0, 0)), "edge")
    planes = to_planes(wide)
    pair.correct(planes, 0, 0, (rows, columns))
    return from_planes(planes[:, :rows, :columns])
