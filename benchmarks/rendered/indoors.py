"""Random scenes indoors: rooms, and table tops close up. Metres, z up, the camera looks along +y."""

import numpy as np
from rendered import movers, surfaces
from rendered.motion import Place
from rendered.scenery import Material, Sky
from rendered.solids import ball, box, panel, rod, turned
from rendered.stage import Stage
from scene import textures

INSIDE = ("blue_grotto", "christmas_photo_studio_07", "hotel_room", "vestibule", "vintage_measuring_lab", "workshop")


def room(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Stage, Sky]:
    """Four walls less one behind the camera, a window, a lamp, furniture."""
    wide, deep, tall = rng.uniform(3.6, 6), rng.uniform(4, 6.5), rng.uniform(2.4, 3)
    eye = (rng.uniform(-0.3, 0.3) * wide, 0.4, rng.uniform(1.2, 1.7))
    aim = (rng.uniform(-0.2, 0.2) * wide, deep, rng.uniform(0.8, 1.4))
    stage = Stage(rng, eye, aim, rng.uniform(48, 70), size)
    shell(stage, wide, deep, tall)
    window(stage, wide, deep, tall, float(np.exp(rng.uniform(np.log(3), np.log(30)))))
    furnish(stage, wide, deep)
    movers.pendulum(stage, rng.uniform(0.45, 0.7) * deep, tall, (20, 150))
    movers.person(stage, rng.uniform(0.4, 0.8) * deep)
    if rng.random() < 0.7:
        movers.thrown(stage, 0.8, 0.6 * deep)
    if rng.random() < 0.4:
        movers.swarm(stage, 0.45 * deep, 50)
    low = float(np.exp(rng.uniform(np.log(0.1), np.log(0.8))))
    return stage, Sky(None, (low, low, 1.1 * low))


def shell(stage: Stage, wide: float, deep: float, tall: float) -> None:
    """Floor, ceiling, three walls, skirting."""
    rng, x = stage.rng, wide / 2
    stage.add(panel((-x, -2, 0), (wide, 0, 0), (0, deep + 2, 0)).tiled(2, 2), surfaces.floor(rng))
    stage.add(panel((-x, deep, tall), (wide, 0, 0), (0, -deep, 0)), surfaces.plain(rng, 0.5, 0.85))
    stage.add(panel((-x, deep, 0), (wide, 0, 0), (0, 0, tall)).tiled(2, 1), surfaces.wall(rng))
    side = surfaces.wall(rng)
    stage.add(panel((-x, 0, 0), (0, deep, 0), (0, 0, tall)).tiled(2, 1), side)
    stage.add(panel((x, deep, 0), (0, -deep, 0), (0, 0, tall)).tiled(2, 1), side)
    stage.add(box((wide, 0.03, 0.1), (0, deep, 0.05)), surfaces.plain(rng, 0.2, 0.8))
    for _ in range(rng.integers(1, 4)):  # pictures and a shelf on the far wall
        a, b = rng.uniform(0.2, 0.6, 2)
        at = (rng.uniform(-0.4, 0.4) * wide, deep - 0.02, rng.uniform(1.2, 1.9))
        stage.add(box((a, 0.02, b), at), Material(surfaces.print_(rng)))


def window(stage: Stage, wide: float, deep: float, tall: float, level: float) -> None:
    """A bright opening in the far wall, with bars, and slats of a blind now and then."""
    rng = stage.rng
    w, h = rng.uniform(0.8, 1.8), rng.uniform(0.8, 1.4)
    x, z, y = rng.uniform(-0.5, 0.5) * (wide - w) - w / 2, rng.uniform(0.75, tall - h - 0.2), deep - 0.01
    stage.add(panel((x, y, z), (w, 0, 0), (0, 0, h)), surfaces.outside(rng, level))
    frame = surfaces.plain(rng, 0.1, 0.8, 0.2)
    for k in range(3):
        stage.add(box((0.045, 0.08, h), (x + k * w / 2, y - 0.04, z + h / 2)), frame)
    for high in (0.0, 0.6, 1.0):
        stage.add(box((w, 0.08, 0.04), (x + w / 2, y - 0.04, z + high * h)), frame)
    if rng.random() < 0.4:
        slat, count = surfaces.plain(rng, 0.3, 0.8), 18
        stage.add(
            Stage.joined(
                [
                    box((w, 0.03, 0.006), (x + w / 2, y - 0.12, z + h * (k + 1) / count))
                    for k in range(count // 2, count)
                ]
            ),
            slat,
        )


def furnish(stage: Stage, wide: float, deep: float) -> None:
    """A table with things on it, a chair or two, a case of books, a plant."""
    rng = stage.rng
    x, y = rng.uniform(-0.25, 0.25) * wide, rng.uniform(0.45, 0.7) * deep
    table(stage, x, y, rng.uniform(0.9, 1.5), rng.uniform(0.6, 0.9))
    for _ in range(rng.integers(1, 3)):
        chair(stage, x + rng.uniform(-1, 1), y + rng.uniform(-0.8, 0.8))
    left = rng.choice([-1, 1])
    bx = left * (wide / 2 - 0.55)
    case = surfaces.skin(rng)
    for k in range(5):
        stage.add(box((0.9, 0.3, 0.025), (bx, deep - 0.17, 0.1 + 0.38 * k)), case)
    for side in (-0.45, 0.45):
        stage.add(box((0.025, 0.3, 1.65), (bx + side, deep - 0.17, 0.82)), case)
    covers = [Material(textures.spine(rng, str(rng.choice(surfaces.WORDS)))) for _ in range(8)]
    for k in range(4):
        at = bx - 0.42
        while at < bx + rng.uniform(0.1, 0.4):
            w, h = rng.uniform(0.025, 0.06), rng.uniform(0.2, 0.31)
            stage.add(box((w, 0.2, h), (at + w / 2, deep - 0.15, 0.115 + 0.38 * k + h / 2)), covers[rng.integers(8)])
            at += w + 0.002
    movers.plant(
        stage, (-left * (wide / 2 - 0.5), deep - 0.6, 0.3), rng.uniform(0.7, 1.3), 12, float(rng.choice([0, 4]))
    )


def table(stage: Stage, x: float, y: float, wide: float, deep: float, top: float = 0.74) -> None:
    """A table and six things on it."""
    rng = stage.rng
    wood = surfaces.skin(rng)
    stage.add(box((wide, deep, 0.035), (x, y, top - 0.018)), wood)
    legs = [
        box((0.05, 0.05, top), (x + a * (wide / 2 - 0.06), y + b * (deep / 2 - 0.06), top / 2))
        for a in (-1, 1)
        for b in (-1, 1)
    ]
    stage.add(Stage.joined(legs), wood)
    for _ in range(6):
        size = rng.uniform(0.08, 0.26)
        where = (x + rng.uniform(-0.45, 0.45) * wide, y + rng.uniform(-0.4, 0.4) * deep, top + size / 2)
        stage.add(movers.body(rng, size), surfaces.skin(rng), Place(where, rng.uniform(0, 360)))


def chair(stage: Stage, x: float, y: float) -> None:
    """Thin legs, a seat, a back of bars."""
    rng, wood = stage.rng, surfaces.plain(stage.rng, 0.04, 0.6, 0.2)
    parts = [box((0.42, 0.42, 0.03), (0, 0, 0.45))]
    parts += [rod((a, b, 0), (a, b, 0.45 if b < 0 else 0.95), 0.014, 8) for a in (-0.19, 0.19) for b in (-0.19, 0.19)]
    parts += [rod((a, 0.19, 0.45), (a, 0.19, 0.93), 0.008, 8) for a in np.linspace(-0.14, 0.14, 5)]
    parts += [box((0.42, 0.03, 0.05), (0, 0.19, 0.93))]
    stage.add(Stage.joined(parts), wood, Place((x, y, 0), rng.uniform(0, 360)))


def table_scene(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Stage, Sky]:
    """Close up: things on a table under a lamp, before a wall or a panorama of a room."""
    stage = Stage(rng, (rng.uniform(-0.2, 0.2), 0, rng.uniform(0.95, 1.25)), (0, 1.0, 0.8), rng.uniform(45, 62), size)
    table_top(stage)
    if rng.random() < 0.6:
        stage.add(panel((-2, 1.9, 0), (4, 0, 0), (0, 0, 2.5)).tiled(3, 2), surfaces.wall(rng))
    lamp = (rng.uniform(-0.7, 0.7), rng.uniform(0.7, 1.4), rng.uniform(1.1, 1.6))
    radius = rng.uniform(0.03, 0.08)
    stage.add(ball((radius,) * 3, lamp), surfaces.light(rng, 40, 200))
    stage.add(rod((lamp[0], lamp[1], 0.7), (lamp[0], lamp[1], lamp[2] - radius), 0.008), surfaces.plain(rng, 0.02, 0.4))
    shade = turned([(0.5 * radius, radius), (1.3 * radius, 0.8 * radius), (2 * radius, -0.4 * radius)])
    stage.add(Stage.moved(shade, lamp), surfaces.plain(rng, 0.1, 0.6))
    for _ in range(rng.integers(1, 3)):
        movers.thrown(stage, 0.45, 1.1, (0.12, 0.5))
    if rng.random() < 0.5:
        movers.swarm(stage, 0.9, 40)
    return stage, Sky(str(rng.choice(INSIDE)), (1.0, 1.0, 1.0), rng.uniform(0, 360))


def table_top(stage: Stage) -> None:
    """A surface close to the camera, crowded."""
    rng = stage.rng
    stage.add(panel((-1.2, 0, 0.7), (2.4, 0, 0), (0, 1.6, 0)).tiled(1.5, 1), surfaces.floor(rng))
    for _ in range(rng.integers(9, 16)):
        size = rng.uniform(0.06, 0.3)
        where = (rng.uniform(-0.6, 0.6), rng.uniform(0.45, 1.4), 0.7 + size / 2)
        stage.add(movers.body(rng, size), surfaces.skin(rng), Place(where, rng.uniform(0, 360)))
    for _ in range(rng.integers(2, 5)):  # wires and sticks
        a, b = rng.uniform(-0.7, 0.7, 2)
        stage.add(
            rod((a, 0.6, 0.7), (b, 1.3, rng.uniform(0.7, 1.4)), rng.uniform(0.002, 0.008), 8), surfaces.plain(rng)
        )
