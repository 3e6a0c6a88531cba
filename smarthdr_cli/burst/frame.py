"""What one file of a burst is, once read: source codes, exposure, colour and capture record."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.colorspace import ColorSpace

Encoding = Literal["display", "linear"]
ExposureSource = Literal["exif", "ev", "times", "sidecar", "pixels", "none"]


@dataclass(frozen=True)
class Exposure:
    """How much light a frame gathered.

    ``ev`` is log2 of the relative exposure ``time * ISO/100 / N**2`` (seconds, f-number N): larger is brighter. Only
    differences between frames of one burst mean anything.
    """

    ev: float
    time: float | None = None  # seconds
    aperture: float | None = None  # f-number
    iso: float | None = None
    source: ExposureSource = "none"


@dataclass(frozen=True)
class Capture:
    """What the camera says of the picture, carried to the outputs. Every field may be absent."""

    make: str | None = None
    model: str | None = None
    lens: str | None = None
    datetime: str | None = None  # EXIF form "YYYY:MM:DD HH:MM:SS"
    utc_offset: float | None = None  # seconds east of UTC
    owner: str | None = None
    comments: str | None = None
    focal_length: float | None = None  # mm
    exif: bytes | None = None  # the EXIF block as found, for previews; orientation already applied to pixels


@dataclass(frozen=True)
class Frame:
    """One exposure as read: RGB source codes in display orientation.

    ``codes``: (H, W, 3) uint8, uint16 or float32. ``white``: the code at which the source clips (255, 65535, 1.0; RAW
    is scaled so that the camera's own level is 65535). ``encoding`` is "linear" for RAW and float sources, "display"
    where a tone curve was applied. ``clipped``: (H, W) bool where the source clipped before any colour step (RAW, in
    camera space), or None where it can be read off the codes (any channel >= white).
    """

    path: Path
    codes: NDArray[Any]
    white: float
    encoding: Encoding
    exposure: Exposure
    colorspace: ColorSpace
    capture: Capture
    sha256: str
    kind: Literal["jpeg", "png", "tiff", "raw", "array"]
    clipped: NDArray[np.bool_] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return int(self.codes.shape[0]), int(self.codes.shape[1])
