"""Frames that end inside the picture: how far they fade, and that no step is left."""

import numpy as np
import pytest

from smarthdr_cli.aligned_burst import Window
from smarthdr_cli.fusion.feathering import border, missed_sides
from tests.support import bursts

SIZE = (120, 160)
WHOLE = Window(0, 0, *SIZE)


def shifted(x, y, light=None, evs=(-2.0, 0.0)):
    """The first frame lies ``x`` to the right of the reference's view and ``y`` below: it misses left and top."""
    burst = bursts.burst_of(bursts.texture(*SIZE) if light is None else light, evs, 1)
    return bursts.aligned(burst, homographies=[bursts.shift_homography(x, y), np.eye(3)])


def place(source, window=WHOLE):
    return border(source, 0, window, source.read(0, window)[1])


def smooth(t):
    return t * t * (3 - 2 * t)


def test_what_a_frame_misses_is_counted_by_side():
    assert missed_sides(shifted(12, 0), 0) == pytest.approx((12, 0, 0, 0), abs=1e-3)
    assert missed_sides(shifted(-7, -5), 0) == pytest.approx((0, 0, 7, 5), abs=1e-3)
    assert missed_sides(shifted(0, 3), 1) == (0, 0, 0, 0)


def test_it_fades_over_as_much_as_it_misses_on_that_side_alone():
    fade = place(shifted(12, 0))
    assert (fade[:, :12] <= 0).all()
    assert np.allclose(fade[:, 12:24], smooth((np.arange(12) + 0.5) / 12), atol=1e-3)
    assert (fade[:, 24:] == 1).all()
    wide = place(shifted(100, 0))
    assert np.allclose(wide[0, 100:], smooth((np.arange(60) + 0.5) / 64), atol=1e-3)


def test_it_fades_towards_a_corner_without_a_kink():
    across, down, both = (place(shifted(*by)) for by in ((12, 0), (0, 9), (12, 9)))
    inside = both > 1e-5
    assert np.allclose(both[inside], (across * down)[inside], atol=1e-6)


@pytest.mark.parametrize(("x", "y"), [(0, 0), (0.3, -0.2)])
def test_a_frame_that_misses_nothing_does_not_fade(x, y):
    assert (place(shifted(x, y)) == 1).all()


@pytest.mark.parametrize("seed", range(4))
def test_a_window_fades_as_the_picture_does(seed):
    rng = np.random.default_rng(seed)
    turned = np.eye(3) + rng.uniform(-1, 1, (3, 3)) * np.array([[0.03, 0.05, 14], [0.05, 0.03, 14], [1e-4, 1e-4, 0]])
    source = bursts.aligned(bursts.burst_of(bursts.texture(*SIZE), (-2.0, 0.0), 1), homographies=[turned, np.eye(3)])
    whole = place(source)
    for top in range(0, SIZE[0] - 24, 16):
        for left in range(0, SIZE[1] - 24, 16):
            part = place(source, Window(top, left, 24, 24))
            assert np.allclose(part, whole[top : top + 24, left : left + 24], atol=1e-4)


@pytest.mark.parametrize("deghost", [True, False])
def test_a_clipped_sky_goes_on_beyond_the_edge_of_the_frame_that_saw_it(deghost):
    """The short frame alone knows the sky, and misses 20 pixels of it: its edge stands for them, with sigma 1."""
    source = shifted(20, 0, np.full((*SIZE, 3), 3.0, np.float32))
    model = bursts.random_network(heads=0.0, flow=0.0)
    image = bursts.fused(model, source).image if deghost else bursts.static_merged(source)
    near = image.radiance[:, 19]
    assert np.abs(near / 3 - 1).max() < 0.15
    assert np.abs(image.radiance[:, 24:] / 3 - 1).max() < 0.05
    assert np.abs(np.diff(image.radiance[60, :, 0])).max() < 0.5  # from 1 to 3 without a hard edge
    assert (image.sigma[:, :19] == 1).all()
    assert (image.sigma[:, 24:] < 1).all()


@pytest.mark.parametrize("deghost", [True, False])
def test_no_edge_is_drawn_where_a_frame_of_another_hue_ends(deghost):
    light = np.full((*SIZE, 3), 0.2, np.float32)
    other = light * np.array([1.03, 1, 0.97], np.float32)
    reference, brighter = (bursts.burst_of(x, (0.0, 1.0), 0).frames[n] for n, x in enumerate((light, other)))
    source = bursts.aligned(
        bursts.Burst((reference, brighter), 0), homographies=[np.eye(3), bursts.shift_homography(30, 0)]
    )
    model = bursts.random_network(heads=0.0, flow=0.0)
    image = bursts.fused(model, source).image if deghost else bursts.static_merged(source)
    assert np.abs(np.diff(image.radiance[60, :, 0])).max() < 0.0006
