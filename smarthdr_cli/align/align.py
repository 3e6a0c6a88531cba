"""Every frame to the reference: directly where they share enough, over the neighbour where they do not."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from threading import Lock
from typing import Literal

import numpy as np

from smarthdr_cli.align.block_matching import Placement, refine
from smarthdr_cli.align.features import Features, correlate, detect, match
from smarthdr_cli.align.model_selection import MIN_SHIFT, judge, largest_shift, plausible
from smarthdr_cli.align.polish import polish
from smarthdr_cli.align.pyramid_view import View, look
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.radiometry import F64, Response

_MIN_SIDE = 48  # pixels: smaller frames hold too few windows to measure anything
_FEATURE_TOLERANCE = 2.0  # working pixels within which matches agree; the windows are strict later
_MIN_WINDOWS = 6  # held-out windows shared with the reference, below which the neighbour is asked


@dataclass(frozen=True)
class Alignment:
    """Homographies (N, 3, 3) float64, each taking reference pixel coordinates (x, y, 1) to that frame's.

    Pixel centres are at integer coordinates (OpenCV's convention). ``moved[i]`` is False where identity was kept.
    ``scores`` holds for each frame the residual before and after, as measured on well-exposed pixels.
    """

    homographies: F64
    moved: tuple[bool, ...]
    scores: tuple[tuple[float, float], ...] = ()

    @staticmethod
    def identity(count: int) -> "Alignment":
        """No motion for ``count`` frames."""
        return Alignment(np.tile(np.eye(3), (count, 1, 1)), (False,) * count)


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

    SIFT and MAGSAC++ at half a megapixel give a first homography; translation ECC of some eighty textured windows at
    1:1 gives the fraction of a pixel; other windows decide. ``scores``: trimmed residuals (log2 units) at identity
    and as returned; equal where identity was kept, (0, 0) for the reference and where nothing could be measured.
    """
    count = len(burst)
    if mode == "none" or min(burst.size) < _MIN_SIDE:
        return Alignment.identity(count)
    looks = _Looks(burst, response)
    homographies = np.tile(np.eye(3), (count, 1, 1))
    moved = [False] * count
    scores = [(0.0, 0.0)] * count
    looks.view(burst.reference)  # what both sides need is made before they part

    def side(indices: range) -> None:
        for index in indices:  # away from the reference, each after its neighbour towards it
            neighbour = index + (1 if index < burst.reference else -1)
            start = None if previous is None else previous.homographies[index]
            found, scores[index] = _place(looks, burst.reference, neighbour, index, homographies[neighbour], start)
            if found is not None:
                homographies[index] = found
                moved[index] = True

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(side, (range(burst.reference - 1, -1, -1), range(burst.reference + 1, count))))
    return Alignment(homographies, tuple(moved), tuple(scores))


class _Looks:
    """Views and features of the frames, each made once and only when asked for."""

    def __init__(self, burst: Burst, response: Response | None) -> None:
        self._burst = burst
        self._response = response
        self._views: dict[int, View] = {}
        self._features: dict[int, Features] = {}
        self._lock = Lock()

    def view(self, index: int) -> View:
        if index not in self._views:
            self._views[index] = look(self._burst.frames[index], self._response)
        return self._views[index]

    def features(self, index: int) -> Features:
        with self._lock if index == self._burst.reference else nullcontext():  # the one that both sides ask for
            if index not in self._features:
                self._features[index] = detect(self.view(index))
            return self._features[index]


def _place(
    looks: _Looks, reference: int, neighbour: int, index: int, neighbour_at: F64, start: F64 | None
) -> tuple[F64 | None, tuple[float, float]]:
    """The homography of one frame, None for identity, and its residuals before and after."""
    ours, theirs = looks.view(reference), looks.view(index)
    found = _pair(looks, reference, index, start)
    candidates = [] if start is None else [start]
    if found and found[-1].trusted:
        found = found[-1:]
    candidates += [placement.homography for placement in found]
    if neighbour != reference and not any(placement.trusted for placement in found):
        begin = None if start is None else start @ np.linalg.inv(neighbour_at)
        for step in _pair(looks, neighbour, index, begin):
            chained = step.homography @ neighbour_at
            candidates.append(chained)
            if step.trusted:
                candidates += [placement.homography for placement in descend(ours, theirs, chained)]
    anchor, anchored = ours, np.eye(3)
    verdict = judge(anchor, theirs, anchored, candidates)
    if verdict.windows < _MIN_WINDOWS and neighbour != reference:
        anchor, anchored = looks.view(neighbour), neighbour_at
        verdict = judge(anchor, theirs, anchored, candidates)
    if candidates:
        polished = polish(ours, theirs, candidates[-1] if verdict.chosen is None else verdict.chosen)
        if polished is not None:
            candidates = [polished, *([] if verdict.chosen is None else [verdict.chosen])]
            verdict = judge(anchor, theirs, anchored, candidates)
    return verdict.chosen, (verdict.before, verdict.after)


def _pair(looks: _Looks, first: int, second: int, start: F64 | None) -> list[Placement]:
    """Homographies from frame ``first`` to ``second`` by their own pixels, the finest last."""
    ours, theirs = looks.view(first), looks.view(second)
    size = ours.frame.size
    near = refine(ours, theirs, np.eye(3) if start is None else start, passes=1)
    if near is not None and near.trusted and near.agreeing >= 0.6 * near.tried:
        if start is None and largest_shift(near.homography, size) < MIN_SHIFT:
            return [near]  # a tripod
        return [refine(ours, theirs, near.homography, passes=1) or near]
    found = [] if near is None else [near]
    rough = match(
        looks.features(first), looks.features(second), _FEATURE_TOLERANCE / float(ours.to_working[0, 0]), size
    )
    if rough is not None and plausible(rough.homography, size):
        found.append(Placement(rough.homography, rough.agreeing, 0))
        found += descend(ours, theirs, rough.homography)
    if not any(placement.trusted for placement in found):
        shifted = correlate(ours, theirs)
        if shifted is not None and plausible(shifted, size):
            found += descend(ours, theirs, shifted)
    return found


def descend(first: View, second: View, start: F64) -> list[Placement]:
    """``start`` refined at working size and from there at 1:1, each where its windows agree."""
    found: list[Placement] = []
    if first.coarse is not None and second.coarse is not None:
        coarse = refine(first.coarse, second.coarse, first.stepped(second, start), passes=2)
        if coarse is not None:
            start = first.climbed(second, coarse.homography)
            found.append(Placement(start, coarse.tried, coarse.agreeing))
    fine = refine(first, second, start)
    return found if fine is None else [*found, fine]
