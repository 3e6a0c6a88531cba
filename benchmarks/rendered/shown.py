"""What a renderer works with and hands on: rays and what they meet, the light of a frame, what pixels show first."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from rendered.scenery import Scenery
from rendered.solids import Solid

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Hits:
    """What rays meet first.

    ``material``: (...) place of its name among the sorted ones, -1 for the sky. ``face``: (...) triangle of that
    material's solid. ``point``: (..., 3) in metres, for the sky far away in its direction.
    """

    material: NDArray[np.int64]
    face: NDArray[np.int64]
    point: NDArray[np.float64]


@dataclass(frozen=True)
class Shown:
    """A frame: (H, W, 3) radiance, and the hits (H, W) of one ray in each pixel."""

    radiance: F32
    hits: Hits


class Caster(Protocol):
    """Rays through the surfaces of one moment."""

    def first(self, origin: F32, direction: F32) -> tuple[NDArray[np.int64], NDArray[np.int64], F32]:
        """Of (N, 3) rays: place of the surface that each meets first (-1 for none), its triangle, and the distance."""

    def clear(self, origin: F32, direction: F32, distance: F32) -> NDArray[np.bool_]:
        """Whether nothing stands within (N,) ``distance`` of (N, 3) origins."""


class MakesCaster(Protocol):
    """What takes the surfaces of a moment, in the order of their names."""

    def __call__(self, surfaces: Mapping[str, Solid]) -> Caster:
        """Ready to cast."""


class Renderer(Protocol):
    """Anything that can show a scene at all its moments."""

    def __call__(self, scenery: Scenery, size: tuple[int, int]) -> dict[int, Shown]:
        """Frames by moment; ``size``: (H, W)."""
