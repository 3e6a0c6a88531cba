"""A batch on Ray: resources and refusals on a fake; real clusters whose workers, machines and driver die."""

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

import pytest

from smarthdr_cli.batch.batch_options import BatchOptions, EngineOptions
from smarthdr_cli.batch.jobs import Job
from smarthdr_cli.batch.ray_engine import run_on_cluster
from smarthdr_cli.batch.settings import Settings
from smarthdr_cli.batch.worker import WorkerConfig, fuse_set
from smarthdr_cli.errors import OutputError, SmartHDRError, UsageError
from smarthdr_cli.fusion.fuse_options import FuseOptions
from tests.support.shoots import write_shoot

TIMEOUT = 120  # seconds that nothing here may last


class TaskError(Exception):
    cause = OutputError("cannot finish writing a set of an earlier run")


class FakeRay:
    """The part of Ray that is used, in one thread: counts the tasks in flight and stores what each asks for."""

    exceptions = SimpleNamespace(RayTaskError=TaskError, LocalRayletDiedError=LookupError, RayError=Exception)

    def __init__(self, *machines, fails=None):
        self.machines, self.fails, self.in_flight, self.most = machines, fails or {}, [], 0

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
        self.in_flight.append(job.name)
        self.most = max(self.most, len(self.in_flight))
        return job.name

    def wait(self, tasks, *, timeout, num_returns=1):
        assert timeout > 0
        return tasks[:num_returns], tasks[num_returns:]

    def get(self, name):
        self.in_flight.remove(name)
        if name in self.fails:
            raise self.fails[name]
        return {"name": name, "status": "ok", "waited": 0.5, "seconds": {"write": 0.25}}

    def cancel(self, name, *, force):
        assert force
        self.in_flight.remove(name)


def run(monkeypatch, ray, tmp_path, count=20, engine=None, memory=None, **options):
    monkeypatch.setitem(sys.modules, "ray", ray)
    settings = Settings(FuseOptions(deghost="off", max_memory=memory))
    config = WorkerConfig(settings, BatchOptions(), tmp_path / ".stage", "none")
    jobs = [Job(f"s{n}", (Path(f"{n}.jpg"),), {"result": Path(f"{n}.exr")}) for n in range(count)]
    records = []
    tally = run_on_cluster(jobs, config, records.append, {}, engine or EngineOptions("ray"), print, **options)
    return records, tally


def test_every_set_once_with_two_tasks_for_each_worker_in_flight(monkeypatch, tmp_path):
    ray = FakeRay({"CPU": 2.0}, {"CPU": 1.0})
    records, tally = run(monkeypatch, ray, tmp_path)
    assert [record["name"] for record in records] == [f"s{n}" for n in range(20)]
    assert ray.most == 2 * 3
    assert tally.counts == {"ok": 20}
    assert tally.idle == pytest.approx(20 * 0.75 / 3)


def test_the_number_of_workers_is_limited(monkeypatch, tmp_path):
    ray = FakeRay({"CPU": 64.0})
    run(monkeypatch, ray, tmp_path, engine=EngineOptions("ray", workers=5))
    assert ray.most == 5


@pytest.mark.parametrize(
    ("engine", "memory", "asked", "workers"),
    [
        (EngineOptions("ray"), None, (1, 1, 0), 4),  # a GPU each where there are some
        (EngineOptions("ray", num_gpus=0.5), None, (1, 0.5, 0), 8),
        (EngineOptions("ray", num_gpus=0, num_cpus=8), None, (8, 0, 0), 4),
        (EngineOptions("ray", num_gpus=0), 2e9, (1, 0, 2e9), 3),  # 5 GB hold two of 2 GB, 2 GB one
    ],
)
def test_resources_of_a_worker(monkeypatch, tmp_path, engine, memory, asked, workers):
    ray = FakeRay({"CPU": 16.0, "GPU": 4.0, "memory": 5e9}, {"CPU": 16.0, "memory": 2e9})
    run(monkeypatch, ray, tmp_path, 100, engine, memory)
    assert tuple(ray.asked[name] for name in ("num_cpus", "num_gpus", "memory")) == asked
    assert ray.most == 2 * workers


def test_an_error_of_a_task_fails_its_set(monkeypatch, tmp_path):
    ray = FakeRay({"CPU": 2.0}, fails={"s3": RuntimeError("The worker died.\nSee the log."), "s5": TaskError()})
    records, tally = run(monkeypatch, ray, tmp_path)
    assert tally.counts == {"ok": 18, "failed": 2}
    errors = {record["name"]: record["error"] for record in records if record["status"] == "failed"}
    assert errors["s3"]["message"] == "its process died in all 4 attempts; Ray reports: The worker died."
    assert errors["s5"] == {"code": 5, "type": "OutputError", "message": str(TaskError.cause)}
    assert ray.asked["max_retries"] > 0
    assert ray.asked["retry_exceptions"]


def test_losing_the_node_of_this_machine_ends_the_run(monkeypatch, tmp_path):
    ray = FakeRay({"CPU": 2.0}, fails={"s3": LookupError()})
    with pytest.raises(SmartHDRError, match="--skip-existing"):
        run(monkeypatch, ray, tmp_path)
    assert ray.in_flight == []


def test_fail_fast_cancels_the_tasks_in_flight(monkeypatch, tmp_path):
    ray = FakeRay({"CPU": 2.0}, fails={"s3": RuntimeError("The worker died.\nSee the log.")})
    records, tally = run(monkeypatch, ray, tmp_path, fail_fast=True)
    assert tally.stopped
    assert [record["status"] for record in records] == ["ok"] * 3 + ["failed"]
    assert ray.in_flight == []


def test_nothing_to_do_needs_no_cluster(monkeypatch, tmp_path):
    assert run(monkeypatch, None, tmp_path, 0)[1].counts == {}


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        (EngineOptions("ray", num_gpus=8), r"no machine .*8 GPU, 1 CPU"),
        (EngineOptions("ray", num_gpus=0, num_cpus=0), "above 0"),
    ],
)
def test_resources_that_no_machine_has(monkeypatch, tmp_path, engine, message):
    with pytest.raises(UsageError, match=message):
        run(monkeypatch, FakeRay({"CPU": 16.0, "GPU": 4.0}), tmp_path, engine=engine)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999", "auto", "local"])
def test_a_missing_cluster_is_a_usage_error(monkeypatch, tmp_path, address):
    def init(**_options):
        raise ConnectionError("Could not find any running Ray instance.\nPlease specify the one to connect to")

    ray = SimpleNamespace(is_initialized=lambda: False, init=init)
    with pytest.raises(UsageError) as error:
        run(monkeypatch, ray, tmp_path, engine=EngineOptions("ray", address))
    assert str(error.value).startswith(f"no Ray cluster at {address}: ")
    assert "\n" not in str(error.value)


def test_a_missing_ray_is_a_usage_error(monkeypatch, tmp_path):
    with pytest.raises(UsageError, match=r"smarthdr\[ray\]"):
        run(monkeypatch, None, tmp_path)


def test_a_second_attempt_finishes_the_commit_of_the_first(tmp_path):
    """The process died after moving the files: the next one neither fuses again nor fails."""
    shoot = write_shoot(tmp_path / "s", 1)
    options = FuseOptions(deghost="off", align="none", response="srgb", device="cpu")
    config = WorkerConfig(Settings(options), BatchOptions(), tmp_path / "o" / ".smarthdr-batch", "none")
    job = Job("a", tuple(shoot[0]), {"result": tmp_path / "o" / "a.exr"})
    first = fuse_set(config, Path.cwd(), job, None)
    assert first["status"] == "ok"
    written_at = job.result.stat().st_mtime_ns
    assert fuse_set(config, Path.cwd(), job, None) == json.loads(json.dumps(first, default=str))
    assert job.result.stat().st_mtime_ns == written_at


# A cluster in a process of its own. When a process on its machines opens PATH or moves a file to it, a file beside PATH
# decides: PATH.kill kills the process, PATH.kill-once only the first one; PATH.hold makes it wait and write PATH.held.
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
    """Kill the process after TIMEOUT."""
    timer = Timer(TIMEOUT, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def wait_for(condition):
    deadline = time.monotonic() + TIMEOUT
    while not condition():
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
    with log.open("w") as log_file, subprocess.Popen(command, env=environment, stderr=log_file, **pipes) as process:
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
        self.frames = write_shoot(folder / "shoot", count)
        self.out, self.folder = folder / "out", folder
        self.names = [f"{frames[0].stem}-{frames[-1].stem}" for frames in self.frames]

    def start(self, address, *options):
        """The driver, its stdout a pipe and its stderr a file."""
        command = [sys.executable, "-m", "smarthdr_cli", "batch", "shoot", "-o", "out", "--json", "--preview"]
        command += ["--device", "cpu", "--deghost", "off", *options]
        command += ["--engine", "ray", "--address", address] if address else []
        self.log = self.folder / "driver.log"
        with self.log.open("w") as log_file:
            return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log_file, text=True, cwd=self.folder)

    def first(self, process):
        """The first record that it prints."""
        with limited(process):
            return json.loads(process.stdout.readline())

    def finish(self, process, code=0):
        """(records by name, stderr) of what it prints until its end, which has to come in time."""
        with limited(process):
            stdout, _ = process.communicate()
        stderr = self.log.read_text()
        assert process.returncode == code, stderr
        return {record["name"]: record for record in map(json.loads, stdout.splitlines())}, stderr

    def run(self, address, *options, code=0):
        return self.finish(self.start(address, *options), code)

    def lines(self):
        return [json.loads(line) for line in (self.out / "results.jsonl").read_text().splitlines()]

    def check_done(self):
        """Every set is recorded and written once, and no other file exists."""
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
    there, stderr = shoot.run(cluster.address)
    shoot.check_done()
    assert len([line for line in stderr.splitlines() if " s  " not in line]) == 1  # the summary, beside the stages
    here, _ = shoot.run(None, "--overwrite")
    own = {"pid", "finished", "seconds", "waited", "peak_memory"}
    for name in shoot.names:
        assert {k: v for k, v in there[name].items() if k not in own} == {
            k: v for k, v in here[name].items() if k not in own
        }
    assert len({record["pid"] for record in there.values()}) <= 2  # a process is kept, and the network in it


def test_workers_that_are_killed(tmp_path, cluster):
    """One dies once, one between moving the first file of a set and the second, and each that opens the third set."""
    shoot = Shoot(tmp_path, 6)
    mark(shoot.frames[0][1], "kill-once")
    moving = mark(shoot.out / f"{shoot.names[1]}.exr", "kill-once")
    mark(shoot.frames[2][1], "kill")
    records, stderr = shoot.run(cluster.address, code=7)
    assert {name: record["status"] for name, record in records.items()} == {
        name: "failed" if name == shoot.names[2] else "ok" for name in shoot.names
    }
    error = records[shoot.names[2]]["error"]
    assert "its process died in all 4 attempts" in error["message"]
    assert not moving.exists()
    assert "\nnote: (raylet) A worker died" in stderr
    assert shoot.lines() == list(records.values())
    del shoot.names[2]
    shoot.check_done()


def test_terminated(tmp_path, cluster):
    shoot = Shoot(tmp_path, 4)
    held = mark(shoot.frames[1][1], "hold")
    process = shoot.start(cluster.address)
    shoot.first(process)
    process.send_signal(signal.SIGTERM)
    _, stderr = shoot.finish(process, 130)
    assert stderr.splitlines()[-1].startswith("smarthdr: interrupted; nothing was left half-written")
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
def test_sets_that_need_too_much_memory(tmp_path):
    """Ray kills their processes; without a limit it would retry without end."""
    shoot = Shoot(tmp_path, 2)
    for frames in shoot.frames:
        mark(frames[1], "hold")
    with cluster_of(tmp_path, {"num_cpus": 2}, RAY_memory_usage_threshold="0.001") as cluster:
        records, _ = shoot.run(cluster.address, code=7)
    assert all("low on memory" in record["error"]["message"] for record in records.values())


@pytest.mark.slow
def test_a_lost_machine(tmp_path):
    """Two machines with one busy worker each: the other one fuses its sets."""
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
from smarthdr_cli.batch.batch_options import EngineOptions
from smarthdr_cli.batch.run import Callbacks, run_batch
from smarthdr_cli.batch.settings import Settings
from smarthdr_cli.fusion.fuse_options import FuseOptions
from smarthdr_cli.grouping.group import BracketSet

files = sorted(Path("shoot").iterdir())
sets = [BracketSet(files[n].stem, tuple(files[n : n + 3]), 1.0, (), False) for n in range(0, len(files), 3)]
run_batch(
    sets, Path("out"), Settings(FuseOptions(device="cpu", deghost="off")),
    engine=EngineOptions("ray", sys.argv[1], patience=2),
    callbacks=Callbacks(lambda record: print(record["name"], flush=True)),
)
"""


@pytest.mark.slow
def test_the_last_machine_is_lost(tmp_path):
    """None takes its place: the run ends with a hint on how to continue."""
    write_shoot(tmp_path / "shoot", 60)
    with cluster_of(tmp_path, {"num_cpus": 0}, {"num_cpus": 1}) as cluster:
        command = [sys.executable, "-c", IMPATIENT, cluster.address]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, cwd=tmp_path, **pipes) as process, limited(process):
            process.stdout.readline()
            os.kill(cluster.raylets[1], signal.SIGKILL)
            _, stderr = process.communicate()
    assert process.returncode == 1
    assert "SmartHDRError: the Ray cluster has lost every machine with room for a worker" in stderr
    assert "--skip-existing" in stderr


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
        _, stderr = shoot.finish(process, 130)
    assert stderr.splitlines()[-1].startswith("smarthdr: interrupted; nothing was left half-written")
