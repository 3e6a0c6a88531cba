"""The frozen set of synthetic bursts that quality is measured on: reading, identity and what it is made of.

Layout: Kalantari's, as data/synth/export.py writes it, one folder a scene. ``NNN/{1,2,3}.tif|.png|.jpg`` darkest first,
``exposure.txt`` (log2 times, one a line), ``HDRImg.exr|.hdr`` (radiance at the reference's moment and pose), and beside
them what only a benchmark has: ``oracle_{1,2,3}.npy`` (linear frames of the same camera, noise and clipping, nothing
moving) and ``moving.png``.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.data.synth.sources import read_radiance
from smarthdr_cli.errors import InputError
from smarthdr_cli.evaluate import protocol
from smarthdr_cli.fusion.static_merge import CLIPPED_LEVEL

F32 = NDArray[np.float32]
FRAME_SUFFIXES = {".tif", ".tiff", ".png", ".jpg", ".jpeg"}
NOISY = 0.05  # a pixel is noisy where the reference alone is off by more than this share of its radiance


@dataclass(frozen=True)
class Scene:
    """One burst with its truth, everything in the pose of frame ``reference``.

    ``paths`` and ``codes`` (H, W, 3 uint8 or uint16, RGB) darkest first; ``times`` relative to the shortest, first 1.
    ``truth``: (H, W, 3) float32, shortest clip = 1. ``moving``: (H, W) bool. ``oracle``: linear frames, 1 = their clip.
    """

    name: str
    paths: tuple[Path, ...]
    codes: tuple[NDArray[Any], ...]
    times: tuple[float, ...]
    reference: int
    truth: F32
    moving: NDArray[np.bool_]
    oracle: tuple[F32, ...]


def scene_folders(root: Path) -> list[Path]:
    """The scenes of a set, in order. Raises InputError where there are none."""
    found = sorted(p.parent for p in root.glob("*/exposure.txt"))
    if not found:
        raise InputError(f"{root}: no scene folders with an exposure.txt")
    return found


def identity(root: Path) -> str:
    """sha256 over every file of the set, its path included, in order of paths."""
    return identity_of(root, (p for p in root.rglob("*") if p.is_file()))


def identity_of(root: Path, files: Iterable[Path]) -> str:
    """sha256 over ``files`` below ``root``, their paths in it included, in order of paths."""
    digest = hashlib.sha256()
    for path in sorted(files):
        data = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()}\0{len(data)}\0".encode())
        digest.update(data)
    return digest.hexdigest()


def read_scene(folder: Path) -> Scene:
    """One scene. Raises InputError for what is missing, unreadable or does not fit together."""
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
    return Scene(
        folder.name,
        paths,
        tuple(_codes(p) for p in paths),
        tuple(float(2.0 ** (ev - evs[0])) for ev in evs),
        (len(paths) - 1) // 2,
        read_radiance(truth),
        np.asarray(moving > 127),
        tuple(np.load(folder / f"oracle_{p.stem}.npy").astype(np.float32) for p in paths),
    )


def shares(scene: Scene) -> dict[str, float]:
    """What the scene is made of, as shares of pixels.

    clipped: any channel at the reference's clip; clipped_all: at the clip of the shortest too; moving; noisy:
    unclipped, and the reference frame, nothing moving, off the truth by more than NOISY in luminance.
    """
    still = scene.oracle[scene.reference]
    time = np.float32(scene.times[scene.reference])
    clipped = protocol.clipped(scene.truth, scene.times[scene.reference])
    luminance = np.array([0.2126, 0.7152, 0.0722], np.float32)
    seen, true = still @ luminance / time, scene.truth @ luminance
    noisy = ~clipped & (np.abs(seen - true) > NOISY * true)
    return {
        "clipped": float(clipped.mean()),
        "clipped_all": float((scene.truth.max(axis=2) >= 1.0).mean()),
        "moving": float(scene.moving.mean()),
        "noisy": float(noisy.mean()),
    }


def told(scene: Scene) -> NDArray[np.bool_]:
    """(H, W): where the truth is below the shortest clip, and some frame, nothing moving, below its own. Elsewhere no
    picture tells the light, and a judge that says so is right whatever the truth."""
    lowest = np.minimum.reduce([frame.max(axis=2) for frame in scene.oracle])
    return np.asarray((lowest < CLIPPED_LEVEL) & (scene.truth.max(axis=2) < 1))


def mean_shares(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each share over scenes."""
    return {key: float(np.mean([one[key] for one in each])) for key in each[0]}


def _codes(path: Path) -> NDArray[Any]:
    picture = cv2.imread(str(path), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)
    if picture is None or picture.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{path}: not a readable 8- or 16-bit picture")
    return np.ascontiguousarray(picture[..., ::-1])
