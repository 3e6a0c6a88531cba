"""One set from its files to its results, in three steps that may overlap with those of its neighbours."""

import contextlib
import os
import socket
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from smarthdr_cli.aligned_burst import RegisteredBurst
from smarthdr_cli.batch.batch_options import BatchOptions
from smarthdr_cli.batch.jobs import Job
from smarthdr_cli.batch.results import AMBIGUOUS, FAILED, OK, SKIPPED, Record, error_record
from smarthdr_cli.batch.resume import existing_outputs, sha256_of
from smarthdr_cli.batch.settings import Settings, recorded
from smarthdr_cli.batch.transaction import close_stage, commit, finish_commit, is_committed, open_stage, stage_key
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.errors import InputError
from smarthdr_cli.fusion.fuse_options import FuseOptions
from smarthdr_cli.fusion.pipeline import StageTimer, fuse_loaded, load, register_loaded
from smarthdr_cli.fusion.result import FusionResult
from smarthdr_cli.output.report.contents import Contents, collect
from smarthdr_cli.output.report.page import write_page
from smarthdr_cli.output.write import Role, write_file
from smarthdr_cli.system import peak_memory, reset_peak_memory

if TYPE_CHECKING:
    import torch

    from smarthdr_cli.fusion.fuser import Fuser

QUANTILE_PIXELS = 1_000_000  # above it the quantile of the uncertainty is of every fourth row and column


@dataclass(frozen=True)
class WorkerConfig:
    """What all sets of a run have in common, as it goes to every worker.

    ``stage``: the folder for files being written, below the output folder. ``model``: digest of the weights, or "none".
    """

    settings: Settings
    options: BatchOptions
    stage: Path
    model: str

    def recorded(self, job: Job) -> dict[str, Any]:
        """The settings that the job's result must state."""
        return recorded(self.settings, job.curve, self.model)


@dataclass
class Task:
    """A job in progress.

    ``registered``: ``burst`` in the reference's view. ``notes``: of reading. ``page``: the contents of the report,
    gathered while the frames are in memory. ``waited``: seconds that the fusion was idle before it. ``peak``: bytes of
    memory.
    """

    job: Job
    timer: StageTimer = field(default_factory=StageTimer)
    burst: Burst | None = None
    registered: RegisteredBurst | None = None
    notes: tuple[str, ...] = ()
    result: FusionResult | None = None
    page: Contents | None = None
    overwrite: bool = False
    waited: float = 0.0
    peak: int = 0


class NetworkCache:
    """Finds, verifies and builds each network once, however many sets there are."""

    def __init__(self) -> None:
        self._networks: dict[tuple[str, str, str], Fuser] = {}

    def __len__(self) -> int:
        """The number of networks built."""
        return len(self._networks)

    def prepare(self, options: FuseOptions) -> str:
        """Build the network of ``options``, so that what is missing is reported before the first set is read; returns
        the type of its device.

        Raises UsageError (device, precision) or ModelError.
        """
        from smarthdr_cli.fusion.device import resolve_device, resolve_precision

        device = resolve_device(options.device)
        if options.deghost == "off":
            resolve_precision("fp32" if options.precision == "auto" else options.precision, device)
        else:
            self.open(options.weights, device, options.precision)
        return device.type

    def open(self, weights: str | Path | None, device: "torch.device", precision: str) -> "Fuser":
        """As ``load_network``, from memory where it has been built."""
        from smarthdr_cli.fusion.fuser import load_network

        key = (str(weights), str(device), precision)
        if key not in self._networks:
            self._networks[key] = load_network(weights, device, precision)
        return self._networks[key]


class Worker:
    """The steps of a set. Each returns the task for the next step, or the record of a set that ends there."""

    def __init__(self, config: WorkerConfig, networks: NetworkCache | None = None) -> None:
        self.config = config
        self.networks = networks or NetworkCache()

    def read(self, job: Job, last_record: Record | None = None) -> Task | Record:
        """Check whether the set is done already, else read its files and register the frames. ``last_record``: of
        earlier runs.
        """
        settings = self.config.settings
        task = Task(job, overwrite=self.config.options.overwrite)
        try:
            if self.config.options.skip_existing and self._is_done(task, last_record):
                return self._skipped(job, last_record)
            task.burst, task.notes = load(job.files, settings.of_curve(job.curve), task.timer)
            if settings.common is not None:
                settings.common.of_reference(task.burst)  # reports a missing exposure before the slow stages
            task.registered = register_loaded(task.burst, settings.of_curve(job.curve), task.timer)
        except Exception as error:  # fails this set alone, and is recorded
            return self.failed(task, error)
        return task

    def fuse(self, task: Task) -> Task | Record:
        """Fuse the burst of ``task``, whose pixels are freed afterwards. One set at a time."""
        assert task.burst is not None
        settings, limit = self.config.settings, self.config.options.fail_above
        reset_peak_memory()
        try:
            result = fuse_loaded(
                task.burst,
                settings.of_curve(task.job.curve),
                task.timer,
                notes=task.notes,
                open_network=self.networks.open,
                registered=task.registered,
            )
            if result.report.other_scenes and self.config.options.ambiguous == "skip":
                task.burst = _without_pixels(task.burst)
                return ambiguous_record(task.job, map(str, result.report.other_scenes))
            if limit is not None:
                result.check_uncertainty(limit)
            if settings.common is not None:
                result = settings.common.scale(result)
            report = replace(result.report, settings=self.config.recorded(task.job))
            result = replace(result, report=report)
            if "report" in task.job.outputs:
                write = settings.write
                with task.timer.stage("report"):
                    task.page = collect(result, write.look, write.preview_ev)
            task.result = replace(result, burst=_without_pixels(result.burst), registered=None)
        except Exception as error:
            return self.failed(task, error)
        finally:
            task.registered = None
            task.peak = peak_memory()
        task.burst = task.result.burst
        return task

    def write(self, task: Task) -> Record:
        """Write the set's files into its stage, move them into place and return the record.

        Call ``clean_up`` once the record is on the disk.
        """
        job, result, stage = task.job, task.result, self.stage(task.job)
        assert result is not None
        try:
            with task.timer.stage("write"):
                open_stage(stage.parent, stage.name)
                notes = [
                    note
                    for role, path in job.outputs.items()
                    for note in self._write_file(role, task, stage / path.name)
                ]
            outputs = [
                {"path": str(path), "bytes": (stage / path.name).stat().st_size} for path in job.outputs.values()
            ]
            record = _ok_record(task, result, outputs, notes)
            commit(stage, {path.name: path for path in job.outputs.values()}, record, task.overwrite)
        except BaseException as error:
            if not is_committed(stage):
                close_stage(stage)
            if isinstance(error, Exception):
                return self.failed(task, error)
            raise
        finally:
            task.result = task.page = None
        return record

    def _write_file(self, role: Role, task: Task, path: Path) -> list[str]:
        assert task.result is not None
        if role != "report":
            return write_file(role, task.result, path, self.config.settings.write)
        assert task.page is not None
        write_page(task.page, path, task.job.name)
        return []

    def clean_up(self, job: Job) -> None:
        """Remove the job's stage, which ``write`` leaves until the record is on the disk."""
        close_stage(self.stage(job))

    def stage(self, job: Job) -> Path:
        """The folder into which the job's files are written before they are moved into place."""
        return self.config.stage / stage_key(job.name)

    def failed(self, task: Task, error: BaseException) -> Record:
        """The record of a set that failed."""
        inputs = _files(task.job) if task.burst is None else _inputs(task.burst)
        return _record(task.job, FAILED, inputs) | {
            "outputs": [], "seconds": task.timer.seconds, "waited": round(task.waited, 3),
            "error": error_record(error),
        }  # fmt: skip

    def _is_done(self, task: Task, last_record: Record | None) -> bool:
        try:
            state = existing_outputs(task.job, self.config.recorded(task.job), last_record)
        except InputError:
            raise
        except Exception:
            if not self.config.options.overwrite:
                raise
            state = "incomplete"
        task.overwrite |= state == "incomplete"
        return state == "done"

    def _skipped(self, job: Job, last_record: Record | None) -> Record:
        """The record of a set that is done: the last one or, without it, what its files state."""
        if last_record is not None and last_record["status"] in (OK, SKIPPED):
            return {**last_record, "status": SKIPPED}
        digests = sha256_of(job.files)
        inputs = [{"file": str(path), "sha256": digest} for path, digest in zip(job.files, digests, strict=True)]
        outputs = [{"path": str(path), "bytes": path.stat().st_size} for path in job.outputs.values()]
        record = _record(job, SKIPPED, inputs)
        return {**record, "outputs": outputs, "settings": self.config.recorded(job), "error": None}


_NETWORKS = NetworkCache()  # of a worker process, for all sets that it is given


def open_network(options: FuseOptions) -> str:
    """``NetworkCache.prepare`` in a worker process."""
    return _NETWORKS.prepare(options)


def fuse_set(config: WorkerConfig, folder: Path, job: Job, last_record: Record | None) -> Record:
    """One set from its files to its record, in a worker process. Relative paths start at ``folder``.

    Where an earlier attempt died after its commit, the remaining files are moved and the set is done.
    """
    with contextlib.suppress(OSError):  # absolute paths do without the folder
        os.chdir(folder)
    worker = Worker(config, _NETWORKS)
    committed = finish_commit(worker.stage(job))
    if committed is not None:
        return committed
    start = time.perf_counter()
    result = worker.read(job, last_record)
    if isinstance(result, Task):
        result.waited = time.perf_counter() - start
        result = worker.fuse(result)
    return worker.write(result) if isinstance(result, Task) else result


def ambiguous_record(job: Job, reasons: Iterable[str] = ()) -> Record:
    """The record of a set that is skipped because the grouping was not sure of it, or for further ``reasons``."""
    record = _record(job, AMBIGUOUS, _files(job)) | {"outputs": [], "error": None}
    return record | {"reasons": [*job.reasons, *reasons]}


def lost_record(job: Job, reason: str) -> Record:
    """The record of a set whose process died."""
    error = {"code": 1, "type": "WorkerDied", "message": reason}
    return _record(job, FAILED, _files(job)) | {"outputs": [], "error": error}


def _ok_record(task: Task, result: FusionResult, outputs: list[dict[str, Any]], notes: Sequence[str]) -> Record:
    report, sigma = result.report.to_dict(), result.uncertainty
    step = 4 if sigma.size > QUANTILE_PIXELS else 1
    return {
        **_record(task.job, OK, _inputs(result.burst)),
        "reference": report["reference"],
        "evs": report["evs"],
        "size": report["size"],
        "outputs": outputs,
        "seconds": dict(task.timer.seconds),
        "waited": round(task.waited, 3),
        "peak_memory": task.peak,
        "changed_share": report.get("guard", {}).get("changed_share"),
        "uncertainty": {
            "mean": float(sigma.mean()),
            "p99": float(np.quantile(sigma[::step, ::step], 0.99)),
            "clipped_share": report["uncertainty"]["clipped_share"],
        },
        "anchor_ev": round(result.anchor_ev, 4),
        "model": report["model"],
        "device": report["device"],
        "settings": report["settings"],
        "warnings": [*report["notes"], *notes],
        "error": None,
    }


def _record(job: Job, status: str, inputs: list[dict[str, Any]]) -> Record:
    return {
        "name": job.name, "status": status, "inputs": inputs, "camera": job.camera or None,
        "reasons": list(job.reasons), "host": socket.gethostname(), "pid": os.getpid(),
        "finished": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }  # fmt: skip


def _files(job: Job) -> list[dict[str, Any]]:
    return [{"file": str(path)} for path in job.files]


def _inputs(burst: Burst) -> list[dict[str, Any]]:
    return [
        {"file": str(frame.path), "sha256": frame.sha256, "ev": round(float(ev), 4), "source": frame.exposure.source}
        for frame, ev in zip(burst.frames, burst.evs, strict=True)
    ]


def _without_pixels(burst: Burst) -> Burst:
    """``burst`` for the record alone: reading ahead needs the memory of its codes."""
    empty = np.zeros((0, 0, 3), np.uint8)
    return Burst(tuple(replace(f, codes=empty, clipped=None) for f in burst.frames), burst.reference)
