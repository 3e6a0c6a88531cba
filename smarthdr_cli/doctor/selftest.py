"""A burst with a known truth, fused from files to a file: whether all that a fusion needs works here."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.errors import OutputError, SmartHDRError
from smarthdr_cli.evaluate.metrics import psnr_mu
from smarthdr_cli.fusion.pipeline import fuse
from smarthdr_cli.output.write import write_result
from smarthdr_cli.radiometry import linear_to_srgb

EVS = (-3.0, 0.0, 3.0)
SIZE = (128, 192)  # height, width
LIMIT = 38.0  # dB; the shipped weights reach 52.9, a merge that keeps the moving block's ghosts 35.3
_HALF_STEP = 1e-3  # a half float's relative error is 4.9e-4


class SelfTestError(SmartHDRError):
    """The fusion ran, and its result is not the known truth (exit 1)."""


@dataclass(frozen=True)
class SelfTest:
    """``psnr_mu``: dB against the truth. ``seconds``: of the fusion alone. ``report``: what ``--json`` prints of it."""

    psnr_mu: float
    seconds: float
    report: dict[str, Any]


def scene() -> list[NDArray[np.float32]]:
    """The truth of each of the three moments, (H, W, 3) linear, 1 the clip of the middle frame: only a block moves."""
    height, width = SIZE
    y, x = np.mgrid[:height, :width].astype(np.float32)
    waves = 0.5 + 0.2 * np.sin(x / 3.1 + y / 7.0) + 0.2 * np.sin(y / 4.3 - x / 11.0) + 0.1 * np.sin(x * y / 900)
    light = (waves * 2.0 ** (6 * x / width - 4))[..., None] * np.array([1.0, 0.9, 0.7], np.float32)  # six stops across
    moments = []
    for shift in (-9, 0, 9):
        moved = light.copy()
        left = width // 3 + shift
        moved[40:72, left : left + 32] = 0.3 * waves[40:72, 20:52, None] * np.array([0.4, 0.8, 1.0], np.float32)
        moments.append(moved.astype(np.float32))
    return moments


def self_test(**options: Any) -> SelfTest:
    """Write the burst as 16-bit PNG in a temporary folder, fuse it, write the result as EXR, read that and compare.

    ``options`` are those of ``fuse``. Raises whatever ``fuse`` and ``write_result`` raise, OutputError where there is
    no temporary folder, and SelfTestError where the result is not what it must be.
    """
    moments = scene()
    try:
        with tempfile.TemporaryDirectory(prefix="smarthdr-", ignore_cleanup_errors=True) as folder:
            files = [Path(folder, f"{number}.png") for number in range(len(EVS))]
            for path, moment, ev in zip(files, moments, EVS, strict=True):
                path.write_bytes(_png(moment * 2.0**ev))
            begun = time.perf_counter()
            fused = fuse(files, evs=EVS, reference=2, response="srgb", **options)
            seconds = time.perf_counter() - begun
            written = Path(folder, "fused.exr")
            write_result(fused, written)
            stored = _read(written)
    except OSError as error:
        raise OutputError(f"no temporary file can be written: {(error.strerror or str(error)).lower()}") from error
    if not np.allclose(stored, fused.radiance, rtol=_HALF_STEP, atol=1e-6):
        raise SelfTestError("the self-test's EXR does not hold what was written into it")
    closeness = psnr_mu(fused.radiance * fused.scale_short, moments[1] * fused.scale_short)
    if not closeness >= LIMIT:
        raise SelfTestError(f"the self-test's result is off: {closeness:.1f} dB (PSNR-mu), {LIMIT:g} at least")
    return SelfTest(closeness, seconds, fused.report.to_dict())


def _png(light: NDArray[np.float32]) -> bytes:
    clipped = np.clip(light, 0, 1)
    codes = linear_to_srgb(clipped)
    done, data = cv2.imencode(".png", np.round(codes[..., ::-1] * 65535).astype(np.uint16))
    assert done
    return data.tobytes()


def _read(path: Path) -> NDArray[np.float32]:
    import OpenEXR

    with OpenEXR.File(str(path)) as file:
        return np.asarray(file.channels()["RGB"].pixels, np.float32)
