"""Moving objects: a bouncing ball, a walking robot, a swaying plant. Metres; seconds from the reference exposure."""

from typing import Any

import mitsuba as mi
import numpy as np
from numpy.typing import NDArray

from scene import geometry
from scene.geometry import Vec, box, cylinder, sphere
from scene.materials import SEED, materials


def moving_objects(time: float) -> dict[str, Any]:
    """The moving objects at ``time``."""
    m = materials()
    out: dict[str, Any] = {}

    def add(name: str, shape: Any) -> None:
        out[f"{name}_{len(out)}"] = shape

    # The ball crosses the rug from right to left in free fall between bounces.
    phase = (time + 0.25) % 0.56
    centre = np.array([-0.70 - 0.75 * time, 1.66 + 0.1 * time, 0.137 + 9.81 / 2 * phase * (0.56 - phase)])
    spin = np.array(mi.ScalarTransform4f().rotate([0.3, 1, 0.2], 200 * time).matrix)[:3, :3]
    lean = np.array(mi.ScalarTransform4f().rotate([1, 0, 0], 65).matrix)[:3, :3]

    def globe(u: NDArray[Any], v: NDArray[Any]) -> Any:
        long, lat = 2 * np.pi * u, np.pi * (np.clip(v, 1e-3, 1 - 1e-3) - 0.5)
        sphere = np.stack([np.cos(lat) * np.cos(long), np.cos(lat) * np.sin(long), np.sin(lat)], -1)
        return tuple(np.moveaxis(centre + 0.125 * sphere @ (spin @ lean).T, -1, 0))

    add("ball", geometry.parametric_surface(globe, 48, 96, m["ball"]))
    # The robot walks along the table towards the lamp; k scales a figure 0.43 m tall.
    k = 1.35
    foot = np.array([-0.34 + 0.22 * time, 2.22, 0.755])
    swing = 24 * np.sin(2 * np.pi * 0.9 * time + 0.5)
    bob = 0.004 * abs(np.sin(2 * np.pi * 0.9 * time + 0.5))

    def at(x: float, y: float, z: float, rise: float = 0.0) -> Vec:
        px, py, pz = foot + k * np.array([x, y, z + rise])
        return float(px), float(py), float(pz)

    def part(centre: Vec, size: Vec, material: str, tilt: float = 0.0, pivot: Vec = (0.0, 0.0, 0.0)) -> None:
        scaled = (k * size[0], k * size[1], k * size[2])
        add("robot", box(centre, scaled, m[material], tilt=tilt, pivot=pivot))

    hip, shoulder = at(0, 0, 0.115), at(0, 0, 0.235)
    for side, angle in ((-1, swing), (1, -swing)):
        part(at(0.032 * side, 0, 0.06), (0.034, 0.032, 0.115), "steel", angle, hip)
        part(at(0.032 * side + 0.006, -0.01, 0.012), (0.048, 0.062, 0.022), "black", angle, hip)
        part(at(0.083 * side, 0, 0.185), (0.026, 0.028, 0.115), "steel", -angle, shoulder)
    part(at(0, 0, 0.185, bob), (0.135, 0.085, 0.14), "red")
    part(at(0, -0.043, 0.185, bob), (0.07, 0.002, 0.056), "label")
    part(at(0, 0, 0.262, bob), (0.04, 0.04, 0.02), "steel")
    part(at(0, 0, 0.312, bob), (0.10, 0.085, 0.085), "cream")
    for dx in (-0.024, 0.024):
        add("robot", sphere(at(dx, -0.043, 0.322, bob), 0.014 * k, m["black"]))
    part(at(0, -0.043, 0.288, bob), (0.045, 0.004, 0.01), "red")
    add("robot", cylinder(at(0, 0, 0.35, bob), at(0.01, 0, 0.41, bob), 0.003 * k, m["steel"]))
    add("robot", sphere(at(0.01, 0, 0.415, bob), 0.012 * k, m["red"]))
    # The plant's leaves sway, each with its own phase.
    rng = np.random.default_rng(SEED + 3)
    for _ in range(22):
        heading, length, width = rng.uniform(0, 2 * np.pi), rng.uniform(0.42, 0.72), rng.uniform(0.10, 0.18)
        rise, droop = rng.uniform(0.55, 1.15), rng.uniform(0.15, 0.42)
        sway = np.sin(2 * np.pi * 0.7 * time + rng.uniform(0, 2 * np.pi))
        root = (-1.55 + 0.06 * np.cos(heading), 3.05 + 0.06 * np.sin(heading), 0.29)
        add(
            "plant",
            geometry.leaf_blade(root, heading + 0.10 * sway, length, width, rise + 0.03 * sway, droop, m["leaf"]),
        )
    return out
