"""Figures as RGB images, drawn with OpenCV: sheets of labelled crops, heatmaps, line charts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.radiometry import mu_law

U8 = NDArray[np.uint8]
Colour = tuple[int, int, int]

# Sheets of crops, px.
LABEL_HEIGHT = 18
GAP = 4
SHEET_BACKGROUND = 24  # code of all channels
MAX_JPEG_QUALITY, MIN_JPEG_QUALITY = 95, 50
# Line charts, px.
WIDTH, HEIGHT = 1200, 640
LEFT, RIGHT, TOP, BOTTOM = 80, 320, 64, 64  # margins; RIGHT holds the legend
DASH_PX, DASH_PERIOD_PX = 9, 15
INK, GRID, PAPER = (40, 40, 40), (225, 225, 225), (255, 255, 255)
# Okabe and Ito's palette, safe for colour-blind readers; black is left for the common reference.
PALETTE: tuple[Colour, ...] = (
    (0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (230, 159, 0), (160, 150, 20),
)  # fmt: skip
_SUBPIXEL_BITS = 4
_FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True)
class Curve:
    """``x``, ``y``: (K,) in data units, finite. ``dashed``: drawn with gaps."""

    label: str
    x: NDArray[Any]
    y: NDArray[Any]
    colour: Colour
    dashed: bool = False


def mu_law_codes(radiance: NDArray[Any]) -> U8:
    """(H, W, 3) radiance to 8-bit codes by the mu-law, clipped at 1."""
    return np.round(np.clip(mu_law(radiance), 0.0, 1.0) * 255).astype(np.uint8)


def heatmap(values: NDArray[Any], maximum: float) -> U8:
    """(H, W) values to viridis (H, W, 3), 0 to ``maximum``."""
    codes = np.round(np.clip(values / maximum, 0.0, 1.0) * 255).astype(np.uint8)
    return np.ascontiguousarray(cv2.applyColorMap(codes, cv2.COLORMAP_VIRIDIS)[..., ::-1]).astype(np.uint8)


def densest_square(mask: NDArray[np.bool_], size: int) -> tuple[slice, slice]:
    """The square of ``size`` pixels, or the whole side, with the most True pixels; the middle of an empty mask."""
    height, width = min(size, mask.shape[0]), min(size, mask.shape[1])
    top, left = (mask.shape[0] - height) // 2, (mask.shape[1] - width) // 2
    if mask.any():
        total = np.pad(mask.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        inside = total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]
        top, left = (int(i) for i in np.unravel_index(int(np.argmax(inside)), inside.shape))
    return slice(top, top + height), slice(left, left + width)


def labelled_row(images: Sequence[tuple[str, U8]]) -> U8:
    """Labelled images of one height side by side: (H + LABEL_HEIGHT, W, 3)."""
    cells = []
    for label, image in images:
        strip = np.full((LABEL_HEIGHT, image.shape[1], 3), SHEET_BACKGROUND, np.uint8)
        cv2.putText(strip, label, (3, 13), _FONT, 0.42, (235, 235, 235), 1, cv2.LINE_AA)
        gap = np.full((image.shape[0] + LABEL_HEIGHT, GAP, 3), SHEET_BACKGROUND, np.uint8)
        cells += [np.concatenate([strip, image]), gap]
    return np.concatenate(cells[:-1], axis=1)


def save_png(path: Path, rows: Sequence[U8]) -> None:
    """Write rows, padded to one width, as one PNG. Raises OSError where it cannot be written."""
    if not cv2.imwrite(str(path), _stack(rows)[..., ::-1]):
        raise OSError(f"cannot write {path}")


def save_jpeg(path: Path, rows: Sequence[U8], max_bytes: int) -> None:
    """Write rows, padded to one width, as a JPEG of the best quality that fits into ``max_bytes``.

    Raises ValueError where MIN_JPEG_QUALITY is still too large, OSError where it cannot be written.
    """
    image = np.ascontiguousarray(_stack(rows)[..., ::-1])
    for quality in range(MAX_JPEG_QUALITY, MIN_JPEG_QUALITY - 1, -3):
        encoded, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1])
        if encoded and data.size <= max_bytes:
            path.write_bytes(data.tobytes())
            return
    raise ValueError(f"{path.name}: no JPEG of {image.shape[1]}x{image.shape[0]} fits into {max_bytes} bytes")


def line_chart(title: str, x_label: str, y_label: str, curves: Sequence[Curve]) -> U8:
    """(HEIGHT, WIDTH, 3) RGB chart of ``curves``, both axes from 0. Raises ValueError where there is no curve."""
    if not curves:
        raise ValueError("a chart needs a curve")
    y_max = axis_limit(1.02 * max(float(np.max(c.y)) for c in curves))  # keeps a curve off the frame
    x_max = axis_limit(max(float(np.max(c.x)) for c in curves))
    image = np.full((HEIGHT, WIDTH, 3), PAPER, np.uint8)
    _draw_axes(image, x_max, y_max)
    draw_text(image, title, (LEFT, 30), 0.65)
    draw_text(image, x_label, ((LEFT + WIDTH - RIGHT) // 2, HEIGHT - 16), 0.5, centred=True)
    draw_text(image, y_label, (LEFT, TOP - 10), 0.45)
    for curve in curves:
        points = np.stack([_x_pixels(curve.x, x_max), _y_pixels(curve.y, y_max)], axis=1)
        draw_polyline(image, points, curve.colour, curve.dashed)
    for index, curve in enumerate(curves):
        x, y = WIDTH - RIGHT + 16, TOP + 12 + 22 * index
        draw_polyline(image, np.array([[x, y], [x + 40.0, y]]), curve.colour, curve.dashed)
        draw_text(image, curve.label, (x + 48, y + 5), 0.42)
    return image


def axis_limit(value: float) -> float:
    """The smallest of 1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8 times a power of ten that is at least ``value``."""
    if value <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    steps = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
    return float(next(step * power for step in steps if step * power >= value * (1 - 1e-9)))


def draw_polyline(image: U8, points: NDArray[Any], colour: Colour, dashed: bool) -> None:
    """Draw a line through ``points`` (K, 2), pixels x, y; dashes follow the length, whatever the sampling."""
    steps = np.hypot(*np.diff(points, axis=0).T)
    length = np.concatenate([[0.0], np.cumsum(steps)])
    dashes = [(0.0, float(length[-1]))]
    if dashed:
        starts = np.arange(0.0, length[-1], DASH_PERIOD_PX)
        dashes = [(float(start), float(min(start + DASH_PX, length[-1]))) for start in starts]
    for start, stop in dashes:
        inside = length[(length > start) & (length < stop)]
        along = np.concatenate([[start], inside, [stop]])
        dash = np.stack([np.interp(along, length, points[:, k]) for k in (0, 1)], axis=1)
        fixed = np.round(dash * (1 << _SUBPIXEL_BITS)).astype(np.int32)
        cv2.polylines(image, [fixed], False, colour, 2, cv2.LINE_AA, _SUBPIXEL_BITS)


def draw_text(
    image: U8,
    text: str,
    position: tuple[int, int],
    size: float,
    *,
    centred: bool = False,
    right_aligned: bool = False,
) -> None:
    """Draw ``text`` with its baseline's start, middle or end at ``position``; non-ASCII characters become "?"."""
    ascii_text = text.encode("ascii", "replace").decode()  # OpenCV's font has no others
    (width, _), _ = cv2.getTextSize(ascii_text, _FONT, size, 1)
    x = position[0] - (width // 2 if centred else width if right_aligned else 0)
    cv2.putText(image, ascii_text, (x, position[1]), _FONT, size, INK, 1, cv2.LINE_AA)


def _x_pixels(x: NDArray[Any], x_max: float) -> NDArray[np.float64]:
    return LEFT + np.asarray(x, np.float64) / x_max * (WIDTH - LEFT - RIGHT)


def _y_pixels(y: NDArray[Any], y_max: float) -> NDArray[np.float64]:
    return HEIGHT - BOTTOM - np.asarray(y, np.float64) / y_max * (HEIGHT - TOP - BOTTOM)


def _draw_axes(image: U8, x_max: float, y_max: float) -> None:
    for fraction in np.linspace(0.0, 1.0, 6):
        x = round(float(_x_pixels(fraction * x_max, x_max)))
        y = round(float(_y_pixels(fraction * y_max, y_max)))
        cv2.line(image, (x, TOP), (x, HEIGHT - BOTTOM), GRID, 1)
        cv2.line(image, (LEFT, y), (WIDTH - RIGHT, y), GRID, 1)
        draw_text(image, f"{fraction * x_max:.3g}", (x, HEIGHT - BOTTOM + 20), 0.42, centred=True)
        draw_text(image, f"{fraction * y_max:.3g}", (LEFT - 8, y + 5), 0.42, right_aligned=True)
    cv2.rectangle(image, (LEFT, TOP), (WIDTH - RIGHT, HEIGHT - BOTTOM), INK, 1)


def _stack(rows: Sequence[U8]) -> U8:
    width, gap = max(r.shape[1] for r in rows), GAP if len(rows) > 1 else 0
    padded = [np.pad(r, ((0, gap), (0, width - r.shape[1]), (0, 0)), constant_values=SHEET_BACKGROUND) for r in rows]
    return np.concatenate(padded).astype(np.uint8)
