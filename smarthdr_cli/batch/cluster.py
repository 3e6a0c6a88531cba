"""The sets on a Ray cluster: an actor for each device holding the network, the same steps and the same record.

Files are read and written by the actors, at the paths that this process names: the folders of the shoot and of the
results must be one shared storage, mounted alike everywhere. Only this process writes the results file.
"""

import contextlib
import io
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import get_ident
from typing import Any

from smarthdr_cli.batch.crew import EACH, RESTARTS, Crew
from smarthdr_cli.batch.jobs import Job
from smarthdr_cli.batch.names import absolute
from smarthdr_cli.batch.results import Record
from smarthdr_cli.batch.run import OnRecord, Tally
from smarthdr_cli.batch.settings import Settings
from smarthdr_cli.batch.worker import Plan
from smarthdr_cli.errors import UsageError

CONNECT = 10.0  # seconds a stated address has to answer in


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
            crew = Crew(ray, here, options, count, each)
            crew.work([_absolute(job) for job in jobs], split.keep, last, tally, fail_fast)
        finally:
            if crew is not None:
                crew.dismiss()
            if connected:
                ray.shutdown()
    tally.seconds = time.perf_counter() - start
    return tally


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
