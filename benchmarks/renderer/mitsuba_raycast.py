"""Ray casting with Mitsuba 3; the only module of the renderer that needs it.

Mitsuba is no dependency of smarthdr: ``pip install mitsuba==3.9.1``, and an LLVM library (see the head of
examples/make_burst.py).
"""

from collections.abc import Mapping
from typing import Any

import mitsuba as mi
import numpy as np
from numpy.typing import NDArray

from benchmarks.renderer.geometry import Mesh, join_meshes
from benchmarks.renderer.raycast import F32

mi.set_variant("llvm_ad_rgb")


class MitsubaCaster:
    """A ``RayCaster`` that gives Mitsuba all meshes as one."""

    def __init__(self, meshes: Mapping[str, Mesh]) -> None:
        self.starts = np.cumsum([0, *(len(mesh.faces) for mesh in meshes.values())])
        joined = join_meshes(list(meshes.values()))
        mitsuba_mesh = mi.Mesh("all", len(joined.points), len(joined.faces))
        params = mi.traverse(mitsuba_mesh)
        params["vertex_positions"] = joined.points.reshape(-1).astype(np.float32)
        params["faces"] = joined.faces.reshape(-1).astype(np.uint32)
        params.update()
        self.scene = mi.load_dict({"type": "scene", "all": mitsuba_mesh}, optimize=False)

    def first_hits(self, origin: F32, direction: F32) -> tuple[NDArray[np.int64], NDArray[np.int64], F32]:
        """Per (N, 3) ray: mesh, triangle and distance of the first hit; -1, 0, 0 for none."""
        hits = self.scene.ray_intersect_preliminary(
            mi.Ray3f(mi.Point3f(to_mitsuba(origin)), to_mitsuba(direction)), coherent=True
        )
        hit, triangle, distance = (np.array(field) for field in (hits.is_valid(), hits.prim_index, hits.t))
        triangle = np.where(hit, triangle, 0).astype(np.int64)
        index = np.searchsorted(self.starts, triangle, side="right") - 1
        face = np.where(hit, triangle - self.starts[index], 0)
        return np.where(hit, index, -1), face, np.where(hit, distance, 0).astype(np.float32)

    def unoccluded(self, origin: F32, direction: F32, distance: F32) -> NDArray[np.bool_]:
        """(N,) whether no mesh lies within ``distance`` along each ray."""
        if not len(origin):
            return np.zeros(0, np.bool_)
        ray = mi.Ray3f(mi.Point3f(to_mitsuba(origin)), to_mitsuba(direction))
        length: Any = mi.Float(np.ascontiguousarray(distance, np.float32))
        segment = mi.Ray3f(ray, length)
        return ~np.array(self.scene.ray_test(segment, coherent=False)).astype(np.bool_)


def to_mitsuba(values: F32) -> mi.Vector3f:
    """(N, 3) as Mitsuba's vector."""
    return mi.Vector3f(*(mi.Float(np.ascontiguousarray(values[:, k], np.float32)) for k in range(3)))
