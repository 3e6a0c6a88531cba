"""Materials: random reflectances and textures, and their lookup on a mesh at the resolution of a ray.

Reflectance is linear, float32. Textures are those of the example burst (examples/scene/textures.py) and of this file.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.renderer.geometry import Mesh
from examples.scene import textures

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
WORDS = ("EXPOSURE", "ghosts", "1/512 s", "NORTH", "photon", "Caution", "No. 47", "OPEN", "lux", "Platform 9", "TEA")


@dataclass(frozen=True)
class Material:
    """``reflectance``: linear, (3,) or a texture (h, w, 3). ``gloss``: roughness of a coating over it, 0 for none.

    ``emission``: radiance of a light source, (3,) or (h, w, 3); a light source reflects nothing.
    """

    reflectance: NDArray[np.float32]
    gloss: float = 0.0
    emission: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class TexturedSurface:
    """A mesh with its texture. ``corner``, ``normal``: (F, 3, 3) of each triangle; ``uv``: (F, 3, 2).

    ``scale``: (F,) metres per unit of uv. ``levels``: the texture's mip levels.
    """

    corner: F64
    normal: F64
    uv: F64
    scale: F64
    levels: tuple[F32, ...]
    gloss: float
    is_light: bool

    @staticmethod
    def of(mesh: Mesh, material: Material) -> "TexturedSurface":
        """A mesh of one material; of a light source the texture is its emission."""
        corner, uv = mesh.points[mesh.faces], mesh.uv[mesh.faces]
        area = np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=-1)
        a, b = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
        flat = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])
        scale = np.sqrt(area / np.maximum(flat, 1e-12))
        texture = material.reflectance if material.emission is None else material.emission
        return TexturedSurface(
            corner,
            mesh.normals[mesh.faces],
            uv,
            scale,
            mip_levels(texture),
            material.gloss,
            material.emission is not None,
        )

    def barycentric(self, face: NDArray[np.int64], point: F64) -> F64:
        """(N, 3) barycentric weights of (N, 3) points on their triangles."""
        return barycentric(point, self.corner[face])

    def texture_at(self, face: NDArray[np.int64], weights: F64, footprint: F64) -> F32:
        """(N, 3) texture, bilinear on the nearest mip level; ``footprint``: (N,) metres of surface per ray."""
        uv = (weights[..., None] * self.uv[face]).sum(1)
        texel = self.scale[face] / max(self.levels[0].shape[:2])
        level = np.clip(
            np.round(np.log2(np.maximum(footprint / np.maximum(texel, 1e-9), 1e-9))), 0, len(self.levels) - 1
        )
        out = np.empty((len(face), 3), np.float32)
        for k, texture in enumerate(self.levels):
            on = level == k
            if on.any():
                out[on] = sample_bilinear(texture, uv[on])
        return out

    def normal_at(self, face: NDArray[np.int64], weights: F64, direction: F32) -> F32:
        """(N, 3) smooth unit normals on the side from which (N, 3) rays come."""
        normal = (weights[..., None] * self.normal[face]).sum(1)
        normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
        away = (normal * direction).sum(-1, keepdims=True) > 0
        return np.asarray(np.where(away, -normal, normal), np.float32)


def barycentric(points: F64, corners: F64) -> F64:
    """(N, 3) barycentric weights of (N, 3) points in triangles of (N, 3, 3) corners."""
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    p = points - corners[:, 0]
    aa, ab, bb, pa, pb = ((u * v).sum(-1) for u, v in ((a, a), (a, b), (b, b), (p, a), (p, b)))
    area = np.maximum(aa * bb - ab * ab, 1e-30)
    second, third = (bb * pa - ab * pb) / area, (aa * pb - ab * pa) / area
    return np.stack([1 - second - third, second, third], -1)


def mip_levels(texture: F32) -> tuple[F32, ...]:
    """A texture, (3,) or (h, w, 3), and its successive halves down to a few texels."""
    levels = [texture.reshape(1, 1, 3) if texture.ndim == 1 else texture]
    while min(levels[-1].shape[:2]) >= 4:
        h, w = levels[-1].shape[:2]
        smaller = cv2.resize(levels[-1], (w // 2, h // 2), interpolation=cv2.INTER_AREA)
        levels.append(np.asarray(smaller, np.float32))
    return tuple(np.ascontiguousarray(level, np.float32) for level in levels)


def sample_bilinear(texture: F32, uv: F64) -> F32:
    """(N, 3) texture at (N, 2) repeating coordinates; v = 0 is the last row."""
    h, w = texture.shape[:2]
    x, y = uv[:, 0] * w - 0.5, (1 - uv[:, 1]) * h - 0.5
    left, top = np.floor(x), np.floor(y)
    fx, fy = (x - left)[:, None].astype(np.float32), (y - top)[:, None].astype(np.float32)
    c0, r0 = left.astype(np.int64) % w, top.astype(np.int64) % h
    c1, r1 = (c0 + 1) % w, (r0 + 1) % h
    upper = texture[r0, c0] * (1 - fx) + texture[r0, c1] * fx
    lower = texture[r1, c0] * (1 - fx) + texture[r1, c1] * fx
    return np.asarray(upper * (1 - fy) + lower * fy, np.float32)


def random_colour(rng: np.random.Generator, low: float = 0.03, high: float = 0.8) -> F32:
    """(3,) a uniform reflectance."""
    level = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    tint = 1 + rng.uniform(0, 0.9) * (rng.uniform(-0.5, 0.5, 3))
    return np.asarray(np.clip(level * tint / tint.max(), 0.01, 0.85), np.float32)


def grainy(rng: np.random.Generator, spread: float, cells: float, size: int = 384) -> F32:
    """Plaster, concrete, asphalt: one colour with fractal grain."""
    grain = textures.noise(rng, (size, size), (cells, cells), 6)
    return np.clip(random_colour(rng, 0.1, 0.7) * np.exp(spread * grain)[..., None], 0.01, 0.85).astype(np.float32)


def tiles(rng: np.random.Generator, count: int, size: int = 384) -> F32:
    """Square tiles of varying brightness with joints, half of the time in two colours."""
    a, b = random_colour(rng, 0.1, 0.75), random_colour(rng, 0.03, 0.4)
    y, x = np.mgrid[0:size, 0:size] * (count / size)
    tone = np.exp(0.08 * rng.standard_normal((count, count)))[y.astype(int), x.astype(int)]
    chess = ((y.astype(int) + x.astype(int)) % 2) * (rng.random() < 0.5)
    joint = (np.minimum(x % 1, y % 1) < 0.05)[..., None]
    body = np.where(chess[..., None] > 0, b, a) * tone[..., None]
    body = body * (1 + 0.05 * textures.noise(rng, (size, size), (20, 20), 4)[..., None])
    return np.clip(np.where(joint, 0.5 * a, body), 0.01, 0.85).astype(np.float32)


def striped(rng: np.random.Generator, count: int, size: int = 256) -> F32:
    """Stripes along v, as of wallpaper, awnings and shirts."""
    colours = np.stack([random_colour(rng) for _ in range(3)])
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
    """The facade of a house: plaster or brick with rows of windows."""
    out = textures.brick(rng, (size, size), 40, 16) if rng.random() < 0.5 else grainy(rng, 0.1, 8, size)
    rows, cols = rng.integers(2, 5), rng.integers(2, 6)
    glass, frame = random_colour(rng, 0.02, 0.08), random_colour(rng, 0.3, 0.8)
    for row in range(rows):
        for col in range(cols):
            y, x = (row + 0.25) * size / rows, (col + 0.28) * size / cols
            h, w = 0.55 * size / rows, 0.44 * size / cols
            out[int(y) : int(y + h), int(x) : int(x + w)] = frame
            for k in range(2):
                left = x + 0.06 * w + k * 0.47 * w
                out[int(y + 0.06 * h) : int(y + 0.94 * h), int(left) : int(left + 0.41 * w)] = glass
    return out.astype(np.float32)


def poster(rng: np.random.Generator) -> F32:
    """A poster or label."""
    words = [(str(rng.choice(WORDS)), float(rng.uniform(0.1, 0.25))) for _ in range(3)]
    paper, ink = random_colour(rng, 0.4, 0.8), random_colour(rng, 0.02, 0.1)
    if rng.random() < 0.3:
        paper, ink = ink, paper
    return textures.lettering((320, 320), words, tuple(paper), tuple(ink))


def wall(rng: np.random.Generator) -> Material:
    """An indoor wall, mostly of uniform paint."""
    kind = rng.choice(["paint", "paint", "plaster", "brick", "bands", "tiles"])
    colours: dict[str, Callable[[], F32]] = {
        "paint": lambda: random_colour(rng, 0.15, 0.8),
        "plaster": lambda: grainy(rng, 0.05, 6),
        "brick": lambda: textures.brick(rng, (384, 384), 16, 6),
        "bands": lambda: striped(rng, 9),
        "tiles": lambda: tiles(rng, 10),
    }
    return Material(np.asarray(colours[str(kind)](), np.float32))


def floor(rng: np.random.Generator) -> Material:
    """An indoor floor."""
    kind = rng.choice(["wood", "rug", "tiles", "mottled"])
    colours: dict[str, Callable[[], F32]] = {
        "wood": lambda: textures.wood(rng, (512, 512), 9, rng.uniform(0.7, 1.6)),
        "rug": lambda: textures.rug(rng, (400, 600)),
        "tiles": lambda: tiles(rng, 8),
        "mottled": lambda: grainy(rng, 0.15, 10),
    }
    return Material(np.asarray(colours[str(kind)](), np.float32), gloss=float(rng.choice([0.0, 0.25])))


def random_material(rng: np.random.Generator) -> Material:
    """The material of any object."""
    kind = rng.choice(["paint", "bands", "weave", "wood", "print", "gores", "mottled", "tiles"])
    colours: dict[str, Callable[[], F32]] = {
        "paint": lambda: random_colour(rng),
        "bands": lambda: striped(rng, 5),
        "weave": lambda: textures.weave(rng, (256, 256), 24, tuple(random_colour(rng)), tuple(random_colour(rng))),
        "wood": lambda: textures.wood(rng, (256, 256), 2, rng.uniform(0.8, 1.6)),
        "print": lambda: poster(rng),
        "gores": lambda: textures.beach_ball(rng),
        "mottled": lambda: grainy(rng, 0.3, 4, 256),
        "tiles": lambda: tiles(rng, 5, 256),
    }
    return Material(np.asarray(colours[str(kind)](), np.float32), gloss=float(rng.choice([0.0, 0.0, 0.2])))


def plain(rng: np.random.Generator, low: float = 0.03, high: float = 0.7, gloss: float = 0.0) -> Material:
    """A uniform colour."""
    return Material(random_colour(rng, low, high), gloss)


def foliage(rng: np.random.Generator) -> Material:
    """Green or autumn leaves."""
    green = textures.leaf(rng, (128, 64))
    tint = np.array([1, 1, 1]) if rng.random() < 0.6 else np.array([3.0, 0.9, 0.4])
    return Material(np.clip(green * tint, 0.01, 0.8).astype(np.float32))


def lamp(rng: np.random.Generator, low: float, high: float) -> Material:
    """A lamp of a radiance between ``low`` and ``high``, warm to cool."""
    level = np.exp(rng.uniform(np.log(low), np.log(high)))
    warm = rng.uniform(0, 1)
    colour = level * np.array([1.0, 0.85 - 0.25 * warm, 0.9 - 0.6 * warm])
    return Material(np.zeros(3, np.float32), emission=colour.astype(np.float32))


def window_view(rng: np.random.Generator, level: float) -> Material:
    """The view through a window: sky, trees, lawn, of about radiance ``level``."""
    view = textures.garden(rng, (300, 340))
    return Material(np.zeros(3, np.float32), emission=(level / 3 * view).astype(np.float32))
