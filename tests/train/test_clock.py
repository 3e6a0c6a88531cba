"""A sitting's clock: when it is over, and how the rate falls before."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from smarthdr_cli.train.clock import Clock


def test_without_minutes_it_never_ends():
    assert not Clock().over(1e12)
    assert Clock().pace(1e12) == 1.0


def test_the_rate_falls_over_the_last_minutes():
    clock = Clock(10, 4)
    seconds = [0, 359, 360, 420, 480, 540, 600, 700]
    wanted = np.interp(seconds, [0, 360, 600], [1, 1, 0])
    assert [clock.pace(s) for s in seconds] == pytest.approx(wanted.tolist())
    assert [clock.over(s) for s in (599, 600, 601)] == [False, False, True]


def test_minutes_alone_leave_the_rate():
    assert Clock(1).pace(59) == Clock(1).pace(3600) == 1.0


@given(st.floats(0.01, 1e4), st.floats(0, 1), st.floats(0, 1e6), st.floats(0, 1e6))
def test_it_never_rises(minutes, share, one, other):
    clock = Clock(minutes, minutes * share)
    early, late = sorted([one, other])
    assert 0 <= clock.pace(late) <= clock.pace(early) <= 1


@pytest.mark.parametrize(("minutes", "cooldown"), [(None, 1), (1, 2), (5, -1), (5, float("nan"))])
def test_a_cooldown_is_a_part_of_the_minutes(minutes, cooldown):
    with pytest.raises(ValueError, match="part of the minutes"):
        Clock(minutes, cooldown)
