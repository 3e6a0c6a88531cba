"""One set from its files to its results, in three steps that may overlap with those of its neighbours."""

import os
import socket
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from smarthdr_cli.batch.failure import failure
from smarthdr_cli.batch.jobs import Job
from smarthdr_cli.batch.results import AMBIGUOUS, FAILED, OK, SKIPPED, Record
from smarthdr_cli.batch.resume import digests, judge
from smarthdr_cli.batch.session import Session, anchored
from smarthdr_cli.batch.settings import Settings, recorded
from smarthdr_cli.batch.transaction import close_stage, commit, is_committed, open_stage, stage_key
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.errors import InputError
from smarthdr_cli.fusion.pipeline import StageTimer
from smarthdr_cli.fusion.result import FusionResult
from smarthdr_cli.output.write import write_preview, write_result, write_uncertainty
from smarthdr_cli.system import peak_memory, reset_peak_memory


@dataclass(frozen=True)
class Plan:
    """What every set of a run has in common. ``stage``: the folder for files being written, below the output folder.

    ``model``: digest of the weights, or "none". ``skip`` and ``overwrite``: what to do about outputs that exist.
    """

    settings: Settings
    stage: Path
    model: str
    skip: bool = False
    overwrite: bool = False

    def recorded(self, job: Job) -> dict[str, Any]:
        """The settings that the job's result has to state."""
        return recorded(self.settings, job.curve, self.model)


@dataclass
class Task:
    """A job on its way: what is known of it so far. ``waited``: seconds the fusing idled before it."""

    job: Job
    clock: StageTimer = field(default_factory=lambda: StageTimer(lambda _stage, _share: None))
    burst: Burst | None = None
    notes: tuple[str, ...] = ()
    fused: FusionResult | None = None
    replaces: bool = False
    waited: float = 0.0
    peak: int = 0


class Worker:
    """The steps of a set. Each returns the record of a set that ended there, or the task for the next step."""

    def __init__(self, plan: Plan, session: Session | None = None) -> None:
        self.plan = plan
        self.session = session or Session()

    def read(self, job: Job, last: Record | None = None) -> Task | Record:
        """Decide whether the set is done already and read its files. ``last``: its last line in the results."""
        task = Task(job, replaces=self.plan.overwrite)
        try:
            if self.plan.skip and self._is_done(task, last):
                return self._skipped(job, last)
            options = self.plan.settings.of_curve(job.curve)
            task.burst, task.notes = self.session.load(job.files, options, task.clock)
            if self.plan.settings.common is not None:
                self.plan.settings.common.of_reference(task.burst)  # what is missing is said before the slow stages
        except Exception as error:  # any failure is this set's own; it is recorded with its reason
            return self.failed(task, error)
        return task

    def fuse(self, task: Task) -> Task | Record:
        """Fuse what was read. The burst's pixels are given up afterwards."""
        assert task.burst is not None
        reset_peak_memory()
        try:
            settings = self.plan.settings
            fused = self.session.fuse(task.burst, settings.of_curve(task.job.curve), task.clock, task.notes)
            if settings.fail_above is not None:
                fused.check_uncertainty(settings.fail_above)
            if settings.common is not None:
                fused = anchored(fused, settings.common)
            report = replace(fused.report, settings=self.plan.recorded(task.job))
            task.fused = replace(fused, burst=_without_pixels(fused.burst), report=report)
        except Exception as error:
            return self.failed(task, error)
        finally:
            task.peak = peak_memory()
        task.burst = task.fused.burst
        return task

    def write(self, task: Task) -> Record:
        """Write the set's files aside, move them into place and return its record; ``done`` with it afterwards."""
        job, writing = task.job, self.plan.settings.writing
        assert task.fused is not None
        stage = self.stage(job)
        try:
            with task.clock.stage("write"):
                open_stage(stage.parent, stage.name)
                staged = {path.name: stage / path.name for path in job.outputs.values()}
                notes: list[str] = []
                for role, path in job.outputs.items():
                    target = staged[path.name]
                    if role == "uncertainty":
                        notes += write_uncertainty(task.fused, target)
                    elif role == "preview":
                        notes += write_preview(task.fused, target)
                    else:
                        notes += write_result(
                            task.fused, target, compression=writing.compression,
                            float32=True if writing.float32 else None, embed_uncertainty=writing.embed_uncertainty,
                        )  # fmt: skip
            outputs = [{"path": str(path), "bytes": staged[path.name].stat().st_size} for path in job.outputs.values()]
            record = self._made(task, task.fused, outputs, notes)
            commit(stage, {path.name: path for path in job.outputs.values()}, record, task.replaces)
        except BaseException as error:
            if not is_committed(stage):
                close_stage(stage)
            if isinstance(error, Exception):
                return self.failed(task, error)
            raise
        finally:
            task.fused = None
        return record

    def done(self, job: Job) -> None:
        """The record of ``job`` is on the disk: what was kept in case it would not get there may go."""
        close_stage(self.stage(job))

    def stage(self, job: Job) -> Path:
        """Where the job's files are written before they are moved into place."""
        return self.plan.stage / stage_key(job.name)

    def failed(self, task: Task, error: BaseException) -> Record:
        """The record of a set that failed."""
        burst = task.burst
        inputs = [{"file": str(path)} for path in task.job.files] if burst is None else _inputs(burst)
        return _record(task.job, FAILED, inputs) | {
            "outputs": [], "seconds": task.clock.seconds, "waited": round(task.waited, 3), "error": failure(error),
        }  # fmt: skip

    def _is_done(self, task: Task, last: Record | None) -> bool:
        try:
            state = judge(task.job, self.plan.recorded(task.job), last)
        except InputError:
            raise
        except Exception:
            if not self.plan.overwrite:
                raise
            state = "ours"
        task.replaces |= state == "ours"
        return state == "done"

    def _skipped(self, job: Job, last: Record | None) -> Record:
        """A set that is done: what is known of it, from the results or, without them, from its files."""
        if last is not None and last["status"] in (OK, SKIPPED):
            return {**last, "status": SKIPPED}
        inputs = [{"file": str(p), "sha256": d} for p, d in zip(job.files, digests(job.files), strict=True)]
        outputs = [{"path": str(path), "bytes": path.stat().st_size} for path in job.outputs.values()]
        known = _record(job, SKIPPED, inputs)
        return {**known, "outputs": outputs, "settings": self.plan.recorded(job), "error": None}

    def _made(self, task: Task, fused: FusionResult, outputs: list[dict[str, Any]], notes: list[str]) -> Record:
        report, sigma = fused.report.to_dict(), fused.uncertainty
        every = 4 if sigma.size > 1_000_000 else 1
        return {
            **_record(task.job, OK, _inputs(fused.burst)),
            "reference": report["reference"],
            "evs": report["evs"],
            "size": report["size"],
            "outputs": outputs,
            "seconds": dict(task.clock.seconds),
            "waited": round(task.waited, 3),
            "peak_memory": task.peak,
            "changed_share": report.get("guard", {}).get("changed_share"),
            "uncertainty": {
                "mean": float(sigma.mean()),
                "p99": float(np.quantile(sigma[::every, ::every], 0.99)),
                "clipped_share": report["uncertainty"]["clipped_share"],
            },
            "anchor_ev": round(fused.anchor_ev, 4),
            "model": report["model"],
            "device": report["device"],
            "settings": report["settings"],
            "warnings": [*report["notes"], *notes],
            "error": None,
        }


def _without_pixels(burst: Burst) -> Burst:
    """``burst`` for the record alone: its codes are not written, and reading ahead needs their memory."""
    none = np.zeros((0, 0, 3), np.uint8)
    return Burst(tuple(replace(f, codes=none, clipped=None) for f in burst.frames), burst.reference)


def _inputs(burst: Burst) -> list[dict[str, Any]]:
    return [
        {"file": str(frame.path), "sha256": frame.sha256, "ev": round(float(ev), 4), "source": frame.exposure.source}
        for frame, ev in zip(burst.frames, burst.evs, strict=True)
    ]


def _record(job: Job, status: str, inputs: list[dict[str, Any]]) -> Record:
    return {
        "name": job.name, "status": status, "inputs": inputs, "camera": job.camera or None,
        "reasons": list(job.reasons), "host": socket.gethostname(), "pid": os.getpid(),
        "finished": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }  # fmt: skip


def ambiguous_record(job: Job) -> Record:
    """The record of a set that the grouping was not sure of and that was left alone."""
    return _record(job, AMBIGUOUS, [{"file": str(path)} for path in job.files]) | {"outputs": [], "error": None}


def lost_record(job: Job, reason: str) -> Record:
    """The record of a set whose process died."""
    error = {"code": 1, "type": "WorkerDied", "message": reason}
    return _record(job, FAILED, [{"file": str(path)} for path in job.files]) | {"outputs": [], "error": error}
