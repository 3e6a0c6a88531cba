"""Sub-pixel registration at full resolution from the displacements of textured windows.

A window of the first frame is searched in the second by normalised cross-correlation; ECC (Evangelidis and Psarakis
2008) adds the fraction of a pixel. The motion model is fitted to the displacements of half of the windows. The other
half is held out for `model_selection`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from smarthdr_cli.align.brightness_transfer import BrightnessTransfer, estimate_transfer
from smarthdr_cli.align.motion_models import HomographyFit, ecc, fit_motion_model
from smarthdr_cli.align.pyramid_view import Mask, View, read_windows, warp_mask
from smarthdr_cli.radiometry import F32, F64

_GRID = 16  # cells across the longer side, one window each
_WINDOW_SIDE = (16, 112)  # pixels, smallest and largest; an eighth of the shorter side between them
_MIN_SHARED = 0.6  # of a window inside both frames
_MIN_TEXTURE = 1e-7  # smaller eigenvalue of the structure tensor, per pixel, (log2 units)^2
_MIN_DEVIATION = 1e-3  # log2 units within a window
_MIN_CORRELATION = 0.45  # at the peak
_MAX_ECC_SHIFT = 1.5  # pixels from the peak
_MIN_INLIERS = 6  # windows
_BLUR_RADIUS = 4  # pixels that smoothing reads
_MIN_HOMOGRAPHY_INLIERS = 16  # windows, for eight parameters


@dataclass(frozen=True)
class Windows:
    """Square windows of ``side`` pixels; ``fit`` and ``held_out``: (n, 2) top-left corners as (x, y)."""

    fit: F64
    held_out: F64
    side: int


def choose_windows(first: View, second: View, homography: F64, transfer: BrightnessTransfer) -> Windows:
    """The most textured window of each grid cell within what both frames record, every other one held out."""
    height, width = first.frame.size
    side = int(np.clip(min(height, width) // 8, *_WINDOW_SIDE))
    scale = float(first.to_working[0, 0])
    h, w = first.log.shape
    local = first.full_to_working(second, homography)
    inside = warp_mask(np.full(second.log.shape, 255, np.uint8), local, (w, h))
    block = max(3, round(side * scale))
    texture = cv2.cornerMinEigenVal(cv2.GaussianBlur(transfer.clamp(first.log), (0, 0), 1.0), block, ksize=3)
    texture[cv2.blur(inside, (block, block)) < 255 * _MIN_SHARED] = 0.0
    margin = block // 2 + 1
    columns = max(2, min(_GRID, int((w - 2 * margin) / block), round(_GRID * w / max(w, h))))
    rows = max(2, min(_GRID, int((h - 2 * margin) / block), round(_GRID * h / max(w, h))))
    xs = np.linspace(margin, w - margin, columns + 1).astype(int)
    ys = np.linspace(margin, h - margin, rows + 1).astype(int)
    halves: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
    for row in range(rows):
        for column in range(columns):
            cell = texture[ys[row] : ys[row + 1], xs[column] : xs[column + 1]]
            if cell.size == 0 or cell.max() < _MIN_TEXTURE:
                continue
            y, x = np.unravel_index(int(cell.argmax()), cell.shape)
            cx, cy = (xs[column] + x) / scale, (ys[row] + y) / scale
            x0 = int(np.clip(round(cx - side / 2), 0, width - side))
            y0 = int(np.clip(round(cy - side / 2), 0, height - side))
            halves[(row + column) % 2].append((x0, y0))
    fit, held_out = (np.array(corners, np.float64).reshape(-1, 2) for corners in halves)
    return Windows(fit, held_out, side)


def match_windows(first: View, second: View, start: F64, passes: int = 2) -> HomographyFit | None:
    """``start`` corrected by the displacements that the windows have under it; None where too few of them agree.

    ``start``: (3, 3), full-resolution pixels of ``first`` to those of ``second``. Each of the ``passes`` searches a
    smaller neighbourhood.
    """
    homography = start
    best: HomographyFit | None = None
    radius = max(6, round(2.5 / float(first.to_working[0, 0])))
    tolerance = max(0.6, 0.3 / float(first.to_working[0, 0]))  # pixels: admits parallax, not objects that move
    for _ in range(passes):
        transfer = estimate_transfer(first, second, homography)
        windows = choose_windows(first, second, homography, transfer)
        if len(windows.fit) < _MIN_INLIERS:
            return best
        corners, shifts = _displacements(first, second, homography, transfer, windows, radius)
        if len(corners) < _MIN_INLIERS:
            return best
        centres = corners + (windows.side - 1) / 2
        targets = centres + shifts
        fit = fit_motion_model(centres, targets, tolerance, first.frame.size, _MIN_HOMOGRAPHY_INLIERS)
        if fit is None or fit.inliers < _MIN_INLIERS:
            return best
        homography = homography @ fit.homography
        homography = homography / homography[2, 2]
        best = replace(fit, homography=homography, tried=len(windows.fit))
        radius = max(3, radius // 4)
    return best


def smooth_windows(
    view: View, corners: F64, side: int, homography: F64 | None, transfer: Callable[[F32], F32]
) -> tuple[F32, Mask]:
    """`read_windows` through ``transfer``, lightly smoothed: that removes noise, and with it the gain that resampling
    alone would seem to bring.
    """
    log, inside = read_windows(view, corners - _BLUR_RADIUS, side + 2 * _BLUR_RADIUS, homography)
    blurred = cv2.GaussianBlur(transfer(log).reshape(-1, log.shape[2]), (2 * _BLUR_RADIUS + 1,) * 2, 1.0)
    core = np.s_[:, _BLUR_RADIUS:-_BLUR_RADIUS, _BLUR_RADIUS:-_BLUR_RADIUS]
    return np.ascontiguousarray(blurred.reshape(log.shape)[core]), np.ascontiguousarray(inside[core])


def _displacements(
    first: View, second: View, homography: F64, transfer: BrightnessTransfer, windows: Windows, radius: int
) -> tuple[F64, F64]:
    """Corners (n, 2) of the windows to fit that are found in ``second`` warped by ``homography``, and their shifts
    (x, y) in pixels of ``first``.
    """
    side, found, shifts = windows.side, [], []
    templates, _ = smooth_windows(first, windows.fit, side, None, transfer.clamp)
    searches, inside = smooth_windows(second, windows.fit - radius, side + 2 * radius, homography, transfer)
    textured = np.minimum(templates.std(axis=(1, 2)), searches.std(axis=(1, 2))) >= _MIN_DEVIATION
    template_mask = np.full((side, side), 255, np.uint8)
    for k in np.flatnonzero(textured):
        _, correlation, _, (x, y) = cv2.minMaxLoc(cv2.matchTemplate(searches[k], templates[k], cv2.TM_CCOEFF_NORMED))
        if not correlation >= _MIN_CORRELATION or min(x, y) < 1 or max(x, y) > 2 * radius - 1:
            continue
        if np.count_nonzero(inside[k, y : y + side, x : x + side]) < _MIN_SHARED * side * side:
            continue
        start = np.array([[1.0, 0.0, x], [0.0, 1.0, y]], np.float32)
        shift = ecc(templates[k], template_mask, searches[k], inside[k], start, cv2.MOTION_TRANSLATION)
        if shift is None or max(abs(shift[0, 2] - x), abs(shift[1, 2] - y)) > _MAX_ECC_SHIFT:
            continue
        found.append(windows.fit[k])
        shifts.append(shift[:, 2] - radius)
    return np.array(found).reshape(-1, 2), np.array(shifts).reshape(-1, 2)
