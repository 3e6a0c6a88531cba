"""Monte-Carlo noise removed from two independent halves: direct light with care, bounced light broadly.

Radiance is divided by the albedo first, so that texture passes through untouched. Direct light: joint non-local means
after Rousselle, Manzi & Zwicker 2013, "Robust denoising using feature and color information" (eq. 2-4, one scale), each
half weighted by the *other*, so that the weights do not follow the noise they remove; then the edge-avoiding a-trous
wavelet of Dammertz et al. 2010, three levels, guided by geometry and the other half. Bounced light, smooth by nature:
five levels of the wavelet, guided by geometry alone.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.radiometry import mu_law

F32 = NDArray[Any]  # float32
Guides = tuple[F32, F32, F32]  # albedo, normal, position in metres, each (H, W, 3) and nearly free of noise
BASE = np.float32(0.03)  # keeps the division by the albedo finite


class Window:
    """A picture seen through a window moved by whole pixels, mirrored at the border."""

    def __init__(self, x: F32, reach: int) -> None:
        self.size, self.reach = x.shape[:2], reach
        pad = [(reach, reach), (reach, reach)] + [(0, 0)] * (x.ndim - 2)
        self.padded = np.pad(x, pad, mode="reflect")

    def __call__(self, dy: int, dx: int) -> F32:
        top, left = self.reach + dy, self.reach + dx
        return self.padded[top : top + self.size[0], left : left + self.size[1]]


def clamp_fireflies(halves: list[F32], albedo: F32) -> tuple[list[F32], float]:
    """Bounced light with single bright pixels limited to ten times the mean around them in the other half.

    Also returns the share of the bounced energy this removed.
    """
    base = albedo + BASE
    around = [cv2.boxFilter(half / base, -1, (31, 31)) * base for half in halves]
    kept = [np.minimum(half, 10 * other) for half, other in zip(halves, reversed(around), strict=True)]
    return kept, 1 - float(sum(k.sum(dtype=np.float64) for k in kept) / sum(h.sum(dtype=np.float64) for h in halves))


def wavelet(
    halves: list[F32], guides: Guides, levels: int, metres: float, bend: float, likeness: list[F32] | None = None
) -> list[F32]:
    """Both halves (H, W, 3), smoothed over neighbours on the same surface; ``2**levels`` pixels to each side.

    ``metres`` is the tolerance to steps off the surface, ``bend`` to turns of its normal. With ``likeness``, a picture
    for each half, neighbours must also agree there within 20 %.
    """
    albedo, normal, position = guides
    base = albedo + BASE
    lit = (albedo.max(-1) > 0.004).astype(np.float32)  # emitters reflect nothing and lend nothing
    kernel = np.array([1, 4, 6, 4, 1], np.float32) / 16
    places, bends, lamps = (Window(x, 2**levels) for x in (position, normal, lit))
    done = []
    for k, half in enumerate(halves):
        out = half / base
        log = np.log(likeness[k] / base + np.float32(1e-3)) if likeness else np.zeros_like(out[..., :1])
        logs = Window(log, 2**levels)
        for level in range(levels):
            view, top, weight = Window(out, 2**levels), np.zeros_like(out), np.zeros(lit.shape, np.float32)
            for j in range(-2, 3):
                for i in range(-2, 3):
                    dy, dx = j * 2**level, i * 2**level
                    apart = (((places(dy, dx) - position) * normal).sum(-1) / np.float32(metres)) ** 2
                    apart += ((bends(dy, dx) - normal) ** 2).sum(-1) / np.float32(bend**2)
                    apart += ((logs(dy, dx) - log) ** 2).mean(-1) / np.float32(0.2**2)
                    w = kernel[j + 2] * kernel[i + 2] * np.exp(-apart) * lamps(dy, dx)
                    weight += w
                    top += w[..., None] * view(dy, dx)
            out = np.where((weight > 0)[..., None], top / np.maximum(weight, 1e-12)[..., None], out)
        done.append(out * base)
    return done


def joint_filter(halves: list[F32], guides: Guides, radius: int = 5) -> list[F32]:
    """Both halves (H, W, 3) of the direct light, by joint non-local means."""
    albedo, normal, position = guides
    base = albedo + BASE
    a, b = halves[0] / base, halves[1] / base
    variance = cv2.boxFilter((a - b) ** 2 / 2, -1, (7, 7))
    top = [np.zeros_like(a), np.zeros_like(a)]
    weight = [np.zeros(a.shape[:2], np.float32) for _ in range(2)]
    places, bends, tints, spreads = (Window(x, radius) for x in (position, normal, albedo, variance))
    views = Window(a, radius), Window(b, radius)
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            gap = places(dy, dx) - position
            plane = np.abs((gap * normal).sum(-1)) / np.float32(0.02)
            features = (
                ((bends(dy, dx) - normal) ** 2).sum(-1) / np.float32(0.15**2)
                + ((tints(dy, dx) - albedo) ** 2).sum(-1) / np.float32(0.30**2)
                + plane**2
            )
            joint = np.exp(-features)
            spread = spreads(dy, dx)
            for own, guide in ((0, 1), (1, 0)):
                excess = (views[guide](dy, dx) - (a, b)[guide]) ** 2 - (variance + np.minimum(variance, spread))
                distance = (excess / (np.float32(1e-7) + np.float32(0.5) * (variance + spread))).mean(-1)
                patch = cv2.boxFilter(distance, -1, (5, 5))
                w = joint * np.exp(-np.maximum(patch, 0))
                top[own] += w[..., None] * views[own](dy, dx)
                weight[own] += w
    return [t / w[..., None] * base for t, w in zip(top, weight, strict=True)]


def denoise(raw: dict[str, F32]) -> tuple[list[F32], float]:
    """Both halves of the picture, denoised, and the share of bounced energy lost to clamped fireflies."""
    guides = raw["albedo"], raw["normal"], raw["position"]
    clamped, removed = clamp_fireflies([raw["b0"], raw["b1"]], raw["albedo"])
    bounced = wavelet(clamped, guides, levels=5, metres=0.2, bend=0.8)
    first = joint_filter([raw["d0"], raw["d1"]], guides)
    direct = wavelet(first, guides, levels=3, metres=0.03, bend=0.3, likeness=first[::-1])
    emitted = [raw["e0"], raw["e1"]]
    return [e + d + b for e, d, b in zip(emitted, direct, bounced, strict=True)], removed


def residual_noise(halves: list[F32], clip: float) -> float:
    """RMS noise of the halves' mean in the mu-law domain (radiance ``clip`` is 1): half of their difference's RMS."""
    return float(np.sqrt(np.mean((mu_law(halves[0] / clip) - mu_law(halves[1] / clip)) ** 2)) / 2)
