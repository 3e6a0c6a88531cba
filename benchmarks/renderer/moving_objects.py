"""Objects that move by themselves: thrown objects, people, swarms, swinging lamps, plants in the wind, turning signs.

Speeds are given in pixels between two frames and converted to metres by the distance.
"""

import numpy as np

from benchmarks.renderer import materials
from benchmarks.renderer.geometry import (
    FixedPose,
    LinearMotion,
    Mesh,
    Motion,
    Oscillation,
    Vector,
    box,
    cylinder,
    ellipsoid,
    join_meshes,
    leaf,
    randomly_rotated,
    surface_of_revolution,
    translated,
)
from benchmarks.renderer.materials import Material
from benchmarks.renderer.scene import SceneBuilder

SKIN_TONES = ((0.62, 0.42, 0.32), (0.45, 0.28, 0.19), (0.26, 0.14, 0.09), (0.13, 0.07, 0.045))  # linear reflectance


def log_uniform_speed(builder: SceneBuilder, low: float, high: float, distance: float) -> float:
    """Metres per interval that appear as ``low`` to ``high`` px at a distance, log-uniform."""
    return float(np.exp(builder.rng.uniform(np.log(low), np.log(high))) * distance / builder.focal)


def random_object(rng: np.random.Generator, size: float) -> Mesh:
    """An object about ``size`` across: ellipsoid, cuboid, bottle, bowl or slats."""
    kind = rng.choice(["ball", "block", "bottle", "bowl", "slats"])
    if kind == "ball":
        a, b, c = size / 2 * rng.uniform(0.7, 1.0, 3)
        return ellipsoid((a, b, c))
    if kind == "block":
        a, b, c = size * rng.uniform(0.35, 1.0, 3)
        return box((a, b, c))
    if kind == "slats":
        bars = [box((size, 0.09 * size, 0.12 * size), (0, 0, size * (k - 2) / 5)) for k in range(5)]
        bars += [box((0.1 * size, 0.05 * size, size), (x * 0.4 * size, 0.06 * size, 0)) for x in (-1, 1)]
        return join_meshes(bars)
    radii = rng.uniform(0.15, 0.5, 5) * (1.0 if kind == "bottle" else 1.6)
    height = 1.0 if kind == "bottle" else 0.5
    points = [(0.0, -height / 2), *((r, height * (i / 4 - 0.5)) for i, r in enumerate(radii))]
    return surface_of_revolution([(size * r, size * z) for r, z in points])


def add_thrown_object(
    builder: SceneBuilder, near: float, far: float, size_range: tuple[float, float] = (0.08, 0.4)
) -> None:
    """Add one object in flight, rotating, between ``near`` and ``far`` metres; ``size_range``: of the image's width."""
    rng = builder.rng
    distance = float(rng.uniform(near, far))
    size = float(rng.uniform(*size_range)) * builder.width_at(distance)
    heading = rng.uniform(0, 2 * np.pi)
    speed = log_uniform_speed(builder, 3, 70, distance)
    velocity = speed * (
        np.cos(heading) * builder.right + 0.5 * np.sin(heading) * builder.up + 0.3 * rng.normal() * builder.forward
    )
    axis = rng.normal(size=3)
    position, spin, start_angle = builder.point_in_view(distance), float(rng.normal() * 25), float(rng.uniform(0, 360))
    acceleration = (0, 0, -0.3 * speed * float(rng.random()))
    motion = LinearMotion(position, to_vector(velocity), to_vector(axis), spin, start_angle, acceleration)
    builder.add(random_object(rng, size), materials.random_material(rng), motion)


def add_person(builder: SceneBuilder, distance: float) -> None:
    """Add a walking person: head, trunk, limbs of two parts each, clothes of several materials."""
    rng = builder.rng
    height = float(rng.uniform(1.5, 1.9))
    heading = float(rng.uniform(0, 2 * np.pi))
    speed = log_uniform_speed(builder, 3, 45, distance)
    foot = builder.point_on_ground(distance)
    yaw = np.degrees(heading)
    velocity = speed * np.array([np.cos(heading), np.sin(heading), 0])
    walk = LinearMotion(foot, to_vector(velocity), (0, 0, 1), float(rng.normal() * 3), float(yaw))  # x ahead, y left
    shirt, trousers, skin = (
        materials.random_material(rng),
        materials.plain(rng, 0.02, 0.4),
        Material(np.array(SKIN_TONES[rng.integers(4)], np.float32)),
    )
    step = min(35.0, 10 + float(np.degrees(speed / (0.5 * height))))
    phase, rate = float(rng.uniform(0, 6.28)), float(rng.uniform(0.3, 1.2))
    hip, shoulder = 0.5 * height, 0.8 * height
    builder.add(
        ellipsoid((0.11 * height * 0.6, 0.16 * height * 0.6, 0.19 * height), (0, 0, 0.65 * height)), shirt, walk
    )
    builder.add(ellipsoid((0.055 * height, 0.05 * height, 0.07 * height), (0, 0, 0.92 * height)), skin, walk)
    builder.add(
        ellipsoid((0.058 * height, 0.054 * height, 0.05 * height), (-0.01 * height, 0, 0.955 * height)),
        materials.plain(rng, 0.01, 0.3),
        walk,
    )
    for side in (-1, 1):
        thigh = Oscillation((0, side * 0.05 * height, hip), (0, 1, 0), side * step, phase, rate, walk)
        knee = (0.0, side * 0.05 * height, 0.27 * height)
        calf = Oscillation(knee, (0, 1, 0), 0.5 * step, phase + side, rate, thigh, rest_angle=15.0)
        builder.add(cylinder((0, side * 0.05 * height, hip), knee, 0.042 * height), trousers, thigh)
        builder.add(cylinder(knee, (0, side * 0.05 * height, 0.03 * height), 0.03 * height), trousers, calf)
        builder.add(
            box((0.13 * height, 0.05 * height, 0.04 * height), (0.03 * height, side * 0.05 * height, 0.02 * height)),
            trousers,
            calf,
        )
        arm = Oscillation(
            (0, side * 0.115 * height, shoulder),
            (0, 1, 0),
            -side * step,
            phase,
            rate,
            walk,
            rest_angle=float(rng.normal() * 15),
        )
        elbow = (0.0, side * 0.125 * height, 0.63 * height)
        hand = Oscillation(elbow, (0, 1, 0), 12.0, phase, rate, arm, rest_angle=-float(rng.uniform(5, 90)))
        builder.add(cylinder((0, side * 0.115 * height, shoulder), elbow, 0.027 * height), shirt, arm)
        builder.add(cylinder(elbow, (0.02 * height, side * 0.12 * height, 0.47 * height), 0.021 * height), skin, hand)


def add_swarm(builder: SceneBuilder, distance: float, count: int) -> None:
    """Add leaves, confetti or birds in the air, each with its own velocity."""
    rng = builder.rng
    material = materials.foliage(rng) if rng.random() < 0.6 else materials.plain(rng, 0.3, 0.8)
    size = builder.width_at(distance) * float(rng.uniform(0.012, 0.04))
    wind = log_uniform_speed(builder, 4, 40, distance) * np.array([*rng.normal(size=2), 0.2 * rng.normal()])
    for _ in range(count):
        velocity = wind + 0.7 * float(np.linalg.norm(wind)) * rng.normal(size=3)
        position = builder.point_in_view(distance * float(rng.uniform(0.7, 1.4)), 1.1)
        spin = LinearMotion(
            position,
            to_vector(velocity),
            to_vector(rng.normal(size=3)),
            float(rng.normal() * 60),
            float(rng.uniform(0, 360)),
        )
        builder.add(leaf(size * float(rng.uniform(0.6, 1.4)), 0.5 * size), material, spin)


def add_swinging_lamp(builder: SceneBuilder, distance: float, ceiling: float, bright: tuple[float, float]) -> None:
    """Add a lamp that swings on its cord, and with it the shadows; ``bright``: range of its radiance."""
    rng = builder.rng
    position = np.array(builder.point_in_view(distance, 0.7))
    drop = float(rng.uniform(0.5, 0.9))
    radius = float(rng.uniform(0.03, 0.09))
    pose = LinearMotion((float(position[0]), float(position[1]), ceiling), (0, 0, 0))
    axis = to_vector(np.array([*rng.normal(size=2), 0.0]))
    swing = Oscillation(
        (0, 0, 0), axis, float(rng.uniform(2, 12)), float(rng.uniform(0, 6.28)), float(rng.uniform(0.5, 1.5)), pose
    )
    builder.add(cylinder((0, 0, 0), (0, 0, -drop), 0.008), materials.plain(rng, 0.02, 0.05), swing)
    builder.add(ellipsoid((radius, radius, radius), (0, 0, -drop - radius), 12), materials.lamp(rng, *bright), swing)
    shade = surface_of_revolution([(0.02, 0.12), (0.06, 0.11), (1.6 * radius, 0.04), (2.2 * radius + 0.05, -0.05)])
    placed_shade = translated(shade, (0, 0, -drop))
    builder.add(placed_shade, materials.plain(rng, 0.1, 0.6), swing)


def add_plant(builder: SceneBuilder, root: Vector, height: float, count: int, wind: float) -> None:
    """Add ``count`` twigs with leaves from one root, each swaying by ``wind`` degrees; 0 for still air."""
    rng = builder.rng
    leaves, bark = materials.foliage(rng), materials.plain(rng, 0.03, 0.12)
    for _ in range(count):
        lean, heading = float(rng.uniform(0.1, 0.7)), float(rng.uniform(0, 2 * np.pi))
        length = height * float(rng.uniform(0.6, 1.0))
        tip = length * np.array([lean * np.cos(heading), lean * np.sin(heading), 1 - 0.4 * lean])
        base: Motion = FixedPose(root)
        if wind:
            axis = to_vector(np.array([*rng.normal(size=2), 0.0]))
            base = Oscillation(
                (0, 0, 0), axis, float(wind), float(rng.uniform(0, 6.28)), float(rng.uniform(0.5, 2)), base
            )
        builder.add(cylinder((0, 0, 0), to_vector(tip), 0.006 * height, 6), bark, base)
        for k in range(7):
            position = tip * (0.35 + 0.1 * k)
            leaf_mesh = translated(randomly_rotated(leaf(0.24 * height, 0.11 * height), rng), to_vector(position))
            builder.add(leaf_mesh, leaves, base)


def add_flag(builder: SceneBuilder, distance: float) -> None:
    """Add a board or banner that turns about its pole."""
    rng = builder.rng
    foot = builder.point_on_ground(distance)
    pole = float(rng.uniform(1.6, 2.6))
    size = float(rng.uniform(0.4, 0.9))
    builder.add(cylinder((0, 0, 0), (0, 0, pole), 0.02), materials.plain(rng, 0.05, 0.6, 0.2), FixedPose(foot))
    rotating = LinearMotion(foot, (0, 0, 0), (0, 0, 1), float(rng.uniform(5, 40)), float(rng.uniform(0, 360)))
    material = Material(materials.poster(rng)) if rng.random() < 0.7 else materials.plain(rng)
    builder.add(box((size, 0.01, 0.7 * size), (size / 2, 0, pole - 0.4 * size)), material, rotating)


def to_vector(values: np.ndarray) -> Vector:
    """Three plain floats."""
    x, y, z = (float(v) for v in values)
    return x, y, z
