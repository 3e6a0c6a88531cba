"""Shapes of the scene: Mitsuba dictionaries of solids, and meshes from formulas. Metres and degrees, z up."""

from collections.abc import Callable
from typing import Any

import mitsuba as mi
import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
Vec = tuple[float, float, float]


def box(
    centre: Vec, size: Vec, bsdf: Any, turn: float = 0.0, tilt: float = 0.0, pivot: Vec | None = None
) -> dict[str, Any]:
    """A box of full ``size``, turned about z, then tilted about the y axis through ``pivot`` (degrees)."""
    t = mi.ScalarTransform4f
    pose = t().translate(list(centre)) @ t().rotate([0, 0, 1], turn) @ t().scale([s / 2 for s in size])
    if tilt and pivot is not None:
        about = t().translate(list(pivot)) @ t().rotate([0, 1, 0], tilt) @ t().translate([-p for p in pivot])
        pose = about @ pose
    return {"type": "cube", "to_world": pose, "bsdf": bsdf}


def sphere(centre: Vec, radius: float, bsdf: Any) -> dict[str, Any]:
    """A sphere."""
    t = mi.ScalarTransform4f
    return {"type": "sphere", "to_world": t().translate(list(centre)) @ t().scale(radius), "bsdf": bsdf}


def cylinder(a: Vec, b: Vec, radius: float, bsdf: Any) -> dict[str, Any]:
    """A cylinder with the axis from ``a`` to ``b``."""
    return {"type": "cylinder", "p0": list(a), "p1": list(b), "radius": radius, "bsdf": bsdf}


def rectangle(origin: Vec, right: Vec, up: Vec, bsdf: Any) -> dict[str, Any]:
    """A rectangle from a corner and two edges."""
    o, r, u = (np.array(v, float) for v in (origin, right, up))
    n = np.cross(r, u)
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = r / 2, u / 2, n / np.linalg.norm(n), o + r / 2 + u / 2
    return {"type": "rectangle", "to_world": mi.ScalarTransform4f(pose), "bsdf": bsdf}


def parametric_surface(surface: Callable[[F64, F64], tuple[F64, F64, F64]], rows: int, cols: int, bsdf: Any) -> Any:
    """Mesh of (x, y, z) = f(u, v), u and v in [0, 1], with smooth normals; v runs along the rows."""
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


def surface_of_revolution(profile: list[tuple[float, float]], base: Vec, bsdf: Any, segments: int = 64) -> Any:
    """A spline through (radius, height) points, rotated about the vertical axis through ``base``."""
    points = np.array(profile, np.float64)
    knots = np.linspace(0, 1, len(points))

    def surface(u: F64, v: F64) -> tuple[F64, F64, F64]:
        radius, height = _spline(knots, points[:, 0], v), _spline(knots, points[:, 1], v)
        angle = 2 * np.pi * u
        return base[0] + radius * np.cos(angle), base[1] + radius * np.sin(angle), base[2] + height

    return parametric_surface(surface, 10 * len(profile), segments, bsdf)


def _spline(knots: F64, values: F64, parameter: F64) -> F64:
    """Catmull-Rom spline through ``values`` at equally spaced ``knots`` in [0, 1]."""
    padded = np.concatenate([[2 * values[0] - values[1]], values, [2 * values[-1] - values[-2]]])
    position = np.clip(parameter, 0, 1) * (len(knots) - 1)
    i = np.minimum(position.astype(int), len(knots) - 2)
    t = position - i
    p0, p1, p2, p3 = (padded[i + k] for k in range(4))
    cubic = 2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    return np.asarray(0.5 * cubic)


def leaf_blade(root: Vec, heading: float, length: float, width: float, rise: float, droop: float, bsdf: Any) -> Any:
    """A leaf on its stalk, from ``root`` towards ``heading`` (radians about z), rising and then drooping (metres)."""
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

    return parametric_surface(surface, 24, 8, bsdf)
