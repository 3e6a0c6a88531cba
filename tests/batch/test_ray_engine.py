"""A batch on Ray: what is asked of the cluster and refused; real clusters whose workers, machines and driver die."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from types import SimpleNamespace

import batch_shoots as made
import pytest

from smarthdr_cli.batch.jobs import Job
from smarthdr_cli.batch.ray_engine import Cluster, fuse_set, run_on_cluster
from smarthdr_cli.batch.settings import Settings, Writing
from smarthdr_cli.batch.worker import Plan
from smarthdr_cli.errors import OutputError, SmartHDRError, UsageError
from smarthdr_cli.fusion.fuse_options import FuseOptions

TIMEOUT = 120  # seconds that nothing here may last


class TaskError(Exception):
    cause = OutputError("cannot finish writing a set of an earlier run")


class FakeRay:
    """As much of Ray as is used, in one thread: counts the tasks in flight and tells what each asks for."""

    exceptions = SimpleNamespace(RayTaskError=TaskError, LocalRayletDiedError=LookupError, RayError=Exception)

    def __init__(self, *machines, fails=None):
        self.machines, self.fails, self.flying, self.most = machines, fails or {}, [], 0

    def is_initialized(self):
        return True

    def cluster_resources(self):
        return {"GPU": sum(machine.get("GPU", 0) for machine in self.machines)}

    def nodes(self):
        return [{"Alive": True, "Resources": m} for m in self.machines] + [{"Alive": False, "Resources": {"CPU": 99}}]

    def remote(self, **asked):
        self.asked = asked
        return lambda _function: SimpleNamespace(remote=self.submit)

    def submit(self, _plan, _folder, job, _last):
        self.flying.append(job.name)
        self.most = max(self.most, len(self.flying))
        return job.name

    def wait(self, tasks, *, timeout, num_returns=1):
        assert timeout > 0
        return tasks[:num_returns], tasks[num_returns:]

    def get(self, name):
        self.flying.remove(name)
        if name in self.fails:
            raise self.fails[name]
        return {"name": name, "status": "ok", "waited": 0.5, "seconds": {"write": 0.25}}

    def cancel(self, name, *, force):
        assert force
        self.flying.remove(name)


def run(monkeypatch, ray, tmp_path, count=20, cluster=None, memory=None, **options):
    monkeypatch.setitem(sys.modules, "ray", ray)
    plan = Plan(Settings(FuseOptions(deghost="off", max_memory=memory), Writing()), tmp_path / ".stage", "none")
    jobs = [Job(f"s{n}", (Path(f"{n}.jpg"),), {"result": Path(f"{n}.exr")}) for n in range(count)]
    kept = []
    tally = run_on_cluster(jobs, plan, kept.append, {}, cluster or Cluster(), print, **options)
    return kept, tally


def test_every_set_once_and_two_for_each_worker_in_flight(monkeypatch, tmp_path):
    ray = FakeRay({"CPU": 2.0}, {"CPU": 1.0})
    kept, tally = run(monkeypatch, ray, tmp_path)
    assert [record["name"] for record in kept] == [f"s{n}" for n in range(20)]
    assert ray.most == 2 * 3
    assert tally.counts == {"ok": 20}
    assert tally.idle == pytest.approx(20 * 0.75 / 3)


def test_the_limit_of_workers_is_kept(monkeypatch, tmp_path):
    ray = FakeRay({"CPU": 64.0})
    run(monkeypatch, ray, tmp_path, cluster=Cluster(workers=5))
    assert ray.most == 5


@pytest.mark.parametrize(
    ("cluster", "memory", "asked", "workers"),
    [
        (Cluster(), None, (1, 1, 0), 4),  # a GPU each where there are some
        (Cluster(num_gpus=0.5), None, (1, 0.5, 0), 8),
        (Cluster(num_gpus=0, num_cpus=8), None, (8, 0, 0), 4),
        (Cluster(num_gpus=0), 2e9, (1, 0, 2e9), 3),  # 5 GB hold two of 2 GB, 2 GB one
    ],
)
def test_what_a_worker_takes(monkeypatch, tmp_path, cluster, memory, asked, workers):
    ray = FakeRay({"CPU": 16.0, "GPU": 4.0, "memory": 5e9}, {"CPU": 16.0, "memory": 2e9})
    run(monkeypatch, ray, tmp_path, 100, cluster, memory)
    assert tuple(ray.asked[name] for name in ("num_cpus", "num_gpus", "memory")) == asked
    assert ray.most == 2 * workers


def test_what_befalls_a_task_is_its_sets_failure(monkeypatch, tmp_path):
    ray = FakeRay({"CPU": 2.0}, fails={"s3": RuntimeError("The worker died.\nSee the log."), "s5": TaskError()})
    kept, tally = run(monkeypatch, ray, tmp_path)
    assert tally.counts == {"ok": 18, "failed": 2}
    errors = {record["name"]: record["error"] for record in kept if record["status"] == "failed"}
    assert errors["s3"]["message"] == "its process died in every attempt, the last of 4 so: The worker died."
    assert errors["s5"] == {"code": 5, "type": "OutputError", "message": str(TaskError.cause)}
    assert ray.asked["max_retries"] > 0
    assert ray.asked["retry_exceptions"]


def test_the_end_of_ray_on_this_machine_ends_the_run(monkeypatch, tmp_path):
    ray = FakeRay({"CPU": 2.0}, fails={"s3": LookupError()})
    with pytest.raises(SmartHDRError, match="--skip-existing"):
        run(monkeypatch, ray, tmp_path)
    assert ray.flying == []


def test_a_first_failure_can_end_the_run(monkeypatch, tmp_path):
    ray = FakeRay({"CPU": 2.0}, fails={"s3": RuntimeError("The worker died.\nSee the log.")})
    kept, tally = run(monkeypatch, ray, tmp_path, fail_fast=True)
    assert tally.stopped
    assert [record["status"] for record in kept] == ["ok"] * 3 + ["failed"]
    assert ray.flying == []  # what was under way is cancelled


def test_nothing_to_do_needs_no_cluster(monkeypatch, tmp_path):
    assert run(monkeypatch, None, tmp_path, 0)[1].counts == {}


@pytest.mark.parametrize(
    ("cluster", "said"),
    [
        (Cluster(num_gpus=8), r"no machine .*8 GPU, 1 CPU"),
        (Cluster(num_gpus=0, num_cpus=0), "above 0"),
    ],
)
def test_resources_that_no_machine_has(monkeypatch, tmp_path, cluster, said):
    with pytest.raises(UsageError, match=said):
        run(monkeypatch, FakeRay({"CPU": 16.0, "GPU": 4.0}), tmp_path, cluster=cluster)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999", "auto", "local"])
def test_no_cluster_is_one_line(monkeypatch, tmp_path, address):
    def init(**_options):
        raise ConnectionError("Could not find any running Ray instance.\nPlease specify the one to connect to")

    ray = SimpleNamespace(is_initialized=lambda: False, init=init)
    with pytest.raises(UsageError) as error:
        run(monkeypatch, ray, tmp_path, cluster=Cluster(address))
    assert str(error.value).startswith(f"no Ray cluster at {address}: ")
    assert "\n" not in str(error.value)


def test_without_ray_it_says_what_to_install(monkeypatch, tmp_path):
    with pytest.raises(UsageError, match=r"smarthdr\[ray\]"):
        run(monkeypatch, None, tmp_path)


def test_a_second_attempt_finds_what_the_first_committed(tmp_path):
    """Its process died between moving the files and saying so: the next one neither fuses again nor fails."""
    shoot = made.write_shoot(tmp_path / "s", 1)
    options = FuseOptions(deghost="off", align="none", response="srgb", device="cpu")
    plan = Plan(Settings(options, Writing()), tmp_path / "o" / ".smarthdr-batch", "none")
    job = Job("a", tuple(shoot[0]), {"result": tmp_path / "o" / "a.exr"})
    first = fuse_set(plan, Path.cwd(), job, None)
    assert first["status"] == "ok"
    made_at = job.result.stat().st_mtime_ns
    assert fuse_set(plan, Path.cwd(), job, None) == json.loads(json.dumps(first, default=str))
    assert job.result.stat().st_mtime_ns == made_at


# A cluster of its own process. Its machines do to a process that opens PATH, or moves a file to it, what a file beside
# it says: PATH.kill kills it, PATH.kill-once the first time only, PATH.hold keeps it waiting, with PATH.held to show.
HOOK = """
import os, sys, time

def obey(event, arguments):
    if event not in ("open", "os.rename") or not isinstance(arguments[event == "os.rename"], (str, os.PathLike)):
        return
    path = os.fspath(arguments[event == "os.rename"])
    if os.path.exists(path + ".kill"):
        os.kill(os.getpid(), 9)
    if os.path.exists(path + ".kill-once"):
        os.unlink(path + ".kill-once")
        os.kill(os.getpid(), 9)
    while os.path.exists(path + ".hold"):
        os.close(os.open(path + ".held", os.O_CREAT))
        time.sleep(0.1)

sys.addaudithook(obey)
"""
START = """
import json, sys
from ray.cluster_utils import Cluster

head, *others = json.loads(sys.argv[1])
small = {"object_store_memory": 80 * 2**20}
cluster = Cluster(initialize_head=True, head_node_args=small | head | {"include_dashboard": False})
machines = [cluster.head_node, *(cluster.add_node(**small, **other) for other in others)]
print(cluster.address, *(m.all_processes["raylet"][0].process.pid for m in machines), flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@contextmanager
def limited(process):
    """A process that is killed if it keeps the test waiting for too long."""
    timer = Timer(TIMEOUT, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def wait_for(what):
    deadline = time.monotonic() + TIMEOUT
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@contextmanager
def cluster_of(folder, *machines, **variables):
    """A cluster of machines with these resources, on this one: its address and its raylets' process ids."""
    if sys.platform == "win32":
        pytest.skip("POSIX signals")
    (folder / "hook").mkdir()
    (folder / "hook" / "sitecustomize.py").write_text(HOOK)
    paths = os.pathsep.join(filter(None, (str(folder / "hook"), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-c", START, json.dumps(machines)]
    log, environment = folder / "cluster.log", os.environ | {"PYTHONPATH": paths} | variables
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with log.open("w") as said, subprocess.Popen(command, env=environment, stderr=said, **pipes) as process:
        with limited(process):
            address, *raylets = process.stdout.readline().split() or pytest.fail(log.read_text()[-2000:])
        yield SimpleNamespace(address=address, raylets=[int(pid) for pid in raylets])
        with limited(process):
            process.communicate()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """One machine of two workers, as Ray counts: two CPUs, two GPUs."""
    with cluster_of(tmp_path_factory.mktemp("cluster"), {"num_cpus": 2, "num_gpus": 2}) as found:
        yield found


class Shoot:
    """Brackets, and ``smarthdr batch`` on them in processes of its own."""

    def __init__(self, folder, count):
        self.frames = made.write_shoot(folder / "shoot", count)
        self.out, self.folder = folder / "out", folder
        self.names = [f"{frames[0].stem}-{frames[-1].stem}" for frames in self.frames]

    def start(self, address, *options):
        """The driver, its stdout a pipe and its stderr a file."""
        command = [sys.executable, "-m", "smarthdr_cli", "batch", "shoot", "-o", "out", "--json", "--preview"]
        command += ["--device", "cpu", "--deghost", "off", *options]
        command += ["--engine", "ray", "--address", address] if address else []
        self.log = self.folder / "driver.log"
        with self.log.open("w") as said:
            return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, cwd=self.folder)

    def first(self, process):
        """The first record that it prints."""
        with limited(process):
            return json.loads(process.stdout.readline())

    def finish(self, process, code=0):
        """(records by name, stderr) of what it prints until its end, which has to come in time."""
        with limited(process):
            stdout, _ = process.communicate()
        said = self.log.read_text()
        assert process.returncode == code, said
        return {record["name"]: record for record in map(json.loads, stdout.splitlines())}, said

    def run(self, address, *options, code=0):
        return self.finish(self.start(address, *options), code)

    def lines(self):
        return [json.loads(line) for line in (self.out / "results.jsonl").read_text().splitlines()]

    def check_done(self):
        """All sets are there once, and nothing else."""
        assert sorted(line["name"] for line in self.lines() if line["status"] == "ok") == self.names
        written = [f"{name}.{ending}" for name in self.names for ending in ("exr", "jpg")]
        assert sorted(path.name for path in self.out.iterdir()) == sorted([*written, "results.jsonl"])


def mark(path, what):
    """Have the workers of the cluster do ``what`` at ``path``."""
    path.parent.mkdir(exist_ok=True)
    file = path.with_name(f"{path.name}.{what}")
    file.touch()
    return file


def test_records_are_those_of_this_process(tmp_path, cluster):
    shoot = Shoot(tmp_path, 4)
    there, said = shoot.run(cluster.address)
    shoot.check_done()
    assert len(said.splitlines()) == 1  # the summary
    here, _ = shoot.run(None, "--overwrite")
    own = {"pid", "finished", "seconds", "waited", "peak_memory"}
    for name in shoot.names:
        assert {k: v for k, v in there[name].items() if k not in own} == {
            k: v for k, v in here[name].items() if k not in own
        }
    assert len({record["pid"] for record in there.values()}) <= 2  # a process is kept, and the network in it


def test_workers_that_die(tmp_path, cluster):
    """One dies once, one between moving the first file of a set and the second, and each that opens the third set."""
    shoot = Shoot(tmp_path, 6)
    mark(shoot.frames[0][1], "kill-once")
    moving = mark(shoot.out / f"{shoot.names[1]}.exr", "kill-once")
    mark(shoot.frames[2][1], "kill")
    records, said = shoot.run(cluster.address, code=7)
    assert {name: record["status"] for name, record in records.items()} == {
        name: "failed" if name == shoot.names[2] else "ok" for name in shoot.names
    }
    error = records[shoot.names[2]]["error"]
    assert "its process died in every attempt, the last of 4" in error["message"]
    assert not moving.exists()
    assert "\nnote: (raylet) A worker died" in said
    assert shoot.lines() == list(records.values())
    del shoot.names[2]
    shoot.check_done()


def test_terminated(tmp_path, cluster):
    shoot = Shoot(tmp_path, 4)
    held = mark(shoot.frames[1][1], "hold")
    process = shoot.start(cluster.address)
    shoot.first(process)
    process.send_signal(signal.SIGTERM)
    _, said = shoot.finish(process, 130)
    assert said.splitlines() == ["smarthdr: interrupted; nothing was left half-written"]
    assert [path.name for path in shoot.out.iterdir() if path.name.startswith(".")] == []
    held.unlink()
    shoot.run(cluster.address, "--skip-existing")
    shoot.check_done()


@pytest.mark.slow
def test_a_driver_that_is_killed_is_resumed(tmp_path, cluster):
    shoot = Shoot(tmp_path, 4)
    held = mark(shoot.frames[1][1], "hold")
    process = shoot.start(cluster.address)
    first = shoot.first(process)
    process.kill()
    process.communicate()
    held.unlink()
    records, _ = shoot.run(cluster.address, "--skip-existing")
    assert records[first["name"]] == first | {"status": "skipped"}
    shoot.check_done()


@pytest.mark.slow
def test_sets_that_memory_does_not_suffice_for(tmp_path):
    """Ray kills their processes and would try again for ever."""
    shoot = Shoot(tmp_path, 2)
    for frames in shoot.frames:
        mark(frames[1], "hold")
    with cluster_of(tmp_path, {"num_cpus": 2}, RAY_memory_usage_threshold="0.001") as cluster:
        records, _ = shoot.run(cluster.address, code=7)
    assert all("low on memory" in record["error"]["message"] for record in records.values())


@pytest.mark.slow
def test_a_machine_that_dies(tmp_path):
    """Of two with one worker each, both of them busy: the other machine does what it had in hand."""
    shoot = Shoot(tmp_path, 6)
    busy = [mark(frames[1], "hold") for frames in shoot.frames[:2]]
    with cluster_of(tmp_path, {"num_cpus": 1}, {"num_cpus": 1}) as cluster:
        process = shoot.start(cluster.address)
        wait_for(lambda: all(file.with_suffix(".held").exists() for file in busy))
        os.kill(cluster.raylets[1], signal.SIGKILL)
        wait_for(lambda: "marked dead" in shoot.log.read_text())
        for file in busy:
            file.unlink()
        shoot.finish(process)
    shoot.check_done()


IMPATIENT = """
import sys
from pathlib import Path
from smarthdr_cli.batch.ray_engine import Cluster
from smarthdr_cli.batch.settings import Settings, Writing
from smarthdr_cli.batch.run import Batch, Told, run_batch
from smarthdr_cli.grouping.group import BracketSet
from smarthdr_cli.fusion.pipeline import FuseOptions

files = sorted(Path("shoot").iterdir())
sets = [BracketSet(files[n].stem, tuple(files[n : n + 3]), 1.0, (), False) for n in range(0, len(files), 3)]
settings = Settings(FuseOptions(device="cpu", deghost="off"), Writing())
batch = Batch(settings, Path("out"), cluster=Cluster(sys.argv[1], patience=2))
run_batch(sets, batch, Told(lambda record: print(record["name"], flush=True)))
"""


@pytest.mark.slow
def test_no_machine_is_left(tmp_path):
    """The last with room for a worker dies and none takes its place: the run ends, and says how it goes on."""
    made.write_shoot(tmp_path / "shoot", 60)
    with cluster_of(tmp_path, {"num_cpus": 0}, {"num_cpus": 1}) as cluster:
        command = [sys.executable, "-c", IMPATIENT, cluster.address]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, cwd=tmp_path, **pipes) as process, limited(process):
            process.stdout.readline()
            os.kill(cluster.raylets[1], signal.SIGKILL)
            _, said = process.communicate()
    assert process.returncode == 1
    assert "SmartHDRError: the Ray cluster has no machine left with room for a worker" in said
    assert "--skip-existing" in said


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("seconds", [0, 1, 2, 4])
def test_terminated_while_ray_starts(tmp_path, monkeypatch, seconds):
    shoot = Shoot(tmp_path, 40)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as short:  # Ray's sockets need short names
        monkeypatch.setenv("RAY_TMPDIR", short)
        process = shoot.start("local")
        wait_for(lambda: list(Path(short).glob("ray/session_*")))
        time.sleep(seconds)
        process.send_signal(signal.SIGTERM)
        _, said = shoot.finish(process, 130)
    assert said.splitlines() == ["smarthdr: interrupted; nothing was left half-written"]
