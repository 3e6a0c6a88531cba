"""Poses of a person as joint angles over the phase of an action, and the rotations of bones that they stand for.

A phase is a share of the action's cycle: a walk has period 1, from one contact of the left heel to the next. Angles are
degrees; those of a leg follow the curves of gait analysis (Winter 2009, Biomechanics and Motor Control of Human
Movement, chapter 3), each as a cosine or a sum of bell curves. The body faces -y, its left is +x, z is up.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
MIRROR = np.diag([-1.0, 1.0, 1.0])
LEG_SPREAD = 5.0  # degrees by which the body's reference pose spreads each leg
SPINE = ("spine04", "spine03", "spine02", "spine01")
NECK = ("neck01", "neck03", "head")


@dataclass(frozen=True)
class Leg:
    """Flexion of the hip and the knee, and extension of the ankle, in degrees; 0 is standing straight."""

    hip: float = 0.0
    knee: float = 4.0
    ankle: float = 0.0


@dataclass(frozen=True)
class Arm:
    """Angles in degrees: flexion of the shoulder (forwards) and its abduction from the vertical, flexion of the elbow.

    ``twist`` of the upper arm turns the plane of the elbow: 0 bends it forwards, -90 upwards where the arm is level.
    """

    forward: float = 0.0
    out: float = 8.0
    elbow: float = 15.0
    twist: float = 0.0


@dataclass(frozen=True)
class Pose:
    """Joint angles of a moment. ``lean``, ``sway``, ``twist``: of the trunk, forwards, to its left and about z.

    ``nod``, ``look``: of the head, forwards and to its left. ``yaw``: of the whole body about z. ``travel``: metres
    along the heading. ``lift``: metres of the lowest point above the ground.
    """

    left_leg: Leg = field(default_factory=Leg)
    right_leg: Leg = field(default_factory=Leg)
    left_arm: Arm = field(default_factory=Arm)
    right_arm: Arm = field(default_factory=Arm)
    lean: float = 0.0
    sway: float = 0.0
    twist: float = 0.0
    nod: float = 0.0
    look: float = 0.0
    yaw: float = 0.0
    travel: float = 0.0
    lift: float = 0.0


Habits = Mapping[str, float]  # what distinguishes one person's way to move from another's, by ``draw_habits``


def draw_habits(rng: np.random.Generator) -> dict[str, float]:
    """Random values of what the actions leave open: amplitudes relative to the mean, and lasting angles in degrees."""
    return {
        "amplitude": float(rng.uniform(0.75, 1.25)), "arms": float(rng.uniform(0.3, 1.4)),
        "elbow": float(rng.uniform(8, 40)), "out": float(rng.uniform(5, 14)), "lean": float(rng.normal(0, 3)),
        "look": float(rng.normal(0, 20)), "nod": float(rng.normal(4, 7)), "side": float(rng.choice([-1.0, 1.0])),
        "a": float(rng.uniform()), "b": float(rng.uniform()), "c": float(rng.uniform()), "d": float(rng.uniform()),
    }  # fmt: skip


def bell(phase: float, centre: float, width: float) -> float:
    """A bell curve of period 1 with height 1."""
    distance = (phase - centre + 0.5) % 1 - 0.5
    return float(np.exp(-((distance / width) ** 2)))


def cosine(phase: float) -> float:
    """A cosine of period 1."""
    return float(np.cos(2 * np.pi * phase))


def walking_leg(phase: float, amplitude: float) -> Leg:
    """A leg whose heel strikes the ground at phase 0 and whose toe leaves it at 0.62."""
    return Leg(
        hip=8 + 24 * amplitude * cosine(phase),
        knee=5 + 12 * bell(phase, 0.14, 0.08) + 52 * amplitude * bell(phase, 0.73, 0.11),
        ankle=20 * bell(phase, 0.62, 0.09) - 8 * bell(phase, 0.4, 0.15),
    )


def running_leg(phase: float, amplitude: float) -> Leg:
    """A leg that touches the ground at phase 0 and leaves it at 0.38."""
    return Leg(
        hip=16 + 36 * amplitude * cosine(phase + 0.03),
        knee=14 + 18 * bell(phase, 0.14, 0.09) + 88 * amplitude * bell(phase, 0.66, 0.15),
        ankle=32 * bell(phase, 0.42, 0.1) - 10 * bell(phase, 0.15, 0.1),
    )


def swinging_arm(phase: float, habits: Habits, reach: float, elbow: float) -> Arm:
    """The arm of the side whose leg has this phase; it swings against the leg."""
    swing = -reach * habits["arms"] * cosine(phase)
    return Arm(forward=4 + swing, out=habits["out"], elbow=elbow + 0.3 * max(swing, 0.0))


def walk(phase: float, habits: Habits) -> Pose:
    """Walking: a stride of 1.3 m."""
    amplitude = habits["amplitude"]
    return Pose(
        walking_leg(phase, amplitude), walking_leg(phase + 0.5, amplitude),
        swinging_arm(phase, habits, 20, habits["elbow"]), swinging_arm(phase + 0.5, habits, 20, habits["elbow"]),
        lean=habits["lean"] + 2, twist=5 * amplitude * cosine(phase), nod=habits["nod"], look=habits["look"],
        travel=1.3 * amplitude * phase,
    )  # fmt: skip


def run(phase: float, habits: Habits) -> Pose:
    """Running: a stride of 2.2 m, in the air twice."""
    amplitude = habits["amplitude"]
    return Pose(
        running_leg(phase, amplitude), running_leg(phase + 0.5, amplitude),
        swinging_arm(phase, habits, 36, 85), swinging_arm(phase + 0.5, habits, 36, 85),
        lean=9 + habits["lean"], twist=9 * cosine(phase), nod=habits["nod"] - 4, look=0.4 * habits["look"],
        travel=2.2 * amplitude * phase, lift=0.06 * (bell(phase, 0.44, 0.07) + bell(phase, 0.94, 0.07)),
    )  # fmt: skip


def stand(phase: float, habits: Habits) -> Pose:
    """Standing on both legs, with a slow sway, a hand that talks and a head that turns."""
    rest = Arm(forward=4, out=habits["out"], elbow=habits["elbow"])
    talking = Arm(forward=10 + 15 * habits["a"], out=habits["out"] + 8, elbow=60 + 35 * habits["b"] * cosine(phase))
    pose = Pose(
        Leg(hip=2 + 6 * habits["c"], knee=4 + 12 * habits["c"]), Leg(), rest,
        talking if habits["d"] < 0.6 else rest, lean=habits["lean"], sway=2 * cosine(phase + habits["a"]),
        twist=8 * habits["b"] * cosine(phase), nod=habits["nod"], look=habits["look"] + 18 * cosine(phase + 0.2),
    )  # fmt: skip
    return mirrored(pose) if habits["side"] < 0 else pose


def wave(phase: float, habits: Habits) -> Pose:
    """Standing, with a raised arm that waves."""
    pose = stand(0.1 * phase, {**habits, "d": 1.0, "side": 1.0})
    arm = Arm(out=95 + 50 * habits["a"], elbow=60 + 34 * cosine(phase) - 20 * habits["a"], twist=-85, forward=10)
    pose = replace(pose, right_arm=arm, sway=3 * cosine(phase))
    return mirrored(pose) if habits["side"] < 0 else pose


def reach(phase: float, habits: Habits) -> Pose:
    """Bending forwards and reaching out with both arms, as for a bag or a child."""
    depth = 0.5 - 0.5 * cosine(phase)
    arm = Arm(forward=20 + 70 * depth, out=10, elbow=12 + 25 * habits["a"])
    leg = Leg(hip=8 + 40 * depth * habits["b"], knee=6 + 60 * depth * habits["b"])
    return Pose(leg, leg, arm, arm, lean=8 + 42 * depth, nod=8, look=0.3 * habits["look"], twist=habits["lean"])


def turn(phase: float, habits: Habits) -> Pose:
    """Turning on the spot, a quarter of a turn over half the cycle."""
    step = walk(phase, {**habits, "amplitude": 0.35})
    return replace(step, yaw=180 * habits["side"] * phase, travel=0.0, look=30 * habits["side"])


def sit(phase: float, habits: Habits) -> Pose:
    """Sitting, with hands that move over the lap and a leg that may be stretched."""
    arm = Arm(forward=22 + 12 * habits["a"], out=10, elbow=62 + 25 * habits["b"] * cosine(phase))
    stretched = 30 * habits["c"]
    pose = Pose(
        Leg(hip=84, knee=86 - stretched, ankle=stretched / 3), Leg(hip=84, knee=84), arm,
        replace(arm, elbow=arm.elbow + 25 * habits["d"]), lean=4 + habits["lean"], twist=6 * cosine(phase),
        nod=habits["nod"] + 5, look=habits["look"] + 15 * cosine(phase + 0.3),
    )  # fmt: skip
    return mirrored(pose) if habits["side"] < 0 else pose


ACTIONS: dict[str, Callable[[float, Habits], Pose]] = {
    "walk": walk, "run": run, "stand": stand, "wave": wave, "reach": reach, "turn": turn, "sit": sit,
}  # fmt: skip


def mirrored(pose: Pose) -> Pose:
    """The pose with left and right exchanged."""
    return replace(
        pose, left_leg=pose.right_leg, right_leg=pose.left_leg, left_arm=pose.right_arm, right_arm=pose.left_arm,
        sway=-pose.sway, twist=-pose.twist, look=-pose.look, yaw=-pose.yaw,
    )  # fmt: skip


def rotation(axis: F64 | tuple[float, float, float], degrees: float) -> F64:
    """(3, 3) rotation about an axis (Rodrigues)."""
    x, y, z = np.asarray(axis, np.float64) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)


def bone_rotations(pose: Pose, joints: Mapping[str, F64]) -> dict[str, F64]:
    """(3, 3) rotations of the bones that a pose turns, relative to their parents, in axes of the reference pose.

    ``joints``: positions of the reference pose's bone heads by name; the body is symmetric.
    """
    turns: dict[str, F64] = {}
    x, y, z = np.eye(3)
    for side, leg, arm in (("L", pose.left_leg, pose.left_arm), ("R", pose.right_leg, pose.right_arm)):
        upper = joints["lowerarm01.L"] - joints["upperarm01.L"]
        lower = joints["wrist.L"] - joints["lowerarm01.L"]
        bent = _angle(upper, lower)  # degrees, in the reference pose
        hanging = rotation(y, float(np.degrees(np.arctan2(upper[0], -upper[2]))) - arm.out)
        left = {
            "upperleg01": rotation(x, -leg.hip) @ rotation(y, LEG_SPREAD),
            "lowerleg01": rotation(x, leg.knee),
            "foot": rotation(x, leg.ankle),
            "upperarm01": rotation(x, -arm.forward) @ hanging @ rotation(upper, arm.twist),
            "lowerarm01": rotation(np.cross(upper, lower), arm.elbow - bent),
        }
        turns |= {f"{bone}.{side}": r if side == "L" else MIRROR @ r @ MIRROR for bone, r in left.items()}
    share = 1 / len(SPINE)
    trunk = rotation(z, share * pose.twist) @ rotation(y, share * pose.sway) @ rotation(x, share * pose.lean)
    turns |= dict.fromkeys(SPINE, trunk)
    share = 1 / len(NECK)
    head = rotation(z, share * (pose.look - pose.twist)) @ rotation(x, share * (pose.nod - 0.5 * pose.lean))
    return turns | dict.fromkeys(NECK, head)


def _angle(a: F64, b: F64) -> float:
    cosine_of = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    return float(np.degrees(np.arccos(np.clip(cosine_of, -1, 1))))
