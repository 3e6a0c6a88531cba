"""The least-squares fit of the camera response, and what pixels can say about the exposures."""

import numpy as np
import pytest

from smarthdr_cli.response.crf_basis import GRID, PriorWidths, make_prior
from smarthdr_cli.response.crf_fit import (
    MAX_PAIR_EQUATIONS,
    PairEquations,
    exposure_imbalance,
    fit_crf,
    frame_pairs,
    observable_directions,
    pair_equations,
)
from tests.support.responses import CURVES, make_burst, samples_of

pytestmark = pytest.mark.unit

PRIOR = make_prior(PriorWidths())
EVS = np.array([-2.0, 0.0, 2.0])


def linked(*pairs, count=400):
    """Equations of which only the pairs matter."""
    none = np.zeros(count, np.intp)
    return tuple(PairEquations(pair, 0, none, none, none, np.zeros(count), np.zeros(count), 0.0) for pair in pairs)


def exact_equations(log_curve, stated, outliers=0.0):
    """Equations of three frames at EVS that ``log_curve`` fulfils exactly, under exposures ``stated``."""
    rng = np.random.default_rng(0)
    equations = []
    for pair in ((0, 1), (1, 2), (0, 2)):
        step = (EVS[pair[0]] - EVS[pair[1]]) * np.log(2)
        for channel in range(3):
            bright = rng.integers(60, 950, 2000)
            dark = np.interp(log_curve[channel, bright] + step, log_curve[channel], np.arange(GRID + 1))
            used = dark > 20
            bright, dark = bright[used], np.rint(dark[used]).astype(np.intp)
            wrong = rng.random(len(dark)) < outliers
            dark[wrong] = rng.integers(20, 1000, int(wrong.sum()))
            spread = np.zeros(len(dark))
            log_ratio = float((stated[pair[0]] - stated[pair[1]]) * np.log(2))
            equations.append(
                PairEquations(pair, channel, np.flatnonzero(used), dark, bright, spread, spread, log_ratio)
            )
    return tuple(equations)


def curve_of(coefficients):
    """ln f of a member of the family that is 1 at white and equal in all channels at mid-grey."""
    factor = PRIOR.basis @ coefficients
    return np.tile(PRIOR.log_srgb + factor - factor[-1], (3, 1))


BENT = curve_of(0.5 * np.sin(np.linspace(0, 3, PRIOR.basis.shape[1])))


@pytest.mark.parametrize("outliers", [0.0, 0.3])
def test_the_fit_recovers_the_curve_behind_exact_equations_despite_outliers(outliers):
    fit = fit_crf(exact_equations(BENT, EVS, outliers), PRIOR, np.zeros((3, 0)))
    codes = slice(60, 950)
    assert np.abs(np.expm1(fit.log_curve - BENT)[:, codes]).max() < 0.05
    np.testing.assert_allclose(fit.log_curve - fit.log_factor, np.tile(PRIOR.log_srgb, (3, 1)), atol=1e-12)
    assert fit.agreeing_share == pytest.approx(1 - outliers, abs=0.05)
    assert not fit.shifts.any()


def test_the_fit_finds_the_shifts_that_pixels_determine():
    stated = EVS + np.array([0.0, 0.5, 0.0])
    equations = exact_equations(BENT, stated)
    fit = fit_crf(equations, PRIOR, observable_directions(equations, stated))
    middle_against_outer = fit.shifts[1] - (fit.shifts[0] + fit.shifts[2]) / 2
    assert middle_against_outer == pytest.approx(-0.5, abs=0.08)


def test_equations_that_demand_a_falling_curve_give_a_rising_one():
    codes, spread = np.random.default_rng(0).integers(450, 750, 3000), np.zeros(3000)
    equations = tuple(PairEquations((0, 1), c, codes, codes, codes - 100, spread, spread, -0.05) for c in range(3))
    log_curve = fit_crf(equations, PRIOR, np.zeros((2, 0))).log_curve
    assert (np.diff(log_curve[:, ::16], axis=1) > 0).all()


@pytest.mark.parametrize("seed", range(2))
def test_a_fit_to_noise_is_monotone_and_one_at_white(seed):
    rng = np.random.default_rng(seed)
    equations = tuple(
        PairEquations(
            pair, channel, np.arange(500), rng.integers(0, GRID, 500), rng.integers(0, GRID, 500),
            np.zeros(500), np.zeros(500), -1.0,
        )
        for pair in ((0, 1), (1, 2)) for channel in range(3)
    )  # fmt: skip
    fit = fit_crf(equations, PRIOR, np.zeros((3, 0)))
    rising = np.diff(fit.log_curve[:, ::16], axis=1)
    assert (rising >= 0).all()
    np.testing.assert_allclose(fit.log_curve[:, -1], 0, atol=1e-4)


def test_pairs_are_neighbours_with_a_useful_exposure_step():
    assert frame_pairs(np.array([-2.0, -1.9, 0.0, 4.5])) == [(0, 2), (1, 2), (2, 3)]
    assert frame_pairs(np.arange(6.0))[:3] == [(0, 1), (0, 2), (0, 3)]
    assert (0, 4) not in frame_pairs(np.arange(6.0))


def test_equations_hold_the_codes_and_the_ratio_of_their_pair():
    samples = samples_of(make_burst(CURVES["contrast"]))
    equations = pair_equations(samples, EVS)
    assert {(e.pair, e.channel) for e in equations} == {(p, c) for p in ((0, 1), (1, 2), (0, 2)) for c in range(3)}
    for e in equations:
        dark, bright = e.pair
        assert len(e) <= MAX_PAIR_EQUATIONS
        assert e.log_ratio == pytest.approx((EVS[dark] - EVS[bright]) * np.log(2))
        assert samples.valid[dark, e.blocks, e.channel].all()
        assert samples.valid[bright, e.blocks, e.channel].all()
        assert np.abs(e.dark_code - samples.code[dark, e.blocks, e.channel] * GRID).max() <= 0.5
        assert np.abs(e.bright_code - samples.code[bright, e.blocks, e.channel] * GRID).max() <= 0.5


def test_residuals_and_their_sigma_follow_the_slope_of_the_curve():
    codes = np.array([300]), np.array([600])
    e = PairEquations((0, 1), 1, np.zeros(1, np.intp), *codes, np.array([0.1]), np.array([0.0]), -1.0)
    log_curve = np.tile(2.2 * np.log(np.linspace(1e-6, 1, GRID + 1)), (3, 1))
    np.testing.assert_allclose(e.residuals(log_curve), -1 - 2.2 * np.log(300 / 600), atol=1e-4)
    np.testing.assert_allclose(e.residuals(log_curve, np.array([0.5, 0.2, 0.0])), -0.7 + 2.2 * np.log(2), atol=1e-4)
    dark, bright = 2.2 * GRID / 300, 2.2 * GRID / 600
    variance = dark**2 * ((0.5 / 255) ** 2 + 0.02**2) + bright**2 * (0.5 / 255) ** 2 + 0.05**2
    np.testing.assert_allclose(e.sigmas(log_curve), np.sqrt(variance), rtol=1e-3)


@pytest.mark.parametrize(
    ("evs", "pairs", "count"),
    [
        ((0, 2), [(0, 1)], 0),
        ((-2, 0, 2), [(0, 1), (1, 2), (0, 2)], 1),
        ((-2, 0, 2), [(0, 1)], 0),  # the third frame shares nothing with the others
        ((-9, -8, 0, 1), [(0, 1), (2, 3)], 1),  # two groups, with steps that can be compared
        ((-4, -2, 0, 1, 4), [(n, n + 1) for n in range(4)], 3),
    ],
)
def test_observable_directions_contain_no_offset_and_no_common_factor(evs, pairs, count):
    evs = np.array(evs, float)
    directions = observable_directions(linked(*pairs), evs)
    assert directions.shape == (len(evs), count)
    np.testing.assert_allclose(directions.T @ directions, np.eye(count), atol=1e-12)
    np.testing.assert_allclose(directions.T @ evs, 0, atol=1e-9)
    np.testing.assert_allclose(directions.sum(0), 0, atol=1e-9)


def test_few_equations_connect_no_frames():
    assert observable_directions(linked((0, 1), (1, 2), count=20), EVS).shape == (3, 0)


@pytest.mark.parametrize("frame", [0, 1, 2])
def test_the_imbalance_of_one_misstated_frame(frame):
    error = np.zeros(3)
    error[frame] = 0.6
    directions = observable_directions(linked((0, 1), (1, 2), (0, 2)), EVS)
    imbalance = exposure_imbalance(directions @ directions.T @ error, directions, EVS)
    assert imbalance.size == pytest.approx(0.6 * (0.816, 0.408)[frame != 1], abs=1e-3)
    power = 1 + (EVS @ error) / (EVS @ EVS)  # least squares of the true exposures on the stated ones
    assert imbalance.exponents[0] - 1e-9 <= power <= imbalance.exponents[1] + 1e-9


def test_two_frames_have_no_imbalance():
    assert exposure_imbalance(np.zeros(2), np.zeros((2, 0)), np.array([0.0, 2.0])).size == 0
