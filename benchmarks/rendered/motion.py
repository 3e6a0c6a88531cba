"""How things move: rigid poses over time, one unit of which is the interval between two frames. Metres, degrees."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
Vec = tuple[float, float, float]


class Motion(Protocol):
    """A rigid pose, (4, 4), at any time."""

    def at(self, time: float) -> F64:
        """The pose at ``time``, 0 at the reference."""


@dataclass(frozen=True)
class Place:
    """Where a thing stands that does not move: its own pose, ``turn`` about z and then ``where``."""

    where: Vec = (0.0, 0.0, 0.0)
    turn: float = 0.0

    def at(self, time: float) -> F64:
        """The pose, at any time."""
        return shifted(self.where) @ rotated((0, 0, 1), self.turn)


@dataclass(frozen=True)
class Glide:
    """From ``where`` by ``velocity`` each interval, bent by ``pull``, turning about ``axis`` by ``spin`` degrees."""

    where: Vec
    velocity: Vec
    axis: Vec = (0.0, 0.0, 1.0)
    spin: float = 0.0
    start: float = 0.0
    pull: Vec = (0.0, 0.0, 0.0)

    def at(self, time: float) -> F64:
        """The pose at ``time``."""
        way = np.array(self.where) + time * np.array(self.velocity) + time * abs(time) * np.array(self.pull)
        return shifted(way) @ rotated(self.axis, self.start + self.spin * time)


@dataclass(frozen=True)
class Swing:
    """About ``axis`` through ``pivot`` by ``reach`` degrees to and fro, carried by another motion.

    The angle is reach * sin(phase + rate * time) + rest, in degrees, ``phase`` and ``rate`` in radians.
    """

    pivot: Vec
    axis: Vec
    reach: float
    phase: float
    rate: float
    carrier: Motion
    rest: float = 0.0

    def at(self, time: float) -> F64:
        """The pose at ``time``."""
        angle = self.rest + self.reach * float(np.sin(self.phase + self.rate * time))
        about = shifted(self.pivot) @ rotated(self.axis, angle) @ shifted(tuple(-p for p in self.pivot))
        return np.asarray(self.carrier.at(time) @ about)


def shifted(by: Vec | F64 | tuple[float, ...]) -> F64:
    """A (4, 4) translation."""
    pose = np.eye(4)
    pose[:3, 3] = by
    return pose


def rotated(axis: Vec, degrees: float) -> F64:
    """A (4, 4) rotation about an axis through the origin (Rodrigues)."""
    x, y, z = np.array(axis, np.float64) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    pose = np.eye(4)
    pose[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return pose
