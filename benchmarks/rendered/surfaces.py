"""Random materials: paint, plaster, brick, wood, cloth, tiles, grass, print, leaves. Linear reflectance, float32."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scene import textures

from rendered.scenery import Material

F32 = NDArray[np.float32]
WORDS = ("EXPOSURE", "ghosts", "1/512 s", "NORTH", "photon", "Caution", "No. 47", "OPEN", "lux", "Platform 9", "TEA")


def paint(rng: np.random.Generator, low: float = 0.03, high: float = 0.8) -> F32:
    """(3,) one even colour."""
    level = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    tint = 1 + rng.uniform(0, 0.9) * (rng.uniform(-0.5, 0.5, 3))
    return np.asarray(np.clip(level * tint / tint.max(), 0.01, 0.85), np.float32)


def mottled(rng: np.random.Generator, spread: float, cells: float, size: int = 384) -> F32:
    """Plaster, concrete, asphalt: one colour with grain."""
    grain = textures.noise(rng, (size, size), (cells, cells), 6)
    return np.clip(paint(rng, 0.1, 0.7) * np.exp(spread * grain)[..., None], 0.01, 0.85).astype(np.float32)


def tiles(rng: np.random.Generator, count: int, size: int = 384) -> F32:
    """Square tiles, each with a tone of its own, and the joints between them; two colours now and then."""
    a, b = paint(rng, 0.1, 0.75), paint(rng, 0.03, 0.4)
    y, x = np.mgrid[0:size, 0:size] * (count / size)
    tone = np.exp(0.08 * rng.standard_normal((count, count)))[y.astype(int), x.astype(int)]
    chess = ((y.astype(int) + x.astype(int)) % 2) * (rng.random() < 0.5)
    joint = (np.minimum(x % 1, y % 1) < 0.05)[..., None]
    body = np.where(chess[..., None] > 0, b, a) * tone[..., None]
    body = body * (1 + 0.05 * textures.noise(rng, (size, size), (20, 20), 4)[..., None])
    return np.clip(np.where(joint, 0.5 * a, body), 0.01, 0.85).astype(np.float32)


def bands(rng: np.random.Generator, count: int, size: int = 256) -> F32:
    """Stripes along v, as wallpaper, awnings and shirts have them."""
    colours = np.stack([paint(rng) for _ in range(3)])
    edges = np.sort(rng.integers(0, size, 2 * count))
    return np.ascontiguousarray(np.broadcast_to(colours[np.searchsorted(edges, np.arange(size)) % 3], (16, size, 3)))


def grass(rng: np.random.Generator, size: int = 512) -> F32:
    """Lawn, meadow or leaf litter."""
    blades = textures.noise(rng, (size, size), (120, 60), 3)
    clumps = textures.noise(rng, (size, size), (6, 6), 4)
    dark, bright = (
        ((0.02, 0.045, 0.012), (0.13, 0.22, 0.05)) if rng.random() < 0.6 else ((0.04, 0.025, 0.012), (0.3, 0.17, 0.06))
    )
    return textures.mix(dark, bright, 0.45 + 0.2 * blades + 0.15 * clumps).astype(np.float32)


def facade(rng: np.random.Generator, size: int = 512) -> F32:
    """The front of a house: plaster or brick, and rows of windows with frames."""
    out = textures.brick(rng, (size, size), 40, 16) if rng.random() < 0.5 else mottled(rng, 0.1, 8, size)
    rows, cols = rng.integers(2, 5), rng.integers(2, 6)
    glass, frame = paint(rng, 0.02, 0.08), paint(rng, 0.3, 0.8)
    for row in range(rows):
        for col in range(cols):
            y, x = (row + 0.25) * size / rows, (col + 0.28) * size / cols
            h, w = 0.55 * size / rows, 0.44 * size / cols
            out[int(y) : int(y + h), int(x) : int(x + w)] = frame
            for k in range(2):
                left = x + 0.06 * w + k * 0.47 * w
                out[int(y + 0.06 * h) : int(y + 0.94 * h), int(left) : int(left + 0.41 * w)] = glass
    return out.astype(np.float32)


def print_(rng: np.random.Generator) -> F32:
    """A poster or label."""
    words = [(str(rng.choice(WORDS)), float(rng.uniform(0.1, 0.25))) for _ in range(3)]
    paper, ink = paint(rng, 0.4, 0.8), paint(rng, 0.02, 0.1)
    if rng.random() < 0.3:
        paper, ink = ink, paper
    return textures.lettering((320, 320), words, tuple(paper), tuple(ink))


def wall(rng: np.random.Generator) -> Material:
    """A wall, indoors: even paint as often as not."""
    kind = rng.choice(["paint", "paint", "plaster", "brick", "bands", "tiles"])
    colours: dict[str, Callable[[], F32]] = {
        "paint": lambda: paint(rng, 0.15, 0.8),
        "plaster": lambda: mottled(rng, 0.05, 6),
        "brick": lambda: textures.brick(rng, (384, 384), 16, 6),
        "bands": lambda: bands(rng, 9),
        "tiles": lambda: tiles(rng, 10),
    }
    return Material(np.asarray(colours[str(kind)](), np.float32))


def floor(rng: np.random.Generator) -> Material:
    """A floor, indoors."""
    kind = rng.choice(["wood", "rug", "tiles", "mottled"])
    colours: dict[str, Callable[[], F32]] = {
        "wood": lambda: textures.wood(rng, (512, 512), 9, rng.uniform(0.7, 1.6)),
        "rug": lambda: textures.rug(rng, (400, 600)),
        "tiles": lambda: tiles(rng, 8),
        "mottled": lambda: mottled(rng, 0.15, 10),
    }
    return Material(np.asarray(colours[str(kind)](), np.float32), gloss=float(rng.choice([0.0, 0.25])))


def skin(rng: np.random.Generator) -> Material:
    """Anything that stands or moves about."""
    kind = rng.choice(["paint", "bands", "weave", "wood", "print", "gores", "mottled", "tiles"])
    colours: dict[str, Callable[[], F32]] = {
        "paint": lambda: paint(rng),
        "bands": lambda: bands(rng, 5),
        "weave": lambda: textures.weave(rng, (256, 256), 24, tuple(paint(rng)), tuple(paint(rng))),
        "wood": lambda: textures.wood(rng, (256, 256), 2, rng.uniform(0.8, 1.6)),
        "print": lambda: print_(rng),
        "gores": lambda: textures.beach_ball(rng),
        "mottled": lambda: mottled(rng, 0.3, 4, 256),
        "tiles": lambda: tiles(rng, 5, 256),
    }
    return Material(np.asarray(colours[str(kind)](), np.float32), gloss=float(rng.choice([0.0, 0.0, 0.2])))


def plain(rng: np.random.Generator, low: float = 0.03, high: float = 0.7, gloss: float = 0.0) -> Material:
    """An even colour."""
    return Material(paint(rng, low, high), gloss)


def foliage(rng: np.random.Generator) -> Material:
    """Leaves: green, or autumn's."""
    green = textures.leaf(rng, (128, 64))
    tint = np.array([1, 1, 1]) if rng.random() < 0.6 else np.array([3.0, 0.9, 0.4])
    return Material(np.clip(green * tint, 0.01, 0.8).astype(np.float32))


def light(rng: np.random.Generator, low: float, high: float) -> Material:
    """A lamp of a radiance between ``low`` and ``high``, warm to cool."""
    level = np.exp(rng.uniform(np.log(low), np.log(high)))
    warm = rng.uniform(0, 1)
    colour = level * np.array([1.0, 0.85 - 0.25 * warm, 0.9 - 0.6 * warm])
    return Material(np.zeros(3, np.float32), shine=colour.astype(np.float32))


def outside(rng: np.random.Generator, level: float) -> Material:
    """What is seen through a window: sky, trees, lawn, about ``level`` bright."""
    view = textures.garden(rng, (300, 340))
    return Material(np.zeros(3, np.float32), shine=(level / 3 * view).astype(np.float32))
