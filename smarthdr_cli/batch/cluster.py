"""The sets on a Ray cluster: an actor for each device holding the network, the same steps and the same record.

Files are read and written by the actors, at the paths that this process names: the folders of the shoot and of the
results must be one shared storage, mounted alike everywhere. Only this process writes the results file.
"""

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from smarthdr_cli.batch.jobs import Job
from smarthdr_cli.batch.names import absolute
from smarthdr_cli.batch.results import FAILED, OK, Record
from smarthdr_cli.batch.run import OnRecord, Tally
from smarthdr_cli.batch.settings import Settings
from smarthdr_cli.batch.staging import is_committed
from smarthdr_cli.batch.worker import Plan, Task, Worker, lost_record
from smarthdr_cli.errors import UsageError

RESTARTS = 3  # of an actor, and of a set whose actor died
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
) -> Tally:
    """As ``run``, by actors. At most EACH sets an actor are in flight, and with ``max_memory`` Ray places no more
    actors on a machine than its memory holds.

    An actor that dies is started again by Ray and its sets are done again, RESTARTS times; then they failed.
    Raises UsageError where Ray is not installed, there is no such cluster, or it has not the resources.
    """
    ray = _ray()
    connected = _connect(ray, cluster)
    start = time.perf_counter()
    tally = Tally({})
    actors: list[Any] = []
    try:
        needs, count = _resources(ray, cluster, plan, len(jobs))
        options = {"max_restarts": RESTARTS, "max_task_retries": RESTARTS, "max_concurrency": EACH, **needs}
        here = replace(plan, stage=absolute(plan.stage), settings=_everywhere(plan.settings))
        actors = [ray.remote(_Actor).options(**options).remote(here) for _ in range(count)]
        _work(ray, actors, [_absolute(job) for job in jobs], here, keep, last, tally, fail_fast)
    finally:
        for actor in actors:
            with contextlib.suppress(Exception):
                ray.kill(actor)
        if connected:
            ray.shutdown()
    tally.seconds = time.perf_counter() - start
    return tally


class _Actor:
    """A process with the network on its device. Two calls at once: one reads or writes while the other fuses."""

    def __init__(self, plan: Plan) -> None:
        self.worker = Worker(plan)

    def run(self, job: Job, last: Record | None) -> Record:
        """A set from its files to its record."""
        read = self.worker.read(job, last)
        if isinstance(read, Task):
            made = self.worker.fuse(read)
            return self.worker.write(made) if isinstance(made, Task) else made
        return read


def _work(
    ray: Any,
    actors: list[Any],
    jobs: Sequence[Job],
    plan: Plan,
    keep: OnRecord,
    last: Mapping[str, Record],
    tally: Tally,
    fail_fast: bool,
) -> None:
    """Give each actor EACH sets and another for each that comes back."""
    waiting = list(reversed(jobs))
    flying: dict[Any, tuple[Job, Any]] = {}
    steps = Worker(plan)

    def give(actor: Any) -> None:
        if waiting and not tally.stopped:
            job = waiting.pop()
            flying[actor.run.remote(job, last.get(job.name))] = (job, actor)

    for _ in range(EACH):
        for actor in actors:
            give(actor)
    while flying:
        ready, _ = ray.wait(list(flying), num_returns=1)
        job, actor = flying.pop(ready[0])
        try:
            record = ray.get(ready[0])
        except ray.exceptions.RayError as error:
            record = lost_record(job, f"its process died {RESTARTS + 1} times ({type(error).__name__})")
        keep(record)
        if record["status"] == OK or not is_committed(steps.stage(job)):
            steps.done(job)
        tally.counts[record["status"]] = tally.counts.get(record["status"], 0) + 1
        tally.stopped |= fail_fast and record["status"] == FAILED
        give(actor)


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
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level="ERROR",
            include_dashboard=False if address is None else None,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"no Ray cluster at {cluster.address}: {line} (ray start --head starts one)") from error
    return True


def _resources(ray: Any, cluster: Cluster, plan: Plan, jobs: int) -> tuple[dict[str, float], int]:
    """What each actor asks Ray for, and how many actors the cluster holds."""
    have = ray.cluster_resources()
    gpus = cluster.num_gpus if cluster.num_gpus is not None else float(have.get("GPU", 0) >= 1)
    cpus = cluster.num_cpus if cluster.num_cpus is not None else 1.0
    if gpus < 0 or cpus < 0 or not gpus + cpus:
        raise UsageError("--num-cpus and --num-gpus are what each worker takes; one of them must be above 0")
    needs = {"num_gpus": gpus, "num_cpus": cpus}
    if plan.settings.fuse.max_memory is not None:
        needs["memory"] = plan.settings.fuse.max_memory
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
    if isinstance(fuse.weights, Path) or (fuse.weights is not None and Path(fuse.weights).exists()):
        fuse = replace(fuse, weights=absolute(Path(fuse.weights)))
    if Path(fuse.response).is_file():
        fuse = replace(fuse, response=str(absolute(Path(fuse.response))))
    own = tuple((curve, str(absolute(Path(f))) if Path(f).is_file() else f) for curve, f in settings.responses)
    return replace(settings, fuse=fuse, responses=own)


def _absolute(job: Job) -> Job:
    """The job with paths that mean the same on every machine."""
    outputs: dict[str, Path] = {role: absolute(path) for role, path in job.outputs.items()}
    return replace(job, files=tuple(absolute(path) for path in job.files), outputs=outputs)
