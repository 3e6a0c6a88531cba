"""Triangle meshes and rigid motion. Metres, degrees; time in intervals between two frames, 0 at the reference.

A mesh has points (V, 3), unit normals (V, 3), texture coordinates (V, 2) and triangles (F, 3). A motion is a rigid pose
(4, 4) at any time. A parametric surface (x, y, z) = f(u, v) has the normal df/du x df/dv.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
Vector = tuple[float, float, float]
SMOOTHING = 7  # samples of the moving average over a profile, six samples per knot


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh. ``points`` and unit ``normals``: (V, 3); ``uv``: (V, 2); ``faces``: (F, 3) indices."""

    points: F64
    normals: F64
    uv: F64
    faces: NDArray[np.int64]

    def transformed(self, pose: F64) -> "Mesh":
        """The mesh under a rigid (4, 4) pose."""
        rotation, shift = pose[:3, :3], pose[:3, 3]
        return replace(self, points=self.points @ rotation.T + shift, normals=self.normals @ rotation.T)

    def tiled(self, across: float, up: float) -> "Mesh":
        """The mesh with its texture repeated."""
        return replace(self, uv=self.uv * [across, up])


def join_meshes(meshes: Sequence[Mesh]) -> Mesh:
    """All meshes as one, in their order."""
    first = np.cumsum([0, *(len(s.points) for s in meshes[:-1])])
    return Mesh(
        np.concatenate([s.points for s in meshes]),
        np.concatenate([s.normals for s in meshes]),
        np.concatenate([s.uv for s in meshes]),
        np.concatenate([s.faces + start for s, start in zip(meshes, first, strict=True)]),
    )


def translated(mesh: Mesh, by: Vector) -> Mesh:
    """The mesh moved by a vector."""
    return replace(mesh, points=mesh.points + np.array(by))


def randomly_rotated(mesh: Mesh, rng: np.random.Generator) -> Mesh:
    """The mesh rotated about a random axis by a random angle."""
    x, y, z = rng.normal(size=3)
    return mesh.transformed(rotation((x, y, z), float(rng.uniform(0, 360))))


def parametric_surface(surface: Callable[[F64, F64], tuple[F64, F64, F64]], rows: int, cols: int) -> Mesh:
    """A sampled surface (x, y, z) = f(u, v) for u, v in [0, 1], smooth; its normal is df/du x df/dv."""
    v, u = np.meshgrid(np.linspace(0, 1, rows + 1), np.linspace(0, 1, cols + 1), indexing="ij")
    points = np.stack([np.broadcast_to(c, u.shape) for c in surface(u, v)], -1).astype(np.float64)
    normals = np.cross(np.gradient(points, axis=1), np.gradient(points, axis=0))
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    normals = np.where(length > 1e-15, normals / np.maximum(length, 1e-15), [0.0, 0.0, 1.0])
    index = np.arange(u.size).reshape(u.shape)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    return Mesh(points.reshape(-1, 3), normals.reshape(-1, 3), np.stack([u, v], -1).reshape(-1, 2), faces)


def rectangle(corner: Vector, right: Vector, up: Vector) -> Mesh:
    """A flat rectangle from its lower left corner and two edges; it faces ``right`` x ``up``."""
    o, r, w = (np.array(v, np.float64) for v in (corner, right, up))
    return parametric_surface(lambda u, v: tuple(o[i] + r[i] * u + w[i] * v for i in range(3)), 1, 1)


def box(size: Vector, centre: Vector = (0, 0, 0)) -> Mesh:
    """A cuboid of full ``size``; every side has the whole texture."""
    (x, y, z), (cx, cy, cz) = size, centre
    a, b, c = cx - x / 2, cy - y / 2, cz - z / 2
    return join_meshes([
        rectangle((a, b, c), (x, 0, 0), (0, 0, z)),
        rectangle((a + x, b + y, c), (-x, 0, 0), (0, 0, z)),
        rectangle((a + x, b, c), (0, y, 0), (0, 0, z)),
        rectangle((a, b + y, c), (0, -y, 0), (0, 0, z)),
        rectangle((a, b, c + z), (x, 0, 0), (0, y, 0)),
        rectangle((a, b + y, c), (x, 0, 0), (0, -y, 0)),
    ])  # fmt: skip


def ellipsoid(radii: Vector, centre: Vector = (0, 0, 0), rows: int = 24) -> Mesh:
    """An ellipsoid."""

    def surface(u: F64, v: F64) -> tuple[F64, F64, F64]:
        long, lat = 2 * np.pi * u, np.pi * (np.clip(v, 1e-3, 1 - 1e-3) - 0.5)
        unit = np.cos(lat) * np.cos(long), np.cos(lat) * np.sin(long), np.sin(lat)
        return tuple(c + r * t for c, r, t in zip(centre, radii, unit, strict=True))  # type: ignore[return-value]

    return parametric_surface(surface, rows, 2 * rows)


def cylinder(a: Vector, b: Vector, radius: float, sides: int = 12) -> Mesh:
    """A cylinder from ``a`` to ``b``, open at its ends."""
    start, axis = np.array(a, np.float64), np.array(b, np.float64) - np.array(a, np.float64)
    along = axis / np.linalg.norm(axis)
    across = np.cross(along, [1.0, 0, 0] if abs(along[0]) < 0.8 else [0, 1.0, 0])
    across /= np.linalg.norm(across)
    other = np.cross(along, across)

    def surface(u: F64, v: F64) -> tuple[F64, F64, F64]:
        cos, sin = radius * np.cos(2 * np.pi * u), radius * np.sin(2 * np.pi * u)
        return tuple(start[i] + axis[i] * v + across[i] * cos + other[i] * sin for i in range(3))

    return parametric_surface(surface, 1, sides)


def surface_of_revolution(profile: Sequence[tuple[float, float]], sides: int = 40) -> Mesh:
    """A smoothed profile of (radius, height) points, rotated about z."""
    knots = np.array(profile, np.float64)
    fine = np.linspace(0, len(knots) - 1, 6 * len(knots))
    smooth = [
        np.convolve(
            np.pad(np.interp(fine, np.arange(len(knots)), k), SMOOTHING // 2, "edge"),
            np.ones(SMOOTHING) / SMOOTHING,
            "valid",
        )
        for k in knots.T
    ]

    def surface(u: F64, v: F64) -> tuple[F64, F64, F64]:
        position = v * (len(fine) - 1)
        radius, height = (np.interp(position, np.arange(len(fine)), s) for s in smooth)
        return radius * np.cos(2 * np.pi * u), radius * np.sin(2 * np.pi * u), height

    return parametric_surface(surface, len(fine) - 1, sides)


def leaf(length: float, width: float) -> Mesh:
    """A pointed leaf along x, folded along its midrib and bent down."""

    def surface(u: F64, v: F64) -> tuple[F64, F64, F64]:
        half = width * np.sin(np.pi * np.clip(v, 0.02, 0.98) ** 0.8)
        across = (u - 0.5) * half
        return length * (v - 0.5), across, 0.3 * np.abs(across) - 0.15 * length * v**2

    return parametric_surface(surface, 5, 2)


class Motion(Protocol):
    """A rigid pose (4, 4) over time."""

    def pose_at(self, time: float) -> F64:
        """The pose at ``time``, 0 at the reference."""


@dataclass(frozen=True)
class FixedPose:
    """No motion: rotated by ``yaw`` degrees about z, then moved to ``position``."""

    position: Vector = (0.0, 0.0, 0.0)
    yaw: float = 0.0

    def pose_at(self, time: float) -> F64:
        """The pose at any ``time``."""
        return translation(self.position) @ rotation((0, 0, 1), self.yaw)


@dataclass(frozen=True)
class LinearMotion:
    """position + velocity t + acceleration t |t|, rotated about ``axis`` by start_angle + spin t degrees."""

    position: Vector
    velocity: Vector
    axis: Vector = (0.0, 0.0, 1.0)
    spin: float = 0.0
    start_angle: float = 0.0
    acceleration: Vector = (0.0, 0.0, 0.0)

    def pose_at(self, time: float) -> F64:
        """The pose at ``time``."""
        position = np.array(self.position) + time * np.array(self.velocity)
        position = position + time * abs(time) * np.array(self.acceleration)
        return translation(position) @ rotation(self.axis, self.start_angle + self.spin * time)


@dataclass(frozen=True)
class Oscillation:
    """Rotation about ``axis`` through ``pivot`` by rest_angle + amplitude sin(phase + rate t), relative to ``parent``.

    Angles in degrees, ``phase`` and ``rate`` in radians.
    """

    pivot: Vector
    axis: Vector
    amplitude: float
    phase: float
    rate: float
    parent: Motion
    rest_angle: float = 0.0

    def pose_at(self, time: float) -> F64:
        """The pose at ``time``."""
        angle = self.rest_angle + self.amplitude * float(np.sin(self.phase + self.rate * time))
        swing = translation(self.pivot) @ rotation(self.axis, angle) @ translation(tuple(-p for p in self.pivot))
        return np.asarray(self.parent.pose_at(time) @ swing)


def translation(by: Vector | F64 | tuple[float, ...]) -> F64:
    """A (4, 4) translation."""
    pose = np.eye(4)
    pose[:3, 3] = by
    return pose


def rotation(axis: Vector, degrees: float) -> F64:
    """A (4, 4) rotation about an axis through the origin (Rodrigues)."""
    x, y, z = np.array(axis, np.float64) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    pose = np.eye(4)
    pose[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return pose
