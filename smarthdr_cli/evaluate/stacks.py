"""Real static stacks: many exposures from a tripod, the truth they give, and three frames chosen from them.

The truth of a stack is the exposure-weighted merge of all its frames behind a curve calibrated on all of them, once
with this package's calibration and once with OpenCV's CalibrateDebevec: no side is judged by its own curve only. Its
frames are registered first (``register``): tripods give, and a truth that is smeared by a pixel prefers what is smeared
alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.align import Alignment
from smarthdr_cli.burst.burst import Burst, Frame
from smarthdr_cli.burst.read import read_frame
from smarthdr_cli.errors import InputError
from smarthdr_cli.evaluate import baselines, register
from smarthdr_cli.radiometry import Response, linearize
from smarthdr_cli.response import calibrate

F32 = NDArray[np.float32]

MEAN_CODE = 0.42  # the reference is the frame whose mean code comes nearest to this share of the white
STEP_EV = 2.5  # and the others are the frames nearest to this far below and above it
MAX_PIXELS = 1_500_000  # larger stacks are scored on every n-th pixel


@dataclass(frozen=True)
class Stack:
    """``frames``: all, darkest first. ``three``: indices of the short, reference and long frame a method is given."""

    name: str
    frames: tuple[Frame, ...]
    three: tuple[int, int, int]

    @property
    def chosen(self) -> tuple[Frame, ...]:
        """The short, reference and long frame."""
        return tuple(self.frames[i] for i in self.three)

    @property
    def times(self) -> tuple[float, ...]:
        """Exposures of the three relative to the shortest of them, first 1."""
        return relative_times(self.chosen)

    @cached_property
    def poses(self) -> tuple[register.Pose, ...]:
        """Of every frame relative to the reference, told by OpenCV."""
        return tuple(register.poses([f.codes for f in self.frames], self.frames[0].white, self.three[1]))

    def alignment(self, which: Sequence[int] | None = None) -> Alignment:
        """The poses of the frames ``which`` (all, where not given)."""
        poses = [self.poses[i] for i in (range(len(self.frames)) if which is None else which)]
        return Alignment(np.stack(poses), tuple(not np.array_equal(pose, np.eye(3)) for pose in poses))

    def registered(self, images: Sequence[NDArray[Any]], which: Sequence[int] | None = None) -> list[NDArray[Any]]:
        """Images of the frames ``which`` (all, where not given), moved onto the reference and thinned."""
        chosen = range(len(self.frames)) if which is None else which
        return [thin(register.moved(image, self.poses[i])) for image, i in zip(images, chosen, strict=True)]


def relative_times(frames: Sequence[Frame]) -> tuple[float, ...]:
    """``2**EV`` of each frame relative to the first."""
    return tuple(float(2.0 ** (frame.exposure.ev - frames[0].exposure.ev)) for frame in frames)


def read_stack(folder: Path) -> Stack:
    """The JPEGs of ``folder`` with their EXIF exposures.

    Raises InputError for fewer than three, an unreadable one, or one without an exposure time.
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


def choose_three(frames: Sequence[Frame]) -> tuple[int, int, int]:
    """Indices into frames sorted by exposure: reference by MEAN_CODE, short and long by STEP_EV, one at least each."""
    means = [abs(float(frame.codes[::8, ::8].mean()) / frame.white - MEAN_CODE) for frame in frames]
    middle = 1 + int(np.argmin(means[1:-1]))
    ev = [frame.exposure.ev for frame in frames]
    short = min(range(middle), key=lambda i: abs(ev[middle] - ev[i] - STEP_EV))
    long = min(range(middle + 1, len(frames)), key=lambda i: abs(ev[i] - ev[middle] - STEP_EV))
    return short, middle, long


def thin(image: NDArray[Any]) -> NDArray[Any]:
    """Every n-th pixel of (H, W, ...), the smallest n that leaves at most MAX_PIXELS; values are not touched."""
    step = max(1, int(np.ceil(np.sqrt(image.shape[0] * image.shape[1] / MAX_PIXELS))))
    return np.ascontiguousarray(image[::step, ::step])


def truths(stack: Stack) -> dict[str, F32]:
    """Radiance of the thinned stack from all frames, shortest of the three = 1: "own" and "Debevec" by their curve."""
    everything = Burst(stack.frames, stack.three[1])
    own = calibrate(everything, stack.alignment())
    times = relative_times(stack.frames)
    table = baselines.calibrated_curve(stack.registered([f.codes for f in stack.frames]), times)[:, 0].T
    table = np.maximum.accumulate(table / table[:, -1].mean(), axis=1)
    short = np.float32(times[stack.three[0]])
    merged = {}
    for name, response in (("own", own), ("Debevec", Response("Debevec", np.ascontiguousarray(table), {}))):
        light = stack.registered([linearize(frame.codes, 255.0, response) for frame in stack.frames])
        merged[name] = baselines.static_merge(light, times) * short
    return merged
