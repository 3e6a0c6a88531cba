"""One curve for each camera of a shoot, estimated from many of its sets and kept beside the results."""

import contextlib
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from smarthdr_cli.align import align_burst
from smarthdr_cli.atomic import atomic_file
from smarthdr_cli.batch.jobs import Job
from smarthdr_cli.batch.names import fit_part
from smarthdr_cli.batch.settings import Settings
from smarthdr_cli.batch.transaction import CURVE, close_stage, open_stage
from smarthdr_cli.burst.load import load_burst
from smarthdr_cli.errors import InputError, OutputError, SmartHDRError
from smarthdr_cli.response import load_response, to_toml
from smarthdr_cli.response.camera_calibration import CameraCalibrator

MAX_SETS = 24  # of a camera; beyond, so many spread evenly over the shoot: reading all twice would add nothing


def calibrate_cameras(
    jobs: Sequence[Job],
    settings: Settings,
    out: Path,
    stage: Path,
    on_set: Callable[[int, int], None] = lambda _done, _all: None,
) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """(camera and calibration file, for each camera), and what to say aloud.

    The file lies in ``out`` under a name that tells which sets it is from, so that shards and later runs take it as it
    is. RAW is linear and needs none. A camera whose sets support no curve takes sRGB throughout.
    ``stage``: the folder for files being written. Raises OutputError where a file cannot be written.
    """
    cameras: dict[str, list[Job]] = {}
    for job in jobs:
        if job.kind != "raw" and not job.ambiguous:
            cameras.setdefault(job.curve, []).append(job)
    chosen = {camera: _spread(own) for camera, own in cameras.items()}
    total, done = sum(len(own) for own in chosen.values()), 0
    responses: list[tuple[str, str]] = []
    notes: list[str] = []
    for camera, own in chosen.items():
        path = out / f"response-{fit_part(camera)}-{_digest(own, settings)}.toml"
        shown = camera or "a camera without a name"
        if not _sound(path):
            shoot = CameraCalibrator()
            for job in own:
                _take_in(shoot, job, settings)
                done += 1
                on_set(done, total)
            found = shoot.estimate(path.name)
            if found.response is None:
                responses.append((camera, "srgb"))
                notes.append(f"{shown}: sRGB for all its sets; {found.note}")
                continue
            _keep(to_toml(found.response), path, open_stage(stage, CURVE))
            notes.append(f"{shown}: one curve from {len(shoot)} of {len(cameras[camera])} sets, in {path.name}")
        responses.append((camera, str(path)))
    return tuple(responses), tuple(notes)


def _keep(text: str, path: Path, stage: Path) -> None:
    """Write ``text`` by way of ``stage``, where whoever comes after a crash clears up."""
    with atomic_file(path, overwrite=True, staging_folder=stage) as partial:
        partial.write_text(text, encoding="utf-8")
    close_stage(stage)


def _take_in(shoot: CameraCalibrator, job: Job, settings: Settings) -> None:
    options = settings.fuse
    try:
        burst, _ = load_burst(
            job.files, evs=options.evs, times=options.exposure_times, reference=options.reference,
            max_pixels=options.max_pixels,
        )  # fmt: skip
        if any(frame.exposure.source in ("none", "pixels") for frame in burst.frames):
            raise InputError("its exposures are not known")
        if any(frame.encoding == "linear" for frame in burst.frames):
            raise InputError("its frames are linear already")
        shoot.add(burst, align_burst(burst, None, mode=options.align))
    except OutputError:
        raise
    except SmartHDRError as error:  # the set's own failure is recorded when its turn comes
        shoot.refused.append(str(error))


def _spread(jobs: Sequence[Job]) -> list[Job]:
    if len(jobs) <= MAX_SETS:
        return list(jobs)
    return [jobs[round(k * (len(jobs) - 1) / (MAX_SETS - 1))] for k in range(MAX_SETS)]


def _digest(jobs: Sequence[Job], settings: Settings) -> str:
    """Of the files (names, sizes, times of change) and the options that the curve follows from."""
    options = settings.fuse
    told = [repr((options.align, options.evs, options.exposure_times, options.reference))]
    for path in (path for job in jobs for path in job.files):
        with contextlib.suppress(OSError):
            seen = path.stat()
            told.append(f"{path.name} {seen.st_size} {seen.st_mtime_ns}")
    return hashlib.sha256("\n".join(told).encode(errors="surrogateescape")).hexdigest()[:12]


def _sound(path: Path) -> bool:
    with contextlib.suppress(InputError):
        load_response(path)
        return True
    return False
