"""Where nothing moves the answer is the physics', whatever the network's heads say; where anything does it is not."""

from dataclasses import replace

import fusion_bursts as made
import numpy as np
import pytest
import torch

from smarthdr_cli.fusion import learned, tripod
from smarthdr_cli.fusion.belief import SURE
from smarthdr_cli.fusion.learned import fuse_learned
from smarthdr_cli.fusion.physical import order, static_merge
from smarthdr_cli.fusion.source import Source, Window
from smarthdr_cli.fusion.tripod import FEW, NEAR, at_rest, believed

SIZE = (160, 192)
EVS = (-2.0, 0.0, 2.0)
ALIKE = {1: 1.0, 2: 1.0}


def noisy(light, evs=EVS, bits=16, well=1500.0, seed=0):
    """A burst as a camera of that full well, in electrons, sees it."""
    draw = np.random.default_rng(seed)
    frames = []
    kind, white = (np.uint8, 255) if bits == 8 else (np.uint16, 65535)
    for ev in evs:
        exposed = light * 2.0**ev
        seen = exposed + np.sqrt(exposed / well + 1e-6) * draw.standard_normal(light.shape)
        frames.append(made.frame(np.round(np.clip(seen, 0, 1) ** (1 / 2.2) * white).astype(kind), ev))
    return made.Burst(tuple(frames), evs.index(0.0))


def bright():
    """Texture from deep shadow to two stops above the reference's clip."""
    light = made.texture(*SIZE, seed=4, low=0.01, high=0.9)
    light[40:90, 100:150] *= 4
    return light


def stands(burst, alike=ALIKE, count=1, homographies=None):
    source = made.source_of(burst, homographies=homographies)
    size = (SIZE[0] // 4 + 1, SIZE[1] // 4 + 2)  # as padded
    return at_rest(source, *order(source, tuple(range(len(burst)))), alike, size, count)


def still(burst, alike=ALIKE, count=1, homographies=None):
    """Whether it stands still, all of it."""
    found = stands(burst, alike, count, homographies)
    return found is not None and bool((found == 1).all())


def changed(burst, number, rectangle, factor):
    """``burst`` with the light of one rectangle of frame ``number`` multiplied."""
    frame = burst.frames[number]
    codes = frame.codes.copy()
    top, left, height, width = rectangle
    part = codes[top : top + height, left : left + width]
    part[:] = (part * factor ** (1 / 2.2)).clip(0, 65535).astype(codes.dtype)
    return replace(burst, frames=tuple(replace(f, codes=codes) if f is frame else f for f in burst.frames))


@pytest.mark.parametrize("evs", [EVS, (-5.2, -2.6, 0.0), (-1.5, 0.0), (-6.0, -4.0, -2.0, 0.0, 2.0)])
@pytest.mark.parametrize("strong", [False, True])
def test_a_tripod_burst_in_noise_and_clipped_light_is_the_classical_merge(evs, strong):
    source = made.source_of(noisy(bright(), evs))
    network = made.learned(made.lively(heads=1.0, flow=0.02))
    members = tuple(range(len(evs)))
    scale = 2.0 ** min(evs)
    light = fuse_learned(network, source, members, (), 96, strong=strong).plane.radiance * scale
    wanted = static_merge(source, 0).radiance * scale
    reference = source.region(source.burst.reference, Window(0, 0, *SIZE))[0]
    own = (reference.max(axis=2) > 0.8) & (reference.min(axis=2) < 0.8)  # held to what its other channels measured
    compared = (wanted.max(axis=2) < 0.8) & ~own
    assert compared.mean() > 0.7
    gap = np.abs(made.mu(light) - made.mu(wanted))[compared]
    assert (gap.max() < 1e-5) != strong  # who asks for distrust gets it


def test_frames_next_to_one_another_are_compared():
    """What moves where the reference is clipped is seen by the two darker frames alone."""
    light = bright()
    light[:, 96:] = 6.0
    evs = (-6.0, -4.0, -2.0, 0.0)
    burst = noisy(light, evs)
    alike = dict.fromkeys(range(1, 4), 1.0)
    assert still(burst, alike)
    for number in (0, 1):
        assert not still(changed(burst, number, (60, 120, 16, 16), 0.5), alike)


@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize("side", [5, 12, 40])
def test_one_small_thing_that_moves_is_seen(number, side):
    assert stands(changed(noisy(bright()), number, (100, 20, side, side), 0.4)) is None


@pytest.mark.parametrize("few", [FEW, 0.02])
def test_what_is_put_down_to_hot_pixels_is_left_to_the_network_with_all_around_it(monkeypatch, few):
    """A far bird in a picture of many megapixels is less than FEW of it."""
    monkeypatch.setattr(tripod, "FEW", few)
    found = stands(changed(noisy(bright()), 0, (60, 20, 12, 12), 0.4))
    if few == FEW:
        assert found is None
        return
    assert found[..., 15:18, 5:8].max() < 0.05
    rows, column = found[0, 0, 18:, 6], found[0, 0, 16, 8:]
    for way in (rows, column):
        assert bool((way.diff() >= 0).all())
        assert float(way[NEAR // 2 + 2 :].min()) == 1


@pytest.mark.parametrize("few", [0.0, 0.02])
def test_where_one_thing_moves_the_network_has_its_way(monkeypatch, few):
    """It distrusts everything here: the light is the reference's around what moved, and the merge elsewhere."""
    monkeypatch.setattr(tripod, "FEW", few)
    monkeypatch.setattr(tripod, "ALIKE", 0.9)  # in a picture this small
    light = made.texture(*SIZE, seed=4, low=0.02, high=0.2)
    source = made.source_of(changed(noisy(light, (0.0, 2.0)), 1, (60, 20, 12, 12), 0.4))
    model = made.lively(heads=0.0, flow=0.0)
    model.verify_head.bias.data[:-1] = -20.0
    monkeypatch.setattr(learned, "agreed", lambda logit, *_: logit)
    got = fuse_learned(made.learned(model), source, (0, 1), (), 96, strong=False).plane.radiance
    own, merged = source.region(0, Window(0, 0, *SIZE))[0], static_merge(source, 0).radiance
    assert np.abs(got / own - 1)[60:72, 20:32].max() < 0.01
    wanted = merged if few else own
    assert np.abs(got / wanted - 1)[:, 112:].max() < 1e-3
    assert np.abs(merged / own - 1)[:, 112:].mean() > 0.01


def test_fine_texture_that_moves_is_seen():
    """Grains of two pixels: their mean over nine is the same wherever they go."""
    grain = np.kron(np.random.default_rng(3).uniform(0.02, 0.2, (80, 96, 1)), np.ones((2, 2, 3))).astype(np.float32)
    burst = noisy(grain)
    assert still(burst)
    moved = noisy(np.roll(grain, 3, axis=1))
    assert not still(replace(burst, frames=(moved.frames[0], *burst.frames[1:])))


def test_where_a_frame_saw_nothing_nothing_differs():
    burst = noisy(bright())
    frames = [replace(f, codes=np.roll(f.codes, 6, axis=1)) if n == 0 else f for n, f in enumerate(burst.frames)]
    shift = [made.shifts(-6.0, 0.0), np.eye(3), np.eye(3)]
    assert still(replace(burst, frames=tuple(frames)), homographies=shift)


def test_a_camera_s_own_files_are_the_network_s():
    assert not still(noisy(bright(), bits=8, well=1e6))


@pytest.mark.parametrize(
    ("alike", "said"),
    [({1: 0.0, 2: 0.0}, False), ({1: 0.0, 2: 1.0}, True), ({1: 0.98, 2: 1.0}, False), ({}, False)],
)
def test_texture_must_bear_it_out(alike, said):
    assert still(noisy(bright()), alike) == said


def test_texture_of_a_frame_beyond_reach_has_no_say():
    burst = noisy(bright(), (-6.0, -2.0, 0.0))
    assert still(burst, {1: 0.1, 2: 1.0})
    assert not still(burst, {1: 1.0, 2: 0.1})


@pytest.mark.parametrize("count", [1, 2])
def test_bands_miss_nothing(monkeypatch, count):
    """As many pixels differ in bands as in one piece, wherever their borders lie."""
    source = made.source_of(changed(noisy(bright()), 0, (60, 20, 30, 30), 0.4))
    at = order(source, (0, 1, 2))
    whole = float(tripod._differing(source, *at, (0, SIZE[0])).sum())
    assert whole > 50  # cells
    monkeypatch.setattr(tripod, "BAND", 17 * SIZE[1])
    bands = tripod._bands(*SIZE)
    assert sorted(row for first, last in bands for row in range(first, last)) == list(range(SIZE[0]))
    assert sum(float(tripod._differing(source, *at, band).sum()) for band in bands) == whole
    monkeypatch.setattr(tripod, "FEW", 1.0)
    banded = stands(source.burst, count=count)
    monkeypatch.setattr(tripod, "BAND", 1 << 19)
    assert torch.equal(banded, stands(source.burst))
    assert 0 < float(banded.mean()) < 1


def test_what_moves_ends_the_looking(monkeypatch):
    looked = []
    monkeypatch.setattr(tripod, "BAND", 16 * SIZE[1])
    real = Source.region
    monkeypatch.setattr(Source, "region", lambda self, *a, **k: looked.append(a) or real(self, *a, **k))
    assert not still(changed(noisy(bright()), 0, (0, 0, *SIZE), 0.4))
    assert len(looked) == 3  # of the frames, in one band


def test_a_hot_pixel_is_left_to_the_network():
    logit, gap = torch.full((1, 1, 1, 4), -3.0), torch.tensor([[[[0.5, 5.9, 7.0, 9.0]]]])
    unchanged = believed(logit, gap, torch.zeros_like(gap))
    assert torch.equal(unchanged[0], logit)
    assert torch.equal(unchanged[1], gap)
    trust, left = believed(logit, gap, torch.ones_like(gap))
    assert trust.flatten().tolist() == pytest.approx([SURE, SURE, (SURE - 3) / 2, -3.0])
    assert left.flatten().tolist() == pytest.approx([0.0, 0.0, 3.5, 9.0])


@pytest.mark.parametrize("moves", [False, True])
def test_the_report_says_so(moves):
    source = made.source_of(changed(noisy(bright()), 0, (100, 20, 40, 40), 0.4) if moves else noisy(bright()))
    outcome = fuse_learned(made.learned(made.lively(flow=0.0)), source, (0, 1, 2), (), 0, strong=False)
    assert outcome.still == (0 if moves else 1)
