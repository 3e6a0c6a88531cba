"""Whole synthetic benchmarks on disk, in the Kalantari layout that the readers of real ones know.

A scene is a folder: ``{1,2,3}.tif`` (16 bits, gamma 2.2) or ``.jpg`` (8 bits, a camera's curve, EXIF), darkest first,
``exposure.txt`` (log2 times, one a line), ``HDRImg.exr`` (float, shortest clip = 1, at the reference's moment and
pose), and what only a synthetic one can have: ``moving.png`` and ``oracle_{1,2,3}.npy`` (the same camera on a tripod
with nothing moving, linearised by its true curve).
"""

import errno
import io
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import torch
from numpy.typing import NDArray

from smarthdr_cli.data.synth.burst import SynthConfig, SyntheticBurst, make_bursts
from smarthdr_cli.data.synth.sources import SceneBank
from smarthdr_cli.errors import OutputError

BASE_TIME = Fraction(1, 60)  # seconds, of the reference


def benchmark_config(kind: str, size: tuple[int, int] = (384, 512), frames: int = 3) -> SynthConfig:
    """Handheld bursts of ``frames`` with the reference in the middle; ``kind`` is gamma16 or camera8."""
    return SynthConfig(height=size[0], width=size[1], frames=(frames,), kind=kind, shake="handheld", reference="middle",
                       simulate_jpeg=False, ev_error=0.0, curve_residue=0.0)  # fmt: skip


def write_benchmark(
    out: Path, bank: SceneBank, scenes: int, seed: int, config: SynthConfig, *, first: int = 1,
    on_scene: Callable[[int], None] = lambda _: None,
) -> None:  # fmt: skip
    """Write ``scenes`` scene folders numbered from ``first`` under ``out``. One seed is one set, in either kind.

    Raises OutputError when the folder cannot be written.
    """
    fixed = replace(config, simulate_jpeg=False)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for number in range(scenes):
            generator = torch.Generator().manual_seed(seed * 100_003 + number)
            burst = make_bursts(bank, fixed, generator, 1, oracle=True)
            folder = out / f"{first + number:03d}"
            folder.mkdir(exist_ok=True)
            write_scene(folder, burst, np.random.default_rng([seed, number]))
            on_scene(number)
    except OSError as error:
        raise OutputError(f"{out}: cannot write the benchmark there: {error.strerror}") from error


def write_scene(folder: Path, burst: SyntheticBurst, rng: np.random.Generator) -> None:
    """Write the first burst of a batch of one."""
    evs = burst.evs[0]
    order = torch.argsort(evs).tolist()
    gamma = bool((burst.curve[0] - torch.linspace(0, 1, burst.curve.shape[-1])).abs().max() < 1e-6)
    for place, index in enumerate(order, start=1):
        codes = burst.codes[0, index].permute(1, 2, 0).numpy()
        if gamma:
            write_image(folder / f"{place}.tif", np.round(codes * 65535).astype(np.uint16))
        else:
            time = BASE_TIME * Fraction(float(torch.exp2(evs[index]))).limit_denominator(1 << 16)
            pixels = np.round(codes * 255).astype(np.uint8)
            (folder / f"{place}.jpg").write_bytes(encode_jpeg(pixels, time, int(rng.integers(88, 98))))
        assert burst.still is not None
        np.save(folder / f"oracle_{place}.npy", burst.still[0, index].permute(1, 2, 0).numpy().astype(np.float16))
    (folder / "exposure.txt").write_text("".join(f"{float(evs[i] - evs.min()):.6f}\n" for i in order))
    write_radiance(folder / "HDRImg.exr", (burst.target[0] * torch.exp2(evs.min())).permute(1, 2, 0).numpy())
    write_image(folder / "moving.png", burst.moving[0, 0].numpy().astype(np.uint8) * 255)


def write_image(path: Path, pixels: NDArray[Any]) -> None:
    """(H, W, 3) RGB or (H, W) codes as .tif (16 bits kept) or .png, the plugin named: imageio would guess by luck."""
    iio.imwrite(path, pixels, plugin="tifffile" if path.suffix == ".tif" else "pillow")


def encode_jpeg(pixels: NDArray[np.uint8], time: Fraction, quality: int) -> bytes:
    """(H, W, 3) display codes as a 4:2:0 JPEG that states its exposure: seconds, f/4, ISO 100."""
    from PIL import Image
    from PIL.TiffImagePlugin import IFDRational

    picture = Image.fromarray(pixels)
    exif = Image.Exif()
    details = exif.get_ifd(0x8769)
    limited = time.limit_denominator(1_000_000)
    details[0x829A] = IFDRational(limited.numerator, limited.denominator)
    details[0x829D] = IFDRational(4, 1)
    details[0x8827] = 100
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality, subsampling=2, exif=exif)
    return buffer.getvalue()


def write_radiance(path: Path, radiance: NDArray[np.float32]) -> None:
    """(H, W, 3) linear radiance as a float OpenEXR file."""
    import OpenEXR

    channels = {c: np.ascontiguousarray(radiance[..., i], np.float32) for i, c in enumerate("RGB")}
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, channels) as exr:
        try:
            exr.write(str(path))
        except RuntimeError as error:
            raise OSError(errno.EIO, f"{path.name} could not be written") from error
