"""Denoising of path-traced radiance from two independent halves: non-local means and edge-avoiding wavelets.

Radiance is divided by the albedo first, so that texture is not filtered. Direct light is filtered by joint non-local
means, Rousselle, Manzi and Zwicker 2013, "Robust denoising using feature and color information" (eq. 2 to 4, one
scale), with the weights of each half taken from the other, so that they do not follow the noise they remove; then by
three levels of the edge-avoiding a-trous wavelet of Dammertz et al. 2010, guided by geometry and the other half.
Indirect light, which is smooth, is filtered by five levels of the wavelet, guided by geometry alone.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.radiometry import mu_law

F32 = NDArray[Any]  # float32
Guides = tuple[F32, F32, F32]  # albedo, normal, position in metres, (H, W, 3) each, nearly noise-free
MIN_ALBEDO = np.float32(0.03)  # added to the albedo before dividing by it
EMITTER_ALBEDO = 0.004  # emitters have no more
FIREFLY_RATIO = 10  # of the mean around a pixel in the other half


class Shifted:
    """An image shifted by whole pixels up to ``reach``, mirrored at the border."""

    def __init__(self, x: F32, reach: int) -> None:
        self.size, self.reach = x.shape[:2], reach
        pad = [(reach, reach), (reach, reach)] + [(0, 0)] * (x.ndim - 2)
        self.padded = np.pad(x, pad, mode="reflect")

    def __call__(self, dy: int, dx: int) -> F32:
        top, left = self.reach + dy, self.reach + dx
        return self.padded[top : top + self.size[0], left : left + self.size[1]]


def clamp_fireflies(halves: list[F32], albedo: F32) -> tuple[list[F32], float]:
    """Indirect light limited to ``FIREFLY_RATIO`` times the local mean of the other half, and the energy removed."""
    base = albedo + MIN_ALBEDO
    means = [cv2.boxFilter(half / base, -1, (31, 31)) * base for half in halves]
    clamped = [np.minimum(half, FIREFLY_RATIO * mean) for half, mean in zip(halves, reversed(means), strict=True)]
    before, after = (sum(half.sum(dtype=np.float64) for half in images) for images in (halves, clamped))
    return clamped, 1 - float(after / before)


def wavelet(
    halves: list[F32], guides: Guides, levels: int, plane_sigma: float, normal_sigma: float,
    light_guides: list[F32] | None = None,
) -> list[F32]:  # fmt: skip
    """Both halves (H, W, 3) smoothed over the same surface, up to ``2**levels`` pixels to each side.

    Neighbours weigh less with their distance from the tangent plane (``plane_sigma``, metres) and the difference of
    normals (``normal_sigma``); with ``light_guides``, an image per half, also with the difference of log light there
    (sigma 0.2).
    """
    albedo, normal, position = guides
    base = albedo + MIN_ALBEDO
    reflects = (albedo.max(-1) > EMITTER_ALBEDO).astype(np.float32)  # emitters are no neighbours
    kernel = np.array([1, 4, 6, 4, 1], np.float32) / 16
    positions, normals, reflecting = (Shifted(x, 2**levels) for x in (position, normal, reflects))
    filtered = []
    for k, half in enumerate(halves):
        out = half / base
        log = np.log(light_guides[k] / base + np.float32(1e-3)) if light_guides else np.zeros_like(out[..., :1])
        logs = Shifted(log, 2**levels)
        for level in range(levels):
            image, total, weight = Shifted(out, 2**levels), np.zeros_like(out), np.zeros(reflects.shape, np.float32)
            for j in range(-2, 3):
                for i in range(-2, 3):
                    dy, dx = j * 2**level, i * 2**level
                    distance = (((positions(dy, dx) - position) * normal).sum(-1) / np.float32(plane_sigma)) ** 2
                    distance += ((normals(dy, dx) - normal) ** 2).sum(-1) / np.float32(normal_sigma**2)
                    distance += ((logs(dy, dx) - log) ** 2).mean(-1) / np.float32(0.2**2)
                    w = kernel[j + 2] * kernel[i + 2] * np.exp(-distance) * reflecting(dy, dx)
                    weight += w
                    total += w[..., None] * image(dy, dx)
            out = np.where((weight > 0)[..., None], total / np.maximum(weight, 1e-12)[..., None], out)
        filtered.append(out * base)
    return filtered


def non_local_means(halves: list[F32], guides: Guides, radius: int = 5) -> list[F32]:
    """Both halves (H, W, 3) of the direct light, filtered by joint non-local means."""
    albedo, normal, position = guides
    base = albedo + MIN_ALBEDO
    a, b = halves[0] / base, halves[1] / base
    variance = cv2.boxFilter((a - b) ** 2 / 2, -1, (7, 7))
    total = [np.zeros_like(a), np.zeros_like(a)]
    weight = [np.zeros(a.shape[:2], np.float32) for _ in range(2)]
    positions, normals, albedos, variances = (Shifted(x, radius) for x in (position, normal, albedo, variance))
    images = Shifted(a, radius), Shifted(b, radius)
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            offset = positions(dy, dx) - position
            plane = np.abs((offset * normal).sum(-1)) / np.float32(0.02)
            features = (
                ((normals(dy, dx) - normal) ** 2).sum(-1) / np.float32(0.15**2)
                + ((albedos(dy, dx) - albedo) ** 2).sum(-1) / np.float32(0.30**2)
                + plane**2
            )
            joint = np.exp(-features)
            other_variance = variances(dy, dx)
            for half, guide in ((0, 1), (1, 0)):
                excess = (images[guide](dy, dx) - (a, b)[guide]) ** 2 - (
                    variance + np.minimum(variance, other_variance)
                )
                distance = (excess / (np.float32(1e-7) + np.float32(0.5) * (variance + other_variance))).mean(-1)
                patch = cv2.boxFilter(distance, -1, (5, 5))
                w = joint * np.exp(-np.maximum(patch, 0))
                total[half] += w[..., None] * images[half](dy, dx)
                weight[half] += w
    return [t / w[..., None] * base for t, w in zip(total, weight, strict=True)]


def denoise(raw: dict[str, F32]) -> tuple[list[F32], float]:
    """Both halves of the image denoised, and the fraction of indirect energy removed with fireflies."""
    guides = raw["albedo"], raw["normal"], raw["position"]
    clamped, removed = clamp_fireflies([raw["b0"], raw["b1"]], raw["albedo"])
    indirect = wavelet(clamped, guides, levels=5, plane_sigma=0.2, normal_sigma=0.8)
    smooth = non_local_means([raw["d0"], raw["d1"]], guides)
    direct = wavelet(smooth, guides, levels=3, plane_sigma=0.03, normal_sigma=0.3, light_guides=smooth[::-1])
    emitted = [raw["e0"], raw["e1"]]
    return [e + d + b for e, d, b in zip(emitted, direct, indirect, strict=True)], removed


def residual_noise(halves: list[F32], clip: float) -> float:
    """RMS noise of the halves' mean in the mu-law domain (``clip`` is 1): half the RMS of their difference."""
    return float(np.sqrt(np.mean((mu_law(halves[0] / clip) - mu_law(halves[1] / clip)) ** 2)) / 2)
