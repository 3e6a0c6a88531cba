"""Light as a finite number of point lights, the same for every pixel, so that renders have no Monte-Carlo noise.

    L = sum_k f(n, w_k, v) I_k max(0, n . w_k) max(0, -n_k . w_k) / max(r_k, r_min)^2       (shading.py)

Fixed lights stand for every lamp, the sky, and what surfaces reflect. Each of the ``RAYS`` rays of a pixel uses its own
subset of them, ``RAYS`` times as strong, so that a pixel of one surface gets all. Shadows have steps, the same in all
frames. Indirect light is one bounce by instant radiosity (Keller 1997, SIGGRAPH, section 3), with lights where camera
rays meet the scene and bounded 1/r^2, and a uniform ambient term for further bounces.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.renderer.materials import TexturedSurface
from benchmarks.renderer.raycast import F32
from benchmarks.renderer.scene import Scene, Sky
from examples.scene import textures
from smarthdr_cli.data.synth.sources import read_radiance

F64 = NDArray[np.float64]
RAYS = 8  # per pixel
SKY_LIGHTS, INDIRECT_LIGHTS = 6, 4  # per ray
MIN_DISTANCE_M = 0.15  # bounds 1/r^2 of a lamp
MIN_INDIRECT_DISTANCE_M = 0.7  # bounds 1/r^2 of indirect light
LARGE_LAMP_M2 = 0.3  # area from which a lamp gets two lights per ray
MAX_RADIANCE = 3e4  # of a panorama, in units of its median


@dataclass(frozen=True)
class Lights:
    """K lights for each of the RAYS rays of a pixel.

    ``position``: (K, RAYS, 3) metres, or the direction to a light that is ``distant`` (K,). ``normal``: (K, RAYS, 3) of
    the emitting surface. ``power``: (K, RAYS, 3) irradiance of a distant light, else radiant intensity.
    ``min_distance``: (K,) metres, below which the irradiance does not grow.
    """

    position: F32
    normal: F32
    power: F32
    distant: NDArray[np.bool_]
    min_distance: F32

    def __add__(self, other: "Lights") -> "Lights":
        """The lights of both."""
        return Lights(*(np.concatenate(pair) for pair in zip(vars(self).values(), vars(other).values(), strict=True)))


def lights_of_surface(surface: TexturedSurface, rng: np.random.Generator) -> Lights:
    """One light per ray on a lamp, two on a large one, spread evenly over its area."""
    edges = np.cross(surface.corner[:, 1] - surface.corner[:, 0], surface.corner[:, 2] - surface.corner[:, 0])
    area = np.linalg.norm(edges, axis=-1) / 2
    count = RAYS * (2 if area.sum() > LARGE_LAMP_M2 else 1)
    spread = (np.arange(count) + 0.5) / count
    face = np.searchsorted(np.cumsum(area) / area.sum(), spread).clip(0, len(area) - 1)
    grid = (np.outer(np.arange(1, count + 1), [0.7548776662, 0.5698402910]) + rng.random(2)) % 1  # Roberts' R2 sequence
    root = np.sqrt(grid[:, 0])
    weights = np.stack([1 - root, root * (1 - grid[:, 1]), root * grid[:, 1]], -1)
    point = (weights[..., None] * surface.corner[face]).sum(1)
    normal = (weights[..., None] * surface.normal[face]).sum(1)
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
    power = surface.texture_at(face, weights, np.full(count, np.sqrt(area.sum() / count))) * (area.sum() / count * RAYS)
    order = rng.permutation(count).reshape(-1, RAYS)
    position, facing, strength = (v[order].astype(np.float32) for v in (point, normal, power))
    return Lights(
        position, facing, strength, np.zeros(len(order), np.bool_), np.full(len(order), MIN_DISTANCE_M, np.float32)
    )


def lights_of_sky(panorama: F32, yaw: float, rng: np.random.Generator) -> Lights:
    """Distant lights of equal power, placed by the radiance of an equirectangular panorama (h, w, 3)."""
    small = cv2.resize(panorama, (128, 64), interpolation=cv2.INTER_AREA)
    high = np.pi * (0.5 - (np.arange(64) + 0.5) / 64)
    flux = small.mean(-1) * np.cos(high)[:, None] * (np.pi / 64) * (2 * np.pi / 128)
    count = RAYS * SKY_LIGHTS
    cumulative = np.cumsum(flux.ravel(), dtype=np.float64)
    picked = np.searchsorted(cumulative / max(cumulative[-1], 1e-30), (np.arange(count) + rng.random()) / count).clip(
        0, cumulative.size - 1
    )
    row, column = np.divmod(picked, 128)
    direction = equirectangular_direction((column + 0.5) / 128, (row + 0.5) / 64, yaw)
    colour = small[row, column] / np.maximum(small[row, column].mean(-1, keepdims=True), 1e-9)
    power = colour * (cumulative[-1] / count * RAYS)
    order = rng.permutation(count).reshape(-1, RAYS)
    towards = direction[order].astype(np.float32)
    return Lights(
        towards, -towards, power[order].astype(np.float32), np.ones(len(order), bool), np.ones(len(order), np.float32)
    )


def lights_of_sun(direction: tuple[float, float, float], irradiance: tuple[float, float, float]) -> Lights:
    """One distant light, the same for all rays."""
    towards = np.broadcast_to(np.array(direction, np.float32), (1, RAYS, 3))
    power = np.broadcast_to(np.array(irradiance, np.float32), (1, RAYS, 3))
    return Lights(towards, -towards, power, np.ones(1, bool), np.ones(1, np.float32))


def indirect_lights(
    point: F64, normal: F32, leaving: F32, distance: F64, cosine: F64, rng: np.random.Generator
) -> Lights:
    """Lights of what N points reflect, found by N rays spread evenly over all directions from one place.

    ``leaving``: (N, 3) radiance. ``distance`` and ``cosine``: (N,) of the rays at the points; 0 and any for a ray that
    hit nothing. N is a multiple of RAYS. No light stands for more than four times the median area.
    """
    count = len(point)
    solid_angle = 4 * np.pi / count
    area = solid_angle * distance**2 / np.maximum(cosine, 0.2)
    if (distance > 0).any():
        area = np.minimum(area, 4 * np.median(area[distance > 0]))
    power = leaving * (area * RAYS)[:, None]
    order = rng.permutation(count).reshape(-1, RAYS)
    position, facing, strength = (v[order].astype(np.float32) for v in (point, normal, power))
    return Lights(
        position, facing, strength, np.zeros(len(order), np.bool_),
        np.full(len(order), MIN_INDIRECT_DISTANCE_M, np.float32),
    )  # fmt: skip


def equirectangular_direction(u: F64, v: F64, yaw: float) -> F64:
    """(N, 3) directions of equirectangular coordinates in [0, 1], v = 0 up; ``yaw``: azimuth in degrees."""
    long, elevation = 2 * np.pi * u + np.radians(yaw), np.pi * (0.5 - v)
    return np.stack([np.cos(elevation) * np.cos(long), -np.cos(elevation) * np.sin(long), np.sin(elevation)], -1)


def equirectangular_uv(direction: F32, yaw: float) -> F64:
    """The inverse of ``equirectangular_direction``: (N, 2), v = 0 down, as on meshes."""
    u = (np.arctan2(-direction[:, 1], direction[:, 0]) - np.radians(yaw)) / (2 * np.pi) % 1
    return np.stack([u, 0.5 + np.arcsin(np.clip(direction[:, 2], -1, 1)) / np.pi], -1)


def fibonacci_sphere(count: int) -> F32:
    """(N, 3) directions evenly over the sphere (Fibonacci spiral)."""
    k = np.arange(count) + 0.5
    z, angle = 1 - 2 * k / count, np.pi * (1 + 5**0.5) * k
    r = np.sqrt(1 - z * z)
    return np.stack([r * np.cos(angle), r * np.sin(angle), z], -1).astype(np.float32)


def sky_panorama(scene: Scene, sources: Mapping[str, Path]) -> F32:
    """The sky as an equirectangular image; a panorama is scaled to a median of 1 before the sky's factor."""
    sky = scene.sky
    if sky.panorama is None:
        return clear_sky(sky)
    image = read_radiance(sources[sky.panorama])
    relative = image / max(float(np.median(image.mean(-1))), 1e-6)
    image = np.minimum(relative, MAX_RADIANCE) * np.array(sky.colour, np.float32)
    height, width = image.shape[:2]
    return np.asarray(cv2.resize(image, (2 * width, 2 * height), interpolation=cv2.INTER_CUBIC).clip(0), np.float32)


def clear_sky(sky: Sky) -> F32:
    """(256, 512, 3), brighter towards the horizon; with a sun also clouds, its halo and its disc."""
    height, width, seam = 256, 512, 64
    u, v = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    direction = equirectangular_direction(u.ravel(), v.ravel(), sky.yaw).reshape(height, width, 3)
    out = np.array(sky.colour, np.float64) * (1 + np.exp(-5 * np.maximum(direction[..., 2:], 0)))
    if sky.sun is not None:
        noise = textures.noise(np.random.default_rng(3), (height, width + seam), (6, 9), 5)
        fade = np.linspace(0, 1, seam)
        noise[:, :seam] = noise[:, :seam] * fade + noise[:, width:] * (1 - fade)
        cloud = np.clip(0.9 * noise[:, :width, None] - 0.3, 0, 1)
        angle = np.degrees(np.arccos(np.clip(direction @ np.array(sky.sun), -1, 1)))[..., None]
        light = np.array(sky.sunlight)
        out = out * (1 - cloud) + (0.5 + 0.4 * light) * cloud
        out += light * (0.5 * np.exp(-angle / 8) + 60 * np.exp(-((angle / 1.3) ** 4)))
    return np.asarray(out, np.float32)
