"""Solids as arrays: points (V, 3) in metres, normals (V, 3), texture coordinates (V, 2), triangles (F, 3)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
Vec = tuple[float, float, float]


@dataclass(frozen=True)
class Solid:
    """A surface of triangles. ``points`` and unit ``normals``: (V, 3); ``uv``: (V, 2); ``faces``: (F, 3) indices."""

    points: F64
    normals: F64
    uv: F64
    faces: NDArray[np.int64]

    def posed(self, pose: F64) -> "Solid":
        """Under a rigid (4, 4) pose."""
        turn, shift = pose[:3, :3], pose[:3, 3]
        return replace(self, points=self.points @ turn.T + shift, normals=self.normals @ turn.T)

    def tiled(self, across: float, up: float) -> "Solid":
        """Its texture repeated."""
        return replace(self, uv=self.uv * [across, up])


def joined(solids: Sequence[Solid]) -> Solid:
    """All of them as one, in their order."""
    first = np.cumsum([0, *(len(s.points) for s in solids[:-1])])
    return Solid(
        np.concatenate([s.points for s in solids]),
        np.concatenate([s.normals for s in solids]),
        np.concatenate([s.uv for s in solids]),
        np.concatenate([s.faces + start for s, start in zip(solids, first, strict=True)]),
    )


def sheet(surface: Callable[[F64, F64], tuple[F64, F64, F64]], rows: int, cols: int) -> Solid:
    """A sampled surface (x, y, z) = f(u, v) for u, v in [0, 1], smooth; its normal is df/du x df/dv."""
    v, u = np.meshgrid(np.linspace(0, 1, rows + 1), np.linspace(0, 1, cols + 1), indexing="ij")
    points = np.stack([np.broadcast_to(c, u.shape) for c in surface(u, v)], -1).astype(np.float64)
    normals = np.cross(np.gradient(points, axis=1), np.gradient(points, axis=0))
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    normals = np.where(length > 1e-15, normals / np.maximum(length, 1e-15), [0.0, 0.0, 1.0])
    index = np.arange(u.size).reshape(u.shape)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    return Solid(points.reshape(-1, 3), normals.reshape(-1, 3), np.stack([u, v], -1).reshape(-1, 2), faces)


def panel(corner: Vec, right: Vec, up: Vec) -> Solid:
    """A flat rectangle from its lower left corner and two edges; it faces ``right`` x ``up``."""
    o, r, w = (np.array(v, np.float64) for v in (corner, right, up))
    return sheet(lambda u, v: tuple(o[i] + r[i] * u + w[i] * v for i in range(3)), 1, 1)


def box(size: Vec, centre: Vec = (0, 0, 0)) -> Solid:
    """A block of full ``size``; every side carries the whole texture."""
    (x, y, z), (cx, cy, cz) = size, centre
    a, b, c = cx - x / 2, cy - y / 2, cz - z / 2
    return joined([
        panel((a, b, c), (x, 0, 0), (0, 0, z)),
        panel((a + x, b + y, c), (-x, 0, 0), (0, 0, z)),
        panel((a + x, b, c), (0, y, 0), (0, 0, z)),
        panel((a, b + y, c), (0, -y, 0), (0, 0, z)),
        panel((a, b, c + z), (x, 0, 0), (0, y, 0)),
        panel((a, b + y, c), (x, 0, 0), (0, -y, 0)),
    ])  # fmt: skip


def ball(radii: Vec, centre: Vec = (0, 0, 0), fine: int = 24) -> Solid:
    """An ellipsoid."""

    def surface(u: F64, v: F64) -> tuple[F64, F64, F64]:
        long, lat = 2 * np.pi * u, np.pi * (np.clip(v, 1e-3, 1 - 1e-3) - 0.5)
        turned = np.cos(lat) * np.cos(long), np.cos(lat) * np.sin(long), np.sin(lat)
        return tuple(c + r * t for c, r, t in zip(centre, radii, turned, strict=True))  # type: ignore[return-value]

    return sheet(surface, fine, 2 * fine)


def rod(a: Vec, b: Vec, radius: float, sides: int = 12) -> Solid:
    """A round bar from ``a`` to ``b``, open at its ends."""
    start, axis = np.array(a, np.float64), np.array(b, np.float64) - np.array(a, np.float64)
    along = axis / np.linalg.norm(axis)
    aside = np.cross(along, [1.0, 0, 0] if abs(along[0]) < 0.8 else [0, 1.0, 0])
    aside /= np.linalg.norm(aside)
    other = np.cross(along, aside)

    def surface(u: F64, v: F64) -> tuple[F64, F64, F64]:
        cos, sin = radius * np.cos(2 * np.pi * u), radius * np.sin(2 * np.pi * u)
        return tuple(start[i] + axis[i] * v + aside[i] * cos + other[i] * sin for i in range(3))

    return sheet(surface, 1, sides)


def turned(profile: Sequence[tuple[float, float]], sides: int = 40) -> Solid:
    """A profile of (radius, height) points, joined smoothly and turned about z."""
    knots = np.array(profile, np.float64)
    fine = np.linspace(0, len(knots) - 1, 6 * len(knots))
    smooth = [
        np.convolve(np.pad(np.interp(fine, np.arange(len(knots)), k), 3, "edge"), np.ones(7) / 7, "valid")
        for k in knots.T
    ]

    def surface(u: F64, v: F64) -> tuple[F64, F64, F64]:
        at = v * (len(fine) - 1)
        radius, height = (np.interp(at, np.arange(len(fine)), s) for s in smooth)
        return radius * np.cos(2 * np.pi * u), radius * np.sin(2 * np.pi * u), height

    return sheet(surface, len(fine) - 1, sides)


def leaf(length: float, width: float) -> Solid:
    """A pointed leaf along x, folded along its midrib and bent down, seen from both sides."""

    def surface(u: F64, v: F64) -> tuple[F64, F64, F64]:
        half = width * np.sin(np.pi * np.clip(v, 0.02, 0.98) ** 0.8)
        across = (u - 0.5) * half
        return length * (v - 0.5), across, 0.3 * np.abs(across) - 0.15 * length * v**2

    return sheet(surface, 5, 2)
