"""Methods of an evaluation: checkpoints through the whole pipeline, classical baselines, the oracle.

Every method returns radiance (H, W, 3) at the reference's pose, shortest clip = 1. Classical baselines take frames
darkest first as (H, W, 3) uint8 or uint16 codes and ``times``, exposures relative to the shortest (2^EV, first 1).

OpenCV 5's MergeDebevec takes 8- and 16-bit frames with a response of 256 or 65536 entries; CalibrateDebevec and
AlignMTB take 8 bits only. So 16-bit frames are calibrated and aligned on their 8-bit versions, the curve is
interpolated in log to 65536 entries, and the 16-bit codes are merged.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from smarthdr_cli.errors import UsageError
from smarthdr_cli.evaluate.comparison import MethodResult
from smarthdr_cli.evaluate.scene import Scene
from smarthdr_cli.fusion.fuse_options import FuseOptions
from smarthdr_cli.fusion.fuser import Fuser, load_network
from smarthdr_cli.fusion.pipeline import StageTimer, fuse_loaded
from smarthdr_cli.models.checkpoint import Checkpoint, load_checkpoint
from smarthdr_cli.models.weights import RUN_FILES, SUFFIX, find_weights
from smarthdr_cli.radiometry import GAMMA, Response, linearize
from smarthdr_cli.response import named_response

F32 = NDArray[np.float32]
Codes = NDArray[Any]

BASELINES = {
    "reference": "reference frame alone",
    "debevec": "OpenCV Debevec",
    "mtb-debevec": "AlignMTB + Debevec",
    "static": "our static merge",
}
ORACLE = "oracle"
TEACHER = "teacher" + SUFFIX  # beside the student's file in a run folder
CALIBRATION_SAMPLES = 300  # OpenCV's 70 lose up to 6 dB on real stacks of three frames
CLIP_RAMP = (0.80, 0.95)  # share of the clip level over which a frame's weight falls to zero
_UNIT_CODE = 128  # CalibrateDebevec's response is 1 at this code, in every channel


@dataclass(frozen=True)
class EvaluatedCheckpoint:
    """A checkpoint with the label of its figures. ``record``: see ``checkpoint_record``."""

    label: str
    path: Path
    record: dict[str, Any]


@dataclass(frozen=True)
class FusionSettings:
    """The fields of ``FuseOptions`` that hold for all methods of an evaluation."""

    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    align: Literal["auto", "none"] = "auto"


class NetworkCache:
    """Networks by weights, device and precision, each loaded once per evaluation."""

    def __init__(self, load: Callable[[str | Path | None, torch.device, str], Fuser] = load_network) -> None:
        self._load = load
        self._networks: dict[tuple[str, str, str], Fuser] = {}

    def load(self, weights: str | Path | None, device: torch.device, precision: str) -> Fuser:
        """As ``load_network``."""
        key = (str(weights), str(device), precision)
        if key not in self._networks:
            self._networks[key] = self._load(weights, device, precision)
        return self._networks[key]


def find_checkpoints(specs: Sequence[str]) -> list[EvaluatedCheckpoint]:
    """The checkpoints of ``specs`` (run folders, files, names); a run's teacher follows its student.

    Raises ModelError where weights are missing or damaged, UsageError where a file is given twice.
    """
    checkpoints: list[EvaluatedCheckpoint] = []
    for spec in specs:
        path = find_weights(spec)
        folder = Path(spec).expanduser()
        is_run = path.parent == folder
        name = folder.resolve().name if is_run else path.stem
        if not is_run and path.name in (*RUN_FILES, TEACHER):
            name = f"{path.resolve().parent.name}/{path.stem}"
        labelled_files = [(name, path)]
        if is_run and (teacher := folder / TEACHER).is_file():
            labelled_files = [(f"{name} (student)", path), (f"{name} (teacher)", teacher)]
        for label, file in labelled_files:
            if any(file.samefile(checkpoint.path) for checkpoint in checkpoints):
                raise UsageError(f"{spec}: these weights were given already")
            taken = {checkpoint.label for checkpoint in checkpoints} | set(BASELINES) | {ORACLE}
            if label in taken:  # the same name from another folder
                label = f"{spec} ({file.stem})"
            checkpoints.append(EvaluatedCheckpoint(label, file, checkpoint_record(load_checkpoint(file))))
    return checkpoints


def checkpoint_record(checkpoint: Checkpoint) -> dict[str, Any]:
    """File name, SHA-256, network, licence, and training method and steps where the checkpoint states them."""
    training: dict[str, Any] = {key: checkpoint.record[key] for key in ("method", "steps") if key in checkpoint.record}
    return {
        "file": checkpoint.path.name, "sha256": checkpoint.sha256, "network": checkpoint.config["name"],
        "licence": checkpoint.licence, **training,
    }  # fmt: skip


def scene_methods(
    scene: Scene,
    checkpoints: Sequence[EvaluatedCheckpoint],
    baselines: Sequence[str],
    settings: FusionSettings,
    networks: NetworkCache,
) -> dict[str, Callable[[], MethodResult]]:
    """A callable per method: checkpoints, the chosen ``baselines``, the oracle where the scene has its frames.

    Where the response is known to be gamma 2.2, every method gets it: Debevec's merge then does not calibrate, which
    favours it. Behind a camera's curve the reference alone is read as sRGB and Debevec calibrates.
    """
    codes, times, reference = scene.codes, scene.times, scene.burst.reference
    gamma_known = scene.response == "gamma2.2"
    curve: Literal["gamma2.2", "calibrated"] = "gamma2.2" if gamma_known else "calibrated"
    entries = 256 if codes[reference].dtype == np.uint8 else 4096
    response = named_response("gamma2.2" if gamma_known else "srgb", entries)
    classical: dict[str, Callable[[], MethodResult]] = {
        "reference": lambda: MethodResult(linearize_reference(codes[reference], times[reference], response)),
        "debevec": lambda: MethodResult(debevec(codes, times, curve=curve)),
        "mtb-debevec": lambda: MethodResult(debevec(align_mtb(codes, reference), times, curve=curve)),
        "static": lambda: fuse_scene(scene, settings, networks, deghost="off"),
    }
    methods: dict[str, Callable[[], MethodResult]] = {
        checkpoint.label: lambda path=checkpoint.path: fuse_scene(scene, settings, networks, weights=path)  # type: ignore[misc]
        for checkpoint in checkpoints
    }
    methods |= {name: method for name, method in classical.items() if name in baselines}
    oracle_frames = scene.oracle_frames
    if oracle_frames is not None:
        methods[ORACLE] = lambda: MethodResult(merge_registered(oracle_frames, times))
    return methods


def fuse_scene(scene: Scene, settings: FusionSettings, networks: NetworkCache, **options: Any) -> MethodResult:
    """``fuse`` on the registered scene. Raises what ``fuse`` raises."""
    fuse_options = FuseOptions(
        response=scene.response, device=settings.device, precision=settings.precision, align=settings.align, **options
    )
    result = fuse_loaded(
        scene.burst, fuse_options, StageTimer(), open_network=networks.load, registered=scene.registered
    )
    return MethodResult(np.asarray(result.radiance * np.float32(result.scale_short)), result.uncertainty)


def linearize_reference(frame: Codes, time: float, response: Response) -> F32:
    """The reference frame linearised under ``response``; its clip is 1 / ``time``."""
    white = float(np.iinfo(frame.dtype).max)
    return np.asarray(linearize(frame, white, response) / np.float32(time), np.float32)


def debevec(
    frames: Sequence[Codes], times: Sequence[float], *, curve: Literal["calibrated", "gamma2.2"] = "calibrated"
) -> F32:
    """OpenCV's MergeDebevec (Debevec and Malik 1997) of the frames as they are, without registration.

    ``curve``: "calibrated" runs CalibrateDebevec on these frames (300 samples, lambda 10) and ties it to gamma 2.2 at
    code 128; "gamma2.2" merges without calibration.
    """
    codes = [np.ascontiguousarray(f) for f in frames]
    table = calibrate_debevec(frames, times) if curve == "calibrated" else gamma_curve(256)
    if codes[0].dtype == np.uint16:
        table = _to_16_bits(table) if curve == "calibrated" else gamma_curve(65536)
    seconds = np.asarray(times, np.float32)
    merged = cv2.createMergeDebevec().process(codes, times=seconds, response=table)
    return np.asarray(merged, np.float32)


def calibrate_debevec(frames: Sequence[Codes], times: Sequence[float], samples: int = CALIBRATION_SAMPLES) -> F32:
    """(256, 1, 3) response by CalibrateDebevec of the 8-bit versions, scaled to gamma 2.2's value at code 128."""
    seconds = np.asarray(times, np.float32)
    table = cv2.createCalibrateDebevec(samples).process([to_8_bits(f) for f in frames], times=seconds)
    return np.asarray(table * (_UNIT_CODE / 255) ** GAMMA, np.float32)


def gamma_curve(entries: int) -> F32:
    """(entries, 1, 3) gamma 2.2 response; code 0 gets half of code 1, since Debevec works in logarithms."""
    curve = (np.arange(entries) / (entries - 1)) ** GAMMA
    curve[0] = curve[1] / 2
    return np.repeat(curve.astype(np.float32)[:, None, None], 3, axis=2)


def align_mtb(frames: Sequence[Codes], reference: int) -> tuple[Codes, ...]:
    """Every frame shifted onto the reference by OpenCV's AlignMTB (Ward 2003), its defaults; translation only.

    Replicates borders, which favours the baseline over AlignMTB's own zeros or crop.
    """
    mtb = cv2.createAlignMTB()
    pivot = cv2.cvtColor(to_8_bits(frames[reference]), cv2.COLOR_RGB2GRAY)
    aligned: list[Codes] = []
    for i, frame in enumerate(frames):
        if i == reference:
            aligned.append(frame)
            continue
        dx, dy = mtb.calculateShift(pivot, cv2.cvtColor(to_8_bits(frame), cv2.COLOR_RGB2GRAY))
        matrix = np.array([[1, 0, dx], [0, 1, dy]], np.float64)
        size = (frame.shape[1], frame.shape[0])
        shifted = cv2.warpAffine(frame, matrix, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        aligned.append(np.asarray(shifted))
    return tuple(aligned)


def merge_registered(linear: Sequence[F32], times: Sequence[float]) -> F32:
    """Exposure-weighted merge h = sum(w y) / sum(w t) of registered frames; of the oracle's frames, the oracle.

    ``linear``: (H, W, 3) float32 each, 1 = that frame's clip, darkest first. Weights t on y / t are inverse to its
    photon noise variance (Kirk and Andersen 2006, section 3); w falls to zero over CLIP_RAMP by the brightest channel,
    one weight for the three channels. Where every frame clips: the shortest frame.
    """
    numerator = np.zeros(linear[0].shape, np.float32)
    denominator = np.zeros((*linear[0].shape[:2], 1), np.float32)
    for frame, time in zip(linear, times, strict=True):
        level = frame.max(axis=2, keepdims=True)
        weight = np.clip((CLIP_RAMP[1] - level) / (CLIP_RAMP[1] - CLIP_RAMP[0]), 0.0, 1.0)
        numerator += weight * frame
        denominator += weight * np.float32(time)
    shortest = linear[0] / np.float32(times[0])
    merged = numerator / np.maximum(denominator, np.float32(1e-3))
    return np.where(denominator > 1e-3, merged, shortest).astype(np.float32)


def to_8_bits(frame: Codes) -> NDArray[np.uint8]:
    """uint8 unchanged; uint16 rounded to 8 bits."""
    if frame.dtype == np.uint8:
        return np.ascontiguousarray(frame)
    return np.ascontiguousarray(np.round(frame.astype(np.float32) / 257.0).astype(np.uint8))


def _to_16_bits(table: F32) -> F32:
    codes, grid = np.arange(65536) / 257.0, np.arange(256)
    channels = [np.exp(np.interp(codes, grid, np.log(table[:, 0, c]))) for c in range(3)]
    return np.ascontiguousarray(np.stack(channels, axis=1)[:, None].astype(np.float32))
