"""Spike of the new fusion: physics where the frames agree, the network where they do not. A script, not the product.

    python benchmarks/fusion_spike.py --set FOLDER [--kinds gamma16 camera8] [--every 4]   # old beside new
    python benchmarks/fusion_spike.py --burst FILES... [--ev=-2,0,2] [--picture out.png]   # what is left to the network

It answers two questions before any module is written (docs/fusion-design.md has the answers): does the design lose
quality with the weights of today, and how much of a full-size picture does the network still convolve?

The model. Linear light x of a frame (clip = 1), t = 2^EV relative to the reference, L = x / t:

    Var(x) = a x + b + kappa q(x)^2 / 12 + q(x)^2 J(x)     noise; q: what one code is worth at x
    J = D A / (A + D)                                      JPEG; A: activity in codes^2, D = mean(step^2) / 12
    log x' = log x - g(place, light)                       photometric grid, shrunk towards 0
    V = Var(x') / t^2 + delta^2 |grad L|^2 + s(light)^2 + (eps L)^2      total variance of any frame but the reference
    z = |mean_k(L_i - L_ref)| / sqrt(V_k), k = 1, 5, 13    agreement, at the brighter frame's exposure, clipped at 1
    T = exp(-max(z - 2, 0)^2 / 1.5)                        trust
    h = sum T_i c_i L_i / V_i  /  sum T_i c_i / V_i        merge; c: clip taper

s(light), the spread of the difference in smooth, agreeing places at each scale, is measured on the burst. Where the
reference clips, h is at least what it shows. The network's blocks are where refusing frames has left h uncertain (sigma
in the mu-law domain above TAU) and where, near a contradiction of the shorter frames, no two of them confirm what the
clipped reference hides. ``--flow``: each frame is seen through the network's coarse optical flow as well, and taken so
where it agrees better.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.optimize import nnls

from smarthdr_cli.aligned_burst import AlignedBurst, Window, register
from smarthdr_cli.evaluate import comparison, frozen, protocol
from smarthdr_cli.fusion.fuse_options import FuseOptions
from smarthdr_cli.fusion.fuser import load_network
from smarthdr_cli.fusion.motion import find_motions, pad_for_pyramid
from smarthdr_cli.fusion.network_fusion import split_frames
from smarthdr_cli.fusion.pipeline import StageTimer, fuse_loaded, load
from smarthdr_cli.fusion.static_merge import reference_first
from smarthdr_cli.models.saf_layers import CELL
from smarthdr_cli.radiometry import linearize

F32 = NDArray[np.float32]

SCALES = (1, 5, 13)  # px, sides of the box means that are compared
HIGH_PASS = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6  # keeps the variance of white noise
NORMAL_30 = 0.385  # 30 % quantile of |N(0, 1)|: robust to half of the picture moving
LIGHT_BINS = np.arange(-11.0, 0.01)  # log2 of light at the brighter frame's exposure
PLACES, LIGHTS = 8, 8  # nodes of the photometric grid along a side, and over 12 EV of light
SPREAD_LIMIT = (0.08, 0.003)  # of light, and absolute: no larger difference passes for noise
EPS_TEST, EPS_MERGE = 0.006, 0.004
DELTA_LIMIT = (0.1, 1.0)  # px
TAU = 0.005  # sigma in the mu-law domain that is left to physics
DENSE = 0.15  # share of a 9x9 window
CONTRADICTION = (15, 0.5)  # px, and share of them in which a shorter frame is refused
REACH = 24  # px around a contradiction within which what is clipped needs a second witness
BLOCK, CONTEXT = 64, 40  # px


def box(x: F32, side: int) -> F32:
    return x if side == 1 else np.asarray(cv2.blur(x, (side, side)))


def squared_gradient(x: F32) -> F32:
    across, down = (cv2.Sobel(x, cv2.CV_32F, *axis, ksize=3) / 8 for axis in ((1, 0), (0, 1)))
    return np.asarray(across * across + down * down)


def falling(level: F32, start: float, end: float) -> F32:
    """1 below ``start``, smoothly 0 at ``end``."""
    t = np.clip((level - start) / (end - start), 0, 1)
    return np.asarray(1 - t * t * (3 - 2 * t), np.float32)


def mu_slope(light: F32, scale: float) -> F32:
    """d mu(L) / dL of the mean channel; ``scale`` takes light to short clip = 1."""
    return np.asarray(5000 * scale / ((1 + 5000 * scale * np.maximum(light.mean(-1), 0)) * np.log(5001)), np.float32)


# ---- noise ----


@dataclass
class Noise:
    """Var(x) as the head of this file has it. ``tables``: each frame's inverse response."""

    a: float
    b: float
    kappa: float
    step: float  # of the codes, 0 for more than 8 bits
    tables: list[F32]
    jpeg: list[tuple[float, float] | None] = field(default_factory=list)  # D of luma and chroma

    def code_worth(self, x: NDArray[Any], frame: int, channel: int) -> NDArray[Any]:
        table = self.tables[frame][channel]
        slope = np.gradient(table) * (len(table) - 1) * self.step
        return np.interp(x, table, slope)

    def variance(self, x: F32, frame: int) -> F32:
        smooth = x if self.step else box(x, 3)
        out = self.a * np.clip(smooth, 0, 1) + np.float32(self.b)
        if self.step:
            activity = self._jpeg_error(x, frame)
            for c in range(3):
                worth = self.code_worth(x[..., c], frame, c)
                out[..., c] += (worth * worth * (self.kappa / 12 + activity[..., c])).astype(np.float32)
        return np.asarray(out, np.float32)

    def _jpeg_error(self, x: F32, frame: int) -> F32:
        """(h, w, 3) squared error in codes^2: what quantised DCT coefficients leave, where there are any."""
        tables = self.jpeg[frame] if self.jpeg else None
        if tables is None:
            return np.zeros_like(x)
        table = self.tables[frame]
        every = np.arange(table.shape[1]) * (255 / (table.shape[1] - 1))
        codes = np.stack([np.interp(x[..., c], table[c], every) for c in range(3)], -1).astype(np.float32)
        out = np.zeros_like(codes)
        for plane, full in ((codes, tables[0]), (codes - codes.mean(-1, keepdims=True), tables[1] / 4)):
            mean = box(plane, 8)
            active = np.maximum(box(plane * plane, 8) - mean * mean, 0)
            out += np.float32(full) * active / (active + np.float32(full))
        return out


def quantisation(path: Path) -> tuple[float, float] | None:
    """Mean squared rounding error of a JPEG's luma and chroma in codes^2 when every coefficient is active."""
    tables = getattr(Image.open(path), "quantization", None)
    if not tables:
        return None
    errors = [float((np.asarray(tables[key], float) ** 2).mean() / 12) for key in sorted(tables)]
    return errors[0], errors[-1]


def fit_noise(source: AlignedBurst, frames: list[tuple[F32, F32]]) -> Noise:
    """Within the frames for 16 bits; from differences of neighbouring exposures for JPEG, which smooths flat places."""
    burst = source.burst
    step = 1 / 255 if all(frame.codes.dtype == np.uint8 for frame in burst.frames) else 0.0
    tables = [source.response_of(i).table for i in range(len(burst))]
    jpeg = [quantisation(f.path) if f.kind == "jpeg" else None for f in burst.frames]
    noise = Noise(2e-4, 4e-6, 1.0, step, tables, jpeg)
    return _fit_pairs(noise, frames, burst.evs) if step else _fit_within(noise, source)


def _fit_within(noise: Noise, source: AlignedBurst) -> Noise:
    rows = []
    for i, frame in enumerate(source.burst.frames):
        light = linearize(np.ascontiguousarray(frame.codes), frame.white, source.response_of(i))
        rough = np.abs(cv2.filter2D(light, -1, HIGH_PASS))
        high, wide = (side // 16 * 16 for side in light.shape[:2])
        blocks, spread = (x[:high, :wide].reshape(high // 16, 16, wide // 16, 16, 3).swapaxes(1, 2).reshape(-1, 256, 3)
                          for x in (light, rough))  # fmt: skip
        variance = (1.4826 * np.median(spread, 1)) ** 2
        usable = (blocks.max(1) < 0.9) & (blocks.min(1) > 1e-3) & (variance > 0)
        rows.append(np.stack([blocks.mean(1)[usable], variance[usable]], 1))
    samples, points = np.concatenate(rows), []
    edges = np.linspace(0, 1, 13) ** 2
    for low, high in pairwise(edges):
        here = samples[(samples[:, 0] >= low) & (samples[:, 0] < high)]
        if len(here) >= 12:  # texture only adds: the quietest fifth is the noise
            quiet = here[here[:, 1] <= 1.5 * np.quantile(here[:, 1], 0.2)]
            points.append((quiet[:, 0].mean(), np.median(quiet[:, 1]), min(len(here), 200)))
    if len(points) < 2:
        return noise
    level, variance, count = np.array(points).T
    weight = np.sqrt(count) / variance
    (a, b), _ = nnls(np.stack([level, np.ones_like(level)], 1) * weight[:, None], variance * weight)
    return Noise(max(a, 1e-6), max(b, 1e-9), 1.0, 0.0, noise.tables, noise.jpeg)


def _fit_pairs(noise: Noise, frames: list[tuple[F32, F32]], evs: Sequence[float]) -> Noise:
    order, rows = sorted(range(len(frames)), key=lambda i: evs[i]), []
    for i, j in pairwise(order):
        if not 0.2 <= evs[j] - evs[i] <= 4.5:
            continue
        gain, valid = np.float32(2.0 ** (evs[j] - evs[i])), np.minimum(frames[i][1], frames[j][1])
        lifted, bright = np.minimum(frames[i][0] * gain, 1), frames[j][0]
        gap = lifted - bright
        spread, level = pair_spread(gap - box(gap, 25), lifted, bright, squared_gradient(lifted), valid, 1)
        for c in range(3):
            for s, light in zip(spread[c], level[c], strict=True):
                if s > 0:
                    q = noise.code_worth(light / gain, i, c) ** 2 * gain**2 + noise.code_worth(light, j, c) ** 2
                    rows.append((light * (1 + gain), 1 + gain**2, q / 12, s * s))
    if len(rows) < 4:
        return noise
    table = np.array(rows, float)
    weight = 1 / table[:, 3]
    for _ in range(4):
        solution, _ = nnls(table[:, :3] * weight[:, None], table[:, 3] * weight)
        weight = 1 / np.maximum(table[:, :3] @ solution, 0.3 * table[:, 3])
    a, b, kappa = solution
    return Noise(max(a, 1e-6), max(b, 1e-9), float(np.clip(kappa, 1, 30)), noise.step, noise.tables, noise.jpeg)


# ---- what else frames differ by ----


def pair_spread(gap: F32, lifted: F32, bright: F32, gradient: F32, valid: F32, side: int) -> tuple[Any, Any]:
    """(3, bins) robust sigma of a difference's box means on the smoother half of each bin of light; their light."""
    every = 3 if gap.size < 3_000_000 else 7
    seen = (np.maximum(lifted, bright).max(-1) < 0.9) & (valid > 0)
    seen = (cv2.erode(seen.astype(np.uint8), np.ones((side, side))) > 0)[::every, ::every]
    size, light, slope = (box(x, side)[::every, ::every] for x in (gap, lifted, gradient))
    spread, level = np.full((3, len(LIGHT_BINS)), np.nan), np.full((3, len(LIGHT_BINS)), np.nan)
    for c in range(3):
        bins = np.floor(np.log2(np.maximum(light[..., c], 2.0**-12)) - LIGHT_BINS[0]).clip(0, len(LIGHT_BINS) - 1)
        for k in range(len(LIGHT_BINS)):
            here = seen & (bins == k)
            if here.sum() >= 60:
                smooth = here & (slope[..., c] <= np.median(slope[here][:, c]))
                spread[c, k] = np.quantile(np.abs(size[smooth][:, c]), 0.3) / NORMAL_30
                level[c, k] = light[smooth][:, c].mean()
    return spread, level


def spread_at(spread: NDArray[Any], light: F32) -> F32:
    """(h, w) of one channel: the measured spread, filled and smoothed over the bins, at each pixel's light."""
    known = ~np.isnan(spread)
    if not known.any():
        return np.zeros_like(light)
    bins = np.arange(len(spread))
    filled = np.convolve(np.pad(np.interp(bins, bins[known], spread[known]), 1, "edge"), (0.25, 0.5, 0.25), "valid")
    filled = np.minimum(filled, SPREAD_LIMIT[0] * 2.0 ** (LIGHT_BINS + 0.5) + SPREAD_LIMIT[1])
    return np.interp(np.log2(np.maximum(light, 2.0**-12)), LIGHT_BINS + 0.5, filled).astype(np.float32)


def squared_residue(gap: F32, variance: F32, gradient: F32, seen: NDArray[np.bool_], cell: int = 64) -> F32:
    """(h, w, 1) delta^2: median of (gap^2 - noise) / |grad|^2 over strong gradients, by place, shrunk to the whole."""
    height, width = gap.shape[:2]
    strong = seen[..., None] & (gradient * 0.09 > variance)
    ratio = (gap * gap - variance) / np.maximum(gradient, 1e-12)
    low, high = (limit**2 for limit in DELTA_LIMIT)
    if np.count_nonzero(strong) < 100:
        return np.full((1, 1, 1), 0.3**2, np.float32)
    whole = ratio[strong]
    overall = float(np.clip(np.median(whole[:: max(1, whole.size // 20000)]) / 0.455, low, high))
    rows, columns = (np.linspace(0, n, max(1, round(n / cell)) + 1).astype(int) for n in (height, width))
    out = np.full((len(rows) - 1, len(columns) - 1), overall, np.float32)
    for i, j in np.ndindex(*out.shape):
        part = np.s_[rows[i] : rows[i + 1], columns[j] : columns[j + 1]]
        here = ratio[part][strong[part]]
        if here.size >= 30:
            local = np.clip(np.median(here[:: max(1, here.size // 2000)]) / 0.455, low, min(high, 4 * overall))
            out[i, j] = (local * here.size + overall * 300) / (here.size + 300)
    return cv2.resize(cv2.GaussianBlur(out, (0, 0), 0.7), (width, height))[..., None]


def photometric_gain(ref: F32, other: F32, t: np.float32, var_ref: F32, var_other: F32, valid: F32) -> F32:
    """(h, w, 3) factor on the other frame: exp(-g(place, light)), fitted where both are unclipped."""
    height, width = (side // 4 * 4 for side in ref.shape[:2])
    ch, cw = height // 4, width // 4

    def cells(x: F32) -> F32:
        return np.asarray(cv2.resize(x[:height, :width], (cw, ch), interpolation=cv2.INTER_AREA))

    a, b = cells(ref), cells(other)
    usable = cells(np.minimum(valid, (np.maximum(ref, other).max(-1) < 0.9).astype(np.float32))) > 0.99
    usable &= (a.min(-1) > 3e-4) & (b.min(-1) > 3e-4)
    grid = np.zeros((3, PLACES, PLACES, LIGHTS), np.float32)
    if usable.sum() < 64:
        return np.ones((1, 1, 3), np.float32)
    y, x = np.mgrid[0:ch, 0:cw]
    places = np.rint(y / max(ch - 1, 1) * (PLACES - 1)) * PLACES + np.rint(x / max(cw - 1, 1) * (PLACES - 1))
    place = places.astype(int)[usable]
    light = _light_node(a.mean(-1)[usable])
    node = np.rint(light).astype(int)
    for c in range(3):
        difference = np.log(b[..., c][usable] / t / a[..., c][usable])
        variance = cells(var_other)[..., c][usable] / b[..., c][usable] ** 2
        variance = (variance + cells(var_ref)[..., c][usable] / a[..., c][usable] ** 2) / 16 + 0.003**2
        grid[c] = _robust_grid(difference, variance, place, light, node)
    at = np.clip(_light_node(other.mean(-1) / t), 0, LIGHTS - 1 - 1e-3)
    below = at.astype(int)
    share, out = (at - below).astype(np.float32), np.empty_like(other)
    rows, columns = np.indices(other.shape[:2], sparse=True)
    for c in range(3):
        nodes = (np.ascontiguousarray(grid[c, ..., k]) for k in range(LIGHTS))
        planes = np.stack([cv2.resize(node, other.shape[1::-1]) for node in nodes])
        out[..., c] = np.exp(-planes[below, rows, columns] * (1 - share) - planes[below + 1, rows, columns] * share)
    return out


def _light_node(light: NDArray[Any]) -> NDArray[Any]:
    return np.clip((np.log2(np.maximum(light, 2.0**-12)) + 12) / 12 * (LIGHTS - 1), 0, LIGHTS - 1)


def _robust_grid(x: Any, variance: Any, place: Any, light: Any, node: Any) -> Any:
    """(PLACES, PLACES, LIGHTS) log-gain: a constant, by light, by place, each shrunk towards the one before."""
    scatter = 1.4826 * np.median(np.abs(x - np.median(x)))
    sigma = np.sqrt(variance + np.clip(scatter, 0.01, 0.05) ** 2)

    def weights(residual: Any) -> Any:  # Tukey's biweight
        return (1 - np.clip(np.abs(residual) / (3 * sigma), 0, 1) ** 2) ** 2 / sigma**2

    constant = float(np.median(x))
    for _ in range(5):
        w = weights(x - constant)
        constant = float((w * x).sum() / (w.sum() + 1e-9))
    constant = float(np.clip(constant, -0.21, 0.21))
    x, by_light = x - constant, np.zeros(LIGHTS)
    for k in range(LIGHTS):
        here = x[node == k]
        if here.size >= 30:
            by_light[k] = np.clip(np.median(here) * here.size / (here.size + 60), -0.21, 0.21)
    low = np.floor(light).astype(int).clip(0, LIGHTS - 2)
    share, shrink = light - low, 20 / 0.02**2
    for _ in range(4):
        w = weights(x - np.interp(light, np.arange(LIGHTS), by_light))
        total, mass = (np.bincount(low, w * (1 - share) * v, LIGHTS) + np.bincount(low + 1, w * share * v, LIGHTS)
                       for v in (x, np.ones_like(x)))  # fmt: skip
        by_light = np.clip(total / (mass + shrink), -0.21, 0.21)
    x = x - np.interp(light, np.arange(LIGHTS), by_light)
    w, cell = weights(x), place * LIGHTS + node
    total, mass = (np.bincount(cell, w * v, PLACES * PLACES * LIGHTS).reshape(PLACES, PLACES, LIGHTS)
                   for v in (x, np.ones_like(x)))  # fmt: skip
    for axis, kernel in ((0, (0.25, 0.5, 0.25)), (1, (0.25, 0.5, 0.25)), (2, (0.15, 0.7, 0.15))):
        total, mass = (np.apply_along_axis(lambda v, k=kernel: np.convolve(np.pad(v, 1, "edge"), k, "valid"), axis, v)
                       for v in (total, mass))  # fmt: skip
    return constant + by_light + np.clip(total / (mass + 3 * shrink), -0.1, 0.1)


# ---- the test and the merge ----


@dataclass
class Compared:
    """A frame of ``ev`` against the reference: ``frame`` in its own units and ``light`` in the reference's (h, w, 3),
    where it is ``valid``, ``trust``, total ``variance`` and ``pixel_noise`` of the light."""

    ev: float
    frame: F32
    light: F32
    valid: F32
    trust: F32
    variance: F32
    pixel_noise: F32

    @property
    def shorter(self) -> bool:
        return self.ev < -0.3


def compare(ref: F32, other: F32, valid: F32, ev: float, var_ref: F32, var_other: F32) -> Compared:
    t = np.float32(2.0**ev)
    frame = other * photometric_gain(ref, other, t, var_ref, var_other, valid)
    dark, bright, var_dark, var_bright, gain = ((ref, frame, var_ref, var_other, t) if ev > 0 else
                                                (frame, ref, var_other, var_ref, 1 / t))  # fmt: skip
    lifted, bright = np.minimum(dark * gain, 1), np.minimum(bright, 1)
    gap, noise, gradient = lifted - bright, var_bright + gain**2 * var_dark, squared_gradient(lifted)
    seen = (np.maximum(lifted, bright).max(-1) < 0.9) & (valid > 0)
    z, residue, photometric = np.zeros(valid.shape, np.float32), None, noise
    for side in SCALES:
        spread, _ = pair_spread(gap, lifted, bright, gradient, valid, side)
        light = box(lifted, side)
        photometric = np.stack([spread_at(spread[c], light[..., c]) for c in range(3)], -1)
        variance = np.maximum(box(noise, side) / side**2, photometric**2)
        if residue is None:
            residue = squared_residue(gap, variance, gradient, seen) * gradient
        variance += box(residue, side) / side + (EPS_TEST * light) ** 2 + 1e-9
        z = np.maximum(z, (np.abs(box(gap, side)) / np.sqrt(variance)).max(-1))
    assert residue is not None
    trust = np.exp(-(np.clip(np.where(valid > 0, z, 0) - 2, 0, None) ** 2) / 1.5).astype(np.float32)
    trust = cv2.GaussianBlur(cv2.erode(trust, np.ones((3, 3))), (0, 0), 1.0) * valid
    light, unit = frame / t, max(float(t), 1.0)  # the residues were found at the brighter frame's exposure
    total = var_other.mean(-1) / t**2 + box(residue, 3).mean(-1) / unit**2 + (photometric.mean(-1) / unit) ** 2
    total += (EPS_MERGE * light.mean(-1)) ** 2
    return Compared(ev, frame, light, valid, trust, total.astype(np.float32), var_other / t**2)


def coarse_flows(source: AlignedBurst) -> dict[int, F32]:
    """(h, w, 2) px by frame: the network's optical flow on cells; no finest levels, none where nothing moves."""
    device = torch.device("cpu")
    model = load_network(None, device, "auto").model  # of a SAFFuser
    indices, evs = reference_first(source, split_frames(source.burst)[0])
    height, width = source.burst.size
    whole = Window(0, 0, -(-height // CELL) * CELL, -(-width // CELL) * CELL)
    motions = find_motions(model, source, indices, evs, pad_for_pyramid(source.downsample(indices[0], CELL), device), 1)
    found = {indices[n]: replace(motion, fine=None).displacement(whole) for n, motion in motions.items()}
    return {i: np.ascontiguousarray(flow[:height, :width]) for i, flow in found.items() if flow is not None}


def better_of(still: Compared, moved: Compared) -> Compared:
    """The frame as aligned, or through its flow where that agrees better."""
    smooth = [cv2.GaussianBlur(one.trust, (0, 0), 2.0) for one in (still, moved)]
    use = smooth[1] > smooth[0] + 0.02

    def pick(name: str) -> F32:
        a, b = getattr(still, name), getattr(moved, name)
        return np.asarray(np.where(use[..., None] if a.ndim == 3 else use, b, a))

    names = ("frame", "light", "valid", "trust", "variance", "pixel_noise")
    return Compared(still.ev, **{name: pick(name) for name in names})


@dataclass
class Merged:
    """``light`` (h, w, 3), ``sigma`` (h, w) in the mu-law domain, ``at_odds`` (h, w), share ``physics`` (h, w, 1)."""

    light: F32
    sigma: F32
    at_odds: NDArray[np.bool_]
    physics: F32


def merge(source: AlignedBurst, *, flow: bool = False) -> Merged:
    burst = source.burst
    height, width = burst.size
    window = Window(0, 0, height, width)
    frames = [source.read(i, window) for i in range(len(burst))]
    noise, at, evs = fit_noise(source, frames), burst.reference, [float(ev) for ev in burst.evs]
    ref, variance = frames[at][0], noise.variance(frames[at][0], at)

    def compared(i: int, frame: F32, valid: F32) -> Compared:
        return compare(ref, frame, valid, evs[i] - evs[at], variance, noise.variance(frame, i))

    others = {i: compared(i, *frames[i]) for i in range(len(burst)) if i != at}
    for i, displacement in (coarse_flows(source) if flow else {}).items():
        others[i] = better_of(others[i], compared(i, *source.read(i, window, displacement)))
    return _merged(ref, variance, list(others.values()), min(evs) - evs[at])


def _merged(ref: F32, variance: F32, others: list[Compared], shortest: float) -> Merged:
    peak = ref.max(-1)
    weight = np.maximum(falling(peak, 0.80, 0.97) / variance.mean(-1), 1e-12)
    total, kept, every = ref * weight[..., None], weight.copy(), weight.copy()
    for one in others:
        full = falling(one.frame.max(-1), 0.80, 0.97) * one.valid / one.variance
        weight = full * one.trust
        if one.ev == shortest:  # decides where every frame is tapered
            weight = np.maximum(weight, 1e-5 * one.trust / one.variance)
        total, kept, every = total + one.light * weight[..., None], kept + weight, every + full
    light = total / kept[..., None]
    light += np.maximum(0.985 * ref - light, 0) * (1 - falling(peak, 0.9, 0.99))[..., None]  # "at least this much"
    lowest = np.min([peak, *(np.where(one.valid > 0, one.frame.max(-1), 1) for one in others)], axis=0)
    clipped_in_all, level = 1 - falling(lowest, 0.80, 0.97), ref
    for one in sorted((one for one in others if one.ev < 0), key=lambda one: -one.ev):
        level = np.where((one.valid > 0)[..., None], one.light, level)
    light += (level - light) * clipped_in_all[..., None]
    slope = mu_slope(light, 2.0**shortest)
    sigma, agreed = (np.sqrt(1 / np.maximum(w, 1e-14)) * slope for w in (kept, every))
    lost = np.clip((sigma - TAU) / TAU, 0, 1) * np.clip((sigma / agreed - 1.3) / 0.4, 0, 1) * (1 - clipped_in_all)
    hidden = unconfirmed(peak, clipped_in_all, [one for one in others if one.shorter])
    at_odds = (box(lost.astype(np.float32), 9) > DENSE) | (box(hidden.astype(np.float32), 9) > DENSE)
    near = cv2.dilate(at_odds.astype(np.float32), np.ones((13, 13)))
    sigma = np.where(clipped_in_all > 0.5, 1, sigma.clip(1e-4, 1))
    return Merged(light.astype(np.float32), sigma.astype(np.float32), at_odds,
                  1 - cv2.GaussianBlur(near, (0, 0), 2.0)[..., None])  # fmt: skip


def unconfirmed(peak: F32, clipped_in_all: F32, shorter: Sequence[Compared]) -> NDArray[np.bool_]:
    """(h, w): clipped in the reference, and unseen by the shorter frames, or near a contradiction of theirs and
    confirmed by no two of them."""
    clipped = (peak > 0.85) & (clipped_in_all < 0.5)
    if not shorter:
        return np.zeros_like(clipped)
    side, share = CONTRADICTION
    refused = np.max([(1 - one.trust) * (one.valid > 0) for one in shorter], axis=0)
    contradiction = cv2.dilate((box(refused, side) > share).astype(np.uint8), np.ones((side, side)))
    near = cv2.dilate(contradiction, np.ones((2 * REACH + 1, 2 * REACH + 1))) > 0
    confirmed = np.zeros_like(clipped)
    speaks = [(one.valid > 0) & (one.frame.max(-1) < 0.9) & (one.trust > 0.5) for one in shorter]
    for i, one in enumerate(shorter):
        for j, other in enumerate(shorter[:i]):
            a, b = box(one.light, 5), box(other.light, 5)
            spread = box(one.pixel_noise + other.pixel_noise, 5) / 8 + (0.015 * (a + b)) ** 2
            confirmed |= speaks[i] & speaks[j] & ((np.abs(a - b) / np.sqrt(spread)).max(-1) < 3)
    unseen = (peak > 0.85) & (np.max([one.valid for one in shorter], axis=0) <= 0)
    return np.asarray((clipped & near & ~confirmed) | unseen)


# ---- what the network has left to do ----


def convolved(at_odds: NDArray[np.bool_], least: float = 0.02) -> tuple[float, float, int]:
    """Share of blocks at odds; share of the picture that is convolved, context included, with blocks joined to
    rectangles where that is cheaper; the number of rectangles."""
    height, width = at_odds.shape
    rows, columns = -(-height // BLOCK), -(-width // BLOCK)
    padded = np.zeros((rows * BLOCK, columns * BLOCK), np.float32)
    padded[:height, :width] = at_odds
    odd = padded.reshape(rows, BLOCK, columns, BLOCK).mean((1, 3)) > least
    rest = [(y, x, y + 1, x + 1) for y, x in zip(*np.nonzero(odd), strict=True)]
    extra = 2 * CONTEXT / BLOCK

    def cost(r: tuple[int, int, int, int]) -> float:
        return (r[2] - r[0] + extra) * (r[3] - r[1] + extra)

    joined: list[tuple[int, int, int, int]] = []
    while rest:
        one, grew = rest.pop(0), True
        while grew:
            grew = False
            for other in [r for r in rest if r[0] - one[2] <= 2 and r[1] - one[3] <= 2 and one[1] - r[3] <= 2]:
                both = (min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3]))
                if cost(both) <= cost(one) + cost(other) and max(both[2] - both[0], both[3] - both[1]) <= 16:
                    rest.remove(other)
                    one, grew = both, True
        joined.append(one)
    return float(odd.mean()), sum(cost(r) for r in joined) * BLOCK**2 / (height * width), len(joined)


# ---- old beside new ----


def measure_scene(folder: Path, kind: str, pools: dict[str, comparison.Pool], flow: bool) -> dict[str, Any]:
    scene = frozen.read_scene(folder)
    evs = [float(np.log2(time / scene.times[scene.reference])) for time in scene.times]
    options = FuseOptions(evs=evs, reference=scene.reference + 1, response="gamma2.2" if kind == "gamma16" else "auto")
    clock = StageTimer()
    burst = load(list(scene.paths), options, clock).burst
    registered = register(burst, response=options.response)
    old, new = fuse_loaded(burst, options, clock, registered=registered), merge(registered.burst, flow=flow)
    pictures = {
        "network": (old.radiance, old.uncertainty),
        "physics": (new.light, new.sigma),
        "joined": (new.light * new.physics + old.radiance * (1 - new.physics),
                   new.sigma * new.physics[..., 0] + old.uncertainty * (1 - new.physics[..., 0])),
    }  # fmt: skip
    view: dict[str, Any] = {"reference_time": scene.times[scene.reference], "moving": scene.moving}
    pixels = protocol.fit_pixels(scene.truth, view["reference_time"], scene.moving)
    out: dict[str, Any] = {"share": float(1 - new.physics.mean())}
    for name, (light, sigma) in pictures.items():
        light = light * np.float32(old.scale_short)
        out[name] = protocol.score(light, scene.truth, **view)
        shown = protocol.fitted(light, scene.truth, pixels)
        error = comparison.error_map(shown, np.clip(scene.truth, 0, 1))
        pools[name].add(error, np.ascontiguousarray(sigma, np.float32), frozen.told(scene))
    return out


def measure_set(root: Path, kind: str, every: int, flow: bool) -> None:
    names = ("network", "physics", "joined")
    pools = {name: comparison.Pool() for name in names}
    scenes = []
    for folder in frozen.scene_folders(root / kind)[::every]:
        scenes.append(measure_scene(folder, kind, pools, flow))
        figures = "  ".join(f"{n} {scenes[-1][n]['psnr_mu']:.2f}/{scenes[-1][n]['psnr_mu_moving']:.2f}" for n in names)
        print(f"{kind} {folder.name}: {figures}  share {scenes[-1]['share']:.2f}", file=sys.stderr, flush=True)
    print(f"\n{kind}, {len(scenes)} bursts, share of the network's pixels {np.mean([s['share'] for s in scenes]):.2f}")
    for name in names:
        mean = protocol.average([scene[name] for scene in scenes])
        keys = ("psnr_mu", "psnr_mu_moving", "psnr_mu_clipped")
        print(f"  {name:8}" + "".join(f"  {key} {mean[key]:.2f}" for key in keys))
        verdict = pools[name].verdict()
        if verdict is not None:
            print("           " + comparison.judge_text(verdict).replace("\n", "\n           "))


def measure_burst(files: list[Path], evs: list[float] | None, picture: Path | None, flow: bool) -> None:
    options, clock = FuseOptions(evs=evs), StageTimer()
    source = register(load(files, options, clock).burst).burst
    start = time.perf_counter()
    new = merge(source, flow=flow)
    blocks, share, count = convolved(new.at_odds)
    print(f"{files[0].parent.name}: {source.burst.size[1]}x{source.burst.size[0]}, {len(files)} frames; pixels at odds "
          f"{new.at_odds.mean():.3f}, blocks of {BLOCK} px {blocks:.3f}, convolved with {CONTEXT} px of context "
          f"{share:.3f} of the picture in {count} windows; mean sigma {new.sigma.mean():.4f}; "
          f"{time.perf_counter() - start:.1f} s in NumPy", flush=True)  # fmt: skip
    if picture is not None:
        every = max(1, max(source.burst.size) // 1600)
        light = np.clip(new.light[::every, ::every], 0, None)
        tone = (np.clip(light / (1 + 0.3 * light), 0, 1) ** (1 / 2.4) * 255).astype(np.uint8)
        odds = np.repeat(new.at_odds[::every, ::every, None] * np.uint8(255), 3, 2)
        Image.fromarray(np.hstack([tone, odds])).save(picture)


def main() -> None:
    parser = argparse.ArgumentParser(description="spike of the new fusion")
    parser.add_argument("--set", type=Path, help="frozen set of benchmarks/quality.py or renders.py")
    parser.add_argument("--kinds", nargs="+", default=["gamma16", "camera8"])
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--burst", type=Path, nargs="+", help="files of one burst")
    parser.add_argument("--ev", help="exposures of --burst, by commas")
    parser.add_argument("--picture", type=Path, help="PNG of --burst: merged by the physics alone, and what is at odds")
    parser.add_argument("--flow", action="store_true", help="compare frames through the coarse optical flow as well")
    options = parser.parse_args()
    if options.set:
        for kind in options.kinds:
            measure_set(options.set, kind, options.every, options.flow)
    if options.burst:
        evs = [float(ev) for ev in options.ev.split(",")] if options.ev else None
        measure_burst(options.burst, evs, options.picture, options.flow)


if __name__ == "__main__":
    main()
