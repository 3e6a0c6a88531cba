"""The renderer: reproducible random scenes, light and motion against analytic values, files of a set."""

import sys
from functools import cache

import numpy as np
import pytest

from benchmarks.lib import frozen_set
from benchmarks.renderer import geometry, lighting, make_set, scene, shading
from benchmarks.renderer.ground_truth_flow import true_flow
from benchmarks.renderer.materials import Material, TexturedSurface
from benchmarks.renderer.raycast import Hits, RenderedFrame
from benchmarks.renderer.scene import Scene, SceneObject
from smarthdr_cli.data.synth.sources import HELD_OUT
from smarthdr_cli.evaluate.protocol import clipped_mask

pytestmark = pytest.mark.slow  # half a minute for code that changes rarely

SIZE = (16, 24)
IDENTITY_POSE = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))


@cache
def drawn_scene(number: int) -> Scene:
    """A scene of the set 11."""
    return make_set.draw_scene(11, number, SIZE)


def equal(a, b) -> bool:
    """Whether two scenes are equal, arrays by value."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    if hasattr(a, "__dataclass_fields__"):
        return type(a) is type(b) and equal(vars(a), vars(b))
    return bool(a == b)


class BruteForceCaster:
    """A ray caster that tests every triangle (Moeller and Trumbore 1997)."""

    def __init__(self, meshes):
        self.corner = np.concatenate([s.points[s.faces] for s in meshes.values()])
        self.owner = np.concatenate([np.full(len(s.faces), k) for k, s in enumerate(meshes.values())])
        self.face = np.concatenate([np.arange(len(s.faces)) for s in meshes.values()])

    def distances(self, origin, direction):
        o, d = origin[:, None].astype(float), direction[:, None].astype(float)
        a, e, f = self.corner[:, 0], self.corner[:, 1] - self.corner[:, 0], self.corner[:, 2] - self.corner[:, 0]
        p = np.cross(d, f)
        det = (e * p).sum(-1)
        det = np.where(np.abs(det) < 1e-14, np.nan, det)
        s = o - a
        q = np.cross(s, e)
        u, v, t = (s * p).sum(-1) / det, (d * q).sum(-1) / det, (f * q).sum(-1) / det
        with np.errstate(invalid="ignore"):
            return np.where((u >= -1e-9) & (v >= -1e-9) & (u + v <= 1 + 1e-9) & (t > 1e-6), t, np.inf)

    def first_hits(self, origin, direction):
        t = self.distances(origin, direction)
        best = t.argmin(1)
        distance = t[np.arange(len(t)), best]
        hit = np.isfinite(distance)
        return (np.where(hit, self.owner[best], -1), np.where(hit, self.face[best], 0),
                np.where(hit, distance, 0).astype(np.float32))  # fmt: skip

    def unoccluded(self, origin, direction, distance):
        return self.distances(origin, direction).min(1, initial=np.inf) > distance


def looking_down(objects, materials, *, sky=(0.0, 0.0, 0.0), sun=None, poses=None):
    """A scene under a camera 2 m above the ground, looking (almost) straight down; 1 m below it is 1 / 0.8 wide."""
    environment = scene.Sky(None, sky, 0.0, sun, (2.0, 2.0, 2.0) if sun else (0.0, 0.0, 0.0))
    camera = scene.Camera((0, 0, 2), (0, 1e-4, 0), 60.0, poses or {0: IDENTITY_POSE})
    return Scene("made", tuple(objects), materials, environment, camera)


def ground(level=0.5):
    mesh = geometry.rectangle((-9, -9, 0), (18, 0, 0), (0, 18, 0))
    return SceneObject(mesh, "ground"), {"ground": Material(np.full(3, level, np.float32))}


# The scenes


@pytest.mark.parametrize("number", range(6))
def test_a_seed_and_number_determine_the_scene(number):
    first, again, other = drawn_scene(number), *(make_set.draw_scene(seed, number, SIZE) for seed in (11, 12))
    assert equal(first, again)
    assert not equal(first, other)
    assert first.name.split()[1] == other.name.split()[1]


@pytest.mark.parametrize("number", range(6))
def test_objects_move_and_keep_the_order_of_their_triangles(number):
    drawn = drawn_scene(number)
    before, after = drawn.meshes_at(0), drawn.meshes_at(1)
    assert before.keys() == after.keys() == drawn.materials.keys()
    drift = [np.abs(before[name].points - after[name].points).max() for name in before]
    assert max(drift) > 0.005
    assert sum(d == 0 for d in drift) >= 3
    for name in before:
        assert np.array_equal(before[name].faces, after[name].faces)
        assert np.linalg.norm(after[name].normals, axis=1) == pytest.approx(1, abs=1e-6)
    shifts = [np.linalg.norm(drawn.camera.poses[k][0]) for k in (-1, 0, 1)]
    assert shifts[1] == 0
    assert min(shifts[0], shifts[2]) > 1e-3


def test_all_panoramas_are_held_out_from_training():
    assert set(make_set.PANORAMAS) <= set(HELD_OUT)


# Light


def test_sunlight_follows_lamberts_law_and_shadows_are_dark():
    floor, materials = ground(0.5)
    roof = SceneObject(geometry.rectangle((0.0, -9, 0.5), (9, 0, 0), (0, 18, 0)), "roof")
    materials |= {"roof": Material(np.full(3, 1e-6, np.float32))}
    made = looking_down([floor, roof], materials, sun=(-0.6, 0.0, 0.8))
    sky = np.zeros((8, 16, 3), np.float32)
    state = shading.SceneAtMoment(made, 0, sky, BruteForceCaster)
    lights = lighting.lights_of_sun(made.sky.sun, made.sky.sunlight)
    place = np.array([[-1.0, 0, 2], [-0.05, 0, 0.4], [0.6, 0, 0.4]], np.float32)  # the roof shades from x = 0.375 on
    down = np.tile(np.array([[0, 0, -1]], np.float32), (3, 1))
    samples = state.trace(place, down, 1e-3)
    radiance = state.shade(samples, down, np.zeros(3, int), lights, np.zeros(3, np.float32))
    assert radiance[:2] == pytest.approx(0.5 / np.pi * 2.0 * 0.8, rel=1e-5)
    assert radiance[2] == pytest.approx(0, abs=1e-9)


def test_under_a_uniform_sky_radiance_is_reflectance_times_sky():
    floor, materials = ground(0.3)
    made = looking_down([floor], materials)
    state = shading.SceneAtMoment(made, 0, np.full((64, 128, 3), 2.0, np.float32), BruteForceCaster)
    down = np.array([[0, 0, -1]], np.float32)
    samples = state.trace(np.array([[0, 0, 2]], np.float32), down, 1e-3)
    zero = np.zeros(3, np.float32)
    each = [state.shade(samples, down, np.array([k]), state.lights(), zero)[0] for k in range(lighting.RAYS)]
    assert np.mean(each, axis=0) == pytest.approx(0.3 * 2.0, rel=0.08)  # 48 directions


def test_a_square_lamp_has_the_irradiance_of_its_form_factor():
    """A square lamp of side s straight above at height h: E = L * (analytic integral of cos^2 / r^2)."""
    floor, materials = ground(1.0)
    lamp = SceneObject(geometry.rectangle((-0.5, 0.5, 1.5), (1, 0, 0), (0, -1, 0)), "lamp")  # facing down
    materials |= {"lamp": Material(np.zeros(3, np.float32), emission=np.full(3, 4.0, np.float32))}
    made = looking_down([floor, lamp], materials)
    state = shading.SceneAtMoment(made, 0, np.zeros((8, 16, 3), np.float32), BruteForceCaster)
    at, down = np.array([[0.2, 0.1, 1.0]], np.float32), np.array([[0, 0, -1]], np.float32)
    samples = state.trace(at, down, 1e-3)
    zero = np.zeros(3, np.float32)
    each = [state.shade(samples, down, np.array([k]), state.lights(), zero)[0] for k in range(lighting.RAYS)]
    y, x = (np.mgrid[0:200, 0:200] + 0.5) / 200 - 0.5
    square = (x - 0.2) ** 2 + (y - 0.1) ** 2 + 1.5**2
    expected = 4.0 / np.pi * (1.5**2 / square**2).mean()
    assert np.mean(each, axis=0) == pytest.approx(expected, rel=0.03)


def test_frames_are_reproducible_bit_by_bit_and_show_the_lamp():
    floor, materials = ground()
    lamp = SceneObject(geometry.ellipsoid((0.2, 0.2, 0.2), (0, 0, 0.5), 6), "lamp")
    materials |= {"lamp": Material(np.zeros(3, np.float32), emission=np.array([9, 8, 7], np.float32))}
    made = looking_down([floor, lamp], materials, sky=(0.1, 0.1, 0.1))
    first, second = (
        shading.render_frames(made, SIZE, lighting.clear_sky(made.sky), BruteForceCaster)[0] for _ in range(2)
    )
    assert np.array_equal(first.radiance, second.radiance)
    assert first.radiance[8, 12] == pytest.approx([9, 8, 7])
    assert 0.05 < first.radiance[8, 1].min() < 9


def test_a_texture_is_its_mean_far_away_and_exact_near_by():
    board = np.indices((64, 64)).sum(0)[..., None] % 2 * np.ones(3, np.float32)
    surface = TexturedSurface.of(
        geometry.rectangle((0, 0, 0), (1, 0, 0), (0, 1, 0)), Material(board.astype(np.float32))
    )
    middle = (np.arange(64) + 0.5) / 64
    weights = surface.barycentric(np.zeros(64, int), np.stack([middle, np.full(64, 0.5 / 64), np.zeros(64)], 1))
    near = surface.texture_at(np.zeros(64, int), weights, np.full(64, 1e-3))
    far = surface.texture_at(np.zeros(64, int), weights, np.full(64, 0.2))
    assert near[:, 0] == pytest.approx((np.arange(64) + 1) % 2, abs=1e-5)
    assert far == pytest.approx(0.5, abs=1e-5)


# Motion


def test_flow_is_parallax_plus_the_motion_of_an_object():
    floor, materials = ground()
    grey = Material(np.full(3, 0.2, np.float32))
    tile = geometry.rectangle((-0.15, -0.15, 0), (0.3, 0, 0), (0, 0.3, 0))
    fixed = SceneObject(tile, "fixed", geometry.FixedPose((-0.35, 0, 1.0)))
    gliding = SceneObject(tile, "gliding", geometry.LinearMotion((0.3, 0, 1.0), (0.0, 0.1, 0.0)))
    poses = {0: IDENTITY_POSE, 1: ((0.05, 0.0, 0.0), (0.0, 0.0, 0.0))}
    made = looking_down([floor, fixed, gliding], materials | {"fixed": grey, "gliding": grey}, poses=poses)
    size = (48, 72)
    frames = shading.render_frames(made, size, lighting.clear_sky(made.sky), BruteForceCaster)
    hits = {k: frame.hits for k, frame in frames.items()}
    flow, visible, moved = true_flow(made, hits, 1)
    focal = 36 / np.tan(np.radians(30))
    names = sorted(made.materials)
    on = {name: hits[0].material == names.index(name) for name in names}
    assert np.abs(flow[on["ground"]]).max(axis=0) == pytest.approx([focal * 0.05 / 2, 0], abs=1e-3)
    assert np.abs(flow[on["fixed"]]).max(axis=0) == pytest.approx([focal * 0.05, 0], abs=1e-3)
    assert np.abs(flow[on["gliding"]]) == pytest.approx(
        np.tile([focal * 0.05, focal * 0.1], (on["gliding"].sum(), 1)), abs=1e-3
    )
    assert moved[on["gliding"]].all()
    assert not moved[~on["gliding"]].any()
    assert visible[on["gliding"]].all()
    assert visible[on["fixed"]].all()
    assert (
        0.9 < visible[on["ground"]].mean() < 1
    )  # some of it is under the tiles, or beyond the edge, in the other frame
    occluded = on["ground"] & ~visible
    rows, _ = np.nonzero(occluded[:, 8:64])
    assert len(rows) > 0
    assert set(rows) <= set(range(10, 38))


def test_identical_moments_have_no_flow():
    floor, materials = ground()
    made = looking_down([floor], materials, poses={0: IDENTITY_POSE, 1: IDENTITY_POSE})
    hits = {
        k: f.hits for k, f in shading.render_frames(made, SIZE, lighting.clear_sky(made.sky), BruteForceCaster).items()
    }
    flow, visible, moved = true_flow(made, hits, 1)
    assert np.abs(flow).max() < 1e-4
    assert visible.all()
    assert not moved.any()


# Files


def noise_renderer(calls):
    """A renderer of noise over fourteen stops, in front of an empty sky."""

    def render(drawn, size):
        calls.append(drawn.name)
        rng = np.random.default_rng(len(drawn.objects))
        light = np.exp2(rng.uniform(-10, 4, (*size, 3))).astype(np.float32)
        origin, direction, _ = shading.camera_rays(drawn, 0, size, 0.5, 0.5)
        sky, point = np.full(size, -1), (origin + 1e6 * direction).reshape(*size, 3).astype(float)
        return {k: RenderedFrame(light, Hits(sky, np.zeros(size, int), point)) for k in (-1, 0, 1)}

    return render


def test_a_rendered_set_is_read_as_the_first_set_and_continued(tmp_path):
    calls = []
    make_set.write_set(tmp_path, ("gamma16", "camera8"), range(2), 3, (32, 48), noise_renderer(calls))
    assert len(calls) == 2  # once for both kinds
    kinds = {
        kind: [frozen_set.read_frozen_scene(f) for f in frozen_set.scene_folders(tmp_path / kind)]
        for kind in ("gamma16", "camera8")
    }
    for wide, narrow in zip(*kinds.values(), strict=True):
        assert (wide.name, wide.times, wide.reference) == (narrow.name, narrow.times, 1)
        assert np.array_equal(wide.truth, narrow.truth)
        assert np.array_equal(wide.moving, narrow.moving)
        assert {c.dtype.name for c in wide.codes} == {"uint16"}
        assert {c.dtype.name for c in narrow.codes} == {"uint8"}
        steps = np.diff(np.log2(wide.times))
        assert ((steps > 2 * 0.85) & (steps < 3 * 1.17)).all()
        assert 0 < wide.truth.min() < wide.truth.max() <= 1
        dark = wide.truth < 0.9
        error = np.abs(wide.oracle[0][dark] - wide.truth[dark])
        assert np.median(error / np.maximum(wide.truth[dark], 0.05)) < 0.1
        assert not clipped_mask(wide.truth, wide.times[1]).all()
    before = frozen_set.set_identity(tmp_path)
    make_set.write_set(tmp_path, ("gamma16", "camera8"), range(2), 3, (32, 48), noise_renderer(calls))
    assert len(calls) == 2
    (tmp_path / "camera8" / "002" / "moving.png").unlink()
    make_set.write_set(tmp_path, ("gamma16", "camera8"), range(2), 3, (32, 48), noise_renderer(calls))
    assert len(calls) == 3
    assert frozen_set.set_identity(tmp_path) == before


def test_without_mitsuba_the_error_names_what_to_install(tmp_path, monkeypatch):
    for name in make_set.PANORAMAS:
        (tmp_path / f"{name}.exr").touch()
    monkeypatch.setitem(sys.modules, "mitsuba", None)
    monkeypatch.delitem(sys.modules, "benchmarks.renderer.mitsuba_raycast", raising=False)
    arguments = ["--set", str(tmp_path / "set"), "--panoramas", str(tmp_path)]
    with pytest.raises(SystemExit, match=r"pip install mitsuba==3\.9\.1"):
        make_set.main(arguments)
    (tmp_path / "workshop.exr").unlink()
    with pytest.raises(SystemExit, match="missing: workshop"):
        make_set.main(arguments)


def test_mitsuba_agrees_with_brute_force():
    """Needs Mitsuba with an LLVM library, which only benchmarks/renderer/make_set.py uses."""
    pytest.importorskip("mitsuba", reason="only for benchmarks/renderer/make_set.py: pip install mitsuba==3.9.1")
    from benchmarks.renderer.mitsuba_raycast import MitsubaCaster

    rng = np.random.default_rng(2)
    meshes = {
        "a": geometry.ellipsoid((0.5, 0.4, 0.6), (0, 0, 0), 8),
        "b": geometry.box((0.4, 0.5, 0.6), (1.0, 0, 0)),
        "c": geometry.surface_of_revolution([(0.1, 0), (0.4, 0.5), (0.2, 1.0)], 9),
    }
    origin = rng.normal(size=(400, 3)).astype(np.float32) * 3
    direction = rng.normal(size=(400, 3)).astype(np.float32) * 0.4 - origin
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    mitsuba, brute_force = MitsubaCaster(meshes), BruteForceCaster(meshes)
    hits, expected = mitsuba.first_hits(origin, direction), brute_force.first_hits(origin, direction)
    same = (hits[0] == expected[0]) & (hits[1] == expected[1])
    assert same.mean() > 0.99  # a ray through an edge may take either side
    assert (expected[0] >= 0).mean() > 0.3
    assert hits[2][same] == pytest.approx(expected[2][same], abs=1e-4)
    length = rng.uniform(0.5, 6, 400).astype(np.float32)
    assert (
        mitsuba.unoccluded(origin, direction, length) == brute_force.unoccluded(origin, direction, length)
    ).mean() > 0.99
    assert mitsuba.unoccluded(origin[:0], direction[:0], length[:0]).shape == (0,)
