"""The camera that never was: photons, read noise, a full well, a tone curve that is not sRGB's, and a JPEG with EXIF.

The curve, code = S(x) with x the share of the full well: u = x^(1/2.2), S = 0.55 u + 0.45 u^2 (3 - 2u). An S over a
gamma: shadows darker than sRGB's, mid-tones steeper, a shoulder before the clip.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

F32 = NDArray[Any]  # float32
GAMMA, CONTRAST = 2.2, 0.45
FULL_WELL, READ_NOISE = 24000.0, 5.0  # electrons, at ISO 100
QUALITY = 92
APERTURE, ISO, FOCAL_35 = 4.0, 100, 37


@dataclass(frozen=True)
class Shot:
    """One exposure: shutter as 1/``speed`` s, its start in seconds from the reference's, and the hand that held it.

    ``shift`` in metres; ``angles`` yaw, pitch, roll in degrees.
    """

    name: str
    speed: int
    start: float
    shift: tuple[float, float, float]
    angles: tuple[float, float, float]
    steps: int  # moments the open shutter is sampled at
    window: tuple[int, int, int, int] | None = None  # x, y, width, height at 1200x900: where things are fast
    window_steps: int = 1  # moments within the window


REFERENCE_SPEED = 64
SHOTS = (
    Shot("img1", 512, -0.34, (-0.034, 0.006, 0.016), (0.55, -0.35, 0.30), 1),
    Shot("img2", 64, 0.0, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 1),
    Shot("img3", 8, 0.30, (0.036, -0.012, -0.015), (-0.60, 0.40, -0.50), 5, (30, 676, 224, 224), 20),
)


def curve(x: F32) -> F32:
    """Exposure as a share of the full well to display code in [0, 1]."""
    u = np.clip(x, 0, 1) ** (1 / GAMMA)
    return np.asarray((1 - CONTRAST) * u + CONTRAST * u * u * (3 - 2 * u), np.float32)


def expose(radiance: F32, shot: Shot, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Radiance (H, W, 3), 1 = the reference's clip, to 8-bit codes, through the exposure and the sensor's noise."""
    electrons = rng.poisson(np.maximum(radiance, 0).astype(np.float64) * FULL_WELL * REFERENCE_SPEED / shot.speed)
    measured = (electrons + rng.normal(0, READ_NOISE, radiance.shape)) / FULL_WELL
    return np.asarray(np.rint(255 * curve(measured.astype(np.float32))), np.uint8)


def write_jpeg(path: Path, codes: NDArray[np.uint8], shot: Shot) -> None:
    """A 4:2:2 JPEG with the EXIF a camera would give it."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112] = "smarthdr", "example scene", 1
    exif[0x0131] = "examples/make_burst.py"
    milliseconds = round(1000 * (2 + shot.start))
    moment = f"2026:11:20 14:05:{30 + milliseconds // 1000:02d}"
    exif[0x0132] = moment
    exif.get_ifd(0x8769).update(
        {
            0x829A: IFDRational(1, shot.speed),
            0x829D: IFDRational(round(APERTURE * 10), 10),
            0x8827: ISO,
            0x9003: moment,
            0x9004: moment,
            0x9291: f"{milliseconds % 1000:03d}",
            0x9011: "+01:00",
            0xA001: 1,
            0xA405: FOCAL_35,
        }
    )
    Image.fromarray(codes).save(path, quality=QUALITY, subsampling=1, optimize=True, exif=exif)
