"""Steps made ahead: in order, not too many, exceptions where they belong, threads joined."""

import threading
import time
from itertools import islice

import pytest

from smarthdr_cli.data.prefetch import Prefetch


@pytest.mark.parametrize("workers", [1, 4])
def test_in_order_whatever_takes_longest(workers):
    def make(step):
        time.sleep(0.02 if step % 3 == 0 else 0)
        return step * step

    with Prefetch(make, 5, ahead=4, workers=workers) as coming:
        assert list(islice(coming, 10)) == [step * step for step in range(5, 15)]


def settle(made, count):
    """Wait for ``count`` and then a little, for one too many."""
    end = time.monotonic() + 10
    while len(made) < count and time.monotonic() < end:
        time.sleep(0.005)
    time.sleep(0.05)


def test_not_more_than_asked_for_in_advance():
    made = []
    with Prefetch(lambda step: made.append(step) or step, ahead=3, workers=2) as coming:
        settle(made, 3)
        assert sorted(made) == [0, 1, 2]
        next(coming)
        settle(made, 4)
        assert sorted(made) == [0, 1, 2, 3]


def test_it_works_while_the_consumer_does():
    made = []

    def make(step):
        made.append(step)
        return step

    with Prefetch(make, ahead=4) as coming:
        next(coming)
        settle(made, 5)  # nobody asks for them
        assert made == [0, 1, 2, 3, 4]


def test_an_exception_comes_in_its_turn_and_ends_it():
    def make(step):
        if step == 2:
            raise RuntimeError("step 2")
        return step

    coming = Prefetch(make, ahead=4)
    assert [next(coming), next(coming)] == [0, 1]
    with pytest.raises(RuntimeError, match="step 2"):
        next(coming)
    assert list(coming) == []


def test_close_joins_the_threads_and_drops_what_waits():
    before = threading.active_count()
    made = []

    def make(step):
        time.sleep(0.05)
        made.append(step)

    coming = Prefetch(make, ahead=8)
    next(coming)
    coming.close()
    assert threading.active_count() == before
    assert len(made) <= 3
    assert list(coming) == []
    coming.close()


def test_nothing_ahead_is_no_prefetch():
    for options in ({"ahead": 0}, {"workers": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            Prefetch(lambda step: step, **options)
