"""Whether a homography fits better than leaving the frame in place, on windows that took no part in the fit.

Of a held-out window the residual is r = |d - median(d)|, d the difference of log light after brightness transfer; its
error is the mean of the smallest 80 % of r. The errors of all windows are averaged in the same way, to e0 at the
identity and e1 at the candidate. A candidate is accepted where e1 < 0.95 e0 and clearly more windows improve than
worsen, at 1:1 or at the coarse level, and where it does not worsen the other level. A candidate with a corner that no
improved window supports is reduced to a similarity or a shift first.
"""

from dataclasses import dataclass

import numpy as np

from smarthdr_cli.align.block_matching import choose_windows, smooth_windows
from smarthdr_cli.align.brightness_transfer import estimate_transfer
from smarthdr_cli.align.motion_models import corner_deviation, fit_similarity, largest_shift
from smarthdr_cli.align.pyramid_view import View, project, translation
from smarthdr_cli.radiometry import F32, F64

MIN_SHIFT = 0.15  # pixels; smaller motions are not worth a resampling
_MAX_ERROR_RATIO = 0.95  # e1 / e0 of an accepted candidate
_WINDOW_RATIO = 0.9  # of two errors of a window, below which the window improves or worsens
_SUPPORT_RATIO = 0.85  # of the error at identity, below which a window supports the candidate; bilinear sampling
# alone reduces noise to 0.89
_MIN_WINDOWS = 4
_RANGE_MARGIN = 0.01  # log2 units from either end of the common range
_MIN_RECORDED_SHARE = 0.1  # of a window
_MAX_LEVERAGE = 4.0  # standard deviation of the worst corner, in those of a window
_TRIMMED_SHARE = 0.8  # of pixels in a window, and of windows; the rest may move


@dataclass(frozen=True)
class Selection:
    """``homography``: the accepted one, or None for the identity. ``before``, ``after``: e0 and e1, log2 units.

    ``windows``: the number of held-out windows the decision rests on. ``ratio``: e1 / e0 over both levels, infinite for
    the identity.
    """

    homography: F64 | None
    before: float
    after: float
    windows: int
    ratio: float = float("inf")


def select_homography(
    anchor: View, second: View, to_anchor: F64, candidates: list[F64], known: Selection | None = None
) -> Selection:
    """The best of ``candidates`` that is accepted against the identity, by comparison with ``anchor``; ``known``, what
    was selected for the same frames before, where none is better.

    ``candidates``: (3, 3) each, full-resolution pixels of the reference to those of ``second``. ``to_anchor``: (3, 3),
    pixels of the reference to those of ``anchor``; the identity where the anchor is the reference.
    """
    best = known
    size = anchor.frame.size
    from_anchor: F64 = np.asarray(np.linalg.inv(to_anchor), np.float64)
    for candidate in candidates:
        if not plausible(candidate, size):
            continue
        levels = _compare_levels(anchor, second, from_anchor, candidate)
        reduced = _reduce_model(candidate, _supporting_points(levels, size), size)
        if reduced is not candidate:
            candidate = reduced
            levels = _compare_levels(anchor, second, from_anchor, candidate) if plausible(candidate, size) else levels
        if not plausible(candidate, size) or largest_shift(candidate, size) < MIN_SHIFT:
            continue
        if max(level.windows for level in levels) < _MIN_WINDOWS:
            continue
        clearest = max(levels, key=lambda level: level.gain)
        if clearest.improves and not any(level.worsens for level in levels):
            ratio = float(np.prod([1.0 - level.gain for level in levels if level.windows >= _MIN_WINDOWS]))
            if best is None or ratio < best.ratio:
                best = Selection(candidate, clearest.before, clearest.after, clearest.windows, ratio)
        elif best is None:
            best = Selection(None, levels[0].before, levels[0].before, levels[0].windows)
    if best is not None:
        return best
    identity = _compare(anchor, second, from_anchor, from_anchor)
    return Selection(None, identity.before, identity.before, identity.windows)


def plausible(homography: F64, size: tuple[int, int]) -> bool:
    """Whether a handheld camera can have moved so: no flip, little scale and perspective, a third of the frame shared.

    ``size``: (height, width) of the frame in pixels.
    """
    height, width = size
    if not np.all(np.isfinite(homography)):
        return False
    corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], np.float64)
    depth = np.column_stack([corners, np.ones(4)]) @ homography[2]
    if np.any(depth <= 0.5 * depth.max()) or depth.max() <= 0:
        return False
    image = project(homography, corners)
    sides = np.roll(image, -1, axis=0) - image
    cross = sides[:, 0] * np.roll(sides[:, 1], -1) - sides[:, 1] * np.roll(sides[:, 0], -1)
    if np.any(cross <= 0):
        return False
    scale = np.linalg.norm(sides, axis=1) / np.array([width - 1, height - 1, width - 1, height - 1])
    if scale.min() < 0.7 or scale.max() > 1.4:
        return False
    grid = np.stack(np.meshgrid(np.linspace(0, width - 1, 16), np.linspace(0, height - 1, 16)), axis=-1).reshape(-1, 2)
    projected = project(homography, grid)
    inside = np.all((projected >= 0) & (projected <= [width - 1, height - 1]), axis=1)
    return float(inside.mean()) > 1 / 3


@dataclass(frozen=True)
class _Comparison:
    """Identity against one candidate at one level: e0 and e1, and the numbers of windows that improve and worsen.

    ``support``: (n, 2) centres of the windows that are clearly better under the candidate. ``size``: of the level.
    """

    before: float
    after: float
    improved: int
    worsened: int
    windows: int
    support: F64
    size: tuple[int, int]

    @property
    def gain(self) -> float:
        return 1.0 - self.after / self.before if self.before > 0 and self.windows >= _MIN_WINDOWS else -1.0

    @property
    def improves(self) -> bool:
        return self.gain > 1 - _MAX_ERROR_RATIO and self.improved > self.worsened + 2

    @property
    def worsens(self) -> bool:
        return self.windows >= _MIN_WINDOWS and (self.after > 1.03 * self.before or self.worsened > self.improved + 1)


def _compare_levels(anchor: View, second: View, from_anchor: F64, candidate: F64) -> list[_Comparison]:
    """Comparisons at 1:1 and, where both frames have one, at the coarse level."""
    levels = [_compare(anchor, second, from_anchor, candidate @ from_anchor)]
    if anchor.coarse is not None and second.coarse is not None:
        identity = anchor.full_to_coarse(second, from_anchor)
        moved = anchor.full_to_coarse(second, candidate @ from_anchor)
        levels.append(_compare(anchor.coarse, second.coarse, identity, moved))
    return levels


def _compare(anchor: View, second: View, identity: F64, moved: F64) -> _Comparison:
    centres, errors = _held_out_errors(anchor, second, [identity, moved])
    if len(errors) == 0:
        return _Comparison(0.0, 0.0, 0, 0, 0, centres, anchor.frame.size)
    before, after = errors.T
    return _Comparison(
        _trimmed_mean(before),
        _trimmed_mean(after),
        int(np.count_nonzero(after < _WINDOW_RATIO * before)),
        int(np.count_nonzero(before < _WINDOW_RATIO * after)),
        len(errors),
        centres[after < _SUPPORT_RATIO * before],
        anchor.frame.size,
    )


def _supporting_points(levels: list[_Comparison], size: tuple[int, int]) -> F64:
    """(n, 2) full-resolution centres of supporting windows, of the level that has more of them."""
    best = max(levels, key=lambda level: len(level.support))
    return best.support * (max(size) / max(best.size))


def _reduce_model(candidate: F64, points: F64, size: tuple[int, int]) -> F64:
    """``candidate``, or its best similarity or shift on ``points`` where these leave a corner undetermined."""
    if len(points) == 0 or np.array_equal(candidate[:, :2], np.eye(3)[:, :2]):
        return candidate
    affine = bool(np.all(candidate[2, :2] == 0))
    if len(points) >= 4 and corner_deviation(points, 1.0, size, similarity=affine) <= _MAX_LEVERAGE:
        return candidate
    target = project(candidate, points)
    if not affine and len(points) >= 3 and corner_deviation(points, 1.0, size, similarity=True) <= _MAX_LEVERAGE:
        return fit_similarity(points, target)
    return translation(*(target - points).mean(axis=0))


def _held_out_errors(anchor: View, second: View, homographies: list[F64]) -> tuple[F64, F64]:
    """(n, 2) centres in the anchor of held-out windows, and (n, len(homographies)) their errors in log2 units.

    Measured on pixels that lie inside the frame under every homography. Pixels at the same end of the common range in
    every picture do not count.
    """
    transfer = estimate_transfer(anchor, second, homographies[-1])
    windows = choose_windows(anchor, second, homographies[-1], transfer)
    if len(windows.held_out) == 0:
        return np.zeros((0, 2)), np.zeros((0, len(homographies)))
    target, _ = smooth_windows(anchor, windows.held_out, windows.side, None, transfer.clamp)
    sources, masks = zip(
        *(smooth_windows(second, windows.held_out, windows.side, homography, transfer) for homography in homographies),
        strict=True,
    )
    valid = np.logical_and.reduce([mask > 0 for mask in masks])
    valid &= np.minimum.reduce([target, *sources]) < transfer.high - _RANGE_MARGIN
    valid &= np.maximum.reduce([target, *sources]) > transfer.low + _RANGE_MARGIN
    differences = [target - source for source in sources]
    kept = np.flatnonzero(valid.sum(axis=(1, 2)) >= _MIN_RECORDED_SHARE * windows.side**2)
    errors = [[_trimmed_deviation(difference[k][valid[k]]) for difference in differences] for k in kept]
    centres = windows.held_out[kept] + (windows.side - 1) / 2
    return centres, np.array(errors, np.float64).reshape(-1, len(homographies))


def _trimmed_deviation(difference: F32) -> float:
    return _trimmed_mean(np.abs(difference - np.median(difference)))


def _trimmed_mean(values: F32 | F64) -> float:
    count = max(1, int(np.ceil(_TRIMMED_SHARE * len(values))))
    return float(np.partition(values, count - 1)[:count].mean())
