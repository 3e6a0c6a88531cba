"""A scene's light at each moment: first hits, and what fixed lights throw on them. Deterministic to the last bit."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rendered import lamps
from rendered.lamps import BACK_LIGHTS, RAYS, Lights
from rendered.scenery import Scenery, Sky
from rendered.shown import F32, Caster, Hits, MakesCaster, Shown
from rendered.skins import Skin, bilinear
from scene import textures

ROOKS = (np.array([[1, 5, 3, 7, 0, 4, 2, 6], range(8)]).T + 0.5) / 8  # (RAYS, 2): where in a pixel its rays go
LIFT = 1e-3  # metres above a surface that shadow rays begin
FAR = 1e6  # metres: the sky
GLOW = 0.15  # share of the mean light thrown back once that arrives everywhere, for all further bounces
SHINE = 0.04  # reflectance of a glaze at normal incidence


@dataclass(frozen=True)
class Seen:
    """N rays' hits in full: what they met, (N, 3) its colour, normal and the radiance that it gives of itself."""

    hits: Hits
    normal: F32
    colour: F32
    gloss: F32
    shine: F32


class Studio:
    """A scene at one moment."""

    def __init__(self, scenery: Scenery, moment: int, panorama: F32, make: MakesCaster) -> None:
        surfaces = scenery.surfaces(moment)
        self.scenery, self.moment, self.panorama = scenery, moment, panorama
        self.caster: Caster = make(surfaces)
        self.skins = [Skin.of(solid, scenery.materials[name]) for name, solid in surfaces.items()]

    def lights(self) -> Lights:
        """Of all that shines at this moment."""
        sky, rng = self.scenery.sky, np.random.default_rng(5)
        found = lamps.of_sky(self.panorama, sky.turn, rng)
        if sky.sun is not None:
            found = found + lamps.of_sun(sky.sun, sky.sunlight)
        for skin in self.skins:
            if skin.shines:
                found = found + lamps.of_skin(skin, rng)
        return found

    def see(self, origin: F32, direction: F32, spread: float) -> Seen:
        """What (N, 3) unit rays meet; ``spread``: the angle in radians that each stands for."""
        number, face, distance = self.caster.first(origin, direction)
        way = np.where(number < 0, FAR, distance)
        point = origin.astype(np.float64) + direction.astype(np.float64) * way[:, None]
        seen = Seen(Hits(number, face, point), *(np.zeros((len(origin), n), np.float32) for n in (3, 3, 1, 3)))
        beyond = number < 0
        seen.shine[beyond] = bilinear(self.panorama, lamps.coordinates_of(direction[beyond], self.scenery.sky.turn))
        for k, skin in enumerate(self.skins):
            on = number == k
            if not on.any():
                continue
            share = skin.share(face[on], point[on])
            normal = skin.facing(face[on], share, direction[on])
            slant = np.maximum(-(normal * direction[on]).sum(-1), 0.2)
            colour = skin.colour(face[on], share, way[on] * spread / slant)
            seen.normal[on] = normal
            if skin.shines:
                seen.shine[on] = colour
            else:
                seen.colour[on], seen.gloss[on] = colour, skin.gloss
        return seen

    def lit(self, seen: Seen, direction: F32, which: NDArray[np.int64], lights: Lights, glow: F32) -> F32:
        """(N, 3) radiance towards where the rays came from; ``which``: (N,) the share of the lights each takes.

        Matte (Lambert); a glaze adds Blinn-Phong's lobe with Schlick's Fresnel term, normalised.
        """
        on = np.flatnonzero(seen.colour.any(-1))
        normal, colour, view = seen.normal[on], seen.colour[on], -direction[on]
        point = (seen.hits.point[on] + LIFT * normal).astype(np.float32)
        gloss, glazed = seen.gloss[on, 0], seen.gloss[on, 0] > 0
        power = np.where(glazed, 2 / np.maximum(gloss, 0.05) ** 2 - 2, 0)
        matte, shiny = np.zeros_like(point), np.zeros_like(point)
        for k in range(len(lights.far)):
            place, strength, facing = (field[k][which[on]] for field in (lights.place, lights.power, lights.normal))
            if lights.far[k]:
                towards, reach, falling = place, np.full(len(on), 1e4, np.float32), 1.0
            else:
                towards = place - point
                length = np.sqrt((towards * towards).sum(-1))
                towards = towards / np.maximum(length, 1e-6)[:, None]
                reach = length - 2 * np.float32(LIFT)
                falling = np.maximum(-(facing * towards).sum(-1), 0) / np.maximum(length, lights.near[k]) ** 2
            cosine = (normal * towards).sum(-1)
            strength = strength * (np.maximum(cosine, 0) * falling)[:, None]
            bright = np.flatnonzero((cosine > 0) & (reach > 0) & (strength.max(-1) > 1e-9))
            bright = bright[self.caster.clear(point[bright], towards[bright], reach[bright])]
            matte[bright] += strength[bright]
            some = bright[glazed[bright]]
            if len(some):
                half = towards[some] + view[some]
                half /= np.maximum(np.linalg.norm(half, axis=-1, keepdims=True), 1e-6)
                lobe = np.maximum((half * normal[some]).sum(-1), 0) ** power[some] * (power[some] + 8) / (8 * np.pi)
                fresnel = SHINE + (1 - SHINE) * (1 - np.clip((half * view[some]).sum(-1), 0, 1)) ** 5
                shiny[some] += strength[some] * (lobe * fresnel)[:, None]
        out = np.array(seen.shine)
        out[on] += colour * (matte / np.float32(np.pi) + glow) + shiny
        return out

    def bounced(self, lights: Lights) -> tuple[Lights, F32]:
        """What the scene throws back of its lights, and (3,) the even glow of all that is thrown back again."""
        count = BACK_LIGHTS * RAYS
        eye = self.scenery.camera.view(0)[:3, 3] + [0, 0.05, 0]
        direction = lamps.spread_directions(count)
        seen = self.see(np.broadcast_to(eye, (count, 3)).astype(np.float32), direction, np.sqrt(4 * np.pi / count))
        every = np.zeros((count, 3), np.float32)
        for share in range(RAYS):  # all the lights for each of so few points
            every += self.lit(seen, direction, np.full(count, share), lights, np.zeros(3, np.float32)) / RAYS
        met = np.asarray(seen.colour.any(-1))
        leaving = np.where(met[:, None], every, 0)
        distance = np.where(met, np.linalg.norm(seen.hits.point - eye, axis=-1), 0)
        slant = np.abs((seen.normal * direction).sum(-1))
        back = lamps.thrown_back(seen.hits.point, seen.normal, leaving, distance, slant, np.random.default_rng(6))
        return back, (GLOW * leaving.mean(0)).astype(np.float32)


def show(scenery: Scenery, size: tuple[int, int], panorama: F32, make: MakesCaster) -> dict[int, Shown]:
    """All frames of a scene, ``size`` (H, W); the light thrown back is the reference's moment's throughout."""
    reference = Studio(scenery, 0, panorama, make)
    back, glow = reference.bounced(reference.lights())
    shown = {}
    for moment in scenery.camera.poses:
        studio = reference if moment == 0 else Studio(scenery, moment, panorama, make)
        lights = studio.lights() + back
        light, parts = np.zeros((size[0] * size[1], 3), np.float32), []
        for k, (x, y) in enumerate(ROOKS):
            origin, direction, spread = rays(scenery, moment, size, float(x), float(y))
            seen = studio.see(origin, direction, spread)
            light += studio.lit(seen, direction, np.full(len(origin), k), lights, glow) / RAYS
            parts.append(seen.hits)
        hits = parts[int(np.linalg.norm(ROOKS - 0.5, axis=1).argmin())]
        shaped = Hits(hits.material.reshape(size), hits.face.reshape(size), hits.point.reshape(*size, 3))
        shown[moment] = Shown(light.reshape(*size, 3), shaped)
    return shown


def rays(scenery: Scenery, moment: int, size: tuple[int, int], x: float, y: float) -> tuple[F32, F32, float]:
    """Origins and unit directions (H * W, 3) of rays through (x, y) of each pixel, and the angle a ray stands for."""
    view = scenery.camera.view(moment)
    focal = size[1] / 2 / np.tan(np.radians(scenery.camera.fov) / 2)
    row, column = np.mgrid[0 : size[0], 0 : size[1]]
    local = np.stack([(size[1] / 2 - column - x) / focal, (size[0] / 2 - row - y) / focal, np.ones(size)], -1)
    local /= np.linalg.norm(local, axis=-1, keepdims=True)
    direction = (local.reshape(-1, 3) @ view[:3, :3].T).astype(np.float32)
    origin = np.broadcast_to(view[:3, 3].astype(np.float32), direction.shape)
    return origin, direction, float(1 / focal / np.sqrt(RAYS))


def panorama_of(scenery: Scenery, sources: Mapping[str, Path]) -> F32:
    """The sky as an equirectangular picture; a named one has a median of 1 before the sky's factor."""
    from smarthdr_cli.data.synth.sources import read_radiance

    sky = scenery.sky
    if sky.panorama is None:
        return clear_sky(sky)
    found = read_radiance(sources[sky.panorama])
    found = np.minimum(found / max(float(np.median(found.mean(-1))), 1e-6), 3e4) * np.array(sky.colour, np.float32)
    height, width = found.shape[:2]
    return np.asarray(cv2.resize(found, (2 * width, 2 * height), interpolation=cv2.INTER_CUBIC).clip(0), np.float32)


def clear_sky(sky: Sky) -> F32:
    """(256, 512, 3): brighter towards the horizon; with a sun also clouds, its halo and its disc."""
    height, width, seam = 256, 512, 64
    u, v = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    direction = lamps.direction_of(u.ravel(), v.ravel(), sky.turn).reshape(height, width, 3)
    out = np.array(sky.colour, np.float64) * (1 + np.exp(-5 * np.maximum(direction[..., 2:], 0)))
    if sky.sun is not None:
        puffs = textures.noise(np.random.default_rng(3), (height, width + seam), (6, 9), 5)
        fade = np.linspace(0, 1, seam)
        puffs[:, :seam] = puffs[:, :seam] * fade + puffs[:, width:] * (1 - fade)
        cloud = np.clip(0.9 * puffs[:, :width, None] - 0.3, 0, 1)
        away = np.degrees(np.arccos(np.clip(direction @ np.array(sky.sun), -1, 1)))[..., None]
        light = np.array(sky.sunlight)
        out = out * (1 - cloud) + (0.5 + 0.4 * light) * cloud
        out += light * (0.5 * np.exp(-away / 8) + 60 * np.exp(-((away / 1.3) ** 4)))
    return np.asarray(out, np.float32)
