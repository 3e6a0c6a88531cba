"""Every frame to the reference: directly where they share enough, over the neighbour where they do not."""

from typing import Literal

import numpy as np

from smarthdr_cli.align.features import Features, correlate, detect, match
from smarthdr_cli.align.patches import Placement, refine, tolerance
from smarthdr_cli.align.verdict import MIN_SHIFT, judge, largest_shift, plausible
from smarthdr_cli.align.view import F64, View, look
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.linear import Alignment, Response

_MIN_SIDE = 48  # pixels: smaller frames hold too few windows to measure anything
_MIN_WINDOWS = 6  # held-out windows shared with the reference, below which the neighbour is asked


def align_burst(
    burst: Burst,
    response: Response | None,
    *,
    mode: Literal["auto", "none"] = "auto",
    previous: Alignment | None = None,
) -> Alignment:
    """Homographies that lay every frame on the reference, each kept only when it measurably beats identity.

    ``response``: the camera curve, or None for the prior (sRGB for display codes). Exposures are brought together by
    the frames' own histograms, so stated EVs may be missing or wrong. ``previous``: an earlier alignment to start
    from, which skips the search for features.

    SIFT and MAGSAC++ at about one megapixel give a first homography; translation ECC of some fifty textured windows
    at 1:1 gives the fraction of a pixel; other windows decide. ``scores``: trimmed residuals (log2 units) at identity
    and as returned; equal where identity was kept, (0, 0) for the reference and where nothing could be measured.
    """
    count = len(burst)
    if mode == "none" or min(burst.size) < _MIN_SIDE:
        return Alignment.identity(count)
    looks = _Looks(burst, response)
    homographies = np.tile(np.eye(3), (count, 1, 1))
    moved = [False] * count
    scores = [(0.0, 0.0)] * count
    for index in sorted(range(count), key=lambda i: abs(i - burst.reference)):
        if index == burst.reference:
            continue
        neighbour = index + (1 if index < burst.reference else -1)
        start = None if previous is None else previous.homographies[index]
        found, scores[index] = _place(looks, burst.reference, neighbour, index, homographies[neighbour], start)
        if found is not None:
            homographies[index] = found
            moved[index] = True
    return Alignment(homographies, tuple(moved), tuple(scores))


class _Looks:
    """Views and features of the frames, each made once and only when asked for."""

    def __init__(self, burst: Burst, response: Response | None) -> None:
        self._burst = burst
        self._response = response
        self._views: dict[int, View] = {}
        self._features: dict[int, Features] = {}

    def view(self, index: int) -> View:
        if index not in self._views:
            self._views[index] = look(self._burst.frames[index], self._response)
        return self._views[index]

    def features(self, index: int) -> Features:
        if index not in self._features:
            self._features[index] = detect(self.view(index))
        return self._features[index]


def _place(
    looks: _Looks, reference: int, neighbour: int, index: int, neighbour_at: F64, start: F64 | None
) -> tuple[F64 | None, tuple[float, float]]:
    """The homography of one frame, None for identity, and its residuals before and after."""
    candidates: list[F64] = [] if start is None else [start]
    direct = _pair(looks, reference, index, start)
    if direct is not None:
        candidates.append(direct.homography)
    if neighbour != reference and (direct is None or not direct.trusted):
        step = _pair(looks, neighbour, index, None if start is None else start @ np.linalg.inv(neighbour_at))
        if step is not None:
            chained = step.homography @ neighbour_at
            candidates.append(chained)
            again = refine(looks.view(reference), looks.view(index), chained, passes=1)
            if again is not None:
                candidates.append(again.homography)
    verdict = judge(looks.view(reference), looks.view(index), np.eye(3), candidates)
    if verdict.windows < _MIN_WINDOWS and neighbour != reference:
        verdict = judge(looks.view(neighbour), looks.view(index), neighbour_at, candidates)
    found = None if verdict.chosen is None else candidates[verdict.chosen]
    return found, (verdict.before, verdict.after)


def _pair(looks: _Looks, first: int, second: int, start: F64 | None) -> Placement | None:
    """The homography from frame ``first`` to ``second`` by their own pixels."""
    ours, theirs = looks.view(first), looks.view(second)
    size = ours.frame.size
    near = refine(ours, theirs, np.eye(3) if start is None else start, passes=1)
    if near is not None and near.trusted and near.agreeing >= 0.6 * near.measured:
        if start is None and largest_shift(near.homography, size) < MIN_SHIFT:
            return near  # a tripod
        return refine(ours, theirs, near.homography, passes=1) or near
    rough, agreeing = match(looks.features(first), looks.features(second), 1.5 * tolerance(ours))
    if rough is None or agreeing < 20 or not plausible(rough, size):
        shifted = correlate(ours, theirs)
        if shifted is not None and plausible(shifted, size):
            other = refine(ours, theirs, shifted)
            if other is not None and other.trusted:
                return other
    if rough is None or not plausible(rough, size):
        return near
    return refine(ours, theirs, rough) or Placement(rough, 0, 0)
