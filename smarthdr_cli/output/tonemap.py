"""The look of a preview: radiance of any range to display light a photographer would post.

Brightness in EV is split by an edge-preserving filter (the fast guided filter: He and Sun 2015, arXiv 1505.00996) into
base and detail; one smooth curve brings the base into the display's range around mid-grey, the detail is kept (after
Durand and Dorsey 2002). Colour follows brightness at constant hue up to the shoulder, where it bends as on film, and
turns white only near the display's limit.
"""

import concurrent.futures
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.colorspace import REC709, ColorSpace, conversion

F32 = NDArray[np.float32]

_LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)  # ITU-R BT.709-6
_SMALL = 1_000_000  # pixels the filter and the statistics work on
_BAND = 1 << 16  # pixels rendered at a time
_THREADS = 2  # more gain little: the work is bound by memory
_LOWEST_EV, _HIGHEST_EV = -40.0, 40.0  # around mid-grey; beyond is taken as this dark or bright
_LIMIT = np.float32(1e18)  # radiance beyond is cut, so that no later step overflows
_GREY = 0.18
_DARKEST = np.float32(_GREY * 2.0**_LOWEST_EV)
_TABLE = 1 << 15


@dataclass(frozen=True)
class Look:
    """What the default picture is made of; EV are of display light, 0 EV = mid-grey (18 %).

    ``highlights`` and ``shadows``: where the brightest and darkest parts of the base land when the scene has more range
    than that. ``edge``: contrast in EV above which the filter sees an edge rather than detail. ``radius`` of the
    filter, of the shorter side. ``detail`` and ``contrast``: gains on detail and, around mid-grey, on everything.
    ``exposure``: added to everything. ``saturation``: of the whole, less ``bleach`` at the white end. ``film``: share
    of a shoulder per channel beside the one at constant hue. ``shoulder``: the light at which it begins. ``black``: at
    most so much light is made black, and at most ``depth`` of what the darkest two hundredth of the picture has; with
    nearly all of it a dark cloth is a hole. ``trust``: how far the reference's exposure, rather than the median,
    decides what is mid-grey.
    """

    highlights: float = 2.0
    shadows: float = -3.2
    edge: float = 1.0
    radius: float = 1 / 12
    detail: float = 1.08
    contrast: float = 1.1
    saturation: float = 0.97
    bleach: float = 0.15
    film: float = 0.6
    exposure: float = 0.3
    shoulder: float = 0.6
    black: float = 0.02
    depth: float = 0.4
    trust: float = 0.4


@dataclass(frozen=True)
class ToneMap:
    """A tone mapping planned for one picture; ``apply`` renders any rows of it."""

    shape: tuple[int, int]
    matrix: NDArray[np.float64]  # source RGB to Rec. 709 in units of the scene's mid-grey
    slope: F32  # (h, w) base EV = slope * EV + offset, at reduced size
    offset: F32
    table: F32  # base EV -> what is added to it, _TABLE entries from lowest to highest EV
    black: float  # display light that becomes 0
    look: Look

    def apply(self, radiance: F32, top: int, bottom: int) -> list[F32]:
        """Rows ``top`` to ``bottom`` of ``radiance`` as display light: R, G and B planes, Rec. 709 in [0, 1]."""
        look = self.look
        planes = _planes(radiance[top:bottom], self.matrix)
        brightness = _brightness(planes)
        ev = _ev(brightness)
        base = self._upsampled(self.slope, top, bottom)
        base *= ev
        base += self._upsampled(self.offset, top, bottom)
        index = base - np.float32(_LOWEST_EV)
        index *= np.float32((_TABLE - 1) / (_HIGHEST_EV - _LOWEST_EV))
        np.clip(index, 0, _TABLE - 1, out=index)
        target = self.table.take(index.astype(np.uint16))
        target += base
        ev -= base
        ev *= np.float32(look.detail)
        target += ev
        target *= np.float32(look.contrast)
        bright = _to_light(target)
        light = _shoulder(bright, look.shoulder)
        light -= np.float32(self.black)
        light *= np.float32(1.0 / (1.0 - self.black))
        np.maximum(light, 0.0, out=light)
        film = self._film(planes, bright, brightness, light)
        saturation = np.float32(look.saturation) - np.float32(look.bleach) * (light * light)
        light /= np.maximum(brightness, _DARKEST, out=brightness)
        for plane in planes:
            plane *= light
        for plane, other in zip(planes, film, strict=True):
            other -= plane
            other *= np.float32(look.film)
            plane += other
        return _into_gamut(planes, _luma(planes), saturation)

    def _film(self, planes: list[F32], bright: F32, brightness: F32, light: F32) -> list[F32]:
        """The shoulder on each channel by itself: strong warm lights turn yellow, not pink, as film has it.

        The black point comes in as a factor, ``light`` over what the shoulder makes of ``bright``: no hue moves there.
        """
        gain = bright / np.maximum(brightness, _DARKEST)
        deepen = light / np.maximum(_shoulder(bright, self.look.shoulder), _DARKEST)
        out = []
        for plane in planes:
            lit = np.asarray(np.clip(plane * gain, -_LIMIT, _LIMIT), np.float32)
            out.append(np.asarray(_shoulder(lit, self.look.shoulder) * deepen, np.float32))
        return out

    def _upsampled(self, small: F32, top: int, bottom: int) -> F32:
        """Rows ``top`` to ``bottom`` of ``small`` brought to full size, bilinear, pixel centres kept."""
        height, width = self.shape
        if small.shape == self.shape:
            return small[top:bottom].copy()
        h, w = small.shape
        move = np.array([[w / width, 0, 0.5 * w / width - 0.5], [0, h / height, (top + 0.5) * h / height - 0.5]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        out = cv2.warpAffine(small, move, (width, bottom - top), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(out, np.float32)


def plan(radiance: F32, space: ColorSpace, anchor_ev: float = 0.0, look: Look | None = None) -> ToneMap:
    """Plan the rendering of (H, W, 3) linear ``radiance`` in ``space``; 1.0 is the clip at ``anchor_ev``.

    Everything is measured on the picture reduced to a million pixels, by percentiles, so that neither a lamp nor a
    black border decides. The result does not depend on the anchor.
    """
    look = look or Look()
    height, width = radiance.shape[:2]
    to_display = conversion(space, REC709) * 2.0**-anchor_ev
    shrink = min(1.0, (_SMALL / (height * width)) ** 0.5)
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    small = radiance
    if shrink < 1.0:
        small = np.asarray(cv2.resize(radiance, size, interpolation=cv2.INTER_AREA), np.float32)
    ev = _ev(_brightness(_planes(small, to_display)))
    lit = ev[ev > _LOWEST_EV + 1]
    middle = float(np.median(lit)) if lit.size else 0.0
    grey = (1.0 - look.trust) * middle - look.exposure  # the reference's own mid-grey is at 0 EV
    ev -= np.float32(grey)
    np.clip(ev, _LOWEST_EV, _HIGHEST_EV, out=ev)
    slope, offset = _guided(ev, max(1, round(look.radius * min(size))), look.edge)
    base = slope * ev + offset
    table = _curve(base, look)
    mapped = ToneMap(ev.shape, np.eye(3), slope, offset, table, 0.0, look)
    toned = _tone_only(mapped, ev, base)
    black = min(look.black, float(np.percentile(toned, 0.5)) * look.depth)
    return ToneMap((height, width), to_display * 2.0**-grey, slope, offset, table, black, look)


def render(tone: ToneMap, radiance: F32, store: Callable[[int, list[F32]], None]) -> None:
    """Render all of ``radiance`` in bands on two threads; ``store(top, planes)`` takes each as it is done."""
    height, width = tone.shape
    rows = max(1, _BAND // width)

    def band(top: int) -> None:
        store(top, tone.apply(radiance, top, min(height, top + rows)))

    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(band, range(0, height, rows)))


def _planes(rgb: F32, matrix: NDArray[np.float64]) -> list[F32]:
    """R, G, B planes of ``matrix`` times (h, w, 3) ``rgb``, within what later steps can hold."""
    planes = [np.clip(plane, -_LIMIT, _LIMIT) for plane in cv2.split(np.ascontiguousarray(rgb))]
    mixed = []
    for row in matrix.astype(np.float32):
        plane = planes[0] * row[0]
        for other, weight in zip(planes[1:], row[1:], strict=True):
            if weight != 0:
                plane += other * weight
        mixed.append(np.clip(plane, -_LIMIT, _LIMIT, out=plane))
    return mixed


def _luma(planes: list[F32]) -> F32:
    red, green, blue = planes
    luma = _LUMA[0] * red
    luma += _LUMA[1] * green
    luma += _LUMA[2] * blue
    return np.asarray(luma, np.float32)


def _brightness(planes: list[F32]) -> F32:
    """Mean of luminance and the largest channel: luminance itself for greys, fairer to saturated lights."""
    brightness = np.maximum(np.maximum(planes[0], planes[1]), planes[2])
    brightness += _luma(planes)
    brightness *= np.float32(0.5)
    return np.maximum(brightness, 0.0, out=brightness)


def _ev(brightness: F32) -> F32:
    """log2(brightness / grey), within the table's range."""
    ev = np.asarray(cv2.log(np.maximum(brightness, _DARKEST)), np.float32)
    ev *= np.float32(1.0 / np.log(2.0))
    ev -= np.float32(np.log2(_GREY))
    return np.clip(ev, np.float32(_LOWEST_EV), np.float32(_HIGHEST_EV), out=ev)


def _to_light(ev: F32) -> F32:
    """Display-linear light of EV around mid-grey."""
    light = np.asarray(cv2.exp(ev * np.float32(np.log(2.0))), np.float32)
    light *= np.float32(_GREY)
    return light


def _guided(ev: F32, radius: int, edge: float) -> tuple[F32, F32]:
    """Coefficients of the self-guided filter: base = slope * ev + offset, slope near 1 where there are edges."""
    window = (2 * radius + 1, 2 * radius + 1)

    def mean(image: F32) -> F32:
        return np.asarray(cv2.boxFilter(image, -1, window, borderType=cv2.BORDER_REFLECT), np.float32)

    average = mean(ev)
    variance = np.maximum(mean(np.asarray(np.square(ev), np.float32)) - np.square(average), 0.0)
    slope = np.asarray(variance / (variance + np.float32(edge * edge)), np.float32)
    offset = np.asarray(average - slope * average, np.float32)
    return mean(slope), mean(offset)


def _curve(base: F32, look: Look) -> F32:
    """What the tone curve adds to a base of each EV: c log(1 + x/c) on either side of mid-grey, slope 1 there.

    c is such that the base's 99.7th and 0.5th percentiles land at ``highlights`` and ``shadows``; a scene within
    them stays as it is.
    """
    dark, bright = (float(value) for value in np.percentile(base, (0.5, 99.7)))
    x = np.linspace(_LOWEST_EV, _HIGHEST_EV, _TABLE)
    above, below = _bend(bright, look.highlights), _bend(-dark, -look.shadows)
    y = np.where(x > 0, above * np.log1p(np.maximum(x, 0) / above), -below * np.log1p(np.maximum(-x, 0) / below))
    return np.asarray(y - x, np.float32)


def _bend(extent: float, target: float) -> float:
    """c with c log(1 + extent/c) = target; very large (no bend) where extent <= target."""
    if extent <= target * 1.001:
        return 1e6
    low, high = 1e-3, 1e6
    for _ in range(80):
        middle = (low * high) ** 0.5
        if middle * np.log1p(extent / middle) > target:
            high = middle
        else:
            low = middle
    return float((low * high) ** 0.5)


def _shoulder(light: F32, start: float) -> F32:
    """Identity up to ``start``, then towards 1 without reaching it, with a continuous slope."""
    over = np.maximum(light - np.float32(start), 0.0)
    over *= np.float32(1.0 / (1.0 - start))
    room = over / np.sqrt(1.0 + over * over)
    return np.asarray(np.minimum(light, np.float32(start)) + np.float32(1.0 - start) * room, np.float32)


def _tone_only(tone: ToneMap, ev: F32, base: F32) -> F32:
    added = np.interp(base, np.linspace(_LOWEST_EV, _HIGHEST_EV, _TABLE), tone.table)
    target = tone.look.contrast * (base + added + tone.look.detail * (ev - base))
    return _shoulder(_to_light(np.asarray(target, np.float32)), tone.look.shoulder)


def _into_gamut(planes: list[F32], luma: F32, saturation: F32) -> list[F32]:
    """Mix towards grey of the same luminance by ``saturation`` and until every channel is in [0, 1].

    The distance to grey is 1 at the gamut's boundary; only beyond 0.9 is it compressed, to stay below 1.
    """
    np.clip(luma, 0.0, 1.0, out=luma)
    red, green, blue = planes
    up = np.maximum(np.maximum(red, green), blue)
    up -= luma
    up /= np.maximum(1.0 - luma, np.float32(1e-6))
    down = np.minimum(np.minimum(red, green), blue)
    np.subtract(luma, down, out=down)
    down /= np.maximum(luma, np.float32(1e-6))
    reach = np.maximum(np.maximum(up, down, out=up), np.float32(1e-6), out=up)
    reach *= saturation
    over = reach - np.float32(0.9)
    np.maximum(over, 0.0, out=over)
    over *= np.float32(10.0)
    over /= 1.0 + over
    over *= np.float32(0.1)
    over += np.minimum(reach, np.float32(0.9))
    over /= reach
    over *= saturation
    for plane in planes:
        plane -= luma
        plane *= over
        plane += luma
        np.clip(plane, 0.0, 1.0, out=plane)
    return planes
