"""Interfaces between the renderer and a ray caster: first hits, frames, and what a caster must provide."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.renderer.geometry import Mesh
from benchmarks.renderer.scene import Scene

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Hits:
    """First hits of rays.

    ``material``: (...) index of the material among the sorted names, -1 for the sky. ``face``: (...) triangle of that
    material's mesh. ``point``: (..., 3) metres; of the sky a distant point.
    """

    material: NDArray[np.int64]
    face: NDArray[np.int64]
    point: NDArray[np.float64]


@dataclass(frozen=True)
class RenderedFrame:
    """(H, W, 3) radiance, and the hits (H, W) of one ray per pixel."""

    radiance: F32
    hits: Hits


class RayCaster(Protocol):
    """Rays through the meshes of one moment."""

    def first_hits(self, origin: F32, direction: F32) -> tuple[NDArray[np.int64], NDArray[np.int64], F32]:
        """Per (N, 3) ray: index of the mesh it hits first (-1 for none), triangle, distance."""

    def unoccluded(self, origin: F32, direction: F32, distance: F32) -> NDArray[np.bool_]:
        """(N,) whether no mesh lies within ``distance`` along each ray."""


class RayCasterFactory(Protocol):
    """Makes a caster from the meshes of a moment, in the order of their names."""

    def __call__(self, meshes: Mapping[str, Mesh]) -> RayCaster:
        """A caster for these meshes."""


class Renderer(Protocol):
    """Renders a scene at all its moments."""

    def __call__(self, scene: Scene, size: tuple[int, int]) -> dict[int, RenderedFrame]:
        """Frames by moment; ``size``: (H, W)."""
