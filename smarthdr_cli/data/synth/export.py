"""Synthetic benchmarks on disk, in the layout of Kalantari and Ramamoorthi 2017, with two additions.

A scene is a folder of ``{1,2,3}.tif`` (16 bits, gamma 2.2) or ``.jpg`` (8 bits, random tone curve, EXIF), from dark to
bright; ``exposure.txt``, log2 exposure times, one per line; and ``HDRImg.exr``, true radiance at the reference's moment
and pose, 1 = the shortest frame's clip. In addition ``moving.png`` is the mask of moving pixels, and
``oracle_{1,2,3}.npy`` are linear frames of the same camera without motion.
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

from smarthdr_cli.data.cache import build_folder, cache_home, cache_key
from smarthdr_cli.data.synth.burst import SyntheticBurst, make_bursts
from smarthdr_cli.data.synth.config import SynthConfig
from smarthdr_cli.data.synth.sources import SceneBank, load_bank
from smarthdr_cli.errors import InputError, OutputError

REFERENCE_TIME = Fraction(1, 60)  # seconds
TRAIN_SCENES, TEST_SCENES = 75, 60  # of the cached benchmark
SCENE_SIZE = (256, 384)  # height and width of the cached benchmark
CACHE_FORMAT = 1  # raised whenever the same options make other scenes


def benchmark_config(kind: str, size: tuple[int, int] = (384, 512), frames: int = 3) -> SynthConfig:
    """Handheld bursts of ``frames`` with the reference in the middle; ``kind`` is gamma16 or camera8."""
    return SynthConfig(height=size[0], width=size[1], frames=(frames,), kind=kind, shake="handheld", reference="middle",
                       simulate_jpeg=False, ev_error=0.0, curve_residue=0.0)  # fmt: skip


def write_benchmark(
    out: Path, bank: SceneBank, scenes: int, seed: int, config: SynthConfig, *, first: int = 1,
    on_scene: Callable[[int], None] = lambda _: None,
) -> None:  # fmt: skip
    """Write ``scenes`` folders numbered from ``first`` under ``out``; the seed fixes the scenes, whatever the kind.

    ``on_scene`` gets the 0-based number of every finished scene. Raises OutputError where the folder cannot be written.
    """
    config = replace(config, simulate_jpeg=False)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for number in range(scenes):
            generator = torch.Generator().manual_seed(seed * 100_003 + number)
            burst = make_bursts(bank, config, generator, 1, oracle=True)
            folder = out / f"{first + number:03d}"
            folder.mkdir(exist_ok=True)
            write_scene(folder, burst, np.random.default_rng([seed, number]))
            on_scene(number)
    except OSError as error:
        raise OutputError(f"{out}: cannot write the benchmark there: {error.strerror}") from error


def cached_benchmark(
    panoramas: Path | None, seed: int, *, train: int = TRAIN_SCENES, test: int = TEST_SCENES,
    size: tuple[int, int] = SCENE_SIZE, read_bank: Callable[..., SceneBank] = load_bank,
    on_scene: Callable[[int, int], None] = lambda _done, _total: None,
) -> Path:  # fmt: skip
    """Folder of a gamma16 benchmark in the cache, with ``Training`` and ``Test``; written on first use.

    Scenes come from the HDR images in ``panoramas``, or from procedural scenes; ``read_bank`` is ``load_bank`` or has
    its signature. ``on_scene`` gets the numbers of finished and of all scenes. Raises InputError for panoramas that
    cannot be read, OutputError where the cache cannot be written.
    """
    if panoramas is not None and not panoramas.is_dir():
        raise InputError(f"{panoramas} is not a folder of HDR images")
    sources = sorted((p.name, p.stat().st_size) for p in panoramas.iterdir()) if panoramas else []
    key = cache_key([CACHE_FORMAT, sources, seed, train, test, size])[:16]
    config = benchmark_config("gamma16", size)

    def write(folder: Path) -> None:
        done = 0
        for split, count, held_out in (("Training", train, False), ("Test", test, True)):
            bank = read_bank(panoramas, held_out=held_out, seed=seed)

            def report(number: int, before: int = done) -> None:
                on_scene(before + number + 1, train + test)

            write_benchmark(folder / split, bank, count, seed * 2 + held_out, config, on_scene=report)
            done += count

    return build_folder(cache_home() / f"benchmark-{key}", write, Path.is_dir, "the benchmark")


def write_scene(folder: Path, burst: SyntheticBurst, rng: np.random.Generator) -> None:
    """Write the first burst of ``burst`` as a scene folder. ``rng`` draws JPEG qualities."""
    evs = burst.evs[0]
    dark_to_bright = torch.argsort(evs).tolist()
    identity = torch.linspace(0, 1, burst.curve.shape[-1])
    gamma = bool((burst.curve[0] - identity).abs().max() < 1e-6)
    assert burst.static is not None
    for number, index in enumerate(dark_to_bright, start=1):
        codes = burst.codes[0, index].permute(1, 2, 0).numpy()
        if gamma:
            write_image(folder / f"{number}.tif", np.round(codes * 65535).astype(np.uint16))
        else:
            time = REFERENCE_TIME * Fraction(float(torch.exp2(evs[index]))).limit_denominator(1 << 16)
            pixels = np.round(codes * 255).astype(np.uint8)
            (folder / f"{number}.jpg").write_bytes(encode_jpeg(pixels, time, int(rng.integers(88, 98))))
        np.save(folder / f"oracle_{number}.npy", burst.static[0, index].permute(1, 2, 0).numpy().astype(np.float16))
    log2_times = "".join(f"{float(evs[i] - evs.min()):.6f}\n" for i in dark_to_bright)
    (folder / "exposure.txt").write_text(log2_times)
    write_radiance(folder / "HDRImg.exr", (burst.target[0] * torch.exp2(evs.min())).permute(1, 2, 0).numpy())
    write_image(folder / "moving.png", burst.moving[0, 0].numpy().astype(np.uint8) * 255)


def write_image(path: Path, pixels: NDArray[Any]) -> None:
    """Write (H, W, 3) RGB or (H, W) codes as .tif (8 or 16 bits) or .png.

    The plugin is named because imageio's own choice depends on what is installed.
    """
    iio.imwrite(path, pixels, plugin="tifffile" if path.suffix == ".tif" else "pillow")


def encode_jpeg(pixels: NDArray[np.uint8], time: Fraction, quality: int) -> bytes:
    """(H, W, 3) display codes as a 4:2:0 JPEG with EXIF: ``time`` in seconds, f/4, ISO 100."""
    from PIL import Image
    from PIL.TiffImagePlugin import IFDRational

    exif = Image.Exif()
    details = exif.get_ifd(0x8769)
    rational = time.limit_denominator(1_000_000)
    details[0x829A] = IFDRational(rational.numerator, rational.denominator)  # ExposureTime
    details[0x829D] = IFDRational(4, 1)  # FNumber
    details[0x8827] = 100  # ISOSpeedRatings
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=2, exif=exif)
    return buffer.getvalue()


def write_radiance(path: Path, radiance: NDArray[np.float32]) -> None:
    """Write (H, W, 3) linear radiance as a float32 OpenEXR file. Raises OSError where that fails."""
    import OpenEXR

    channels = {c: np.ascontiguousarray(radiance[..., i], np.float32) for i, c in enumerate("RGB")}
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, channels) as exr:
        try:
            exr.write(str(path))
        except RuntimeError as error:
            raise OSError(errno.EIO, f"{path.name} could not be written") from error
