"""The frozen sets: synthetic and rendered bursts with a truth, made once and identified by their SHA-256.

One folder per scene in Kalantari's layout, as ``smarthdr_cli/data/synth/export.py`` writes it:
``NNN/{1,2,3}.tif|.png|.jpg`` darkest first, ``exposure.txt`` (log2 times, one a line), ``HDRImg.exr|.hdr`` (radiance at
the reference's moment and pose), and two files that only synthetic sets have: ``oracle_{1,2,3}.npy`` (linear frames of
the same camera, noise and clipping, without motion) and ``moving.png``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.data.synth.sources import read_radiance
from smarthdr_cli.errors import InputError
from smarthdr_cli.evaluate import metrics, protocol
from smarthdr_cli.evaluate.protocol import clipped_mask
from smarthdr_cli.evaluate.scene import set_sha256

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

SCENES, SEED, SIZE = 40, 20261120, (384, 512)  # of the first set, SIZE (H, W)
KINDS = {"gamma16": "16-bit gamma-2.2", "camera8": "8-bit camera-curve JPEG"}
FRAME_SUFFIXES = {".tif", ".tiff", ".png", ".jpg", ".jpeg"}
CLIPPED_LEVEL = 0.995  # linear level of the shortest frame from which it is only a lower bound
NOISY_SHARE = 0.05  # a pixel is noisy where the reference alone differs from the truth by more than this share


@dataclass(frozen=True)
class FrozenScene:
    """One burst with its truth, everything at the pose of frame ``reference``.

    ``paths`` and ``codes`` (H, W, 3 uint8 or uint16, RGB) darkest first; ``times`` relative to the shortest, first 1.
    ``truth``: (H, W, 3) float32, shortest clip = 1. ``moving``: (H, W). ``oracle``: linear frames, 1 = their clip.
    """

    name: str
    paths: tuple[Path, ...]
    codes: tuple[NDArray[Any], ...]
    times: tuple[float, ...]
    reference: int
    truth: F32
    moving: Mask
    oracle: tuple[F32, ...]

    @property
    def scoring_context(self) -> dict[str, Any]:
        """The arguments of ``protocol.score`` that the scene determines."""
        return {"reference_time": self.times[self.reference], "moving": self.moving}


def scene_folders(root: Path) -> list[Path]:
    """The scene folders of a set, in order. Raises InputError where there are none."""
    folders = sorted(path.parent for path in root.glob("*/exposure.txt"))
    if not folders:
        raise InputError(f"{root}: no scene folders with an exposure.txt")
    return folders


def set_identity(root: Path) -> str:
    """SHA-256 over every file of the set, with its path."""
    return set_sha256(root, (path for path in root.rglob("*") if path.is_file()))


def read_frozen_scene(folder: Path) -> FrozenScene:
    """One scene. Raises InputError where a file is missing or unreadable or counts differ."""
    evs = [float(line) for line in (folder / "exposure.txt").read_text().split()]
    files = [p for p in folder.iterdir() if p.stem.isdigit() and p.suffix.lower() in FRAME_SUFFIXES]
    paths = tuple(sorted(files, key=lambda p: int(p.stem)))
    if len(paths) != len(evs) or len(paths) < 2 or evs != sorted(evs):
        raise InputError(f"{folder}: {len(paths)} frames for the {len(evs)} rising exposures of exposure.txt")
    truth = next((p for p in (folder / "HDRImg.exr", folder / "HDRImg.hdr") if p.exists()), None)
    if truth is None:
        raise InputError(f"{folder}: no HDRImg")
    moving = cv2.imread(str(folder / "moving.png"), cv2.IMREAD_GRAYSCALE)
    if moving is None:
        raise InputError(f"{folder}: no readable moving.png")
    return FrozenScene(
        folder.name,
        paths,
        tuple(_read_codes(p) for p in paths),
        tuple(float(2.0 ** (ev - evs[0])) for ev in evs),
        (len(paths) - 1) // 2,
        read_radiance(truth),
        np.asarray(moving > 127),
        tuple(np.load(folder / f"oracle_{p.stem}.npy").astype(np.float32) for p in paths),
    )


def pixel_shares(scene: FrozenScene) -> dict[str, float]:
    """Shares of pixels: clipped, clipped_all, moving, noisy.

    clipped: any channel at the reference's clip; clipped_all: at the clip of the shortest too; noisy: ``noisy_mask``.
    """
    return {
        "clipped": float(clipped_mask(scene.truth, scene.times[scene.reference]).mean()),
        "clipped_all": float((scene.truth.max(axis=2) >= 1.0).mean()),
        "moving": float(scene.moving.mean()),
        "noisy": float(noisy_mask(scene).mean()),
    }


def noisy_mask(scene: FrozenScene) -> Mask:
    """(H, W): unclipped in the reference, whose frame without motion differs from the truth by more than NOISY_SHARE in
    luminance.
    """
    time = np.float32(scene.times[scene.reference])
    weights = np.array([0.2126, 0.7152, 0.0722], np.float32)  # BT.709 luminance
    measured, true = scene.oracle[scene.reference] @ weights / time, scene.truth @ weights
    off = np.abs(measured - true) > NOISY_SHARE * true
    return np.asarray(off & ~clipped_mask(scene.truth, scene.times[scene.reference]))


def score_scene(radiance: F32, scene: FrozenScene) -> dict[str, float]:
    """``protocol.score`` under the fitted scale, and "psnr_mu_noisy" over ``noisy_mask`` (NaN where there is none)."""
    scores = protocol.score(radiance, scene.truth, **scene.scoring_context)
    limited, truth = protocol.limit(radiance * np.float32(scores["scale"])), np.clip(scene.truth, 0.0, 1.0)
    noisy = metrics.psnr_mu(limited, truth, noisy_mask(scene))
    return scores | {"psnr_mu_noisy": noisy if np.isnan(noisy) else min(protocol.CAP_DB, noisy)}


def mean_shares(shares: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each share over scenes."""
    return {key: float(np.mean([scene[key] for scene in shares])) for key in shares[0]}


def known_mask(scene: FrozenScene) -> Mask:
    """(H, W): where the truth is below the shortest clip and some frame without motion is below its own.

    Elsewhere no frame measures the radiance, and a high sigma is right whatever the error.
    """
    lowest = np.minimum.reduce([frame.max(axis=2) for frame in scene.oracle])
    return np.asarray((lowest < CLIPPED_LEVEL) & (scene.truth.max(axis=2) < 1))


def _read_codes(path: Path) -> NDArray[Any]:
    image = cv2.imread(str(path), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)
    if image is None or image.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{path}: not a readable 8- or 16-bit image")
    return np.ascontiguousarray(image[..., ::-1])
