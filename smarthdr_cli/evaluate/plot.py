"""A plain line chart as a picture: axes, grid, curves and a legend, drawn with OpenCV."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
Colour = tuple[int, int, int]

WIDTH, HEIGHT = 1200, 640
LEFT, RIGHT, TOP, BOTTOM = 80, 320, 64, 64  # RIGHT holds the legend
INK, GRID, PAPER = (40, 40, 40), (225, 225, 225), (255, 255, 255)
# Okabe and Ito's palette, which colour-blind readers can tell apart; black is left for what all are measured against.
PALETTE: tuple[Colour, ...] = (
    (0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (230, 159, 0), (160, 150, 20),
)  # fmt: skip
_SUBPIXEL = 4  # bits
_FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True)
class Curve:
    """``x``, ``y``: (K,) in data units, finite. ``dashed``: every other stretch is left out."""

    label: str
    x: NDArray[Any]
    y: NDArray[Any]
    colour: Colour
    dashed: bool = False


def lines(title: str, x_label: str, y_label: str, curves: Sequence[Curve]) -> U8:
    """(HEIGHT, WIDTH, 3) RGB chart of ``curves``, both axes from 0. Raises ValueError without curves."""
    if not curves:
        raise ValueError("a chart needs a curve")
    top = nice(1.02 * max(float(np.max(c.y)) for c in curves))  # a curve at the very top would hide in the frame
    end = nice(max(float(np.max(c.x)) for c in curves))
    image = np.full((HEIGHT, WIDTH, 3), PAPER, np.uint8)
    _axes(image, end, top)
    text(image, title, (LEFT, 30), 0.65)
    text(image, x_label, ((LEFT + WIDTH - RIGHT) // 2, HEIGHT - 16), 0.5, middle=True)
    text(image, y_label, (LEFT, TOP - 10), 0.45)
    for curve in curves:
        where = np.stack([_across(curve.x, end), _down(curve.y, top)], axis=1)
        draw(image, where, curve.colour, curve.dashed)
    for place, curve in enumerate(curves):
        x, y = WIDTH - RIGHT + 16, TOP + 12 + 22 * place
        draw(image, np.array([[x, y], [x + 40.0, y]]), curve.colour, curve.dashed)
        text(image, curve.label, (x + 48, y + 5), 0.42)
    return image


def nice(value: float) -> float:
    """The smallest of 1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10 times a power of ten that is not below ``value``."""
    if value <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    steps = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
    return float(next(step * power for step in steps if step * power >= value * (1 - 1e-9)))


def draw(image: U8, where: NDArray[Any], colour: Colour, dashed: bool) -> None:
    """A line through ``where`` (K, 2) pixels x, y; dashed by its own length, so that samples may lie anywhere."""
    steps = np.hypot(*np.diff(where, axis=0).T)
    length = np.concatenate([[0.0], np.cumsum(steps)])
    stretches = [(0.0, float(length[-1]))]
    if dashed:
        stretches = [(float(at), float(min(at + 9, length[-1]))) for at in np.arange(0.0, length[-1], 15)]
    for start, stop in stretches:
        inside = length[(length > start) & (length < stop)]
        along = np.concatenate([[start], inside, [stop]])
        points = np.stack([np.interp(along, length, where[:, k]) for k in (0, 1)], axis=1)
        fixed = np.round(points * (1 << _SUBPIXEL)).astype(np.int32)
        cv2.polylines(image, [fixed], False, colour, 2, cv2.LINE_AA, _SUBPIXEL)


def text(
    image: U8, words: str, where: tuple[int, int], size: float, *, middle: bool = False, end: bool = False
) -> None:
    """``words`` with their baseline's start, middle or end at ``where``; OpenCV's font is ASCII, the rest becomes ?."""
    known = words.encode("ascii", "replace").decode()
    (width, _), _ = cv2.getTextSize(known, _FONT, size, 1)
    x = where[0] - (width // 2 if middle else width if end else 0)
    cv2.putText(image, known, (x, where[1]), _FONT, size, INK, 1, cv2.LINE_AA)


def _across(x: NDArray[Any], end: float) -> NDArray[np.float64]:
    return LEFT + np.asarray(x, np.float64) / end * (WIDTH - LEFT - RIGHT)


def _down(y: NDArray[Any], top: float) -> NDArray[np.float64]:
    return HEIGHT - BOTTOM - np.asarray(y, np.float64) / top * (HEIGHT - TOP - BOTTOM)


def _axes(image: U8, end: float, top: float) -> None:
    for share in np.linspace(0.0, 1.0, 6):
        x, y = round(float(_across(share * end, end))), round(float(_down(share * top, top)))
        cv2.line(image, (x, TOP), (x, HEIGHT - BOTTOM), GRID, 1)
        cv2.line(image, (LEFT, y), (WIDTH - RIGHT, y), GRID, 1)
        text(image, f"{share * end:.3g}", (x, HEIGHT - BOTTOM + 20), 0.42, middle=True)
        text(image, f"{share * top:.3g}", (LEFT - 8, y + 5), 0.42, end=True)
    cv2.rectangle(image, (LEFT, TOP), (WIDTH - RIGHT, HEIGHT - BOTTOM), INK, 1)
