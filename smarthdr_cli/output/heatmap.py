"""The uncertainty as a heatmap, and the legend of its colours.

The position of sigma on the colour bar is log(sigma / MIN_SIGMA) / log(MAX_SIGMA / MIN_SIGMA), the same for every
image, so that two compare. Colours are OpenCV's inferno (van der Walt and Smith 2015): lightness rises with every step.
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from smarthdr_cli.fusion.result import FusionResult
from smarthdr_cli.output.metadata import SIGMA_MEANING, SOFTWARE, as_json, provenance, require_finite
from smarthdr_cli.output.preview import save_image, write_verified

U8 = NDArray[np.uint8]

MIN_SIGMA, MAX_SIGMA = 1e-4, 1.0  # values beyond have the colours of the ends
TICKS = ((1e-4, "0.0001 or less"), (1e-3, "0.001"), (1e-2, "0.01"), (1e-1, "0.1"), (1.0, "1"))
# Pillow's built-in font has no Greek letters
TITLE = "Uncertainty (sigma)"
UNITS = (
    "68 % of pixels are closer to the truth than their sigma; mu-law scale, 0 = black, 1 = the shortest frame's clip"
)
_BACKGROUND, _INK = (24, 24, 26), (235, 235, 235)  # RGB
LEGEND_WIDTH = 960  # pixels
_BAND_PIXELS = 1 << 20  # coloured at a time


def write_heatmap(result: FusionResult, path: Path, *, overwrite: bool = False) -> list[str]:
    """Write the uncertainty as a PNG of the picture's own size; there are no notes.

    Raises OutputError where it is not finite or cannot be written.
    """
    require_finite(result.uncertainty, "uncertainty")
    text = PngImagePlugin.PngInfo()
    text.add_text("Software", SOFTWARE)
    text.add_itxt("Description", SIGMA_MEANING)
    text.add_text("smarthdr", as_json(provenance(result)))
    _write_png(path, draw(result.uncertainty), text, overwrite)
    return []


def write_legend(_result: FusionResult | None, path: Path, *, overwrite: bool = False) -> list[str]:
    """Write the legend of every heatmap, whose colours are the same for every image; there are no notes.

    Raises OutputError where it cannot be written.
    """
    text = PngImagePlugin.PngInfo()
    text.add_text("Software", SOFTWARE)
    text.add_itxt("Description", SIGMA_MEANING)
    _write_png(path, draw_legend(), text, overwrite)
    return []


def _write_png(path: Path, canvas: U8, text: PngImagePlugin.PngInfo, overwrite: bool) -> None:
    def save(temporary: Path) -> None:
        save_image(temporary, canvas, "PNG", compress_level=1, pnginfo=text)

    write_verified(path, canvas.shape, save, overwrite=overwrite)


def colour_table() -> U8:
    """(256, 3) uint8 RGB of the colour bar, from MIN_SIGMA to MAX_SIGMA."""
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    return np.ascontiguousarray(cv2.applyColorMap(ramp, cv2.COLORMAP_INFERNO)[:, 0, ::-1])


def colour_index(sigma: NDArray[np.float32]) -> U8:
    """Row of ``colour_table`` for each ``sigma`` (any shape): 0 at MIN_SIGMA, 255 at MAX_SIGMA, logarithmic."""
    position = np.log10(np.clip(sigma, np.float32(MIN_SIGMA), np.float32(MAX_SIGMA)))
    position -= np.float32(np.log10(MIN_SIGMA))
    position *= np.float32(255.0 / np.log10(MAX_SIGMA / MIN_SIGMA))
    position += np.float32(0.5)
    return position.astype(np.uint8)


def draw(sigma: NDArray[np.float32]) -> U8:
    """(H, W) sigma to the heatmap, (H, W, 3) uint8 RGB, pixel for pixel."""
    height, width = sigma.shape
    canvas = np.empty((height, width, 3), np.uint8)
    table = colour_table()
    rows = max(1, _BAND_PIXELS // width)
    for top in range(0, height, rows):
        index = colour_index(sigma[top : top + rows])
        canvas[top : top + index.shape[0]] = table[index]
    return canvas


def draw_legend(width: int = LEGEND_WIDTH) -> U8:
    """The legend, (h, ``width``, 3) uint8 RGB: title, meaning of sigma, colour bar and ticks, scaled with ``width``."""
    unit = max(12, round(width / 70))  # text size in pixels
    font, title_font = ImageFont.load_default(unit), ImageFont.load_default(round(unit * 1.3))
    margin = unit
    lines = _wrapped(UNITS, font, width - 2 * margin)
    bar_top = round(margin + unit * 1.3 * 1.5 + len(lines) * unit * 1.4 + unit * 0.4)
    bar_height = round(unit * 1.6)
    height = round(bar_top + bar_height + unit * 2.4)
    strip = Image.new("RGB", (width, height), _BACKGROUND)
    pen = ImageDraw.Draw(strip)
    pen.text((margin, margin), TITLE, font=title_font, fill=_INK)
    for number, line in enumerate(lines):
        pen.text((margin, margin + unit * 1.3 * 1.5 + number * unit * 1.4), line, font=font, fill=_INK)
    first, last = margin, width - margin - 1
    ramp = np.geomspace(MIN_SIGMA, MAX_SIGMA, last - first + 1).astype(np.float32)
    bar = np.broadcast_to(colour_table()[colour_index(ramp)], (bar_height, ramp.size, 3))
    strip.paste(Image.fromarray(np.ascontiguousarray(bar)), (first, bar_top))
    pen.rectangle((first - 1, bar_top - 1, last + 1, bar_top + bar_height), outline=_INK)
    for value, label in TICKS:
        x = first + (last - first) * np.log10(value / MIN_SIGMA) / np.log10(MAX_SIGMA / MIN_SIGMA)
        pen.line((x, bar_top + bar_height, x, bar_top + bar_height + unit * 0.4), fill=_INK, width=max(1, unit // 12))
        size = pen.textlength(label, font=font)
        place = min(max(x - size / 2, first), last - size)
        pen.text((place, bar_top + bar_height + unit * 0.6), label, font=font, fill=_INK)
    return np.array(strip)


def _wrapped(text: str, font: "ImageFont.FreeTypeFont | ImageFont.ImageFont", width: float) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
