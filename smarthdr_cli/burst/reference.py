"""Which frame is the reference, and which frames of many span the exposure range best."""

from itertools import pairwise

import numpy as np

from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.burst.image_statistics import Reduced, relative_sharpness

_NEAR_TIE = 0.8
_SHADE_WEIGHT = 0.25
_SHARP = 0.8  # frames of one static scene scatter by about this much under camera curves; blur of one pixel gives 0.5


def reference_score(frames: list[Reduced]) -> list[float]:
    """Score of each frame as reference: (well-exposed share + shaded share / 4) x min(1, relative sharpness / 0.8).

    Shade counts a quarter (noisy, but its structure is there), clipped pixels count nothing.
    """
    sharp = relative_sharpness(frames)
    usable = [float(frame.well_exposed.mean()) + _SHADE_WEIGHT * float(frame.shaded.mean()) for frame in frames]
    return [share * min(1.0, s / _SHARP) for share, s in zip(usable, sharp, strict=True)]


def choose_reference(frames: list[Reduced], evs: list[float]) -> int:
    """Index of the reference: of the frames within 20 % of the best ``reference_score`` the one in mid-range.

    Mid-range: the EV nearest to the middle between the darkest and the brightest frame; on a tie the darker one, which
    holds more highlights. When no frame has well-exposed pixels every score is 0 and the mid-range frame is taken.
    """
    scores = reference_score(frames)
    best = max(scores)
    middle = (min(evs) + max(evs)) / 2
    near = [i for i, score in enumerate(scores) if score >= _NEAR_TIE * best]
    return min(near, key=lambda i: (round(abs(evs[i] - middle), 3), evs[i]))


def spanning(burst: Burst, count: int = 9) -> tuple[int, ...]:
    """Indices (ascending) of the ``count`` frames that span the burst's range best; all of them when there are no more.

    Always the darkest, the brightest and the reference. The rest minimises the sum of squared EV gaps between
    neighbours (the most even spacing), found exactly by dynamic programming. Raises ValueError for count < 2.
    """
    if count < 2:
        raise ValueError("at least two frames are needed to span a range")
    total = len(burst)
    if total <= count:
        return tuple(range(total))
    must = {0, burst.reference, total - 1}
    count = max(count, len(must))
    evs = burst.evs
    cost = np.full((count, total), np.inf)  # cost[k, i]: k + 1 frames chosen, the last one i
    parent = np.zeros((count, total), int)
    cost[0, 0] = 0.0
    for k in range(1, count):
        for i in range(1, total):
            for j in range(i):
                if any(j < m < i for m in must):
                    continue
                candidate = cost[k - 1, j] + (evs[i] - evs[j]) ** 2
                if candidate < cost[k, i]:
                    cost[k, i], parent[k, i] = candidate, j
    chosen = [total - 1]
    for k in range(count - 1, 0, -1):
        chosen.append(int(parent[k, chosen[-1]]))
    chosen.reverse()
    assert all(a < b for a, b in pairwise(chosen))
    return tuple(chosen)
