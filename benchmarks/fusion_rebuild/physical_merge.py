"""The merge of a burst by physics alone: trust by the test of consistency.py, inverse-variance weights, sigma.

    h = sum_i T_i c_i L_i / V_i  /  sum_i T_i c_i / V_i,      sigma = T'(h) / sqrt(sum_i T_i c_i / V_i)

c: clip taper. Where the reference clips, h is at least what it shows. What is fitted once per burst is a BurstModel;
the picture is then merged window by window (pixel_kernel.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.fusion_rebuild import pixel_kernel
from benchmarks.fusion_rebuild.consistency import (
    EPS_MERGE,
    EPS_TEST,
    SHOULDER,
    PairModel,
    fit_pair,
    frame_noise,
)
from benchmarks.fusion_rebuild.feathering import border
from benchmarks.fusion_rebuild.noise_model import NoiseModel, fit_noise
from benchmarks.fusion_rebuild.pixel_kernel import CELL
from benchmarks.fusion_rebuild.samples import Displacement, draw
from smarthdr_cli.aligned_burst import AlignedBurst, Window

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class BurstModel:
    """What is fitted once: noise, and every other frame's pair with the reference. ``order``: the reference first.
    ``cells``: (h, w, 3) means over CELL pixels of every frame, the others under the photometric grid.
    """

    noise: NoiseModel
    order: tuple[int, ...]
    exposures: F32  # t of each frame of ``order``
    pairs: tuple[PairModel, ...]
    eight_bit: tuple[bool, ...]
    cells: dict[int, F32]

    def shoulder(self, place: int) -> float:
        """What is added to the relative model error towards the clip, for a frame at its ``place`` in the order."""
        return SHOULDER if self.eight_bit[0] or self.eight_bit[place] else 0.0


@dataclass(frozen=True)
class WindowMerge:
    """A window merged: ``light`` (h, w, 3), ``sigma`` (h, w), ``lost`` and ``clipped`` (h, w) as ``pixel_kernel.merge``
    gives them; ``frames`` (N, h, w, 3) in their own units under the photometric grid, ``trust``, ``place`` and
    ``variance`` (N, h, w) of the model's order.
    """

    light: F32
    sigma: F32
    lost: F32
    clipped: F32
    frames: F32
    trust: F32
    place: F32
    variance: F32

    def summary(self, exposures: F32) -> tuple[F32, F32]:
        """``pixel_kernel.summarise`` of the window's cells, (h / 4, w / 4, 5), and the classical merge there."""
        rows, columns = self.sigma.shape[0] // CELL, self.sigma.shape[1] // CELL
        out, classical = np.empty((rows, columns, 5), np.float32), np.empty((rows, columns, 3), np.float32)
        pixel_kernel.summarise(
            self.frames, exposures, self.trust, self.place, self.variance, self.lost, self.clipped, out, classical
        )
        return out, classical


def valid_cells(source: AlignedBurst, index: int) -> Mask:
    """(h, w) whether frame ``index`` saw the middle of each cell."""
    height, width = source.burst.size
    whole = Window(0, 0, -(-height // CELL) * CELL, -(-width // CELL) * CELL)
    if not source.alignment.moved[index]:
        return np.ones((whole.height // CELL, whole.width // CELL), bool)
    x, y = source.sample_coordinates(index, whole, None, CELL)
    return np.asarray((x >= 0) & (x <= width - 4) & (y >= 0) & (y <= height - 4))


def fit_burst(
    source: AlignedBurst, order: Sequence[int], cells: Mapping[int, F32], flows: Mapping[int, F32],
    displacement: Displacement = lambda _index, _window: None,
) -> BurstModel:  # fmt: skip
    """Draw the samples once and fit everything from them.

    ``order``: the frames, the reference first. ``cells``: (h, w, 3) means over CELL pixels by frame; ``flows``: (h, w,
    2) displacement in pixels of their cells, where there is one; ``displacement``: the same for the pixels of a window.
    """
    burst = source.burst
    samples = draw(source, displacement)
    noise = fit_noise(source, samples)
    eight_bit = tuple(burst.frames[i].codes.dtype == np.uint8 for i in order)
    seen = {i: valid_cells(source, i) for i in order}
    variance = {
        i: frame_noise(samples.light[i], noise.frames[i], flag) for i, flag in zip(order, eight_bit, strict=True)
    }
    exposures = np.exp2(burst.evs[list(order)]).astype(np.float32)
    pairs, corrected = [], {order[0]: cells[order[0]]}
    for i, t in zip(order[1:], exposures[1:], strict=True):
        moved = {order[0]: cells[order[0]], i: moved_cells(cells[i], flows[i] / CELL) if i in flows else cells[i]}
        pair = fit_pair(samples, moved, seen, noise.frames, variance, order[0], i, float(t), burst.size)
        pairs.append(pair)
        corrected[i] = corrected_cells(cells[i], pair)
    return BurstModel(noise, tuple(order), exposures, tuple(pairs), eight_bit, corrected)


def moved_cells(cells: F32, flow: F32) -> F32:
    """(h, w, 3) cells seen through ``flow`` (h, w, 2) in cells, edges repeated."""
    y, x = np.indices(cells.shape[:2], np.float32)
    x, y = x + flow[..., 0], y + flow[..., 1]
    return np.asarray(cv2.remap(cells, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def corrected_cells(cells: F32, pair: PairModel) -> F32:
    """The cells of a whole picture under the photometric grid."""
    rows, columns = cells.shape[:2]
    wide = np.pad(cells, ((0, -rows % CELL), (0, -columns % CELL), (0, 0)), "edge")
    pair.correct(wide, 0, 0, (rows, columns))
    return np.ascontiguousarray(wide[:rows, :columns])


def merge_window(
    source: AlignedBurst, model: BurstModel, window: Window, flows: Sequence[F32 | None], residues: Sequence[F32]
) -> WindowMerge:
    """Merge a window; ``flows``: (h, w, 2) displacement of each other frame; ``residues``: delta^2 of every cell."""
    size = source.burst.size
    count, shape = len(model.order), (window.height, window.width)
    frames, place = np.empty((count, *shape, 3), np.float32), np.ones((count, *shape), np.float32)
    trust, variance = np.ones((count, *shape), np.float32), np.empty((count, *shape), np.float32)
    frames[0] = source.read(model.order[0], window)[0]
    own = frame_noise(frames[0], model.noise.frames[model.order[0]], model.eight_bit[0])
    variance[0] = own.mean(-1)
    rows, columns = cells_of(window)
    for n, (pair, flow) in enumerate(zip(model.pairs, flows, strict=True), start=1):
        frames[n], valid = source.read(pair.other, window, flow)
        place[n] = border(source, pair.other, window, valid)
        pair.correct(frames[n], window.top, window.left, size)
        noise = frame_noise(frames[n], model.noise.frames[pair.other], model.eight_bit[n])
        residue = np.ascontiguousarray(residues[n - 1][rows, columns])
        errors = (np.float32(error) for error in (EPS_TEST, model.shoulder(n), EPS_MERGE))
        pixel_kernel.agreement(
            frames[0], frames[n], own, noise, np.float32(pair.ratio), pair.spread, residue, *errors,
            valid, trust[n], variance[n],
        )  # fmt: skip
        trust[n] = cv2.GaussianBlur(cv2.erode(trust[n], np.ones((3, 3))), (5, 5), 1.0) * valid
    light, sigma = np.empty((*shape, 3), np.float32), np.empty(shape, np.float32)
    lost, clipped = np.empty(shape, np.float32), np.empty(shape, np.float32)
    pixel_kernel.merge(frames, model.exposures, trust, place, variance, light, sigma, lost, clipped)
    return WindowMerge(light, sigma, lost, clipped, frames, trust, place, variance)


def cells_of(window: Window) -> tuple[slice, slice]:
    """Rows and columns of the cells that a window covers; it begins on whole ones."""
    rows, columns = -(-(window.top + window.height) // CELL), -(-(window.left + window.width) // CELL)
    return slice(window.top // CELL, rows), slice(window.left // CELL, columns)
