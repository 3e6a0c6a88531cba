"""Exposure patterns: the orders of cameras have names, repeats cost, and the common exposure does not matter."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smarthdr_cli.grouping.exposure_pattern import classify_exposures, level_ranks, varied_settings
from tests.support.camera_files import orders

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("count", [3, 5, 7, 9])
@pytest.mark.parametrize(
    ("order", "name"),
    [
        ("-0+", "from dark to bright"),
        ("+0-", "from bright to dark"),
        ("0-+", "the middle first"),
        ("0-+-+", "from the middle outwards"),
    ],
)
def test_orders_of_cameras_have_names(count: int, order: str, name: str) -> None:
    pattern = classify_exposures(orders(count, 1.0)[order])
    assert pattern.order == (name if count > 3 or order in ("-0+", "+0-") else "from the middle outwards")
    assert pattern.even
    assert (pattern.level_count, pattern.repeat_count) == (count, 0)


@pytest.mark.parametrize("evs", [[-2, 2, 0], [0, 2, -1, 1, -2], [0, 0, 2, 4]])
def test_other_orders_have_none(evs: list[float]) -> None:
    assert classify_exposures(evs).order == ""


def test_repeats_cost_least_where_every_exposure_is_repeated_in_place() -> None:
    once, in_place, later = ([-2, 0, 2], [-2, -2, 0, 0, 2, 2], [-2, 0, 2, -2, 0, 2])
    scores = [classify_exposures(evs).score for evs in (once, in_place, later)]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 3


def test_one_exposure_is_no_bracket() -> None:
    assert classify_exposures([1, 1.1, 0.95]).score == -math.inf


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        ([-2, 0, 1], [-2, 0, 2]),  # uneven steps
        ([0, 2, -2, 1, -1], [-2, -1, 0, 1, 2]),  # no order of cameras
        ([-0.2, 0.0, 0.2], [-0.3, 0.0, 0.3]),  # a range of less than half a stop
        ([-4, 0, 4], [-3, 0, 3]),  # steps that no camera takes
        ([0.5 * i for i in range(18)], [0.5 * i for i in range(17)]),  # more than 17 levels
    ],
)
def test_what_makes_a_bracket_less_likely(worse: list[float], better: list[float]) -> None:
    assert classify_exposures(worse).score < classify_exposures(better).score


def test_measured_exposures_share_levels_that_stated_ones_do_not() -> None:
    evs = [0.0, 0.4, 2.0]
    assert classify_exposures(evs).level_count == 3
    assert classify_exposures(evs, from_exif=False).level_count == 2


def test_levels_are_ranked_from_dark_to_bright() -> None:
    assert level_ranks([0.0, -2.0, 2.0, 0.1]) == [1, 0, 2, 1]


def test_varied_settings_count_in_stops() -> None:
    """A sixth of a stop is the limit; an f-number changes exposure by two stops per octave."""
    assert varied_settings([1.0, 1.1], [8.0, 8.4], [100.0, 100.0]) == ()
    assert varied_settings([1.0, 1.2], [8.0, 8.6], [100.0, 200.0]) == ("time", "aperture", "ISO")
    assert varied_settings([None, 1.0], [None, None], [100.0, None]) == ()


@given(st.lists(st.floats(-8, 8), min_size=2, max_size=20), st.floats(-5, 5))
def test_a_common_exposure_does_not_change_the_pattern(evs: list[float], offset: float) -> None:
    rounded = [round(ev, 1) for ev in evs]
    assert classify_exposures(rounded) == classify_exposures([ev + round(offset, 1) for ev in rounded])
