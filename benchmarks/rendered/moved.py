"""What moved: displacement and visibility from first hits, surface by surface. No renderer needed.

A pixel of the reference shows a bit of surface: a triangle and a place in it. Triangles keep their numbers, so the same
bit of surface is known at every other moment; that frame's pose says where it would be seen, and its first hits
whether it is. Moving is, as in the first frozen set, what is not seen in some frame, be it for another thing before it
(parallax uncovers and covers, too) or for the edge of the picture, and what something other than the camera carried by
more than ``DRIFT`` pixels. Shadows and reflections that move are not counted.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from rendered.scenery import Camera, Scenery
from rendered.shown import Hits
from rendered.skins import barycentric

F64 = NDArray[np.float64]
DRIFT = 0.75  # pixels
SLACK = 0.01, 0.01  # metres, and share of the distance, by which a hit may lie before a point that is still seen


def true_motion(
    scenery: Scenery, hits: dict[int, Hits], moment: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """From the reference (moment 0) to ``moment``: displacement (H, W, 2) in pixels, and (H, W) seen there, carried."""
    here, there = hits[0], hits[moment]
    height, width = here.material.shape
    camera = scenery.camera
    before, after = (_vertices(scenery, at) for at in (0, moment))
    point = np.array(here.point)
    for index, name in enumerate(sorted(scenery.materials)):
        on = here.material == index
        if on.any():
            (first, faces), (second, _) = before[name], after[name]
            corners = faces[here.face[on]]
            share = barycentric(here.point[on], first[corners])
            point[on] = (share[..., None] * second[corners]).sum(1)
    start, _ = project(camera, 0, here.point, (height, width))
    end, depth = project(camera, moment, point, (height, width))
    stayed, _ = project(camera, moment, here.point, (height, width))
    carried = np.linalg.norm(end - stayed, axis=-1) > DRIFT
    x, y = np.floor(end[..., 0]), np.floor(end[..., 1])
    inside = (depth > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    eye = camera.view(moment)[:3, 3]
    distance = np.where(there.material < 0, np.inf, np.linalg.norm(there.point - eye, axis=-1))
    furthest = cv2.dilate(distance, np.ones((3, 3), np.uint8))  # an edge between two pixels hides neither side
    column, row = (np.clip(np.nan_to_num(v), 0, n - 1).astype(int) for v, n in ((x, width), (y, height)))
    own = np.where(here.material < 0, np.inf, np.linalg.norm(point - eye, axis=-1))
    limit = furthest[row, column] * (1 + SLACK[1]) + SLACK[0]
    return (end - start).astype(np.float32), inside & (own <= limit), carried & (here.material >= 0)


def project(camera: Camera, moment: int, points: F64, size: tuple[int, int]) -> tuple[F64, F64]:
    """(..., 3) points to (..., 2) pixels (x, y), the first pixel's centre at 0.5, and their depth along the view."""
    view = camera.view(moment)
    local = (points - view[:3, 3]) @ view[:3, :3]
    focal = size[1] / 2 / np.tan(np.radians(camera.fov) / 2)
    depth = local[..., 2]
    safe = np.where(np.abs(depth) > 1e-9, depth, 1e-9)
    return np.stack([size[1] / 2 - focal * local[..., 0] / safe, size[0] / 2 - focal * local[..., 1] / safe], -1), depth


def _vertices(scenery: Scenery, moment: int) -> dict[str, tuple[F64, NDArray[np.int64]]]:
    return {name: (solid.points, solid.faces) for name, solid in scenery.surfaces(moment).items()}
