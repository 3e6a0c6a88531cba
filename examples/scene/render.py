"""Renders: a shot's light in independent halves, its features, and who moved where."""

from typing import Any

import mitsuba as mi
import numpy as np
from numpy.typing import NDArray

from scene import room
from scene.camera import Shot
from scene.lights import LIGHTS

F32 = NDArray[Any]  # float32
Pose = tuple[NDArray[np.float64], NDArray[np.float64]]
PASS = 16  # samples a pixel in one launch, for memory
EDGE_SPP = 256  # a pixel, for what is seen to shine
MAX_DEPTH = 5  # path vertices: four bounces of light
TREMOR_M, TREMOR_DEG = 0.0006, 0.02  # the hand while the shutter is open


def moments(shot: Shot, steps: int | None = None) -> list[tuple[float, Pose]]:
    """Times and poses at which the open shutter is sampled, the middle of each equal part."""
    out, steps = [], steps or shot.steps
    for k in range(steps):
        part = (k + 0.5) / steps
        shake = (part - 0.5) * (16 / shot.speed if shot.speed < 16 else 0.0)
        shift = np.array(shot.shift) + TREMOR_M * shake * np.array([1.0, 0.2, -0.6])
        angles = np.array(shot.angles) + TREMOR_DEG * shake * np.array([1.0, -0.7, 0.3])
        out.append((shot.start + part / shot.speed, (shift, angles)))
    return out


def halves(
    shot: Shot, size: tuple[int, int], spp: tuple[int, int], seed: int, window: room.Window = None
) -> dict[str, F32]:
    """Two independent estimates each of emitted, direct and further bounced light: e0, e1, d0, d1, b0, b1 (H, W, 3).

    Emission, cheap, is what the eye meets first, many samples for clean edges. Direct light is sampled lamp by lamp,
    ``spp[0]`` samples a pixel for each: no noise from choosing among them. The rest is a path-traced picture less its
    own direct part, from the same random numbers; ``spp[1]`` samples a pixel.
    """
    seen, once, full = (
        mi.load_dict({"type": "path", "max_depth": depth, "rr_depth": 20}) for depth in (1, 2, MAX_DEPTH)
    )
    times = moments(shot, shot.window_steps if window else None)
    few, more, many = (max(1, round(n / (2 * len(times)))) for n in (*spp, EDGE_SPP))
    shape = (window[3], window[2], 3) if window else (size[1], size[0], 3)
    out = {f"{kind}{half}": np.zeros(shape, np.float32) for kind in "edb" for half in range(2)}

    def shoot(scene: Any, integrator: Any, samples: int, key: int) -> F32:
        parts = -(-samples // PASS)
        shots = [mi.render(scene, integrator=integrator, spp=samples // parts, seed=key + i) for i in range(parts)]
        return np.asarray(sum(np.asarray(image, np.float32) for image in shots) / (parts * len(times)), np.float32)

    for m, (time, pose) in enumerate(times):
        lit = room.scene(time, pose, size, None, window)
        alone = [room.scene(time, pose, size, light, window) for light in LIGHTS]
        for half in range(2):
            key = seed + 1000 * (2 * m + half)
            out[f"b{half}"] += shoot(lit, full, more, key) - shoot(lit, once, more, key)
            out[f"e{half}"] += shoot(lit, seen, many, key + 900)
            for i, scene in enumerate(alone):
                own = key + 100 * (i + 1)
                out[f"d{half}"] += shoot(scene, once, few, own) - shoot(scene, seen, few, own)
    return out


def features(shot: Shot, size: tuple[int, int], window: room.Window = None, spp: int = 64) -> dict[str, F32]:
    """Albedo, shading normal, position (each (H, W, 3)) and depth (H, W), averaged as the shot averages."""
    integrator = mi.load_dict({"type": "aov", "aovs": "al:albedo,nn:sh_normal,pp:position,dd:depth"})
    times = moments(shot, shot.window_steps if window else None)
    total: Any = 0
    for m, (time, pose) in enumerate(times):
        scene = room.scene(time, pose, size, None, window)
        samples = max(4, spp // len(times))
        total = total + np.asarray(mi.render(scene, integrator=integrator, spp=samples, seed=77 + m), np.float32)
    stack = total / len(times)
    return {"albedo": stack[..., 0:3], "normal": stack[..., 3:6], "position": stack[..., 6:9], "depth": stack[..., 9]}


def movers(shots: tuple[Shot, ...], reference: Shot, size: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W) where, from the reference's pose, a moving thing stands at any shot's time (first hits; no shadows)."""
    pose = moments(reference)[0][1]
    integrator = mi.load_dict({"type": "aov", "aovs": "pp:position"})

    def hits(time: float | None) -> F32:
        return np.asarray(mi.render(room.scene(time, pose, size), integrator=integrator, spp=1, seed=5), np.float32)

    empty = hits(None)
    times = [time for shot in shots for time, _ in moments(shot)]
    return np.any([np.abs(hits(time) - empty).max(-1) > 1e-3 for time in times], axis=0)


def parallax(depth: F32, shot: Shot, reference: Shot) -> tuple[float, float, float]:
    """How far reference pixels move in ``shot``: median in all, and 5th to 95th percentile of what a homography leaves.

    From the depth map and both poses: pixels. The homography is fitted to the flow itself, by least squares.
    """
    import cv2

    h, w = depth.shape
    focal = w / 2 / np.tan(np.radians(room.FOV) / 2)
    y, x = np.mgrid[0:h:8, 0:w:8].astype(np.float64)
    rays = np.stack([-(x + 0.5 - w / 2) / focal, -(y + 0.5 - h / 2) / focal, np.ones_like(x)], -1)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    local = rays * depth[::8, ::8, None]
    here, there = (room.view((np.array(s.shift), np.array(s.angles))) for s in (reference, shot))
    world = local @ here[:3, :3].T + here[:3, 3]
    other = (world - there[:3, 3]) @ there[:3, :3]
    moved = np.stack(
        [w / 2 - 0.5 - focal * other[..., 0] / other[..., 2], h / 2 - 0.5 - focal * other[..., 1] / other[..., 2]], -1
    )
    start = np.stack([x, y], -1)
    H, _ = cv2.findHomography(start.reshape(-1, 2), moved.reshape(-1, 2), 0)
    fitted = cv2.perspectiveTransform(start.reshape(1, -1, 2), H).reshape(moved.shape)
    left = np.linalg.norm(moved - fitted, axis=-1)
    whole = np.linalg.norm(moved - start, axis=-1)
    return float(np.median(whole)), float(np.percentile(left, 50)), float(np.percentile(left, 95))
