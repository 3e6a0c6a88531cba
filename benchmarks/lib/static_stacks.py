"""Real static stacks: many exposures from a tripod, the truth merged from them, and three frames for the methods.

    truth = sum_i w_i y_i / sum_i w_i t_i   over all frames i, linearised and registered (``methods.merge_registered``)

once behind a curve that this package calibrates on all frames, once behind that of OpenCV's CalibrateDebevec, so that
no method is measured by its own curve only. The frames are registered by OpenCV, not by the package under test:
enhanced correlation (Evangelidis and Psarakis 2008, ``findTransformECC``) on the detail of log codes, from neighbour to
neighbour in exposure. Frames "from a tripod" lie up to four pixels apart, and a truth blurred by a pixel favours
results with the same blur.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.align import Alignment
from smarthdr_cli.burst.burst import Burst, Frame
from smarthdr_cli.burst.read import read_frame
from smarthdr_cli.errors import InputError
from smarthdr_cli.evaluate.methods import calibrate_debevec, merge_registered
from smarthdr_cli.radiometry import Response, linearize
from smarthdr_cli.response import calibrate

F32 = NDArray[np.float32]
Pose = NDArray[np.float64]  # (3, 3), from the reference's pixel coordinates to a frame's

REFERENCE_MEAN = 0.42  # the reference's mean code comes nearest to this share of the white
STEP_EV = 2.5  # distance of the short and the long frame from the reference, as near as the stack allows
MAX_PIXELS = 1_500_000  # larger stacks are scored on every n-th pixel each way


@dataclass(frozen=True)
class RegistrationConfig:
    """Parameters of the registration. ``max_side_px``: larger frames are registered at reduced size."""

    max_side_px: int = 2048
    usable_range: tuple[float, float] = (0.06, 0.94)  # share of the white within which a frame has detail
    detail_sigma_px: float = 8.0  # slower changes are brightness, not detail
    max_detail: float = 0.5  # natural log; limits the weight of single edges
    min_overlap: float = 0.1  # share of pixels usable in both frames, below which a step is not measured
    min_shift_px: float = 0.25  # smaller mean displacements are not resampled: interpolation costs more
    iterations: int = 100  # of findTransformECC
    epsilon: float = 1e-5  # of findTransformECC


@dataclass(frozen=True)
class Stack:
    """``frames``: all, darkest first. ``three``: indices of the short, reference and long frame given to methods."""

    name: str
    frames: tuple[Frame, ...]
    three: tuple[int, int, int]

    @property
    def three_frames(self) -> tuple[Frame, ...]:
        """The short, reference and long frame."""
        return tuple(self.frames[i] for i in self.three)

    @property
    def times(self) -> tuple[float, ...]:
        """Exposures of the three frames relative to the shortest of them, first 1."""
        return relative_times(self.three_frames)

    @cached_property
    def poses(self) -> tuple[Pose, ...]:
        """The pose of every frame relative to the reference."""
        return tuple(register_frames([f.codes for f in self.frames], self.frames[0].white, self.three[1]))

    def alignment(self, indices: Sequence[int] | None = None) -> Alignment:
        """The poses of the frames ``indices`` (default all)."""
        poses = [self.poses[i] for i in (range(len(self.frames)) if indices is None else indices)]
        return Alignment(np.stack(poses), tuple(not np.array_equal(pose, np.eye(3)) for pose in poses))

    def registered(self, images: Sequence[NDArray[Any]], indices: Sequence[int] | None = None) -> list[NDArray[Any]]:
        """Images of the frames ``indices`` (default all), warped onto the reference and subsampled."""
        indices = range(len(self.frames)) if indices is None else indices
        return [subsample(warp_to_reference(image, self.poses[i])) for image, i in zip(images, indices, strict=True)]


def read_stack(folder: Path) -> Stack:
    """The JPEGs of ``folder`` with their EXIF exposures.

    Raises InputError where there are fewer than three, one is unreadable, or one has no exposure time.
    """
    paths = sorted(p for p in folder.glob("*") if p.suffix.lower() in {".jpg", ".jpeg"})
    if len(paths) < 3:
        raise InputError(f"{folder}: a stack needs at least three JPEG frames, {len(paths)} found")
    frames = [read_frame(path) for path in paths]
    for frame in frames:
        if frame.exposure.time is None:
            raise InputError(f"{frame.path.name}: no exposure time in its EXIF")
    frames.sort(key=lambda frame: frame.exposure.ev)
    return Stack(folder.name, tuple(frames), choose_three(frames))


def relative_times(frames: Sequence[Frame]) -> tuple[float, ...]:
    """``2**EV`` of each frame relative to the first."""
    return tuple(float(2.0 ** (frame.exposure.ev - frames[0].exposure.ev)) for frame in frames)


def choose_three(frames: Sequence[Frame]) -> tuple[int, int, int]:
    """Indices of short, reference and long frame among frames sorted by exposure, by STEP_EV and REFERENCE_MEAN."""
    offsets = [abs(float(frame.codes[::8, ::8].mean()) / frame.white - REFERENCE_MEAN) for frame in frames]
    middle = 1 + int(np.argmin(offsets[1:-1]))
    ev = [frame.exposure.ev for frame in frames]
    short = min(range(middle), key=lambda i: abs(ev[middle] - ev[i] - STEP_EV))
    long = min(range(middle + 1, len(frames)), key=lambda i: abs(ev[i] - ev[middle] - STEP_EV))
    return short, middle, long


def subsample(image: NDArray[Any]) -> NDArray[Any]:
    """Every n-th pixel each way of (H, W, ...), the smallest n that leaves at most MAX_PIXELS."""
    step = max(1, int(np.ceil(np.sqrt(image.shape[0] * image.shape[1] / MAX_PIXELS))))
    return np.ascontiguousarray(image[::step, ::step])


def stack_truths(stack: Stack) -> dict[str, F32]:
    """Radiance of the subsampled stack from all frames, shortest of the three = 1: by "own" and by "Debevec" curve."""
    own = calibrate(Burst(stack.frames, stack.three[1]), stack.alignment())
    times = relative_times(stack.frames)
    table = calibrate_debevec(stack.registered([f.codes for f in stack.frames]), times)[:, 0].T
    table = np.maximum.accumulate(table / table[:, -1].mean(), axis=1)
    short = np.float32(times[stack.three[0]])
    truths = {}
    for name, response in (("own", own), ("Debevec", Response("Debevec", np.ascontiguousarray(table), {}))):
        linear = stack.registered([linearize(frame.codes, 255.0, response) for frame in stack.frames])
        truths[name] = merge_registered(linear, times) * short
    return truths


def register_frames(
    frames: Sequence[NDArray[Any]], white: float, reference: int, config: RegistrationConfig | None = None
) -> list[Pose]:
    """The pose of each of ``frames``, (H, W, 3) codes in order of exposure, relative to the one at ``reference``.

    A frame whose overlap with its neighbour in exposure is too small gets its neighbour's pose.
    """
    config = config or RegistrationConfig()
    scale = max(1.0, max(frames[0].shape[:2]) / config.max_side_px)
    details = [_detail(frame, white, scale, config) for frame in frames]
    reduced: list[Pose] = [np.eye(3)] * len(frames)
    for order in (range(reference - 1, -1, -1), range(reference + 1, len(frames))):
        for i in order:
            neighbour = i + 1 if i < reference else i - 1
            reduced[i] = _relative_pose(details[neighbour], details[i], config) @ reduced[neighbour]
    # Pixel centres are at integers: full x = (reduced x + 1/2) scale - 1/2.
    to_full = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2], [0, 0, 1]])
    poses = [to_full @ pose @ np.linalg.inv(to_full) for pose in reduced]
    shape = frames[0].shape
    return [np.eye(3) if _mean_displacement(pose, shape) < config.min_shift_px else pose for pose in poses]


def warp_to_reference(image: NDArray[Any], pose: Pose) -> NDArray[Any]:
    """``image`` (H, W, 3) in the reference's view: bicubic, limited to the image's own range, borders replicated."""
    if np.array_equal(pose, np.eye(3)):
        return image
    size, flags = (image.shape[1], image.shape[0]), cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(image, np.asarray(pose)[:2], size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.clip(np.asarray(warped), image.min(), image.max())


def _detail(
    frame: NDArray[Any], white: float, scale: float, config: RegistrationConfig
) -> tuple[F32, NDArray[np.bool_]]:
    """High-pass of log codes, reduced by ``scale``, and the mask of usable codes."""
    grey = frame.astype(np.float32).mean(axis=2) / np.float32(white)
    if scale > 1:
        size = (round(frame.shape[1] / scale), round(frame.shape[0] / scale))
        grey = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA))
    log = np.log(grey + np.float32(0.01))
    smooth = cv2.GaussianBlur(log, (0, 0), config.detail_sigma_px)
    detail = np.clip(log - smooth, -config.max_detail, config.max_detail)
    return np.asarray(detail, np.float32), (grey > config.usable_range[0]) & (grey < config.usable_range[1])


def _relative_pose(
    target: tuple[F32, NDArray[np.bool_]], moving: tuple[F32, NDArray[np.bool_]], config: RegistrationConfig
) -> Pose:
    """Affine pose of ``moving`` relative to ``target``; identity where it cannot be measured."""
    overlap = cv2.erode((target[1] & moving[1]).astype(np.uint8), np.ones((9, 9), np.uint8))
    if overlap.mean() < config.min_overlap:
        return np.eye(3)
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, config.iterations, config.epsilon)
    initial = np.eye(2, 3, dtype=np.float32)
    try:
        _, affine = cv2.findTransformECC(
            target[0] * overlap, moving[0], initial, cv2.MOTION_AFFINE, criteria, overlap, 5
        )
    except cv2.error:  # no convergence
        return np.eye(3)
    return np.vstack([affine, [0, 0, 1]]).astype(np.float64)


def _mean_displacement(pose: Pose, shape: Sequence[int]) -> float:
    """Displacement in px, mean over the image's corners, the middles of its sides and its centre."""
    y, x = np.meshgrid(np.linspace(0, shape[0] - 1, 3), np.linspace(0, shape[1] - 1, 3))
    points = np.stack([x.ravel(), y.ravel(), np.ones(9)])
    return float(np.hypot(*(pose @ points - points)[:2]).mean())
