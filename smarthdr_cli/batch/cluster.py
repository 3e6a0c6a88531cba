"""The sets on a Ray cluster: an actor for each device holding the network, the same steps and the same record.

Files are read and written by the actors, at the paths that this process names: the folders of the shoot and of the
results must be one shared storage, mounted alike everywhere. Only this process writes the results file.
"""

import contextlib
import io
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock, get_ident
from typing import Any

from smarthdr_cli.batch.jobs import Job
from smarthdr_cli.batch.names import absolute
from smarthdr_cli.batch.results import FAILED, OK, Record
from smarthdr_cli.batch.run import OnRecord, Tally
from smarthdr_cli.batch.settings import Settings
from smarthdr_cli.batch.staging import finish, is_committed
from smarthdr_cli.batch.worker import Plan, Task, Worker, lost_record
from smarthdr_cli.errors import UsageError

RESTARTS = 3  # by Ray, of an actor that died and of the sets it had
CONNECT = 10.0  # seconds a stated address has to answer in
LOSSES = 2  # actors a set may take with it for good
EACH = 2  # sets in flight an actor: one fused while the next is read


@dataclass(frozen=True)
class Cluster:
    """``address``: of a running cluster, "auto" for the one of this machine or $RAY_ADDRESS, "local" to start one here.

    ``num_cpus``, ``num_gpus``: of each actor. None: one GPU each where the cluster has some, else one CPU core.
    ``actors``: how many at most, None for as many as the resources give.
    """

    address: str = "auto"
    num_cpus: float | None = None
    num_gpus: float | None = None
    actors: int | None = None


def run_on_cluster(
    jobs: Sequence[Job],
    plan: Plan,
    keep: OnRecord,
    last: Mapping[str, Record],
    cluster: Cluster,
    *,
    fail_fast: bool = False,
    overlap: bool = True,
    memory: float | None = None,
) -> Tally:
    """As ``run``, by actors. At most EACH sets an actor are in flight, one without ``overlap``; with ``memory``, bytes
    that an actor takes, Ray places no more of them on a machine than it has room for.

    An actor that dies is started again by Ray and its sets are done again, RESTARTS times; then another takes its
    place, and a set that took LOSSES of them with it has failed.
    Raises UsageError where Ray is not installed, there is no such cluster, or it has not the resources.
    """
    ray = _ray()
    tally = Tally({})
    if not jobs:
        return tally
    split = _Split(sys.stdout, keep)
    start = time.perf_counter()
    with contextlib.redirect_stdout(split):
        connected = _connect(ray, cluster)
        crew = None
        try:
            needs, count = _resources(ray, cluster, memory, len(jobs))
            each = EACH if overlap else 1
            options = {"max_restarts": RESTARTS, "max_task_retries": RESTARTS, "max_concurrency": each, **needs}
            here = replace(plan, stage=absolute(plan.stage), settings=_everywhere(plan.settings))
            crew = _Crew(ray, here, options, count, each)
            crew.work([_absolute(job) for job in jobs], split.keep, last, tally, fail_fast)
        finally:
            if crew is not None:
                crew.dismiss()
            if connected:
                ray.shutdown()
    tally.seconds = time.perf_counter() - start
    return tally


class _Actor:
    """A process with the network on its device. Two calls at once: one reads or writes while the other fuses."""

    def __init__(self, plan: Plan) -> None:
        self.worker = Worker(plan)
        self._turn = Lock()
        self._free: float | None = None

    def run(self, job: Job, last: Record | None) -> Record:
        """A set from its files to its record."""
        begun = finish(self.worker.stage(job))
        if begun is not None:  # done by an actor that died before it could say so
            return begun
        start = time.perf_counter()
        task = self.worker.read(job, last)
        if not isinstance(task, Task):
            return task
        with self._turn:
            now = time.perf_counter()
            task.waited = now - (start if self._free is None else self._free)
            made = self.worker.fuse(task)
            self._free = time.perf_counter()
        return self.worker.write(made) if isinstance(made, Task) else made


class _Crew:
    """The actors, each in its place, and the sets that they have in hand."""

    def __init__(self, ray: Any, plan: Plan, options: dict[str, Any], count: int, each: int) -> None:
        self._ray, self._plan, self._options, self._each = ray, plan, options, each
        self._steps = Worker(plan)
        self._lost: Counter[str] = Counter()
        self.actors = [self._actor() for _ in range(count)]

    def _actor(self) -> Any:
        return self._ray.remote(_Actor).options(**self._options).remote(self._plan)

    def work(
        self, jobs: Sequence[Job], keep: OnRecord, last: Mapping[str, Record], tally: Tally, fail_fast: bool
    ) -> None:
        """Give each actor so many sets and another for each that comes back."""
        waiting = deque(jobs)
        flying: dict[Any, tuple[Job, int, Any]] = {}

        def give(place: int) -> None:
            if waiting and not tally.stopped:
                job, actor = waiting.popleft(), self.actors[place]
                flying[actor.run.remote(job, last.get(job.name))] = (job, place, actor)

        for _ in range(self._each):
            for place in range(len(self.actors)):
                give(place)
        while flying:
            (ready,), _ = self._ray.wait(list(flying), num_returns=1)
            job, place, actor = flying.pop(ready)
            record = self._outcome(ready, job)
            if record is None:
                if self.actors[place] is actor:  # the first of its sets to come back lost
                    self.actors[place] = self._actor()
                waiting.append(job)
            else:
                keep(record)
                if record["status"] == OK or not is_committed(self._steps.stage(job)):
                    self._steps.done(job)
                tally.counts[record["status"]] = tally.counts.get(record["status"], 0) + 1
                tally.idle += float(record.get("waited", 0.0)) / len(self.actors)
                tally.stopped |= fail_fast and record["status"] == FAILED
            give(place)

    def _outcome(self, ready: Any, job: Job) -> Record | None:
        """The record of a set; None where its actor is gone for good and the set, not yet suspect, goes to another."""
        try:
            record: Record = self._ray.get(ready)
        except self._ray.exceptions.RayActorError as error:
            self._lost[job.name] += 1
            if self._lost[job.name] < LOSSES:  # it may have been its neighbour's fault
                return None
            return lost_record(job, f"its process died again and again ({type(error).__name__})")
        except self._ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None) or error
            return lost_record(job, f"{type(cause).__name__}: {str(cause).strip().splitlines()[0][:500]}")
        return record

    def dismiss(self) -> None:
        """End the actors."""
        for actor in self.actors:
            with contextlib.suppress(Exception):
                self._ray.kill(actor)


class _Split(io.TextIOBase):
    """Stdout for what ``keep`` prints, stderr for all else: Ray tells on stdout what happens in the cluster, which
    belongs to the records of --json alone."""

    def __init__(self, real: Any, keep: OnRecord) -> None:
        self._real, self._keep = real, keep
        self._owner = 0

    def keep(self, record: Record) -> None:
        self._owner = get_ident()
        try:
            self._keep(record)
        finally:
            self._owner = 0

    def write(self, text: str) -> int:
        stream = self._real if get_ident() == self._owner else sys.stderr
        return int(stream.write(text) or 0)

    def flush(self) -> None:
        self._real.flush()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return str(self._real.encoding)


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise UsageError('--engine ray needs Ray, which is not installed: pip install "smarthdr[ray]"') from error
    return ray


def _connect(ray: Any, cluster: Cluster) -> bool:
    """Join the cluster; whether this call did it."""
    if ray.is_initialized():
        return False
    address = None if cluster.address == "local" else cluster.address
    host, _, port = cluster.address.rpartition(":")
    try:
        if port.isdecimal():  # Ray itself would wait for minutes
            socket.create_connection((host.rpartition("/")[2].strip("[]"), int(port)), timeout=CONNECT).close()
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level="ERROR",
            include_dashboard=False if address is None else None,
        )
    except (OSError, OverflowError, ValueError, RuntimeError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"no Ray cluster at {cluster.address}: {line} (ray start --head starts one)") from error
    return True


def _resources(ray: Any, cluster: Cluster, memory: float | None, jobs: int) -> tuple[dict[str, float], int]:
    """What each actor asks Ray for, and how many actors the cluster holds."""
    have = ray.cluster_resources()
    gpus = cluster.num_gpus if cluster.num_gpus is not None else float(have.get("GPU", 0) >= 1)
    cpus = cluster.num_cpus if cluster.num_cpus is not None else 1.0
    if gpus < 0 or cpus < 0 or not gpus + cpus:
        raise UsageError("--num-cpus and --num-gpus are what each worker takes; one of them must be above 0")
    needs = {"num_gpus": gpus, "num_cpus": cpus}
    if memory is not None:
        needs["memory"] = memory
    names = {"GPU": gpus, "CPU": cpus, "memory": needs.get("memory", 0.0)}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    fit = sum(min(int(node.get(name, 0) / need) for name, need in names.items() if need) for node in nodes)
    if not fit:
        wanted = ", ".join(f"{need:g} {name}" for name, need in names.items() if need)
        raise UsageError(f"no machine of the Ray cluster has what a worker needs ({wanted})")
    return needs, max(1, min(fit, cluster.actors or fit, jobs))


def _everywhere(settings: Settings) -> Settings:
    """The settings with paths that mean the same on every machine."""
    fuse = settings.fuse
    if fuse.weights is not None and (isinstance(fuse.weights, Path) or Path(fuse.weights).name != fuse.weights):
        fuse = replace(fuse, weights=absolute(Path(fuse.weights)))
    if Path(fuse.response).is_file():
        fuse = replace(fuse, response=str(absolute(Path(fuse.response))))
    own = tuple((curve, str(absolute(Path(f))) if Path(f).is_file() else f) for curve, f in settings.responses)
    return replace(settings, fuse=fuse, responses=own)


def _absolute(job: Job) -> Job:
    """The job with paths that mean the same on every machine."""
    outputs: dict[str, Path] = {role: absolute(path) for role, path in job.outputs.items()}
    return replace(job, files=tuple(absolute(path) for path in job.files), outputs=outputs)
