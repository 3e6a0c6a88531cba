"""The simulated camera: photon and read noise, full well, tone curve, JPEG with EXIF; and the three exposures.

A pixel with radiance L (1 = the reference's clip) collects Poisson(L W t / t_ref) electrons plus Gaussian read noise,
for a full well W and an exposure time t. With x the result over W, clipped to [0, 1], the 8-bit code is

    u = x^(1/2.2),   code = 255 (0.55 u + 0.45 u^2 (3 - 2u))

an S-curve over a gamma: darker shadows and steeper mid-tones than sRGB, with a shoulder before the clip.
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
JPEG_QUALITY = 92
APERTURE, ISO, FOCAL_35 = 4.0, 100, 37


@dataclass(frozen=True)
class Shot:
    """One exposure of 1/``shutter_speed`` s, ``start`` seconds after the reference's, and the pose of the camera.

    ``shift`` in metres; ``angles``: yaw, pitch, roll in degrees. ``time_samples``: moments averaged for motion blur. In
    ``fine_crop`` (x, y, width, height at 1200x900), where objects are fast, there are ``fine_time_samples``.
    """

    name: str
    shutter_speed: int
    start: float
    shift: tuple[float, float, float]
    angles: tuple[float, float, float]
    time_samples: int
    fine_crop: tuple[int, int, int, int] | None = None
    fine_time_samples: int = 1


REFERENCE_SHUTTER_SPEED = 64
SHOTS = (
    Shot("img1", 512, -0.34, (-0.034, 0.006, 0.016), (0.55, -0.35, 0.30), 1),
    Shot("img2", 64, 0.0, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 1),
    Shot("img3", 8, 0.30, (0.036, -0.012, -0.015), (-0.60, 0.40, -0.50), 5, (30, 676, 224, 224), 20),
)


def tone_curve(x: F32) -> F32:
    """Fraction of the full well to display code in [0, 1]."""
    u = np.clip(x, 0, 1) ** (1 / GAMMA)
    return np.asarray((1 - CONTRAST) * u + CONTRAST * u * u * (3 - 2 * u), np.float32)


def expose(radiance: F32, shot: Shot, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(H, W, 3) radiance to 8-bit codes, with noise."""
    mean = np.maximum(radiance, 0).astype(np.float64) * FULL_WELL * REFERENCE_SHUTTER_SPEED / shot.shutter_speed
    electrons = rng.poisson(mean)
    measured = (electrons + rng.normal(0, READ_NOISE, radiance.shape)) / FULL_WELL
    return np.asarray(np.rint(255 * tone_curve(measured.astype(np.float32))), np.uint8)


def write_jpeg(path: Path, codes: NDArray[np.uint8], shot: Shot) -> None:
    """Write a 4:2:2 JPEG with EXIF."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112] = "smarthdr", "example scene", 1
    exif[0x0131] = "examples/make_burst.py"
    milliseconds = round(1000 * (2 + shot.start))
    moment = f"2026:11:20 14:05:{30 + milliseconds // 1000:02d}"
    exif[0x0132] = moment
    exif.get_ifd(0x8769).update(
        {
            0x829A: IFDRational(1, shot.shutter_speed),
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
    Image.fromarray(codes).save(path, quality=JPEG_QUALITY, subsampling=1, optimize=True, exif=exif)
