"""Choice of the reference and of the frames that span a burst, against exhaustive search."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from smarthdr_cli.burst.burst import Burst, CaptureMetadata, Exposure, Frame
from smarthdr_cli.burst.image_statistics import reduce_frame
from smarthdr_cli.burst.reference import choose_reference, reference_score, spanning_frames
from smarthdr_cli.colorspace import SRGB

pytestmark = pytest.mark.unit


def frame(ev: float, codes: np.ndarray | None = None) -> Frame:
    pixels = np.zeros((4, 4, 3), np.uint8) if codes is None else codes
    return Frame(Path(f"{ev}"), pixels, 255, "display", Exposure(ev), SRGB, CaptureMetadata(), str(ev), "array")


def burst(evs: list[float], reference: int) -> Burst:
    return Burst(tuple(frame(ev) for ev in evs), reference)


def test_short_bursts_are_taken_whole() -> None:
    assert spanning_frames(burst([0, 1, 2], 1)) == (0, 1, 2)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_spanning_is_the_best_of_all_subsets(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    evs = np.sort(rng.uniform(-6, 6, 9)).tolist()
    reference = int(rng.integers(1, 8))
    result = spanning_frames(burst(evs, reference), count)
    required = {0, reference, 8}

    def cost(chosen: tuple[int, ...]) -> float:
        return float((np.diff(np.array(evs)[list(chosen)]) ** 2).sum())

    candidates = [c for c in combinations(range(9), max(count, 3)) if required <= set(c)]
    assert required <= set(result)
    assert cost(result) == pytest.approx(min(map(cost, candidates)))


def test_a_stack_of_seventeen_at_even_steps() -> None:
    assert spanning_frames(burst([float(i) for i in range(17)], 8)) == tuple(range(0, 17, 2))
    assert spanning_frames(burst([float(i) for i in range(17)], 7))[0::8] == (0, 16)


def test_a_count_of_one_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least two"):
        spanning_frames(burst([0, 1, 2], 1), 1)


def random_codes(low: int, high: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(low, high, (64, 64, 3)).astype(np.uint8)


def test_reference_is_the_well_exposed_frame() -> None:
    frames = [
        reduce_frame(frame(ev, codes))
        for ev, codes in ((-2, random_codes(60, 200)), (0, random_codes(190, 256)), (2, random_codes(250, 256)))
    ]
    scores = reference_score(frames)
    assert scores[0] > 0.95
    assert scores[1] < 0.7
    assert scores[2] < 0.05
    assert choose_reference(frames, [-2, 0, 2]) == 0


def test_shadows_count_a_quarter_and_clipped_pixels_nothing() -> None:
    shadows = reduce_frame(frame(0, np.full((64, 64, 3), 20, np.uint8)))  # linear 0.007
    clipped = reduce_frame(frame(1, np.full((64, 64, 3), 255, np.uint8)))
    assert reference_score([shadows, clipped]) == [0.25, 0.0]


def test_near_ties_go_to_mid_range_then_to_the_darker() -> None:
    same = [reduce_frame(frame(ev, random_codes(60, 200))) for ev in range(4)]
    assert choose_reference(same, [0, 1, 2, 3]) == 1
    assert choose_reference(same, [3, 2, 1, 0]) == 2
    assert choose_reference(same, [0, 1, 3, 6]) == 2
    unusable = [reduce_frame(frame(ev, random_codes(0, 10))) for ev in range(3)]
    assert choose_reference(unusable, [0, 1, 2]) == 1
