"""Calibration: isotonic regression against scipy's, coverage at every level of sigma, JSON."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import isotonic_regression

from smarthdr_cli.models.uncertainty_calibration import Calibration, fit_calibration, isotonic
from smarthdr_cli.models.uncertainty_head import SIGMA_MAX, SIGMA_MIN

CURVE = Calibration((1e-3, 1e-2, 1e-1), (2e-3, 2e-3, 0.3))


@settings(max_examples=200)
@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(0.1, 10)), min_size=1, max_size=40))
def test_isotonic_equals_scipy(pairs: list[tuple[float, float]]) -> None:
    values, weights = np.array(pairs).T
    np.testing.assert_allclose(isotonic(values, weights), isotonic_regression(values, weights=weights).x, atol=1e-9)


def _pixels(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Raw sigmas that are overconfident, compressed and noisy, and Laplacian errors."""
    rng = np.random.default_rng(seed)
    true = 10 ** rng.uniform(-3.5, -0.8, n)
    raw = 0.02 * true**0.5 * 10 ** rng.normal(0, 0.05, n)
    return raw, np.abs(rng.laplace(0, true)).clip(0, 1)


def test_coverage_holds_in_every_decile_of_unseen_pixels() -> None:
    curve = fit_calibration(*_pixels(200_000, 0))
    raw, error = _pixels(100_000, 1)
    sigma = curve.apply(raw)
    order = np.argsort(sigma, kind="stable")
    covered = [(error[part] < sigma[part]).mean() for part in np.array_split(order, 10)]
    np.testing.assert_allclose(covered, 0.68, atol=0.02)
    uncalibrated = [(error[part] < raw[part]).mean() for part in np.array_split(order, 10)]
    assert min(uncalibrated) < 0.3  # far from calibrated before


def test_sigmas_without_information_give_one_level() -> None:
    rng = np.random.default_rng(0)
    error = np.abs(rng.normal(0, 0.05, 50_000))
    constant = fit_calibration(np.full(50_000, 0.02), error)
    assert len(constant.raw) == 1
    assert constant.apply(0.02) == pytest.approx(np.quantile(error, 0.68), rel=1e-6)
    upside_down = fit_calibration(1.1 - error, error)
    assert np.ptp(np.array(upside_down.calibrated)) == pytest.approx(0, abs=1e-12)


def test_few_distinct_sigmas_share_bins() -> None:
    raw = np.repeat([0.01, 0.02, 0.05], [5000, 20, 5000])
    error = raw * np.abs(np.random.default_rng(0).normal(0, 1, raw.size))
    curve = fit_calibration(raw, error)
    assert set(curve.raw) <= {0.01, 0.02, 0.05}
    assert curve.apply(0.05) == pytest.approx(0.05, rel=0.05)


def test_errors_of_0_stop_at_the_smallest_sigma() -> None:
    curve = fit_calibration(np.linspace(0.01, 0.1, 1000), np.zeros(1000))
    np.testing.assert_allclose(curve.apply([0.01, 0.05]), SIGMA_MIN, rtol=1e-6)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (1e-4, 2e-3),
        (1e-3, 2e-3),
        (5e-3, 2e-3),
        (10**-1.5, (2e-3 * 0.3) ** 0.5),
        (0.1, 0.3),
        (0.2, 0.6),
        (0.9, SIGMA_MAX),
    ],
)
def test_the_curve_between_and_beyond_its_knots(raw: float, expected: float) -> None:
    assert CURVE.apply(raw) == pytest.approx(expected, rel=1e-5)
    assert CURVE.apply_torch(torch.tensor(raw)).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("curve", [CURVE, Calibration((0.01,), (0.03,)), fit_calibration(*_pixels(20_000, 2))])
def test_numpy_and_torch_agree_and_never_swap_two_pixels(curve: Calibration) -> None:
    raw = np.geomspace(1e-6, 1, 5001).astype(np.float32)
    one, other = curve.apply(raw.reshape(3, 1667)), curve.apply_torch(torch.from_numpy(raw.reshape(3, 1667)))
    assert one.dtype == np.float32
    assert one.shape == other.shape == (3, 1667)
    np.testing.assert_allclose(other.numpy(), one, rtol=2e-5)
    assert (np.diff(one.ravel()) >= 0).all()
    assert one.min() >= SIGMA_MIN


def test_json_round_trip() -> None:
    curve = fit_calibration(*_pixels(20_000, 3))
    assert Calibration.from_dict(json.loads(json.dumps(curve.to_dict()))) == curve


def test_bursts_with_an_8_bit_file_take_its_curve() -> None:
    coarse = Calibration((1e-3, 1e-1), (4e-3, 0.5), samples=9)
    both = replace(CURVE, eight_bit=coarse)
    assert both.for_codes([np.uint16, np.uint8]) is coarse
    assert both.for_codes([np.uint16, np.float32]) is both
    assert CURVE.for_codes([np.uint8]) is CURVE
    assert Calibration.from_dict(json.loads(json.dumps(both.to_dict()))) == both
    assert "eight_bit" not in CURVE.to_dict()
    for spoilt in ([], {"raw": [1]}, "x"):
        with pytest.raises(ValueError, match="not a calibration"):
            Calibration.from_dict({**CURVE.to_dict(), "eight_bit": spoilt})


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"raw": [0.1], "calibrated": [0.1, 0.2], "quantile": 0.68, "samples": 1},
        {"raw": [], "calibrated": [], "quantile": 0.68, "samples": 1},
        {"raw": [0.2, 0.1], "calibrated": [0.1, 0.2], "quantile": 0.68, "samples": 1},
        {"raw": [0.1, 0.2], "calibrated": [0.2, 0.1], "quantile": 0.68, "samples": 1},
        {"raw": [0.1], "calibrated": [float("nan")], "quantile": 0.68, "samples": 1},
        {"raw": [0.0], "calibrated": [0.1], "quantile": 0.68, "samples": 1},
        {"raw": 3, "calibrated": [0.1], "quantile": 0.68, "samples": 1},
        {"raw": ["x"], "calibrated": [0.1], "quantile": 0.68, "samples": 1},
    ],
)
def test_other_knots_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Calibration.from_dict(values)


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (np.ones(300), np.ones(299)),
        (np.ones(10), np.ones(10)),
        (np.zeros(300), np.ones(300)),
        (np.ones(300), np.full(300, np.nan)),
        (np.ones(300), -np.ones(300)),
    ],
)
def test_values_that_cannot_be_fitted_are_refused(raw: np.ndarray, error: np.ndarray) -> None:
    with pytest.raises(ValueError):
        fit_calibration(raw, error)
