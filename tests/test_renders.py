"""The rendered set: random scenes that are the same again, light and motion against what is known, the files."""

import importlib
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from smarthdr_cli.data.synth.sources import HELD_OUT
from smarthdr_cli.evaluate import frozen, protocol

ROOT = Path(__file__).parents[1]
PARTS = ("develop", "lamps", "light", "motion", "moved", "places", "scenery", "shown", "skins", "solids")
SIZE = (16, 24)
STILL = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))


@pytest.fixture(scope="module")
def r() -> SimpleNamespace:
    """The modules of benchmarks/rendered, and renders, quality and quality_second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        names = {name: f"rendered.{name}" for name in PARTS} | {n: n for n in ("renders", "quality", "quality_second")}
        return SimpleNamespace(**{name: importlib.import_module(path) for name, path in names.items()})


@pytest.fixture(scope="module")
def scene(r):
    """Scenes of the set 11, drawn once."""
    return cache(lambda number: r.places.draw_scenery(11, number, SIZE))


class Plain:
    """A caster that tries every triangle (Moeller and Trumbore 1997)."""

    def __init__(self, surfaces):
        self.corner = np.concatenate([s.points[s.faces] for s in surfaces.values()])
        self.owner = np.concatenate([np.full(len(s.faces), k) for k, s in enumerate(surfaces.values())])
        self.face = np.concatenate([np.arange(len(s.faces)) for s in surfaces.values()])

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

    def first(self, origin, direction):
        t = self.distances(origin, direction)
        best = t.argmin(1)
        way = t[np.arange(len(t)), best]
        hit = np.isfinite(way)
        return (np.where(hit, self.owner[best], -1), np.where(hit, self.face[best], 0),
                np.where(hit, way, 0).astype(np.float32))  # fmt: skip

    def clear(self, origin, direction, distance):
        return self.distances(origin, direction).min(1, initial=np.inf) > distance


def looking_down(r, things, materials, *, sky=(0.0, 0.0, 0.0), sun=None, poses=None):
    """A scene under a camera 2 m above the ground, looking (almost) straight down; 1 m below it is 1 / 0.8 wide."""
    beyond = r.scenery.Sky(None, sky, 0.0, sun, (2.0, 2.0, 2.0) if sun else (0.0, 0.0, 0.0))
    camera = r.scenery.Camera((0, 0, 2), (0, 1e-4, 0), 60.0, poses or {0: STILL})
    return r.scenery.Scenery("made", tuple(things), materials, beyond, camera)


def ground(r, level=0.5):
    solid = r.solids.panel((-9, -9, 0), (18, 0, 0), (0, 18, 0))
    return r.scenery.Thing(solid, "ground"), {"ground": r.scenery.Material(np.full(3, level, np.float32))}


# The scenes


@pytest.mark.parametrize("number", range(6))
def test_a_scene_is_the_same_again_and_unlike_another(r, number, scene):
    one, again, other = scene(number), *(r.places.draw_scenery(seed, number, SIZE) for seed in (11, 12))
    assert r.scenery.same(one, again)
    assert not r.scenery.same(one, other)
    assert one.name.split()[1] == other.name.split()[1]


@pytest.mark.parametrize("number", range(6))
def test_things_move_by_themselves_and_keep_their_triangles(number, scene):
    scenery = scene(number)
    before, after = scenery.surfaces(0), scenery.surfaces(1)
    assert before.keys() == after.keys() == scenery.materials.keys()
    drift = [np.abs(before[name].points - after[name].points).max() for name in before]
    assert max(drift) > 0.005
    assert sum(d == 0 for d in drift) >= 3
    for name in before:
        assert np.array_equal(before[name].faces, after[name].faces)
        assert np.linalg.norm(after[name].normals, axis=1) == pytest.approx(1, abs=1e-6)
    shifts = [np.linalg.norm(scenery.camera.poses[k][0]) for k in (-1, 0, 1)]
    assert shifts[1] == 0
    assert min(shifts[0], shifts[2]) > 1e-3


def test_only_panoramas_held_out_from_training_light_them(r):
    assert set(r.places.PANORAMAS) <= set(HELD_OUT)


# Light


def test_the_sun_on_a_matte_floor_is_lamberts_and_shadows_are_dark(r):
    floor, materials = ground(r, 0.5)
    roof = r.scenery.Thing(r.solids.panel((0.0, -9, 0.5), (9, 0, 0), (0, 18, 0)), "roof")
    materials |= {"roof": r.scenery.Material(np.full(3, 1e-6, np.float32))}
    scenery = looking_down(r, [floor, roof], materials, sun=(-0.6, 0.0, 0.8))
    sky = np.zeros((8, 16, 3), np.float32)
    studio = r.light.Studio(scenery, 0, sky, Plain)
    lights = r.lamps.of_sun(scenery.sky.sun, scenery.sky.sunlight)
    place = np.array([[-1.0, 0, 2], [-0.05, 0, 0.4], [0.6, 0, 0.4]], np.float32)  # the roof shades from x = 0.375 on
    down = np.tile(np.array([[0, 0, -1]], np.float32), (3, 1))
    seen = studio.see(place, down, 1e-3)
    found = studio.lit(seen, down, np.zeros(3, int), lights, np.zeros(3, np.float32))
    assert found[:2] == pytest.approx(0.5 / np.pi * 2.0 * 0.8, rel=1e-5)
    assert found[2] == pytest.approx(0, abs=1e-9)


def test_an_even_sky_gives_what_it_has_times_the_reflectance(r):
    floor, materials = ground(r, 0.3)
    scenery = looking_down(r, [floor], materials)
    studio = r.light.Studio(scenery, 0, np.full((64, 128, 3), 2.0, np.float32), Plain)
    down = np.array([[0, 0, -1]], np.float32)
    seen = studio.see(np.array([[0, 0, 2]], np.float32), down, 1e-3)
    zero = np.zeros(3, np.float32)
    each = [studio.lit(seen, down, np.array([k]), studio.lights(), zero)[0] for k in range(r.lamps.RAYS)]
    assert np.mean(each, axis=0) == pytest.approx(0.3 * 2.0, rel=0.08)  # 48 directions


def test_a_lamp_lights_as_its_form_factor_says(r):
    """A square lamp of side s straight above at height h: E = L * (analytic integral of cos^2 / r^2)."""
    floor, materials = ground(r, 1.0)
    lamp = r.scenery.Thing(r.solids.panel((-0.5, 0.5, 1.5), (1, 0, 0), (0, -1, 0)), "lamp")  # facing down
    materials |= {"lamp": r.scenery.Material(np.zeros(3, np.float32), shine=np.full(3, 4.0, np.float32))}
    scenery = looking_down(r, [floor, lamp], materials)
    studio = r.light.Studio(scenery, 0, np.zeros((8, 16, 3), np.float32), Plain)
    at, down = np.array([[0.2, 0.1, 1.0]], np.float32), np.array([[0, 0, -1]], np.float32)
    seen = studio.see(at, down, 1e-3)
    zero = np.zeros(3, np.float32)
    each = [studio.lit(seen, down, np.array([k]), studio.lights(), zero)[0] for k in range(r.lamps.RAYS)]
    y, x = (np.mgrid[0:200, 0:200] + 0.5) / 200 - 0.5
    square = (x - 0.2) ** 2 + (y - 0.1) ** 2 + 1.5**2
    expected = 4.0 / np.pi * (1.5**2 / square**2).mean()
    assert np.mean(each, axis=0) == pytest.approx(expected, rel=0.03)


def test_a_frame_is_the_same_to_the_last_bit_and_shows_the_lamp_itself(r):
    floor, materials = ground(r)
    lamp = r.scenery.Thing(r.solids.ball((0.2, 0.2, 0.2), (0, 0, 0.5), 6), "lamp")
    materials |= {"lamp": r.scenery.Material(np.zeros(3, np.float32), shine=np.array([9, 8, 7], np.float32))}
    scenery = looking_down(r, [floor, lamp], materials, sky=(0.1, 0.1, 0.1))
    one, two = (r.light.show(scenery, SIZE, r.light.clear_sky(scenery.sky), Plain)[0] for _ in range(2))
    assert np.array_equal(one.radiance, two.radiance)
    assert one.radiance[8, 12] == pytest.approx([9, 8, 7])
    assert 0.05 < one.radiance[8, 1].min() < 9


def test_a_distant_texture_is_its_mean_and_a_near_one_itself(r):
    board = np.indices((64, 64)).sum(0)[..., None] % 2 * np.ones(3, np.float32)
    skin = r.skins.Skin.of(
        r.solids.panel((0, 0, 0), (1, 0, 0), (0, 1, 0)), r.scenery.Material(board.astype(np.float32))
    )
    middle = (np.arange(64) + 0.5) / 64
    share = skin.share(np.zeros(64, int), np.stack([middle, np.full(64, 0.5 / 64), np.zeros(64)], 1))
    near = skin.colour(np.zeros(64, int), share, np.full(64, 1e-3))
    far = skin.colour(np.zeros(64, int), share, np.full(64, 0.2))
    assert near[:, 0] == pytest.approx((np.arange(64) + 1) % 2, abs=1e-5)
    assert far == pytest.approx(0.5, abs=1e-5)


# Motion


def test_parallax_is_the_cameras_and_a_glide_is_the_things_own(r):
    floor, materials = ground(r)
    grey = r.scenery.Material(np.full(3, 0.2, np.float32))
    tile = r.solids.panel((-0.15, -0.15, 0), (0.3, 0, 0), (0, 0.3, 0))
    stays = r.scenery.Thing(tile, "stays", r.motion.Place((-0.35, 0, 1.0)))
    goes = r.scenery.Thing(tile, "goes", r.motion.Glide((0.3, 0, 1.0), (0.0, 0.1, 0.0)))
    poses = {0: STILL, 1: ((0.05, 0.0, 0.0), (0.0, 0.0, 0.0))}
    scenery = looking_down(r, [floor, stays, goes], materials | {"stays": grey, "goes": grey}, poses=poses)
    size = (48, 72)
    shown = r.light.show(scenery, size, r.light.clear_sky(scenery.sky), Plain)
    hits = {k: frame.hits for k, frame in shown.items()}
    flow, seen, carried = r.moved.true_motion(scenery, hits, 1)
    focal = 36 / np.tan(np.radians(30))
    names = sorted(scenery.materials)
    on = {name: hits[0].material == names.index(name) for name in names}
    assert np.abs(flow[on["ground"]]).max(axis=0) == pytest.approx([focal * 0.05 / 2, 0], abs=1e-3)
    assert np.abs(flow[on["stays"]]).max(axis=0) == pytest.approx([focal * 0.05, 0], abs=1e-3)
    assert np.abs(flow[on["goes"]]) == pytest.approx(
        np.tile([focal * 0.05, focal * 0.1], (on["goes"].sum(), 1)), abs=1e-3
    )
    assert carried[on["goes"]].all()
    assert not carried[~on["goes"]].any()
    assert seen[on["goes"]].all()
    assert seen[on["stays"]].all()
    assert 0.9 < seen[on["ground"]].mean() < 1  # some of it is under the tiles, or beyond the edge, in the other frame
    unseen = on["ground"] & ~seen
    rows, _ = np.nonzero(unseen[:, 8:64])
    assert set(rows) <= set(range(10, 38))


def test_nothing_moves_between_a_moment_and_itself(r):
    floor, materials = ground(r)
    scenery = looking_down(r, [floor], materials, poses={0: STILL, 1: STILL})
    hits = {k: f.hits for k, f in r.light.show(scenery, SIZE, r.light.clear_sky(scenery.sky), Plain).items()}
    flow, seen, carried = r.moved.true_motion(scenery, hits, 1)
    assert np.abs(flow).max() < 1e-4
    assert seen.all()
    assert not carried.any()


# Files


def stand_in(r, calls):
    """A renderer of noise over fourteen stops, before an open sky."""

    def renderer(scenery, size):
        calls.append(scenery.name)
        rng = np.random.default_rng(len(scenery.things))
        light = np.exp2(rng.uniform(-10, 4, (*size, 3))).astype(np.float32)
        origin, direction, _ = r.light.rays(scenery, 0, size, 0.5, 0.5)
        nothing, point = np.full(size, -1), (origin + 1e6 * direction).reshape(*size, 3).astype(float)
        return {k: r.shown.Shown(light, r.shown.Hits(nothing, np.zeros(size, int), point)) for k in (-1, 0, 1)}

    return renderer


def test_a_set_is_read_as_the_first_one_is(r, tmp_path):
    calls = []
    r.develop.write_rendered(tmp_path, ("gamma16", "camera8"), range(2), 3, (32, 48), stand_in(r, calls))
    assert len(calls) == 2  # once for both kinds
    kinds = {
        kind: [frozen.read_scene(f) for f in frozen.scene_folders(tmp_path / kind)] for kind in ("gamma16", "camera8")
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
        assert not protocol.clipped(wide.truth, wide.times[1]).all()
    before = frozen.identity(tmp_path)
    r.develop.write_rendered(tmp_path, ("gamma16", "camera8"), range(2), 3, (32, 48), stand_in(r, calls))
    assert len(calls) == 2
    (tmp_path / "camera8" / "002" / "moving.png").unlink()
    r.develop.write_rendered(tmp_path, ("gamma16", "camera8"), range(2), 3, (32, 48), stand_in(r, calls))
    assert len(calls) == 3
    assert frozen.identity(tmp_path) == before


def test_without_mitsuba_it_says_what_to_install(r, tmp_path, monkeypatch):
    for name in r.places.PANORAMAS:
        (tmp_path / f"{name}.exr").touch()
    monkeypatch.setitem(sys.modules, "mitsuba", None)
    monkeypatch.delitem(sys.modules, "rendered.rays", raising=False)
    monkeypatch.setattr(sys, "argv", ["renders.py", "--set", str(tmp_path / "set"), "--panoramas", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"pip install mitsuba==3\.9\.1"):
        r.renders.main()
    (tmp_path / "workshop.exr").unlink()
    with pytest.raises(SystemExit, match="not there: workshop"):
        r.renders.main()


def test_mitsuba_casts_as_every_triangle_tried(r):
    """Only where Mitsuba is installed, which serves benchmarks/renders.py alone. Its LLVM has to be there as well:
    without it no set can be rendered, and this fails with Mitsuba's own words.
    """
    pytest.importorskip("mitsuba", reason="for benchmarks/renders.py alone: pip install mitsuba==3.9.1")
    rays = importlib.import_module("rendered.rays")
    rng = np.random.default_rng(2)
    surfaces = {
        "a": r.solids.ball((0.5, 0.4, 0.6), (0, 0, 0), 8),
        "b": r.solids.box((0.4, 0.5, 0.6), (1.0, 0, 0)),
        "c": r.solids.turned([(0.1, 0), (0.4, 0.5), (0.2, 1.0)], 9),
    }
    origin = rng.normal(size=(400, 3)).astype(np.float32) * 3
    direction = rng.normal(size=(400, 3)).astype(np.float32) * 0.4 - origin
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    ours, plain = rays.MitsubaCaster(surfaces), Plain(surfaces)
    found, wanted = ours.first(origin, direction), plain.first(origin, direction)
    same = (found[0] == wanted[0]) & (found[1] == wanted[1])
    assert same.mean() > 0.99  # a ray through an edge may take either side
    assert (wanted[0] >= 0).mean() > 0.3
    assert found[2][same] == pytest.approx(wanted[2][same], abs=1e-4)
    reach = rng.uniform(0.5, 6, 400).astype(np.float32)
    assert (ours.clear(origin, direction, reach) == plain.clear(origin, direction, reach)).mean() > 0.99
    assert ours.clear(origin[:0], direction[:0], reach[:0]).shape == (0,)


# In RESULTS.md


def test_the_second_set_is_held_against_the_first(r):
    def figures(gain):
        scenes = {n: {"ours": {"psnr_mu": 30 + g}, "reference": {"psnr_mu": 30.0}} for n, g in gain.items()}
        mean = {"psnr_mu": 30 + float(np.mean(list(gain.values()))), "psnr_mu_moving": 31.0}
        return {"scenes": scenes, "mean": {"ours": mean, "reference": {"psnr_mu": 30.0, "psnr_mu_moving": 29.0}}}

    first, second = (
        {"gamma16": figures({"1": 8.0})},
        {"gamma16": figures({"1": 7.0, "2": -1.0}), "camera8": figures({"1": 1.0})},
    )
    text = r.quality_second.against(second, first, {"gamma16": "wide", "camera8": "narrow"})
    assert "| wide | +3.00 | +8.00 | 0.38 | +2.00 | 1 of 2, worst -1.00 |" in text
    assert "narrow" not in text
    assert r.quality_second.against({"gamma16": {"mean": {}}}, first, {"gamma16": "wide"}) == ""


def test_a_missing_rendered_set_is_not_made_from_panoramas(r, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["quality.py", "--set", str(tmp_path), "--section", "renders"])
    with pytest.raises(SystemExit):
        r.quality.parse()
    assert "benchmarks/renders.py makes this set" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_description_says_what_differs(r, scene):
    one = scene(2)
    assert not r.scenery.same(one, replace(one, sky=replace(one.sky, turn=one.sky.turn + 1)))
    thing = replace(one.things[0], solid=one.things[0].solid.tiled(2, 2))
    assert not r.scenery.same(one, replace(one, things=(thing, *one.things[1:])))
