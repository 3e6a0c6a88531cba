"""The plots of a report as coordinates, which templates/plots.html draws as SVG. Pixels of the picture, y downwards."""

from dataclasses import dataclass

import numpy as np

from smarthdr_cli.align import Alignment
from smarthdr_cli.radiometry import F64, Response, srgb_to_linear

WIDTH, HEIGHT = 360, 240  # of the plot of curves, in its own units
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 16, 10, 34  # margins
_DARKEST_EV = -10  # below the clip; where the axis ends
_CURVE_POINTS = 129
_FIELD_COLUMNS, _FIELD_WIDTH = 9, 360  # arrows in a row; width of a field in its own units
_SMALLEST_SHIFT = 0.05  # pixels; a field that moves less is drawn without arrows


@dataclass(frozen=True)
class Tick:
    """A mark at ``position`` of an axis."""

    position: float
    label: str


@dataclass(frozen=True)
class CurvePlot:
    """Linear light in EV below the clip over the code of the file.

    ``lines``: (class, points of an SVG polyline) of red, green, blue and sRGB. ``x_ticks``, ``y_ticks``: codes and EV.
    """

    lines: tuple[tuple[str, str], ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    width: int = WIDTH
    height: int = HEIGHT
    frame: tuple[int, int, int, int] = (_LEFT, _TOP, WIDTH - _RIGHT, HEIGHT - _BOTTOM)  # left, top, right, bottom


@dataclass(frozen=True)
class FrameField:
    """How a frame was moved onto the reference, at a grid of places.

    ``largest``: pixels. ``arrows``: x1, y1, x2, y2, enlarged by ``gain``. ``before``, ``after``: what remains between
    the frame and the reference without and with the homography, in EV; None where nothing could be measured.
    """

    file: str
    is_reference: bool
    moved: bool
    largest: float
    gain: float
    arrows: tuple[tuple[float, float, float, float], ...]
    before: float | None
    after: float | None
    width: int
    height: int


def curve_plot(response: Response) -> CurvePlot:
    """The response of the burst beside sRGB."""
    code = np.linspace(0.0, 1.0, _CURVE_POINTS)
    entries = np.linspace(0.0, 1.0, response.table.shape[1])
    curves = [("srgb", np.asarray(srgb_to_linear(code)))]
    curves += [
        (name, np.interp(code, entries, channel))
        for name, channel in zip(("red", "green", "blue"), response.table, strict=True)
    ]
    return CurvePlot(
        lines=tuple((name, _points(code, light)) for name, light in curves),
        x_ticks=tuple(Tick(_x(value / 255), str(value)) for value in (0, 64, 128, 192, 255)),
        y_ticks=tuple(Tick(_y(ev), f"{ev:+d}" if ev else "0") for ev in range(_DARKEST_EV, 1, 2)),
    )


def frame_fields(
    alignment: Alignment, files: tuple[str, ...], reference: int, size: tuple[int, int]
) -> list[FrameField]:
    """A field for each frame; ``size``: (height, width) of the frames."""
    height, width = size
    scale = _FIELD_WIDTH / width
    columns = _FIELD_COLUMNS
    rows = max(2, round(columns * height / width))
    x, y = np.meshgrid((np.arange(columns) + 0.5) * width / columns, (np.arange(rows) + 0.5) * height / rows)
    places = np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
    fields = []
    for index, (file, matrix) in enumerate(zip(files, alignment.homographies, strict=True)):
        mapped = matrix @ places
        shift = mapped[:2] / mapped[2] - places[:2]
        largest = float(np.hypot(*shift).max())
        gain = _round_gain(0.5 * width / columns / largest) if largest >= _SMALLEST_SHIFT else 0.0
        ends = places[:2] + gain * shift
        arrows = np.concatenate([places[:2], ends]).T * scale if gain else np.empty((0, 4))
        before, after = alignment.scores[index] if alignment.scores else (0.0, 0.0)
        fields.append(
            FrameField(
                file=file,
                is_reference=index == reference,
                moved=alignment.moved[index],
                largest=largest,
                gain=gain,
                arrows=tuple((a, b, c, d) for a, b, c, d in arrows.round(1).tolist()),
                before=before or None,
                after=after or None,
                width=_FIELD_WIDTH,
                height=max(1, round(height * scale)),
            )
        )
    return fields


def _round_gain(gain: float) -> float:
    """The largest of 1, 2, 5, 10, 20, ... and of their inverses that is at most ``gain``."""
    power = 10.0 ** np.floor(np.log10(gain))
    return float(max(step for step in (1.0, 2.0, 5.0) if step * power <= gain * 1.0001) * power)


def _points(code: F64, light: F64) -> str:
    floor = 2.0**_DARKEST_EV
    shown = light >= floor
    first = max(0, int(np.argmax(shown)) - 1)  # the line begins at the lower edge
    ev = np.log2(np.maximum(light[first:], floor))
    return " ".join(f"{_x(a):.1f},{_y(b):.1f}" for a, b in zip(code[first:].tolist(), ev.tolist(), strict=True))


def _x(code: float) -> float:
    return round(_LEFT + code * (WIDTH - _LEFT - _RIGHT), 1)


def _y(ev: float) -> float:
    return round(_TOP + ev / _DARKEST_EV * (HEIGHT - _TOP - _BOTTOM), 1)
