"""A burst: N frames of one scene at different exposures.

Relative exposure of a frame: ``ev = log2(t * S / 100 / N^2)`` with exposure time t in seconds, sensitivity S (ISO) and
f-number N. Larger is brighter. Only differences of EV between the frames of one burst are used.

Frames hold source codes (8-bit, 16-bit or float), not linear light; see ``smarthdr_cli.radiometry`` for the curves.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.colorspace import ColorSpace
from smarthdr_cli.errors import InputError, full_path

MIN_EV_RANGE = 1 / 3  # EV between the darkest and the brightest frame; the smallest step that cameras offer

Encoding = Literal["display", "linear"]
ExposureCheck = Literal["off", "warn", "fix"]  # of stated exposures against the pixels
ExposureSource = Literal["exif", "ev", "times", "sidecar", "pixels", "none"]


@dataclass(frozen=True)
class Exposure:
    """Relative exposure ``ev`` of a frame, what it was computed from, and where that was stated."""

    ev: float
    time: float | None = None  # seconds
    aperture: float | None = None  # f-number
    iso: float | None = None
    source: ExposureSource = "none"

    @property
    def is_stated(self) -> bool:
        """Whether the file or the user states it; else it is measured from the pixels, or to be measured."""
        return self.source not in ("none", "pixels")


@dataclass(frozen=True)
class CaptureMetadata:
    """EXIF metadata that is copied to the outputs. Every field may be absent."""

    make: str | None = None
    model: str | None = None
    lens: str | None = None
    datetime: str | None = None  # EXIF form "YYYY:MM:DD HH:MM:SS"
    utc_offset: float | None = None  # seconds east of UTC
    owner: str | None = None
    comments: str | None = None
    focal_length: float | None = None  # mm
    exif: bytes | None = field(default=None, repr=False)  # EXIF block for previews, with orientation 1


@dataclass(frozen=True)
class Frame:
    """One decoded file: RGB source codes in display orientation.

    ``codes``: (H, W, 3) uint8, uint16 or float32. ``white``: the code at which the source clips (255, 65535 or 1.0).
    ``encoding``: "linear" for RAW and float files, else "display". ``clipped``: (H, W), RAW samples at the sensor's
    clip level before white balance; None where clipping is ``codes >= white`` in any channel. ``rounding_error``: of a
    JPEG, as in ``scan.ImageHeader``, else 0.
    """

    path: Path
    codes: NDArray[Any] = field(repr=False)
    white: float
    encoding: Encoding
    exposure: Exposure
    colorspace: ColorSpace
    capture: CaptureMetadata
    sha256: str
    kind: Literal["jpeg", "png", "tiff", "raw", "heif", "array"]
    clipped: NDArray[np.bool_] | None = field(default=None, repr=False)
    rounding_error: tuple[float, float] = (0.0, 0.0)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return int(self.codes.shape[0]), int(self.codes.shape[1])


@dataclass(frozen=True)
class Burst:
    """Frames and the index of the reference among them; sorts the frames by EV, darkest first.

    Raises InputError for fewer than two frames, frames of different sizes, or an EV range below MIN_EV_RANGE.
    """

    frames: tuple[Frame, ...]
    reference: int

    def __post_init__(self) -> None:
        if len(self.frames) < 2:
            raise InputError("a burst needs at least two frames of different exposures; one was given")
        if not 0 <= self.reference < len(self.frames):
            raise InputError(f"reference {self.reference} is not one of the {len(self.frames)} frames")
        if len({frame.size for frame in self.frames}) > 1:
            sizes = ", ".join(f"{full_path(f.path)} {f.size[1]}x{f.size[0]}" for f in self.frames)
            raise InputError(f"the frames differ in size: {sizes}; give frames of one size")
        reference = self.frames[self.reference]
        frames = sorted(self.frames, key=lambda frame: frame.exposure.ev)
        if frames[-1].exposure.ev - frames[0].exposure.ev < MIN_EV_RANGE:
            raise InputError(
                "the frames have equal exposures; an HDR burst needs at least two different ones (--ev states them)"
            )
        object.__setattr__(self, "frames", tuple(frames))
        object.__setattr__(self, "reference", next(i for i, frame in enumerate(frames) if frame is reference))

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels, the same for every frame."""
        return self.frames[0].size

    @property
    def evs(self) -> NDArray[np.float64]:
        """(N,) EV of each frame relative to the reference."""
        evs = np.array([frame.exposure.ev for frame in self.frames])
        return np.asarray(evs - evs[self.reference])
