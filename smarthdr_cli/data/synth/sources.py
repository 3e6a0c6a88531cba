"""Radiance sources for synthetic bursts: HDR panoramas and photographs in a folder, or procedural scenes.

A source is an (H, W, 3) linear image of any scale. The bank keeps a mip chain of each, so that a crop at any scale is
sharp without aliasing. Sources in ``HELD_OUT`` are never trained on: they make the frozen quality set.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from smarthdr_cli.errors import InputError

# Whole sites, so that no view of a held-out place is trained on under another name.
HELD_OUT = (
    "adams_place_bridge",
    "blue_grotto",
    "christmas_photo_studio_07",
    "courtyard",
    "dikhololo_night",
    "forest_slope",
    "hotel_room",
    "kiara_1_dawn",
    "leadenhall_market",
    "outdoor_umbrellas",
    "palermo_sidewalk",
    "palermo_square",
    "snowy_forest_path_01",
    "spruit_sunrise",
    "st_peters_square_night",
    "vestibule",
    "vintage_measuring_lab",
    "workshop",
)

SMALLEST = 16  # pixels on the shorter side of a source
_MIPS = 4


@dataclass(frozen=True)
class SceneBank:
    """``mips[k][s]``: (3, H / 2**k, W / 2**k) half-precision radiance of source s, median luminance 1."""

    names: tuple[str, ...]
    mips: tuple[tuple[Tensor, ...], ...]

    def __len__(self) -> int:
        return len(self.names)

    def to(self, device: torch.device) -> "SceneBank":
        """The same bank on another device."""
        return SceneBank(self.names, tuple(tuple(level.to(device) for level in mip) for mip in self.mips))


def read_radiance(path: Path) -> NDArray[np.float32]:
    """(H, W, 3) float32 linear RGB of an .exr or .hdr file; non-finite and negative values become 0.

    Raises InputError for a file that is neither or is damaged.
    """
    if path.suffix.lower() == ".hdr":
        import cv2

        image = cv2.imread(str(path), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)
        if image is None or image.dtype != np.float32:
            raise InputError(f"{path.name}: not a readable Radiance HDR file")
        pixels = np.asarray(image[..., ::-1], np.float32)
    else:
        import OpenEXR

        try:
            with OpenEXR.File(str(path), separate_channels=True) as exr:
                channels = exr.channels()
                pixels = np.stack([np.asarray(channels[c].pixels, np.float32) for c in "RGB"], axis=-1)
        except (RuntimeError, KeyError, ValueError, TypeError, OSError) as error:
            raise InputError(f"{path.name}: not a readable RGB OpenEXR file") from error
    return np.maximum(np.nan_to_num(pixels, nan=0.0, posinf=6e4, neginf=0.0), 0.0)


def bank_from_images(names: list[str], images: list[NDArray[np.float32]]) -> SceneBank:
    """A bank of (H, W, 3) linear images; dark-to-bright range is kept, only the scale is normalised."""
    levels: list[list[Tensor]] = [[] for _ in range(_MIPS)]
    for image in images:
        scaled = image / max(float(np.median(image.mean(axis=-1))), 1e-6)
        level = torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1))).clamp(max=6e4)
        for k in range(_MIPS):
            levels[k].append(level.half())
            level = F.avg_pool2d(level[None], 2)[0]
    return SceneBank(tuple(names), tuple(tuple(level) for level in levels))


def load_bank(folder: Path | None, *, held_out: bool = False, procedural: int = 24, seed: int = 0) -> SceneBank:
    """Sources of ``folder`` (.exr, .hdr), either those to train on or the held-out ones; procedural ones with none.

    Held out are those named in ``HELD_OUT``; of a folder without any of these, every eighth by name, at least one.
    Raises InputError when the folder holds no usable source, or one where two are needed.
    """
    if folder is None:
        rng = np.random.default_rng([seed, int(held_out)])
        return bank_from_images([f"procedural_{i:03d}" for i in range(procedural)],
                                [procedural_scene(rng) for _ in range(procedural)])  # fmt: skip
    paths = sorted(p for p in folder.glob("*") if p.suffix.lower() in {".exr", ".hdr"})
    kept = {p for p in paths if p.stem in HELD_OUT} or set(paths[7::8] or paths[1:][-1:])
    chosen = [p for p in paths if (p in kept) == held_out]
    if not chosen:
        kind = "held-out" if held_out else "training"
        found = "only one source, nothing to hold out" if paths else f"no {kind} .exr or .hdr sources"
        raise InputError(f"{folder}: {found} in this folder")
    images = [read_radiance(p) for p in chosen]
    for path, image in zip(chosen, images, strict=True):
        if min(image.shape[:2]) < SMALLEST:
            raise InputError(f"{path.name}: a source of radiance needs at least {SMALLEST} pixels on each side")
    return bank_from_images([p.stem for p in chosen], images)


def fractal_noise(rng: np.random.Generator, height: int, width: int, slope: float) -> NDArray[np.float32]:
    """(H, W) Gaussian noise with a 1/f**slope amplitude spectrum, zero mean, unit variance."""
    fy = np.fft.fftfreq(height)[:, None]
    fx = np.fft.rfftfreq(width)[None, :]
    amplitude = 1.0 / np.maximum(np.hypot(fy, fx), 1.0 / max(height, width)) ** slope
    amplitude[0, 0] = 0.0
    phase = rng.normal(size=amplitude.shape) + 1j * rng.normal(size=amplitude.shape)
    noise = np.fft.irfft2(amplitude * phase, s=(height, width))
    return np.asarray((noise - noise.mean()) / (noise.std() + 1e-9), np.float32)


def procedural_scene(rng: np.random.Generator, height: int = 512, width: int = 1024) -> NDArray[np.float32]:
    """(H, W, 3) linear scene from occluding textured shapes lit over 10 to 16 stops (dead leaves, Lee et al. 2001).

    Sizes of shapes follow a power law, as in photographs; a few shapes are lamps and windows.
    """
    yy, xx = np.mgrid[0:height, 0:width].astype(np.float32)
    light = np.exp2(fractal_noise(rng, height, width, 1.6) * rng.uniform(1.0, 2.2))
    tint = rng.uniform(0.6, 1.0, 3).astype(np.float32)
    image = light[..., None] * tint * 0.3
    grains = [fractal_noise(rng, height, width, slope) for slope in (0.6, 1.0, 1.4)]
    for _ in range(140):
        radius = float(np.clip(6.0 / rng.uniform(0.01, 1.0) ** 0.8, 4, 220))
        cy, cx, angle = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(0, np.pi)
        aspect = rng.uniform(0.25, 1.0)
        top, bottom = int(max(cy - radius - 2, 0)), int(min(cy + radius + 2, height))
        left, right = int(max(cx - radius - 2, 0)), int(min(cx + radius + 2, width))
        if bottom <= top or right <= left:
            continue
        dy, dx = yy[top:bottom, left:right] - cy, xx[top:bottom, left:right] - cx
        u, v = np.cos(angle) * dx + np.sin(angle) * dy, (-np.sin(angle) * dx + np.cos(angle) * dy) / aspect
        power = rng.choice([2.0, 8.0])
        alpha = np.clip(radius - (np.abs(u) ** power + np.abs(v) ** power) ** (1 / power) + 0.5, 0, 1)[..., None]
        albedo = rng.uniform(0.03, 0.9, 3).astype(np.float32)
        row, column = rng.integers(0, height - (bottom - top) + 1), rng.integers(0, width - (right - left) + 1)
        grain = grains[rng.integers(len(grains))][row : row + bottom - top, column : column + right - left]
        texture = np.exp(grain * rng.uniform(0.0, 0.5))
        shade = light[top:bottom, left:right] if rng.uniform() < 0.9 else np.float32(np.exp2(rng.uniform(3, 8)))
        patch = albedo * texture[..., None] * np.broadcast_to(shade, texture.shape)[..., None]
        image[top:bottom, left:right] = image[top:bottom, left:right] * (1 - alpha) + patch * alpha
    return np.asarray(image, np.float32)
