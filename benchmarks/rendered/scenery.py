"""What a rendered scene is: things of some material that may move, what shines, the sky, the camera and its hand."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rendered.motion import Motion, Place, rotated, shifted
from rendered.solids import Solid, Vec, joined

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Material:
    """``colour``: linear reflectance, (3,) or a texture (h, w, 3). ``gloss``: roughness of a glaze over it, 0 for none.
    ``shine``: radiance where it gives light, (3,) or (h, w, 3); it reflects nothing then."""

    colour: NDArray[np.float32]
    gloss: float = 0.0
    shine: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Thing:
    """A solid of one material and its motion."""

    solid: Solid
    material: str
    motion: Motion = field(default_factory=Place)


@dataclass(frozen=True)
class Sky:
    """What is beyond all things. ``panorama``: the name of one, or None. ``colour``: (3,) radiance of a uniform sky, or
    the factor on the panorama; ``turn``: its azimuth in degrees. ``sun``: direction the light comes from, or None;
    ``sunlight``: (3,) irradiance on what faces it."""

    panorama: str | None
    colour: Vec
    turn: float = 0.0
    sun: Vec | None = None
    sunlight: Vec = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Camera:
    """A pinhole. ``poses``: by moment, (shift in metres, (yaw, pitch, roll) in degrees) of the hand that holds it."""

    eye: Vec
    aim: Vec
    fov: float  # degrees, across
    poses: Mapping[int, tuple[Vec, Vec]]

    def view(self, moment: int) -> F64:
        """(4, 4) camera to world; camera axes x left, y up, z forward (Mitsuba's)."""
        shift, (yaw, pitch, roll) = self.poses[moment]
        eye = np.array(self.eye)
        forward = np.array(self.aim) - eye
        forward /= np.linalg.norm(forward)
        left = np.cross([0.0, 0.0, 1.0], forward)
        left /= np.linalg.norm(left)
        aim = np.eye(4)
        aim[:3, :3] = np.stack([left, np.cross(forward, left), forward], 1)
        turn = rotated((0, 1, 0), yaw) @ rotated((1, 0, 0), pitch) @ rotated((0, 0, 1), roll)
        return np.asarray(shifted(eye) @ aim @ shifted(shift) @ turn)


@dataclass(frozen=True)
class Scenery:
    """A whole scene at all its moments."""

    name: str
    things: tuple[Thing, ...]
    materials: Mapping[str, Material]
    sky: Sky
    camera: Camera

    def surfaces(self, moment: int) -> dict[str, Solid]:
        """All things of each material as one solid; triangles keep their numbers from moment to moment."""
        of: dict[str, list[Solid]] = {}
        for thing in self.things:
            of.setdefault(thing.material, []).append(thing.solid.posed(thing.motion.at(moment)))
        return {name: joined(solids) for name, solids in sorted(of.items())}


def same(a: Any, b: Any) -> bool:
    """Whether two descriptions are equal, arrays compared by value."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if hasattr(a, "__dataclass_fields__"):
        return type(a) is type(b) and same(vars(a), vars(b))
    return bool(a == b)
