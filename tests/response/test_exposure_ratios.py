import numpy as np
import pytest
from response_bursts import CURVES, frame, make, scene, shoot, srgb_encode

from smarthdr_cli.align import Alignment
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.response import check_exposures, measure_ratios, named_response

STILL = Alignment.identity(3)
SRGB = named_response("srgb")


def srgb(x, channel):
    return srgb_encode(x)


@pytest.mark.parametrize("conditions", [{}, {"share": 0.2, "residue": 1.0, "noise": 0.02, "quality": 85}])
@pytest.mark.parametrize("evs", [(-2, 0, 2), (-3, 0, 3), (-0.7, 0, 1.1)])
def test_true_steps_are_measured_whatever_is_stated(evs, conditions):
    burst = make(srgb, evs, stated=(-1, 0, 0.5), **conditions)
    ratios = measure_ratios(burst, STILL, SRGB)
    np.testing.assert_allclose(ratios.evs, evs, atol=0.05)
    assert ratios.inconsistency < 0.08
    assert min(ratios.support.values()) > 0.3


def test_linear_frames_under_the_linear_curve():
    radiance = scene(200, 300)
    frames = []
    for n, ev in enumerate((-2, 0, 2)):
        light = np.clip(radiance * 2.0**ev, 0, 1).astype(np.float32)
        frames.append(frame(light, ev + 0.8 * (n == 2), n, encoding="linear"))
    ratios = measure_ratios(Burst(tuple(frames), 1), STILL, named_response("linear"))
    np.testing.assert_allclose(ratios.evs, (-2, 0, 2), atol=0.005)


def test_a_wrong_curve_shows_in_the_ratios():
    """Under sRGB an S-curve's steps come out stretched: the reason that ratios need a known curve."""
    ratios = measure_ratios(make(CURVES["contrast"]), STILL, SRGB)
    assert np.abs(ratios.evs - (-2, 0, 2)).max() > 1 / 3


def test_chains_reach_frames_that_share_nothing_with_one_another():
    evs = (-7, -4.5, -2, 0, 2, 4)
    ratios = measure_ratios(make(srgb, evs), Alignment.identity(6), SRGB)
    assert (0, 5) not in ratios.pairs
    np.testing.assert_allclose(ratios.evs, evs, atol=0.1)


def test_a_frame_without_overlap_is_not_measured():
    radiance = np.full((60, 80, 3), 0.2)
    frames = [frame(shoot(radiance, ev, srgb), ev, n) for n, ev in enumerate((-12, 0, 1))]
    ratios = measure_ratios(Burst(tuple(frames), 1), STILL, SRGB)
    assert np.isnan(ratios.evs[0])
    np.testing.assert_allclose(ratios.evs[1:], (0, 1), atol=0.05)


def test_agreement_says_nothing():
    burst = make(srgb, stated=(-2.2, 0, 2.2))  # a fifth of a stop: within tolerance
    for mode in ("off", "warn", "fix"):
        assert check_exposures(burst, STILL, SRGB, mode) == (burst, ())


def test_disagreement_is_off_warned_of_or_fixed():
    burst = make(srgb, stated=(-2, 0, 3))
    same, silent = check_exposures(burst, STILL, SRGB, "off")
    assert same is burst
    assert silent == ()
    same, notes = check_exposures(burst, STILL, SRGB, "warn")
    assert same is burst
    assert any("img2.jpg: +3.00 EV stated, +2.0" in note for note in notes)
    assert not any("img0.jpg" in note for note in notes)
    fixed, notes = check_exposures(burst, STILL, SRGB, "fix")
    np.testing.assert_allclose(fixed.evs, (-2, 0, 2), atol=0.05)
    assert fixed.frames[2].exposure.source == "pixels"
    assert "measured exposures taken" in notes
