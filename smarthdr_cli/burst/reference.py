"""Choice of the reference frame, and of the frames that span the exposure range of a long burst."""

from itertools import pairwise

import numpy as np

from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.burst.image_statistics import ReducedFrame, relative_sharpness

TIE_RATIO = 0.8  # scores from this share of the best one count as equal
SHADOW_WEIGHT = 0.25  # of shadow pixels against well-exposed ones: noisy, but with structure
MIN_SHARPNESS = 0.8  # relative; camera curves alone cause about this much scatter, blur of one pixel gives 0.5


def reference_score(frames: list[ReducedFrame]) -> list[float]:
    """(well-exposed share + SHADOW_WEIGHT x shadow share) x min(1, relative sharpness / MIN_SHARPNESS) per frame."""
    usable = [float(frame.well_exposed.mean()) + SHADOW_WEIGHT * float(frame.shadows.mean()) for frame in frames]
    sharpness = relative_sharpness(frames)
    return [share * min(1.0, sharp / MIN_SHARPNESS) for share, sharp in zip(usable, sharpness, strict=True)]


def choose_reference(frames: list[ReducedFrame], evs: list[float]) -> int:
    """Index of the reference: among the frames with TIE_RATIO of the best ``reference_score`` the one in mid-range.

    Mid-range is the EV nearest to the mean of the darkest and the brightest; on a tie the darker frame, which has more
    highlights. Without well-exposed pixels in any frame all scores are 0 and the mid-range frame is chosen.
    """
    scores = reference_score(frames)
    middle = (min(evs) + max(evs)) / 2
    candidates = [i for i, score in enumerate(scores) if score >= TIE_RATIO * max(scores)]
    return min(candidates, key=lambda i: (round(abs(evs[i] - middle), 3), evs[i]))


def spanning_frames(burst: Burst, count: int = 9) -> tuple[int, ...]:
    """Indices (ascending) of the ``count`` frames that span the range of the burst best; all where it has no more.

    The darkest frame, the brightest and the reference are always among them. The others minimise the sum of squared EV
    gaps between neighbours (the most even spacing), found exactly by dynamic programming.
    Raises ValueError for ``count`` below 2.
    """
    if count < 2:
        raise ValueError("at least two frames are needed to span a range")
    total = len(burst)
    if total <= count:
        return tuple(range(total))
    required = {0, burst.reference, total - 1}
    count = max(count, len(required))
    evs = burst.evs
    cost = np.full((count, total), np.inf)  # cost[k, i]: k + 1 frames chosen, the last one i
    parent = np.zeros((count, total), int)
    cost[0, 0] = 0.0
    for k in range(1, count):
        for i in range(1, total):
            for j in range(i):
                if any(j < m < i for m in required):
                    continue
                candidate = cost[k - 1, j] + (evs[i] - evs[j]) ** 2
                if candidate < cost[k, i]:
                    cost[k, i], parent[k, i] = candidate, j
    indices = [total - 1]
    for k in range(count - 1, 0, -1):
        indices.append(int(parent[k, indices[-1]]))
    indices.reverse()
    assert all(a < b for a, b in pairwise(indices))
    return tuple(indices)
