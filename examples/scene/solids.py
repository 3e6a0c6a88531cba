"""Simple solids as Mitsuba dictionaries. Metres, degrees."""

from typing import Any

import mitsuba as mi
import numpy as np

Vec = tuple[float, float, float]
BACK_Y = 4.2  # the window wall


def box(
    centre: Vec, size: Vec, bsdf: Any, turn: float = 0.0, tilt: float = 0.0, pivot: Vec | None = None
) -> dict[str, Any]:
    """A block of full ``size``, turned about z (degrees), tilted about the x axis through ``pivot``."""
    t = mi.ScalarTransform4f
    pose = t().translate(list(centre)) @ t().rotate([0, 0, 1], turn) @ t().scale([s / 2 for s in size])
    if tilt and pivot is not None:
        about = t().translate(list(pivot)) @ t().rotate([0, 1, 0], tilt) @ t().translate([-p for p in pivot])
        pose = about @ pose
    return {"type": "cube", "to_world": pose, "bsdf": bsdf}


def ball(centre: Vec, radius: float, bsdf: Any) -> dict[str, Any]:
    t = mi.ScalarTransform4f
    return {"type": "sphere", "to_world": t().translate(list(centre)) @ t().scale(radius), "bsdf": bsdf}


def rod(a: Vec, b: Vec, radius: float, bsdf: Any) -> dict[str, Any]:
    return {"type": "cylinder", "p0": list(a), "p1": list(b), "radius": radius, "bsdf": bsdf}


def wall(origin: Vec, right: Vec, up: Vec, bsdf: Any) -> dict[str, Any]:
    """A rectangle given by its lower left corner and two edges."""
    o, r, u = (np.array(v, float) for v in (origin, right, up))
    n = np.cross(r, u)
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = r / 2, u / 2, n / np.linalg.norm(n), o + r / 2 + u / 2
    return {"type": "rectangle", "to_world": mi.ScalarTransform4f(pose), "bsdf": bsdf}
