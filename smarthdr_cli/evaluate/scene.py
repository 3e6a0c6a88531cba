"""One scene of a benchmark, read whole: its frames, its truth, and what moves in it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.aligned_burst import RegisteredBurst, register
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.burst.load import load_burst
from smarthdr_cli.data.datasets import SceneFiles, find_scenes
from smarthdr_cli.data.synth.sources import read_radiance
from smarthdr_cli.errors import InputError
from smarthdr_cli.evaluate.metrics import SSIM_RADIUS
from smarthdr_cli.evaluate.motion import moving_pixels

F32 = NDArray[np.float32]
SMALLEST = 2 * SSIM_RADIUS + 1  # pixels on a side


@dataclass(frozen=True)
class Case:
    """A scene with its truth, everything at the moment and pose of the middle frame, which is the reference.

    ``burst``: frames darkest first. ``registered``: the burst aligned, for every fusion of it. ``truth``: (H, W, 3)
    float32, shortest clip = 1. ``moving``: (H, W) bool, from the set's own moving.png where ``told``, else estimated
    (motion.py). ``oracle``: linear frames in which nothing moves, 1 = their clip, where the set has them.
    """

    files: SceneFiles
    burst: Burst
    registered: RegisteredBurst
    truth: F32
    moving: NDArray[np.bool_]
    told: bool
    oracle: tuple[F32, ...] | None

    @cached_property
    def times(self) -> tuple[float, ...]:
        """Exposures relative to the shortest, first 1."""
        return tuple(float(2.0 ** (ev - self.burst.evs[0])) for ev in self.burst.evs)

    @property
    def reference_time(self) -> float:
        """The reference's exposure over the shortest's."""
        return self.times[self.burst.reference]

    @property
    def response(self) -> str:
        """The curve by name, or auto where the pixels must say."""
        return response_of(self.files)

    @property
    def codes(self) -> tuple[NDArray[Any], ...]:
        """(H, W, 3) uint8 or uint16 of each frame."""
        return tuple(frame.codes for frame in self.burst.frames)


def select(root: Path, split: Literal["train", "test", "all"], limit: int | None) -> list[SceneFiles]:
    """The scenes to measure on, each with a truth. Raises InputError where there are none, or one is without."""
    found = find_scenes(root)
    chosen = [scene for scene in found if split in ("all", scene.split)][:limit]
    if not chosen:
        counts = ", ".join(f"{sum(scene.split == part for scene in found)} {part}" for part in ("train", "test"))
        raise InputError(f"{root}: no {split} scenes there (found: {counts}); choose another --split")
    blind = next((scene for scene in chosen if scene.truth is None), None)
    if blind is not None:
        raise InputError(f"{root}: scene {blind.name} has no ground truth; without it there is nothing to measure by")
    return chosen


def files_of(scenes: Sequence[SceneFiles]) -> list[Path]:
    """Every file in the folders that hold the scenes' pictures and truths: what makes the set what it is."""
    folders = {path.parent for scene in scenes for path in (*scene.frames, scene.truth) if path is not None}
    return sorted(path for folder in folders for path in folder.iterdir() if path.is_file())


def response_of(files: SceneFiles) -> str:
    """What ``--response`` is for a scene."""
    return "gamma2.2" if files.encoding == "gamma2.2" else "auto"


def read_case(files: SceneFiles, align: Literal["auto", "none"]) -> Case:
    """Read one scene. ``align``: how its frames are laid over each other, once for all that fuse them.

    Raises InputError, naming the scene, for what is missing, unreadable or does not fit together.
    """
    try:
        return _read(files, align)
    except InputError as error:
        raise InputError(f"scene {files.name}: {error}") from error


def _read(files: SceneFiles, align: Literal["auto", "none"]) -> Case:
    burst = load_burst(files.frames, evs=files.evs).burst
    burst = replace(burst, reference=(len(burst) - 1) // 2)
    for frame in burst.frames:
        if frame.codes.dtype not in (np.uint8, np.uint16):
            raise InputError(f"{frame.path.name}: frames of a benchmark have 8 or 16 bits, this one is of floats")
    assert files.truth is not None
    truth = read_radiance(files.truth)
    if truth.shape[:2] != burst.size or min(burst.size) < SMALLEST:
        sizes = " and ".join(f"{width}x{height}" for height, width in (truth.shape[:2], burst.size))
        wrong = "differs in size from the frames" if truth.shape[:2] != burst.size else "is too small to measure"
        raise InputError(f"{files.truth.name} {wrong}: {sizes}")
    moving = _told_moving(files.frames[0].parent / "moving.png", burst.size)
    oracle = _oracle(burst)
    registered = register(burst, align=align, response=response_of(files))
    seen = moving if moving is not None else moving_pixels(registered.burst, truth)
    return Case(files, burst, registered, truth, seen, moving is not None, oracle)


def _told_moving(path: Path, size: tuple[int, int]) -> NDArray[np.bool_] | None:
    if not path.exists():
        return None
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if mask is None or mask.shape != size:
        raise InputError(f"{path.name}: not a readable mask of the frames' size")
    return np.asarray(mask > 127)


def _oracle(burst: Burst) -> tuple[F32, ...] | None:
    """oracle_N.npy beside each frame N, where all are there."""
    paths = [frame.path.with_name(f"oracle_{frame.path.stem}.npy") for frame in burst.frames]
    if not all(path.is_file() for path in paths):
        return None
    try:
        frames = tuple(np.load(path, allow_pickle=False).astype(np.float32) for path in paths)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{paths[0].name}: not a readable array") from error
    if any(frame.shape != (*burst.size, 3) for frame in frames):
        raise InputError(f"{paths[0].name}: differs in size from the frames")
    return frames
