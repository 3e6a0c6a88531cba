"""Global alignment: a homography from the reference to every other frame, or the identity where none fits better.

    H_i = argmin e(H) over the candidates, kept where e(H_i) < 0.95 e(I)

e is the residual on held-out windows (`model_selection`). Candidates come from windows, from phase correlation, from
features where that fails and, where a frame shares too little with the reference, from its neighbour n: H_i = H_in H_n.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from threading import Lock
from typing import Literal

import numpy as np

from smarthdr_cli.align.block_matching import match_windows
from smarthdr_cli.align.features import Features, correlate, detect_features, match_features
from smarthdr_cli.align.model_selection import MIN_SHIFT, plausible, select_homography
from smarthdr_cli.align.motion_models import HomographyFit, largest_shift, refine_by_ecc
from smarthdr_cli.align.pyramid_view import View, make_view
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.radiometry import F64

_MIN_SIDE = 48  # pixels; smaller frames hold too few windows
_FEATURE_TOLERANCE = 2.0  # working pixels
_MIN_WINDOWS = 6  # held-out windows shared with the reference; with fewer the neighbour decides


@dataclass(frozen=True)
class Alignment:
    """Homographies (N, 3, 3) float64, each from reference pixel coordinates (x, y, 1) to that frame's.

    Pixel centres are at integer coordinates (OpenCV's convention). ``moved[i]`` is False where the identity was kept.
    ``scores``: for each frame the residual at the identity and as returned, in log2 units.
    """

    homographies: F64
    moved: tuple[bool, ...]
    scores: tuple[tuple[float, float], ...] = ()

    @staticmethod
    def identity(count: int) -> "Alignment":
        """No motion for ``count`` frames."""
        return Alignment(np.tile(np.eye(3), (count, 1, 1)), (False,) * count)

    def reordered(self, order: list[int]) -> "Alignment":
        """The alignment of the same frames in another order; frame ``order[i]`` becomes frame i."""
        scores = tuple(self.scores[n] for n in order) if self.scores else ()
        return Alignment(self.homographies[order], tuple(self.moved[n] for n in order), scores)


def align_burst(burst: Burst, *, mode: Literal["auto", "none"] = "auto") -> Alignment:
    """The alignment of every frame of ``burst`` to its reference.

    Brightness is matched by the frames' histograms, so neither the camera's curve nor exposures take part. ``mode``
    "none" and frames below 48 pixels give the identity.

    In ``scores`` both residuals are equal where the identity was kept, and 0 for the reference and where nothing could
    be measured. Raises nothing.
    """
    count = len(burst)
    if mode == "none" or min(burst.size) < _MIN_SIDE:
        return Alignment.identity(count)
    views = _ViewCache(burst)
    homographies = np.tile(np.eye(3), (count, 1, 1))
    moved = [False] * count
    scores = [(0.0, 0.0)] * count
    views.view(burst.reference)  # both threads need it

    def align_side(indices: range) -> None:
        for index in indices:  # away from the reference, each after its neighbour towards it
            neighbour = index + (1 if index < burst.reference else -1)
            homography, scores[index] = _align_frame(views, burst.reference, neighbour, index, homographies[neighbour])
            if homography is not None:
                homographies[index] = homography
                moved[index] = True

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(align_side, (range(burst.reference - 1, -1, -1), range(burst.reference + 1, count))))
    return Alignment(homographies, tuple(moved), tuple(scores))


class _ViewCache:
    """Views and features of the frames, each made once and only when asked for."""

    def __init__(self, burst: Burst) -> None:
        self._burst = burst
        self._views: dict[int, View] = {}
        self._features: dict[int, Features] = {}
        self._lock = Lock()

    def view(self, index: int) -> View:
        if index not in self._views:
            self._views[index] = make_view(self._burst.frames[index])
        return self._views[index]

    def features(self, index: int) -> Features:
        with self._lock if index == self._burst.reference else nullcontext():  # the only frame both threads ask for
            if index not in self._features:
                self._features[index] = detect_features(self.view(index))
            return self._features[index]


def _align_frame(
    views: _ViewCache, reference: int, neighbour: int, index: int, to_neighbour: F64
) -> tuple[F64 | None, tuple[float, float]]:
    """The homography of one frame, None for the identity, and its residuals before and after."""
    first, second = views.view(reference), views.view(index)
    direct = _register_pair(views, reference, index)
    reliable = bool(direct) and direct[-1].reliable
    still = reliable and largest_shift(direct[-1].homography, first.frame.size) < MIN_SHIFT
    if reliable:
        direct = direct[-1:]
        refined = None if still else refine_by_ecc(first, second, direct[0].homography)
        selection = None if refined is None else select_homography(first, second, np.eye(3), [refined])
        if selection is not None and selection.homography is not None and selection.windows >= _MIN_WINDOWS:
            return selection.homography, (selection.before, selection.after)
    candidates = [fit.homography for fit in direct]
    if neighbour != reference and not any(fit.reliable for fit in direct):
        for step in _register_pair(views, neighbour, index):
            chained = step.homography @ to_neighbour
            candidates.append(chained)
            if step.reliable:
                candidates += [fit.homography for fit in refine_coarse_to_fine(first, second, chained)]
    anchor, to_anchor = first, np.eye(3)
    selection = select_homography(anchor, second, to_anchor, candidates)
    if selection.windows < _MIN_WINDOWS and neighbour != reference:
        anchor, to_anchor = views.view(neighbour), to_neighbour
        selection = select_homography(anchor, second, to_anchor, candidates)
    if candidates and not still:
        best = candidates[-1] if selection.homography is None else selection.homography
        refined = refine_by_ecc(first, second, best)
        if refined is not None:
            selection = select_homography(anchor, second, to_anchor, [refined], selection)
    return selection.homography, (selection.before, selection.after)


def _register_pair(views: _ViewCache, first_index: int, second_index: int) -> list[HomographyFit]:
    """Homographies from one frame to another by their own pixels, the finest last."""
    first, second = views.view(first_index), views.view(second_index)
    size = first.frame.size
    near = match_windows(first, second, np.eye(3), passes=1)
    if near is not None and near.found_most:
        if largest_shift(near.homography, size) < MIN_SHIFT:
            return [near]  # a tripod
        return [match_windows(first, second, near.homography, passes=1) or near]
    correlated = correlate(first, second)
    fits = []
    if correlated is not None and plausible(correlated, size):
        fits = refine_coarse_to_fine(first, second, correlated)
        if fits and fits[-1].found_most:
            return fits[-1:]
    tolerance = _FEATURE_TOLERANCE / float(first.to_working[0, 0])
    matched = match_features(views.features(first_index), views.features(second_index), tolerance, size)
    if matched is not None and plausible(matched.homography, size):
        fits.append(HomographyFit(matched.homography, 0, matched.inliers))  # features are too coarse to be reliable
        fits += refine_coarse_to_fine(first, second, matched.homography)
    return fits if near is None else [near, *fits]


def refine_coarse_to_fine(first: View, second: View, start: F64) -> list[HomographyFit]:
    """``start`` refined on the coarse views and from there at 1:1, each where its windows agree."""
    fits: list[HomographyFit] = []
    if first.coarse is not None and second.coarse is not None:
        coarse = match_windows(first.coarse, second.coarse, first.full_to_coarse(second, start), passes=2)
        if coarse is not None:
            start = first.coarse_to_full(second, coarse.homography)
            fits.append(HomographyFit(start, coarse.inliers, coarse.tried))
    fine = match_windows(first, second, start)
    return fits if fine is None else [*fits, fine]
