"""Simulated bursts with known camera response: scene, motion, photon noise, curve, quantisation, JPEG."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.align import Alignment
from smarthdr_cli.burst.burst import Burst, CaptureMetadata, Encoding, Exposure, ExposureSource, Frame
from smarthdr_cli.colorspace import SRGB
from smarthdr_cli.response import Samples, sample_blocks

F64 = NDArray[np.float64]
Curve = Callable[[F64, int], F64]  # linear light in [0, 1] and channel to code in [0, 1]

LIGHT = np.concatenate([[0.0], np.exp(np.linspace(np.log(1e-7), 0.0, 8191))])
HARD = {"moving_share": 0.2, "misalignment": 1.0, "noise": 0.02, "quality": 85}


def srgb_encode(light: F64) -> F64:
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-12) ** (1 / 2.4) - 0.055)


def srgb(light: F64, _channel: int) -> F64:
    return srgb_encode(light)


def sigmoid(x: F64, strength: float) -> F64:
    """Logistic curve from (0, 0) to (1, 1) with its centre at 1/2."""
    low, high, value = (1 / (1 + np.exp(-strength * (v - 0.5))) for v in (0.0, 1.0, x))
    return np.asarray((value - low) / (high - low))


def filmic(light: F64, shoulder: float) -> F64:
    return light * (1 + shoulder) / (1 + shoulder * light)


def contrast(light: F64, strength: float) -> F64:
    return sigmoid(srgb_encode(light), strength)


def shoulder_and_toe(light: F64) -> F64:
    shoulder = srgb_encode(filmic(light, 2.0))
    return 0.5 * sigmoid(shoulder, 3.5) + 0.5 * shoulder


def per_channel(light: F64, channel: int) -> F64:
    """An S-curve whose arms differ between channels; all are equal at code 1/2 and at the ends, as neutrals demand."""
    base = contrast(light, 4.0)
    return base + (-0.06, 0.0, 0.06)[channel] * np.sin(2 * np.pi * base) * 0.5


CURVES: dict[str, Curve] = {
    "contrast": lambda x, c: contrast(x, 4.0),
    "strong contrast": lambda x, c: contrast(x, 6.0),
    "filmic shoulder": lambda x, c: srgb_encode(filmic(x, 3.0)),
    "shoulder and toe": lambda x, c: shoulder_and_toe(x),
    "gamma 1.8": lambda x, c: x ** (1 / 1.8),
    "bright": lambda x, c: srgb_encode(x**0.75),
    "per channel": per_channel,
}
ALL_CURVES = {"srgb": srgb, **CURVES}


def make_scene(height: int = 300, width: int = 450, seed: int = 0, stops: float = 9.0) -> F64:
    """(H, W, 3) linear radiance: flat patches, ramps and texture, median 0.18."""
    rng = np.random.default_rng(seed)
    field = np.zeros((height, width))
    for size in (6, 12, 25, 50):
        field += cv2.resize(rng.normal(size=(size, size)), (width, height), interpolation=cv2.INTER_CUBIC)
    patches = cv2.resize(rng.normal(size=(14, 20)), (width, height), interpolation=cv2.INTER_NEAREST)
    field = field + 1.5 * patches + 0.05 * rng.normal(size=field.shape)
    field = (field - np.median(field)) / np.ptp(field) * stops
    tint = np.stack([cv2.resize(rng.normal(size=(9, 12)), (width, height)) for _ in range(3)], -1)
    return np.asarray(0.18 * np.exp2(field[..., None] + 0.5 * tint))


def with_moving_object(radiance: F64, share: float, index: int, seed: int = 1) -> F64:
    """``share`` of the picture covered by a rectangle of other content, at another place in every frame ``index``."""
    height, width = radiance.shape[:2]
    h, w = int(height * np.sqrt(share)), int(width * np.sqrt(share))
    if min(h, w) < 2:
        return radiance
    rng = np.random.default_rng(seed + index)
    y, x = rng.integers(0, height - h), rng.integers(0, width - w)
    out = radiance.copy()
    out[y : y + h, x : x + w] = make_scene(h, w, seed + 100 + index)
    return out


def expose(
    radiance: F64, ev: float, curve: Curve, *, noise: float = 0.01, quality: int = 92, seed: int = 0,
    shift: tuple[float, float] = (0.0, 0.0), bits: int = 8,
) -> NDArray[Any]:  # fmt: skip
    """Codes of ``radiance`` at ``ev``: shift, noise, clip, curve, quantisation, JPEG (8 bits and ``quality`` > 0)."""
    rng = np.random.default_rng(seed)
    if any(shift):
        matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], float)
        size = (radiance.shape[1], radiance.shape[0])
        radiance = cv2.warpAffine(radiance.astype(np.float32), matrix, size, borderMode=cv2.BORDER_REPLICATE)
    light = radiance * 2.0**ev
    light = light + rng.normal(size=light.shape) * noise * np.sqrt(np.maximum(light, 1e-4))
    light = np.clip(light, 0.0, 1.0)
    code = np.stack([np.interp(light[..., c], LIGHT, curve(LIGHT, c)) for c in range(3)], -1)
    white = 2**bits - 1
    codes = np.rint(np.clip(code, 0, 1) * white).astype(np.uint8 if bits == 8 else np.uint16)
    if bits == 8 and quality:
        _, data = cv2.imencode(".jpg", codes[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        codes = np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])
    return codes


def make_frame(
    codes: NDArray[Any], ev: float, index: int = 0, source: ExposureSource = "exif", encoding: Encoding = "display",
    capture: CaptureMetadata | None = None, clipped: NDArray[np.bool_] | None = None,
) -> Frame:  # fmt: skip
    """Frame ``img{index}.jpg`` with the exposure ``ev`` as stated by ``source``."""
    white = {"uint8": 255.0, "uint16": 65535.0}.get(str(codes.dtype), 1.0)
    exposure = Exposure(float(ev), source=source)
    path = Path(f"img{index}.jpg")
    return Frame(path, codes, white, encoding, exposure, SRGB, capture or CaptureMetadata(), "", "array", clipped)


def make_burst(
    curve: Curve, evs: Sequence[float] = (-2, 0, 2), stated: Sequence[float] | None = None, *,
    moving_share: float = 0.0, misalignment: float = 0.0, source: ExposureSource = "exif",
    radiance: F64 | None = None, capture: CaptureMetadata | None = None, **exposing: Any,
) -> Burst:  # fmt: skip
    """A burst of ``radiance`` through ``curve``. The ``stated`` exposures may differ from the true ``evs``.

    ``misalignment``: pixels by which every frame but the reference is shifted.
    """
    radiance = make_scene() if radiance is None else radiance
    frames = []
    for n, ev in enumerate(evs):
        shift = (0.0, 0.0) if ev == 0 else (misalignment * (-1) ** n, misalignment * 0.6)
        codes = expose(with_moving_object(radiance, moving_share, n), ev, curve, seed=n, shift=shift, **exposing)
        frames.append(make_frame(codes, (stated or evs)[n], n, source, capture=capture))
    return Burst(tuple(frames), int(np.argmin(np.abs(evs))))


def make_relit_burst(curve: Curve, share: float = 0.6, evs: Sequence[float] = (-2, 0, 2), width: int = 450) -> Burst:
    """Frames in which the left ``share`` has other light in each: strips of up to 1.5 EV, as moving shadows."""
    frames = []
    for n, ev in enumerate(evs):
        light = np.zeros(width)
        strips = np.repeat(np.random.default_rng(n).uniform(0.0, 1.5, 30), width // 30)
        light[: int(share * width)] = strips[: int(share * width)]
        radiance = make_scene(width=width) * np.exp2(light)[None, :, None]
        frames.append(make_frame(expose(radiance, ev, curve, seed=n), ev, n))
    return Burst(tuple(frames), list(evs).index(0))


def samples_of(burst: Burst) -> Samples:
    """The samples of a burst on a tripod."""
    return sample_blocks(burst, Alignment.identity(len(burst)))


def true_table(curve: Curve, entries: int = 256) -> F64:
    """(3, entries) linear light of each code, by inverting ``curve`` numerically."""
    code = np.linspace(0, 1, entries)
    return np.stack([np.interp(code, curve(LIGHT, c), LIGHT) for c in range(3)])


def relative_error(table: NDArray[Any], truth: NDArray[Any], low: int = 8, high: int = 247) -> float:
    """Mean relative error of linear light over codes low..high (of 255) and channels, after the best single scale."""
    codes = np.linspace(0, 1, truth.shape[1]) * 255
    used = (codes >= low) & (codes <= high)
    ratio = table[:, used].astype(np.float64) / truth[:, used]
    return min(float(np.abs(scale * ratio - 1).mean()) for scale in np.exp(np.linspace(-2.0, 2.0, 2001)))
