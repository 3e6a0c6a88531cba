"""What ``smarthdr info`` shows of each file: exposure stated and measured, clipping, sharpness, the reference."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from smarthdr_cli.burst.image_statistics import measured_evs, relative_sharpness
from smarthdr_cli.burst.load import Paths, load_frames


@dataclass(frozen=True)
class FrameRecord:
    """One file. EVs are relative to the reference, brighter positive; shares are 0 to 1; None is unknown.

    ``ev_measured``: the median log2 ratio of well-exposed pixels, summed over neighbouring exposures, under the curve
    named by ``measured_under`` ("srgb" or "linear"): with a camera's own tone curve it strays from the true ratio.
    ``sharpness``: against the other frames on shared well-exposed pixels, 1 is as sharp as they are.
    """

    file: str
    kind: str
    width: int
    height: int
    bits: int
    colorspace: str
    time: float | None
    aperture: float | None
    iso: float | None
    ev: float | None
    ev_source: str
    ev_measured: float | None
    measured_under: Literal["srgb", "linear"]
    clipped: float
    black: float
    sharpness: float
    reference: bool
    sha256: str
    camera: str | None
    lens: str | None
    datetime: str | None

    def to_dict(self) -> dict[str, Any]:
        """The record as plain values, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Inspection:
    """The records in argument order and what was assumed on the way."""

    records: tuple[FrameRecord, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """``{"frames": [...], "notes": [...]}``, ready for JSON."""
        return {"frames": [record.to_dict() for record in self.records], "notes": list(self.notes)}


def inspect(
    paths: Paths,
    *,
    evs: Sequence[float] | None = None,
    times: Sequence[float] | None = None,
    reference: int | Literal["auto"] = "auto",
    max_pixels: int | None = None,
) -> Inspection:
    """Measure one or more files; the arguments and errors are those of ``load_burst``, but any set of files will do."""
    loaded = load_frames(paths, evs=evs, times=times, reference=reference, max_pixels=max_pixels)
    frames, reduced = loaded.frames, list(loaded.reduced)
    stated = [frame.exposure.ev for frame in frames]
    measured: list[float | None] = [None] * len(frames)
    sharp = [1.0] * len(frames)
    if len({frame.linear.shape for frame in reduced}) == 1:
        order = sorted(range(len(frames)), key=lambda i: stated[i])
        at = order.index(loaded.reference)
        upwards = measured_evs(reduced, order[at:])
        downwards = measured_evs(reduced, order[at::-1])
        measured = [up if up is not None else down for up, down in zip(upwards, downwards, strict=True)]
        sharp = relative_sharpness(reduced)
    records = []
    for index, (frame, small) in enumerate(zip(frames, reduced, strict=True)):
        known = frame.exposure.source != "none"
        capture = frame.capture
        records.append(
            FrameRecord(
                file=str(frame.path),
                kind=frame.kind,
                width=frame.size[1],
                height=frame.size[0],
                bits=frame.codes.dtype.itemsize * 8,
                colorspace=frame.colorspace.name,
                time=frame.exposure.time,
                aperture=frame.exposure.aperture,
                iso=frame.exposure.iso,
                ev=stated[index] - stated[loaded.reference] if known else None,
                ev_source=frame.exposure.source,
                ev_measured=measured[index],
                measured_under="linear" if frame.encoding == "linear" else "srgb",
                clipped=small.clipped_share,
                black=small.black_share,
                sharpness=sharp[index],
                reference=index == loaded.reference,
                sha256=frame.sha256,
                camera=" ".join(part for part in (capture.make, capture.model) if part) or None,
                lens=capture.lens,
                datetime=capture.datetime,
            )
        )
    return Inspection(tuple(records), loaded.notes)
