"""Light as a finite number of small lamps, the same for every pixel: no Monte-Carlo noise anywhere.

Every lamp of the scene, its sky, and what its surfaces throw back is stood for by fixed lights; each of the ``RAYS``
rays of a pixel takes its own share of them, ``RAYS`` times as strong, so that a pixel of one surface sees all. It is
the scene as these lights light it, not an estimate of one under lamps without gaps: shadows have steps, in all frames.
Light thrown back once, with what is thrown back further as an even glow: instant radiosity, Keller 1997, SIGGRAPH,
section 3, its lights put where rays from the camera meet the scene and its 1/r^2 bounded.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from rendered.shown import F32
from rendered.skins import Skin

F64 = NDArray[np.float64]
RAYS = 8  # a pixel
NEAR = 0.15  # metres: no light is nearer than this
SKY_LIGHTS, BACK_LIGHTS = 6, 4  # for each ray
BACK_NEAR = 0.7  # metres, of light thrown back


@dataclass(frozen=True)
class Lights:
    """K lights for each of the RAYS rays of a pixel.

    ``place``: (K, RAYS, 3) metres, or for those ``far`` (K,) away the direction to them. ``normal``: (K, RAYS, 3) of
    what gives the light. ``power``: (K, RAYS, 3): irradiance from afar, or times metres squared from near by. ``near``:
    (K,) metres below which it does not grow."""

    place: F32
    normal: F32
    power: F32
    far: NDArray[np.bool_]
    near: F32

    def __add__(self, other: "Lights") -> "Lights":
        """Both."""
        return Lights(*(np.concatenate(pair) for pair in zip(vars(self).values(), vars(other).values(), strict=True)))


def of_skin(skin: Skin, rng: np.random.Generator) -> Lights:
    """One light a ray on a surface that shines, two on a large one, spread evenly over its area."""
    edges = np.cross(skin.corner[:, 1] - skin.corner[:, 0], skin.corner[:, 2] - skin.corner[:, 0])
    area = np.linalg.norm(edges, axis=-1) / 2
    count = RAYS * (2 if area.sum() > 0.3 else 1)
    spread = (np.arange(count) + 0.5) / count
    face = np.searchsorted(np.cumsum(area) / area.sum(), spread).clip(0, len(area) - 1)
    grid = (np.outer(np.arange(1, count + 1), [0.7548776662, 0.5698402910]) + rng.random(2)) % 1  # Roberts' R2 sequence
    root = np.sqrt(grid[:, 0])
    share = np.stack([1 - root, root * (1 - grid[:, 1]), root * grid[:, 1]], -1)
    point = (share[..., None] * skin.corner[face]).sum(1)
    normal = (share[..., None] * skin.normal[face]).sum(1)
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
    power = skin.colour(face, share, np.full(count, np.sqrt(area.sum() / count))) * (area.sum() / count * RAYS)
    order = rng.permutation(count).reshape(-1, RAYS)
    many = len(order)
    place, facing, strength = (v[order].astype(np.float32) for v in (point, normal, power))
    return Lights(place, facing, strength, np.zeros(many, np.bool_), np.full(many, NEAR, np.float32))


def of_sky(panorama: F32, turn: float, rng: np.random.Generator) -> Lights:
    """Lights far away, put where an equirectangular panorama (h, w, 3) is bright, each as bright as the next."""
    small = cv2.resize(panorama, (128, 64), interpolation=cv2.INTER_AREA)
    high = np.pi * (0.5 - (np.arange(64) + 0.5) / 64)
    flux = small.mean(-1) * np.cos(high)[:, None] * (np.pi / 64) * (2 * np.pi / 128)
    count = RAYS * SKY_LIGHTS
    share = np.cumsum(flux.ravel(), dtype=np.float64)
    picked = np.searchsorted(share / max(share[-1], 1e-30), (np.arange(count) + rng.random()) / count).clip(
        0, share.size - 1
    )
    row, column = np.divmod(picked, 128)
    direction = direction_of((column + 0.5) / 128, (row + 0.5) / 64, turn)
    colour = small[row, column] / np.maximum(small[row, column].mean(-1, keepdims=True), 1e-9)
    power = colour * (share[-1] / count * RAYS)
    order = rng.permutation(count).reshape(-1, RAYS)
    shape = direction[order].astype(np.float32)
    return Lights(
        shape, -shape, power[order].astype(np.float32), np.ones(len(order), bool), np.ones(len(order), np.float32)
    )


def of_sun(direction: tuple[float, float, float], irradiance: tuple[float, float, float]) -> Lights:
    """One light far away, the same for all rays."""
    towards = np.broadcast_to(np.array(direction, np.float32), (1, RAYS, 3))
    power = np.broadcast_to(np.array(irradiance, np.float32), (1, RAYS, 3))
    return Lights(towards, -towards, power, np.ones(1, bool), np.ones(1, np.float32))


def thrown_back(point: F64, normal: F32, leaving: F32, distance: F64, slant: F64, rng: np.random.Generator) -> Lights:
    """What (N, 3) points of surfaces throw back, found by N rays spread evenly over all directions from one place:
    ``leaving`` radiance, ``distance`` and cosine ``slant`` at which each was met, 0 where nothing was. N is a multiple
    of RAYS. None stands for more than four times the area that the median of them does."""
    count = len(point)
    solid = 4 * np.pi / count
    area = solid * distance**2 / np.maximum(slant, 0.2)
    if (distance > 0).any():
        area = np.minimum(area, 4 * np.median(area[distance > 0]))
    power = leaving * (area * RAYS)[:, None]
    order = rng.permutation(count).reshape(-1, RAYS)
    many = len(order)
    place, facing, strength = (v[order].astype(np.float32) for v in (point, normal, power))
    return Lights(place, facing, strength, np.zeros(many, np.bool_), np.full(many, BACK_NEAR, np.float32))


def direction_of(u: F64, v: F64, turn: float) -> F64:
    """(N, 3) directions of equirectangular coordinates in [0, 1], v = 0 up; ``turn``: azimuth in degrees."""
    long, high = 2 * np.pi * u + np.radians(turn), np.pi * (0.5 - v)
    return np.stack([np.cos(high) * np.cos(long), -np.cos(high) * np.sin(long), np.sin(high)], -1)


def coordinates_of(direction: F32, turn: float) -> F64:
    """The inverse of ``direction_of``: (N, 2), v counted from below as on surfaces."""
    u = (np.arctan2(-direction[:, 1], direction[:, 0]) - np.radians(turn)) / (2 * np.pi) % 1
    return np.stack([u, 0.5 + np.arcsin(np.clip(direction[:, 2], -1, 1)) / np.pi], -1)


def spread_directions(count: int) -> F32:
    """(N, 3) directions evenly over the sphere (Fibonacci's spiral)."""
    k = np.arange(count) + 0.5
    z, angle = 1 - 2 * k / count, np.pi * (1 + 5**0.5) * k
    r = np.sqrt(1 - z * z)
    return np.stack([r * np.cos(angle), r * np.sin(angle), z], -1).astype(np.float32)
