"""One brightness and one tone curve for a whole shoot, so that the views of a panorama agree.

The absolute exposure of a frame is ``log2(t * (ISO / 100) / N**2)`` EV, with t in seconds and the f-number N as EXIF
states them. With ``common`` the exposure of the shoot and ``reference`` that of a burst's reference, its radiance is
scaled by ``2 ** (common - reference)``: then 1.0 is the clip of a frame exposed as ``common`` in every result.

The tone curve of each camera is estimated from many of its sets together (response/camera_calibration.py) and stored
in the folder ``responses`` beside results.jsonl.
"""

import contextlib
import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from smarthdr_cli.align import align_burst
from smarthdr_cli.atomic import atomic_file
from smarthdr_cli.batch.jobs import Job, safe_part
from smarthdr_cli.batch.transaction import CURVE, close_stage, open_stage
from smarthdr_cli.burst.burst import Burst, Exposure
from smarthdr_cli.burst.exif import exposure_value
from smarthdr_cli.burst.load import load_burst
from smarthdr_cli.errors import InputError, OutputError, SmartHDRError, UsageError, full_path, os_reason
from smarthdr_cli.fusion.fuse_options import FuseOptions
from smarthdr_cli.fusion.result import FusionResult
from smarthdr_cli.grouping.header import Header
from smarthdr_cli.response import load_response, to_toml
from smarthdr_cli.response.camera_calibration import CameraCalibrator

FACTORS = {"time": "exposure time", "aperture": "aperture", "iso": "ISO"}
MAX_EV = 60.0  # of --common-ev; no camera comes near it
RESPONSES_FOLDER = "responses"  # folder of the calibration files, beside results.jsonl
MAX_SETS = 24  # of a camera for its curve, spread evenly over the shoot; each is read once more for its fusion


@dataclass(frozen=True)
class CommonExposure:
    """``ev``: the absolute exposure whose clip is 1 in every result.

    ``assumed``: the factors ("aperture", "iso") that no frame of the shoot states, such as the aperture of a manual
    lens; they count as equal in all sets.
    """

    ev: float
    assumed: tuple[str, ...] = ()

    def of(self, name: str, exposure: Exposure | Header) -> float:
        """The absolute exposure of the file ``name``, EV. Raises InputError where a factor is missing."""
        missing = [
            noun for factor, noun in FACTORS.items() if getattr(exposure, factor) is None and factor not in self.assumed
        ]
        if missing or exposure.time is None:
            raise InputError(f"{name} states no {' and no '.join(missing)}, which a common exposure needs")
        return exposure_value(exposure.time, exposure.aperture, exposure.iso)

    def of_reference(self, burst: Burst) -> float:
        """The absolute exposure of the burst's reference, EV. Raises InputError."""
        frame = burst.frames[burst.reference]
        return self.of(frame.path.name, frame.exposure)

    def scale(self, result: FusionResult) -> FusionResult:
        """``result`` with 1.0 at the clip of a frame exposed as ``ev``; its radiance is scaled in place.

        Raises InputError where the reference does not state its exposure.
        """
        reference_ev = self.of_reference(result.burst)
        gain_ev = self.ev - reference_ev - result.anchor_ev
        radiance = result.radiance
        radiance *= radiance.dtype.type(2.0**gain_ev)
        exposures = {"ev": round(self.ev, 4), "reference_ev": round(reference_ev, 4)}
        return replace(
            result,
            radiance=radiance,
            anchor_ev=result.anchor_ev + gain_ev,
            scale_short=result.scale_short / 2.0**gain_ev,
            report=replace(result.report, common_exposure=exposures),
        )


def common_exposure(
    sets: Sequence[Sequence[Path]], headers: Mapping[Path, Header], ev: float | None = None
) -> tuple[CommonExposure, tuple[str, ...]]:
    """The exposure of a shoot, and notes on what is assumed for it.

    It is ``ev`` or, without it, the median over the sets of each set's median exposure, from headers alone.
    Raises UsageError for an ``ev`` beyond MAX_EV, InputError where no set states its exposures.
    """
    if ev is not None and not (math.isfinite(ev) and abs(ev) <= MAX_EV):
        raise UsageError(f"--common-ev {ev:g}: use a number of EV between -{MAX_EV:g} and {MAX_EV:g}")
    frames = [headers[path] for paths in sets for path in paths if path in headers]
    assumed = tuple(factor for factor in ("aperture", "iso") if all(getattr(h, factor) is None for h in frames))
    notes = tuple(f"no frame states its {FACTORS[factor]}; it is assumed to be equal in all sets" for factor in assumed)
    if ev is not None:
        return CommonExposure(ev, assumed), notes
    rule = CommonExposure(0.0, assumed)
    medians = [m for paths in sets if (m := _median_exposure(paths, headers, rule)) is not None]
    if not medians:
        raise InputError("no set states exposure time, aperture and ISO, which a common exposure needs")
    return CommonExposure(round(median(medians), 4), assumed), notes


def _median_exposure(paths: Iterable[Path], headers: Mapping[Path, Header], rule: CommonExposure) -> float | None:
    """EV, or None where a frame cannot be read or does not state its exposure."""
    try:
        return median(rule.of(path.name, headers[path]) for path in paths)
    except (KeyError, InputError):
        return None


def calibrate_cameras(
    jobs: Sequence[Job],
    options: FuseOptions,
    out: Path,
    stage: Path,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """((``Job.curve``, --response) for each camera, notes): its calibration file, or "srgb" where none is possible.

    The file's name in ``out/responses`` holds a digest of what the curve follows from, so that shards and later runs
    reuse it. RAW is linear and needs none. ``stage``: the folder for files being written. Raises OutputError.
    """
    cameras: dict[str, list[Job]] = {}
    for job in jobs:
        if job.kind != "raw" and not job.ambiguous:
            cameras.setdefault(job.curve, []).append(job)
    chosen = {camera: _spread(camera_jobs) for camera, camera_jobs in cameras.items()}
    total, done = sum(map(len, chosen.values())), 0
    responses: list[tuple[str, str]] = []
    notes: list[str] = []
    for camera, camera_jobs in chosen.items():
        path = out / RESPONSES_FOLDER / f"{safe_part(camera)}-{_digest(camera_jobs, options)}.toml"
        label = camera or "a camera without a name"
        if not _is_calibration(path):
            calibrator = CameraCalibrator()
            for job in camera_jobs:
                _add_set(calibrator, job, options)
                done += 1
                on_progress(done, total)
            estimate = calibrator.estimate(path.name)
            if estimate.response is None:
                responses.append((camera, "srgb"))
                notes.append(f"{label}: sRGB for all its sets; {estimate.note}")
                continue
            _write_through(open_stage(stage, CURVE), to_toml(estimate.response), path)
            used = f"{len(calibrator)} of {len(cameras[camera])} sets"
            notes.append(f"{label}: one curve from {used}, in {RESPONSES_FOLDER}/{path.name}")
        responses.append((camera, str(path)))
    return tuple(responses), tuple(notes)


def _write_through(stage: Path, text: str, path: Path) -> None:
    """Write ``path`` by way of ``stage``, which the next run clears up after a crash."""
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write in {full_path(path.parent)}: {os_reason(error)}") from error
    with atomic_file(path, overwrite=True, staging_folder=stage) as partial:
        partial.write_text(text, encoding="utf-8")
    close_stage(stage)


def _add_set(calibrator: CameraCalibrator, job: Job, options: FuseOptions) -> None:
    try:
        burst, _ = load_burst(
            job.files, evs=options.ev, times=options.exposure_times, reference=options.reference,
            max_pixels=options.max_pixels, exposure_check=options.exposure_check,
        )  # fmt: skip
        if not all(frame.exposure.is_stated for frame in burst.frames):
            raise InputError("its exposures are not known")
        if any(frame.encoding == "linear" for frame in burst.frames):
            raise InputError("its frames are linear already")
        calibrator.add(burst, align_burst(burst, mode=options.align))
    except OutputError:
        raise
    except SmartHDRError as error:  # the set's failure is recorded when it is fused
        calibrator.refused.append(str(error))


def _spread(jobs: Sequence[Job]) -> list[Job]:
    """At most MAX_SETS jobs, evenly over the shoot."""
    if len(jobs) <= MAX_SETS:
        return list(jobs)
    return [jobs[round(k * (len(jobs) - 1) / (MAX_SETS - 1))] for k in range(MAX_SETS)]


def _digest(jobs: Sequence[Job], options: FuseOptions) -> str:
    """Of the files (names, sizes, times of change) and the options that the curve follows from."""
    lines = [repr((options.align, options.ev, options.exposure_times, options.reference))]
    for path in (path for job in jobs for path in job.files):
        with contextlib.suppress(OSError):
            stat = path.stat()
            lines.append(f"{path.name} {stat.st_size} {stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()[:12]


def _is_calibration(path: Path) -> bool:
    with contextlib.suppress(InputError):
        load_response(path)
        return True
    return False
