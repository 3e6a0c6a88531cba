"""Frames of a scene: first hits of camera rays and direct light on them, deterministic to the last bit.

    L = emission + reflectance (E / pi + ambient) + coating
    coating = sum_k E_k (F_0 + (1 - F_0)(1 - h.v)^5) (m + 8) / (8 pi) (n.h)^m,   m = 2 / gloss^2 - 2

Lambert's law; coated surfaces add Blinn-Phong's lobe, normalised, with Schlick's Fresnel term. E sums the irradiances
E_k of the unoccluded lights of ``lighting.py``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.renderer import lighting
from benchmarks.renderer.lighting import INDIRECT_LIGHTS, RAYS, Lights
from benchmarks.renderer.materials import TexturedSurface, sample_bilinear
from benchmarks.renderer.raycast import F32, Hits, RayCaster, RayCasterFactory, RenderedFrame
from benchmarks.renderer.scene import Scene

# (RAYS, 2): the rays' positions in a pixel, one in each row and column of an 8x8 grid.
SUBPIXEL_OFFSETS = (np.array([[1, 5, 3, 7, 0, 4, 2, 6], range(8)]).T + 0.5) / 8
SHADOW_OFFSET_M = 1e-3  # distance from a surface at which shadow rays start
SKY_DISTANCE_M = 1e6
AMBIENT_SHARE = 0.15  # of the mean indirect radiance, for all further bounces
FRESNEL_0 = 0.04  # reflectance of a coating at normal incidence


@dataclass(frozen=True)
class SurfaceSamples:
    """First hits of N rays; ``normal``, ``reflectance``, ``emission``: (N, 3), ``gloss``: (N, 1)."""

    hits: Hits
    normal: F32
    reflectance: F32
    gloss: F32
    emission: F32


class SceneAtMoment:
    """A scene at one moment, ready to trace and shade."""

    def __init__(self, scene: Scene, moment: int, panorama: F32, make_caster: RayCasterFactory) -> None:
        meshes = scene.meshes_at(moment)
        self.scene, self.moment, self.panorama = scene, moment, panorama
        self.caster: RayCaster = make_caster(meshes)
        self.surfaces = [TexturedSurface.of(mesh, scene.materials[name]) for name, mesh in meshes.items()]

    def lights(self) -> Lights:
        """The lights of sky, sun and lamps at this moment."""
        sky, rng = self.scene.sky, np.random.default_rng(5)
        lights = lighting.lights_of_sky(self.panorama, sky.yaw, rng)
        if sky.sun is not None:
            lights = lights + lighting.lights_of_sun(sky.sun, sky.sunlight)
        for surface in self.surfaces:
            if surface.is_light:
                lights = lights + lighting.lights_of_surface(surface, rng)
        return lights

    def trace(self, origin: F32, direction: F32, spread: float) -> SurfaceSamples:
        """First hits of (N, 3) unit rays; ``spread``: angle in radians per ray."""
        material, face, distance = self.caster.first_hits(origin, direction)
        sky = material < 0
        distance = np.where(sky, SKY_DISTANCE_M, distance)
        point = origin.astype(np.float64) + direction.astype(np.float64) * distance[:, None]
        buffers = (np.zeros((len(origin), channels), np.float32) for channels in (3, 3, 1, 3))
        samples = SurfaceSamples(Hits(material, face, point), *buffers)
        sky_uv = lighting.equirectangular_uv(direction[sky], self.scene.sky.yaw)
        samples.emission[sky] = sample_bilinear(self.panorama, sky_uv)
        for index, surface in enumerate(self.surfaces):
            hit = material == index
            if not hit.any():
                continue
            weights = surface.barycentric(face[hit], point[hit])
            normal = surface.normal_at(face[hit], weights, direction[hit])
            cosine = np.maximum(-(normal * direction[hit]).sum(-1), 0.2)
            colour = surface.texture_at(face[hit], weights, distance[hit] * spread / cosine)
            samples.normal[hit] = normal
            if surface.is_light:
                samples.emission[hit] = colour
            else:
                samples.reflectance[hit], samples.gloss[hit] = colour, surface.gloss
        return samples

    def shade(
        self, samples: SurfaceSamples, direction: F32, subset: NDArray[np.int64], lights: Lights, ambient: F32
    ) -> F32:
        """(N, 3) radiance towards the rays' origins; ``subset``: (N,) index of the lights each ray uses."""
        lit = np.flatnonzero(samples.reflectance.any(-1))
        normal, reflectance, view = samples.normal[lit], samples.reflectance[lit], -direction[lit]
        point = (samples.hits.point[lit] + SHADOW_OFFSET_M * normal).astype(np.float32)
        gloss, coated = samples.gloss[lit, 0], samples.gloss[lit, 0] > 0
        exponent = np.where(coated, 2 / np.maximum(gloss, 0.05) ** 2 - 2, 0)
        irradiance, coating = np.zeros_like(point), np.zeros_like(point)
        for k in range(len(lights.distant)):
            position, strength, light_normal = (
                field[k][subset[lit]] for field in (lights.position, lights.power, lights.normal)
            )
            if lights.distant[k]:
                towards, shadow_length, falloff = position, np.full(len(lit), 1e4, np.float32), 1.0
            else:
                towards = position - point
                length = np.sqrt((towards * towards).sum(-1))
                towards = towards / np.maximum(length, 1e-6)[:, None]
                shadow_length = length - 2 * np.float32(SHADOW_OFFSET_M)
                light_cosine = np.maximum(-(light_normal * towards).sum(-1), 0)
                falloff = light_cosine / np.maximum(length, lights.min_distance[k]) ** 2
            cosine = (normal * towards).sum(-1)
            strength = strength * (np.maximum(cosine, 0) * falloff)[:, None]
            reached = np.flatnonzero((cosine > 0) & (shadow_length > 0) & (strength.max(-1) > 1e-9))
            reached = reached[self.caster.unoccluded(point[reached], towards[reached], shadow_length[reached])]
            irradiance[reached] += strength[reached]
            shiny = reached[coated[reached]]
            if len(shiny):
                half = towards[shiny] + view[shiny]
                half /= np.maximum(np.linalg.norm(half, axis=-1, keepdims=True), 1e-6)
                m = exponent[shiny]
                lobe = np.maximum((half * normal[shiny]).sum(-1), 0) ** m * (m + 8) / (8 * np.pi)
                half_cosine = np.clip((half * view[shiny]).sum(-1), 0, 1)
                fresnel = FRESNEL_0 + (1 - FRESNEL_0) * (1 - half_cosine) ** 5
                coating[shiny] += strength[shiny] * (lobe * fresnel)[:, None]
        radiance = np.array(samples.emission)
        radiance[lit] += reflectance * (irradiance / np.float32(np.pi) + ambient) + coating
        return radiance

    def indirect_light(self, lights: Lights) -> tuple[Lights, F32]:
        """Lights of the first bounce of ``lights``, and (3,) the ambient irradiance / pi of all further bounces."""
        count = INDIRECT_LIGHTS * RAYS
        eye = self.scene.camera.camera_to_world(0)[:3, 3] + [0, 0.05, 0]
        direction = lighting.fibonacci_sphere(count)
        origin = np.broadcast_to(eye, (count, 3)).astype(np.float32)
        samples = self.trace(origin, direction, np.sqrt(4 * np.pi / count))
        radiance, no_ambient = np.zeros((count, 3), np.float32), np.zeros(3, np.float32)
        for subset in range(RAYS):  # every light on each of these few points
            radiance += self.shade(samples, direction, np.full(count, subset), lights, no_ambient) / RAYS
        hit = np.asarray(samples.reflectance.any(-1))
        leaving = np.where(hit[:, None], radiance, 0)
        distance = np.where(hit, np.linalg.norm(samples.hits.point - eye, axis=-1), 0)
        cosine = np.abs((samples.normal * direction).sum(-1))
        rng = np.random.default_rng(6)
        indirect = lighting.indirect_lights(samples.hits.point, samples.normal, leaving, distance, cosine, rng)
        return indirect, (AMBIENT_SHARE * leaving.mean(0)).astype(np.float32)


def render_frames(
    scene: Scene, size: tuple[int, int], panorama: F32, make_caster: RayCasterFactory
) -> dict[int, RenderedFrame]:
    """All frames of a scene, ``size`` (H, W); indirect light is that of the reference's moment in every frame."""
    reference = SceneAtMoment(scene, 0, panorama, make_caster)
    indirect, ambient = reference.indirect_light(reference.lights())
    frames = {}
    for moment in scene.camera.poses:
        state = reference if moment == 0 else SceneAtMoment(scene, moment, panorama, make_caster)
        lights = state.lights() + indirect
        radiance, hits_per_ray = np.zeros((size[0] * size[1], 3), np.float32), []
        for k, (x, y) in enumerate(SUBPIXEL_OFFSETS):
            origin, direction, spread = camera_rays(scene, moment, size, float(x), float(y))
            samples = state.trace(origin, direction, spread)
            radiance += state.shade(samples, direction, np.full(len(origin), k), lights, ambient) / RAYS
            hits_per_ray.append(samples.hits)
        hits = hits_per_ray[int(np.linalg.norm(SUBPIXEL_OFFSETS - 0.5, axis=1).argmin())]
        image_hits = Hits(hits.material.reshape(size), hits.face.reshape(size), hits.point.reshape(*size, 3))
        frames[moment] = RenderedFrame(radiance.reshape(*size, 3), image_hits)
    return frames


def camera_rays(scene: Scene, moment: int, size: tuple[int, int], x: float, y: float) -> tuple[F32, F32, float]:
    """Origins and unit directions (H * W, 3) of rays through (x, y) of each pixel, and radians per ray."""
    pose = scene.camera.camera_to_world(moment)
    focal = size[1] / 2 / np.tan(np.radians(scene.camera.fov) / 2)
    row, column = np.mgrid[0 : size[0], 0 : size[1]]
    local = np.stack([(size[1] / 2 - column - x) / focal, (size[0] / 2 - row - y) / focal, np.ones(size)], -1)
    local /= np.linalg.norm(local, axis=-1, keepdims=True)
    direction = (local.reshape(-1, 3) @ pose[:3, :3].T).astype(np.float32)
    origin = np.broadcast_to(pose[:3, 3].astype(np.float32), direction.shape)
    return origin, direction, float(1 / focal / np.sqrt(RAYS))
