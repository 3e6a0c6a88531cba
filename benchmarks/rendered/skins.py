"""Textures on surfaces: colours looked up where rays hit, at the resolution that the distance asks for."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from rendered.scenery import Material
from rendered.shown import F32
from rendered.solids import Solid

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Skin:
    """A surface of a moment ready for shading. ``corner``, ``normal``: (F, 3, 3) of each triangle; ``uv``: (F, 3, 2);
    ``scale``: (F,) metres a unit of uv; ``levels``: the texture, each half the one before."""

    corner: F64
    normal: F64
    uv: F64
    scale: F64
    levels: tuple[F32, ...]
    gloss: float
    shines: bool

    @staticmethod
    def of(solid: Solid, material: Material) -> "Skin":
        """The skin of a solid; of what shines, its radiance instead of its reflectance."""
        corner, uv = solid.points[solid.faces], solid.uv[solid.faces]
        area = np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=-1)
        a, b = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
        flat = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])
        scale = np.sqrt(area / np.maximum(flat, 1e-12))
        texture = material.colour if material.shine is None else material.shine
        return Skin(
            corner, solid.normals[solid.faces], uv, scale, pyramid(texture), material.gloss, material.shine is not None
        )

    def share(self, face: NDArray[np.int64], point: F64) -> F64:
        """(N, 3) barycentric weights of (N, 3) points on their triangles."""
        return barycentric(point, self.corner[face])

    def colour(self, face: NDArray[np.int64], share: F64, footprint: F64) -> F32:
        """(N, 3) looked up bilinearly; ``footprint``: (N,) metres on the surface that a ray stands for."""
        uv = (share[..., None] * self.uv[face]).sum(1)
        texel = self.scale[face] / max(self.levels[0].shape[:2])
        level = np.clip(
            np.round(np.log2(np.maximum(footprint / np.maximum(texel, 1e-9), 1e-9))), 0, len(self.levels) - 1
        )
        out = np.empty((len(face), 3), np.float32)
        for k, texture in enumerate(self.levels):
            on = level == k
            if on.any():
                out[on] = bilinear(texture, uv[on])
        return out

    def facing(self, face: NDArray[np.int64], share: F64, direction: F32) -> F32:
        """(N, 3) smooth unit normals, turned towards where (N, 3) rays came from."""
        normal = (share[..., None] * self.normal[face]).sum(1)
        normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
        away = (normal * direction).sum(-1, keepdims=True) > 0
        return np.asarray(np.where(away, -normal, normal), np.float32)


def barycentric(points: F64, corners: F64) -> F64:
    """(N, 3) weights of the (N, 3, 3) corners of the triangles that (N, 3) points lie on."""
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    p = points - corners[:, 0]
    aa, ab, bb, pa, pb = ((u * v).sum(-1) for u, v in ((a, a), (a, b), (b, b), (p, a), (p, b)))
    area = np.maximum(aa * bb - ab * ab, 1e-30)
    second, third = (bb * pa - ab * pb) / area, (aa * pb - ab * pa) / area
    return np.stack([1 - second - third, second, third], -1)


def pyramid(texture: F32) -> tuple[F32, ...]:
    """A texture, (3,) or (h, w, 3), and its halves down to a few texels."""
    levels = [texture.reshape(1, 1, 3) if texture.ndim == 1 else texture]
    while min(levels[-1].shape[:2]) >= 4:
        h, w = levels[-1].shape[:2]
        smaller = cv2.resize(levels[-1], (w // 2, h // 2), interpolation=cv2.INTER_AREA)
        levels.append(np.asarray(smaller, np.float32))
    return tuple(np.ascontiguousarray(level, np.float32) for level in levels)


def bilinear(texture: F32, uv: F64) -> F32:
    """(N, 3) at (N, 2) coordinates that repeat; v = 0 is the last row."""
    h, w = texture.shape[:2]
    x, y = uv[:, 0] * w - 0.5, (1 - uv[:, 1]) * h - 0.5
    left, top = np.floor(x), np.floor(y)
    fx, fy = (x - left)[:, None].astype(np.float32), (y - top)[:, None].astype(np.float32)
    c0, r0 = left.astype(np.int64) % w, top.astype(np.int64) % h
    c1, r1 = (c0 + 1) % w, (r0 + 1) % h
    upper = texture[r0, c0] * (1 - fx) + texture[r0, c1] * fx
    lower = texture[r1, c0] * (1 - fx) + texture[r1, c1] * fx
    return np.asarray(upper * (1 - fy) + lower * fy, np.float32)
