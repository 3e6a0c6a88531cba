"""The division against every division there is."""

import itertools
import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smarthdr_cli.grouping.segment import divide


def _divisions(count: int, longest: int) -> Iterator[list[tuple[int, int]]]:
    for cuts in itertools.product((False, True), repeat=count - 1):
        edges = [0, *(i + 1 for i, cut in enumerate(cuts) if cut), count]
        spans = list(itertools.pairwise(edges))
        if all(stop - start <= longest for start, stop in spans):
            yield spans


@given(st.integers(1, 7), st.integers(1, 7), st.data())
def test_the_best_division_and_its_probabilities(count: int, longest: int, data: st.DataObject) -> None:
    spans = [(a, b) for a in range(count) for b in range(a + 1, count + 1)]
    value = st.floats(-6, 6)
    scores = {s: data.draw(value if s[1] - s[0] == 1 else st.one_of(value, st.just(-math.inf))) for s in spans}
    weights = {tuple(d): math.exp(sum(scores[s] for s in d)) for d in _divisions(count, longest)}
    total = sum(weights.values())
    found = divide(count, lambda start, stop: scores[start, stop], longest)
    chosen = tuple((s.start, s.stop) for s in found)
    assert weights[chosen] == pytest.approx(max(weights.values()))
    for span in found:
        with_it = sum(w for d, w in weights.items() if (span.start, span.stop) in d)
        assert span.probability == pytest.approx(with_it / total, abs=1e-9)


def test_none_ends_a_start_for_good() -> None:
    asked: list[tuple[int, int]] = []

    def score(start: int, stop: int) -> float | None:
        asked.append((start, stop))
        return None if stop - start > 2 else 0.5

    assert all(s.stop - s.start <= 2 for s in divide(6, score, 6))
    assert max(stop - start for start, stop in asked) == 3


def test_a_long_row_neither_overflows_nor_recurses() -> None:
    found = divide(5000, lambda start, stop: 40.0 if stop - start == 3 else 0.0, 4)
    assert sum(s.stop - s.start == 3 for s in found) == 1666
    assert all(0 <= s.probability <= 1 for s in found)
