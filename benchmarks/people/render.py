"""Rendering of a clothed person under a panorama with Mitsuba: radiance, coverage, shadow and motion.

Radiance is path-traced (Kajiya 1986), divided by the reflectance, smoothed over the same surface by an edge-avoiding
wavelet (Dammertz et al. 2010), and multiplied again. The shadow is the share of the panorama's light that a level grey
ground keeps. Motion is that of the surface point that a pixel's middle shows.

Mitsuba 3 is no dependency of smarthdr: ``pip install mitsuba==3.9.1`` and an LLVM library (see examples/make_burst.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import drjit as dr
import mitsuba as mi
import numpy as np
from numpy.typing import NDArray

from benchmarks.people.clothes import Patch, vertex_normals
from benchmarks.renderer.geometry import Mesh
from benchmarks.renderer.materials import barycentric
from benchmarks.renderer.mitsuba_raycast import MitsubaCaster
from examples.scene.denoise import wavelet

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
FILM = 4096  # px: side of the virtual film that every picture is a window of
BOUNCES = 3
MAX_NOISE, MAX_PASSES = 0.05, 8  # relative RMS of a picture's smoothed radiance; passes until it is reached
PLANE_SIGMA_M, NORMAL_SIGMA = 0.02, 0.35  # of the wavelet
SHADOW_SAMPLES = 64  # per pixel; the shadow is smoothed
SHADOW_BLUR_PX = 1.2
HIDDEN_M = 0.025  # a point this far behind the first hit is hidden
dr.set_thread_count(1)


@dataclass(frozen=True)
class Camera:
    """A level pinhole camera at ``eye``, (3,) m, that looks along +y. ``focal``: pixels per metre at 1 m."""

    eye: F64
    focal: float

    def project(self, points: F64) -> F64:
        """(V, 3) points to (V, 2) pixels (x, y) relative to the middle of the film."""
        local = points - self.eye
        return np.stack([local[:, 0], -local[:, 2]], 1) * (self.focal / local[:, 1])[:, None]

    def rays(self, pixels: F64) -> F32:
        """(N, 3) unit directions through (N, 2) pixels relative to the middle of the film."""
        x, y = pixels.T / self.focal
        direction = np.stack([x, np.ones_like(x), -y], 1)
        return np.asarray(direction / np.linalg.norm(direction, axis=1, keepdims=True), np.float32)


@dataclass(frozen=True)
class Window:
    """A picture's part of the film: its left upper corner (x, y) relative to the film's middle, and its size, px."""

    left: int
    top: int
    width: int
    height: int

    def pixels(self) -> F64:
        """(H W, 2) middles of the pixels, relative to the middle of the film."""
        y, x = np.mgrid[: self.height, : self.width] + 0.5
        return np.stack([x.ravel() + self.left, y.ravel() + self.top], 1)


@dataclass(frozen=True)
class Model:
    """A person at one moment: all patches as one mesh. ``points``: (V, 3). ``faces``: (F, 3). ``colour``: (V, 3)."""

    points: F64
    faces: NDArray[np.int64]
    colour: F64

    def mesh(self, name: str, *, black: bool = False) -> mi.Mesh:
        """The mesh with smooth normals; ``black`` reflects nothing."""
        colour = {"type": "rgb", "value": 0.0} if black else {"type": "mesh_attribute", "name": "vertex_color"}
        surface = {"type": "twosided", "bsdf": {"type": "diffuse", "reflectance": colour}}
        properties = mi.Properties()
        properties["mesh_bsdf"] = mi.load_dict(surface)
        mesh = mi.Mesh(name, len(self.points), len(self.faces), has_vertex_normals=True, props=properties)
        if not black:
            mesh.add_attribute("vertex_color", 3, self.colour.astype(np.float32).ravel())
        values = mi.traverse(mesh)
        values["vertex_positions"] = self.points.astype(np.float32).ravel()
        values["vertex_normals"] = vertex_normals(self.points, self.faces).astype(np.float32).ravel()
        values["faces"] = self.faces.astype(np.uint32).ravel()
        values.update()
        return mesh


def join_patches(patches: Sequence[Patch], body: F64) -> Model:
    """The patches of a person over the (B, 3) points of a posed body."""
    points = [patch.points(body) for patch in patches]
    first = np.cumsum([0, *(len(p) for p in points[:-1])])
    return Model(
        np.concatenate(points),
        np.concatenate([patch.faces + start for patch, start in zip(patches, first, strict=True)]),
        np.concatenate([patch.colour for patch in patches]),
    )


def joined(first: Model, second: Model) -> Model:
    """Two models as one."""
    faces = np.concatenate([first.faces, second.faces + len(first.points)])
    points, colour = ((a, b) for a, b in ((first.points, second.points), (first.colour, second.colour)))
    return Model(np.concatenate(points), faces, np.concatenate(colour))


def environment(panorama: F32, turn: float) -> dict[str, object]:
    """Mitsuba's emitter of an (H, W, 3) panorama, z up, turned by degrees about z."""
    to_world = mi.ScalarTransform4f().rotate([0, 0, 1], turn).rotate([1, 0, 0], 90)
    return {"type": "envmap", "bitmap": mi.Bitmap(np.ascontiguousarray(panorama, np.float32)), "to_world": to_world}


def render_radiance(
    model: Model, camera: Camera, window: Window, light: object, samples: int, seed: int
) -> tuple[F32, F32]:
    """Premultiplied radiance (H, W, 3) and coverage (H, W)."""
    scene = mi.load_dict({"type": "scene", "light": light, "person": model.mesh("person")}, optimize=False)
    path = {"type": "path", "max_depth": BOUNCES + 1, "hide_emitters": True}
    features = {"type": "aov", "aovs": "al:albedo,nn:sh_normal,pp:position", "path": path}
    integrator, sensor = mi.load_dict(features), _sensor(camera, window)
    total = np.zeros((2, window.height, window.width, 13), np.float32)
    for number in range(MAX_PASSES):
        for half in range(2):
            image = mi.render(
                scene, sensor=sensor, integrator=integrator, spp=samples // 2, seed=seed + 2 * number + half
            )
            total[half] += np.array(image, np.float32)
        smooth, coverage = _smoothed(total / (number + 1))
        on = coverage > 0.9
        difference = np.abs(smooth[0] - smooth[1]).sum(-1) / np.maximum((smooth[0] + smooth[1]).sum(-1), 1e-6)
        if not on.any() or np.sqrt(np.mean(difference[on] ** 2)) < MAX_NOISE:
            break
    return np.asarray((smooth[0] + smooth[1]) / 2 * coverage[..., None], np.float32), coverage


def _smoothed(images: F32) -> tuple[list[F32], F32]:
    """Both halves (H, W, 3) of the radiance of what is covered, smoothed, and the coverage (H, W).

    ``images``: (2, H, W, 13) of radiance, coverage, albedo, normal and position, the last three and the first
    multiplied by the coverage.
    """
    coverage = images[..., 3].mean(0)
    halves = [image[..., :3] / np.maximum(image[..., 3:4], 1e-3) for image in images]
    surface = images[..., 4:].mean(0) / np.maximum(coverage, 1e-3)[..., None]
    guides = surface[..., :3], surface[..., 3:6], surface[..., 6:9]
    return wavelet(halves, guides, 3, PLANE_SIGMA_M, NORMAL_SIGMA, halves[::-1]), coverage


def render_shadow(model: Model, camera: Camera, window: Window, light: object, seed: int) -> F32:
    """(H, W) share of its light that the ground at z = 0 keeps; 1 above the horizon."""
    ground = {
        "type": "rectangle", "to_world": mi.ScalarTransform4f().scale([4000, 4000, 1]),
        "bsdf": {"type": "diffuse", "reflectance": {"type": "rgb", "value": 0.5}},
    }  # fmt: skip
    direct = mi.load_dict({"type": "path", "max_depth": 2, "hide_emitters": True})
    person = model.mesh("person", black=True)
    scene = mi.load_dict({"type": "scene", "light": light, "ground": ground, "person": person}, optimize=False)
    image = np.array(mi.render(scene, sensor=_sensor(camera, window), integrator=direct, spp=SHADOW_SAMPLES, seed=seed))
    bare = mi.load_dict({"type": "scene", "light": light, "ground": ground})
    below = Window(-8, int(0.3 * camera.focal), 16, 16)  # a part of the ground
    level = np.array(mi.render(bare, sensor=_sensor(camera, below), integrator=direct, spp=1024, seed=seed))
    return np.asarray(image[..., :3].mean(-1) / max(float(level[..., :3].mean()), 1e-9), np.float32)


def clean_shadow(share: F32, coverage: F32, window: Window, fade: int) -> F32:
    """The shadow smoothed, continued under the person, faded out at the picture's sides, and 1 above the horizon."""
    free = np.clip(1 - coverage, 0, 1)
    free[: max(0, 2 - window.top)] = 0  # pixels above the horizon
    total, known, sigma = np.zeros_like(share), np.zeros_like(share), SHADOW_BLUR_PX
    for _ in range(4):  # ever wider, where narrower ones have met little ground
        weight = np.maximum(1e-6, 1 - np.minimum(known, 1))
        total += weight * cv2.GaussianBlur(share * (free > 0.9), (0, 0), sigma)
        known += weight * cv2.GaussianBlur((free > 0.9).astype(np.float32), (0, 0), sigma)
        sigma *= 3
    shadow = np.where(known > 1e-3, total / np.maximum(known, 1e-3), 1.0).clip(0, 1)
    height, width = share.shape
    x, y = np.arange(width), np.arange(height) + window.top
    side = np.minimum(np.minimum(x, width - 1 - x) / fade, 1)
    end = np.minimum((height - 1 - np.arange(height)) / (0.3 * fade), 1) * np.clip(y / (0.3 * fade), 0, 1)
    return np.asarray(1 - (1 - shadow) * side * end[:, None], np.float32)


def surface_motion(
    models: Sequence[Model], camera: Camera, windows: Sequence[Window], reference: int
) -> tuple[F32, NDArray[np.bool_]]:
    """Displacement (P, 2, H, W) in px of what the reference shows, relative to the windows, and where it is visible.

    Continued by a few pixels beyond the person; elsewhere 0.
    """
    window = windows[reference]
    casters = [_caster(model) for model in models]
    pixels, eye = window.pixels(), camera.eye.astype(np.float32)
    directions = camera.rays(pixels)
    origin = np.tile(eye, (len(pixels), 1))
    hit, face, distance = casters[reference].first_hits(origin, directions)
    on = hit >= 0
    model = models[reference]
    corners = model.faces[face[on]]
    weights = barycentric(camera.eye + directions[on].astype(np.float64) * distance[on, None], model.points[corners])
    motion = np.zeros((len(models), 2, window.height, window.width), np.float32)
    visible = np.zeros((len(models), window.height, window.width), bool)
    for n, other in enumerate(models):
        point = (weights[..., None] * other.points[corners]).sum(1)
        shift = np.array([windows[n].left - window.left, windows[n].top - window.top])
        flow = np.zeros((len(pixels), 2))
        flow[on] = camera.project(point) - pixels[on] - shift
        away = point - camera.eye
        length = np.linalg.norm(away, axis=1)
        seen = np.zeros(len(pixels), bool)
        seen[on] = casters[n].unoccluded(
            origin[on], (away / length[:, None]).astype(np.float32), (length - HIDDEN_M).astype(np.float32)
        )
        known = on.reshape(window.height, window.width)
        motion[n] = _grown(flow.reshape(*known.shape, 2), known).transpose(2, 0, 1)
        visible[n] = _grown(seen.reshape(*known.shape, 1).astype(float), known)[..., 0] > 0.5
    return motion, visible


def _grown(values: F64, known: NDArray[np.bool_], reach: int = 3) -> F64:
    """(H, W, C) values continued from where they are known by up to ``reach`` pixels."""
    out, mask = values * known[..., None], known.astype(np.float64)
    for _ in range(reach):
        total = cv2.boxFilter(out, -1, (3, 3), normalize=False).reshape(out.shape)
        count = cv2.boxFilter(mask, -1, (3, 3), normalize=False)
        new = (mask == 0) & (count > 0.5)
        out = np.where(new[..., None], total / np.maximum(count, 1)[..., None], out)
        mask = np.maximum(mask, new)
    return out


def _caster(model: Model) -> MitsubaCaster:
    count = len(model.points)
    return MitsubaCaster({"person": Mesh(model.points, model.points, np.zeros((count, 2)), model.faces)})


def _sensor(camera: Camera, window: Window) -> mi.Sensor:
    return mi.load_dict({
        "type": "perspective", "fov_axis": "x", "fov": float(np.degrees(2 * np.arctan(FILM / 2 / camera.focal))),
        "near_clip": 0.05, "to_world": mi.ScalarTransform4f().look_at(
            camera.eye.tolist(), (camera.eye + np.array([0, 1, 0])).tolist(), [0, 0, 1]),
        "film": {
            "type": "hdrfilm", "width": FILM, "height": FILM, "pixel_format": "rgba", "component_format": "float32",
            "crop_width": window.width, "crop_height": window.height,
            "crop_offset_x": FILM // 2 + window.left, "crop_offset_y": FILM // 2 + window.top,
            "rfilter": {"type": "box"},
        },
        "sampler": {"type": "independent"},
    })  # fmt: skip
