"""Procedural textures: (H, W, 3) float32 linear reflectance, or radiance for the garden; row 0 at the top."""

from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

F32 = NDArray[Any]  # float32


def noise(rng: np.random.Generator, size: tuple[int, int], cells: tuple[float, float], octaves: int = 4) -> F32:
    """Fractal value noise of ``size`` (H, W), mean 0 and variance 1; ``cells``: (rows, columns) of the first octave."""
    out = np.zeros(size, np.float32)
    for octave in range(octaves):
        rows, cols = (max(2, round(c * 2**octave)) for c in cells)
        grid = rng.standard_normal((rows + 3, cols + 3)).astype(np.float32)
        out += cv2.resize(grid, (size[1], size[0]), interpolation=cv2.INTER_CUBIC) / 2**octave
    return np.asarray((out - out.mean()) / out.std(), np.float32)


def mix(a: F32 | tuple[float, ...], b: F32 | tuple[float, ...], t: F32) -> F32:
    """Linear blend of two colours by an (H, W) map."""
    t3 = np.clip(t, 0, 1)[..., None]
    return np.asarray(np.asarray(a, np.float32) * (1 - t3) + np.asarray(b, np.float32) * t3, np.float32)


def wood(rng: np.random.Generator, size: tuple[int, int], planks: int, light: float = 1.0) -> F32:
    """Planks along x with their own tone, grain and end joint."""
    h, w = size
    out = np.empty((h, w, 3), np.float32)
    edges = np.linspace(0, h, planks + 1).astype(int)
    for top, bottom in pairwise(edges):
        cut = int(rng.uniform(0.2, 0.8) * w)
        for left, right in ((0, cut), (cut, w)):
            part = (bottom - top, right - left)
            bend = noise(rng, part, (1.5, 3), 2)
            y = np.linspace(0, 1, part[0], dtype=np.float32)[:, None]
            rings = np.sin((y * rng.uniform(2, 5) + 0.35 * bend) * 2 * np.pi)
            fibre = noise(rng, part, (part[0] / 3, part[1] / 160), 2)
            tone = 0.5 + 0.22 * rings + 0.16 * fibre + 0.3 * rng.standard_normal()
            block = mix((0.20, 0.095, 0.042), (0.46, 0.27, 0.14), tone)
            block[:2] *= 0.35
            block[:, :2] *= 0.45
            out[top:bottom, left:right] = block
    return np.clip(out * light, 0.01, 0.9)


def brick(rng: np.random.Generator, size: tuple[int, int], rows: int, cols: int) -> F32:
    """Lime-washed brick in running bond."""
    h, w = size
    out = mix((0.42, 0.39, 0.35), (0.55, 0.52, 0.47), 0.5 + 0.3 * noise(rng, size, (rows * 2, cols * 3), 3))
    bh, bw = h / rows, w / cols
    rough = noise(rng, size, (rows * 3, cols * 5), 4)
    wash = noise(rng, size, (4, 5), 4)
    for row in range(rows):
        for col in range(-1, cols + 1):
            x0, y0 = (col + 0.5 * (row % 2)) * bw, row * bh
            mortar = 0.07 * bh
            xa, xb = max(0, int(x0 + mortar)), min(w, int(x0 + bw - mortar))
            ya, yb = int(y0 + mortar), int(y0 + bh - mortar)
            if xb <= xa:
                continue
            red = mix((0.30, 0.115, 0.07), (0.47, 0.23, 0.15), np.full((1, 1), rng.uniform(0, 1), np.float32))
            body = red * (1 + 0.16 * rough[ya:yb, xa:xb, None])
            out[ya:yb, xa:xb] = mix(body, (0.56, 0.50, 0.44), 0.22 + 0.2 * wash[ya:yb, xa:xb])
    return np.clip(out, 0.02, 0.85)


def weave(
    rng: np.random.Generator, size: tuple[int, int], threads: int, a: tuple[float, ...], b: tuple[float, ...]
) -> F32:
    """Plain weave: warp of colour ``a``, weft of colour ``b``, uneven threads."""
    h, w = size
    y, x = np.mgrid[0:h, 0:w].astype(np.float32) * (threads / w)
    over = (np.floor(x) + np.floor(y)) % 2
    round_x, round_y = np.sin(np.pi * (x % 1)), np.sin(np.pi * (y % 1))
    shade = np.where(over > 0, round_x, round_y)
    slub = 1 + 0.10 * noise(rng, size, (threads / 2, 3), 2) + 0.08 * noise(rng, size, (3, threads / 2), 2)
    return np.clip(mix(b, a, over) * (0.55 + 0.45 * shade * slub)[..., None], 0.01, 0.9)


def rug(rng: np.random.Generator, size: tuple[int, int] = (900, 1350)) -> F32:
    """A knotted kilim with lozenges and triangles."""
    h, w = size
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    y, x = np.floor(y / 5) * 5, np.floor(x / 5) * 5
    palette = np.array(
        [[0.33, 0.035, 0.03], [0.03, 0.06, 0.16], [0.62, 0.50, 0.33], [0.45, 0.19, 0.04], [0.04, 0.15, 0.13]],
        np.float32,
    )
    cell = h / 5
    u, v = np.abs((x / cell) % 1 - 0.5), np.abs((y / cell) % 1 - 0.5)
    lozenge = u + v
    index = np.select([lozenge < 0.12, lozenge < 0.22, lozenge < 0.33, lozenge < 0.42], [2, 1, 3, 2], 0)
    border = np.minimum(np.minimum(x, w - x), np.minimum(y, h - y)) / cell
    teeth = np.abs(((x + y) / (0.22 * cell)) % 1 - 0.5)
    index = np.select(
        [border < 0.08, border < 0.14, border < 0.36, border < 0.42], [1, 2, np.where(teeth < 0.25, 4, 2), 3], index
    )
    out = palette[index.astype(int)]
    knots = 0.85 + 0.15 * np.sin(np.mgrid[0:h, 0:w][1] * (2 * np.pi / 5)) + 0.09 * rng.standard_normal(size)
    return np.clip(out * knots[..., None], 0.008, 0.8).astype(np.float32)


def lettering(
    size: tuple[int, int], lines: list[tuple[str, float]], paper: tuple[float, ...], ink: tuple[float, ...]
) -> F32:
    """Centred lines of (text, height as a fraction of the image)."""
    h, w = size
    mask = Image.new("L", (w, h), 0)
    draw = ImageDraw.Draw(mask)
    y = (h - sum(1.25 * share for _, share in lines) * h) / 2
    for text, share in lines:
        font = ImageFont.load_default(size=max(8, int(share * h)))
        draw.text(((w - draw.textlength(text, font=font)) / 2, y), text, fill=255, font=font)
        y += 1.25 * share * h
    return mix(paper, ink, np.asarray(mask, np.float32) / 255)


def spine(rng: np.random.Generator, title: str) -> F32:
    """The spine of a book with its title running down."""
    cloth = np.array(
        [
            [0.35, 0.05, 0.04],
            [0.05, 0.11, 0.22],
            [0.06, 0.17, 0.10],
            [0.55, 0.42, 0.20],
            [0.07, 0.06, 0.06],
            [0.5, 0.47, 0.4],
            [0.42, 0.18, 0.05],
            [0.18, 0.22, 0.28],
            [0.3, 0.1, 0.2],
        ][rng.integers(9)]
    ) * rng.uniform(0.75, 1.2)
    ink = (0.75, 0.68, 0.5) if cloth.mean() < 0.25 else (0.06, 0.05, 0.05)
    flat = lettering((72, 420), [(title, 0.5)], tuple(cloth), ink)
    flat *= 1 + 0.05 * noise(rng, (72, 420), (20, 100), 2)[..., None]
    for x in (26, 34, 386, 394):
        flat[:, x : x + 3] = ink
    return np.ascontiguousarray(np.rot90(np.clip(flat, 0.01, 0.85), -1))


def leaf(rng: np.random.Generator, size: tuple[int, int] = (256, 128)) -> F32:
    """A leaf with its midrib along the rows and veins on both sides."""
    h, w = size
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    side = np.abs(x / w - 0.5)
    veins = np.abs(((y / h - 0.9 * side) * 9) % 1 - 0.5)
    light = np.maximum(np.exp(-((side / 0.03) ** 2)), 0.5 * (veins < 0.06)) + 0.12 * noise(rng, size, (8, 4), 4)
    return mix((0.035, 0.12, 0.02), (0.20, 0.34, 0.08), 0.2 + light)


def beach_ball(rng: np.random.Generator, size: tuple[int, int] = (128, 512)) -> F32:
    """A beach ball: coloured gores with white ones between."""
    h, w = size
    gores = np.array(
        [
            [0.62, 0.04, 0.03],
            [0.75, 0.72, 0.66],
            [0.03, 0.16, 0.42],
            [0.75, 0.72, 0.66],
            [0.75, 0.42, 0.03],
            [0.75, 0.72, 0.66],
        ]
    )
    out = gores[(np.arange(w) * 6 // w)][None].repeat(h, 0).astype(np.float32)
    return np.clip(out * (1 + 0.03 * noise(rng, size, (8, 30), 3)[..., None]), 0.01, 0.8)


def garden(rng: np.random.Generator, size: tuple[int, int] = (900, 1000)) -> F32:
    """Radiance of the garden (1 = the reference's clip): sky, far trees, a hedge in the sun, lawn and flowers."""
    h, w = size
    y = np.linspace(0, 1, h, dtype=np.float32)[:, None] + np.zeros((1, w), np.float32)
    x = np.linspace(0, 1, w, dtype=np.float32)[None] + np.zeros((h, 1), np.float32)
    cloud = noise(rng, size, (3, 3), 5)
    out = mix(mix((3.2, 4.5, 6.8), (5.6, 6.1, 6.6), y / 0.45), (7.3, 7.3, 7.2), 0.6 * cloud)
    leaves = noise(rng, size, (60, 66), 4)
    clumps = noise(rng, size, (9, 10), 3)

    def foliage(dark: tuple[float, ...], bright: tuple[float, ...], gain: float) -> F32:
        return mix(dark, bright, 0.42 + gain * (0.20 * leaves + 0.24 * clumps))

    ridge = 0.40 + 0.035 * noise(rng, (1, w), (1, 9), 4) + 0.010 * leaves
    out = np.where((y > ridge)[..., None], foliage((0.75, 1.05, 0.85), (1.9, 2.5, 1.5), 0.8), out)
    crown = np.hypot((x - 0.70) / 0.20, (y - 0.26) / 0.24) + 0.10 * clumps + 0.05 * leaves
    trunk = (np.abs(x - 0.70 - 0.02 * np.sin(9 * y)) < 0.016) & (y > 0.3)
    out = np.where(trunk[..., None], np.array([0.5, 0.36, 0.26]) * (1 + 0.3 * leaves[..., None]), out)
    out = np.where((crown < 1)[..., None], foliage((0.35, 0.62, 0.16), (3.3, 4.4, 1.3), 1.3), out)
    hedge = 0.58 + 0.012 * clumps + 0.008 * leaves
    out = np.where((y > hedge)[..., None], foliage((0.22, 0.42, 0.14), (1.7, 2.6, 0.7), 1.2), out)
    lawn = 0.74 + 0.004 * leaves
    grass = noise(rng, size, (150, 60), 3)
    out = np.where((y > lawn)[..., None], mix((1.3, 2.2, 0.5), (2.7, 3.6, 1.1), 0.5 + 0.2 * grass + 0.15 * clumps), out)
    for _ in range(150):
        cx, cy = int(rng.uniform(0, w)), int(rng.normal(0.72, 0.02) * h)
        colour = [(4.5, 0.8, 1.0), (5.0, 4.2, 0.8), (4.8, 4.6, 4.6), (3.4, 1.2, 4.0)][rng.integers(4)]
        cv2.circle(
            out := np.ascontiguousarray(out, np.float32), (cx, cy), int(rng.integers(3, 7)), colour, -1, cv2.LINE_AA
        )
    return np.asarray(np.clip(cv2.GaussianBlur(out, (0, 0), 1.6), 0.05, 7.4), np.float32)
