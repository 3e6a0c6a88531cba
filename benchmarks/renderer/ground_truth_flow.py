"""True optical flow, visibility and moving pixels, from first hits and rigid motion; needs no renderer.

A pixel of the reference shows a point of a triangle. Triangles keep their order from moment to moment, so the point's
position at another moment is known: that frame's camera gives its pixel, and that frame's first hits its visibility.

A pixel moves, as in the first frozen set, where its point is not visible in some frame (occluded, also by parallax, or
outside the image), or where something other than the camera moves it by more than ``MIN_OBJECT_MOTION_PX``. Moving
shadows and reflections do not count.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.renderer.materials import barycentric
from benchmarks.renderer.raycast import Hits
from benchmarks.renderer.scene import Camera, Scene

F64 = NDArray[np.float64]
MIN_OBJECT_MOTION_PX = 0.75
# Distance and share of the distance by which a hit may lie before a point that is visible.
DEPTH_TOLERANCE_M, DEPTH_TOLERANCE_SHARE = 0.01, 0.01


def true_flow(
    scene: Scene, hits: dict[int, Hits], moment: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """From the reference (moment 0) to ``moment``: flow (H, W, 2) in px, masks (H, W) of visible and moved pixels."""
    reference, other = hits[0], hits[moment]
    height, width = reference.material.shape
    camera = scene.camera
    before, after = scene.meshes_at(0), scene.meshes_at(moment)
    point = np.array(reference.point)
    for index, name in enumerate(sorted(scene.materials)):
        hit = reference.material == index
        if hit.any():
            corners = before[name].faces[reference.face[hit]]
            weights = barycentric(reference.point[hit], before[name].points[corners])
            point[hit] = (weights[..., None] * after[name].points[corners]).sum(1)
    start, _ = project_points(camera, 0, reference.point, (height, width))
    end, depth = project_points(camera, moment, point, (height, width))
    static_end, _ = project_points(camera, moment, reference.point, (height, width))
    moved = np.linalg.norm(end - static_end, axis=-1) > MIN_OBJECT_MOTION_PX
    x, y = np.floor(end[..., 0]), np.floor(end[..., 1])
    inside = (depth > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    eye = camera.camera_to_world(moment)[:3, 3]
    hit_distance = np.where(other.material < 0, np.inf, np.linalg.norm(other.point - eye, axis=-1))
    furthest = cv2.dilate(hit_distance, np.ones((3, 3), np.uint8))  # an edge between two pixels occludes neither
    column, row = (np.clip(np.nan_to_num(v), 0, n - 1).astype(int) for v, n in ((x, width), (y, height)))
    distance = np.where(reference.material < 0, np.inf, np.linalg.norm(point - eye, axis=-1))
    limit = furthest[row, column] * (1 + DEPTH_TOLERANCE_SHARE) + DEPTH_TOLERANCE_M
    return (end - start).astype(np.float32), inside & (distance <= limit), moved & (reference.material >= 0)


def project_points(camera: Camera, moment: int, points: F64, size: tuple[int, int]) -> tuple[F64, F64]:
    """(..., 3) points to (..., 2) pixels (x, y), the first pixel's centre at 0.5, and their depth along the view."""
    pose = camera.camera_to_world(moment)
    local = (points - pose[:3, 3]) @ pose[:3, :3]
    focal = size[1] / 2 / np.tan(np.radians(camera.fov) / 2)
    depth = local[..., 2]
    safe = np.where(np.abs(depth) > 1e-9, depth, 1e-9)
    return np.stack([size[1] / 2 - focal * local[..., 0] / safe, size[0] / 2 - focal * local[..., 1] / safe], -1), depth
