"""Exposure ratios measured from pixels, and the check of the stated exposures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.response import check_exposures, measure_ratios, named_response
from smarthdr_cli.response.exposure_ratios import mode_of_steps, reconcile_steps, with_exposures
from tests.support.responses import CURVES, HARD, expose, make_burst, make_frame, make_scene, samples_of, srgb

pytestmark = pytest.mark.unit

SRGB = named_response("srgb")


def measure(burst, response=SRGB):
    return measure_ratios(burst, samples_of(burst), response)


@pytest.mark.parametrize("conditions", [{}, HARD], ids=["static", "moving, 1 px off, noisy, JPEG 85"])
@pytest.mark.parametrize("evs", [(-2, 0, 2), (-3, 0, 3), (-0.7, 0, 1.1)])
def test_the_true_exposures_are_measured_whatever_is_stated(evs, conditions):
    ratios = measure(make_burst(srgb, evs, stated=(-1, 0, 0.5), **conditions))
    np.testing.assert_allclose(ratios.evs, evs, atol=0.05)
    assert ratios.inconsistency < 0.08
    assert min(ratios.support.values()) > 0.3


def test_linear_frames_are_measured_exactly():
    radiance = make_scene(200, 300)
    frames = []
    for n, ev in enumerate((-2, 0, 2)):
        light = np.clip(radiance * 2.0**ev, 0, 1).astype(np.float32)
        frames.append(make_frame(light, ev + 0.8 * (n == 2), n, encoding="linear"))
    ratios = measure(Burst(tuple(frames), 1), named_response("linear"))
    np.testing.assert_allclose(ratios.evs, (-2, 0, 2), atol=0.005)


def test_a_wrong_curve_gives_wrong_exposures():
    """Under sRGB the steps of an S-curve are stretched."""
    assert np.abs(measure(make_burst(CURVES["contrast"])).evs - (-2, 0, 2)).max() > 1 / 3


def test_frames_without_overlap_are_measured_through_others():
    evs = (-7, -4.5, -2, 0, 2, 4)
    ratios = measure(make_burst(srgb, evs))
    assert (0, 5) not in ratios.pairs
    np.testing.assert_allclose(ratios.evs, evs, atol=0.1)


def test_a_frame_that_overlaps_with_none_is_not_measured():
    radiance = np.full((60, 80, 3), 0.2)
    frames = [make_frame(expose(radiance, ev, srgb), ev, n) for n, ev in enumerate((-12, 0, 1))]
    ratios = measure(Burst(tuple(frames), 1))
    assert np.isnan(ratios.evs[0])
    np.testing.assert_allclose(ratios.evs[1:], (0, 1), atol=0.05)


@given(step=st.floats(-5, 5), share=st.floats(0, 0.35), seed=st.integers(0, 1000))
def test_the_mode_ignores_a_minority(step, share, seed):
    rng = np.random.default_rng(seed)
    steps = step + rng.normal(0, 0.05, 2000)
    moved = rng.random(2000) < share
    steps[moved] = rng.uniform(-8, 8, int(moved.sum()))
    mode, support = mode_of_steps(steps, np.full(2000, 0.05))
    assert mode == pytest.approx(step, abs=0.02)
    assert support == pytest.approx(1 - moved.mean(), abs=0.03)


def test_reconciled_steps_weigh_their_pairs():
    pairs = {(0, 1): 2.0, (1, 2): 1.0, (0, 2): 3.3}
    heavy = {(0, 1): 100.0, (1, 2): 100.0, (0, 2): 1.0}
    np.testing.assert_allclose(reconcile_steps(4, 1, pairs, heavy), [-2, 0, 1, np.nan], atol=1e-3)


def test_the_inconsistency_names_its_triple():
    """Moving the codes of one frame apart between dark and bright content makes its steps disagree."""
    ratios = measure(make_burst(CURVES["strong contrast"], evs=(-3, -1, 1, 3)))
    i, j, k = ratios.triple
    steps = ratios.pairs
    assert ratios.inconsistency == pytest.approx(abs(steps[i, j] + steps[j, k] - steps[i, k]))


def test_exposures_within_tolerance_have_no_note():
    burst = make_burst(srgb, stated=(-2.2, 0, 2.2))
    for mode in ("off", "warn", "fix"):
        assert check_exposures(burst, samples_of(burst), SRGB, mode) == (burst, ())


def test_off_does_nothing_warn_notes_and_fix_replaces():
    burst = make_burst(srgb, stated=(-2, 0, 3))
    samples = samples_of(burst)
    assert check_exposures(burst, samples, SRGB, "off") == (burst, ())
    same, notes = check_exposures(burst, samples, SRGB, "warn")
    assert same is burst
    assert any("img2.jpg: +3.00 EV stated, +2.0" in note for note in notes)
    assert not any("img0.jpg" in note for note in notes)
    fixed, notes = check_exposures(burst, samples, SRGB, "fix")
    np.testing.assert_allclose(fixed.evs, (-2, 0, 2), atol=0.05)
    assert fixed.frames[2].exposure.source == "pixels"
    assert "measured exposures taken" in notes


def test_unmeasured_frames_keep_their_exposure():
    burst = with_exposures(make_burst(srgb, radiance=make_scene(40, 60)), np.array([np.nan, 0.0, 1.5]))
    np.testing.assert_allclose(burst.evs, (-2, 0, 1.5))
    assert [frame.exposure.source for frame in burst.frames] == ["exif", "pixels", "pixels"]
