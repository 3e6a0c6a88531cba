"""The self-test: fuse a burst with a known truth, from files to a file.

Three frames 3 EV apart show a scene of six stops in which one block moves. The result must reach MIN_PSNR_MU against
the truth of the middle frame, and the EXR must hold the result.
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.errors import OutputError, SmartHDRError, os_reason
from smarthdr_cli.evaluate.metrics import psnr_mu
from smarthdr_cli.fusion.pipeline import fuse
from smarthdr_cli.output.write import write_result
from smarthdr_cli.radiometry import linear_to_srgb

EVS = (-3.0, 0.0, 3.0)
SIZE = (128, 192)  # height, width
MIN_PSNR_MU = 38.0  # dB; the shipped weights reach 52.9, a merge that keeps the moving block's ghosts 35.3
_HALF_TOLERANCE = 1e-3  # relative; a half float's error is 4.9e-4


class SelfTestError(SmartHDRError):
    """The fusion ran, and its result differs from the truth (exit 1)."""


@dataclass(frozen=True)
class SelfTest:
    """``psnr_mu``: dB against the truth. ``seconds``: of the fusion alone. ``report``: as ``fuse --json`` prints it."""

    psnr_mu: float
    seconds: float
    report: dict[str, Any]


def scene() -> list[NDArray[np.float32]]:
    """The truth at each of the three moments, (H, W, 3) linear, 1 = clip of the middle frame; only a block moves."""
    height, width = SIZE
    y, x = np.mgrid[:height, :width].astype(np.float32)
    waves = 0.5 + 0.2 * np.sin(x / 3.1 + y / 7.0) + 0.2 * np.sin(y / 4.3 - x / 11.0) + 0.1 * np.sin(x * y / 900)
    light = (waves * 2.0 ** (6 * x / width - 4))[..., None] * np.array([1.0, 0.9, 0.7], np.float32)  # six stops across
    block = 0.3 * waves[40:72, 20:52, None] * np.array([0.4, 0.8, 1.0], np.float32)
    moments = []
    for shift in (-9, 0, 9):
        moment = light.copy()
        left = width // 3 + shift
        moment[40:72, left : left + 32] = block
        moments.append(moment.astype(np.float32))
    return moments


def self_test(**options: Any) -> SelfTest:
    """Write the burst as 16-bit PNG to a temporary folder, fuse it, write the result as EXR, read it and compare.

    ``options`` are those of ``fuse``. Raises what ``fuse`` and ``write_result`` raise, OutputError where temporary
    files cannot be written, and SelfTestError where the result or its EXR is wrong.
    """
    moments = scene()
    try:
        with tempfile.TemporaryDirectory(prefix="smarthdr-", ignore_cleanup_errors=True) as folder:
            files = [Path(folder, f"{number}.png") for number in range(len(EVS))]
            for path, moment, ev in zip(files, moments, EVS, strict=True):
                path.write_bytes(_png(moment * 2.0**ev))
            start = time.perf_counter()
            result = fuse(files, ev=EVS, reference=2, response="srgb", **options)
            seconds = time.perf_counter() - start
            path = Path(folder, "result.exr")
            write_result(result, path)
            stored = _read_exr(path)
    except OSError as error:
        raise OutputError(f"no temporary file can be written: {os_reason(error)}") from error
    if not np.allclose(stored, result.radiance, rtol=_HALF_TOLERANCE, atol=1e-6):
        raise SelfTestError("the self-test's EXR does not hold what was written into it")
    quality = psnr_mu(result.radiance * result.scale_short, moments[1] * result.scale_short)
    if not quality >= MIN_PSNR_MU:
        raise SelfTestError(f"the self-test's result is off: {quality:.1f} dB (PSNR-mu), {MIN_PSNR_MU:g} at least")
    return SelfTest(quality, seconds, result.report.to_dict())


def _png(light: NDArray[np.float32]) -> bytes:
    codes = linear_to_srgb(np.clip(light, 0, 1))
    is_encoded, data = cv2.imencode(".png", np.round(codes[..., ::-1] * 65535).astype(np.uint16))
    assert is_encoded
    return data.tobytes()


def _read_exr(path: Path) -> NDArray[np.float32]:
    import OpenEXR

    with OpenEXR.File(str(path)) as file:
        return np.asarray(file.channels()["RGB"].pixels, np.float32)
