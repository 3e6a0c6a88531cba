"""Figures of a fitted response, and the limits a burst must keep."""

from dataclasses import replace

import numpy as np
import pytest

from smarthdr_cli.response.crf_acceptance import AcceptanceLimits, fit_and_assess, is_imbalanced, misfit, refusal
from smarthdr_cli.response.crf_basis import GRID, log_srgb
from smarthdr_cli.response.crf_fit import PairEquations
from tests.support.responses import ALL_CURVES, HARD, make_burst, make_scene, samples_of

LIMITS = AcceptanceLimits()
GOOD = {
    "agreeing": 0.9,
    "coverage": 0.8,
    "pair_error_ev": 0.05,
    "worst_pair": [0, 1],
    "exponent": 2.2,
    "imbalance_ev": 0.01,
}


def assessed(curve, **how):
    burst = make_burst(ALL_CURVES[curve], **how)
    return fit_and_assess(samples_of(burst), burst, LIMITS)


@pytest.mark.parametrize("curve", ALL_CURVES)
def test_true_exposures_pass_under_any_curve(curve):
    assessment = assessed(curve, **HARD)
    assert assessment.refusal == ""
    assert assessment.exposures_checked
    assert assessment.imbalance.size < 0.05


@pytest.mark.parametrize("curve", ["srgb", "contrast", "gamma 1.8", "shoulder and toe"])
@pytest.mark.parametrize("stated", [(-1.5, 0, 2), (-2, 0.5, 2), (-2, 0, 1.5)])
def test_half_a_stop_is_a_contradiction_that_shifted_exposures_resolve(curve, stated):
    assessment = assessed(curve, stated=stated)
    assert assessment.imbalance.size > 0.12
    assert assessment.shifted_figures["pair_error_ev"] < 0.06 < assessment.figures["pair_error_ev"]
    true_shift = np.array([-2.0, 0.0, 2.0]) - stated
    assert np.sign(assessment.shifted_fit.shifts[1]) == np.sign(true_shift[1] - (true_shift[0] + true_shift[2]) / 2)


def test_two_frames_cannot_check_their_exposures():
    assessment = assessed("contrast", evs=(0, 2))
    assert not assessment.exposures_checked
    assert assessment.shifted_fit is assessment.fit


def test_too_few_equations_give_no_fit():
    assert assessed("contrast", evs=(-12, 0, 12)) is None


@pytest.mark.parametrize(
    ("figures", "reason"),
    [
        ({}, ""),
        ({"coverage": 0.24}, "only 24% of the tonal range"),
        ({"agreeing": 0.49}, "only 49% of the common pixels agree"),
        ({"pair_error_ev": 0.24}, "img0.jpg and img1.jpg contradict the other frames by 0.24 EV"),
        ({"imbalance_ev": 0.11}, "contradict one another by 0.11 EV"),
        ({"exponent": 1.2}, "imply a gamma of 1.2"),
        ({"exponent": 4.1}, "imply a gamma of 4.1"),
    ],
)
def test_each_limit_has_its_refusal(figures, reason):
    burst = make_burst(ALL_CURVES["srgb"], radiance=make_scene(40, 60))
    assert (reason in refusal(GOOD | figures, burst, LIMITS)) if reason else (refusal(GOOD, burst, LIMITS) == "")


def test_long_bursts_have_wider_limits():
    burst = make_burst(ALL_CURVES["srgb"], evs=tuple(range(-3, 4)), radiance=make_scene(40, 60))
    figures = GOOD | {"pair_error_ev": 0.34, "imbalance_ev": 0.39}
    assert refusal(figures, burst, LIMITS) == ""
    assert "contradict" in refusal(figures, burst, replace(LIMITS, long_burst=7))
    assert is_imbalanced(figures | {"imbalance_ev": 0.41}, burst, LIMITS)


@pytest.mark.parametrize(("step", "limit"), [(4.0, 0.1), (2.0, 0.1), (1.6, 0.08), (1.0, 0.06), (0.7, 0.06)])
def test_the_limit_of_the_imbalance_is_lower_at_small_steps(step, limit):
    burst = make_burst(ALL_CURVES["srgb"], evs=(-step, 0, step), radiance=make_scene(40, 60))
    assert not is_imbalanced({"imbalance_ev": limit - 0.001}, burst, LIMITS)
    assert is_imbalanced({"imbalance_ev": limit + 0.001}, burst, LIMITS)


def test_misfit_is_the_mean_residual_in_ev():
    log_curve = np.tile(log_srgb(), (3, 1))
    dark, bright, spread = np.full(500, int(0.4 * GRID)), np.full(500, int(0.6 * GRID)), np.zeros(500)

    def equations(error, dark=dark, bright=bright):
        log_ratio = float(log_srgb()[dark[0]] - log_srgb()[bright[0]] + error * np.log(2))
        return PairEquations((0, 1), 0, dark, dark, bright, spread, spread, log_ratio)

    exact, off, far = (equations(error) for error in (0.0, 0.3, 7.0))
    assert misfit((exact,), log_curve) == pytest.approx(0.0, abs=1e-12)
    assert misfit((off,), log_curve) == pytest.approx(0.3)
    assert misfit((far,), log_curve) == pytest.approx(1.0)  # larger errors count as 1 EV
    assert misfit((exact, off), log_curve) == pytest.approx(0.15)
    assert np.isnan(misfit((equations(0.0, dark * 0 + 10, bright * 0 + 20),), log_curve))  # too dark to count
