"""Emitters: the garden, the sun, a second window outside the view, the lamp. Radiance 1 is the reference's clip."""

from typing import Any

import mitsuba as mi
import numpy as np

from scene import textures
from scene.materials import SEED, texture

WINDOW_WALL_Y = 4.2  # metres
LIGHTS = ("garden", "sun", "fill", "shade")


def lights(only: str | None = None) -> dict[str, Any]:
    """The emitters; with ``only``, the others are black, so that the light of each can be sampled separately."""
    t = mi.ScalarTransform4f
    rng = np.random.default_rng(SEED + 2)
    dark = mi.load_dict({"type": "diffuse", "reflectance": {"type": "rgb", "value": 0.0}})
    centre, half = (-1.62, WINDOW_WALL_Y + 2.0, 1.05), (1.65, 1.0, 1.6)
    pose = t().translate(list(centre)) @ t().rotate([1, 0, 0], 90) @ t().scale([half[0], half[2], 1])
    side = t().translate([-2.39, -0.2, 1.6]) @ t().rotate([0, 1, 0], 90) @ t().scale([0.8, 1.1, 1])
    towards_sun = np.array([-0.22, 1.0, 0.66])
    sun = np.array([-0.95, WINDOW_WALL_Y, 1.6]) + 14 * towards_sun / np.linalg.norm(towards_sun)
    facing = t().look_at(origin=list(sun), target=[-0.95, WINDOW_WALL_Y, 1.6], up=[0, 0, 1])
    radius = 0.16
    irradiance = np.array([6.0, 5.2, 4.0])
    radiance = irradiance * 14**2 / (np.pi * radius**2)
    glow = np.linspace(0, 1, 64)[:, None]
    shade = (0.55 + 1.9 * np.exp(-(((glow - 0.55) / 0.35) ** 2)))[..., None] * np.array([1.0, 0.62, 0.30]) + np.zeros(
        (64, 4, 1)
    )
    shade *= 2.6
    lit: dict[str, Any] = {
        "garden": {
            "type": "rectangle",
            "to_world": pose,
            "bsdf": dark,
            "emitter": {"type": "area", "radiance": texture(textures.garden(rng))},
        },
        "fill": {
            "type": "rectangle",
            "to_world": side,
            "bsdf": dark,
            "emitter": {"type": "area", "radiance": {"type": "rgb", "value": [4.8, 5.2, 5.8]}},
        },
        "sun": {
            "type": "disk",
            "to_world": facing @ t().scale(radius),
            "bsdf": dark,
            "emitter": {"type": "area", "radiance": {"type": "rgb", "value": radiance.tolist()}},
        },
        "shade": {
            "type": "cylinder",
            "p0": [1.55, 3.3, 1.40],
            "p1": [1.55, 3.3, 1.66],
            "radius": 0.16,
            "bsdf": dark,
            "emitter": {"type": "area", "radiance": texture(shade)},
        },
    }
    for name, shape in lit.items():
        if only not in (None, name):
            del shape["emitter"]
    return lit
