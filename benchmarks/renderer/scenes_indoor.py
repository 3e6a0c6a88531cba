"""Random indoor scenes: rooms, and table tops close up. Metres, z up, the camera looks along +y."""

import numpy as np

from benchmarks.renderer import materials
from benchmarks.renderer.geometry import (
    FixedPose,
    box,
    cylinder,
    ellipsoid,
    join_meshes,
    rectangle,
    surface_of_revolution,
    translated,
)
from benchmarks.renderer.materials import Material
from benchmarks.renderer.moving_objects import (
    add_person,
    add_plant,
    add_swarm,
    add_swinging_lamp,
    add_thrown_object,
    random_object,
)
from benchmarks.renderer.scene import SceneBuilder, Sky
from examples.scene import textures

INDOOR_PANORAMAS = (
    "blue_grotto",
    "christmas_photo_studio_07",
    "hotel_room",
    "vestibule",
    "vintage_measuring_lab",
    "workshop",
)


def room(rng: np.random.Generator, size: tuple[int, int]) -> tuple[SceneBuilder, Sky]:
    """A room with three walls, a window, a swinging lamp, furniture and people."""
    width, depth, height = rng.uniform(3.6, 6), rng.uniform(4, 6.5), rng.uniform(2.4, 3)
    eye = (rng.uniform(-0.3, 0.3) * width, 0.4, rng.uniform(1.2, 1.7))
    target = (rng.uniform(-0.2, 0.2) * width, depth, rng.uniform(0.8, 1.4))
    builder = SceneBuilder(rng, eye, target, rng.uniform(48, 70), size)
    add_walls(builder, width, depth, height)
    add_window(builder, width, depth, height, float(np.exp(rng.uniform(np.log(3), np.log(30)))))
    add_furniture(builder, width, depth)
    add_swinging_lamp(builder, rng.uniform(0.45, 0.7) * depth, height, (20, 150))
    add_person(builder, rng.uniform(0.4, 0.8) * depth)
    if rng.random() < 0.7:
        add_thrown_object(builder, 0.8, 0.6 * depth)
    if rng.random() < 0.4:
        add_swarm(builder, 0.45 * depth, 50)
    low = float(np.exp(rng.uniform(np.log(0.1), np.log(0.8))))
    return builder, Sky(None, (low, low, 1.1 * low))


def add_walls(builder: SceneBuilder, width: float, depth: float, height: float) -> None:
    """Add floor, ceiling, three walls, skirting and pictures."""
    rng, x = builder.rng, width / 2
    builder.add(rectangle((-x, -2, 0), (width, 0, 0), (0, depth + 2, 0)).tiled(2, 2), materials.floor(rng))
    builder.add(rectangle((-x, depth, height), (width, 0, 0), (0, -depth, 0)), materials.plain(rng, 0.5, 0.85))
    builder.add(rectangle((-x, depth, 0), (width, 0, 0), (0, 0, height)).tiled(2, 1), materials.wall(rng))
    side = materials.wall(rng)
    builder.add(rectangle((-x, 0, 0), (0, depth, 0), (0, 0, height)).tiled(2, 1), side)
    builder.add(rectangle((x, depth, 0), (0, -depth, 0), (0, 0, height)).tiled(2, 1), side)
    builder.add(box((width, 0.03, 0.1), (0, depth, 0.05)), materials.plain(rng, 0.2, 0.8))
    for _ in range(rng.integers(1, 4)):  # pictures and a shelf on the far wall
        a, b = rng.uniform(0.2, 0.6, 2)
        position = (rng.uniform(-0.4, 0.4) * width, depth - 0.02, rng.uniform(1.2, 1.9))
        builder.add(box((a, 0.02, b), position), Material(materials.poster(rng)))


def add_window(builder: SceneBuilder, width: float, depth: float, height: float, level: float) -> None:
    """Add a window of radiance ``level`` in the far wall, with bars, sometimes with a blind."""
    rng = builder.rng
    w, h = rng.uniform(0.8, 1.8), rng.uniform(0.8, 1.4)
    x, z, y = rng.uniform(-0.5, 0.5) * (width - w) - w / 2, rng.uniform(0.75, height - h - 0.2), depth - 0.01
    builder.add(rectangle((x, y, z), (w, 0, 0), (0, 0, h)), materials.window_view(rng, level))
    frame = materials.plain(rng, 0.1, 0.8, 0.2)
    for k in range(3):
        builder.add(box((0.045, 0.08, h), (x + k * w / 2, y - 0.04, z + h / 2)), frame)
    for high in (0.0, 0.6, 1.0):
        builder.add(box((w, 0.08, 0.04), (x + w / 2, y - 0.04, z + high * h)), frame)
    if rng.random() < 0.4:
        slat, count = materials.plain(rng, 0.3, 0.8), 18
        builder.add(
            join_meshes(
                [
                    box((w, 0.03, 0.006), (x + w / 2, y - 0.12, z + h * (k + 1) / count))
                    for k in range(count // 2, count)
                ]
            ),
            slat,
        )


def add_furniture(builder: SceneBuilder, width: float, depth: float) -> None:
    """Add a table with objects, a chair or two, a bookcase, a plant."""
    rng = builder.rng
    x, y = rng.uniform(-0.25, 0.25) * width, rng.uniform(0.45, 0.7) * depth
    add_table(builder, x, y, rng.uniform(0.9, 1.5), rng.uniform(0.6, 0.9))
    for _ in range(rng.integers(1, 3)):
        add_chair(builder, x + rng.uniform(-1, 1), y + rng.uniform(-0.8, 0.8))
    left = rng.choice([-1, 1])
    bx = left * (width / 2 - 0.55)
    case = materials.random_material(rng)
    for k in range(5):
        builder.add(box((0.9, 0.3, 0.025), (bx, depth - 0.17, 0.1 + 0.38 * k)), case)
    for side in (-0.45, 0.45):
        builder.add(box((0.025, 0.3, 1.65), (bx + side, depth - 0.17, 0.82)), case)
    covers = [Material(textures.spine(rng, str(rng.choice(materials.WORDS)))) for _ in range(8)]
    for k in range(4):
        x_book = bx - 0.42
        while x_book < bx + rng.uniform(0.1, 0.4):
            w, h = rng.uniform(0.025, 0.06), rng.uniform(0.2, 0.31)
            builder.add(
                box((w, 0.2, h), (x_book + w / 2, depth - 0.15, 0.115 + 0.38 * k + h / 2)), covers[rng.integers(8)]
            )
            x_book += w + 0.002
    add_plant(
        builder, (-left * (width / 2 - 0.5), depth - 0.6, 0.3), rng.uniform(0.7, 1.3), 12, float(rng.choice([0, 4]))
    )


def add_table(builder: SceneBuilder, x: float, y: float, width: float, depth: float, top: float = 0.74) -> None:
    """Add a table and six objects on it."""
    rng = builder.rng
    wood = materials.random_material(rng)
    builder.add(box((width, depth, 0.035), (x, y, top - 0.018)), wood)
    legs = [
        box((0.05, 0.05, top), (x + a * (width / 2 - 0.06), y + b * (depth / 2 - 0.06), top / 2))
        for a in (-1, 1)
        for b in (-1, 1)
    ]
    builder.add(join_meshes(legs), wood)
    for _ in range(6):
        size = rng.uniform(0.08, 0.26)
        position = (x + rng.uniform(-0.45, 0.45) * width, y + rng.uniform(-0.4, 0.4) * depth, top + size / 2)
        builder.add(random_object(rng, size), materials.random_material(rng), FixedPose(position, rng.uniform(0, 360)))


def add_chair(builder: SceneBuilder, x: float, y: float) -> None:
    """Add a chair of thin bars."""
    rng, wood = builder.rng, materials.plain(builder.rng, 0.04, 0.6, 0.2)
    parts = [box((0.42, 0.42, 0.03), (0, 0, 0.45))]
    parts += [
        cylinder((a, b, 0), (a, b, 0.45 if b < 0 else 0.95), 0.014, 8) for a in (-0.19, 0.19) for b in (-0.19, 0.19)
    ]
    parts += [cylinder((a, 0.19, 0.45), (a, 0.19, 0.93), 0.008, 8) for a in np.linspace(-0.14, 0.14, 5)]
    parts += [box((0.42, 0.03, 0.05), (0, 0.19, 0.93))]
    builder.add(join_meshes(parts), wood, FixedPose((x, y, 0), rng.uniform(0, 360)))


def table_close_up(rng: np.random.Generator, size: tuple[int, int]) -> tuple[SceneBuilder, Sky]:
    """Objects on a table close up, under a lamp, before a wall or a panorama of a room."""
    builder = SceneBuilder(
        rng, (rng.uniform(-0.2, 0.2), 0, rng.uniform(0.95, 1.25)), (0, 1.0, 0.8), rng.uniform(45, 62), size
    )
    add_table_top(builder)
    if rng.random() < 0.6:
        builder.add(rectangle((-2, 1.9, 0), (4, 0, 0), (0, 0, 2.5)).tiled(3, 2), materials.wall(rng))
    lamp = (rng.uniform(-0.7, 0.7), rng.uniform(0.7, 1.4), rng.uniform(1.1, 1.6))
    radius = rng.uniform(0.03, 0.08)
    builder.add(ellipsoid((radius,) * 3, lamp), materials.lamp(rng, 40, 200))
    builder.add(
        cylinder((lamp[0], lamp[1], 0.7), (lamp[0], lamp[1], lamp[2] - radius), 0.008), materials.plain(rng, 0.02, 0.4)
    )
    shade = surface_of_revolution([(0.5 * radius, radius), (1.3 * radius, 0.8 * radius), (2 * radius, -0.4 * radius)])
    builder.add(translated(shade, lamp), materials.plain(rng, 0.1, 0.6))
    for _ in range(rng.integers(1, 3)):
        add_thrown_object(builder, 0.45, 1.1, (0.12, 0.5))
    if rng.random() < 0.5:
        add_swarm(builder, 0.9, 40)
    return builder, Sky(str(rng.choice(INDOOR_PANORAMAS)), (1.0, 1.0, 1.0), rng.uniform(0, 360))


def add_table_top(builder: SceneBuilder) -> None:
    """Add a crowded surface close to the camera."""
    rng = builder.rng
    builder.add(rectangle((-1.2, 0, 0.7), (2.4, 0, 0), (0, 1.6, 0)).tiled(1.5, 1), materials.floor(rng))
    for _ in range(rng.integers(9, 16)):
        size = rng.uniform(0.06, 0.3)
        position = (rng.uniform(-0.6, 0.6), rng.uniform(0.45, 1.4), 0.7 + size / 2)
        builder.add(random_object(rng, size), materials.random_material(rng), FixedPose(position, rng.uniform(0, 360)))
    for _ in range(rng.integers(2, 5)):  # wires and sticks
        a, b = rng.uniform(-0.7, 0.7, 2)
        builder.add(
            cylinder((a, 0.6, 0.7), (b, 1.3, rng.uniform(0.7, 1.4)), rng.uniform(0.002, 0.008), 8), materials.plain(rng)
        )
