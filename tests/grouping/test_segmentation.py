"""The best segmentation against all segmentations, and rows that are long or hold no set."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smarthdr_cli.grouping.header import Header
from smarthdr_cli.grouping.likelihood import IMPOSSIBLE
from smarthdr_cli.grouping.segmentation import best_segmentation, segment_frames

pytestmark = pytest.mark.unit


def all_segmentations(count: int, max_length: int) -> Iterator[list[tuple[int, int]]]:
    for cuts in itertools.product((False, True), repeat=count - 1):
        edges = [0, *(i + 1 for i, cut in enumerate(cuts) if cut), count]
        segments = list(itertools.pairwise(edges))
        if all(stop - start <= max_length for start, stop in segments):
            yield segments


@given(st.integers(1, 7), st.integers(1, 7), st.data())
def test_the_best_of_all_segmentations_and_its_probabilities(count: int, max_length: int, data: st.DataObject) -> None:
    spans = [(a, b) for a in range(count) for b in range(a + 1, count + 1)]
    value = st.floats(-6, 6)
    scores = {s: data.draw(value if s[1] - s[0] == 1 else st.one_of(value, st.just(IMPOSSIBLE))) for s in spans}
    weights = {
        tuple(candidate): math.exp(sum(scores[span] for span in candidate))
        for candidate in all_segmentations(count, max_length)
    }
    total = sum(weights.values())
    segments = best_segmentation(count, lambda start, stop: scores[start, stop], max_length)
    assert weights[tuple((s.start, s.stop) for s in segments)] == pytest.approx(max(weights.values()))
    for segment in segments:
        weight = sum(w for candidate, w in weights.items() if (segment.start, segment.stop) in candidate)
        assert segment.probability == pytest.approx(weight / total, abs=1e-9)


def test_none_excludes_all_longer_segments_from_the_same_start() -> None:
    scored: list[tuple[int, int]] = []

    def score(start: int, stop: int) -> float | None:
        scored.append((start, stop))
        return None if stop - start > 2 else 0.5

    assert all(segment.length <= 2 for segment in best_segmentation(6, score, 6))
    assert max(stop - start for start, stop in scored) == 3


def test_a_long_row_neither_overflows_nor_recurses() -> None:
    segments = best_segmentation(5000, lambda start, stop: 40.0 if stop - start == 3 else 0.0, 4)
    assert sum(segment.length == 3 for segment in segments) == 1666
    assert all(0 <= segment.probability <= 1 for segment in segments)


def test_the_time_grows_with_the_number_of_frames_and_not_with_its_square() -> None:
    """Ten thousand frames of one exposure: 1.1 s on two cores of 2026."""
    frame = Header(Path("a.jpg"), timestamp=0.0, clock_step=0.001, time=0.01, bias=0.0, manual_exposure=False)
    row = [replace(frame, timestamp=n * 0.1, path=Path(f"I{n:05d}.JPG")) for n in range(10_000)]
    started = perf_counter()
    results = segment_frames(row, user_length=None, max_gap=None, whole_folder=True, read_thumbnails=lambda _: [])
    assert len(results) == 10_000
    assert perf_counter() - started < 20
