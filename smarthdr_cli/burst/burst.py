"""A burst: frames of one scene at different exposures, sorted by exposure whatever order they came in."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.burst.frame import Frame
from smarthdr_cli.errors import InputError

MIN_SPREAD_EV = 1 / 3  # below this the frames are one exposure


@dataclass(frozen=True)
class Burst:
    """Frames from darkest to brightest and the index of the reference among them.

    Raises InputError for fewer than two frames, different sizes, or exposures that do not differ.
    """

    frames: tuple[Frame, ...]
    reference: int

    def __post_init__(self) -> None:
        if len(self.frames) < 2:
            raise InputError("a burst needs at least two frames; one was given")
        if not 0 <= self.reference < len(self.frames):
            raise InputError(f"reference {self.reference} is not one of the {len(self.frames)} frames")
        sizes = {frame.size for frame in self.frames}
        if len(sizes) > 1:
            named = ", ".join(f"{frame.path.name} {frame.size[1]}x{frame.size[0]}" for frame in self.frames)
            raise InputError(f"the frames differ in size: {named}")
        chosen = self.frames[self.reference]
        order = sorted(self.frames, key=lambda frame: frame.exposure.ev)
        if order[-1].exposure.ev - order[0].exposure.ev < MIN_SPREAD_EV:
            raise InputError("the frames have equal exposures; an HDR burst needs at least two different ones")
        object.__setattr__(self, "frames", tuple(order))
        object.__setattr__(self, "reference", next(i for i, frame in enumerate(order) if frame is chosen))

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels, the same for every frame."""
        return self.frames[0].size

    @property
    def evs(self) -> NDArray[np.float64]:
        """(N,) exposure value of each frame relative to the reference (reference 0, brighter positive)."""
        evs = np.array([frame.exposure.ev for frame in self.frames])
        return np.asarray(evs - evs[self.reference])
