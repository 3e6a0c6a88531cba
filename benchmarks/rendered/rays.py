"""Rays cast with Mitsuba 3, the only module here that needs it.

Mitsuba is no dependency of smarthdr: ``pip install mitsuba==3.9.1``, and an LLVM library (see the head of
examples/make_burst.py).
"""

from collections.abc import Mapping
from typing import Any

import mitsuba as mi
import numpy as np
from numpy.typing import NDArray
from rendered.shown import F32
from rendered.solids import Solid, joined

mi.set_variant("llvm_ad_rgb")


class MitsubaCaster:
    """Rays through surfaces; the order of ``surfaces`` is the number of each. To Mitsuba they are one mesh."""

    def __init__(self, surfaces: Mapping[str, Solid]) -> None:
        self.starts = np.cumsum([0, *(len(solid.faces) for solid in surfaces.values())])
        whole = joined(list(surfaces.values()))
        mesh = mi.Mesh("all", len(whole.points), len(whole.faces))
        params = mi.traverse(mesh)
        params["vertex_positions"] = whole.points.reshape(-1).astype(np.float32)
        params["faces"] = whole.faces.reshape(-1).astype(np.uint32)
        params.update()
        self.scene = mi.load_dict({"type": "scene", "all": mesh}, optimize=False)

    def first(self, origin: F32, direction: F32) -> tuple[NDArray[np.int64], NDArray[np.int64], F32]:
        """Of (N, 3) rays: the surface, the triangle and the distance of what each meets first; -1, 0, 0 for nothing."""
        found = self.scene.ray_intersect_preliminary(
            mi.Ray3f(mi.Point3f(vector(origin)), vector(direction)), coherent=True
        )
        hit, triangle, distance = (np.array(field) for field in (found.is_valid(), found.prim_index, found.t))
        triangle = np.where(hit, triangle, 0).astype(np.int64)
        number = np.searchsorted(self.starts, triangle, side="right") - 1
        face = np.where(hit, triangle - self.starts[number], 0)
        return np.where(hit, number, -1), face, np.where(hit, distance, 0).astype(np.float32)

    def clear(self, origin: F32, direction: F32, distance: F32) -> NDArray[np.bool_]:
        """Whether nothing stands within (N,) ``distance`` of (N, 3) origins."""
        if not len(origin):
            return np.zeros(0, np.bool_)
        endless = mi.Ray3f(mi.Point3f(vector(origin)), vector(direction))
        reach: Any = mi.Float(np.ascontiguousarray(distance, np.float32))
        ray = mi.Ray3f(endless, reach)
        return ~np.array(self.scene.ray_test(ray, coherent=False)).astype(np.bool_)


def vector(values: F32) -> mi.Vector3f:
    """(N, 3) to Mitsuba's."""
    return mi.Vector3f(*(mi.Float(np.ascontiguousarray(values[:, k], np.float32)) for k in range(3)))
