"""Frames that end inside the picture: how much they miss, and that their weight falls there without a step."""

import numpy as np
import pytest
import torch

from smarthdr_cli.aligned_burst import Window
from smarthdr_cli.fusion.border import Edge, edge, lacking, missing, shares
from smarthdr_cli.fusion.network_fusion import fuse_members
from smarthdr_cli.fusion.static_merge import static_merge
from smarthdr_cli.models.merge import merge
from tests.support import bursts

SIZE = (120, 160)
WHOLE = Window(0, 0, *SIZE)


def fused(source, model):
    return fuse_members(bursts.saf_fuser(model), source, (0, 1), (), 0, strong=False).image


def shifted(x, y, light=None, evs=(-2.0, 0.0)):
    """The first frame lies ``x`` to the right of where the reference looks, and ``y`` below: it misses left and top."""
    burst = bursts.burst_of(bursts.texture(*SIZE) if light is None else light, evs, 1)
    return bursts.aligned(burst, homographies=[bursts.shift_homography(x, y), np.eye(3)])


def test_what_a_frame_misses_is_counted_by_side():
    assert missing(shifted(12, 0), 0) == pytest.approx((12, 0, 0, 0), abs=1e-3)
    assert missing(shifted(-7, -5), 0) == pytest.approx((0, 0, 7, 5), abs=1e-3)
    assert missing(shifted(0, 3), 1) == (0, 0, 0, 0)


def smooth(t):
    return t * t * (3 - 2 * t)


def test_it_fades_over_as_much_as_it_misses_and_on_that_side_only():
    fade = edge(shifted(12, 0), 0, WHOLE).fade
    assert (fade[:, :12] == 0).all()
    assert np.allclose(fade[:, 12:24], smooth((np.arange(12) + 0.5) / 12), atol=1e-3)
    assert (fade[:, 24:] == 1).all()
    wide = edge(shifted(100, 0), 0, WHOLE).fade
    assert np.allclose(wide[0, 100:], smooth((np.arange(60) + 0.5) / 64), atol=1e-3)


def test_it_fades_towards_a_corner_without_a_kink():
    across, down, both = (edge(shifted(*by), 0, WHOLE).fade for by in ((12, 0), (0, 9), (12, 9)))
    assert np.allclose(both, across * down, atol=1e-6)


@pytest.mark.parametrize(("x", "y"), [(0, 0), (0.3, -0.2)])
def test_a_frame_that_misses_nothing_does_not_fade(x, y):
    assert edge(shifted(x, y), 0, WHOLE) is None
    assert edge(shifted(30, 0), 0, Window(0, 80, 40, 40)) is None


def test_a_window_fades_as_the_whole_does():
    source = shifted(9.5, -14.25)
    part = Window(72, 4, 48, 36)
    whole, cut = (edge(source, 0, window).fade for window in (WHOLE, part))
    assert np.array_equal(cut, whole[72:120, 4:40])
    thin = edge(source, 0, WHOLE, 4).fade
    assert np.array_equal(thin, whole[::4, ::4])


def ends(*fades):
    return [None if f is None else Edge(np.full((1, 4), f, np.float32), np.ones((1, 4), np.bool_)) for f in fades]


def test_without_an_edge_weights_are_as_they_were():
    assert shares([None, None], torch.rand(1, 3, 3, 1, 4), torch.tensor([[0.0, -2.0, 2.0]])) is None


@pytest.mark.parametrize("fades", [(0.3, None), (0.3, 0.8), (0.0, 0.5), (1.0, 0.25), (0.6, 0.6)])
def test_a_frame_has_its_share_in_so_much_of_all_merges(fades):
    """Twin: the mean of merges, each of the frames whose fade is at least a level, over all levels."""
    frames = torch.rand(1, 3, 3, 1, 4, generator=torch.Generator().manual_seed(5)) * 0.7
    evs = torch.tensor([[0.0, -2.0, 2.5]])
    got = shares(ends(*fades), frames, evs)
    trust = torch.ones(1, 2, 1, 1, 4)
    fade = [1.0, *(1.0 if f is None else f for f in fades)]
    levels = (np.arange(400) + 0.5) / 400
    here = [torch.tensor([float(f >= level) for f in fade]).view(1, 3, 1, 1, 1) for level in levels]
    wanted = torch.stack([merge(frames, evs, trust, one)[0] for one in here]).mean(dim=0)
    assert torch.allclose(merge(frames, evs, trust, got)[0], wanted, rtol=5e-3)


def test_a_frame_of_a_hundred_times_the_weight_goes_as_softly_as_any():
    frames = torch.tensor([0.01, 0.48]).view(1, 2, 1, 1, 1).expand(1, 2, 3, 1, 4)
    evs = torch.tensor([[0.0, 5.0]])
    half = merge(frames, evs, torch.ones(1, 1, 1, 1, 4), shares(ends(0.5), frames, evs))[0]
    whole = merge(frames, evs, torch.ones(1, 1, 1, 1, 4))[0]
    assert torch.allclose(half, (whole + 0.01) / 2, rtol=1e-3)


@pytest.mark.parametrize("fades", [(0.3, None), (0.3, 0.8), (0.0, 0.5), (0.6, 0.6)])
@pytest.mark.parametrize("clipped", [False, True])
def test_a_frame_lacks_what_the_merges_without_it_make_up(fades, clipped):
    frames = torch.tensor([1.0 if clipped else 0.3, 0.2, 0.5]).view(1, 3, 1, 1, 1).expand(1, 3, 3, 1, 4)
    got = lacking(ends(*fades), frames, torch.tensor([[0.0, -2.0, 2.5]]))
    fade = [1.0, *(1.0 if f is None else f for f in fades)]
    whole = max(fade[1:] if clipped else fade)  # a clipped reference makes up nothing
    wanted = [0.0 if clipped else 1 - fade[0], *(1 - f / whole for f in fade[1:])]
    assert torch.allclose(got[0, :, 0, 0, 0], torch.tensor(wanted), atol=1e-5)


@pytest.mark.parametrize(("level", "share"), [(0.5, 1.0), (0.8, 1.0), (0.885, 0.5), (0.97, 0.0), (1.0, 0.0)])
def test_nothing_is_lacking_where_every_frame_clips(level, share):
    frames = torch.tensor([1.0, level, 1.0]).view(1, 3, 1, 1, 1).expand(1, 3, 3, 1, 4)
    got = lacking(ends(0.4, 0.9), frames, torch.tensor([[0.0, -2.0, 2.5]]))
    whole = lacking(ends(0.4, 0.9), frames * torch.tensor([1.0, 0.5 / level, 1.0]).view(1, 3, 1, 1, 1),
                    torch.tensor([[0.0, -2.0, 2.5]]))  # fmt: skip
    assert torch.allclose(got[0, 0], share * whole[0, 0], atol=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_a_window_far_inside_has_no_edge_and_any_other_the_same(seed):
    """Twin: the fade of the whole picture, of which a window must be a part; windows reach beyond the picture too."""
    rng = np.random.default_rng(seed)
    turned = np.eye(3) + rng.uniform(-1, 1, (3, 3)) * np.array([[0.03, 0.05, 14], [0.05, 0.03, 14], [1e-4, 1e-4, 0]])
    source = bursts.aligned(bursts.burst_of(bursts.texture(*SIZE), (0.0, 2.0), 0), homographies=[np.eye(3), turned])
    whole = edge(source, 1, Window(0, 0, *SIZE))
    assert whole is not None
    none = 0
    for top in range(0, SIZE[0], 16):
        for left in range(0, SIZE[1], 16):
            part = edge(source, 1, Window(top, left, 24, 24))
            fade = whole.fade[top : top + 24, left : left + 24]
            none += part is None
            if part is None:
                assert (fade == 1).all()
            else:
                assert np.allclose(part.fade[: fade.shape[0], : fade.shape[1]], fade, atol=1e-3)
    assert none > 10


def test_where_nobody_else_has_weight_an_edge_takes_none():
    frames = torch.cat([torch.ones(1, 1, 3, 1, 4), torch.full((1, 1, 3, 1, 4), 0.4)], dim=1)
    evs = torch.tensor([[0.0, -2.0]])
    light = merge(frames, evs, torch.ones(1, 1, 1, 1, 4), shares(ends(0.1), frames, evs))[0]
    assert torch.allclose(light, torch.full_like(light, 1.6), rtol=1e-3)


@pytest.mark.parametrize("learned", [True, False])
def test_a_clipped_sky_goes_on_beyond_the_edge_of_the_frame_that_saw_it(learned):
    """The short frame alone knows the sky, and lacks 20 pixels of it: its edge stands for them, and sigma says so."""
    source = shifted(20, 0, np.full((*SIZE, 3), 3.0, np.float32))
    model = bursts.random_network(heads=0.0, flow=0.0)
    model.verify_head.bias.data[:-1] = 20.0
    plane = fused(source, model) if learned else static_merge(source, 0)
    known = plane.radiance[:, 13:]  # 5 % of the width are repeated
    assert np.abs(known / 3 - 1).max() < 0.01
    assert np.abs(plane.radiance[:, :11] - 1).max() < 0.05
    assert (plane.sigma[:, :19] == 1).all()
    assert (plane.sigma[:, 21:] < 1).all()


@pytest.mark.parametrize("learned", [True, False])
def test_no_edge_is_drawn_where_a_frame_of_another_hue_ends(learned):
    light = np.full((*SIZE, 3), 0.2, np.float32)
    other = light * np.array([1.03, 1, 0.97], np.float32)
    reference, brighter = (bursts.burst_of(x, (0.0, 1.0), 0).frames[n] for n, x in enumerate((light, other)))
    source = bursts.aligned(
        bursts.Burst((reference, brighter), 0), homographies=[np.eye(3), bursts.shift_homography(30, 0)]
    )
    plane = fused(source, bursts.random_network(heads=0.0, flow=0.0)) if learned else static_merge(source, 0)
    row = plane.radiance[60, :, 0]
    step = abs(row[100] - row[5])
    assert step > 0.002
    assert np.abs(np.diff(row)).max() < step / 10
