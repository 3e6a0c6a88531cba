"""The merge of a burst by physics alone: trust by the test of consistency.py, inverse-variance weights, sigma.

    h = sum_i T_i c_i L_i / V_i  /  sum_i T_i c_i / V_i,      sigma = T'(h) / sqrt(sum_i T_i c_i / V_i)

c: clip taper. Where the reference clips, h is at least what it shows. The picture is merged tile by tile on the
compiled loops of pixel_kernel.py; a pixel does not depend on the tile that it lies in.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from smarthdr_cli.aligned_burst import AlignedBurst, Window, clipped_pixels
from smarthdr_cli.fusion.burst_model import BurstModel
from smarthdr_cli.fusion.consistency import EPS_MERGE, EPS_TEST, THRESHOLD, frame_noise
from smarthdr_cli.fusion.feathering import border
from smarthdr_cli.fusion.motion import PairMotion
from smarthdr_cli.fusion.pixel_functions import pixel_functions
from smarthdr_cli.fusion.pixel_kernel import CELL, MARGIN
from smarthdr_cli.fusion.result import RadianceSigma
from smarthdr_cli.fusion.tiles import Tile, cells_of, parallel_map, tile_grid, worker_count
from smarthdr_cli.radiometry import mu_law

F32 = NDArray[np.float32]

TILE = 512  # px, the largest side of a tile: larger ones leave the caches, smaller ones overlap more


@dataclass(frozen=True)
class WindowMerge:
    """A window merged: ``light`` (h, w, 3), ``sigma`` (h, w), ``lost`` and ``clipped`` (h, w) as ``pixel_kernel.merge``
    gives them; ``planes`` (N, 3, h, w): the frames in their own units under the photometric grid; ``trust``, ``place``
    and ``variance`` (N, h, w) of the model's order.
    """

    light: F32
    sigma: F32
    lost: F32
    clipped: F32
    planes: F32
    trust: F32
    place: F32
    variance: F32

    @property
    def frames(self) -> F32:
        """``planes`` as (N, h, w, 3), without a copy."""
        return self.planes.transpose(0, 2, 3, 1)

    def part(self, rows: slice, columns: slice) -> "WindowMerge":
        """Some rows and columns of the window, without a copy."""
        arrays = (getattr(self, field.name)[..., rows, columns] for field in fields(self) if field.name != "light")
        return WindowMerge(self.light[rows, columns], *arrays)

    def summary(self, exposures: F32) -> tuple[F32, F32]:
        """``pixel_kernel.summarise`` of the window's cells, (h / 4, w / 4, 5), and the classical merge there."""
        rows, columns = self.sigma.shape[0] // CELL, self.sigma.shape[1] // CELL
        out, classical = np.empty((rows, columns, 5), np.float32), np.empty((rows, columns, 3), np.float32)
        pixel_functions().summarise(
            self.planes, exposures, self.trust, self.place, self.variance, self.lost, self.clipped, out, classical
        )
        return out, classical


@dataclass(frozen=True)
class PictureMerge:
    """A whole picture merged: ``image``, and of its cells ``summary`` (h / 4, w / 4, 5) and the ``classical`` merge
    (h / 4, w / 4, 3), see ``pixel_kernel.summarise``; ``mean_trust`` of the other frames.
    """

    image: RadianceSigma
    summary: F32
    classical: F32
    mean_trust: float


@dataclass(frozen=True)
class PhysicalMerger:
    """A fitted burst. ``motions``: by position in ``model.order``.

    ``threshold``: z up to which a frame is fully trusted.
    """

    burst: AlignedBurst
    model: BurstModel
    motions: Mapping[int, PairMotion]
    threshold: float = THRESHOLD

    @cached_property
    def residues(self) -> tuple[F32, ...]:
        """delta^2 of every cell of the picture, by pair."""
        height, width = self.burst.burst.size
        return tuple(pair.residue_cells(-(-height // CELL), -(-width // CELL)) for pair in self.model.pairs)

    def window(self, window: Window) -> WindowMerge:
        """Merge one window, whose corner and sides are multiples of CELL."""
        model, burst = self.model, self.burst
        count, shape = len(model.order), (window.height, window.width)
        frames, place = np.empty((count, 3, *shape), np.float32), np.ones((count, *shape), np.float32)
        trust, variance = np.ones((count, *shape), np.float32), np.empty((count, *shape), np.float32)
        self._read(model.order[0], window, None, frames[0])
        noise = {0: frame_noise(frames[0], model.noise.frames[model.order[0]], model.eight_bit[0])}
        pixel_functions().mean_of_channels(noise[0], variance[0])
        for n, (pair, anchor) in enumerate(zip(model.pairs, model.anchors, strict=True), start=1):
            flow = self.motions[n].displacement(window) if n in self.motions else None
            valid = self._read(pair.other, window, flow, frames[n])
            place[n] = border(burst, pair.other, window, valid)
            pair.correct(frames[n], window.top, window.left, burst.burst.size)
            noise[n] = frame_noise(frames[n], model.noise.frames[pair.other], model.eight_bit[n])
            residue = self._residue(n - 1, window)
            errors = (np.float32(e) for e in (EPS_TEST, model.shoulder(n), EPS_MERGE, self.threshold))
            pixel_functions().agreement(
                frames[anchor], frames[n], noise[anchor], noise[n],
                *(model.noise.frames[i].black for i in (pair.ref, pair.other)),
                np.float32(pair.ratio), pair.spread, residue, *errors, model.white_of_brighter(n),
                valid, trust[n], variance[n],
            )  # fmt: skip
            if anchor:
                trust[n] *= np.where(place[anchor] > 0, trust[anchor], 1)
                variance[n] /= model.exposures[anchor] ** 2
            if n not in model.anchors:
                del noise[n]
        light, sigma, lost, clipped = self._merge(frames, trust, place, variance)
        return WindowMerge(light, sigma, lost, clipped, frames, trust, place, variance)

    def _residue(self, pair: int, window: Window) -> F32:
        """delta^2 of every cell of a window; that of the picture's last cells is repeated beyond it."""
        cells = self.residues[pair][cells_of(window)]
        missing = ((0, window.height // CELL - cells.shape[0]), (0, window.width // CELL - cells.shape[1]))
        return np.ascontiguousarray(np.pad(cells, missing, "edge"))

    def _read(self, index: int, window: Window, flow: F32 | None, out: F32) -> F32:
        """Light of a frame (3, h, w) into ``out``; its validity (h, w)."""
        codes, valid, clipped = self.burst.sample(index, window, flow)
        table = self.burst.response_of(index).table
        if codes.dtype == np.uint8 and table.shape[1] == 256:
            for plane, channel, light in zip(cv2.split(codes), table, out, strict=True):
                cv2.LUT(plane, channel[None], light)
        else:
            scale = np.float32((table.shape[1] - 1) / self.burst.burst.frames[index].white)
            pixel_functions().linearise(np.ascontiguousarray(codes, np.float32), scale, table, out)
        if clipped is not None:
            out[:, clipped_pixels(out.max(0), clipped)] = 1
        return valid

    def _merge(self, frames: F32, trust: F32, place: F32, variance: F32) -> tuple[F32, F32, F32, F32]:
        """Light, sigma, lost and clipped, see ``pixel_kernel.merge``."""
        shape = place.shape[1:]
        light = np.empty((*shape, 3), np.float32)
        sigma, lost, clipped = (np.empty(shape, np.float32) for _ in range(3))
        pixel_functions().merge(
            frames, self.model.exposures, trust, place, variance, self.model.white[0], self.model.curve_error,
            light, sigma, lost, clipped,
        )  # fmt: skip
        return light, sigma, lost, clipped

    def static_window(self, window: Window) -> WindowMerge:
        """Merge one window with every frame trusted. sigma: that of the trusting merge of the same frames, and its
        distance from it in the mu-law domain, which is what ghosts leave.
        """
        merged = self.window(window)
        trust = np.ascontiguousarray(merged.place > 0, np.float32)
        light, sigma, lost, clipped = self._merge(merged.planes, trust, merged.place, merged.variance)
        scale = np.float32(self.model.exposures.min())
        ghost = np.abs(mu_law(light * scale) - mu_law(merged.light * scale)).mean(-1)
        sigma = np.minimum(np.hypot(merged.sigma, ghost), 1)
        return WindowMerge(light, sigma, lost, clipped, merged.planes, trust, merged.place, merged.variance)

    def picture(
        self, tile: int, on_progress: Callable[[float], None] = lambda _share: None, *, static: bool = False
    ) -> PictureMerge:
        """Merge the picture in tiles of at most ``tile`` pixels, 0 for TILE; ``static``: by ``static_window``."""
        height, width = self.burst.burst.size
        rows, columns = -(-height // CELL), -(-width // CELL)
        image = RadianceSigma(np.empty((height, width, 3), np.float32), np.empty((height, width), np.float32))
        summary, classical = np.empty((rows, columns, 5), np.float32), np.empty((rows, columns, 3), np.float32)
        merge = self.static_window if static else self.window

        def merge_tile(part: Tile) -> tuple[int, float]:
            core, window = part.core, part.window
            merged = merge(window)
            cell_summary, cell_classical = merged.summary(self.model.exposures)
            inner = cells_of(Window(core.top - window.top, core.left - window.left, core.height, core.width))
            summary[cells_of(core)], classical[cells_of(core)] = cell_summary[inner], cell_classical[inner]
            write_core(image, core, window, merged.light, merged.sigma)
            return core.height * core.width, float(merged.trust[1:].mean())

        trusted = done = 0.0
        tiles = tile_grid(height, width, min(tile or TILE, TILE), MARGIN)
        for area, trust in parallel_map(merge_tile, tiles, worker_count(torch.device("cpu"))):
            done += area
            trusted += trust * area
            on_progress(done / (height * width))
        return PictureMerge(image, summary, classical, trusted / (height * width))


def write_core(out: RadianceSigma, core: Window, window: Window, light: F32, sigma: F32) -> None:
    """Copy a tile's core into the picture."""
    y, x = core.top - window.top, core.left - window.left
    target = np.s_[core.top : core.top + core.height, core.left : core.left + core.width]
    part = np.s_[y : y + core.height, x : x + core.width]
    out.radiance[target], out.sigma[target] = light[part], sigma[part]
