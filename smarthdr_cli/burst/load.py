"""Files to a Burst: parallel decoding, exposures, one white balance for all RAW frames, choice of the reference."""

import math
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from smarthdr_cli import system
from smarthdr_cli.burst.burst import MIN_EV_RANGE, Burst, Exposure, ExposureCheck, Frame
from smarthdr_cli.burst.exposure import check_overrides, resolve_exposures
from smarthdr_cli.burst.image_statistics import (
    ReducedFrame,
    ev_between,
    log2_mean_luminance,
    reduce_frame,
)
from smarthdr_cli.burst.raw import RawSettings
from smarthdr_cli.burst.read import ReadResult, check_file, read_file
from smarthdr_cli.burst.reference import choose_reference
from smarthdr_cli.errors import InputError, UsageError, full_path

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
    exposure_check: ExposureCheck = "warn",
) -> LoadedBurst:
    """Read the files of one burst, in any order.

    ``evs`` (larger is brighter) or ``times`` (seconds) state the exposures in the order of ``paths``; else they come
    from EXIF, a sidecar file or, for their order, the pixels (see ``resolve_exposures``). ``reference``: position in
    ``paths``, from 1, or "auto" (see ``choose_reference``). ``max_pixels`` of one file by its header; None is
    MAX_PIXELS. RAW frames share the white balance of the reference and one clip level. ``exposure_check``: "fix" takes
    the order of the pixels where the stated exposures are equal and the pixels are not.

    Raises UsageError for overrides or a reference that do not fit the files, before any is opened. Raises InputError
    for files that cannot be read, are identical, differ in size, encoding or colour space, or have equal exposures.
    """
    check_overrides(len(paths), evs, times)
    check_burst_files([Path(path) for path in paths], reference)
    loaded = load_frames(
        paths, evs=evs, times=times, reference=reference, max_pixels=max_pixels, exposure_check=exposure_check
    )
    _check_consistent(loaded)
    return LoadedBurst(Burst(loaded.frames, loaded.reference), loaded.notes)


def load_frames(
    paths: Paths,
    *,
    evs: Sequence[float] | None = None,
    times: Sequence[float] | None = None,
    reference: int | Literal["auto"] = "auto",
    max_pixels: int | None = None,
    exposure_check: ExposureCheck = "warn",
) -> LoadedFrames:
    """``load_burst`` for any files: in argument order, of any number, sizes and exposures."""
    files = [Path(path) for path in paths]
    check_overrides(len(files), evs, times)
    check_files(files, reference)
    with ThreadPoolExecutor(min(_MAX_THREADS, system.usable_cores(), len(files))) as pool:
        results = list(pool.map(lambda file: read_file(file, max_pixels=max_pixels), files))
        exposures, notes = resolve_exposures(files, [result.exif for result in results], evs, times)
        reduced = list(pool.map(reduce_frame, (result.frame for result in results)))
        same_size = len({frame.linear.shape for frame in reduced}) == 1
        if exposures is None or (exposure_check == "fix" and _range(exposures) < MIN_EV_RANGE):
            evs_by_pixels = _evs_by_pixels(reduced, same_size)
            if exposures is not None and np.ptp(evs_by_pixels) >= MIN_EV_RANGE:
                exposures, notes = None, (*notes, "the stated exposures are equal and the pixels are not")
            if exposures is None:
                exposures = tuple(
                    Exposure(ev, None, result.exif.aperture, result.exif.iso, "none")
                    for ev, result in zip(evs_by_pixels, results, strict=True)
                )
        exposures = _with_measured(exposures, reduced, same_size)
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


def check_files(files: Sequence[Path], reference: int | Literal["auto"] = "auto") -> None:
    """Check files before any is read.

    Raises UsageError where there are none or ``reference`` is none of them, InputError for a folder, a pattern that
    matches nothing, or a missing file.
    """
    if not files:
        raise UsageError("no files given; name the frames of one bracket")
    if reference != "auto" and not 1 <= reference <= len(files):
        raise UsageError(f"--reference {reference} is none of the {len(files)} files; use 1 to {len(files)}, or auto")
    for file in files:
        check_file(file)


def check_burst_files(files: Sequence[Path], reference: int | Literal["auto"] = "auto") -> None:
    """``check_files``, and UsageError where a file is given twice."""
    check_files(files, reference)
    twice = next((path for path, count in Counter(map(full_path, files)).items() if count > 1), None)
    if twice is not None:
        raise UsageError(f"{twice} is given twice; name every frame once")


def _check_consistent(loaded: LoadedFrames) -> None:
    """Raise InputError for identical files, frames that differ in encoding or colour space, and equal exposures."""
    frames = loaded.frames
    path_by_digest: dict[str, Path] = {}
    for frame in frames:
        if frame.sha256 in path_by_digest:
            first, second = full_path(path_by_digest[frame.sha256]), full_path(frame.path)
            raise InputError(f"{first} and {second} hold the same picture; leave one of them out")
        path_by_digest[frame.sha256] = frame.path
    for quantity, values in (
        ("encoding", [frame.encoding for frame in frames]),
        ("colour space", [frame.colorspace.name for frame in frames]),
    ):
        if len(set(values)) > 1:
            listed = ", ".join(f"{full_path(f.path)} {value}" for f, value in zip(frames, values, strict=True))
            raise InputError(f"the frames differ in {quantity}: {listed}; write them all in one")
    stated = [frame.exposure for frame in frames]
    if len(frames) > 1 and _range(stated) < MIN_EV_RANGE and len({frame.size for frame in frames}) == 1:
        span = float(np.ptp(_evs_by_pixels(list(loaded.reduced), same_size=True)))
        if span >= MIN_EV_RANGE and all(exposure.is_stated for exposure in stated):
            raise InputError(
                f"the stated exposures of {full_path(frames[0].path)} and the other frames are equal, but their pixels "
                f"differ by {span:.1f} EV (copied EXIF?); state them, for example --ev=-2,0,2, or measure them with "
                "--exposure-check fix"
            )


def _range(exposures: Sequence[Exposure]) -> float:
    """EV between the darkest and the brightest of the known exposures."""
    evs = [exposure.ev for exposure in exposures if not math.isnan(exposure.ev)]
    return max(evs) - min(evs)


def _brightness_step(first: ReducedFrame, second: ReducedFrame) -> float:
    """EV from ``first`` to ``second`` by their mean luminance."""
    return log2_mean_luminance(second) - log2_mean_luminance(first)


def _with_measured(
    exposures: tuple[Exposure, ...], reduced: Sequence[ReducedFrame], same_size: bool
) -> tuple[Exposure, ...]:
    """``exposures`` with every NaN measured against the stated frame that is most like it in brightness."""
    stated = [n for n, exposure in enumerate(exposures) if not math.isnan(exposure.ev)]

    def measured(index: int) -> float:
        nearest = min(stated, key=lambda n: abs(_brightness_step(reduced[n], reduced[index])))
        step = ev_between(reduced[nearest], reduced[index]) if same_size else None
        return exposures[nearest].ev + (_brightness_step(reduced[nearest], reduced[index]) if step is None else step)

    return tuple(e if n in stated else replace(e, ev=measured(n)) for n, e in enumerate(exposures))


def _evs_by_pixels(reduced: list[ReducedFrame], same_size: bool) -> tuple[float, ...]:
    """EV of each frame over the darkest, from the pixels under the sRGB curve; only their order is reliable."""
    order = sorted(range(len(reduced)), key=lambda i: log2_mean_luminance(reduced[i]))
    evs, total = {order[0]: 0.0}, 0.0
    for a, b in pairwise(order):
        step = ev_between(reduced[a], reduced[b]) if same_size else _brightness_step(reduced[a], reduced[b])
        total += _UNMEASURED_STEP if step is None else max(step, 0.0)
        evs[b] = total
    return tuple(evs[i] for i in range(len(reduced)))


def _shared_raw_settings(results: Sequence[ReadResult], reference: int) -> RawSettings | None:
    """White balance of the reference and the lowest clip level; None where the reference is no RAW."""
    clip_levels = [result.raw_settings.clip_level for result in results if result.raw_settings is not None]
    settings = results[reference].raw_settings
    return None if settings is None else RawSettings(settings.white_balance, min(clip_levels))
