"""Meshes from formulas: vertices (V, 3), faces (F, 3) and texture coordinates (V, 2), handed to Mitsuba."""

from collections.abc import Callable
from typing import Any

import mitsuba as mi
import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


def sheet(surface: Callable[[F64, F64], tuple[F64, F64, F64]], rows: int, cols: int, bsdf: Any) -> Any:
    """A sampled surface (x, y, z) = f(u, v) for u, v in [0, 1]; smooth normals. v runs along the rows."""
    v, u = np.meshgrid(np.linspace(0, 1, rows + 1), np.linspace(0, 1, cols + 1), indexing="ij")
    points = np.stack([np.broadcast_to(c, u.shape) for c in surface(u, v)], -1).astype(np.float64)
    along_v, along_u = np.gradient(points, axis=0), np.gradient(points, axis=1)
    normals = np.cross(along_u, along_v)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    index = np.arange((rows + 1) * (cols + 1)).reshape(rows + 1, cols + 1)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    props = mi.Properties()
    props["bsdf"] = bsdf
    mesh = mi.Mesh("sheet", index.size, len(faces), has_vertex_normals=True, has_vertex_texcoords=True, props=props)
    params = mi.traverse(mesh)
    params["vertex_positions"] = points.reshape(-1).astype(np.float32)
    params["vertex_normals"] = normals.reshape(-1).astype(np.float32)
    params["vertex_texcoords"] = np.stack([u, v], -1).reshape(-1).astype(np.float32)
    params["faces"] = faces.reshape(-1).astype(np.uint32)
    params.update()
    return mesh


def lathe(profile: list[tuple[float, float]], at: tuple[float, float, float], bsdf: Any, segments: int = 64) -> Any:
    """A profile of (radius, height) points, splined, turned about z and set down at ``at``."""
    knots = np.array(profile, np.float64)
    s = np.linspace(0, 1, len(knots))

    def turned(u: F64, v: F64) -> tuple[F64, F64, F64]:
        radius, height = _spline(s, knots[:, 0], v), _spline(s, knots[:, 1], v)
        angle = 2 * np.pi * u
        return at[0] + radius * np.cos(angle), at[1] + radius * np.sin(angle), at[2] + height

    return sheet(turned, 10 * len(profile), segments, bsdf)


def _spline(s: F64, values: F64, at: F64) -> F64:
    """Catmull-Rom through ``values`` at the equally spaced ``s``."""
    padded = np.concatenate([[2 * values[0] - values[1]], values, [2 * values[-1] - values[-2]]])
    position = np.clip(at, 0, 1) * (len(s) - 1)
    i = np.minimum(position.astype(int), len(s) - 2)
    t = position - i
    p0, p1, p2, p3 = (padded[i + k] for k in range(4))
    cubic = 2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    return np.asarray(0.5 * cubic)


def blade(
    root: tuple[float, float, float], heading: float, length: float, width: float, rise: float, droop: float, bsdf: Any
) -> Any:
    """A leaf on its stalk: from ``root`` towards ``heading`` (radians about z), rising and then drooping (metres)."""
    forward, side = np.array([np.cos(heading), np.sin(heading)]), np.array([-np.sin(heading), np.cos(heading)])

    def surface(u: F64, v: F64) -> tuple[F64, F64, F64]:
        stalk = 0.3
        t = np.clip((v - stalk) / (1 - stalk), 0, 1)
        half = np.where(v < stalk, 0.006, width * 0.5 * np.sin(np.pi * t**0.75) ** 0.8 + 0.006 * (1 - t))
        across = (u - 0.5) * 2 * half
        reach = length * v
        fold = -0.25 * np.abs(across) * (v > stalk)
        return (
            root[0] + forward[0] * reach + side[0] * across,
            root[1] + forward[1] * reach + side[1] * across,
            root[2] + rise * np.sin(v * np.pi * 0.6) - droop * v**2 - fold,
        )

    return sheet(surface, 24, 8, bsdf)
