"""Intervals against scipy's, and what has none."""

import numpy as np
import pytest
import scipy.stats

from smarthdr_cli.evaluate import bootstrap


def test_the_interval_is_scipys() -> None:
    values = np.random.default_rng(3).lognormal(1.0, 0.5, 40)
    theirs = scipy.stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=1)
    expected = (theirs.confidence_interval.low, theirs.confidence_interval.high)
    assert bootstrap.interval(values.tolist()) == pytest.approx(expected, rel=0.01)


def test_it_covers_the_true_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(150):
        low, high = bootstrap.interval(rng.normal(30, 4, 60).tolist(), level=0.8)
        covered.append(low < 30 < high)
    assert 0.7 < np.mean(covered) < 0.9


def test_one_seed_one_interval_and_nans_do_not_take_part() -> None:
    values = [30.0, 31.37, 35.21, 28.13, 33.71, 29.53, 40.19]
    first = bootstrap.interval(values)
    assert first == bootstrap.interval([*values, float("nan")])
    assert first != bootstrap.interval(values, seed=1)
    assert first[0] < np.mean(values) < first[1]
    assert bootstrap.interval([5.0, 5.0]) == (5.0, 5.0)


@pytest.mark.parametrize("values", [[], [30.0], [30.0, float("nan")]])
def test_too_few_scenes_have_none(values: list[float]) -> None:
    assert np.isnan(bootstrap.interval(values)).all()
