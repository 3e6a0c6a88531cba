"""Sub-pixel placement at full resolution from textured windows at 1:1, wherever most of them agree.

Half of the windows are measured and fitted; the other half is held out for `verdict`, which decides.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from smarthdr_cli.align.brightness_transfer import Transfer, transfer
from smarthdr_cli.align.motion_models import ecc, fit_motion
from smarthdr_cli.align.pyramid_view import View, warp_mask, warped_window, window
from smarthdr_cli.radiometry import F32, F64

_CELLS = 16  # across the longer side
_MIN_SHARE = 0.6  # of a window that must lie inside both frames
_MIN_TEXTURE = 1e-7  # smaller eigenvalue of the structure tensor, per pixel, (log2 units)^2
_MIN_LIKENESS = 0.45  # normalised correlation at the peak
_MIN_FIT = 6  # windows that must agree
_FULL_FIT = 16  # windows that must agree for eight parameters


@dataclass(frozen=True)
class Windows:
    """Square windows of ``side`` pixels; ``fit`` and ``held``: (n, 2) top-left corners as (x, y)."""

    fit: F64
    held: F64
    side: int


@dataclass(frozen=True)
class Placement:
    """A homography with the number of windows (or matches) tried and of those that agree with it."""

    homography: F64
    tried: int
    agreeing: int

    @property
    def trusted(self) -> bool:
        """Whether enough windows agree that no detour over a neighbour is needed."""
        return self.agreeing >= 12 and self.agreeing >= 0.3 * self.tried


def tolerance(view: View) -> float:
    """Distance in full-resolution pixels within which windows count as agreeing: parallax allowed, motion not."""
    return max(0.6, 0.3 / float(view.to_working[0, 0]))


def choose_windows(first: View, second: View, homography: F64, tone: Transfer) -> Windows:
    """The window of each cell of a grid with the most texture that both frames record; every other is held out."""
    height, width = first.frame.size
    side = int(np.clip(min(height, width) // 8, 16, 112))
    scale = float(first.to_working[0, 0])
    h, w = first.log.shape
    local = first.between(second, homography)
    both = warp_mask(np.full(second.log.shape, 255, np.uint8), local, (w, h))
    block = max(3, round(side * scale))
    texture = cv2.cornerMinEigenVal(cv2.GaussianBlur(tone.clamp(first.log), (0, 0), 1.0), block, ksize=3)
    texture[cv2.blur(both, (block, block)) < 255 * _MIN_SHARE] = 0.0
    margin = block // 2 + 1
    columns = max(2, min(_CELLS, int((w - 2 * margin) / block), round(_CELLS * w / max(w, h))))
    rows = max(2, min(_CELLS, int((h - 2 * margin) / block), round(_CELLS * h / max(w, h))))
    xs = np.linspace(margin, w - margin, columns + 1).astype(int)
    ys = np.linspace(margin, h - margin, rows + 1).astype(int)
    chosen: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
    for row in range(rows):
        for column in range(columns):
            cell = texture[ys[row] : ys[row + 1], xs[column] : xs[column + 1]]
            if cell.size == 0 or cell.max() < _MIN_TEXTURE:
                continue
            y, x = np.unravel_index(int(cell.argmax()), cell.shape)
            cx, cy = (xs[column] + x) / scale, (ys[row] + y) / scale
            x0 = int(np.clip(round(cx - side / 2), 0, width - side))
            y0 = int(np.clip(round(cy - side / 2), 0, height - side))
            chosen[(row + column) % 2].append((x0, y0))
    fit, held = (np.array(corners, np.float64).reshape(-1, 2) for corners in chosen)
    return Windows(fit, held, side)


def refine(first: View, second: View, start: F64, passes: int = 2) -> Placement | None:
    """Fit the displacements of the windows left by ``start``; None when too few of them agree on anything."""
    current = start
    placed: Placement | None = None
    reach = max(6, round(2.5 / float(first.to_working[0, 0])))
    for _ in range(passes):
        tone = transfer(first, second, current)
        windows = choose_windows(first, second, current, tone)
        found = [
            (corner, shift)
            for corner in windows.fit
            if (shift := _displacement(first, second, current, tone, corner, windows.side, reach)) is not None
        ]
        if len(found) < _MIN_FIT:
            return placed
        centres = np.array([corner for corner, _ in found]) + (windows.side - 1) / 2
        moved = centres + np.array([shift for _, shift in found])
        correction = fit_motion(centres, moved, tolerance(first), first.frame.size, _FULL_FIT)
        if correction is None or correction.agreeing < _MIN_FIT:
            return placed
        current = current @ correction.homography
        current = current / current[2, 2]
        placed = Placement(current, len(windows.fit), correction.agreeing)
        reach = max(3, reach // 4)
    return placed


def _displacement(
    first: View, second: View, homography: F64, tone: Transfer, corner: F64, side: int, reach: int
) -> F64 | None:
    """Shift (x, y) in pixels of ``first`` that takes a window to its likeness in ``second`` seen through H."""
    x0, y0 = int(corner[0]), int(corner[1])
    ours = smooth(tone.clamp(window(first, x0, y0, x0 + side, y0 + side)))
    theirs, their_mask = warped_window(second, homography, x0 - reach, y0 - reach, x0 + side + reach, y0 + side + reach)
    theirs = smooth(tone(theirs))
    if float(ours.std()) < 1e-3 or float(theirs.std()) < 1e-3:
        return None
    likeness = cv2.matchTemplate(theirs, ours, cv2.TM_CCOEFF_NORMED)
    _, peak, _, place = cv2.minMaxLoc(likeness)
    edge = 2 * reach
    if not np.isfinite(peak) or peak < _MIN_LIKENESS or min(place) < 1 or max(place) > edge - 1:
        return None
    under = their_mask[place[1] : place[1] + side, place[0] : place[0] + side]
    if np.count_nonzero(under) < _MIN_SHARE * side * side:
        return None
    our_mask = np.full(ours.shape, 255, np.uint8)
    start = np.array([[1.0, 0.0, place[0]], [0.0, 1.0, place[1]]], np.float32)
    fine = ecc(ours, our_mask, theirs, their_mask, start, cv2.MOTION_TRANSLATION)
    if fine is None or max(abs(fine[0, 2] - place[0]), abs(fine[1, 2] - place[1])) > 1.5:
        return None
    return np.asarray(fine[:, 2] - reach)


def smooth(log: F32) -> F32:
    """A light Gaussian: takes noise off, and with it what resampling alone would seem to improve."""
    return np.asarray(cv2.GaussianBlur(log, (0, 0), 1.0), np.float32)
