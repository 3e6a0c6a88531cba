"""The room, its furniture and the objects in it; and the whole scene at a moment. Metres, z up, the window at +y."""

from collections.abc import Callable
from functools import cache
from typing import Any

import mitsuba as mi
import numpy as np
from numpy.typing import NDArray

from scene import geometry
from scene.geometry import box, cylinder, rectangle, sphere
from scene.lights import WINDOW_WALL_Y, lights
from scene.materials import SEED, materials
from scene.moving_objects import moving_objects

Add = Callable[[str, Any], None]
Crop = tuple[int, int, int, int]  # x, y, width, height
Pose = tuple[NDArray[np.float64], NDArray[np.float64]]  # shift in metres; yaw, pitch, roll in degrees

WINDOW_X, WINDOW_Z = (-1.75, -0.15), (0.92, 2.32)
EYE, TARGET = np.array([0.42, -0.95, 1.50]), np.array([-0.10, 3.0, 1.03])  # of the reference's camera
FIELD_OF_VIEW = 52.0  # degrees, horizontal


@cache
def static_objects() -> dict[str, Any]:
    """The room and everything in it that does not move."""
    out: dict[str, Any] = {}

    def add(name: str, shape: Any) -> None:
        out[f"{name}_{len(out)}"] = shape

    m, rng = materials(), np.random.default_rng(SEED + 1)
    shell(add, m)
    curtains(add, m)
    furniture(add, m)
    still_life(add, m, rng)
    bookcase(add, m, rng)
    accessories(add, m)
    return out


def shell(add: Add, m: dict[str, Any]) -> None:
    """Floor, ceiling, walls and window. The four parts of the window wall share one brick texture by position."""
    add("floor", rectangle((-2.4, -1.6, 0), (4.8, 0, 0), (0, 5.8, 0), m["floor"]))
    add("ceiling", rectangle((-2.4, 4.2, 2.75), (4.8, 0, 0), (0, -5.8, 0), m["ceiling"]))
    add("left", rectangle((-2.4, -1.6, 0), (0, 5.8, 0), (0, 0, 2.75), m["plaster"]))
    add("right", rectangle((2.4, 4.2, 0), (0, -5.8, 0), (0, 0, 2.75), m["teal"]))
    add("front", rectangle((2.4, -1.6, 0), (-4.8, 0, 0), (0, 0, 2.75), m["plaster"]))
    (xa, xb), (za, zb) = WINDOW_X, WINDOW_Z
    for x0, x1, z0, z1 in ((-2.4, 2.4, 0, za), (-2.4, 2.4, zb, 2.75), (-2.4, xa, za, zb), (xb, 2.4, za, zb)):

        def part(u: Any, v: Any, x0: float = x0, x1: float = x1, z0: float = z0, z1: float = z1) -> Any:
            return x0 + (x1 - x0) * u, WINDOW_WALL_Y + 0 * u, z0 + (z1 - z0) * v

        piece = geometry.parametric_surface(part, 1, 1, m["brick"])
        params = mi.traverse(piece)
        corners = np.array([[x0, z0], [x1, z0], [x0, z1], [x1, z1]])
        params["vertex_texcoords"] = (corners / [2.0, 1.6]).reshape(-1).astype(np.float32)
        params.update()
        add("brick", piece)
    # Reveals, sill, frame and glazing bars.
    deep = 0.16
    add("reveal", box((xa - 0.02, WINDOW_WALL_Y + deep / 2, (za + zb) / 2), (0.04, deep, zb - za), m["white"]))
    add("reveal", box((xb + 0.02, WINDOW_WALL_Y + deep / 2, (za + zb) / 2), (0.04, deep, zb - za), m["white"]))
    add("reveal", box(((xa + xb) / 2, WINDOW_WALL_Y + deep / 2, zb + 0.02), (xb - xa, deep, 0.04), m["white"]))
    add("sill", box(((xa + xb) / 2, WINDOW_WALL_Y - 0.02, za - 0.02), (xb - xa + 0.16, 0.42, 0.04), m["white"]))
    for x in (xa + 0.03, (xa + xb) / 2, xb - 0.03):
        add("bar", box((x, WINDOW_WALL_Y + 0.1, (za + zb) / 2), (0.06, 0.05, zb - za), m["white"]))
    for z, thick in ((za + 0.03, 0.06), (zb - 0.03, 0.06), (za + 0.9, 0.035)):
        add("bar", box(((xa + xb) / 2, WINDOW_WALL_Y + 0.1, z), (xb - xa, 0.045, thick), m["white"]))
    add("skirting", box((0, WINDOW_WALL_Y - 0.012, 0.06), (4.8, 0.024, 0.12), m["white"]))


def curtains(add: Add, m: dict[str, Any]) -> None:
    """Two linen curtains on a rail."""
    add("rail", cylinder((-2.35, 4.08, 2.5), (0.45, 4.08, 2.5), 0.014, m["black"]))
    for x0, x1 in ((-2.3, -1.72), (-0.2, 0.32)):

        def folds(u: Any, v: Any, x0: float = x0, x1: float = x1) -> Any:
            gather = 1 - 0.22 * np.exp(-(((v - 0.42) / 0.2) ** 2))
            middle = x0 if x0 < -1 else x1
            x = middle + (x0 + (x1 - x0) * u - middle) * gather
            return x, 4.06 + 0.045 * np.sin(u * 2 * np.pi * 6 + 2 * v) * (0.6 + 0.4 * v), 0.06 + 2.43 * v

        add("curtain", geometry.parametric_surface(folds, 60, 160, m["curtain"]))


def furniture(add: Add, m: dict[str, Any]) -> None:
    """Rug, table with a runner, chair."""
    add("rug", box((0.0, 1.75, 0.006), (2.9, 1.9, 0.012), m["rug"], turn=0))
    add("top", box((0.15, 2.25, 0.735), (1.75, 0.9, 0.035), m["table"]))
    add("apron", box((0.15, 2.25, 0.675), (1.6, 0.76, 0.08), m["pine"]))
    for x in (-0.65, 0.95):
        for y in (1.88, 2.62):
            add("leg", box((x, y, 0.35), (0.07, 0.07, 0.7), m["pine"]))
    add("runner", box((0.15, 2.25, 0.7545), (0.5, 0.93, 0.003), m["runner"]))
    # A chair at the right end.
    add("seat", box((1.18, 1.95, 0.45), (0.44, 0.44, 0.05), m["seat"], turn=12))
    for dx, dy, top in ((-0.19, -0.19, 0.43), (-0.19, 0.19, 0.43), (0.19, -0.19, 0.98), (0.19, 0.19, 0.98)):
        c, s = np.cos(np.radians(12)), np.sin(np.radians(12))
        add(
            "chair",
            box((1.18 + c * dx - s * dy, 1.95 + s * dx + c * dy, top / 2), (0.035, 0.035, top), m["pine"], turn=12),
        )
    for z in (0.64, 0.76, 0.90):
        add(
            "slat",
            box(
                (1.18 + 0.19 * np.cos(np.radians(12)), 1.95 + 0.19 * np.sin(np.radians(12)), z),
                (0.018, 0.38, 0.06),
                m["pine"],
                turn=12,
            ),
        )


def still_life(add: Add, m: dict[str, Any], rng: np.random.Generator) -> None:
    """On the table: fruit in a bowl, a vase with blossom, a mug, a page, books."""
    bowl = [
        (0.0, 0.012),
        (0.06, 0.012),
        (0.13, 0.05),
        (0.165, 0.105),
        (0.172, 0.11),
        (0.15, 0.065),
        (0.07, 0.0),
        (0.0, 0.0),
    ]
    add("bowl", geometry.surface_of_revolution(bowl, (0.27, 2.33, 0.757), m["cream"]))
    for x, y, z, r, kind in (
        (0.21, 2.30, 0.825, 0.046, "orange"),
        (0.30, 2.27, 0.825, 0.047, "orange"),
        (0.33, 2.37, 0.83, 0.046, "lemon"),
        (0.24, 2.40, 0.828, 0.047, "orange"),
        (0.27, 2.33, 0.888, 0.045, "lemon"),
        (0.02, 2.05, 0.802, 0.046, "orange"),
    ):
        add("fruit", sphere((x, y, z), r, m[kind]))
    vase = [
        (0.0, 0.0),
        (0.055, 0.0),
        (0.085, 0.07),
        (0.09, 0.14),
        (0.05, 0.22),
        (0.032, 0.27),
        (0.045, 0.30),
        (0.036, 0.29),
    ]
    add("vase", geometry.surface_of_revolution(vase, (0.68, 2.42, 0.755), m["vase"]))
    for k in range(9):
        angle, lean, tall = k * 2.4, 0.05 + 0.03 * (k % 4), 0.30 + 0.04 * (k % 5)
        root, tip = (
            np.array([0.68, 2.42, 1.0]),
            np.array([0.68 + 2 * lean * np.cos(angle), 2.42 + 2 * lean * np.sin(angle), 1.0 + tall]),
        )
        add("stem", cylinder(tuple(root), tuple(tip), 0.0035, m["stem"]))
        for j in range(9):
            along = root + (tip - root) * (0.45 + 0.065 * j)
            offset = 0.018 * rng.standard_normal(3)
            add("blossom", sphere(tuple(along + offset), 0.011 + 0.007 * rng.random(), m["blossom"]))
    mug = [(0.0, 0.004), (0.036, 0.004), (0.038, 0.09), (0.041, 0.095), (0.043, 0.09), (0.041, 0.0), (0.0, 0.0)]
    add("mug", geometry.surface_of_revolution(mug, (-0.13, 1.98, 0.757), m["mug"]))
    add("page", box((0.42, 1.98, 0.7565), (0.21, 0.28, 0.001), m["page"], turn=-14))
    height = 0.757
    for k, (w, d, h, turn) in enumerate(((0.27, 0.19, 0.035, 8), (0.25, 0.18, 0.028, -6), (0.21, 0.15, 0.03, 14))):
        add("stack", box((0.72, 2.08, height + h / 2), (w, d, h), m[("red", "vase", "mug")[k]], turn=turn))
        add("pages", box((0.722, 2.08, height + h / 2), (w - 0.008, d + 0.002, h - 0.008), m["plaster"], turn=turn))
        height += h


def bookcase(add: Add, m: dict[str, Any], rng: np.random.Generator) -> None:
    """Four shelves of books against the window wall."""
    x0, x1, tall, thick, depth = 0.95, 2.2, 1.72, 0.028, 0.3
    y = WINDOW_WALL_Y - depth / 2
    for x in (x0, x1):
        add("case", box((x, y, tall / 2), (thick, depth, tall), m["pine"]))
    add("case", box(((x0 + x1) / 2, WINDOW_WALL_Y - 0.006, tall / 2), (x1 - x0, 0.01, tall), m["pine"]))
    shelves = (0.08, 0.5, 0.9, 1.3, tall)
    for z in shelves:
        add("case", box(((x0 + x1) / 2, y, z), (x1 - x0, depth, thick), m["pine"]))
    count = 0
    for row, z in enumerate(shelves[:-1]):
        x, stop = x0 + 0.03, x1 - (0.1, 0.35, 0.14, 0.42)[row]
        while x < stop - 0.06:
            w, h, d = rng.uniform(0.026, 0.056), rng.uniform(0.23, 0.33), rng.uniform(0.16, 0.23)
            add(
                "book",
                box(
                    (x + w / 2, y + depth / 2 - 0.02 - d / 2, z + thick / 2 + h / 2), (w, d, h), m[f"book{count % 26}"]
                ),
            )
            x, count = x + w + 0.002, count + 1
    add("globe", sphere((1.98, 4.02, 1.3 + 0.014 + 0.11), 0.11, m["vase"]))
    add(
        "jar",
        geometry.surface_of_revolution(
            [(0, 0), (0.06, 0), (0.09, 0.09), (0.06, 0.17), (0.04, 0.19), (0.05, 0.22)], (2.02, 4.03, 0.514), m["clay"]
        ),
    )


def accessories(add: Add, m: dict[str, Any]) -> None:
    """A poster on the bricks, the stand of the floor lamp, the pot of the plant."""
    t = mi.ScalarTransform4f
    add("frame", box((0.64, WINDOW_WALL_Y - 0.012, 1.72), (0.40, 0.024, 0.56), m["black"]))
    add("poster", rectangle((0.46, WINDOW_WALL_Y - 0.026, 1.46), (0.36, 0, 0), (0, 0, 0.52), m["poster"]))
    add("foot", {"type": "disk", "to_world": t().translate([1.55, 3.3, 0.02]) @ t().scale(0.15), "bsdf": m["black"]})
    add("stand", cylinder((1.55, 3.3, 0.0), (1.55, 3.3, 1.42), 0.012, m["black"]))
    add(
        "pot",
        geometry.surface_of_revolution(
            [(0, 0), (0.13, 0), (0.16, 0.15), (0.185, 0.30), (0.19, 0.33), (0.17, 0.33), (0.165, 0.28)],
            (-1.55, 3.05, 0),
            m["clay"],
        ),
    )
    add("soil", {"type": "disk", "to_world": t().translate([-1.55, 3.05, 0.29]) @ t().scale(0.168), "bsdf": m["soil"]})


def load_scene(
    time: float | None, pose: Pose, size: tuple[int, int], only: str | None = None, crop: Crop | None = None
) -> Any:
    """The scene at ``time`` (None: without moving objects) from ``pose``, with one light or all."""
    objects = static_objects() | ({} if time is None else moving_objects(time)) | lights(only)
    return mi.load_dict({"type": "scene", **objects, "sensor": sensor(pose, size, crop)}, optimize=False)


def camera_to_world(pose: Pose) -> NDArray[np.float64]:
    """(4, 4) matrix; camera axes are x left, y up, z forward (Mitsuba)."""
    shift, angles = pose
    t = mi.ScalarTransform4f
    to_target = t().look_at(origin=(EYE + shift).tolist(), target=(TARGET + shift).tolist(), up=[0, 0, 1])
    yaw, pitch, roll = (float(a) for a in angles)
    pose_matrix = to_target @ t().rotate([0, 1, 0], yaw) @ t().rotate([1, 0, 0], pitch) @ t().rotate([0, 0, 1], roll)
    return np.array(pose_matrix.matrix)


def sensor(pose: Pose, size: tuple[int, int], crop: Crop | None = None) -> dict[str, Any]:
    """Mitsuba's camera for images of ``size``, or for a crop of them."""
    film: dict[str, Any] = {
        "type": "hdrfilm",
        "width": size[0],
        "height": size[1],
        "rfilter": {"type": "box"},
        "pixel_format": "rgb",
    }
    if crop:
        film |= dict(zip(("crop_offset_x", "crop_offset_y", "crop_width", "crop_height"), crop, strict=True))
    return {
        "type": "perspective",
        "fov": FIELD_OF_VIEW,
        "fov_axis": "x",
        "near_clip": 0.05,
        "to_world": mi.ScalarTransform4f(camera_to_world(pose)),
        "film": film,
        "sampler": {"type": "independent"},
    }
