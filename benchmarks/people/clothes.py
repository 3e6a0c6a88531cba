"""Clothed people as meshes over the points of a body: skin, hair, shoes and garments with procedural colours.

Every mesh is linear in the body's points, p = W b, with the sparse weights W of cutting, subdividing and smoothing, and
is then moved outwards along its normals. It is made in the reference pose and follows every other one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse
import scipy.spatial
from numpy.typing import NDArray

if TYPE_CHECKING:
    from benchmarks.people.body import Body

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
BACKPACK_SHARE = 0.15  # of people
SKIN_OVERLAP_M = 0.012  # of the skin under the edge of a garment
SKIN_TONES = ((0.035, 0.018, 0.012), (0.09, 0.045, 0.028), (0.2, 0.105, 0.065), (0.36, 0.2, 0.13), (0.52, 0.33, 0.245),
              (0.62, 0.42, 0.34))  # fmt: skip
HAIR_TONES = ((0.008, 0.007, 0.006), (0.02, 0.012, 0.008), (0.07, 0.035, 0.018), (0.3, 0.2, 0.1), (0.35, 0.34, 0.33),
              (0.16, 0.05, 0.02))  # fmt: skip


@dataclass(frozen=True)
class Patch:
    """A surface over a body. ``weights``: (V, B) sparse. ``faces``: (F, 3). ``offset``: (V,) metres along the normals.

    ``colour``: (V, 3) linear reflectance.
    """

    weights: scipy.sparse.csr_matrix
    faces: I64
    offset: F64
    colour: F64

    @staticmethod
    def of(quads: I64, points: int) -> "Patch":
        """The surface of (F, 4) quads over ``points`` points of a body."""
        used, index = np.unique(quads, return_inverse=True)
        quads = index.reshape(quads.shape)
        faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
        weights = scipy.sparse.csr_matrix((np.ones(len(used)), (np.arange(len(used)), used)), (len(used), points))
        return Patch(weights, faces, np.zeros(len(used)), np.zeros((len(used), 3)))

    def reduced(self) -> "Patch":
        """Without the points that no triangle has."""
        used, index = np.unique(self.faces, return_inverse=True)
        return Patch(self.weights[used], index.reshape(-1, 3), self.offset[used], self.colour[used])

    def cut(self, inside: F64) -> "Patch":
        """The part where the (V,) linear function ``inside`` is positive."""
        corners = self.faces
        positive = inside[corners] > 0
        kept = [corners[positive.all(1)]]
        crossing, signs = corners[positive.any(1) & ~positive.all(1)], positive[positive.any(1) & ~positive.all(1)]
        # Turn each triangle so that its first corner is the one that differs from the two others.
        lone = np.where(signs.sum(1) == 1, signs.argmax(1), (~signs).argmax(1))
        a, b, c = (crossing[np.arange(len(crossing)), (lone + k) % 3] for k in range(3))
        first = signs[np.arange(len(crossing)), lone]
        edges = np.sort(np.concatenate([np.stack([a, b], 1), np.stack([a, c], 1)]), axis=1)
        edges, index = np.unique(edges, axis=0, return_inverse=True)
        share = inside[edges[:, 0]] / (inside[edges[:, 0]] - inside[edges[:, 1]])
        rows = np.arange(len(edges))
        select = scipy.sparse.csr_matrix(
            (np.concatenate([1 - share, share]), (np.concatenate([rows, rows]), edges.T.reshape(-1))),
            (len(edges), len(inside)),
        )
        ab, ac = (len(inside) + index.reshape(2, -1)).astype(np.int64)
        kept += [
            np.stack([a, ab, ac], 1)[first],
            np.stack([ab, b, c], 1)[~first],
            np.stack([ab, c, ac], 1)[~first],
        ]
        return self._extended(select, np.concatenate(kept)).reduced()

    def subdivided(self) -> "Patch":
        """Four triangles for each, at the middles of the edges."""
        edges = np.sort(self.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
        unique, index = np.unique(edges, axis=0, return_inverse=True)
        rows = np.repeat(np.arange(len(unique)), 2)
        count = self.weights.shape[0]
        middle = scipy.sparse.csr_matrix((np.full(2 * len(unique), 0.5), (rows, unique.reshape(-1))),
                                         (len(unique), count))  # fmt: skip
        (a, b, c), (ab, bc, ca) = self.faces.T, (count + index.reshape(-1, 3)).T
        faces = [np.stack(t, 1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))]
        return self._extended(middle, np.concatenate(faces))

    def smoothed(self, times: int) -> "Patch":
        """Every point moved to the mean of its neighbours and itself, ``times`` times; edges of the surface stay."""
        pairs = self.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
        count = self.weights.shape[0]
        one_way = scipy.sparse.coo_matrix((np.ones(len(pairs)), pairs.T), (count, count)).tocsr()
        border = np.asarray((abs(one_way - one_way.T)).sum(1)).ravel() > 0
        linked = (one_way + one_way.T).minimum(1)
        degree = np.asarray(linked.sum(1)).ravel().clip(1)
        mean = scipy.sparse.diags(0.5 / degree) @ linked + scipy.sparse.identity(count) * 0.5
        mean = scipy.sparse.diags((~border).astype(float)) @ mean + scipy.sparse.diags(border.astype(float))
        weights = self.weights
        for _ in range(times):
            weights = mean @ weights
        return replace(self, weights=weights.tocsr())

    def points(self, body: F64) -> F64:
        """(V, 3) points over the (B, 3) points of a body, moved outwards by the offset."""
        points = self.weights @ body
        return np.asarray(points + self.offset[:, None] * vertex_normals(points, self.faces))

    def _extended(self, select: scipy.sparse.csr_matrix, faces: I64) -> "Patch":
        """With the points ``select`` (N, V) appended, and other triangles."""
        return Patch(
            scipy.sparse.vstack([self.weights, select @ self.weights]).tocsr(), faces,
            np.concatenate([self.offset, select @ self.offset]),
            np.concatenate([self.colour, select @ self.colour]),
        )  # fmt: skip


def vertex_normals(points: F64, faces: I64) -> F64:
    """(V, 3) unit normals, of the triangles around each point by their area."""
    corners = points[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.zeros_like(points)
    for k in range(3):
        np.add.at(total, faces[:, k], normal)
    return np.asarray(total / np.linalg.norm(total, axis=1, keepdims=True).clip(1e-12))


def smooth_noise(rng: np.random.Generator, points: F64, wavelength: float, waves: int = 24) -> F64:
    """(V,) a sum of random waves over (V, 3) points; variance 1. ``wavelength``: metres, within a factor of 1.6."""
    direction = rng.normal(size=(waves, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    frequency = 2 * np.pi / wavelength * np.exp(rng.uniform(-0.47, 0.47, waves))
    phase = points @ (direction * frequency[:, None]).T + rng.uniform(0, 2 * np.pi, waves)
    return np.asarray(np.sin(phase).sum(1) * np.sqrt(2 / waves))


def draw_cloth_colour(rng: np.random.Generator, shares: Sequence[float] = (0.32, 0.16, 0.24, 0.28)) -> F64:
    """(3,) reflectance: saturated, white, dark or muted, with these probabilities."""
    kind = rng.choice(["saturated", "white", "dark", "muted"], p=shares)
    if kind == "white":
        return np.asarray(rng.uniform(0.72, 0.88) * rng.uniform(0.94, 1.0, 3))
    if kind == "dark":
        return np.asarray(rng.uniform(0.015, 0.06) * rng.uniform(0.7, 1.0, 3))
    hue = rng.uniform(0, 6)
    pure = np.clip(np.abs((hue + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    strength = rng.uniform(0.35, 0.85) if kind == "saturated" else rng.uniform(0.1, 0.45)
    floor = rng.uniform(0.01, 0.2) if kind == "saturated" else rng.uniform(0.35, 0.8)
    return np.asarray(strength * (floor + (1 - floor) * pure))


def draw_pattern(rng: np.random.Generator, at: F64) -> F64:
    """(V, 3) reflectance of a cloth at (V, 3) points: plain, striped, checked, in blocks, or printed."""
    first, second = draw_cloth_colour(rng), draw_cloth_colour(rng)
    kind = rng.choice(["plain", "stripes", "checks", "blocks", "print"], p=[0.5, 0.17, 0.11, 0.11, 0.11])
    period = rng.uniform(0.04, 0.14)
    level, across = (at[:, 2] / period) % 1, (at[:, 0] / period) % 1
    share = np.zeros(len(at))
    if kind == "stripes":
        share = (level < rng.uniform(0.2, 0.6)).astype(float)
    elif kind == "checks":
        share = 0.5 * (level < 0.4) + 0.5 * (across < 0.4)
    elif kind == "blocks":
        share = (at[:, 2] < rng.uniform(0.1, 0.35)).astype(float)
    elif kind == "print":
        share = (smooth_noise(rng, at, rng.uniform(0.05, 0.16)) > rng.uniform(0.2, 0.9)).astype(float)
    weave = np.exp(0.06 * smooth_noise(rng, at, 0.018, 40))
    return np.asarray(((1 - share)[:, None] * first + share[:, None] * second) * weave[:, None]).clip(0, 0.9)


@dataclass(frozen=True)
class Outfit:
    """Where garments end on a body, in metres of height z in the reference pose and in shares of the arm."""

    sleeve: float  # 0 the shoulder, 1 the elbow, 2 the wrist
    hem: float
    waist: float
    cuff: float
    skirt: float | None  # the skirt's lower edge
    trousers: bool
    tucked: bool  # the shirt is under the rest


def draw_outfit(body: "Body", rng: np.random.Generator) -> Outfit:
    """A random outfit: shirt or coat, with trousers, a skirt over bare legs, or a dress."""
    knee, ankle, hip = (float(body.joints[f"{name}.L"][2]) for name in ("lowerleg01", "foot", "upperleg01"))
    kind = rng.choice(["trousers", "skirt", "coat"], p=[0.72, 0.18, 0.1])
    long_trousers = kind == "coat" or rng.uniform() < 0.75
    tucked = kind == "skirt" or rng.uniform() < 0.4
    waist = hip + 0.06
    return Outfit(
        sleeve=float(rng.choice([rng.uniform(0.1, 0.7), rng.uniform(1.75, 1.95)])) if kind != "coat" else 1.95,
        hem=waist - 0.03 if tucked else hip + float(rng.uniform(-0.12, 0.0)), waist=waist,
        cuff=ankle + 0.03 if long_trousers else knee + float(rng.uniform(-0.1, 0.15)),
        skirt=None if kind == "trousers" else float(rng.uniform(ankle + 0.1, 0.6 * knee + 0.4 * hip)),
        trousers=kind != "skirt" or rng.uniform() < 0.3, tucked=tucked,
    )  # fmt: skip


def dress(body: "Body", rng: np.random.Generator) -> list[Patch]:
    """All surfaces of a person, with random clothes, hair and tones of skin."""
    outfit, rest = draw_outfit(body, rng), body.rest
    tights = Patch.of(body.faces["helper-tights"], len(rest)).subdivided().smoothed(5)
    at, arm = tights.weights @ rest, tights.weights @ body.arm > 0.5
    along = arm_position(body, at)
    neck = body.joints["neck01"]

    def shirt_inside(at: F64, arm: NDArray[np.bool_], along: F64) -> F64:
        neckline = neck[2] + 0.015 - 0.5 * depth - at[:, 2] + (0.3 + depth) * (at[:, 1] - neck[1])
        trunk = np.minimum(at[:, 2] - outfit.hem, neckline)
        return np.asarray(np.where(arm, 0.3 * (outfit.sleeve - along), trunk))

    def trousers_inside(at: F64, arm: NDArray[np.bool_]) -> F64:
        inside = np.minimum(outfit.waist - at[:, 2], at[:, 2] - outfit.cuff)
        return np.asarray(np.where(arm, -1.0, inside))

    depth = float(rng.choice([0.0, rng.uniform(0.05, 0.2)]))  # of the neckline
    seed = int(rng.integers(2**32))  # of the shirt's pattern, which a skirt may share: a dress
    skin, patches = draw_skin(body, rng), list[Patch]()
    covered = shirt_inside(*_on(skin, body))
    inner, outer = rng.uniform(0.003, 0.008), rng.uniform(0.016, 0.024)
    shirt = tights.cut(shirt_inside(at, arm, along))
    patches.append(_garment(shirt, rest, rng, inner if outfit.tucked else outer, seed))
    if outfit.trousers:
        trousers = tights.cut(trousers_inside(at, arm))
        patches.append(_garment(trousers, rest, rng, outer if outfit.tucked else inner))
        covered = np.maximum(covered, trousers_inside(*_on(skin, body)[:2]))
    if outfit.skirt is not None:
        skirt = Patch.of(body.faces["helper-skirt"], len(rest)).subdivided().smoothed(4)
        skirt = skirt.cut((skirt.weights @ rest)[:, 2] - outfit.skirt)
        patches.append(_garment(skirt, rest, rng, 0.022, seed if rng.uniform() < 0.5 else None))
    patches.append(skin.cut(SKIN_OVERLAP_M - covered))
    shoes = draw_cloth_colour(rng, (0.15, 0.25, 0.4, 0.2))
    patches += [_shoe(body, tights, side, shoes) for side in (1.0, -1.0)]
    patches += [_eye(body, group, rng) for group in ("helper-l-eye", "helper-r-eye")]
    patches += draw_hair(body, rng)
    if rng.uniform() < BACKPACK_SHARE:
        patches.append(_backpack(body, tights, rng))
    return patches


def _on(patch: Patch, body: "Body") -> tuple[F64, NDArray[np.bool_], F64]:
    """(V, 3) points in the reference pose, whether they belong to an arm, and how far along it."""
    at = patch.weights @ body.rest
    return at, patch.weights @ body.arm > 0.5, arm_position(body, at)


def arm_position(body: "Body", at: F64) -> F64:
    """(V,) position along the nearer arm: 0 at the shoulder, 1 at the elbow, 2 at the wrist."""
    mirrored = np.abs(at[:, 0])[:, None] * [1, 0, 0] + at * [0, 1, 1]
    shoulder, elbow, wrist = (body.joints[name] for name in ("upperarm01.L", "lowerarm01.L", "wrist.L"))
    distance, position = [], []
    for number, (start, end) in enumerate(((shoulder, elbow), (elbow, wrist))):
        axis = end - start
        share = (mirrored - start) @ axis / (axis @ axis)
        bounded = share.clip(0, 1)
        distance.append(np.linalg.norm(mirrored - start - bounded[:, None] * axis, axis=1))
        position.append(number + (share.clip(max=1) if number == 0 else share.clip(min=0)))
    return np.asarray(np.where(distance[0] < distance[1], position[0], position[1]))


def _garment(patch: Patch, rest: F64, rng: np.random.Generator, thickness: float, seed: int | None = None) -> Patch:
    """A cloth ``thickness`` metres off the skin, with folds and a pattern, of its own or of a ``seed``."""
    patch = patch.subdivided()
    at = patch.weights @ rest
    folds = 0.2 * thickness * smooth_noise(rng, at * [1.4, 1.4, 0.6], 0.11)
    return replace(
        patch, offset=thickness + folds, colour=draw_pattern(rng if seed is None else np.random.default_rng(seed), at)
    )


def draw_skin(body: "Body", rng: np.random.Generator) -> Patch:
    """The skin with eyebrows and lips."""
    patch = Patch.of(body.faces["body"], len(body.rest))
    place = rng.uniform(0, len(SKIN_TONES) - 1)
    low = int(place)
    tone = np.asarray(SKIN_TONES[low]) * (1 - place + low) + np.asarray(SKIN_TONES[low + 1]) * (place - low)
    at = patch.weights @ body.rest
    eye, head = body.joints["eye.L"], body.joints["head"]
    size = (body.rest[:13380, 2].max() - head[2]) / 0.15  # of the head, relative to an adult's
    front = at[:, 1] < head[1]
    aside, above = np.abs(at[:, 0]) - eye[0], at[:, 2] - eye[2] - 0.02 * size
    brow = np.exp(-((aside / (0.017 * size)) ** 4) - (above / 0.005) ** 2)
    lips = np.exp(-((at[:, 0] / (0.022 * size)) ** 4 + ((at[:, 2] - eye[2] + 0.068 * size) / (0.008 * size)) ** 2))
    colour = tone * np.exp(0.05 * smooth_noise(rng, at, 0.05))[:, None]
    colour = colour * (1 - 0.75 * (brow * front)[:, None])
    colour = colour * (1 - (lips * front)[:, None] * np.array([0.1, 0.45, 0.4]))
    return replace(patch, colour=colour)


def _eye(body: "Body", group: str, rng: np.random.Generator) -> Patch:
    """An eyeball with a dark iris."""
    patch = Patch.of(body.faces[group], len(body.rest))
    at = patch.weights @ body.rest
    iris = at[:, 1] < at[:, 1].min() + 0.15 * np.ptp(at[:, 1])
    return replace(patch, colour=np.where(iris[:, None], [0.03, 0.02, 0.015], [0.6, 0.58, 0.55]))


def _shoe(body: "Body", tights: Patch, side: float, colour: F64) -> Patch:
    """A shoe: the convex hull of the foot."""
    at = tights.weights @ body.rest
    foot = body.joints["foot.L"][2]
    patch = _hull(tights, at, (at[:, 0] * side > 0) & (at[:, 2] < foot + 0.01))
    shoe = patch.weights @ body.rest
    sole = shoe[:, 2] < shoe[:, 2].min() + 0.018
    tone = np.where(sole[:, None], 0.5 * colour.mean() + 0.15, colour)
    return replace(patch, offset=np.full(len(shoe), 0.007), colour=tone)


def _backpack(body: "Body", tights: Patch, rng: np.random.Generator) -> Patch:
    """A backpack: the convex hull of the back, thickened."""
    at = tights.weights @ body.rest
    low, high = body.joints["spine03"][2], body.joints["clavicle.L"][2] + 0.02
    wide = 0.9 * body.joints["upperarm01.L"][0]
    back = (at[:, 1] > body.joints["spine03"][1]) & (np.abs(at[:, 0]) < wide)
    patch = _hull(tights, at, back & (at[:, 2] > low) & (at[:, 2] < high))
    count = patch.weights.shape[0]
    colour = draw_cloth_colour(rng, (0.4, 0.1, 0.3, 0.2))
    return replace(patch, offset=np.full(count, rng.uniform(0.05, 0.09)), colour=np.tile(colour, (count, 1)))


def _hull(tights: Patch, at: F64, inside: NDArray[np.bool_]) -> Patch:
    """The smoothed convex hull of a part of the tights, whose (V, 3) points are ``at``, facing outwards."""
    selected = np.flatnonzero(inside)
    hull = scipy.spatial.ConvexHull(at[selected])
    faces, centre = hull.simplices.astype(np.int64), at[selected].mean(0)
    corners = at[selected][faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    inwards = (normal * (corners.mean(1) - centre)).sum(1) < 0
    faces[inwards] = faces[inwards][:, ::-1]
    count = len(selected)
    patch = Patch(tights.weights[selected], faces, np.zeros(count), np.zeros((count, 3))).reduced()
    return patch.subdivided().subdivided().smoothed(2)


def draw_hair(body: "Body", rng: np.random.Generator) -> Sequence[Patch]:
    """Short hair, long hair, none, or a hat."""
    kind = rng.choice(["short", "long", "bald", "hat"], p=[0.45, 0.33, 0.07, 0.15])
    eye, head = body.joints["eye.L"], body.joints["head"]
    tone = np.asarray(HAIR_TONES[rng.integers(len(HAIR_TONES))]) * rng.uniform(0.7, 1.4)
    patches = []

    def scalp(front: float, back: float) -> Patch:
        """The head above a line from ``front`` to ``back``, metres above the eyes."""
        patch = Patch.of(body.faces["body"], len(body.rest))
        at = patch.weights @ body.rest
        share = ((at[:, 1] - eye[1]) / 0.1).clip(0, 1)
        above = at[:, 2] - eye[2] - front * (1 - share) - back * share
        patch = patch.cut(np.where(np.abs(at[:, 0]) < 0.2, above, -1.0))
        return patch.subdivided().smoothed(14)

    if kind in ("short", "long"):
        patch = scalp(0.06, -0.055)
        at = patch.weights @ body.rest
        thick = rng.uniform(0.006, 0.02)
        offset = thick * (1 + 0.25 * smooth_noise(rng, at, 0.04))
        shade = np.exp(0.25 * smooth_noise(rng, at * [1, 1, 0.3], 0.015))
        patches.append(replace(patch, offset=offset, colour=(tone * shade[:, None]).clip(0, 0.8)))
    if kind == "long":
        patch = Patch.of(body.faces["helper-hair"], len(body.rest)).subdivided().subdivided().smoothed(3)
        at = patch.weights @ body.rest
        end = eye[2] - rng.uniform(0.05, 0.32)
        behind = np.where(at[:, 2] > eye[2] + 0.06, 1.0, at[:, 1] - head[1] + 0.015)
        patch = patch.cut(np.minimum(at[:, 2] - end, behind))
        at = patch.weights @ body.rest
        shade = np.exp(0.3 * smooth_noise(rng, at * [1, 1, 0.15], 0.012))
        patches.append(replace(patch, offset=0.004 * smooth_noise(rng, at * [1, 1, 0.2], 0.03),
                               colour=(tone * shade[:, None]).clip(0, 0.8)))  # fmt: skip
    if kind == "hat":
        patch = scalp(0.045, -0.01)
        offset = np.full(patch.weights.shape[0], 0.014)
        colour = np.tile(draw_cloth_colour(rng), (len(offset), 1))
        patches.append(replace(patch, offset=offset, colour=colour))
    return patches
