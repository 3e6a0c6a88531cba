"""What a fusion returns: linear radiance, its uncertainty, and the report of how it was made. Loads no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.aligned_burst import AlignedBurst
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.colorspace import ColorSpace
from smarthdr_cli.errors import UncertaintyLimitError, UsageError
from smarthdr_cli.radiometry import Response
from smarthdr_cli.response import OtherScene

Kernel = Literal["compiled", "numpy"]
F32 = NDArray[np.float32]
MIN_STATED_SHARE = 0.0005  # of clipped pixels, below which an error does not mention them


@dataclass(frozen=True)
class RadianceSigma:
    """A fused image before colour conversion.

    ``radiance``: (H, W, 3) in reference units (reference clip = 1). ``sigma``: (H, W) in the mu-law domain.
    """

    radiance: F32
    sigma: F32


@dataclass(frozen=True)
class ClassicalDifference:
    """Difference of a result from the classical merge of the same frames, in the mu-law domain, at one pixel per cell.

    ``changed``: share of pixels that differ by more than 0.01. ``mean``, ``largest``: of their |difference|.
    """

    changed: float
    mean: float
    largest: float

    def to_dict(self) -> dict[str, float]:
        """For JSON."""
        return {"changed_share": self.changed, "mean_change": self.mean, "largest_change": self.largest}


@dataclass(frozen=True)
class FusionStatistics:
    """What a network did to a burst.

    ``tile``: side in pixels, 0 for one tile. ``network_frames``, ``other_frames``: frames that the network sees and
    those merged by their noise alone. ``restored_share``: mean share by which the residual was limited. ``mean_trust``
    of the other frames. ``network_share``: share of the pixels that the network makes. ``convolved_megapixels``: pixels
    that it looks at, context included. What a fuser does not have is None.
    """

    tile: int
    network_frames: int
    other_frames: int
    difference: ClassicalDifference
    restored_share: float | None = None
    mean_trust: float | None = None
    network_share: float | None = None
    convolved_megapixels: float | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For JSON, without the notes; the difference is called "guard"."""
        restored = {} if self.restored_share is None else {"restored_share": self.restored_share}
        optional = {
            "mean_trust": self.mean_trust,
            "network_share": self.network_share,
            "convolved_megapixels": self.convolved_megapixels,
        }
        return {
            "tile": self.tile,
            "network_frames": self.network_frames,
            "other_frames": self.other_frames,
            "guard": self.difference.to_dict() | restored,
        } | {key: value for key, value in optional.items() if value is not None}


@dataclass(frozen=True)
class TiledFusion:
    """What a ``Fuser`` returns; ``statistics`` is None for the static merge, ``response`` where it took the burst's.

    ``kernel``: what the per-pixel pass ran on, see ``pixel_functions``; None without the pass.
    """

    image: RadianceSigma
    statistics: FusionStatistics | None = None
    response: Response | None = None
    kernel: Kernel | None = None


@dataclass(frozen=True)
class FuserRecord:
    """What computed a fusion: ``model`` has name, network and sha256 of the weights, or is "none"."""

    model: Mapping[str, str] | str
    device: str
    precision: str


@dataclass(frozen=True)
class UncertaintySummary:
    """``mean`` and 95th percentile of sigma, and the share of pixels that are clipped in every frame (sigma = 1)."""

    mean: float
    p95: float
    clipped_share: float


@dataclass(frozen=True)
class FusionReport:
    """How a result was made; ``to_dict`` is the JSON object that ``--json`` prints.

    ``options``: those that differ from their defaults. ``response``: name and record of the response. ``files`` and the
    sequences beside it are in the order of exposure, dark to bright: ``evs`` relative to the reference, ``moved`` where
    a homography was applied, ``gains_ev`` of the channels (empty where no gains were found). ``size``: (width, height).
    ``other_scenes``: frames that seem to show another scene. ``kernel``: as in ``TiledFusion``. ``tile_after_retreat``:
    side of the tiles after running out of memory, else None. ``notes``: of reading and registration; those of the
    network are in ``statistics``. ``seconds``: by stage. ``common_exposure`` and ``settings`` are set by a batch.
    """

    options: Mapping[str, Any]
    fuser: FuserRecord
    response: Mapping[str, Any]
    files: tuple[str, ...]
    reference: str
    evs: tuple[float, ...]
    moved: tuple[bool, ...]
    size: tuple[int, int]
    colorspace: str
    source_colorspace: str
    uncertainty: UncertaintySummary
    gains_ev: tuple[tuple[float, ...], ...] = ()
    other_scenes: tuple[OtherScene, ...] = ()
    kernel: Kernel | None = None
    tile_after_retreat: int | None = None
    statistics: FusionStatistics | None = None
    notes: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    common_exposure: Mapping[str, float] | None = None
    settings: Mapping[str, Any] | None = None

    def all_notes(self) -> list[str]:
        """The notes of every stage, in order."""
        return [*self.notes, *(self.statistics.notes if self.statistics is not None else ())]

    def to_dict(self) -> dict[str, Any]:
        """For JSON; parts that do not apply are left out."""
        values: dict[str, Any] = {
            "options": dict(self.options),
            "model": self.fuser.model if isinstance(self.fuser.model, str) else dict(self.fuser.model),
            "device": self.fuser.device,
            "precision": self.fuser.precision,
            **({} if self.kernel is None else {"kernel": self.kernel}),
            "response": dict(self.response),
            "alignment": [{"file": f, "moved": moved} for f, moved in zip(self.files, self.moved, strict=True)],
        }
        if self.gains_ev:
            gains = zip(self.files, self.gains_ev, strict=True)
            values["gains"] = [{"file": f, "ev": list(channels)} for f, channels in gains]
        if self.other_scenes:
            values["other_scenes"] = [other.to_dict() for other in self.other_scenes]
        if self.tile_after_retreat is not None:
            values["tile_after_retreat"] = self.tile_after_retreat
        if self.statistics is not None:
            values |= self.statistics.to_dict()
        values |= {
            "files": list(self.files),
            "reference": self.reference,
            "evs": list(self.evs),
            "size": list(self.size),
            "colorspace": self.colorspace,
            "source_colorspace": self.source_colorspace,
            "uncertainty": vars(self.uncertainty).copy(),
            "notes": self.all_notes(),
            "seconds": dict(self.seconds),
        }
        batch = {"common_exposure": self.common_exposure, "settings": self.settings}
        return values | {key: dict(value) for key, value in batch.items() if value is not None}


@dataclass(frozen=True)
class FusionResult:
    """A fused burst.

    ``radiance``: (H, W, 3) float32, linear, in ``colorspace``; 1.0 is the clip level of the exposure ``anchor_ev`` (EV
    relative to the reference: 0 for the reference itself, negative for a shorter frame). The colour conversion may make
    values negative. ``uncertainty``: (H, W) float32, the 68 % quantile of |error| in the mu-law domain (mu = 5000,
    shortest frame's clip = 1), mean over channels. ``scale_short``: radiance * scale_short has the shortest frame's
    clip at 1. ``registered``: the burst with its alignment and response, for the report; None once the frames are
    freed.
    """

    radiance: F32
    uncertainty: F32
    colorspace: ColorSpace
    anchor_ev: float
    scale_short: float
    burst: Burst
    report: FusionReport
    registered: AlignedBurst | None = None

    def __repr__(self) -> str:
        height, width = self.uncertainty.shape
        return (
            f"<FusionResult {width}x{height}, {self.colorspace.name}, {len(self.report.files)} frames, "
            f"reference {self.report.reference}, mean uncertainty {self.mean_uncertainty:.4f}>"
        )

    def _repr_png_(self) -> bytes:
        """A small preview, which IPython and Jupyter show."""
        import smarthdr_cli  # its front door: this room may not know that of previews

        return smarthdr_cli.preview_png(self)

    @property
    def mean_uncertainty(self) -> float:
        """The mean of ``uncertainty``; pixels that are clipped in every frame count as 1.

        An error of one stop is log(2) / log(5001) = 0.081 in the mu-law domain, except in the deepest shadows.
        """
        return float(self.uncertainty.mean(dtype=np.float64))

    def check_uncertainty(self, limit: float) -> None:
        """Raises UncertaintyLimitError where ``mean_uncertainty`` is above ``limit``, UsageError as ``check_limit``."""
        check_limit(limit)
        mean = self.mean_uncertainty
        if not mean <= limit:
            clipped = float((self.uncertainty >= 1).mean())
            reason = f" ({clipped:.1%} of the picture is clipped in every frame)" if clipped >= MIN_STATED_SHARE else ""
            raise UncertaintyLimitError(f"the mean uncertainty of the picture is {mean:.4f}, above {limit:g}{reason}")


def check_limit(limit: float) -> None:
    """Raises UsageError unless ``limit``, of a mean uncertainty, lies above 0 and below 1."""
    if not 0 < limit < 1:
        raise UsageError(f"--fail-if-uncertainty-above {limit:g}: use a number above 0 and below 1, such as 0.013")
