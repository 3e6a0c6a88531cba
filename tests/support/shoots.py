"""Tiny brackets on disk: a synthetic scene, a camera's tone curve, EXIF with time of day and exposure."""

import io
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

TIMES = (Fraction(1, 400), Fraction(1, 100), Fraction(1, 25))  # seconds, two stops apart
SIZE = (96, 64)  # width, height

Codes = NDArray[np.uint8]


def scene(seed: int, width: int = SIZE[0], height: int = SIZE[1]) -> NDArray[np.float32]:
    """(H, W, 3) linear, 1 = the clip of a frame of 1/100 s: texture, a dark half and a bright window."""
    rng = np.random.default_rng(seed)
    texture = sum(
        cv2.resize(rng.uniform(0, 1, (height // s, width // s, 3)), (width, height), interpolation=cv2.INTER_CUBIC) * w
        for s, w in ((3, 0.4), (9, 0.4), (21, 0.2))
    )
    light = np.where(np.arange(width)[None, :, None] < width // 2, 0.08, 0.6)
    image = np.clip(texture, 0.05, 1) * light
    image[height // 5 : height // 3, width // 2 : width // 2 + width // 5] *= 5
    return np.asarray(image, np.float32)


def srgb(linear: NDArray[Any]) -> Codes:
    """Linear light to 8-bit sRGB (IEC 61966-2-1)."""
    x = np.clip(linear, 0, 1)
    return np.asarray(np.round(np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055) * 255), np.uint8)


def jpeg(
    codes: Codes,
    time: Fraction | tuple[int, int] | None,
    moment: float | None = None,
    *,
    aperture: float | None = 4.0,
    iso: int = 100,
    model: str = "Model X",
    quality: int = 95,
) -> bytes:
    """A JPEG whose EXIF states camera, exposure and, in seconds after noon, its ``moment``; no EXIF for ``time`` None.

    A moment marks the frame as one of an automatic bracket.
    """
    exif = Image.Exif()
    if time is not None:
        exif[0x010F], exif[0x0110], exif[0x0132] = "Maker", model, "2026:05:06 07:08:09"
        details = exif.get_ifd(0x8769)
        ratio = (time.numerator, time.denominator) if isinstance(time, Fraction) else time
        details[0x829A] = IFDRational(*ratio)
        if aperture is not None:
            details[0x829D] = IFDRational(Fraction(aperture).limit_denominator(100))
        details[0x8827] = iso
        if moment is not None:
            hours, rest = divmod(int(moment), 3600)
            details[0x9003] = f"2026:05:06 {12 + hours:02d}:{rest // 60:02d}:{rest % 60:02d}"
            details[0x9291] = f"{int(moment * 100) % 100:02d}"
            details[0xA402] = 2  # automatic bracket
    stream = io.BytesIO()
    Image.fromarray(codes).save(stream, "JPEG", quality=quality, subsampling=0, exif=exif)
    return stream.getvalue()


def write_bracket(
    folder: Path,
    number: int,
    *,
    times: Sequence[Fraction] = TIMES,
    light: NDArray[Any] | None = None,
    curve: Callable[[NDArray[Any]], Codes] = srgb,
    unit: Fraction = TIMES[1],
    **exif: Any,
) -> list[Path]:
    """Frames numbered from ``number`` times their count, a minute after the bracket before; returns their paths.

    ``light``: linear, 1 = the clip of a frame of ``unit`` seconds; without it the scene of seed ``number``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    light = scene(number) if light is None else light
    paths = []
    for k, time in enumerate(times):
        path = folder / f"IMG_{number * len(times) + k + 1:04d}.jpg"
        path.write_bytes(jpeg(curve(light * float(time / unit)), time, 60.0 * number + 0.5 * k, **exif))
        paths.append(path)
    return paths


def write_shoot(folder: Path, count: int = 3) -> list[list[Path]]:
    """``count`` brackets in one folder; returns the lists of their frames."""
    return [write_bracket(folder, number) for number in range(count)]
