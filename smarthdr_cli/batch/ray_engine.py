"""Fuses the sets of a batch on a Ray cluster, one Ray task each.

Ray places a task where the CPUs, GPUs and memory of a worker are free, repeats it when its process or machine dies, and
gives an idle process the next task; each process keeps its network in memory. This process limits the tasks in flight
and alone writes the results file. The workers read and write the files of the sets, at the same paths as here: the
folders of the shoot and of the results must be shared storage, mounted at the same place everywhere.
"""

import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import get_ident
from typing import IO, Any, cast

from smarthdr_cli.batch.batch_options import EngineOptions
from smarthdr_cli.batch.jobs import Job
from smarthdr_cli.batch.pipeline import OnRecord, Tally
from smarthdr_cli.batch.results import OK, Record
from smarthdr_cli.batch.transaction import is_committed
from smarthdr_cli.batch.worker import Task, Worker, WorkerConfig, fuse_set, lost_record
from smarthdr_cli.errors import SmartHDRError, UsageError

MAX_RETRIES = 3  # of a set, after its process or machine died or its storage failed
TASKS_PER_WORKER = 2  # in flight: one runs while Ray holds the next, so that no worker waits for this process
CONNECT_TIMEOUT = 10.0  # seconds for a given address to answer; Ray itself would wait for minutes
CANCEL_TIMEOUT = 10.0  # seconds for cancelled tasks to end
POLL_INTERVAL = 5.0  # seconds between two checks of which machines are alive

_RESUME_HINT = "once it is back, the same command with --skip-existing continues the run"


def run_on_cluster(
    jobs: Sequence[Job],
    config: WorkerConfig,
    on_record: OnRecord,
    last_records: Mapping[str, Record],
    engine: EngineOptions,
    on_note: Callable[[str], None],
    *,
    fail_fast: bool = False,
) -> Tally:
    """As ``run`` of pipeline.py, on Ray, which reserves ``max_memory`` of a machine for each worker.

    ``on_note`` gets what Ray reports. A set fails when its process dies in the first attempt and in MAX_RETRIES more.
    The first failure under ``fail_fast``, what ``on_record`` raises, and an interrupt cancel the tasks in flight.
    Raises UsageError if Ray is not installed, no cluster is found, or no machine has what a worker needs, and
    SmartHDRError if the cluster loses this machine.
    """
    tally = Tally()
    if not jobs:
        return tally
    stdout, start = _StdoutFilter(on_record, on_note), time.perf_counter()
    worker, waiting, in_flight = Worker(config), deque(jobs), dict[Any, Job]()
    with contextlib.redirect_stdout(cast(IO[str], stdout)), _ray_connection(engine.address or "auto") as ray:
        needs, last_seen = _worker_resources(ray, engine, config), time.monotonic()
        # By default Ray ends a process that was given a GPU after one task: max_calls=0 keeps it, and its network.
        remote = ray.remote(
            num_cpus=needs["CPU"], num_gpus=needs["GPU"], memory=needs["memory"],
            max_calls=0, max_retries=MAX_RETRIES, retry_exceptions=True,
        )(fuse_set)  # fmt: skip
        try:
            while (waiting or in_flight) and not tally.stopped:
                capacity = _count_workers(ray, needs)
                last_seen = time.monotonic() if capacity else last_seen
                if time.monotonic() - last_seen > engine.patience:
                    raise SmartHDRError(
                        f"the Ray cluster has lost every machine with room for a worker; {_RESUME_HINT}"
                    )
                workers = max(1, min(capacity, engine.workers or capacity))
                while waiting and len(in_flight) < (engine.workers or TASKS_PER_WORKER * workers):
                    job = waiting.popleft()
                    in_flight[remote.remote(config, Path.cwd(), job, last_records.get(job.name))] = job
                for finished in ray.wait(list(in_flight), timeout=POLL_INTERVAL)[0]:
                    job = in_flight.pop(finished)
                    record = _record_of(ray, finished, job, worker)
                    stdout.on_record(record)
                    if record["status"] == OK or not is_committed(worker.stage(job)):
                        worker.clean_up(job)
                    if record["status"] == OK:
                        tally.idle += (record["waited"] + record["seconds"]["write"]) / workers
                    tally.add(record, fail_fast=fail_fast)
        finally:
            with contextlib.suppress(Exception):  # ``recover`` clears up the stages of cancelled tasks
                for task in in_flight:
                    ray.cancel(task, force=True)
                ray.wait(list(in_flight), num_returns=len(in_flight), timeout=CANCEL_TIMEOUT)
    tally.seconds = time.perf_counter() - start
    return tally


class _StdoutFilter:
    """Stdout for what ``on_record`` prints. Everything else is Ray's, from any thread: its first line is a note."""

    def __init__(self, on_record: OnRecord, on_note: Callable[[str], None]) -> None:
        self._stdout, self._on_record, self._on_note = sys.stdout, on_record, on_note
        self._recording_thread = 0

    def on_record(self, record: Record) -> None:
        self._recording_thread = get_ident()
        try:
            self._on_record(record)
        finally:
            self._recording_thread = 0

    def write(self, text: str) -> int:
        if self._recording_thread == get_ident():
            return self._stdout.write(text)
        if text.strip():
            self._on_note(text.strip().splitlines()[0])
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stdout, name)


@contextlib.contextmanager
def _ray_connection(address: str) -> Iterator[Any]:
    """Ray, connected to the cluster at ``address``; an existing connection is kept and left open."""
    os.environ.setdefault("RAY_DISABLE_FAILURE_SIGNAL_HANDLER", "1")  # which prints a C++ stack on SIGTERM
    os.environ.setdefault("RAY_task_oom_retries", str(MAX_RETRIES))  # when memory runs out; without end by default
    os.environ.setdefault("RAY_COLOR_PREFIX", "0")  # no escape codes in what it prints
    try:
        import ray
    except ImportError as error:
        raise UsageError('--engine ray needs Ray, which is not installed: pip install "smarthdr[ray]"') from error
    if ray.is_initialized():
        yield ray
        return
    local = address == "local"
    host, _, port = address.rpartition(":")
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        if port.isdecimal():
            socket.create_connection((host.rpartition("/")[2].strip("[]"), int(port)), CONNECT_TIMEOUT).close()
        ray.init(
            address=None if local else address,
            include_dashboard=False if local else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (OSError, OverflowError, ValueError, RuntimeError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"no Ray cluster at {address}: {line} (ray start --head starts one)") from error
    except SystemExit as error:  # from Ray's handler of SIGTERM
        raise KeyboardInterrupt from error
    finally:
        with contextlib.suppress(ValueError):  # not the main thread, where Ray installs none
            signal.signal(signal.SIGTERM, on_sigterm)
    try:
        yield ray
    finally:
        ray.shutdown()


def _worker_resources(ray: Any, engine: EngineOptions, config: WorkerConfig) -> dict[str, float]:
    """What each worker takes, by Ray's names of resources. Raises UsageError if no machine has it."""
    has_gpus = ray.cluster_resources().get("GPU", 0) >= 1
    gpus = engine.num_gpus if engine.num_gpus is not None else float(has_gpus)
    cpus = engine.num_cpus if engine.num_cpus is not None else 1.0
    if gpus < 0 or cpus < 0 or not gpus + cpus:
        raise UsageError("--num-cpus and --num-gpus are what each worker takes; one of them must be above 0")
    needs = {"GPU": gpus, "CPU": cpus, "memory": float(config.settings.fuse.max_memory or 0)}
    if not _count_workers(ray, needs):
        listed = ", ".join(f"{need:g} {name}" for name, need in needs.items() if need)
        raise UsageError(f"no machine of the Ray cluster has what a worker needs ({listed}); see ray status")
    return needs


def _count_workers(ray: Any, needs: Mapping[str, float]) -> int:
    """How many workers fit on the live machines."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(min(int(has.get(name, 0) / need) for name, need in needs.items() if need) for has in machines)


def _record_of(ray: Any, task: Any, job: Job, worker: Worker) -> Record:
    """The record of a finished task; a failed one where the task raised or its process died."""
    try:
        record: Record = ray.get(task)
    except ray.exceptions.RayTaskError as error:  # an exception in every attempt
        return worker.failed(Task(job), error.cause)
    except ray.exceptions.LocalRayletDiedError as error:
        raise SmartHDRError(f"the Ray node of this machine has died; {_RESUME_HINT}") from error
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[0]
        return lost_record(job, f"its process died in all {1 + MAX_RETRIES} attempts; Ray reports: {reason}")
    return record
