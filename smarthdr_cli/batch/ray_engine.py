"""Runs the sets of a batch on a Ray cluster, one Ray task each.

Ray places a task where the CPUs, GPUs and memory of a worker are free, runs it again when its process or its machine
dies, and gives a process that is done the next task; each process keeps the network in memory. This process limits the
tasks in flight and is the only one to write the results file. The workers read and write the files of the sets, at the
same paths as here: the folders of the shoot and of the results must be shared storage, mounted alike everywhere.
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
from dataclasses import dataclass
from pathlib import Path
from threading import get_ident
from typing import IO, Any, cast

from smarthdr_cli.batch.jobs import Job
from smarthdr_cli.batch.pipeline import OnRecord, Tally
from smarthdr_cli.batch.results import FAILED, OK, Record
from smarthdr_cli.batch.session import Session
from smarthdr_cli.batch.transaction import finish, is_committed
from smarthdr_cli.batch.worker import Plan, Task, Worker, lost_record
from smarthdr_cli.errors import SmartHDRError, UsageError

MAX_RETRIES = 3  # of a set, after its process or machine died or its storage failed
TASKS_PER_WORKER = 2  # in flight: one runs while Ray holds the next, so that no worker waits for this process
CONNECT_TIMEOUT = 10.0  # seconds for a stated address to answer in; Ray itself would wait for minutes
CANCEL_TIMEOUT = 10.0  # seconds for cancelled tasks to end in
POLL_INTERVAL = 5.0  # seconds between two looks at which machines are alive

_RESUME_HINT = "once it is there again, the same command with --skip-existing goes on where it was left"
_SESSION = Session()  # of a worker process: it builds the network once, however many sets it is given


@dataclass(frozen=True)
class Cluster:
    """``address``: of a running cluster, "auto" for the one of this machine or $RAY_ADDRESS, "local" to start one here.

    ``num_cpus``, ``num_gpus``: of each worker. None: one GPU each where the cluster has some, else one CPU core.
    ``workers``: how many at once at most, None for as many as the resources give. ``patience``: seconds to wait for
    another machine when the last one with room for a worker is lost.
    """

    address: str = "auto"
    num_cpus: float | None = None
    num_gpus: float | None = None
    workers: int | None = None
    patience: float = 300.0


def fuse_set(plan: Plan, folder: Path, job: Job, last: Record | None) -> Record:
    """One set from its files to its record, in a worker process. Relative paths start at ``folder``.

    Where an earlier attempt died after its commit, the set is done: what it left to move is moved.
    """
    with contextlib.suppress(OSError):  # absolute paths do without the folder
        os.chdir(folder)
    worker = Worker(plan, _SESSION)
    committed = finish(worker.stage(job))
    if committed is not None:
        return committed
    start = time.perf_counter()
    task = worker.read(job, last)
    if not isinstance(task, Task):
        return task
    task.waited = time.perf_counter() - start
    fused = worker.fuse(task)
    return worker.write(fused) if isinstance(fused, Task) else fused


def run_on_cluster(
    jobs: Sequence[Job],
    plan: Plan,
    keep: OnRecord,
    last: Mapping[str, Record],
    cluster: Cluster,
    note: Callable[[str], None],
    *,
    fail_fast: bool = False,
) -> Tally:
    """As ``run``, on Ray, which reserves ``max_memory`` of a machine for each worker. ``note`` gets what Ray reports.

    A set fails when its process dies in the first attempt and in MAX_RETRIES more. The first failure under
    ``fail_fast``, what ``keep`` raises, and an interrupt end the tasks in flight.
    Raises UsageError where Ray is not installed, there is no such cluster, or no machine has what a worker needs, and
    SmartHDRError where the cluster loses this machine.
    """
    tally = Tally({})
    if not jobs:
        return tally
    stdout, start = _StdoutFilter(keep, note), time.perf_counter()
    steps, waiting, flying = Worker(plan), deque(jobs), dict[Any, Job]()
    with contextlib.redirect_stdout(cast(IO[str], stdout)), _ray_connection(cluster.address) as ray:
        needs, seen = _worker_resources(ray, cluster, plan), time.monotonic()
        # By default Ray ends a process that was given a GPU after one task: max_calls=0 keeps it, and its network.
        remote = ray.remote(
            num_cpus=needs["CPU"], num_gpus=needs["GPU"], memory=needs["memory"],
            max_calls=0, max_retries=MAX_RETRIES, retry_exceptions=True,
        )(fuse_set)  # fmt: skip
        try:
            while (waiting or flying) and not tally.stopped:
                room = _count_workers(ray, needs)
                seen = time.monotonic() if room else seen
                if time.monotonic() - seen > cluster.patience:
                    raise SmartHDRError(
                        f"the Ray cluster has lost every machine with room for a worker; {_RESUME_HINT}"
                    )
                workers = max(1, min(room, cluster.workers or room))
                while waiting and len(flying) < (cluster.workers or TASKS_PER_WORKER * workers):
                    job = waiting.popleft()
                    flying[remote.remote(plan, Path.cwd(), job, last.get(job.name))] = job
                for done in ray.wait(list(flying), timeout=POLL_INTERVAL)[0]:
                    job = flying.pop(done)
                    record = _record_of(ray, done, job, steps)
                    status = record["status"]
                    stdout.keep(record)
                    if status == OK or not is_committed(steps.stage(job)):
                        steps.done(job)
                    if status == OK:
                        tally.idle += (record["waited"] + record["seconds"]["write"]) / workers
                    tally.counts[status] = tally.counts.get(status, 0) + 1
                    tally.stopped |= fail_fast and status == FAILED
        finally:
            with contextlib.suppress(Exception):  # what cancelled tasks leave in their stages is for ``recover``
                for task in flying:
                    ray.cancel(task, force=True)
                ray.wait(list(flying), num_returns=len(flying), timeout=CANCEL_TIMEOUT)
    tally.seconds = time.perf_counter() - start
    return tally


class _StdoutFilter:
    """Stdout for what ``keep`` prints. All else is Ray's and becomes notes, from any thread: a print's first line."""

    def __init__(self, keep: OnRecord, note: Callable[[str], None]) -> None:
        self._stdout, self._keep, self._note = sys.stdout, keep, note
        self._keeping = 0  # id of the thread that is in ``keep``

    def keep(self, record: Record) -> None:
        self._keeping = get_ident()
        try:
            self._keep(record)
        finally:
            self._keeping = 0

    def write(self, text: str) -> int:
        if self._keeping == get_ident():
            return self._stdout.write(text)
        if text.strip():
            self._note(text.strip().splitlines()[0])
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stdout, name)


@contextlib.contextmanager
def _ray_connection(address: str) -> Iterator[Any]:
    """Ray, joined to the cluster at ``address``; a program that has joined one already stays in its own."""
    os.environ.setdefault("RAY_DISABLE_FAILURE_SIGNAL_HANDLER", "1")  # it prints a C++ stack on SIGTERM
    os.environ.setdefault("RAY_task_oom_retries", str(MAX_RETRIES))  # when memory runs out; by default without end
    os.environ.setdefault("RAY_COLOR_PREFIX", "0")  # of what it prints; by default with escape codes
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
    except SystemExit as error:  # from the handler that Ray installs for SIGTERM
        raise KeyboardInterrupt from error
    finally:
        with contextlib.suppress(ValueError):  # not the main thread: Ray has installed none
            signal.signal(signal.SIGTERM, on_sigterm)
    try:
        yield ray
    finally:
        ray.shutdown()


def _worker_resources(ray: Any, cluster: Cluster, plan: Plan) -> dict[str, float]:
    """What each worker takes, by Ray's names of resources. Raises UsageError where no machine has it."""
    has_gpus = ray.cluster_resources().get("GPU", 0) >= 1
    gpus = cluster.num_gpus if cluster.num_gpus is not None else float(has_gpus)
    cpus = cluster.num_cpus if cluster.num_cpus is not None else 1.0
    if gpus < 0 or cpus < 0 or not gpus + cpus:
        raise UsageError("--num-cpus and --num-gpus are what each worker takes; one of them must be above 0")
    needs = {"GPU": gpus, "CPU": cpus, "memory": float(plan.settings.fuse.max_memory or 0)}
    if not _count_workers(ray, needs):
        wanted = ", ".join(f"{need:g} {name}" for name, need in needs.items() if need)
        raise UsageError(f"no machine of the Ray cluster has what a worker needs ({wanted}); see ray status")
    return needs


def _count_workers(ray: Any, needs: Mapping[str, float]) -> int:
    """How many workers the live machines have room for."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(min(int(has.get(name, 0) / need) for name, need in needs.items() if need) for has in machines)


def _record_of(ray: Any, done: Any, job: Job, steps: Worker) -> Record:
    """The record of a task that has ended, of a failed set where it ended without one."""
    try:
        record: Record = ray.get(done)
    except ray.exceptions.RayTaskError as error:  # an exception, in every attempt
        return steps.failed(Task(job), error.cause)
    except ray.exceptions.LocalRayletDiedError as error:
        raise SmartHDRError(f"the Ray node of this machine has died; {_RESUME_HINT}") from error
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[0]
        return lost_record(job, f"its process died in every attempt, the last of {1 + MAX_RETRIES} so: {reason}")
    return record
