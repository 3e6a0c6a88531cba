"""HDR AVIF: 10 bits a channel, PQ, BT.2020 primaries, for HDR screens and browsers.

PQ states absolute luminance (SMPTE ST 2084, ITU-R BT.2100-3, table 4): with Y = luminance / 10 000 cd/m2,

    code = ((c1 + c2 Y^m1) / (1 + c3 Y^m1))^m2.

SDR white, where the preview puts the radiance 1 / hdrScale, has 203 cd/m2 (ITU-R BT.2408-7), so the format holds 5.6
stops more. The colour is stated by the file's nclx box; imagecodecs (libavif) writes no EXIF.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.atomic import atomic_file
from smarthdr_cli.colorspace import REC709, REC2020, conversion
from smarthdr_cli.errors import OutputError
from smarthdr_cli.fusion.result import FusionResult
from smarthdr_cli.output.metadata import require_finite
from smarthdr_cli.output.preview import fit_preview
from smarthdr_cli.output.tonemap import look_config

SDR_WHITE, PEAK = 203.0, 10_000.0  # cd/m2
MAX_SIDE = 65536  # of an AV1 frame (AV1 specification, 5.5.1)
_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
_BITS = 10
_QUALITY = 92  # of 100; the median error is 1.6 % of linear light, at 85 2.7 %
_SPEED = 9  # of 10; 6 takes three times as long for a file smaller by a seventh
_THREADS = 2
_BAND_PIXELS = 1 << 18


def write_avif(result: FusionResult, path: Path, *, preview_ev: float = 0.0, overwrite: bool = False) -> list[str]:
    """Write the radiance as HDR AVIF, lossy; returns notes for the user.

    ``preview_ev``: EV by which the picture is brighter. What is brighter than 10 000 cd/m2 is clipped, with a note;
    negatives (colours outside BT.2020) become 0.
    Raises OutputError where the image is not finite, too large, or cannot be written.
    """
    require_finite(result.radiance, "radiance")
    height, width = result.radiance.shape[:2]
    if max(height, width) > MAX_SIDE:
        raise OutputError(f"{path.name}: AVIF holds at most {MAX_SIDE} pixels a side, not {width}x{height}; use .exr")
    if not imagecodecs.AVIF.available:
        raise OutputError(f"{path.name}: this imagecodecs has no AVIF; `pip install imagecodecs` installs one that has")
    matrix = conversion(REC709, REC2020) @ fit_preview(result, look_config("natural", preview_ev)).matrix
    codes, clipped = _pq_codes(result.radiance, matrix * (SDR_WHITE / PEAK))
    av1 = imagecodecs.AVIF
    data = imagecodecs.avif_encode(
        codes,
        level=_QUALITY,
        speed=_SPEED,
        bitspersample=_BITS,
        pixelformat=av1.PIXEL_FORMAT.YUV444,
        primaries=av1.COLOR_PRIMARIES.BT2020,
        transfer=av1.TRANSFER_CHARACTERISTICS.PQ,
        matrix=av1.MATRIX_COEFFICIENTS.BT2020_NCL,
        numthreads=_THREADS,
    )

    def is_as_written(written: Path) -> bool:
        return written.read_bytes() == data and bool(imagecodecs.avif_check(data))

    with atomic_file(path, overwrite=overwrite, is_as_written=is_as_written) as temporary:
        temporary.write_bytes(data)
    if clipped:
        stops = math.log2(PEAK / SDR_WHITE)
        return [
            f"{path.name}: AVIF holds {stops:.1f} stops above white; {100 * clipped:.2g} % of the pixels were brighter"
        ]
    return []


def read_provenance(path: Path) -> None:
    """None: imagecodecs writes no metadata. Raises ValueError where the file is no AVIF."""
    with path.open("rb") as file:
        if not imagecodecs.avif_check(file.read(64)):
            raise ValueError(f"{path} is no AVIF")


def is_intact(path: Path) -> bool:
    """Whether every pixel of an AVIF can be read."""
    try:
        imagecodecs.avif_decode(path.read_bytes())
    except imagecodecs.AvifError:
        return False
    return True


def pq(luminance: NDArray[Any]) -> NDArray[np.float32]:
    """PQ code in [0, 1] of ``luminance`` relative to 10 000 cd/m2, clipped to [0, 1] (any shape).

    >>> float(pq(np.array([0.01])).round(4)[0])
    0.5081
    """
    power = np.clip(luminance, 0.0, 1.0).astype(np.float32) ** np.float32(_M1)
    coded = (np.float32(_C1) + np.float32(_C2) * power) / (1 + np.float32(_C3) * power)
    return np.asarray(coded ** np.float32(_M2), np.float32)


def _pq_codes(radiance: NDArray[np.float32], matrix: NDArray[np.float64]) -> tuple[NDArray[np.uint16], float]:
    """((H, W, 3) codes, share of clipped pixels) of ``matrix`` times ``radiance``, relative to 10 000 cd/m2."""
    codes = np.empty(radiance.shape, np.uint16)
    rows = max(1, _BAND_PIXELS // radiance.shape[1])
    scale = np.float32(2**_BITS - 1)

    def encode(top: int) -> int:
        light = cv2.transform(np.ascontiguousarray(radiance[top : top + rows]), matrix)
        codes[top : top + rows] = pq(light) * scale + np.float32(0.5)
        return int(np.count_nonzero(light.max(axis=2) > 1))

    with ThreadPoolExecutor(_THREADS) as pool:
        clipped = sum(pool.map(encode, range(0, len(radiance), rows)))
    return codes, clipped / (radiance.shape[0] * radiance.shape[1])
