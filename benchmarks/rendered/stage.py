"""A scene in the making: what has been put there so far, and where things are in the eyes of the camera."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from rendered.motion import Motion, Place, rotated
from rendered.scenery import Camera, Material, Scenery, Sky, Thing
from rendered.solids import Solid, Vec, joined

F64 = NDArray[np.float64]
MOMENTS = (-1, 0, 1)  # of the frames, darkest first; the reference is at 0


class Stage:
    """Things and materials put there one by one, all random numbers from ``rng``."""

    def __init__(self, rng: np.random.Generator, eye: Vec, aim: Vec, fov: float, size: tuple[int, int]) -> None:
        self.rng = rng
        self.things: list[Thing] = []
        self.materials: dict[str, Material] = {}
        self.camera = Camera(eye, aim, fov, held(rng))
        self.aspect = size[0] / size[1]
        self.focal = size[1] / 2 / np.tan(np.radians(fov) / 2)  # pixels
        view = replace(self.camera, poses={0: ((0, 0, 0), (0, 0, 0))}).view(0)
        self.right, self.up, self.forward = -view[:3, 0], view[:3, 1], view[:3, 2]
        self.eye = np.array(eye, np.float64)

    def add(self, solid: Solid, material: Material, motion: Motion | None = None) -> None:
        """One more thing; a material that was used before keeps its name."""
        name = next((n for n, known in self.materials.items() if known is material), None)
        if name is None:
            name = f"m{len(self.materials):03d}"
            self.materials[name] = material
        self.things.append(Thing(solid, name, motion or Place()))

    def scenery(self, name: str, sky: Sky) -> Scenery:
        """What has been put there, as a whole."""
        return Scenery(name, tuple(self.things), dict(self.materials), sky, self.camera)

    def width_at(self, distance: float) -> float:
        """Metres across the picture at a distance."""
        return float(2 * distance * np.tan(np.radians(self.camera.fov) / 2))

    def in_view(self, distance: float, reach: float = 0.85) -> Vec:
        """A random point that the camera sees, ``distance`` metres ahead, within ``reach`` of the picture's half."""
        x, y = self.rng.uniform(-reach, reach, 2) * self.width_at(distance) / 2
        point = self.eye + distance * self.forward + x * self.right + y * self.aspect * self.up
        return float(point[0]), float(point[1]), max(0.1, float(point[2]))

    def on_ground(self, distance: float, reach: float = 0.8) -> Vec:
        """A random point of the ground that far ahead."""
        flat = self.forward * [1, 1, 0]
        aside = float(self.rng.uniform(-reach, reach)) * self.width_at(distance) / 2
        point = self.eye + distance * flat / np.linalg.norm(flat) + aside * self.right
        return float(point[0]), float(point[1]), 0.0

    @staticmethod
    def joined(solids: list[Solid]) -> Solid:
        """Several solids as one."""
        return joined(solids)

    @staticmethod
    def moved(solid: Solid, by: Vec) -> Solid:
        """A solid somewhere else."""
        return replace(solid, points=solid.points + np.array(by))

    @staticmethod
    def aimed(solid: Solid, rng: np.random.Generator) -> Solid:
        """A solid turned at random."""
        x, y, z = rng.normal(size=3)
        return solid.posed(rotated((x, y, z), float(rng.uniform(0, 360))))


def held(rng: np.random.Generator) -> dict[int, tuple[Vec, Vec]]:
    """A camera in the hand: a drift through the burst and a tremor at each frame, a few centimetres and tenths of a
    degree to a degree. The reference is where it is."""
    reach, turn = np.exp(rng.uniform(np.log(0.008), np.log(0.04))), np.exp(rng.uniform(np.log(0.15), np.log(1.2)))
    drift = rng.normal(size=6)
    poses: dict[int, tuple[Vec, Vec]] = {0: ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))}
    for moment in MOMENTS:
        if moment:
            way = 0.7 * moment * drift + 0.6 * rng.normal(size=6)
            x, y, z = (float(v) for v in reach * way[:3] * [1, 1, 0.6])
            yaw, pitch, roll = (float(v) for v in turn * way[3:])
            poses[moment] = ((x, y, z), (yaw, pitch, roll))
    return poses
