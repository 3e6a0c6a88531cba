"""Bursts with known curves for the tests of this room: scene, motion, noise, curve, 8 bits, JPEG."""

from pathlib import Path

import cv2
import numpy as np

from smarthdr_cli.burst.burst import Burst, CaptureMetadata, Exposure, Frame
from smarthdr_cli.colorspace import SRGB

LIGHT = np.concatenate([[0.0], np.exp(np.linspace(np.log(1e-7), 0.0, 8191))])


def srgb_encode(x):
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 1e-12) ** (1 / 2.4) - 0.055)


def sigmoid(x, strength, centre=0.5):
    low, high, at = (1 / (1 + np.exp(-strength * (v - centre))) for v in (0.0, 1.0, x))
    return (at - low) / (high - low)


def filmic(x, shoulder=4.0):
    return x * (1 + shoulder) / (1 + shoulder * x)


def s_curve(x, strength=4.0):
    return sigmoid(srgb_encode(x), strength)


CURVES = {  # linear light in [0, 1] to code in [0, 1]
    "contrast": lambda x, c: s_curve(x, 4.0),
    "strong contrast": lambda x, c: s_curve(x, 6.0),
    "filmic shoulder": lambda x, c: srgb_encode(filmic(x, 3.0)),
    "shoulder and toe": lambda x, c: (
        0.5 * sigmoid(srgb_encode(filmic(x, 2.0)), 3.5) + 0.5 * srgb_encode(filmic(x, 2.0))
    ),
    "gamma 1.8": lambda x, c: x ** (1 / 1.8),
    "bright": lambda x, c: srgb_encode(x**0.75),
    "per channel": lambda x, c: channelwise(x, c),
}


def channelwise(x, channel):
    """An S-curve whose arms differ between channels; all agree at code 1/2 and at the ends, as neutrals demand."""
    base = s_curve(x, 4.0)
    return base + (-0.06, 0.0, 0.06)[channel] * np.sin(2 * np.pi * base) * 0.5


def scene(height=300, width=450, seed=0, stops=9.0):
    """(H, W, 3) linear radiance: flat patches, ramps and texture, median 0.18."""
    random = np.random.default_rng(seed)
    field = np.zeros((height, width))
    for size in (6, 12, 25, 50):
        field += cv2.resize(random.normal(size=(size, size)), (width, height), interpolation=cv2.INTER_CUBIC)
    patches = cv2.resize(random.normal(size=(14, 20)), (width, height), interpolation=cv2.INTER_NEAREST)
    field = field + 1.5 * patches + 0.05 * random.normal(size=field.shape)
    field = (field - np.median(field)) / np.ptp(field) * stops
    tint = np.stack([cv2.resize(random.normal(size=(9, 12)), (width, height)) for _ in range(3)], -1)
    return 0.18 * np.exp2(field[..., None] + 0.5 * tint)


def moved(radiance, share, frame, seed=1):
    """A rectangle covering ``share`` of the picture filled with other content, at another place in every frame."""
    height, width = radiance.shape[:2]
    h, w = int(height * np.sqrt(share)), int(width * np.sqrt(share))
    if min(h, w) < 2:  # nothing to be seen in one pixel
        return radiance
    random = np.random.default_rng(seed + frame)
    y, x = random.integers(0, height - h), random.integers(0, width - w)
    out = radiance.copy()
    out[y : y + h, x : x + w] = scene(h, w, seed + 100 + frame)
    return out


def shoot(radiance, ev, curve, noise=0.01, quality=92, seed=0, shift=(0.0, 0.0), bits=8):
    """Codes of ``radiance`` at ``ev``: shift, clip, photon-like noise, curve, quantisation, JPEG (``quality`` > 0)."""
    random = np.random.default_rng(seed)
    if any(shift):
        matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], float)
        size = radiance.shape[1::-1]
        radiance = cv2.warpAffine(radiance.astype(np.float32), matrix, size, borderMode=cv2.BORDER_REPLICATE)
    light = radiance * 2.0**ev
    light = light + random.normal(size=light.shape) * noise * np.sqrt(np.maximum(light, 1e-4))
    light = np.clip(light, 0.0, 1.0)
    table = [curve(LIGHT, channel) for channel in range(3)]
    code = np.stack([np.interp(light[..., c], LIGHT, table[c]) for c in range(3)], -1)
    white = 2**bits - 1
    codes = np.rint(np.clip(code, 0, 1) * white).astype(np.uint8 if bits == 8 else np.uint16)
    if bits == 8 and quality:
        _, data = cv2.imencode(".jpg", codes[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        codes = np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])
    return codes


def frame(codes, ev, index=0, source="exif", encoding="display", capture=None):
    white = 255.0 if codes.dtype == np.uint8 else 65535.0 if codes.dtype == np.uint16 else 1.0
    exposure = Exposure(float(ev), source=source)
    return Frame(
        Path(f"img{index}.jpg"), codes, white, encoding, exposure, SRGB, capture or CaptureMetadata(), "", "array"
    )


def make(curve, evs=(-2, 0, 2), stated=None, share=0.0, residue=0.0, source="exif", radiance=None, capture=None, **how):
    """A burst of ``radiance`` through ``curve``; ``stated`` exposures may differ from the true ``evs``."""
    radiance = scene() if radiance is None else radiance
    stated = evs if stated is None else stated
    frames = []
    for n, ev in enumerate(evs):
        shift = (0.0, 0.0) if ev == 0 else (residue * (-1) ** n, residue * 0.6)
        codes = shoot(moved(radiance, share, n), ev, curve, seed=n, shift=shift, **how)
        frames.append(frame(codes, stated[n], n, source, capture=capture))
    return Burst(tuple(frames), int(np.argmin(np.abs(evs))))


def true_table(curve, entries=256):
    """(3, entries) linear light of each code, by inverting ``curve`` numerically."""
    code = np.linspace(0, 1, entries)
    return np.stack([np.interp(code, curve(LIGHT, c), LIGHT) for c in range(3)])


def relative_error(table, truth, low=8, high=247):
    """Mean relative linear error over codes low..high (of 255) and channels, after the best single scale."""
    codes = np.linspace(0, 1, truth.shape[1]) * 255
    keep = (codes >= low) & (codes <= high)
    ratio = table[:, keep].astype(np.float64) / truth[:, keep]
    scales = np.exp(np.linspace(-2.0, 2.0, 2001))
    return min(float(np.abs(scale * ratio - 1).mean()) for scale in scales)
