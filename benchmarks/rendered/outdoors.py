"""Random scenes outdoors: streets, gardens, porches and nights. Metres, z up, the camera looks along +y."""

import numpy as np
from rendered import movers, surfaces
from rendered.indoors import chair, table
from rendered.motion import Place
from rendered.scenery import Material, Sky
from rendered.solids import ball, box, panel, rod
from rendered.stage import Stage

DAY = ("adams_place_bridge", "courtyard", "forest_slope", "kiara_1_dawn", "outdoor_umbrellas", "palermo_sidewalk",
       "palermo_square", "snowy_forest_path_01", "spruit_sunrise")  # fmt: skip
NIGHT = ("dikhololo_night", "leadenhall_market", "st_peters_square_night")


def street(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Stage, Sky]:
    """Houses on both sides, lamp posts, a railing, wires; sun or the light of a panorama."""
    stage = Stage(
        rng,
        (rng.uniform(-1, 1), 0, rng.uniform(1.5, 1.7)),
        (rng.uniform(-1, 1), 10, rng.uniform(1.3, 2.4)),
        rng.uniform(50, 72),
        size,
    )
    stage.add(panel((-30, -6, 0), (60, 0, 0), (0, 70, 0)).tiled(20, 23), Material(surfaces.mottled(rng, 0.2, 8)))
    half = rng.uniform(3, 5)
    for side in (-1, 1):
        y = rng.uniform(2, 4)
        while y < 30:
            w, d, h = rng.uniform(4, 7), rng.uniform(4, 8), rng.uniform(3, 9)
            if rng.random() < 0.85:
                stage.add(box((w, d, h), (side * (half + w / 2), y + d / 2, h / 2)), Material(surfaces.facade(rng)))
            y += d + rng.choice([0.0, 1.5])
    metal = surfaces.plain(rng, 0.02, 0.4, 0.25)
    posts = []
    for k in range(4):
        y, x = 4 + 5 * k, (half - 0.6) * rng.choice([-1, 1])
        posts += [rod((x, y, 0), (x, y, 3.4), 0.045), rod((x, y, 3.4), (0.7 * x, y, 3.6), 0.03)]
    rail = rng.choice([-1, 1]) * (half - 1.1)
    posts += [rod((rail, 1.5, z), (rail, 9, z), 0.02) for z in (0.5, 1.0)]
    posts += [rod((rail, y, 0), (rail, y, 1.0), 0.015) for y in np.arange(1.5, 9, 0.35)]
    posts += [rod((-half, y, 3.5 + k), (half, y + 1, 3.4 + k), 0.008, 6) for k, y in enumerate(rng.uniform(5, 15, 3))]
    stage.add(Stage.joined(posts), metal)
    crates(stage, 3, (3, 9), half - 1.5)
    for _ in range(rng.integers(1, 4)):
        movers.person(stage, rng.uniform(3, 8))
    movers.thrown(stage, 1.5, 5, (0.06, 0.3))
    if rng.random() < 0.5:
        movers.swarm(stage, 3.5, 60)
    if rng.random() < 0.5:
        movers.flag(stage, rng.uniform(3, 6))
    return stage, daylight(rng)


def garden(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Stage, Sky]:
    """Grass, a fence, shrubs in the wind before a panorama or a clear sky."""
    stage = Stage(
        rng, (0, 0, rng.uniform(1.2, 1.7)), (rng.uniform(-1, 1), 6, rng.uniform(0.8, 1.6)), rng.uniform(48, 68), size
    )
    stage.add(panel((-25, -5, 0), (50, 0, 0), (0, 55, 0)).tiled(12, 13), Material(surfaces.grass(rng)))
    y = rng.uniform(6, 9)
    bars = [box((0.07, 0.02, 1.1), (x, y, 0.6)) for x in np.arange(-8, 8, 0.18)]
    bars += [box((16, 0.03, 0.08), (0, y + 0.03, z)) for z in (0.35, 0.9)]
    if rng.random() < 0.7:
        stage.add(Stage.joined(bars), surfaces.skin(rng))
    if rng.random() < 0.6:
        w, h = rng.uniform(3, 6), rng.uniform(2.5, 4)
        stage.add(box((w, 4, h), (rng.uniform(-5, 5), y + 6, h / 2)), Material(surfaces.facade(rng)))
    for _ in range(rng.integers(3, 6)):
        where = (rng.uniform(-3.5, 3.5), rng.uniform(2.0, 6), 0.0)
        movers.plant(stage, where, rng.uniform(0.8, 2.2), 14, float(rng.choice([0, 2, 5])))
    crates(stage, 3, (2.5, 6), 2.5)
    movers.swarm(stage, rng.uniform(1.5, 3), int(rng.integers(40, 120)))
    if rng.random() < 0.7:
        movers.person(stage, rng.uniform(2.5, 6))
    if rng.random() < 0.5:
        movers.thrown(stage, 1, 4)
    return stage, daylight(rng)


def porch(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Stage, Sky]:
    """Under a roof, looking out past posts and a wall: shade within, day without."""
    stage = Stage(
        rng,
        (rng.uniform(-0.8, 0.8), 0, rng.uniform(1.3, 1.7)),
        (rng.uniform(-0.8, 0.8), 5, rng.uniform(1.1, 1.5)),
        rng.uniform(52, 70),
        size,
    )
    deep, tall = rng.uniform(3.5, 5), rng.uniform(2.4, 2.9)
    stage.add(panel((-4, -3, 0), (8, 0, 0), (0, deep + 3, 0)).tiled(4, 4), surfaces.floor(rng))
    stage.add(panel((-4, deep, tall), (8, 0, 0), (0, -deep - 3, 0)), surfaces.skin(rng))
    side = rng.choice([-1, 1])
    stage.add(box((0.1, deep + 3, tall), (side * 2.2, (deep - 3) / 2, tall / 2)).tiled(3, 1), surfaces.wall(rng))
    stage.add(box((1.6, 0.12, tall), (side * rng.uniform(0.6, 1.4), deep, tall / 2)), surfaces.wall(rng))
    stage.add(box((9, 3, 0.2), (0, -4, 1)), surfaces.wall(rng))
    post = surfaces.plain(rng, 0.1, 0.7)
    stage.add(Stage.joined([box((0.12, 0.12, tall), (x, deep, tall / 2)) for x in (-3.2, -1.6, 0.1, 1.7, 3.3)]), post)
    stage.add(Stage.joined([rod((x, deep, 0), (x, deep, 0.95), 0.01, 8) for x in np.arange(-4, 4, 0.14)]), post)
    stage.add(box((8, 0.06, 0.05), (0, deep, 0.95)), post)
    stage.add(panel((-30, deep, -0.3), (60, 0, 0), (0, 50, 0)).tiled(12, 10), Material(surfaces.grass(rng)))
    table(stage, -side * rng.uniform(0.3, 1.2), rng.uniform(2.2, 3), 1.2, 0.8)
    chair(stage, -side * rng.uniform(0.3, 1.8), rng.uniform(1.8, 3.2))
    movers.plant(stage, (side * 1.5, deep - 0.8, 0.4), 1.2, 14, float(rng.choice([0, 4])))
    movers.person(stage, rng.uniform(1.8, 3.5))
    movers.person(stage, deep + rng.uniform(1, 4))
    if rng.random() < 0.6:
        movers.thrown(stage, 0.8, 3)
    return stage, daylight(rng)


def night(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Stage, Sky]:
    """Lamps, lit windows and a tube or two in the dark, many stops over what they light."""
    stage = Stage(
        rng, (rng.uniform(-1, 1), 0, 1.6), (rng.uniform(-1, 1), 8, rng.uniform(1.3, 2)), rng.uniform(50, 68), size
    )
    stage.add(
        panel((-20, -5, 0), (40, 0, 0), (0, 45, 0)).tiled(13, 15), Material(surfaces.mottled(rng, 0.2, 8), gloss=0.25)
    )
    half = rng.uniform(2.5, 4)
    for side in (-1, 1):
        for k in range(4):
            h = rng.uniform(3, 6)
            stage.add(box((4, 4.6, h), (side * (half + 2), 3 + 5 * k, h / 2)), Material(surfaces.facade(rng)))
            if rng.random() < 0.6:
                glow = surfaces.light(rng, 1, 12)
                stage.add(box((0.02, 1.0, 0.9), (side * half - side * 0.01, 3 + 5 * k + rng.uniform(-1, 1), 1.9)), glow)
    stage.add(box((2 * half, 0.3, 4), (0, 18, 2)).tiled(3, 1), surfaces.wall(rng))
    metal = surfaces.plain(rng, 0.02, 0.3, 0.25)
    for k in range(3):
        x, y = (half - 0.5) * rng.choice([-1, 1]), 3.5 + 4 * k
        stage.add(rod((x, y, 0), (x, y, 2.8), 0.04), metal)
        stage.add(ball((0.13, 0.13, 0.13), (x, y, 2.93), 12), surfaces.light(rng, 60, 300))
    for _ in range(2):
        a = rng.uniform(-0.8, 0.8) * half
        stage.add(
            rod((a, 8, 2.4), (a + rng.uniform(-1.5, 1.5), 8, rng.uniform(1.8, 3.2)), 0.03), surfaces.light(rng, 10, 40)
        )
    crates(stage, 4, (3, 8), half - 1)
    for _ in range(rng.integers(1, 4)):
        movers.person(stage, rng.uniform(2.5, 7))
    movers.pendulum(stage, rng.uniform(3, 6), 3.2, (30, 200))
    if rng.random() < 0.6:
        movers.thrown(stage, 1.2, 4)
    if rng.random() < 0.3:
        return stage, Sky(str(rng.choice(NIGHT)), (0.3, 0.3, 0.3), rng.uniform(0, 360))
    return stage, Sky(None, (0.01, 0.013, 0.02))


def crates(stage: Stage, count: int, depths: tuple[float, float], reach: float) -> None:
    """Things that stand about on the ground."""
    for _ in range(count):
        size = float(stage.rng.uniform(0.3, 1.0))
        where = (stage.rng.uniform(-reach, reach), stage.rng.uniform(*depths), size / 2)
        stage.add(movers.body(stage.rng, size), surfaces.skin(stage.rng), Place(where, stage.rng.uniform(0, 360)))


def daylight(rng: np.random.Generator) -> Sky:
    """A clear sky with the sun somewhere above, or a panorama by day."""
    if rng.random() < 0.5:
        return Sky(str(rng.choice(DAY)), (1.0, 1.0, 1.0), rng.uniform(0, 360))
    turn, high = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(15, 65))
    sun = (float(np.cos(high) * np.cos(turn)), float(np.cos(high) * np.sin(turn)), float(np.sin(high)))
    strength = rng.uniform(3, 8)
    return Sky(None, (0.35, 0.5, 0.8), rng.uniform(0, 360), sun, (strength, 0.92 * strength, 0.8 * strength))
