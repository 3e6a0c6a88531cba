"""Sparsification and coverage on cases with a known answer."""

import numpy as np
import pytest
from scipy.stats import norm

from smarthdr_cli.evaluate import uncertainty_metrics

pytestmark = pytest.mark.unit


def test_a_sigma_that_orders_like_the_error_has_no_sparsification_error() -> None:
    error = np.random.default_rng(0).random((30, 40))
    result = uncertainty_metrics.sparsification(error, error**2 + 1)
    assert result.ause == pytest.approx(0.0, abs=1e-12)
    assert result.curve == pytest.approx(result.oracle)


def test_a_constant_sigma_is_the_flat_curve() -> None:
    error = np.random.default_rng(1).random((30, 40))
    result = uncertainty_metrics.sparsification(error, np.full_like(error, 0.3))
    assert result.curve == pytest.approx(np.ones(100))
    assert result.ause == pytest.approx(result.ause_random)


def test_a_uniform_error_has_a_straight_oracle_and_half_an_area_at_random() -> None:
    error = (np.arange(100_000) + 0.5) / 100_000
    sigma = np.random.default_rng(2).random(error.size)
    result = uncertainty_metrics.sparsification(error, sigma)
    assert result.oracle == pytest.approx(1 - result.fractions, abs=1e-3)
    assert result.ause_random == pytest.approx(0.5, abs=1e-3)
    assert result.ause == pytest.approx(0.5, abs=0.02)


def test_the_reverse_order_is_worse_than_random() -> None:
    error = np.random.default_rng(3).random(5000)
    result = uncertainty_metrics.sparsification(error, -error)
    assert result.ause > 1.5 * result.ause_random


def test_sparsification_by_hand() -> None:
    # Removed 0, 1, 2, 3 of four pixels (errors 4, 3, 1, 0 in order of falling sigma, mean 2).
    result = uncertainty_metrics.sparsification(np.array([3.0, 0.0, 4.0, 1.0]), np.array([2.0, 0.1, 3.0, 1.0]), steps=4)
    assert result.curve == pytest.approx([1.0, (4 / 3) / 2, 0.5 / 2, 0.0])
    result = uncertainty_metrics.sparsification(np.array([3.0, 0.0, 4.0, 1.0]), np.array([3.0, 0.1, 2.0, 1.0]), steps=4)
    assert result.curve == pytest.approx([1.0, (5 / 3) / 2, 0.25, 0.0])
    # Against the oracle only the second point differs, by 1/6, under trapezoids of width 1/4.
    assert result.ause == pytest.approx(1 / 6 / 4)


def test_coverage_of_a_true_sigma_is_even_over_deciles_and_of_a_constant_one_is_not() -> None:
    rng = np.random.default_rng(4)
    sigma = rng.uniform(0.01, 0.2, 400_000)
    error = rng.normal(0, sigma)
    good = uncertainty_metrics.coverage(error, sigma)
    inside = [2 * norm.cdf(1) - 1, 2 * norm.cdf(2) - 1]
    assert good.within_one == pytest.approx(np.full(10, inside[0]), abs=0.01)
    assert good.within_two == pytest.approx(np.full(10, inside[1]), abs=0.01)
    assert (np.diff(good.sigma) > 0).all()


def test_coverage_per_decile_reveals_a_sigma_that_is_right_only_overall() -> None:
    rng = np.random.default_rng(5)
    sigma = rng.uniform(0.01, 0.2, 100_000)
    shuffled = sigma[rng.permutation(sigma.size)]
    spread = uncertainty_metrics.coverage(rng.normal(0, sigma), shuffled).within_one
    assert spread[-1] - spread[0] > 0.4


@pytest.mark.parametrize("check", [uncertainty_metrics.sparsification, uncertainty_metrics.coverage])
def test_different_shapes_and_too_few_pixels_raise(check) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="shapes differ"):
        check(np.zeros(200), np.zeros(201))
    with pytest.raises(ValueError, match="as many pixels"):
        check(np.zeros(5), np.zeros(5))


def test_an_error_of_zero_everywhere_raises() -> None:
    with pytest.raises(ValueError, match="zero everywhere"):
        uncertainty_metrics.sparsification(np.zeros(200), np.ones(200))


def test_coverage_of_equal_sigmas_does_not_depend_on_their_order() -> None:
    error = np.linspace(0, 2, 1000)
    sigma = np.ones(1000)
    for order in (slice(None), slice(None, None, -1)):
        result = uncertainty_metrics.coverage(error[order], sigma)
        assert result.within_one == pytest.approx(np.full(10, 0.5))
    sigma[:100] = 0.5
    assert uncertainty_metrics.coverage(error, sigma).within_one[0] == 1
    assert uncertainty_metrics.coverage(error, sigma).within_one[1:] == pytest.approx(np.full(9, 4 / 9))
