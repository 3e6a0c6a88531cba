"""Whether a homography beats leaving the frame where it is, measured on windows that took no part in fitting it."""

from dataclasses import dataclass

import numpy as np

from smarthdr_cli.align.block_matching import choose_windows, smooth
from smarthdr_cli.align.brightness_transfer import transfer
from smarthdr_cli.align.motion_models import corner_deviation, fit_similarity
from smarthdr_cli.align.pyramid_view import View, project, translation, warped_window, window
from smarthdr_cli.radiometry import F32, F64

MIN_SHIFT = 0.15  # pixels: less is not worth a resampling
_MARGIN = 0.95  # a candidate's residual must be below this share of identity's
_CLEAR = 0.9  # a window decides when one residual is below this share of the other
_MIN_WINDOWS = 4
_NOTHING = 0.01  # log2 units
_LIVE = 0.1  # share of a window in which something must be recorded
_SHOWN = 0.85  # of identity's residual: bilinear sampling alone takes noise down to 0.89
_LEVERAGE = 4.0  # deviation of the worst corner, in deviations of a window
_TRIM = 0.8  # share of pixels of a window, and of windows, that count: the rest may move


@dataclass(frozen=True)
class Verdict:
    """``chosen``: the accepted homography or None; ``before``, ``after``: residuals in log2 units."""

    chosen: F64 | None
    before: float
    after: float
    windows: int


def judge(anchor: View, second: View, anchored: F64, candidates: list[F64]) -> Verdict:
    """Compare candidates (reference to ``second``) with identity, against ``anchor`` seen through ``anchored``.

    ``anchored`` takes reference pixels to the anchor's (identity when the anchor is the reference). A candidate may win
    at 1:1 or, where parallax or noise leaves nothing to see there, at working size; it must not lose at the other. One
    whose corners hang in the air is held to the similarity, or the shift, that the windows it explains do carry.
    """
    best: Verdict | None = None
    least = float("inf")
    size = anchor.frame.size
    back: F64 = np.asarray(np.linalg.inv(anchored), np.float64)
    for candidate in candidates:
        if not plausible(candidate, size):
            continue
        levels = _levels(anchor, second, back, candidate)
        carried = _carried(candidate, _evidence(levels, size), size)
        if carried is not candidate:
            candidate = carried
            levels = _levels(anchor, second, back, candidate) if plausible(candidate, size) else levels
        if not plausible(candidate, size) or largest_shift(candidate, size) < MIN_SHIFT:
            continue
        if max(level.windows for level in levels) < _MIN_WINDOWS:
            continue
        shown = max(levels, key=lambda level: level.gain)
        if shown.beats and not any(level.worse for level in levels):
            share = float(np.prod([1.0 - level.gain for level in levels if level.windows >= _MIN_WINDOWS]))
            if share < least:
                least = share
                best = Verdict(candidate, shown.before, shown.after, shown.windows)
        elif best is None:
            best = Verdict(None, levels[0].before, levels[0].before, levels[0].windows)
    if best is not None:
        return best
    stay = _compare(anchor, second, back, back)
    return Verdict(None, stay.before, stay.before, stay.windows)


def _levels(anchor: View, second: View, back: F64, candidate: F64) -> "list[_Duel]":
    levels = [_compare(anchor, second, back, candidate @ back)]
    if anchor.coarse is not None and second.coarse is not None:
        small = (anchor.stepped(second, back), anchor.stepped(second, candidate @ back))
        levels.append(_compare(anchor.coarse, second.coarse, *small))
    return levels


def _evidence(levels: "list[_Duel]", size: tuple[int, int]) -> F64:
    """(n, 2) full-resolution centres of the level that has more of them."""
    most = max(levels, key=lambda level: len(level.explained))
    return most.explained * (max(size) / max(most.size))


def _carried(candidate: F64, points: F64, size: tuple[int, int]) -> F64:
    """``candidate``, or the best similarity or shift to it on ``points`` where they leave a corner unsupported."""
    if len(points) == 0 or np.array_equal(candidate[:, :2], np.eye(3)[:, :2]):
        return candidate
    similar = bool(np.all(candidate[2, :2] == 0))
    if len(points) >= 4 and corner_deviation(points, 1.0, size, similar=similar) <= _LEVERAGE:
        return candidate
    target = project(candidate, points)
    if not similar and len(points) >= 3 and corner_deviation(points, 1.0, size, similar=True) <= _LEVERAGE:
        return fit_similarity(points, target)
    return translation(*(target - points).mean(axis=0))


@dataclass(frozen=True)
class _Duel:
    """Identity against one candidate on one level: residuals, and the windows each clearly won.

    ``explained``: (n, 2) centres of the windows that are evidence for the candidate: better, not merely no worse.
    """

    before: float
    after: float
    won: int
    lost: int
    windows: int
    explained: F64
    size: tuple[int, int]

    @property
    def gain(self) -> float:
        return 1.0 - self.after / self.before if self.before > 0 and self.windows >= _MIN_WINDOWS else -1.0

    @property
    def beats(self) -> bool:
        return self.gain > 1 - _MARGIN and self.won > self.lost + 2

    @property
    def worse(self) -> bool:
        return self.windows >= _MIN_WINDOWS and (self.after > 1.03 * self.before or self.lost > self.won + 1)


def _compare(anchor: View, second: View, stay: F64, go: F64) -> _Duel:
    centres, errors = _residuals(anchor, second, [stay, go])
    if len(errors) == 0:
        return _Duel(0.0, 0.0, 0, 0, 0, centres, anchor.frame.size)
    before, after = (_trimmed(errors[:, side]) for side in (0, 1))
    won = int(np.count_nonzero(errors[:, 1] < _CLEAR * errors[:, 0]))
    lost = int(np.count_nonzero(errors[:, 0] < _CLEAR * errors[:, 1]))
    explained = centres[errors[:, 1] < _SHOWN * errors[:, 0]]
    return _Duel(before, after, won, lost, len(errors), explained, anchor.frame.size)


def plausible(homography: F64, size: tuple[int, int]) -> bool:
    """A handheld camera's: no flip, little scale and perspective, and at least a third of the frame shared."""
    height, width = size
    if not np.all(np.isfinite(homography)):
        return False
    corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], np.float64)
    depth = np.column_stack([corners, np.ones(4)]) @ homography[2]
    if np.any(depth <= 0.5 * depth.max()) or depth.max() <= 0:
        return False
    image = project(homography, corners)
    turns = np.roll(image, -1, axis=0) - image
    cross = turns[:, 0] * np.roll(turns[:, 1], -1) - turns[:, 1] * np.roll(turns[:, 0], -1)
    if np.any(cross <= 0):
        return False
    scale = np.linalg.norm(turns, axis=1) / np.array([width - 1, height - 1, width - 1, height - 1])
    if scale.min() < 0.7 or scale.max() > 1.4:
        return False
    grid = np.stack(np.meshgrid(np.linspace(0, width - 1, 16), np.linspace(0, height - 1, 16)), axis=-1).reshape(-1, 2)
    there = project(homography, grid)
    inside = np.all((there >= 0) & (there <= [width - 1, height - 1]), axis=1)
    return float(inside.mean()) > 1 / 3


def largest_shift(homography: F64, size: tuple[int, int]) -> float:
    """How far, in pixels, the corner or centre that moves most moves."""
    height, width = size
    points = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1], [width / 2, height / 2]])
    return float(np.linalg.norm(project(homography, points) - points, axis=1).max())


def _residuals(anchor: View, second: View, relative: list[F64]) -> tuple[F64, F64]:
    """Held-out windows: (n, 2) centres in the anchor, (n, candidates) trimmed residuals in log2 units.

    Measured on pixels every candidate can see. Pixels that are clipped or black in every picture say
    nothing and do not count.
    """
    tone = transfer(anchor, second, relative[-1])
    chosen = choose_windows(anchor, second, relative[-1], tone)
    rows, centres = [], []
    for corner in chosen.held:
        x0, y0 = int(corner[0]), int(corner[1])
        x1, y1 = x0 + chosen.side, y0 + chosen.side
        ours = smooth(tone.clamp(window(anchor, x0, y0, x1, y1)))
        seen = [warped_window(second, homography, x0, y0, x1, y1) for homography in relative]
        others = [smooth(tone(log)) for log, _ in seen]
        common = np.logical_and.reduce([mask > 0 for _, mask in seen])
        every = np.stack([ours, *others])
        common &= (every.min(axis=0) < tone.high - _NOTHING) & (every.max(axis=0) > tone.low + _NOTHING)
        if np.count_nonzero(common) < _LIVE * chosen.side**2:
            continue
        centres.append(corner + (chosen.side - 1) / 2)
        rows.append([_spread((ours - theirs)[common]) for theirs in others])
    return np.array(centres).reshape(-1, 2), np.array(rows, np.float64).reshape(-1, len(relative))


def _spread(difference: F32) -> float:
    away = np.abs(difference - np.median(difference))
    return _trimmed(away)


def _trimmed(values: F32 | F64) -> float:
    count = max(1, int(np.ceil(_TRIM * len(values))))
    return float(np.partition(values, count - 1)[:count].mean())
