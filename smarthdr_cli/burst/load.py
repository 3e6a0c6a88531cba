"""Files to a Burst: decoded in parallel, exposures resolved, one white balance for RAW, the reference chosen."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

from smarthdr_cli import system
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.burst.exposure import check_overrides, resolve
from smarthdr_cli.burst.frame import Exposure, Frame
from smarthdr_cli.burst.image_statistics import Reduced, brightness, measured_evs, reduce
from smarthdr_cli.burst.raw import Sensor
from smarthdr_cli.burst.read import Reading, read_file
from smarthdr_cli.burst.reference import choose_reference
from smarthdr_cli.errors import InputError, UsageError

_FALLBACK_GAP = 1.0  # EV between two frames of unknown exposure that share no measurable pixels, for order only
_THREADS = 4

Paths = Sequence[str | os.PathLike[str]]


@dataclass(frozen=True)
class Loaded:
    """Frames in argument order with their exposures, reduced pictures, reference (0-based) and notes."""

    frames: tuple[Frame, ...]
    reduced: tuple[Reduced, ...]
    reference: int
    notes: tuple[str, ...]


class LoadedBurst(NamedTuple):
    """A burst, and the notes of reading it: assumptions such as a missing aperture or an unknown profile."""

    burst: Burst
    notes: tuple[str, ...]


def load_burst(
    paths: Paths,
    *,
    evs: Sequence[float] | None = None,
    times: Sequence[float] | None = None,
    reference: int | Literal["auto"] = "auto",
    max_pixels: int | None = None,
) -> LoadedBurst:
    """Read the files of one burst, in any order.

    ``evs`` (larger = brighter) or ``times`` (seconds) state the exposures in the order of ``paths``; otherwise EXIF,
    then a sidecar ``exposure.txt``, then a guess from the pixels (source "none"). ``reference`` is the 1-based place in
    ``paths``, or "auto" (see ``choose_reference``). RAW frames share the reference's white balance and one clip level.
    ``max_pixels`` of one file (None: MAX_PIXELS) is what a header may claim before anything is decoded.
    Raises UsageError for overrides or a reference that do not fit the files (before any is opened), InputError for
    files that cannot be read, are the same twice, differ in size or colour space, or do not differ in exposure.
    """
    loaded = load_frames(paths, evs=evs, times=times, reference=reference, max_pixels=max_pixels)
    _check_same(loaded.frames)
    return LoadedBurst(Burst(loaded.frames, loaded.reference), loaded.notes)


def load_frames(
    paths: Paths,
    *,
    evs: Sequence[float] | None = None,
    times: Sequence[float] | None = None,
    reference: int | Literal["auto"] = "auto",
    max_pixels: int | None = None,
) -> Loaded:
    """``load_burst`` in argument order and without a burst's demands on number, size and exposures."""
    files = [Path(path) for path in paths]
    if not files:
        raise UsageError("no files given")
    if reference != "auto" and not 1 <= reference <= len(files):
        raise UsageError(f"--reference {reference} is not one of the {len(files)} files")
    check_overrides(len(files), evs, times)
    with ThreadPoolExecutor(min(_THREADS, system.usable_cores(), len(files))) as pool:
        readings = list(pool.map(lambda file: read_file(file, max_pixels=max_pixels), files))
        exposures, notes = resolve(files, [reading.stated for reading in readings], evs, times)
        reduced = list(pool.map(reduce, (reading.frame for reading in readings)))
        comparable = len({frame.linear.shape for frame in reduced}) == 1
        if exposures is None:
            exposures = _guessed(readings, reduced, comparable)
        chosen = reference - 1 if reference != "auto" else 0
        if reference == "auto" and comparable:
            chosen = choose_reference(reduced, [exposure.ev for exposure in exposures])
        again = _resensed(readings, chosen)

        def sensed(item: tuple[int, Sensor]) -> tuple[int, Reading]:
            return item[0], read_file(files[item[0]], item[1], max_pixels)

        for index, reading in pool.map(sensed, again.items()):
            readings[index] = reading
            reduced[index] = reduce(reading.frame)
    frames = tuple(replace(r.frame, exposure=e) for r, e in zip(readings, exposures, strict=True))
    notes += tuple(dict.fromkeys(note for reading in readings for note in reading.notes))
    return Loaded(frames, tuple(reduced), chosen, notes)


def _check_same(frames: Sequence[Frame]) -> None:
    seen: dict[str, str] = {}
    for frame in frames:
        name = frame.path.name
        if frame.sha256 in seen:
            raise InputError(f"{name} is the same picture as {seen[frame.sha256]}")
        seen[frame.sha256] = name
    for what, values in (
        ("encoding", [frame.encoding for frame in frames]),
        ("colour space", [frame.colorspace.name for frame in frames]),
    ):
        if len(set(values)) > 1:
            named = ", ".join(f"{frame.path.name} {value}" for frame, value in zip(frames, values, strict=True))
            raise InputError(f"the frames differ in {what}: {named}")


def _guessed(readings: Sequence[Reading], reduced: list[Reduced], comparable: bool) -> tuple[Exposure, ...]:
    """Exposures from the pixels under the sRGB prior, for order; a neighbour without common pixels counts 1 EV."""
    order = sorted(range(len(reduced)), key=lambda i: brightness(reduced[i]))
    if comparable:
        steps = [measured_evs(reduced, [a, b])[b] for a, b in pairwise(order)]
    else:
        steps = [brightness(reduced[b]) - brightness(reduced[a]) for a, b in pairwise(order)]
    evs, total = {order[0]: 0.0}, 0.0
    for index, step in zip(order[1:], steps, strict=True):
        total += _FALLBACK_GAP if step is None else max(step, 0.0)
        evs[index] = total
    return tuple(Exposure(evs[i], None, r.stated.aperture, r.stated.iso, "none") for i, r in enumerate(readings))


def _resensed(readings: Sequence[Reading], chosen: int) -> dict[int, Sensor]:
    """RAW frames to develop again because they were not read with the burst's white balance and clip level."""
    sensors = [reading.sensor for reading in readings if reading.sensor is not None]
    reference = readings[chosen].sensor
    if reference is None:
        return {}
    shared = Sensor(reference.white_balance, min(sensor.clip_level for sensor in sensors))
    return {i: shared for i, reading in enumerate(readings) if reading.sensor not in (None, shared)}
