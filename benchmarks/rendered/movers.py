"""What moves by itself: thrown and rolling things, people, swarms of leaves, a swinging lamp, branches in the wind.

Speeds are given on the picture, in pixels between two frames, and turned into metres by the distance.
"""

import numpy as np
from rendered import surfaces
from rendered.motion import Glide, Motion, Place, Swing
from rendered.scenery import Material
from rendered.solids import Solid, Vec, ball, box, leaf, rod, turned
from rendered.stage import Stage


def speed(stage: Stage, low: float, high: float, distance: float) -> float:
    """Metres an interval that show as ``low`` to ``high`` pixels, log-uniform."""
    return float(np.exp(stage.rng.uniform(np.log(low), np.log(high))) * distance / stage.focal)


def body(rng: np.random.Generator, size: float) -> Solid:
    """A thing about ``size`` across: ball, block, bottle, bowl, or crate of slats."""
    kind = rng.choice(["ball", "block", "bottle", "bowl", "slats"])
    if kind == "ball":
        a, b, c = size / 2 * rng.uniform(0.7, 1.0, 3)
        return ball((a, b, c))
    if kind == "block":
        a, b, c = size * rng.uniform(0.35, 1.0, 3)
        return box((a, b, c))
    if kind == "slats":
        bars = [box((size, 0.09 * size, 0.12 * size), (0, 0, size * (k - 2) / 5)) for k in range(5)]
        bars += [box((0.1 * size, 0.05 * size, size), (x * 0.4 * size, 0.06 * size, 0)) for x in (-1, 1)]
        return Stage.joined(bars)
    radii = rng.uniform(0.15, 0.5, 5) * (1.0 if kind == "bottle" else 1.6)
    height = 1.0 if kind == "bottle" else 0.5
    points = [(0.0, -height / 2), *((r, height * (i / 4 - 0.5)) for i, r in enumerate(radii))]
    return turned([(size * r, size * z) for r, z in points])


def thrown(stage: Stage, near: float, far: float, share: tuple[float, float] = (0.08, 0.4)) -> None:
    """One thing in flight across the picture, ``share`` of its width large, turning as it goes."""
    rng = stage.rng
    distance = float(rng.uniform(near, far))
    size = float(rng.uniform(*share)) * stage.width_at(distance)
    heading = rng.uniform(0, 2 * np.pi)
    pace = speed(stage, 3, 70, distance)
    way = pace * (np.cos(heading) * stage.right + 0.5 * np.sin(heading) * stage.up + 0.3 * rng.normal() * stage.forward)
    axis = rng.normal(size=3)
    motion = Glide(
        stage.in_view(distance), vec(way), vec(axis), float(rng.normal() * 25), float(rng.uniform(0, 360)),
        (0, 0, -0.3 * pace * float(rng.random())),
    )  # fmt: skip
    stage.add(body(rng, size), surfaces.skin(rng), motion)


def person(stage: Stage, distance: float) -> None:
    """Somebody walking: head, trunk, limbs of two parts each, clothes of several materials."""
    rng = stage.rng
    tall = float(rng.uniform(1.5, 1.9))
    heading = float(rng.uniform(0, 2 * np.pi))
    pace = speed(stage, 3, 45, distance)
    foot = stage.on_ground(distance)
    turn = np.degrees(heading)
    way = pace * np.array([np.cos(heading), np.sin(heading), 0])
    walk = Glide(foot, vec(way), (0, 0, 1), float(rng.normal() * 3), float(turn))  # x ahead, y to the left
    shirt, trousers, face = (
        surfaces.skin(rng),
        surfaces.plain(rng, 0.02, 0.4),
        Material(np.array(FACES[rng.integers(4)], np.float32)),
    )
    step = min(35.0, 10 + float(np.degrees(pace / (0.5 * tall))))
    phase, rate = float(rng.uniform(0, 6.28)), float(rng.uniform(0.3, 1.2))
    hip, shoulder = 0.5 * tall, 0.8 * tall
    stage.add(ball((0.11 * tall * 0.6, 0.16 * tall * 0.6, 0.19 * tall), (0, 0, 0.65 * tall)), shirt, walk)
    stage.add(ball((0.055 * tall, 0.05 * tall, 0.07 * tall), (0, 0, 0.92 * tall)), face, walk)
    stage.add(
        ball((0.058 * tall, 0.054 * tall, 0.05 * tall), (-0.01 * tall, 0, 0.955 * tall)),
        surfaces.plain(rng, 0.01, 0.3),
        walk,
    )
    for side in (-1, 1):
        thigh = Swing((0, side * 0.05 * tall, hip), (0, 1, 0), side * step, phase, rate, walk)
        knee = (0.0, side * 0.05 * tall, 0.27 * tall)
        calf = Swing(knee, (0, 1, 0), 0.5 * step, phase + side, rate, thigh, rest=15.0)
        stage.add(rod((0, side * 0.05 * tall, hip), knee, 0.042 * tall), trousers, thigh)
        stage.add(rod(knee, (0, side * 0.05 * tall, 0.03 * tall), 0.03 * tall), trousers, calf)
        stage.add(
            box((0.13 * tall, 0.05 * tall, 0.04 * tall), (0.03 * tall, side * 0.05 * tall, 0.02 * tall)), trousers, calf
        )
        arm = Swing(
            (0, side * 0.115 * tall, shoulder),
            (0, 1, 0),
            -side * step,
            phase,
            rate,
            walk,
            rest=float(rng.normal() * 15),
        )
        elbow = (0.0, side * 0.125 * tall, 0.63 * tall)
        hand = Swing(elbow, (0, 1, 0), 12.0, phase, rate, arm, rest=-float(rng.uniform(5, 90)))
        stage.add(rod((0, side * 0.115 * tall, shoulder), elbow, 0.027 * tall), shirt, arm)
        stage.add(rod(elbow, (0.02 * tall, side * 0.12 * tall, 0.47 * tall), 0.021 * tall), face, hand)


FACES = ((0.62, 0.42, 0.32), (0.45, 0.28, 0.19), (0.26, 0.14, 0.09), (0.13, 0.07, 0.045))


def swarm(stage: Stage, distance: float, count: int) -> None:
    """Leaves, confetti or birds in the air, each on its own way."""
    rng = stage.rng
    material = surfaces.foliage(rng) if rng.random() < 0.6 else surfaces.plain(rng, 0.3, 0.8)
    size = stage.width_at(distance) * float(rng.uniform(0.012, 0.04))
    wind = speed(stage, 4, 40, distance) * np.array([*rng.normal(size=2), 0.2 * rng.normal()])
    for _ in range(count):
        way = wind + 0.7 * float(np.linalg.norm(wind)) * rng.normal(size=3)
        where = stage.in_view(distance * float(rng.uniform(0.7, 1.4)), 1.1)
        spin = Glide(where, vec(way), vec(rng.normal(size=3)), float(rng.normal() * 60), float(rng.uniform(0, 360)))
        stage.add(leaf(size * float(rng.uniform(0.6, 1.4)), 0.5 * size), material, spin)


def pendulum(stage: Stage, distance: float, ceiling: float, bright: tuple[float, float]) -> None:
    """A lamp on its cord, swinging a little: light that moves, and the shadows with it."""
    rng = stage.rng
    where = np.array(stage.in_view(distance, 0.7))
    drop = float(rng.uniform(0.5, 0.9))
    radius = float(rng.uniform(0.03, 0.09))
    pose = Glide((float(where[0]), float(where[1]), ceiling), (0, 0, 0))
    axis = vec(np.array([*rng.normal(size=2), 0.0]))
    swing = Swing(
        (0, 0, 0), axis, float(rng.uniform(2, 12)), float(rng.uniform(0, 6.28)), float(rng.uniform(0.5, 1.5)), pose
    )
    stage.add(rod((0, 0, 0), (0, 0, -drop), 0.008), surfaces.plain(rng, 0.02, 0.05), swing)
    stage.add(ball((radius, radius, radius), (0, 0, -drop - radius), 12), surfaces.light(rng, *bright), swing)
    shade = turned([(0.02, 0.12), (0.06, 0.11), (1.6 * radius, 0.04), (2.2 * radius + 0.05, -0.05)])
    moved = Stage.moved(shade, (0, 0, -drop))
    stage.add(moved, surfaces.plain(rng, 0.1, 0.6), swing)


def plant(stage: Stage, root: Vec, tall: float, count: int, wind: float) -> None:
    """Twigs with leaves from one root, each twig swaying by ``wind`` degrees; 0 for still air."""
    rng = stage.rng
    leaves, bark = surfaces.foliage(rng), surfaces.plain(rng, 0.03, 0.12)
    for _ in range(count):
        lean, heading = float(rng.uniform(0.1, 0.7)), float(rng.uniform(0, 2 * np.pi))
        length = tall * float(rng.uniform(0.6, 1.0))
        tip = length * np.array([lean * np.cos(heading), lean * np.sin(heading), 1 - 0.4 * lean])
        base: Motion = Place(root)
        if wind:
            axis = vec(np.array([*rng.normal(size=2), 0.0]))
            base = Swing((0, 0, 0), axis, float(wind), float(rng.uniform(0, 6.28)), float(rng.uniform(0.5, 2)), base)
        stage.add(rod((0, 0, 0), vec(tip), 0.006 * tall, 6), bark, base)
        for k in range(7):
            at = tip * (0.35 + 0.1 * k)
            way = Stage.moved(Stage.aimed(leaf(0.24 * tall, 0.11 * tall), rng), vec(at))
            stage.add(way, leaves, base)


def flag(stage: Stage, distance: float) -> None:
    """A board or banner on a pole, turning about it."""
    rng = stage.rng
    foot = stage.on_ground(distance)
    pole = float(rng.uniform(1.6, 2.6))
    size = float(rng.uniform(0.4, 0.9))
    stage.add(rod((0, 0, 0), (0, 0, pole), 0.02), surfaces.plain(rng, 0.05, 0.6, 0.2), Place(foot))
    turn = Glide(foot, (0, 0, 0), (0, 0, 1), float(rng.uniform(5, 40)), float(rng.uniform(0, 360)))
    material = Material(surfaces.print_(rng)) if rng.random() < 0.7 else surfaces.plain(rng)
    stage.add(box((size, 0.01, 0.7 * size), (size / 2, 0, pole - 0.4 * size)), material, turn)


def vec(values: np.ndarray) -> Vec:
    """Three plain floats."""
    x, y, z = (float(v) for v in values)
    return x, y, z
