"""Monte-Carlo noise removed from two independent halves: direct light with care, bounced light broadly.

Radiance is divided by the albedo first, so that texture passes through untouched. Direct light: joint non-local means
after Rousselle, Manzi & Zwicker 2013, "Robust denoising using feature and color information" (eq. 2-4, one scale), each
half weighted by the *other*, so that the weights do not follow the noise they remove. Bounced light, smooth by nature:
the edge-avoiding a-trous wavelet of Dammertz et al. 2010, guided by geometry alone.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[Any]  # float32
MU = 5000.0
BASE = np.float32(0.03)  # keeps the division by the albedo finite


def shifted(x: F32, dy: int, dx: int) -> F32:
    """``x`` moved by whole pixels, mirrored at the border."""
    matrix = np.array([[1, 0, -dx], [0, 1, -dy]], np.float32)
    size = (x.shape[1], x.shape[0])
    return np.asarray(
        cv2.warpAffine(x, matrix, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT), np.float32
    )


def clamp_fireflies(halves: list[F32], albedo: F32) -> tuple[list[F32], float]:
    """Bounced light with single bright pixels limited to ten times the mean around them in the other half.

    Also returns the share of the bounced energy this removed.
    """
    base = albedo + BASE
    around = [cv2.boxFilter(half / base, -1, (31, 31)) * base for half in halves]
    kept = [np.minimum(half, 10 * other) for half, other in zip(halves, reversed(around), strict=True)]
    return kept, 1 - float(sum(k.sum(dtype=np.float64) for k in kept) / sum(h.sum(dtype=np.float64) for h in halves))


def wavelet(halves: list[F32], albedo: F32, normal: F32, position: F32, levels: int = 4) -> list[F32]:
    """Both halves (H, W, 3) of the bounced light, smoothed over neighbours on the same surface. Position in metres."""
    base = albedo + BASE
    lit = (albedo.max(-1) > 0.004).astype(np.float32)  # emitters reflect nothing and lend nothing
    out = [half / base for half in halves]
    kernel = np.array([1, 4, 6, 4, 1], np.float32) / 16
    for level in range(levels):
        top, weight = [np.zeros_like(half) for half in out], np.zeros(lit.shape, np.float32)
        for j in range(-2, 3):
            for i in range(-2, 3):
                dy, dx = j * 2**level, i * 2**level
                plane = ((shifted(position, dy, dx) - position) * normal).sum(-1) / np.float32(0.05)
                bend = ((shifted(normal, dy, dx) - normal) ** 2).sum(-1) / np.float32(0.25**2)
                w = kernel[j + 2] * kernel[i + 2] * np.exp(-(plane**2) - bend) * shifted(lit, dy, dx)
                weight += w
                for t, half in zip(top, out, strict=True):
                    t += w[..., None] * shifted(half, dy, dx)
        seen = (weight > 0)[..., None]
        out = [np.where(seen, t / np.maximum(weight, 1e-12)[..., None], half) for t, half in zip(top, out, strict=True)]
    return [half * base for half in out]


def joint_filter(halves: list[F32], albedo: F32, normal: F32, position: F32, radius: int = 7) -> list[F32]:
    """Both halves (H, W, 3) of the direct light, denoised; features (H, W, 3), position in metres."""
    base = albedo + BASE
    a, b = halves[0] / base, halves[1] / base
    variance = cv2.boxFilter((a - b) ** 2 / 2, -1, (7, 7))
    top = [np.zeros_like(a), np.zeros_like(a)]
    weight = [np.zeros(a.shape[:2], np.float32) for _ in range(2)]
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            gap = shifted(position, dy, dx) - position
            plane = np.abs((gap * normal).sum(-1)) / np.float32(0.02)
            features = (
                ((shifted(normal, dy, dx) - normal) ** 2).sum(-1) / np.float32(0.15**2)
                + ((shifted(albedo, dy, dx) - albedo) ** 2).sum(-1) / np.float32(0.30**2)
                + plane**2
            )
            joint = np.exp(-features)
            spread = shifted(variance, dy, dx)
            for own, guide, i in ((a, b, 0), (b, a, 1)):
                excess = (shifted(guide, dy, dx) - guide) ** 2 - (variance + np.minimum(variance, spread))
                distance = (excess / (np.float32(1e-7) + np.float32(0.5) * (variance + spread))).mean(-1)
                patch = cv2.boxFilter(distance, -1, (5, 5))
                w = joint * np.exp(-np.maximum(patch, 0))
                top[i] += w[..., None] * shifted(own, dy, dx)
                weight[i] += w
    return [t / w[..., None] * base for t, w in zip(top, weight, strict=True)]


def denoise(raw: dict[str, F32]) -> tuple[list[F32], float]:
    """Both halves of the picture, denoised, and the share of bounced energy lost to clamped fireflies."""
    guides = raw["albedo"], raw["normal"], raw["position"]
    clamped, removed = clamp_fireflies([raw["b0"], raw["b1"]], raw["albedo"])
    direct, bounced = joint_filter([raw["d0"], raw["d1"]], *guides), wavelet(clamped, *guides)
    return [d + b for d, b in zip(direct, bounced, strict=True)], removed


def mu_law(radiance: F32, clip: float) -> F32:
    """The benchmark's tone curve, log(1 + mu h)/log(1 + mu), h = radiance / ``clip`` (the short frame's)."""
    return np.asarray(np.log1p(MU * np.maximum(radiance, 0) / clip) / np.log1p(MU), np.float32)


def residual_noise(halves: list[F32], clip: float) -> float:
    """RMS noise of the halves' mean in the mu-law domain: half of their difference's RMS."""
    return float(np.sqrt(np.mean((mu_law(halves[0], clip) - mu_law(halves[1], clip)) ** 2)) / 2)
