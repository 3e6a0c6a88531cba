"""When two frames show the same thing: one test against one calibrated model of how they may differ.

    z = |mean_k(L_i - L_ref)| / sqrt(V_k),   k = 1, 4, 12 px
    V_k = max(noise_k, s_k(light)^2) + B + delta^2 |grad L|^2 / k + (eps L)^2
    trust = exp(-max(z - THRESHOLD, 0)^2 / 1.5)

compared at the exposure of the brighter frame, clipped at 1, after the photometric grid; what a longer frame does not
clip, the first may contradict up to 1.5 (pixel_kernel.py). Noise alone is too small at 4 and 12 px, since JPEG errors
are correlated: s_k, the spread of the difference in smooth, agreeing places by light, is measured on the burst at each
scale. B: what JPEG leaves near black, common to a block (noise_model.py), for k > 1. delta (px) is the registration
residue, measured by place where gradients are strong.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.burst.burst import Frame
from smarthdr_cli.fusion import pixel_kernel
from smarthdr_cli.fusion.noise_model import FrameNoise, table_index, table_levels
from smarthdr_cli.fusion.photometric import PhotometricGrid, fit_grid, light_nodes
from smarthdr_cli.fusion.pixel_functions import pixel_functions
from smarthdr_cli.fusion.pixel_kernel import CELL
from smarthdr_cli.fusion.samples import UNCLIPPED, Samples, binned_spread, spread_at, squared_gradient
from smarthdr_cli.radiometry import channel_max

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

SPREAD_LIMIT = (0.08, 0.003)  # of light, and absolute: no larger difference passes for noise
EPS_TEST, EPS_MERGE = 0.006, 0.004  # relative model error, in the test and in the merge
SHOULDER = 0.05  # added to EPS_TEST towards the clip of 8-bit files: cameras bend their highlights
THRESHOLD, STRICT_THRESHOLD = 2.0, 1.0  # z up to which trust is 1, and under --deghost strong
DELTA_RANGE = (0.1, 1.0)  # px
DEFAULT_DELTA = 0.2  # px, where too few gradients are strong
MEDIAN_CHI2 = 0.455  # median of a squared normal variable
MIN_STRONG = 30  # samples of a patch


def whitening(frame: Frame) -> int:
    """How the clipped highlights of a frame lose their colour, see ``pixel_kernel``."""
    if frame.clipped is not None:
        return pixel_kernel.WHITE_RAW
    return pixel_kernel.WHITE_CAMERA if frame.codes.dtype == np.uint8 else pixel_kernel.WHITE_NONE


@dataclass(frozen=True)
class PairModel:
    """How frame ``other`` may differ from frame ``ref`` without anything having moved.

    ``ratio``: exposure of the other over the first. ``spread``: (3 scales, 3, ENTRIES) s_k^2 over sqrt(light) at the
    brighter frame's exposure. ``residue``: (rows, columns) delta^2 in px^2 at the places of the samples.
    """

    ref: int
    other: int
    ratio: float
    grid: PhotometricGrid
    spread: F32
    residue: F32

    def residue_cells(self, rows: int, columns: int) -> F32:
        """(rows, columns) delta^2 for every cell of a picture."""
        return np.asarray(cv2.resize(self.residue, (columns, rows), interpolation=cv2.INTER_LINEAR), np.float32)

    def correct(self, light: F32, top: int, left: int, size: tuple[int, int]) -> None:
        """Apply the photometric grid to a window of the other frame, (3, h, w), in place."""
        pixel_functions().apply_gain(light, self.grid.gain, light_nodes(self.ratio), top, left, *size)


def frame_noise(light: F32, noise: FrameNoise, eight_bit: bool) -> F32:
    """Var(x) (3, h, w) of a window of a frame, whose sides are multiples of CELL."""
    out = np.empty_like(light)
    luma, chroma = (np.float32(error) for error in noise.jpeg)
    pixel_functions().noise_variance(
        light, noise.variance, noise.code, noise.squared_worth, luma, chroma, not eight_bit, out
    )
    return out


def to_planes(picture: F32) -> F32:
    """(h, w, 3) as (3, h, w), in the memory's order."""
    return np.ascontiguousarray(picture.transpose(2, 0, 1))


def from_planes(planes: F32) -> F32:
    """(3, h, w) as (h, w, 3), in the memory's order."""
    return np.ascontiguousarray(planes.transpose(1, 2, 0))


def fit_pair(
    samples: Samples, light: F32, cells: dict[int, F32], valid_cells: dict[int, Mask], noise: tuple[FrameNoise, ...],
    variance: dict[int, F32], ref: int, other: int, ratio: float, size: tuple[int, int],
) -> PairModel:  # fmt: skip
    """Fit grid, spreads and residue of a pair; ``light``: the samples of ``ref`` under its own grid.

    ``cells``: means over CELL pixels of the whole picture by frame; ``variance``: Var(x) of the samples by frame.
    """
    usable = valid_cells[other] & valid_cells[ref]
    grid = fit_grid(cells[ref], cells[other], usable, ratio, (noise[ref], noise[other]), CELL)
    frame = corrected_samples(samples, other, grid, ratio, size)
    brighter = ratio > 1
    gain = np.float32(max(ratio, 1 / ratio))
    dark, bright = (light, frame) if brighter else (frame, light)
    dark_variance, bright_variance = (variance[k] for k in ((ref, other) if brighter else (other, ref)))
    lifted, bright = np.minimum(dark * gain, 1), np.minimum(bright, 1)
    gap, own = lifted - bright, bright_variance + gain**2 * dark_variance
    gradient = squared_gradient(lifted)
    usable = samples.core & (samples.valid[ref] > 0) & (samples.valid[other] > 0)
    brightest = np.maximum(lifted, bright)
    levels = table_levels()
    spread = np.empty((3, 3, len(levels)), np.float32)
    for scale, step in enumerate((1, CELL, CELL)):
        parts = [gap, lifted, brightest, gradient]
        if step > 1:
            parts = [_cell_means(part) for part in parts]
        if scale == 2:
            parts = [np.asarray(cv2.blur(part, (3, 3))) for part in parts]
        at = usable if step == 1 else usable[1::CELL, 1::CELL]
        measured, _ = binned_spread(parts[0], parts[1], parts[2], parts[3], at)
        for channel in range(3):
            spread[scale, channel] = spread_at(measured[channel], levels, SPREAD_LIMIT) ** 2
    photometric = np.stack([spread[0, c][table_index(lifted[..., c])] for c in range(3)], -1)
    residue = _residue(
        gap, np.maximum(own, photometric), gradient, usable & (channel_max(brightest) < UNCLIPPED), samples
    )
    return PairModel(ref, other, ratio, grid, spread, residue)


def corrected_samples(samples: Samples, index: int, grid: PhotometricGrid, ratio: float, size: tuple[int, int]) -> F32:
    """The samples of a frame under the photometric grid, each at its place in the picture."""
    light: F32 = samples.light[index].copy()
    nodes = light_nodes(ratio)
    for patch, (top, left) in enumerate(samples.corners):
        part = light[patch * samples.side : (patch + 1) * samples.side]
        planes = to_planes(part)
        pixel_functions().apply_gain(planes, grid.gain, nodes, top, left, *size)
        part[:] = from_planes(planes)
    return light


def _cell_means(picture: F32) -> F32:
    size = (picture.shape[1] // CELL, picture.shape[0] // CELL)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def _residue(gap: F32, variance: F32, gradient: F32, seen: Mask, samples: Samples) -> F32:
    """delta^2 on the grid of patches: the median of (gap^2 - noise) / |grad|^2 over strong gradients, shrunk to that of
    the whole picture.
    """
    low, high = (limit**2 for limit in DELTA_RANGE)
    rows, columns = samples.grid
    strong = seen[..., None] & (gradient * 0.09 > variance)
    if np.count_nonzero(strong) < 100:
        return np.full((rows, columns), DEFAULT_DELTA**2, np.float32)
    excess = (gap * gap - variance) / np.maximum(gradient, 1e-12)
    everywhere = excess[strong]
    overall = float(np.clip(np.median(everywhere[:: max(1, everywhere.size // 20000)]) / MEDIAN_CHI2, low, high))
    out = np.full(rows * columns, overall, np.float32)
    for patch in range(rows * columns):
        part = slice(patch * samples.side, (patch + 1) * samples.side)
        local = excess[part][strong[part]]
        if local.size >= MIN_STRONG:
            median = np.clip(np.median(local) / MEDIAN_CHI2, low, min(high, 4 * overall))
            out[patch] = (median * local.size + overall * 300) / (local.size + 300)
    return np.asarray(cv2.GaussianBlur(out.reshape(rows, columns), (0, 0), 0.7), np.float32)


def cell_trust(
    ref: F32, other: F32, pair: PairModel, noise: tuple[FrameNoise, ...], shoulder: float, white: int
) -> F32:
    """(h, w) trust of whole cells (h, w, 3); ``other`` already under the photometric grid; ``white``: ``whitening`` of
    the brighter frame.
    """
    trust = np.empty(ref.shape[:2], np.float32)
    first, second = noise[pair.ref], noise[pair.other]
    errors = (np.float32(e) for e in (EPS_TEST, shoulder, THRESHOLD))
    pixel_functions().agreement_of_cells(
        to_planes(ref), to_planes(other), first.variance, second.variance, first.black, second.black,
        np.float32(pair.ratio), pair.spread, pair.residue_cells(*ref.shape[:2]), *errors, white, trust,
    )  # fmt: skip
    return trust
