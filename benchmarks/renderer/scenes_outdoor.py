"""Random outdoor scenes: streets, gardens, porches and nights. Metres, z up, the camera looks along +y."""

import numpy as np

from benchmarks.renderer import materials
from benchmarks.renderer.geometry import FixedPose, box, cylinder, ellipsoid, join_meshes, rectangle
from benchmarks.renderer.materials import Material
from benchmarks.renderer.moving_objects import (
    add_flag,
    add_person,
    add_plant,
    add_swarm,
    add_swinging_lamp,
    add_thrown_object,
    random_object,
)
from benchmarks.renderer.scene import SceneBuilder, Sky
from benchmarks.renderer.scenes_indoor import add_chair, add_table

DAY_PANORAMAS = (
    "adams_place_bridge", "courtyard", "forest_slope", "kiara_1_dawn", "outdoor_umbrellas", "palermo_sidewalk",
    "palermo_square", "snowy_forest_path_01", "spruit_sunrise",
)  # fmt: skip
NIGHT_PANORAMAS = ("dikhololo_night", "leadenhall_market", "st_peters_square_night")


def street(rng: np.random.Generator, size: tuple[int, int]) -> tuple[SceneBuilder, Sky]:
    """A street: houses, lamp posts, a railing, wires, people; sun or a panorama."""
    builder = SceneBuilder(
        rng,
        (rng.uniform(-1, 1), 0, rng.uniform(1.5, 1.7)),
        (rng.uniform(-1, 1), 10, rng.uniform(1.3, 2.4)),
        rng.uniform(50, 72),
        size,
    )
    builder.add(rectangle((-30, -6, 0), (60, 0, 0), (0, 70, 0)).tiled(20, 23), Material(materials.grainy(rng, 0.2, 8)))
    half = rng.uniform(3, 5)
    for side in (-1, 1):
        y = rng.uniform(2, 4)
        while y < 30:
            w, d, h = rng.uniform(4, 7), rng.uniform(4, 8), rng.uniform(3, 9)
            if rng.random() < 0.85:
                builder.add(box((w, d, h), (side * (half + w / 2), y + d / 2, h / 2)), Material(materials.facade(rng)))
            y += d + rng.choice([0.0, 1.5])
    metal = materials.plain(rng, 0.02, 0.4, 0.25)
    posts = []
    for k in range(4):
        y, x = 4 + 5 * k, (half - 0.6) * rng.choice([-1, 1])
        posts += [cylinder((x, y, 0), (x, y, 3.4), 0.045), cylinder((x, y, 3.4), (0.7 * x, y, 3.6), 0.03)]
    rail = rng.choice([-1, 1]) * (half - 1.1)
    posts += [cylinder((rail, 1.5, z), (rail, 9, z), 0.02) for z in (0.5, 1.0)]
    posts += [cylinder((rail, y, 0), (rail, y, 1.0), 0.015) for y in np.arange(1.5, 9, 0.35)]
    posts += [
        cylinder((-half, y, 3.5 + k), (half, y + 1, 3.4 + k), 0.008, 6) for k, y in enumerate(rng.uniform(5, 15, 3))
    ]
    builder.add(join_meshes(posts), metal)
    add_standing_objects(builder, 3, (3, 9), half - 1.5)
    for _ in range(rng.integers(1, 4)):
        add_person(builder, rng.uniform(3, 8))
    add_thrown_object(builder, 1.5, 5, (0.06, 0.3))
    if rng.random() < 0.5:
        add_swarm(builder, 3.5, 60)
    if rng.random() < 0.5:
        add_flag(builder, rng.uniform(3, 6))
    return builder, daylight(rng)


def garden(rng: np.random.Generator, size: tuple[int, int]) -> tuple[SceneBuilder, Sky]:
    """A garden: grass, a fence, plants in the wind, before a panorama or a clear sky."""
    builder = SceneBuilder(
        rng, (0, 0, rng.uniform(1.2, 1.7)), (rng.uniform(-1, 1), 6, rng.uniform(0.8, 1.6)), rng.uniform(48, 68), size
    )
    builder.add(rectangle((-25, -5, 0), (50, 0, 0), (0, 55, 0)).tiled(12, 13), Material(materials.grass(rng)))
    y = rng.uniform(6, 9)
    bars = [box((0.07, 0.02, 1.1), (x, y, 0.6)) for x in np.arange(-8, 8, 0.18)]
    bars += [box((16, 0.03, 0.08), (0, y + 0.03, z)) for z in (0.35, 0.9)]
    if rng.random() < 0.7:
        builder.add(join_meshes(bars), materials.random_material(rng))
    if rng.random() < 0.6:
        w, h = rng.uniform(3, 6), rng.uniform(2.5, 4)
        builder.add(box((w, 4, h), (rng.uniform(-5, 5), y + 6, h / 2)), Material(materials.facade(rng)))
    for _ in range(rng.integers(3, 6)):
        position = (rng.uniform(-3.5, 3.5), rng.uniform(2.0, 6), 0.0)
        add_plant(builder, position, rng.uniform(0.8, 2.2), 14, float(rng.choice([0, 2, 5])))
    add_standing_objects(builder, 3, (2.5, 6), 2.5)
    add_swarm(builder, rng.uniform(1.5, 3), int(rng.integers(40, 120)))
    if rng.random() < 0.7:
        add_person(builder, rng.uniform(2.5, 6))
    if rng.random() < 0.5:
        add_thrown_object(builder, 1, 4)
    return builder, daylight(rng)


def porch(rng: np.random.Generator, size: tuple[int, int]) -> tuple[SceneBuilder, Sky]:
    """A view from under a roof past posts and a wall: shade inside, daylight outside."""
    builder = SceneBuilder(
        rng,
        (rng.uniform(-0.8, 0.8), 0, rng.uniform(1.3, 1.7)),
        (rng.uniform(-0.8, 0.8), 5, rng.uniform(1.1, 1.5)),
        rng.uniform(52, 70),
        size,
    )
    depth, height = rng.uniform(3.5, 5), rng.uniform(2.4, 2.9)
    builder.add(rectangle((-4, -3, 0), (8, 0, 0), (0, depth + 3, 0)).tiled(4, 4), materials.floor(rng))
    builder.add(rectangle((-4, depth, height), (8, 0, 0), (0, -depth - 3, 0)), materials.random_material(rng))
    side = rng.choice([-1, 1])
    builder.add(
        box((0.1, depth + 3, height), (side * 2.2, (depth - 3) / 2, height / 2)).tiled(3, 1), materials.wall(rng)
    )
    builder.add(box((1.6, 0.12, height), (side * rng.uniform(0.6, 1.4), depth, height / 2)), materials.wall(rng))
    builder.add(box((9, 3, 0.2), (0, -4, 1)), materials.wall(rng))
    post = materials.plain(rng, 0.1, 0.7)
    builder.add(
        join_meshes([box((0.12, 0.12, height), (x, depth, height / 2)) for x in (-3.2, -1.6, 0.1, 1.7, 3.3)]), post
    )
    builder.add(join_meshes([cylinder((x, depth, 0), (x, depth, 0.95), 0.01, 8) for x in np.arange(-4, 4, 0.14)]), post)
    builder.add(box((8, 0.06, 0.05), (0, depth, 0.95)), post)
    builder.add(rectangle((-30, depth, -0.3), (60, 0, 0), (0, 50, 0)).tiled(12, 10), Material(materials.grass(rng)))
    add_table(builder, -side * rng.uniform(0.3, 1.2), rng.uniform(2.2, 3), 1.2, 0.8)
    add_chair(builder, -side * rng.uniform(0.3, 1.8), rng.uniform(1.8, 3.2))
    add_plant(builder, (side * 1.5, depth - 0.8, 0.4), 1.2, 14, float(rng.choice([0, 4])))
    add_person(builder, rng.uniform(1.8, 3.5))
    add_person(builder, depth + rng.uniform(1, 4))
    if rng.random() < 0.6:
        add_thrown_object(builder, 0.8, 3)
    return builder, daylight(rng)


def night(rng: np.random.Generator, size: tuple[int, int]) -> tuple[SceneBuilder, Sky]:
    """A street at night: lamps, lit windows and tubes, many stops above what they light."""
    builder = SceneBuilder(
        rng, (rng.uniform(-1, 1), 0, 1.6), (rng.uniform(-1, 1), 8, rng.uniform(1.3, 2)), rng.uniform(50, 68), size
    )
    builder.add(
        rectangle((-20, -5, 0), (40, 0, 0), (0, 45, 0)).tiled(13, 15),
        Material(materials.grainy(rng, 0.2, 8), gloss=0.25),
    )
    half = rng.uniform(2.5, 4)
    for side in (-1, 1):
        for k in range(4):
            h = rng.uniform(3, 6)
            builder.add(box((4, 4.6, h), (side * (half + 2), 3 + 5 * k, h / 2)), Material(materials.facade(rng)))
            if rng.random() < 0.6:
                glow = materials.lamp(rng, 1, 12)
                builder.add(
                    box((0.02, 1.0, 0.9), (side * half - side * 0.01, 3 + 5 * k + rng.uniform(-1, 1), 1.9)), glow
                )
    builder.add(box((2 * half, 0.3, 4), (0, 18, 2)).tiled(3, 1), materials.wall(rng))
    metal = materials.plain(rng, 0.02, 0.3, 0.25)
    for k in range(3):
        x, y = (half - 0.5) * rng.choice([-1, 1]), 3.5 + 4 * k
        builder.add(cylinder((x, y, 0), (x, y, 2.8), 0.04), metal)
        builder.add(ellipsoid((0.13, 0.13, 0.13), (x, y, 2.93), 12), materials.lamp(rng, 60, 300))
    for _ in range(2):
        a = rng.uniform(-0.8, 0.8) * half
        builder.add(
            cylinder((a, 8, 2.4), (a + rng.uniform(-1.5, 1.5), 8, rng.uniform(1.8, 3.2)), 0.03),
            materials.lamp(rng, 10, 40),
        )
    add_standing_objects(builder, 4, (3, 8), half - 1)
    for _ in range(rng.integers(1, 4)):
        add_person(builder, rng.uniform(2.5, 7))
    add_swinging_lamp(builder, rng.uniform(3, 6), 3.2, (30, 200))
    if rng.random() < 0.6:
        add_thrown_object(builder, 1.2, 4)
    if rng.random() < 0.3:
        return builder, Sky(str(rng.choice(NIGHT_PANORAMAS)), (0.3, 0.3, 0.3), rng.uniform(0, 360))
    return builder, Sky(None, (0.01, 0.013, 0.02))


def add_standing_objects(builder: SceneBuilder, count: int, depths: tuple[float, float], extent: float) -> None:
    """Add static objects on the ground at ``depths``, up to ``extent`` sideways."""
    for _ in range(count):
        size = float(builder.rng.uniform(0.3, 1.0))
        position = (builder.rng.uniform(-extent, extent), builder.rng.uniform(*depths), size / 2)
        builder.add(
            random_object(builder.rng, size),
            materials.random_material(builder.rng),
            FixedPose(position, builder.rng.uniform(0, 360)),
        )


def daylight(rng: np.random.Generator) -> Sky:
    """A clear sky with the sun, or a panorama by day."""
    if rng.random() < 0.5:
        return Sky(str(rng.choice(DAY_PANORAMAS)), (1.0, 1.0, 1.0), rng.uniform(0, 360))
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(15, 65))
    sun = (
        float(np.cos(elevation) * np.cos(azimuth)),
        float(np.cos(elevation) * np.sin(azimuth)),
        float(np.sin(elevation)),
    )
    strength = rng.uniform(3, 8)
    return Sky(None, (0.35, 0.5, 0.8), rng.uniform(0, 360), sun, (strength, 0.92 * strength, 0.8 * strength))
