"""Radiance sources of synthetic bursts: HDR images of a folder, or procedural scenes, and textures cut from them.

A source is an (H, W, 3) linear image in arbitrary units, stored at median 1 with a mip chain (box means at 1, 1/2, 1/4
and 1/8) so that it can be sampled at any scale without aliasing. Sources in ``HELD_OUT`` are never trained on; the
frozen quality set is made from them.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from smarthdr_cli.data.synth.camera import log_uniform, uniform
from smarthdr_cli.data.synth.sprites import Sprite
from smarthdr_cli.errors import InputError

# Panoramas by name, all views of a site together, so that none is trained on under another name.
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

MIN_SOURCE_SIDE = 16  # pixels
MIP_LEVELS = 4
MAX_RADIANCE = 6e4  # below the largest half-precision number, 65504


@dataclass(frozen=True)
class SceneBank:
    """Sources with their mip chains. ``mips[k][s]``: (3, H / 2**k, W / 2**k) half-precision radiance of source s.

    ``people``: sprites of moving people, none by default.
    """

    names: tuple[str, ...]
    mips: tuple[tuple[Tensor, ...], ...]
    people: tuple[Sprite, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def to(self, device: torch.device) -> "SceneBank":
        """A copy on another device."""
        mips = tuple(tuple(image.to(device) for image in level) for level in self.mips)
        return SceneBank(self.names, mips, tuple(sprite.to(device) for sprite in self.people))


def read_radiance(path: Path) -> NDArray[np.float32]:
    """(H, W, 3) float32 linear RGB of an .exr or .hdr file. NaN and negative values become 0, infinity 6e4.

    Raises InputError for a file of another format or a damaged one.
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
    return np.maximum(np.nan_to_num(pixels, nan=0.0, posinf=MAX_RADIANCE, neginf=0.0), 0.0)


def bank_from_images(names: list[str], images: list[NDArray[np.float32]]) -> SceneBank:
    """A bank of (H, W, 3) linear images, each divided by its median."""
    mips: list[list[Tensor]] = [[] for _ in range(MIP_LEVELS)]
    for image in images:
        scaled = image / max(float(np.median(image.mean(axis=-1))), 1e-6)
        reduced = torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1))).clamp(max=MAX_RADIANCE)
        for level in mips:
            level.append(reduced.half())
            reduced = F.avg_pool2d(reduced[None], 2)[0]
    return SceneBank(tuple(names), tuple(tuple(level) for level in mips))


def load_bank(folder: Path | None, *, held_out: bool = False, procedural: int = 24, seed: int = 0) -> SceneBank:
    """The training or the held-out sources of ``folder`` (.exr, .hdr); without a folder, procedural scenes.

    Held out are the sources named in ``HELD_OUT``; in a folder without any, every eighth by name and at least one.
    Raises InputError where the folder has no source of the requested kind, or an unreadable one.
    """
    if folder is None:
        rng = np.random.default_rng([seed, int(held_out)])
        return bank_from_images([f"procedural_{i:03d}" for i in range(procedural)],
                                [procedural_scene(rng) for _ in range(procedural)])  # fmt: skip
    paths = sorted(p for p in folder.glob("*") if p.suffix.lower() in {".exr", ".hdr"})
    reserved = {p for p in paths if p.stem in HELD_OUT} or set(paths[7::8] or paths[1:][-1:])
    selected = [p for p in paths if (p in reserved) == held_out]
    if not selected:
        kind = "held-out" if held_out else "training"
        reason = "only one source, nothing to hold out" if paths else f"no {kind} .exr or .hdr sources"
        raise InputError(f"{folder}: {reason} in this folder")
    images = [read_radiance(p) for p in selected]
    for path, image in zip(selected, images, strict=True):
        if min(image.shape[:2]) < MIN_SOURCE_SIDE:
            raise InputError(f"{path.name}: an HDR source needs at least {MIN_SOURCE_SIDE} pixels on each side")
    return bank_from_images([p.stem for p in selected], images)


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
    """(H, W, 3) linear scene of occluding textured shapes over 10 to 16 stops (dead leaves, Lee et al. 2001).

    Shape sizes follow a power law, as in photographs. A tenth of the shapes are light sources.
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


@dataclass(frozen=True)
class Texture:
    """A region of a source for every burst of a batch.

    ``source``: index in the bank. ``centre``: (B, 2) in units of the source's (width, height). ``scale``: source pixels
    per pixel. ``defocus``: mip levels coarser than the scale needs, 0 for sharp.
    """

    source: list[int]
    centre: Tensor
    scale: list[float]
    defocus: list[int]

    @staticmethod
    def draw(bank: SceneBank, generator: torch.Generator, batch: int, soft: float = 0.0) -> "Texture":
        """Random regions away from the poles; ``soft`` is the probability of defocus."""
        source = torch.randint(len(bank), (batch,), generator=generator, device=generator.device).tolist()
        centre = torch.stack([uniform(generator, (batch,)), uniform(generator, (batch,), 0.25, 0.75)], -1)
        scale = log_uniform(generator, (batch,), 0.5, 2.0).tolist()
        defocus = [0] * batch
        if soft:
            numbers = uniform(generator, (batch,)).tolist()
            defocus = [0 if number >= soft else 1 if number >= soft / 3 else 2 for number in numbers]
        return Texture(source, centre, scale, defocus)

    def horizon(self, bank: SceneBank) -> Tensor:
        """(B,) px of the middle of a source's height, a panorama's horizon, below the region's middle."""
        height = torch.tensor([bank.mips[0][source].shape[1] for source in self.source], device=self.centre.device)
        return (0.5 - self.centre[:, 1]) * height / torch.tensor(self.scale, device=self.centre.device)

    def sample(self, bank: SceneBank, points: Tensor) -> Tensor:
        """(B, 3, h, w) radiance at (B, h, w, 2) points in pixels."""
        return torch.stack([
            sample_source(bank, self.source[b], points[b], self.centre[b], self.scale[b], self.defocus[b])
            for b in range(len(points))])  # fmt: skip


def sample_source(
    bank: SceneBank, source: int, points: Tensor, centre: Tensor, scale: float, defocus: int = 0
) -> Tensor:
    """(3, h, w) radiance of a source at (h, w, 2) points, bilinear, wrapped in x and clamped in y.

    ``points`` are pixels relative to ``centre``, ``scale`` source pixels apart.
    """
    level = min(max(round(math.log2(max(scale, 1.0))) + defocus, 0), len(bank.mips) - 1)
    mip = bank.mips[level][source]
    _, height, width = mip.shape
    factor = scale / 2**level
    texels = points * factor + centre * torch.tensor([width, height], device=points.device)
    low = texels.amin(dim=(0, 1)).floor().long() - 1
    high = texels.amax(dim=(0, 1)).ceil().long() + 2
    columns = torch.arange(int(low[0]), int(high[0]), device=points.device) % width
    rows = torch.arange(int(low[1]), int(high[1]), device=points.device).clamp(0, height - 1)
    region = mip[:, rows][:, :, columns].float()
    if defocus:  # bilinear interpolation of a coarse mip alone has visible diamonds
        weights = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=region.device) / 16
        padded = F.pad(region[:, None], (2, 2, 2, 2), mode="replicate")
        region = F.conv2d(F.conv2d(padded, weights.view(1, 1, 1, 5)), weights.view(1, 1, 5, 1))[:, 0]
    size = torch.tensor([region.shape[2], region.shape[1]], device=points.device)
    unit = (texels - low + 0.5) / size * 2 - 1
    return F.grid_sample(region[None], unit[None], mode="bilinear", padding_mode="border", align_corners=False)[0]
