"""Files to a Burst: parallel decoding, exposures, one white balance for all RAW frames, choice of the reference."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

from smarthdr_cli import system
from smarthdr_cli.burst.burst import Burst, Exposure, Frame
from smarthdr_cli.burst.exposure import check_overrides, resolve_exposures
from smarthdr_cli.burst.image_statistics import ReducedFrame, log2_mean_luminance, measured_evs, reduce_frame
from smarthdr_cli.burst.raw import RawSettings
from smarthdr_cli.burst.read import ReadResult, read_file
from smarthdr_cli.burst.reference import choose_reference
from smarthdr_cli.errors import InputError, UsageError

_UNMEASURED_STEP = 1.0  # EV between frames of unknown exposure without common well-exposed pixels; for their order
_MAX_THREADS = 4

Paths = Sequence[str | os.PathLike[str]]


@dataclass(frozen=True)
class LoadedFrames:
    """Frames in argument order with exposures, their reduced versions, the index of the reference, and notes."""

    frames: tuple[Frame, ...]
    reduced: tuple[ReducedFrame, ...]
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

    ``evs`` (larger is brighter) or ``times`` (seconds) state the exposures in the order of ``paths``; else they come
    from EXIF, a sidecar file or, for their order, the pixels (see ``resolve_exposures``). ``reference``: position in
    ``paths``, from 1, or "auto" (see ``choose_reference``). ``max_pixels`` of one file by its header; None is
    MAX_PIXELS. RAW frames share the white balance of the reference and one clip level.

    Raises UsageError for overrides or a reference that do not fit the files, before any is opened. Raises InputError
    for files that cannot be read, are identical, differ in size, encoding or colour space, or have equal exposures.
    """
    loaded = load_frames(paths, evs=evs, times=times, reference=reference, max_pixels=max_pixels)
    _check_consistent(loaded.frames)
    return LoadedBurst(Burst(loaded.frames, loaded.reference), loaded.notes)


def load_frames(
    paths: Paths,
    *,
    evs: Sequence[float] | None = None,
    times: Sequence[float] | None = None,
    reference: int | Literal["auto"] = "auto",
    max_pixels: int | None = None,
) -> LoadedFrames:
    """``load_burst`` for any files: in argument order, of any number, sizes and exposures."""
    files = [Path(path) for path in paths]
    if not files:
        raise UsageError("no files given")
    if reference != "auto" and not 1 <= reference <= len(files):
        raise UsageError(f"--reference {reference} is not one of the {len(files)} files")
    check_overrides(len(files), evs, times)
    with ThreadPoolExecutor(min(_MAX_THREADS, system.usable_cores(), len(files))) as pool:
        results = list(pool.map(lambda file: read_file(file, max_pixels=max_pixels), files))
        exposures, notes = resolve_exposures(files, [result.exif for result in results], evs, times)
        reduced = list(pool.map(reduce_frame, (result.frame for result in results)))
        same_size = len({frame.linear.shape for frame in reduced}) == 1
        if exposures is None:
            exposures = _exposures_by_pixels(results, reduced, same_size)
        index = reference - 1 if reference != "auto" else 0
        if reference == "auto" and same_size:
            index = choose_reference(reduced, [exposure.ev for exposure in exposures])
        shared = _shared_raw_settings(results, index)
        outdated = [i for i, result in enumerate(results) if shared and result.raw_settings not in (None, shared)]
        redeveloped = pool.map(lambda i: read_file(files[i], shared, max_pixels), outdated)
        for i, result in zip(outdated, redeveloped, strict=True):
            results[i] = result
            reduced[i] = reduce_frame(result.frame)
    frames = tuple(replace(r.frame, exposure=exposure) for r, exposure in zip(results, exposures, strict=True))
    notes += tuple(dict.fromkeys(note for result in results for note in result.notes))
    return LoadedFrames(frames, tuple(reduced), index, notes)


def _check_consistent(frames: Sequence[Frame]) -> None:
    """Raise InputError for identical files, and for frames that differ in encoding or colour space."""
    name_by_digest: dict[str, str] = {}
    for frame in frames:
        name = frame.path.name
        if frame.sha256 in name_by_digest:
            raise InputError(f"{name} is the same picture as {name_by_digest[frame.sha256]}")
        name_by_digest[frame.sha256] = name
    for quantity, values in (
        ("encoding", [frame.encoding for frame in frames]),
        ("colour space", [frame.colorspace.name for frame in frames]),
    ):
        if len(set(values)) > 1:
            listed = ", ".join(f"{frame.path.name} {value}" for frame, value in zip(frames, values, strict=True))
            raise InputError(f"the frames differ in {quantity}: {listed}")


def _exposures_by_pixels(
    results: Sequence[ReadResult], reduced: list[ReducedFrame], same_size: bool
) -> tuple[Exposure, ...]:
    """Exposures of source "none", from the pixels under the sRGB curve; only their order is reliable."""
    order = sorted(range(len(reduced)), key=lambda i: log2_mean_luminance(reduced[i]))
    steps: list[float | None]
    if same_size:
        steps = [measured_evs(reduced, [a, b])[b] for a, b in pairwise(order)]
    else:
        steps = [log2_mean_luminance(reduced[b]) - log2_mean_luminance(reduced[a]) for a, b in pairwise(order)]
    evs, total = {order[0]: 0.0}, 0.0
    for index, step in zip(order[1:], steps, strict=True):
        total += _UNMEASURED_STEP if step is None else max(step, 0.0)
        evs[index] = total
    return tuple(Exposure(evs[i], None, r.exif.aperture, r.exif.iso, "none") for i, r in enumerate(results))


def _shared_raw_settings(results: Sequence[ReadResult], reference: int) -> RawSettings | None:
    """White balance of the reference and the lowest clip level; None where the reference is no RAW."""
    clip_levels = [result.raw_settings.clip_level for result in results if result.raw_settings is not None]
    settings = results[reference].raw_settings
    return None if settings is None else RawSettings(settings.white_balance, min(clip_levels))
