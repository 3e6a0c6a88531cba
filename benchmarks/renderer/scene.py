"""A rendered scene: objects of some material with their motion, sky, camera and hand shake; and its builder."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.renderer.geometry import FixedPose, Mesh, Motion, Vector, join_meshes, rotation, translation
from benchmarks.renderer.materials import Material

F64 = NDArray[np.float64]
MOMENTS = (-1, 0, 1)  # of the frames, darkest first; 0 is the reference


@dataclass(frozen=True)
class SceneObject:
    """A mesh of one material and its motion."""

    mesh: Mesh
    material: str
    motion: Motion = field(default_factory=FixedPose)


@dataclass(frozen=True)
class Sky:
    """The environment. ``panorama``: its name, or None. ``colour``: (3,) radiance of a uniform sky, or a factor on it.

    ``yaw``: azimuth of the panorama in degrees. ``sun``: direction towards it, or None; ``sunlight``: (3,) irradiance
    of a surface that faces it.
    """

    panorama: str | None
    colour: Vector
    yaw: float = 0.0
    sun: Vector | None = None
    sunlight: Vector = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera. ``poses``: hand shake by moment, shift in metres and (yaw, pitch, roll) in degrees."""

    eye: Vector
    target: Vector
    fov: float  # degrees, horizontal
    poses: Mapping[int, tuple[Vector, Vector]]

    def camera_to_world(self, moment: int) -> F64:
        """(4, 4); camera axes x left, y up, z forward (Mitsuba's)."""
        shift, (yaw, pitch, roll) = self.poses[moment]
        eye = np.array(self.eye)
        forward = np.array(self.target) - eye
        forward /= np.linalg.norm(forward)
        left = np.cross([0.0, 0.0, 1.0], forward)
        left /= np.linalg.norm(left)
        look_at = np.eye(4)
        look_at[:3, :3] = np.stack([left, np.cross(forward, left), forward], 1)
        shake = rotation((0, 1, 0), yaw) @ rotation((1, 0, 0), pitch) @ rotation((0, 0, 1), roll)
        return np.asarray(translation(eye) @ look_at @ translation(shift) @ shake)


@dataclass(frozen=True)
class Scene:
    """A scene at all its moments."""

    name: str
    objects: tuple[SceneObject, ...]
    materials: Mapping[str, Material]
    sky: Sky
    camera: Camera

    def meshes_at(self, moment: int) -> dict[str, Mesh]:
        """All objects of each material as one mesh; triangles keep their order from moment to moment."""
        of_material: dict[str, list[Mesh]] = {}
        for item in self.objects:
            mesh = item.mesh.transformed(item.motion.pose_at(moment))
            of_material.setdefault(item.material, []).append(mesh)
        return {name: join_meshes(meshes) for name, meshes in sorted(of_material.items())}


class SceneBuilder:
    """A scene under construction: objects and materials added one by one, all random numbers from ``rng``."""

    def __init__(
        self, rng: np.random.Generator, eye: Vector, target: Vector, fov: float, size: tuple[int, int]
    ) -> None:
        self.rng = rng
        self.objects: list[SceneObject] = []
        self.materials: dict[str, Material] = {}
        self.camera = Camera(eye, target, fov, handheld_poses(rng))
        self.aspect = size[0] / size[1]
        self.focal = size[1] / 2 / np.tan(np.radians(fov) / 2)  # pixels
        pose = replace(self.camera, poses={0: ((0, 0, 0), (0, 0, 0))}).camera_to_world(0)
        self.right, self.up, self.forward = -pose[:3, 0], pose[:3, 1], pose[:3, 2]
        self.eye = np.array(eye, np.float64)

    def add(self, mesh: Mesh, material: Material, motion: Motion | None = None) -> None:
        """Add an object; a material object used before keeps its name."""
        name = next((n for n, known in self.materials.items() if known is material), None)
        if name is None:
            name = f"m{len(self.materials):03d}"
            self.materials[name] = material
        self.objects.append(SceneObject(mesh, name, motion or FixedPose()))

    def build(self, name: str, sky: Sky) -> Scene:
        """The finished scene."""
        return Scene(name, tuple(self.objects), dict(self.materials), sky, self.camera)

    def width_at(self, distance: float) -> float:
        """Metres across the image at a distance."""
        return float(2 * distance * np.tan(np.radians(self.camera.fov) / 2))

    def point_in_view(self, distance: float, extent: float = 0.85) -> Vector:
        """A random visible point ``distance`` metres ahead, within ``extent`` of the image's half size."""
        x, y = self.rng.uniform(-extent, extent, 2) * self.width_at(distance) / 2
        point = self.eye + distance * self.forward + x * self.right + y * self.aspect * self.up
        return float(point[0]), float(point[1]), max(0.1, float(point[2]))

    def point_on_ground(self, distance: float, extent: float = 0.8) -> Vector:
        """A random point of the ground at a distance."""
        horizontal = self.forward * [1, 1, 0]
        sideways = float(self.rng.uniform(-extent, extent)) * self.width_at(distance) / 2
        point = self.eye + distance * horizontal / np.linalg.norm(horizontal) + sideways * self.right
        return float(point[0]), float(point[1]), 0.0


def handheld_poses(rng: np.random.Generator) -> dict[int, tuple[Vector, Vector]]:
    """Hand shake: drift over the burst and tremor per frame, centimetres and tenths of a degree to a degree.

    The reference has the identity.
    """
    shift_scale = np.exp(rng.uniform(np.log(0.008), np.log(0.04)))  # metres
    angle_scale = np.exp(rng.uniform(np.log(0.15), np.log(1.2)))  # degrees
    drift = rng.normal(size=6)
    poses: dict[int, tuple[Vector, Vector]] = {0: ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))}
    for moment in MOMENTS:
        if moment:
            offsets = 0.7 * moment * drift + 0.6 * rng.normal(size=6)
            x, y, z = (float(v) for v in shift_scale * offsets[:3] * [1, 1, 0.6])
            yaw, pitch, roll = (float(v) for v in angle_scale * offsets[3:])
            poses[moment] = ((x, y, z), (yaw, pitch, roll))
    return poses
