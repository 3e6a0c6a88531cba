"""Shoots of tiny brackets on disk: a scene, a camera's curve, EXIF with moment and exposure."""

import io
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

TIMES = (Fraction(1, 400), Fraction(1, 100), Fraction(1, 25))
SIZE = (96, 64)  # width, height


def scene(seed, width=SIZE[0], height=SIZE[1]):
    """(H, W, 3) linear, 1 = the clip of a frame of 1/100 s: texture, a dark half and a bright window."""
    rng = np.random.default_rng(seed)
    texture = sum(
        cv2.resize(rng.uniform(0, 1, (height // s, width // s, 3)), (width, height), interpolation=cv2.INTER_CUBIC) * w
        for s, w in ((3, 0.4), (9, 0.4), (21, 0.2))
    )
    light = np.where(np.arange(width)[None, :, None] < width // 2, 0.08, 0.6)
    picture = np.clip(texture, 0.05, 1) * light
    picture[height // 5 : height // 3, width // 2 : width // 2 + width // 5] *= 5
    return picture.astype(np.float32)


def srgb(linear):
    x = np.clip(linear, 0, 1)
    return np.round(np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055) * 255).astype(np.uint8)


def jpeg(pixels, time, moment, *, aperture=4.0, iso=100, model="Model X", quality=95):
    """A JPEG that states its exposure and its moment (seconds after noon)."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Maker", model
    details = exif.get_ifd(0x8769)
    hours, rest = divmod(int(moment), 3600)
    details[0x9003] = f"2026:05:06 {12 + hours:02d}:{rest // 60:02d}:{rest % 60:02d}"
    details[0x9291] = f"{int(moment * 100) % 100:02d}"
    details[0x829A] = IFDRational(time.numerator, time.denominator)
    if aperture is not None:
        details[0x829D] = IFDRational(Fraction(aperture).limit_denominator(100))
    details[0x8827] = iso
    details[0xA402] = 2  # automatic bracket
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality, subsampling=0, exif=exif)
    return stream.getvalue()


def write_bracket(folder, number, *, times=TIMES, light=None, curve=srgb, moment=None, base=Fraction(1, 100), **exif):
    """Three frames named by running number, a minute after those before; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    light = scene(number) if light is None else light
    paths = []
    start = 60.0 * number if moment is None else moment
    for k, time in enumerate(times):
        path = folder / f"IMG_{number * len(times) + k + 1:04d}.jpg"
        path.write_bytes(jpeg(curve(light * float(time / base)), time, start + 0.5 * k, **exif))
        paths.append(path)
    return paths


def write_shoot(folder: Path, count=3, **how):
    """``count`` brackets in one folder; returns the lists of their frames."""
    return [write_bracket(folder, number, **how) for number in range(count)]
