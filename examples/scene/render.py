"""Renders with Mitsuba: radiance in two independent halves, features for denoising, the moving mask and parallax."""

from typing import Any

import cv2
import mitsuba as mi
import numpy as np
from numpy.typing import NDArray

from scene import room
from scene.camera import Shot
from scene.lights import LIGHTS
from scene.room import Pose

F32 = NDArray[Any]  # float32
SAMPLES_PER_PASS = 16  # per pixel and launch; bounds memory
EMISSION_SAMPLES = 256  # per pixel
FEATURE_SAMPLES = 64  # per pixel
MAX_DEPTH = 5  # path vertices: four bounces of light
TREMOR_M, TREMOR_DEG = 0.0006, 0.02  # of the camera while the shutter is open


def shutter_moments(shot: Shot, count: int | None = None) -> list[tuple[float, Pose]]:
    """Times and poses at the middles of ``count`` equal parts of the exposure (default ``time_samples``)."""
    moments, count = [], count or shot.time_samples
    for k in range(count):
        phase = (k + 0.5) / count
        shake = (phase - 0.5) * (16 / shot.shutter_speed if shot.shutter_speed < 16 else 0.0)
        shift = np.array(shot.shift) + TREMOR_M * shake * np.array([1.0, 0.2, -0.6])
        angles = np.array(shot.angles) + TREMOR_DEG * shake * np.array([1.0, -0.7, 0.3])
        moments.append((shot.start + phase / shot.shutter_speed, (shift, angles)))
    return moments


def render_halves(
    shot: Shot, size: tuple[int, int], samples: tuple[int, int], seed: int, crop: room.Crop | None = None
) -> dict[str, F32]:
    """Two independent estimates of emitted, direct and indirect light: e0, e1, d0, d1, b0, b1, (H, W, 3) each.

    Emission is cheap and has many samples for clean edges. Direct light is sampled light by light with ``samples[0]``
    per pixel, without noise from choosing among them. Indirect light is a path-traced image minus its direct part from
    the same random numbers, with ``samples[1]`` per pixel.
    """
    emission, direct, full = (
        mi.load_dict({"type": "path", "max_depth": depth, "rr_depth": 20}) for depth in (1, 2, MAX_DEPTH)
    )
    moments = shutter_moments(shot, shot.fine_time_samples if crop else None)
    direct_samples, path_samples, emission_samples = (
        max(1, round(n / (2 * len(moments)))) for n in (*samples, EMISSION_SAMPLES)
    )
    shape = (crop[3], crop[2], 3) if crop else (size[1], size[0], 3)
    out = {f"{kind}{half}": np.zeros(shape, np.float32) for kind in "edb" for half in range(2)}

    def radiance(scene: Any, integrator: Any, samples: int, key: int) -> F32:
        passes = -(-samples // SAMPLES_PER_PASS)
        images = [mi.render(scene, integrator=integrator, spp=samples // passes, seed=key + i) for i in range(passes)]
        return np.asarray(sum(np.asarray(image, np.float32) for image in images) / (passes * len(moments)), np.float32)

    for m, (time, pose) in enumerate(moments):
        all_lights = room.load_scene(time, pose, size, None, crop)
        single_lights = [room.load_scene(time, pose, size, light, crop) for light in LIGHTS]
        for half in range(2):
            key = seed + 1000 * (2 * m + half)
            paths = radiance(all_lights, full, path_samples, key)
            out[f"b{half}"] += paths - radiance(all_lights, direct, path_samples, key)
            out[f"e{half}"] += radiance(all_lights, emission, emission_samples, key + 900)
            for i, scene in enumerate(single_lights):
                light_key = key + 100 * (i + 1)
                lit = radiance(scene, direct, direct_samples, light_key)
                out[f"d{half}"] += lit - radiance(scene, emission, direct_samples, light_key)
    return out


def render_features(shot: Shot, size: tuple[int, int], crop: room.Crop | None = None) -> dict[str, F32]:
    """Albedo, shading normal, position ((H, W, 3) each) and depth (H, W), averaged over the exposure."""
    integrator = mi.load_dict({"type": "aov", "aovs": "al:albedo,nn:sh_normal,pp:position,dd:depth"})
    moments = shutter_moments(shot, shot.fine_time_samples if crop else None)
    total: Any = 0
    for m, (time, pose) in enumerate(moments):
        scene = room.load_scene(time, pose, size, None, crop)
        samples = max(4, FEATURE_SAMPLES // len(moments))
        total = total + np.asarray(mi.render(scene, integrator=integrator, spp=samples, seed=77 + m), np.float32)
    stack = total / len(moments)
    return {"albedo": stack[..., 0:3], "normal": stack[..., 3:6], "position": stack[..., 6:9], "depth": stack[..., 9]}


def render_moving_mask(shots: tuple[Shot, ...], reference: Shot, size: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W) pixels of the reference's view that show a moving object at the time of any shot; shadows do not count."""
    pose = shutter_moments(reference)[0][1]
    integrator = mi.load_dict({"type": "aov", "aovs": "pp:position"})

    def positions(time: float | None) -> F32:
        return np.asarray(
            mi.render(room.load_scene(time, pose, size), integrator=integrator, spp=1, seed=5), np.float32
        )

    static = positions(None)
    times = [time for shot in shots for time, _ in shutter_moments(shot)]
    return np.any([np.abs(positions(time) - static).max(-1) > 1e-3 for time in times], axis=0)


def measure_parallax(depth: F32, shot: Shot, reference: Shot) -> tuple[float, float, float]:
    """Camera motion in px: median displacement, and median and 95th percentile of its residual from a homography.

    The displacement follows from the reference's ``depth`` and both poses; the homography is its least-squares fit.
    """
    h, w = depth.shape
    focal = w / 2 / np.tan(np.radians(room.FIELD_OF_VIEW) / 2)
    y, x = np.mgrid[0:h:8, 0:w:8].astype(np.float64)
    rays = np.stack([-(x + 0.5 - w / 2) / focal, -(y + 0.5 - h / 2) / focal, np.ones_like(x)], -1)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    local = rays * depth[::8, ::8, None]
    reference_pose, shot_pose = (
        room.camera_to_world((np.array(s.shift), np.array(s.angles))) for s in (reference, shot)
    )
    world = local @ reference_pose[:3, :3].T + reference_pose[:3, 3]
    other = (world - shot_pose[:3, 3]) @ shot_pose[:3, :3]
    target = np.stack(
        [w / 2 - 0.5 - focal * other[..., 0] / other[..., 2], h / 2 - 0.5 - focal * other[..., 1] / other[..., 2]], -1
    )
    start = np.stack([x, y], -1)
    homography, _ = cv2.findHomography(start.reshape(-1, 2), target.reshape(-1, 2), 0)
    fitted = cv2.perspectiveTransform(start.reshape(1, -1, 2), homography).reshape(target.shape)
    residual = np.linalg.norm(target - fitted, axis=-1)
    displacement = np.linalg.norm(target - start, axis=-1)
    return float(np.median(displacement)), float(np.percentile(residual, 50)), float(np.percentile(residual, 95))
