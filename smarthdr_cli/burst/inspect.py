"""The records of ``smarthdr info``: stated and measured exposure, clipping, sharpness, reference."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from smarthdr_cli.burst.burst import MIN_EV_RANGE
from smarthdr_cli.burst.image_statistics import measured_evs, relative_sharpness
from smarthdr_cli.burst.load import Paths, load_frames


@dataclass(frozen=True)
class FrameRecord:
    """One file. EVs are relative to the reference, larger is brighter; shares are in [0, 1]; None is unknown.

    ``ev_measured``: median log2 ratio of well-exposed pixels, summed over neighbouring exposures, under the curve
    ``measured_under``; the tone curve of a camera biases it. ``clipped``, ``black``: shares of pixels. ``sharpness``:
    relative to the other frames, on common well-exposed pixels.
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
    """Records in argument order, and notes for the user."""

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
    """Records of any files; arguments and errors as of ``load_frames``."""
    loaded = load_frames(paths, evs=evs, times=times, reference=reference, max_pixels=max_pixels)
    frames, reduced = loaded.frames, list(loaded.reduced)
    evs = [frame.exposure.ev for frame in frames]
    measured: list[float | None] = [None] * len(frames)
    sharpness = [1.0] * len(frames)
    if len({frame.linear.shape for frame in reduced}) == 1:
        order = sorted(range(len(frames)), key=lambda i: evs[i])
        position = order.index(loaded.reference)
        brighter = measured_evs(reduced, order[position:])
        darker = measured_evs(reduced, order[position::-1])
        measured = [up if up is not None else down for up, down in zip(brighter, darker, strict=True)]
        sharpness = relative_sharpness(reduced)
    records = []
    for index, (frame, statistics) in enumerate(zip(frames, reduced, strict=True)):
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
                ev=evs[index] - evs[loaded.reference] if frame.exposure.source != "none" else None,
                ev_source=frame.exposure.source,
                ev_measured=measured[index],
                measured_under="linear" if frame.encoding == "linear" else "srgb",
                clipped=statistics.clipped_share,
                black=statistics.black_share,
                sharpness=sharpness[index],
                reference=index == loaded.reference,
                sha256=frame.sha256,
                camera=" ".join(name for name in (capture.make, capture.model) if name) or None,
                lens=capture.lens,
                datetime=capture.datetime,
            )
        )
    return Inspection(tuple(records), (*loaded.notes, *explanations(records)))


def explanations(records: Sequence[FrameRecord]) -> list[str]:
    """Why stated and measured exposures differ, where they do by more than a third of a stop."""
    known = [r for r in records if r.ev is not None]
    different = [
        r for r in known if r.ev is not None and r.ev_measured is not None and abs(r.ev - r.ev_measured) > MIN_EV_RANGE
    ]
    if not different:
        return []
    listed = ", ".join(f"{Path(r.file).name} {r.ev:+.2f} EV stated, {r.ev_measured:+.2f} measured" for r in different)
    if len({r.ev for r in known}) == 1:
        reason = (
            "all state the same exposure and are not equally bright (copied EXIF?): state the exposures, for example "
            "--ev=-2,0,2, or fuse with --exposure-check fix"
        )
    elif different[0].measured_under == "linear":
        reason = (
            "the files are linear, so the stated exposures are off (a manual aperture, a filter, a flash?): fuse with "
            "--exposure-check fix to take the measured ones"
        )
    else:
        reason = (
            "the measurement assumes the sRGB tone curve, and most cameras use a curve of their own, so the stated "
            "exposures are probably right: fuse finds the curve first, and says where they are wrong under it"
        )
    return [f"{listed}: {reason}"]
