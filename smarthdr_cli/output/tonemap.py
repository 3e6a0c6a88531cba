"""Tone mapping of a preview: radiance of any range to display light in [0, 1].

With brightness in EV, x = log2(brightness / mid-grey), an edge-preserving filter splits x into base b and detail x - b,
and a curve compresses the base alone (after Durand and Dorsey 2002):

    x' = contrast * (curve(b) + detail * (x - b)),   display light = shoulder(0.18 * 2^x')

The filter is the fast guided filter (He and Sun 2015, arXiv 1505.00996): b = slope * x + offset, fitted in windows of a
reduced image. The curve is c log(1 + b/c) on either side of mid-grey, with c such that the base fits the display. Hue
is constant up to the shoulder, where it bends as on film; only near the display's limit does colour turn white.
"""

import concurrent.futures
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.colorspace import REC709, ColorSpace, conversion
from smarthdr_cli.errors import UsageError
from smarthdr_cli.output.write_options import Look

F32 = NDArray[np.float32]

_LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)  # ITU-R BT.709-6
_MID_GREY = 0.18  # display light at 0 EV
_MIN_EV, _MAX_EV = -40.0, 40.0  # around mid-grey; the range of the curve's table
_MIN_BRIGHTNESS = np.float32(_MID_GREY * 2.0**_MIN_EV)
_MAX_RADIANCE = np.float32(1e18)  # more is clipped, so that no later step overflows
_TABLE_SIZE = 1 << 15
_THREADS = 2  # more gain little: the work is bound by memory
_DARK_PERCENTILE, _BRIGHT_PERCENTILE = 0.5, 99.7  # of the base: a lamp or a black border does not decide
_NO_COMPRESSION = 1e6  # c of a curve that is the identity in all of its range
_GAMUT_KNEE = 0.9  # distance to grey, 1 at the gamut's boundary, from which colours are compressed


@dataclass(frozen=True)
class ToneMapConfig:
    """Parameters of a preview; the defaults are the look "natural". EV are of display light around mid-grey (18 %).

    ``max_base_ev``, ``min_base_ev``: where the brightest and darkest parts of the base end where the scene has a wider
    range. ``edge_ev``: contrast above which the filter sees an edge rather than detail. ``radius``: of the filter, as a
    share of the shorter side. ``detail``, ``contrast``: gains of the detail and, around mid-grey, of everything.
    ``exposure_ev``: added to everything. ``saturation``: of all colours, less ``highlight_desaturation`` at white.
    ``per_channel``: share of a shoulder per channel beside the one of constant hue. ``shoulder``: light at which it
    begins. ``max_black``: most display light that becomes black, and at most the share ``max_black_share`` of the
    darkest two hundredth of the image; with nearly all of it dark cloth turns into a hole. ``reference_weight``: how
    much the reference's exposure, rather than the median, decides what is mid-grey. ``analysis_pixels``: size of the
    reduced image; ``band_pixels``: rendered at a time.
    """

    max_base_ev: float = 2.0
    min_base_ev: float = -3.2
    edge_ev: float = 1.0
    radius: float = 1 / 12
    detail: float = 1.08
    contrast: float = 1.1
    saturation: float = 0.97
    highlight_desaturation: float = 0.15
    per_channel: float = 0.6
    exposure_ev: float = 0.3
    shoulder: float = 0.6
    max_black: float = 0.02
    max_black_share: float = 0.4
    reference_weight: float = 0.4
    analysis_pixels: int = 1_000_000
    band_pixels: int = 1 << 16


DEFAULT_CONFIG = ToneMapConfig()
# The looks of --look. All have one exposure, so that they differ in contrast and colour alone.
LOOKS: Mapping[Look, ToneMapConfig] = {
    "natural": DEFAULT_CONFIG,
    "vivid": replace(DEFAULT_CONFIG, contrast=1.3, detail=1.2, saturation=1.2, per_channel=0.75),
    "neutral": replace(
        DEFAULT_CONFIG,
        contrast=1.0,
        detail=1.0,
        saturation=0.85,
        max_base_ev=1.8,
        min_base_ev=-2.8,
        max_black_share=0.0,
    ),
}


def look_config(look: Look, exposure_ev: float = 0.0) -> ToneMapConfig:
    """The parameters of ``look``, ``exposure_ev`` EV brighter. Raises UsageError for an unknown look."""
    if look not in LOOKS:
        raise UsageError(f"unknown look {look!r}: one of {', '.join(LOOKS)}")
    return replace(LOOKS[look], exposure_ev=LOOKS[look].exposure_ev + exposure_ev)


@dataclass(frozen=True)
class ToneMap:
    """A tone mapping fitted to one image; ``apply`` renders any rows of it.

    ``shape``: (H, W). ``matrix``: source RGB to Rec. 709 in units of the scene's mid-grey. ``slope``, ``offset``:
    (h, w) coefficients of the base at reduced size. ``curve``: what is added to the base, from _MIN_EV to _MAX_EV.
    ``black``: display light that becomes 0.
    """

    shape: tuple[int, int]
    matrix: NDArray[np.float64]
    slope: F32
    offset: F32
    curve: F32
    black: float
    config: ToneMapConfig

    def apply(self, radiance: F32, top: int, bottom: int) -> list[F32]:
        """Rows ``top`` to ``bottom`` of ``radiance`` as display light: R, G and B planes, Rec. 709 in [0, 1]."""
        config = self.config
        planes = _planes(radiance[top:bottom], self.matrix)
        brightness = _brightness(planes)
        ev = _ev(brightness)
        base = self._upsampled(self.slope, top, bottom)
        base *= ev
        base += self._upsampled(self.offset, top, bottom)
        index = base - np.float32(_MIN_EV)
        index *= np.float32((_TABLE_SIZE - 1) / (_MAX_EV - _MIN_EV))
        np.clip(index, 0, _TABLE_SIZE - 1, out=index)
        target = self.curve.take(index.astype(np.uint16))
        target += base
        ev -= base
        ev *= np.float32(config.detail)
        target += ev
        target *= np.float32(config.contrast)
        bright = _display_light(target)
        shouldered = _shoulder(bright, config.shoulder)
        light = shouldered - np.float32(self.black)
        light *= np.float32(1.0 / (1.0 - self.black))
        np.maximum(light, 0.0, out=light)
        np.maximum(brightness, _MIN_BRIGHTNESS, out=brightness)
        black_gain = np.asarray(light / np.maximum(shouldered, _MIN_BRIGHTNESS), np.float32)
        per_channel = self._per_channel(planes, bright / brightness, black_gain)
        saturation = np.float32(config.saturation) - np.float32(config.highlight_desaturation) * (light * light)
        light /= brightness
        for plane in planes:
            plane *= light
        for plane, other in zip(planes, per_channel, strict=True):
            other -= plane
            other *= np.float32(config.per_channel)
            plane += other
        return _compress_gamut(planes, _luma(planes), saturation)

    def _per_channel(self, planes: list[F32], gain: F32, black_gain: F32) -> list[F32]:
        """Display light with the shoulder on each channel: strong warm lights turn yellow instead of pink, as on film.

        ``gain``: display light over brightness. ``black_gain``: what the black point leaves of it, one factor for all
        channels, which keeps the hue of the shadows.
        """
        toned = []
        for plane in planes:
            channel = np.asarray(np.clip(plane * gain, -_MAX_RADIANCE, _MAX_RADIANCE), np.float32)
            toned.append(np.asarray(_shoulder(channel, self.config.shoulder) * black_gain, np.float32))
        return toned

    def _upsampled(self, small: F32, top: int, bottom: int) -> F32:
        """Rows ``top`` to ``bottom`` of ``small`` at full size, bilinear, aligned at pixel centres."""
        height, width = self.shape
        if small.shape == self.shape:
            return small[top:bottom].copy()
        h, w = small.shape
        to_small = np.array([[w / width, 0, 0.5 * w / width - 0.5], [0, h / height, (top + 0.5) * h / height - 0.5]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        full = cv2.warpAffine(small, to_small, (width, bottom - top), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(full, np.float32)


def fit_tone_map(
    radiance: F32, space: ColorSpace, anchor_ev: float = 0.0, config: ToneMapConfig = DEFAULT_CONFIG
) -> ToneMap:
    """Fit the tone mapping of (H, W, 3) linear ``radiance`` in ``space``, where 1.0 is the clip at ``anchor_ev``.

    Measures a reduced image. The result does not depend on the anchor.
    """
    height, width = radiance.shape[:2]
    to_display = conversion(space, REC709) * 2.0**-anchor_ev
    scale = min(1.0, (config.analysis_pixels / (height * width)) ** 0.5)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = radiance
    if scale < 1.0:
        small = np.asarray(cv2.resize(radiance, size, interpolation=cv2.INTER_AREA), np.float32)
    ev = _ev(_brightness(_planes(small, to_display)))
    not_black = ev[ev > _MIN_EV + 1]
    median_ev = float(np.median(not_black)) if not_black.size else 0.0
    grey_ev = (1.0 - config.reference_weight) * median_ev - config.exposure_ev  # 0 is the reference's own mid-grey
    ev -= np.float32(grey_ev)
    np.clip(ev, _MIN_EV, _MAX_EV, out=ev)
    slope, offset = _fit_base(ev, max(1, round(config.radius * min(size))), config.edge_ev)
    base = slope * ev + offset
    curve = _curve(base, config)
    darkest = float(np.percentile(_tone_map_reduced(ev, base, curve, config), _DARK_PERCENTILE))
    black = min(config.max_black, darkest * config.max_black_share)
    return ToneMap((height, width), to_display * 2.0**-grey_ev, slope, offset, curve, black, config)


def render(tone_map: ToneMap, radiance: F32, store: Callable[[int, list[F32]], None]) -> None:
    """Render ``radiance`` in bands on two threads; ``store(top, planes)`` receives each band."""
    height, width = tone_map.shape
    rows = max(1, tone_map.config.band_pixels // width)

    def render_band(top: int) -> None:
        store(top, tone_map.apply(radiance, top, min(height, top + rows)))

    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(render_band, range(0, height, rows)))


def _planes(rgb: F32, matrix: NDArray[np.float64]) -> list[F32]:
    """R, G, B planes of ``matrix`` times (h, w, 3) ``rgb``, clipped to _MAX_RADIANCE."""
    planes = [np.clip(plane, -_MAX_RADIANCE, _MAX_RADIANCE) for plane in cv2.split(np.ascontiguousarray(rgb))]
    mixed = []
    for row in matrix.astype(np.float32):
        plane = planes[0] * row[0]
        for other, weight in zip(planes[1:], row[1:], strict=True):
            if weight != 0:
                plane += other * weight
        mixed.append(np.clip(plane, -_MAX_RADIANCE, _MAX_RADIANCE, out=plane))
    return mixed


def _luma(planes: list[F32]) -> F32:
    red, green, blue = planes
    luma = _LUMA[0] * red
    luma += _LUMA[1] * green
    luma += _LUMA[2] * blue
    return np.asarray(luma, np.float32)


def _brightness(planes: list[F32]) -> F32:
    """Mean of luminance and the largest channel: equals luminance for greys and is higher for saturated lights."""
    brightness = np.maximum(np.maximum(planes[0], planes[1]), planes[2])
    brightness += _luma(planes)
    brightness *= np.float32(0.5)
    return np.maximum(brightness, 0.0, out=brightness)


def _ev(brightness: F32) -> F32:
    """log2(brightness / mid-grey), clipped to [_MIN_EV, _MAX_EV]."""
    ev = np.asarray(cv2.log(np.maximum(brightness, _MIN_BRIGHTNESS)), np.float32)
    ev *= np.float32(1.0 / np.log(2.0))
    ev -= np.float32(np.log2(_MID_GREY))
    return np.clip(ev, np.float32(_MIN_EV), np.float32(_MAX_EV), out=ev)


def _display_light(ev: F32) -> F32:
    """Linear display light of EV around mid-grey."""
    light = np.asarray(cv2.exp(ev * np.float32(np.log(2.0))), np.float32)
    light *= np.float32(_MID_GREY)
    return light


def _fit_base(ev: F32, radius: int, edge_ev: float) -> tuple[F32, F32]:
    """(slope, offset) of the self-guided filter: base = slope * ev + offset, slope near 1 at edges."""
    window = (2 * radius + 1, 2 * radius + 1)

    def mean(image: F32) -> F32:
        return np.asarray(cv2.boxFilter(image, -1, window, borderType=cv2.BORDER_REFLECT), np.float32)

    average = mean(ev)
    variance = np.maximum(mean(np.asarray(np.square(ev), np.float32)) - np.square(average), 0.0)
    slope = np.asarray(variance / (variance + np.float32(edge_ev * edge_ev)), np.float32)
    offset = np.asarray(average - slope * average, np.float32)
    return mean(slope), mean(offset)


def _curve(base: F32, config: ToneMapConfig) -> F32:
    """The table of curve(x) - x: c log(1 + x/c) on either side of mid-grey, with slope 1 there.

    c brings the percentiles of the base to ``max_base_ev`` and ``min_base_ev``; a scene within them is not changed.
    """
    dark, bright = (float(value) for value in np.percentile(base, (_DARK_PERCENTILE, _BRIGHT_PERCENTILE)))
    x = np.linspace(_MIN_EV, _MAX_EV, _TABLE_SIZE)
    above, below = _compression(bright, config.max_base_ev), _compression(-dark, -config.min_base_ev)
    y = np.where(x > 0, above * np.log1p(np.maximum(x, 0) / above), -below * np.log1p(np.maximum(-x, 0) / below))
    return np.asarray(y - x, np.float32)


def _compression(extent: float, target: float) -> float:
    """c with c log(1 + extent/c) = target, by bisection; _NO_COMPRESSION where extent <= target."""
    if extent <= target * 1.001:
        return _NO_COMPRESSION
    low, high = 1e-3, _NO_COMPRESSION
    for _ in range(80):
        middle = (low * high) ** 0.5
        if middle * np.log1p(extent / middle) > target:
            high = middle
        else:
            low = middle
    return float((low * high) ** 0.5)


def _shoulder(light: F32, start: float) -> F32:
    """Identity up to ``start``, then u / sqrt(1 + u^2) scaled to approach 1, with a continuous slope."""
    over = np.maximum(light - np.float32(start), 0.0)
    over *= np.float32(1.0 / (1.0 - start))
    compressed = over / np.sqrt(1.0 + over * over)
    return np.asarray(np.minimum(light, np.float32(start)) + np.float32(1.0 - start) * compressed, np.float32)


def _tone_map_reduced(ev: F32, base: F32, curve: F32, config: ToneMapConfig) -> F32:
    """Display light of the reduced image, without a black point."""
    added = np.interp(base, np.linspace(_MIN_EV, _MAX_EV, _TABLE_SIZE), curve)
    target = config.contrast * (base + added + config.detail * (ev - base))
    return _shoulder(_display_light(np.asarray(target, np.float32)), config.shoulder)


def _compress_gamut(planes: list[F32], luma: F32, saturation: F32) -> list[F32]:
    """Mix colours with grey of their luminance, by ``saturation`` and until every channel is in [0, 1].

    The distance to grey is 1 at the gamut's boundary; beyond _GAMUT_KNEE it is compressed, to stay below 1.
    """
    np.clip(luma, 0.0, 1.0, out=luma)
    red, green, blue = planes
    up = np.maximum(np.maximum(red, green), blue)
    up -= luma
    up /= np.maximum(1.0 - luma, np.float32(1e-6))
    down = np.minimum(np.minimum(red, green), blue)
    np.subtract(luma, down, out=down)
    down /= np.maximum(luma, np.float32(1e-6))
    distance = np.maximum(np.maximum(up, down, out=up), np.float32(1e-6), out=up)
    distance *= saturation
    gain = distance - np.float32(_GAMUT_KNEE)
    np.maximum(gain, 0.0, out=gain)
    gain *= np.float32(1.0 / (1.0 - _GAMUT_KNEE))
    gain /= 1.0 + gain
    gain *= np.float32(1.0 - _GAMUT_KNEE)
    gain += np.minimum(distance, np.float32(_GAMUT_KNEE))
    gain /= distance
    gain *= saturation
    for plane in planes:
        plane -= luma
        plane *= gain
        plane += luma
        np.clip(plane, 0.0, 1.0, out=plane)
    return planes
