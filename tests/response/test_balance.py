import numpy as np
import pytest
from response_bursts import CURVES, make, srgb_encode

from smarthdr_cli.align import Alignment
from smarthdr_cli.response.balance import freedom, measure_balance
from smarthdr_cli.response.crf_estimate import explain
from smarthdr_cli.response.crf_fit import Rows
from smarthdr_cli.response.samples import draw


def linked(*pairs, count=400):
    none = np.zeros(count, np.intp)
    return tuple(Rows(pair, 0, none, none, none, np.zeros(count), np.zeros(count), 0.0) for pair in pairs)


def explained(curve, **how):
    burst = make(CURVES.get(curve, lambda x, c: srgb_encode(x)), **how)
    return explain(draw(burst, Alignment.identity(len(burst))), burst)


@pytest.mark.parametrize(
    ("evs", "pairs", "left"),
    [
        ((0, 2), [(0, 1)], 0),
        ((-2, 0, 2), [(0, 1), (1, 2), (0, 2)], 1),
        ((-2, 0, 2), [(0, 1)], 0),  # the third frame shares nothing with the others
        ((-9, -8, 0, 1), [(0, 1), (2, 3)], 1),  # two groups: their steps can still be compared
        ((-4, -2, 0, 1, 4), [(n, n + 1) for n in range(4)], 3),
    ],
)
def test_shifts_keep_clear_of_what_pixels_cannot_see(evs, pairs, left):
    evs = np.array(evs, float)
    directions = freedom(linked(*pairs), evs)
    assert directions.shape == (len(evs), left)
    np.testing.assert_allclose(directions.T @ directions, np.eye(left), atol=1e-12)
    np.testing.assert_allclose(directions.T @ evs, 0, atol=1e-9)
    np.testing.assert_allclose(directions.sum(0), 0, atol=1e-9)


def test_weak_links_are_none():
    assert freedom(linked((0, 1), (1, 2), count=20), np.array([-2.0, 0.0, 2.0])).shape == (3, 0)


@pytest.mark.parametrize("frame", [0, 1, 2])
def test_one_frames_error_is_sized_and_its_power_is_within_the_range(frame):
    stated, error = np.array([-2.0, 0.0, 2.0]), np.zeros(3)
    error[frame] = 0.6
    directions = freedom(linked((0, 1), (1, 2), (0, 2)), stated)
    balance = measure_balance(directions @ directions.T @ error, directions, stated)
    assert balance.size == pytest.approx(0.6 * (0.816, 0.408)[frame != 1], abs=1e-3)
    power = 1 + (stated @ error) / (stated @ stated)  # least squares of the true exposures on the stated ones
    assert balance.exponents[0] - 1e-9 <= power <= balance.exponents[1] + 1e-9


@pytest.mark.parametrize("curve", ["sRGB", *CURVES])
def test_true_exposures_balance_under_any_curve(curve):
    found = explained(curve, share=0.2, residue=1.0, noise=0.02, quality=85)
    assert found.balance.size < 0.05


@pytest.mark.parametrize("curve", ["sRGB", "contrast", "gamma 1.8", "shoulder and toe"])
@pytest.mark.parametrize("stated", [(-1.5, 0, 2), (-2, 0.5, 2), (-2, 0, 1.5)])
def test_half_a_stop_unbalances_and_shifting_heals_it(curve, stated):
    found = explained(curve, stated=stated)
    assert found.balance.size > 0.12
    assert found.freed_record["pair_error_ev"] < 0.06 < found.record["pair_error_ev"]
    true_shift = np.array([-2.0, 0.0, 2.0]) - stated
    assert np.sign(found.freed.shifts[1]) == np.sign(true_shift[1] - (true_shift[0] + true_shift[2]) / 2)
