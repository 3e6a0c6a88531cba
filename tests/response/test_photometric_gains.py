"""Gain compensation: known drifts are found and taken back, and nothing is made of noise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from response_bursts import CURVES, frame, make, moved, scene, shoot, srgb_encode

from smarthdr_cli.align import Alignment
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.radiometry import linearize
from smarthdr_cli.response import named_response
from smarthdr_cli.response.photometric_gains import LARGEST, USUAL, frame_gains, gained, matched, unevenness

STILL = Alignment.identity(3)
SRGB = named_response("srgb")


def srgb(x, channel):
    return srgb_encode(x)


def drifted(drift, evs=(-2, 0, 2), share=0.0, seed=0):
    """A burst whose frames' channels are brighter than stated by ``drift`` (N, 3) EV."""
    radiance = scene(240, 360, seed)
    frames = []
    for n, (ev, own) in enumerate(zip(evs, drift, strict=True)):
        light = moved(radiance, share, n) * np.exp2(np.asarray(own, float))
        frames.append(frame(shoot(light, ev, srgb, seed=n), ev, n))
    return Burst(tuple(frames), evs.index(0))


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_a_drift_is_found_channel_by_channel_whatever_moves(share):
    drift = [(0.3, 0.0, -0.25), (0, 0, 0), (-0.4, -0.4, -0.4)]
    found = frame_gains(drifted(drift, share=share), STILL, SRGB)
    np.testing.assert_allclose(found, -np.array(drift), atol=0.05)


def test_what_frames_see_alike_comes_out_alike():
    burst = drifted([(0.3, 0.0, -0.3), (0, 0, 0), (0.35, 0.2, 0.5)])
    curves, notes = matched(burst, STILL, SRGB)
    for n in (0, 2):
        apart = {}
        for name, curve in (("before", SRGB), ("after", curves[n])):
            low, high = (linearize(burst.frames[k].codes, 255.0, SRGB if k == 1 else curve) for k in (n, 1))
            both = ((low > 0.05) & (low < 0.5) & (high > 0.05) & (high < 0.5)).all(axis=2)
            ratio = np.log2(low[both] / high[both]) - burst.evs[n]
            apart[name] = float(np.abs(np.median(ratio, axis=0)).max())
        assert apart["before"] > 0.25
        assert apart["after"] < 0.05
    assert curves[1] is SRGB
    assert len(notes) == 1
    assert "2 frames drifted by up to" in notes[0]
    assert "img2.jpg" in notes[0]


def test_steady_frames_are_left_alone():
    assert matched(make(srgb), STILL, SRGB) == ((), ())


def test_small_drifts_are_left_alone_and_middling_ones_matched_in_silence():
    small, middling = USUAL - 0.04, USUAL + 0.05
    curves, notes = matched(drifted([(small,) * 3, (0, 0, 0), (middling, 0, 0)]), STILL, SRGB)
    assert curves[0] is SRGB
    assert curves[2].record["gains_ev"] == pytest.approx([-middling, 0, 0], abs=0.04)
    assert notes == ()


def test_what_is_further_off_than_a_gain_keeps_what_is_stated():
    found = frame_gains(drifted([(LARGEST + 0.4,) * 3, (0, 0, 0), (0.3, 0.3, 0.3)]), STILL, SRGB)
    assert not found[0].any()
    assert found[2] == pytest.approx(-0.3, abs=0.05)


def test_frames_of_other_scenes_have_none():
    frames = tuple(frame(shoot(scene(200, 300, seed=n), ev, srgb), ev, n) for n, ev in enumerate((-1, 0, 1)))
    assert not frame_gains(Burst(frames, 1), STILL, SRGB).any()


@pytest.mark.parametrize("curve", ["strong contrast", "shoulder and toe"])
def test_a_wrong_curve_is_not_taken_for_a_drift(curve):
    """It says one thing in the dark and another in the light."""
    assert not frame_gains(make(CURVES[curve]), STILL, SRGB).any()


@pytest.mark.parametrize("seed", range(5))
def test_unevenness_is_the_spread_between_thirds(seed):
    random = np.random.default_rng(seed)
    level = random.uniform(-8, 0, (3_000, 3))
    bend = random.uniform(0, 0.1)
    apart = 0.3 + bend * level + random.normal(0, 0.01, level.shape)
    assert unevenness(apart, level) == pytest.approx(bend * 8 * 2 / 3, abs=0.02)
    assert unevenness(np.full((9, 3), 0.4), np.zeros((9, 3))) == 0


def test_a_frame_without_overlap_has_none():
    radiance = np.full((60, 80, 3), 0.2)
    frames = [frame(shoot(radiance, ev, srgb), ev, n) for n, ev in enumerate((-5.9, 0, 1))]
    assert not frame_gains(Burst(tuple(frames), 1), STILL, SRGB)[0].any()


@settings(max_examples=80)
@given(st.lists(st.floats(-LARGEST, LARGEST), min_size=3, max_size=3), st.sampled_from(["srgb", "gamma2.2", "linear"]))
def test_a_gained_curve_is_a_curve(gains, name):
    curve = named_response(name)
    found = gained(curve, np.array(gains))
    assert (np.diff(found.table, axis=1) >= 0).all()
    assert (found.table[:, 0] == 0).all()
    assert (found.table[:, -1] == 1).all()
    low = curve.table[:, 1:] * np.exp2(np.array(gains))[:, None]
    dark = (curve.table[:, 1:] < 0.7) & (low < 0.6)
    np.testing.assert_allclose(found.table[:, 1:][dark], low[dark], rtol=1e-5)
