"""A scene with a ground truth: its frames, its truth, and which of its pixels move.

Where a set has no ``moving.png``, moving pixels are estimated. Every frame i other than the reference, registered and
linear, bounds the radiance L of a pixel in units of the shortest frame's clip:

    (1 - r) min(x_i) - f  <=  t_i L  <=  (1 + r) max(x_i) + f,   the upper bound infinite where the frame clips

with x_i the blurred frame over the pixel's neighbourhood, t_i its exposure over the shortest's, r and f the tolerances
of ``MovingPixelsConfig``. A pixel moves where the truth violates the bounds of some frame.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.aligned_burst import AlignedBurst, RegisteredBurst, Window, register
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.burst.load import load_burst
from smarthdr_cli.data.datasets import SceneFiles, find_scenes
from smarthdr_cli.data.synth.sources import read_radiance
from smarthdr_cli.errors import InputError
from smarthdr_cli.evaluate.metrics import SSIM_RADIUS_PX
from smarthdr_cli.evaluate.protocol import can_fit_scale, fit_pixels, fit_scale

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

MIN_SIDE_PX = 2 * SSIM_RADIUS_PX + 1


@dataclass(frozen=True)
class MovingPixelsConfig:
    """Tolerances of the estimate of moving pixels. ``majority_px``: square of which more than half must differ."""

    relative_tolerance: float = 0.15  # of radiance: shot noise, residual vignetting and flare, rounded exposures
    absolute_tolerance: float = 0.004  # of a frame's clip: read noise and quantisation after the blur
    clip_level: float = 0.9  # of a frame's clip: from here on the frame gives a lower bound only
    blur_sigma_px: float = 1.0
    misalignment_px: int = 3  # side of the square a sample may lie in after registration
    majority_px: int = 5


@dataclass(frozen=True)
class Scene:
    """A burst with its truth, at the moment and pose of the middle frame, which is the reference.

    ``burst``: frames darkest first. ``registered``: the burst aligned, for every fusion of it. ``truth``:
    (H, W, 3) float32, shortest clip = 1. ``moving``: (H, W), from ``moving.png`` where ``moving_is_given``, else
    estimated. ``oracle_frames``: linear frames without motion, 1 = their clip, where the set has them.
    """

    files: SceneFiles
    burst: Burst
    registered: RegisteredBurst
    truth: F32
    moving: Mask
    moving_is_given: bool
    oracle_frames: tuple[F32, ...] | None

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
        """The response curve by name, or auto where it must be estimated."""
        return response_option(self.files)

    @property
    def codes(self) -> tuple[NDArray[Any], ...]:
        """(H, W, 3) uint8 or uint16 of each frame."""
        return tuple(frame.codes for frame in self.burst.frames)


def select_scenes(root: Path, split: Literal["train", "test", "all"], limit: int | None) -> list[SceneFiles]:
    """The first ``limit`` scenes of ``split``. Raises InputError where there are none or one has no truth."""
    scenes = find_scenes(root)
    selected = [scene for scene in scenes if split in ("all", scene.split)][:limit]
    if not selected:
        counts = ", ".join(f"{sum(scene.split == part for scene in scenes)} {part}" for part in ("train", "test"))
        raise InputError(f"{root}: no {split} scenes there (found: {counts}); choose another --split")
    without_truth = next((scene for scene in selected if scene.truth is None), None)
    if without_truth is not None:
        raise InputError(f"{root}: scene {without_truth.name} has no ground truth to measure against")
    return selected


def read_scene(files: SceneFiles, align: Literal["auto", "none"]) -> Scene:
    """Read and register one scene; ``align`` as of ``FuseOptions``.

    Raises InputError, naming the scene, where a file is missing or unreadable or sizes differ.
    """
    try:
        return _read_scene(files, align)
    except InputError as error:
        raise InputError(f"scene {files.name}: {error}") from error


def response_option(files: SceneFiles) -> str:
    """The value of ``--response`` for a scene."""
    return "gamma2.2" if files.encoding == "gamma2.2" else "auto"


def scene_paths(scenes: Sequence[SceneFiles]) -> list[Path]:
    """Every file in the folders that hold the scenes' frames and truths."""
    folders = {path.parent for scene in scenes for path in (*scene.frames, scene.truth) if path is not None}
    return sorted(path for folder in folders for path in folder.iterdir() if path.is_file())


def set_sha256(root: Path, files: Iterable[Path]) -> str:
    """SHA-256 over ``files`` below ``root`` in order of paths, each with its relative path and size."""
    digest = hashlib.sha256()
    for path in sorted(files):
        data = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()}\0{len(data)}\0".encode())
        digest.update(data)
    return digest.hexdigest()


def moving_pixels(aligned: AlignedBurst, truth: F32, config: MovingPixelsConfig | None = None) -> Mask:
    """(H, W) True where some frame contradicts ``truth`` (H, W, 3), up to one scale that is fitted here.

    Pixels outside a frame do not contradict it.
    """
    config = config or MovingPixelsConfig()
    height, width = aligned.burst.size
    window = Window(0, 0, height, width)
    times = np.exp2(aligned.burst.evs - aligned.burst.evs.min())
    reference = aligned.burst.reference
    reference_light = aligned.read(reference, window)[0] / np.float32(times[reference])
    pixels = fit_pixels(truth, float(times[reference]), None)
    can_fit = can_fit_scale(reference_light, truth, pixels)
    scale = fit_scale(reference_light, truth, pixels) if can_fit else 1.0
    expected = cv2.GaussianBlur(truth, (0, 0), config.blur_sigma_px) / np.float32(scale)
    moving = np.zeros((height, width), np.uint8)
    for index, time in enumerate(times):
        if index != reference:
            light, valid = aligned.read(index, window)
            low, high = radiance_bounds(light, float(time), config)
            differs = ((low > expected) | (high < expected)).any(axis=2) & (valid > 0)
            majority = cv2.medianBlur(differs.astype(np.uint8), config.majority_px)
            moving = np.maximum(moving, np.asarray(majority, np.uint8))
    neighbourhood = np.ones((config.misalignment_px, config.misalignment_px), np.uint8)
    return np.asarray(cv2.dilate(moving, neighbourhood) > 0)


def radiance_bounds(light: F32, time: float, config: MovingPixelsConfig) -> tuple[F32, F32]:
    """Lower and upper bound (H, W, 3) of radiance, shortest clip = 1, by one frame; infinite above where it clips.

    ``light``: (H, W, 3), 1 = the frame's clip. ``time``: its exposure over the shortest's.
    """
    side = config.misalignment_px
    smooth = cv2.GaussianBlur(light, (0, 0), config.blur_sigma_px)
    window = np.ones((side, side), np.uint8)
    blurred_window = np.ones((side + 4, side + 4), np.uint8)  # and as far as the blur spreads clipped light
    clips = cv2.dilate(light, blurred_window) >= config.clip_level
    low = cv2.erode(smooth, window) * np.float32(1 - config.relative_tolerance) - np.float32(config.absolute_tolerance)
    high = cv2.dilate(smooth, window) * np.float32(1 + config.relative_tolerance) + np.float32(
        config.absolute_tolerance
    )
    open_ended = np.where(clips, np.float32(np.inf), high)
    return np.asarray(low / np.float32(time), np.float32), np.asarray(open_ended / np.float32(time), np.float32)


def _read_scene(files: SceneFiles, align: Literal["auto", "none"]) -> Scene:
    burst = load_burst(files.frames, evs=files.evs).burst
    burst = replace(burst, reference=(len(burst) - 1) // 2)
    for frame in burst.frames:
        if frame.codes.dtype not in (np.uint8, np.uint16):
            raise InputError(f"{frame.path.name}: an evaluation takes frames of 8 or 16 bits, not of floats")
    assert files.truth is not None
    truth = read_radiance(files.truth)
    if truth.shape[:2] != burst.size or min(burst.size) < MIN_SIDE_PX:
        sizes = " and ".join(f"{width}x{height}" for height, width in (truth.shape[:2], burst.size))
        problem = "differs in size from the frames" if truth.shape[:2] != burst.size else "is too small to measure"
        raise InputError(f"{files.truth.name} {problem}: {sizes}")
    given_mask = _read_moving_mask(files.frames[0].parent / "moving.png", burst.size)
    oracle_frames = _read_oracle_frames(burst)
    registered = register(burst, align=align, response=response_option(files))
    moving = given_mask if given_mask is not None else moving_pixels(registered.burst, truth)
    return Scene(files, burst, registered, truth, moving, given_mask is not None, oracle_frames)


def _read_moving_mask(path: Path, size: tuple[int, int]) -> Mask | None:
    if not path.exists():
        return None
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if mask is None or mask.shape != size:
        raise InputError(f"{path.name}: not a readable mask of the frames' size")
    return np.asarray(mask > 127)


def _read_oracle_frames(burst: Burst) -> tuple[F32, ...] | None:
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
