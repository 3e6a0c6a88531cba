"""The sets on a Ray cluster: refusals, resources, what is in flight; and (slow) a real one of two, a worker killed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import batch_shoots as made
import pytest

from smarthdr_cli.batch import cluster as room
from smarthdr_cli.batch.cluster import Cluster, _connect, _resources, run_on_cluster
from smarthdr_cli.batch.crew import EACH, LOSSES, Actor
from smarthdr_cli.batch.jobs import Job
from smarthdr_cli.batch.settings import Settings, Writing
from smarthdr_cli.batch.worker import Plan
from smarthdr_cli.errors import UsageError
from smarthdr_cli.fusion.pipeline import FuseOptions


class ActorGoneError(Exception):
    pass


class TaskFailedError(Exception):
    cause = ValueError("a fault\nof an actor")


class Ref:
    def __init__(self, job, actor):
        self.job, self.actor = job, actor


class FakeRay:
    """As much of Ray as is used, in one thread: tells the most that was in flight, and lets actors die."""

    exceptions = SimpleNamespace(RayActorError=ActorGoneError, RayError=Exception)

    def __init__(self, nodes=({"CPU": 2.0},), dies=(), fails=()):
        self._nodes, self.dies, self.fails = nodes, list(dies), fails
        self.most, self.flying, self.actors, self.killed = 0, 0, [], []

    def is_initialized(self):
        return True

    def cluster_resources(self):
        return {name: sum(node.get(name, 0) for node in self._nodes) for name in ("CPU", "GPU", "memory")}

    def nodes(self):
        return [{"Alive": True, "Resources": node} for node in self._nodes] + [{"Alive": False, "Resources": {}}]

    def remote(self, _kind):
        return self

    def options(self, **options):
        self.asked = options
        return SimpleNamespace(remote=self._actor)

    def _actor(self, _plan):
        actor = SimpleNamespace(dead=False)

        def run(job, _last):
            self.flying += 1
            self.most = max(self.most, self.flying)
            return Ref(job, actor)

        actor.run = SimpleNamespace(remote=run)
        self.actors.append(actor)
        return actor

    def wait(self, refs, num_returns):
        return refs[:num_returns], refs[num_returns:]

    def get(self, ref):
        self.flying -= 1
        if ref.job.name in self.dies:
            ref.actor.dead = True
        if ref.actor.dead:
            raise ActorGoneError("gone")
        if ref.job.name in self.fails:
            raise TaskFailedError
        return {"name": ref.job.name, "status": "ok", "waited": 0.5}

    def kill(self, actor):
        self.killed.append(actor)


def jobs(count):
    return [Job(f"s{n}", (Path(f"{n}.jpg"),), {"result": Path(f"{n}.exr")}) for n in range(count)]


def run(monkeypatch, tmp_path, ray, count=20, cluster=None, **options):
    monkeypatch.setattr(room, "_ray", lambda: ray)
    kept = []
    plan = Plan(Settings(FuseOptions(deghost="off"), Writing()), tmp_path / ".stage", "none")
    tally = run_on_cluster(jobs(count), plan, kept.append, {}, cluster or Cluster(), **options)
    return kept, tally


def test_every_set_once_and_never_too_many_in_flight(monkeypatch, tmp_path):
    ray = FakeRay(({"CPU": 2.0}, {"CPU": 1.0}))
    kept, tally = run(monkeypatch, tmp_path, ray)
    assert sorted(r["name"] for r in kept) == sorted(j.name for j in jobs(20))
    assert len(ray.actors) == 3
    assert ray.most == 3 * EACH
    assert tally.counts == {"ok": 20}
    assert tally.idle == pytest.approx(20 * 0.5 / 3)
    assert ray.killed == ray.actors
    assert (ray.asked["num_cpus"], ray.asked["num_gpus"], ray.asked["max_concurrency"]) == (1.0, 0.0, EACH)
    assert ray.asked["max_restarts"] > 0
    assert ray.asked["max_task_retries"] > 0


def test_one_at_a_time_where_memory_allows_no_more(monkeypatch, tmp_path):
    ray = FakeRay(({"CPU": 8.0, "memory": 5e9}, {"CPU": 8.0, "memory": 2e9}))
    run(monkeypatch, tmp_path, ray, overlap=False, memory=2e9)
    assert len(ray.actors) == 3  # 5 GB hold two of 2 GB, 2 GB one
    assert ray.most == 3
    assert ray.asked["memory"] == 2e9


def test_no_more_actors_than_sets_or_than_asked_for(monkeypatch, tmp_path):
    for ray, count, cluster, actors in (
        (FakeRay(({"CPU": 64.0},)), 2, Cluster(), 2),
        (FakeRay(({"CPU": 64.0},)), 20, Cluster(actors=5), 5),
        (FakeRay(({"CPU": 64.0},)), 20, Cluster(num_cpus=16), 4),
    ):
        run(monkeypatch, tmp_path, ray, count, cluster)
        assert len(ray.actors) == actors


def test_a_gpu_each_where_there_are_some():
    nodes = ({"CPU": 16.0, "GPU": 4.0}, {"CPU": 16.0})
    assert _resources(FakeRay(nodes), Cluster(), None, 100) == ({"num_gpus": 1.0, "num_cpus": 1.0}, 4)
    assert _resources(FakeRay(nodes), Cluster(num_gpus=0.5), None, 100)[1] == 8
    assert _resources(FakeRay(nodes), Cluster(num_gpus=0, num_cpus=8), None, 100)[1] == 4
    with pytest.raises(UsageError, match=r"no machine .*8 GPU"):
        _resources(FakeRay(nodes), Cluster(num_gpus=8), None, 100)
    with pytest.raises(UsageError, match="above 0"):
        _resources(FakeRay(nodes), Cluster(num_gpus=0, num_cpus=0), None, 100)


def test_a_set_that_takes_actors_with_it_fails_and_the_others_do_not(monkeypatch, tmp_path):
    ray = FakeRay(dies=("s3",))
    kept, tally = run(monkeypatch, tmp_path, ray)
    assert tally.counts == {"ok": 19, "failed": 1}
    assert sorted(r["name"] for r in kept) == sorted(j.name for j in jobs(20))
    lost = next(r for r in kept if r["status"] == "failed")
    assert lost["name"] == "s3"
    assert "died again and again" in lost["error"]["message"]
    assert len(ray.actors) <= 2 + LOSSES  # one that was lost is replaced, and no more than that
    assert ray.flying == 0


def test_a_fault_of_an_actor_is_that_sets_failure(monkeypatch, tmp_path):
    ray = FakeRay(fails=("s3",))
    kept, tally = run(monkeypatch, tmp_path, ray)
    assert tally.counts == {"ok": 19, "failed": 1}
    assert next(r for r in kept if r["status"] == "failed")["error"]["message"] == "ValueError: a fault"
    assert len(ray.actors) == 2


def test_fail_fast_gives_out_no_more(monkeypatch, tmp_path):
    kept, tally = run(monkeypatch, tmp_path, FakeRay(fails=("s3",)), fail_fast=True)
    assert tally.stopped
    assert len(kept) <= 3 + 2 * EACH


def test_nothing_to_do_needs_no_cluster(monkeypatch, tmp_path):
    assert run(monkeypatch, tmp_path, None, 0)[1].counts == {}


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999", "auto", "local"])
def test_no_cluster_is_one_line(address):
    def init(**_options):
        raise ConnectionError("Could not find any running Ray instance.\nPlease specify the one to connect to")

    ray = SimpleNamespace(is_initialized=lambda: False, init=init)
    with pytest.raises(UsageError) as error:
        _connect(ray, Cluster(address))
    assert str(error.value).startswith(f"no Ray cluster at {address}: ")
    assert "\n" not in str(error.value)


def test_without_ray_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    plan = Plan(Settings(FuseOptions(deghost="off"), Writing()), tmp_path, "none")
    with pytest.raises(UsageError, match=r"smarthdr\[ray\]"):
        run_on_cluster(jobs(1), plan, lambda _record: None, {}, Cluster())


def test_a_restarted_actor_finishes_what_was_decided(tmp_path):
    """An actor killed between moving the files and saying so: the next one neither fuses again nor fails."""
    shoot = made.write_shoot(tmp_path / "s", 1)
    options = FuseOptions(deghost="off", align="none", response="srgb", device="cpu")
    plan = Plan(Settings(options, Writing()), tmp_path / "o" / ".smarthdr-batch", "none")
    job = Job("a", tuple(shoot[0]), {"result": tmp_path / "o" / "a.exr"})
    first = Actor(plan).run(job, None)
    assert first["status"] == "ok"
    made_at = job.result.stat().st_mtime_ns
    assert Actor(plan).run(job, None) == json.loads(json.dumps(first, default=str))
    assert job.result.stat().st_mtime_ns == made_at


BATCH = [sys.executable, "-m", "smarthdr_cli", "batch"]
START = """
import sys
from ray.cluster_utils import Cluster
small = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
cluster = Cluster(initialize_head=True, head_node_args=small | {"include_dashboard": False})
cluster.add_node(**small)
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@pytest.fixture
def two_workers(tmp_path):
    """The address of a cluster of two machines of one core each, on this one."""
    pytest.importorskip("ray")
    log = tmp_path / "cluster.log"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with log.open("w") as said, subprocess.Popen([sys.executable, "-c", START], stderr=said, **pipes) as process:
        address = process.stdout.readline().strip()
        assert address, log.read_text()[-2000:]
        yield address
        process.stdin.close()
        process.wait(timeout=60)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_two_workers_one_of_them_killed(tmp_path, two_workers):
    count = 10
    made.write_shoot(tmp_path / "shoot", count)
    out = tmp_path / "out"
    options = ["--preview", "--json", "--device", "cpu", "--precision", "fp32", "--engine", "ray"]
    command = [*BATCH, str(tmp_path / "shoot"), "-o", str(out), *options, "--address", two_workers]
    log = tmp_path / "driver.log"
    with log.open("w") as said, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True) as process:
        records = [json.loads(process.stdout.readline())]
        os.kill(records[0]["pid"], signal.SIGKILL)  # it has the next set in hand
        records += [json.loads(line) for line in process.stdout]
    assert process.returncode == 0, log.read_text()
    assert [r["status"] for r in records] == ["ok"] * count
    assert len({r["name"] for r in records}) == count
    assert len({r["pid"] for r in records}) >= 2
    kept = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert kept == records
    assert len(list(out.glob("*.exr"))) == len(list(out.glob("*.jpg"))) == count
    assert list(out.glob(".*")) == []
    again = subprocess.run([*command, "--skip-existing"], capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    assert [json.loads(line)["status"] for line in again.stdout.splitlines()] == ["skipped"] * count
