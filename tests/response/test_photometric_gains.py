"""Gain compensation: known drifts are measured and compensated, and noise gives none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.radiometry import linearize
from smarthdr_cli.response import Samples, compensate_gains, named_response
from smarthdr_cli.response.photometric_gains import (
    MAX_GAIN_EV,
    MIN_GAIN_EV,
    level_dependence,
    measure_gains,
    with_gains,
)
from tests.support.responses import (
    CURVES,
    expose,
    make_burst,
    make_frame,
    make_scene,
    samples_of,
    srgb,
    with_moving_object,
)

pytestmark = pytest.mark.unit

SRGB = named_response("srgb")


def drifted(drift, evs=(-2, 0, 2), moving_share=0.0):
    """A burst with channels brighter than stated by ``drift`` (N, 3) EV."""
    radiance = make_scene(240, 360)
    frames = []
    for n, (ev, channels) in enumerate(zip(evs, drift, strict=True)):
        light = with_moving_object(radiance, moving_share, n) * np.exp2(np.asarray(channels, float))
        frames.append(make_frame(expose(light, ev, srgb, seed=n), ev, n))
    return Burst(tuple(frames), evs.index(0))


def gains_of(burst):
    return measure_gains(burst, samples_of(burst), SRGB)


@pytest.mark.parametrize("moving_share", [0.0, 0.25])
def test_the_drift_of_each_channel_is_measured_despite_motion(moving_share):
    drift = [(0.3, 0.0, -0.25), (0, 0, 0), (-0.4, -0.4, -0.4)]
    np.testing.assert_allclose(gains_of(drifted(drift, moving_share=moving_share)), -np.array(drift), atol=0.05)


def test_compensated_frames_agree_in_linear_light():
    burst = drifted([(0.3, 0.0, -0.3), (0, 0, 0), (0.35, 0.2, 0.5)])
    curves, notes = compensate_gains(burst, samples_of(burst), SRGB)

    def difference(n, curve):
        """Largest channel's median difference from the reference in EV, at well exposed pixels."""
        light, reference = linearize(burst.frames[n].codes, 255.0, curve), linearize(burst.frames[1].codes, 255.0, SRGB)
        both = ((light > 0.05) & (light < 0.5) & (reference > 0.05) & (reference < 0.5)).all(axis=2)
        return np.abs(np.median(np.log2(light[both] / reference[both]) - burst.evs[n], axis=0)).max()

    for n in (0, 2):
        assert difference(n, SRGB) > 0.25
        assert difference(n, curves[n]) < 0.05
    assert curves[1] is SRGB
    assert len(notes) == 1
    assert "2 frames drifted by up to" in notes[0]
    assert "img2.jpg" in notes[0]


def test_frames_without_drift_have_no_gains():
    burst = make_burst(srgb)
    assert compensate_gains(burst, samples_of(burst), SRGB) == ((), ())


def test_small_drifts_are_left_and_medium_ones_compensated_without_a_note():
    small, medium = MIN_GAIN_EV - 0.04, MIN_GAIN_EV + 0.05
    burst = drifted([(small,) * 3, (0, 0, 0), (medium, 0, 0)])
    curves, notes = compensate_gains(burst, samples_of(burst), SRGB)
    assert curves[0] is SRGB
    assert curves[2].record["gains_ev"] == pytest.approx([-medium, 0, 0], abs=0.04)
    assert notes == ()


def test_differences_too_large_for_a_gain_are_left():
    gains = gains_of(drifted([(MAX_GAIN_EV + 0.4,) * 3, (0, 0, 0), (0.3, 0.3, 0.3)]))
    assert not gains[0].any()
    assert gains[2] == pytest.approx(-0.3, abs=0.05)


def test_frames_of_different_scenes_have_no_gains():
    frames = [make_frame(expose(make_scene(200, 300, n), ev, srgb), ev, n) for n, ev in enumerate((-1, 0, 1))]
    assert not gains_of(Burst(tuple(frames), 1)).any()


def test_steps_without_a_clear_mode_give_no_gains():
    """The second frame is 0.4 EV darker to 1.4 EV brighter than the first, evenly; stated is 0.5 EV brighter."""
    rng = np.random.default_rng(0)
    first = np.exp2(rng.uniform(-9, -3, (4000, 1)))
    second = first * np.exp2(rng.uniform(-0.4, 1.4, (4000, 1)))
    code = np.tile(np.stack([first, second]), 3).astype(np.float32)
    samples = Samples(code, np.zeros_like(code), np.ones(code.shape, bool), (1, 4000))
    burst = make_burst(srgb, evs=(-0.5, 0), radiance=make_scene(40, 60))
    assert not measure_gains(burst, samples, named_response("linear")).any()


@pytest.mark.parametrize("curve", ["strong contrast", "shoulder and toe"])
def test_a_wrong_curve_gives_no_gains(curve):
    """Its steps depend on the level."""
    assert not gains_of(make_burst(CURVES[curve])).any()


@pytest.mark.parametrize("seed", range(3))
def test_level_dependence_is_the_spread_between_thirds(seed):
    rng = np.random.default_rng(seed)
    level = rng.uniform(-8, 0, (3_000, 3))
    slope = rng.uniform(0, 0.1)
    difference = 0.3 + slope * level + rng.normal(0, 0.01, level.shape)
    assert level_dependence(difference, level) == pytest.approx(slope * 8 * 2 / 3, abs=0.02)
    assert level_dependence(np.full((9, 3), 0.4), np.zeros((9, 3))) == 0


def test_a_frame_that_overlaps_with_none_has_no_gain():
    radiance = np.full((60, 80, 3), 0.2)
    frames = [make_frame(expose(radiance, ev, srgb), ev, n) for n, ev in enumerate((-5.9, 0, 1))]
    assert not gains_of(Burst(tuple(frames), 1))[0].any()


@settings(max_examples=80)
@given(
    st.lists(st.floats(-MAX_GAIN_EV, MAX_GAIN_EV), min_size=3, max_size=3),
    st.sampled_from(["srgb", "gamma2.2", "linear"]),
)
def test_a_curve_with_gains_is_a_curve(gains, name):
    curve = named_response(name)
    table = with_gains(curve, np.array(gains)).table
    assert (np.diff(table, axis=1) >= 0).all()
    assert (table[:, 0] == 0).all()
    assert (table[:, -1] == 1).all()
    raised = curve.table[:, 1:] * np.exp2(np.array(gains))[:, None]
    unfaded = (curve.table[:, 1:] < 0.7) & (raised < 0.6)
    np.testing.assert_allclose(table[:, 1:][unfaded], raised[unfaded], rtol=1e-5)
