"""Steps of neighbouring sets overlap if asked; every set is recorded once, and no thread is left behind."""

import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest

from smarthdr_cli.batch.jobs import Job
from smarthdr_cli.batch.pipeline import run
from smarthdr_cli.batch.worker import Task


class Steps:
    """A worker of sleeps, which records when each step ran and how many sets were in memory at once."""

    def __init__(self, read=0.0, fuse=0.0, write=0.0, fail=(), skip=(), broken=()):
        self.seconds = {"read": read, "fuse": fuse, "write": write}
        self.fail, self.skip, self.broken = fail, skip, broken
        self.spans: list[tuple[str, str, float, float]] = []
        self.done_names: list[str] = []
        self.in_memory = self.most = 0
        self._lock = threading.Lock()

    def _step(self, what, name):
        start = time.perf_counter()
        time.sleep(self.seconds[what])
        with self._lock:
            self.spans.append((what, name, start, time.perf_counter()))

    def _count(self, change):
        with self._lock:
            self.in_memory += change
            self.most = max(self.most, self.in_memory)

    def read(self, job, last=None):
        self._count(1)
        self._step("read", job.name)
        if job.name in self.skip:
            self._count(-1)
            return {"name": job.name, "status": "skipped", "last": last}
        if job.name in self.fail:
            self._count(-1)
            return {"name": job.name, "status": "failed"}
        return Task(job)

    def fuse(self, task):
        self._step("fuse", task.job.name)
        if f"fuse {task.job.name}" in self.fail:
            self._count(-1)
            return {"name": task.job.name, "status": "failed"}
        if task.job.name in self.broken:
            raise KeyboardInterrupt
        return task

    def write(self, task):
        self._step("write", task.job.name)
        self._count(-1)
        return {"name": task.job.name, "status": "ok", "waited": task.waited}

    def clean_up(self, job):
        self.done_names.append(job.name)


def jobs(count):
    return [Job(f"s{n}", (Path(f"{n}.jpg"),), {"result": Path(f"{n}.exr")}) for n in range(count)]


@pytest.mark.parametrize("overlap", [True, False])
def test_every_set_is_recorded_once(overlap):
    worker, records = Steps(fail=("s1", "fuse s4"), skip=("s3",)), []
    tally = run(jobs(7), worker, records.append, {"s3": {"status": "ok"}}, overlap=overlap)
    assert sorted(r["name"] for r in records) == [f"s{n}" for n in range(7)]
    assert tally.counts == {"ok": 4, "failed": 2, "skipped": 1}
    assert sorted(worker.done_names) == ["s0", "s2", "s5", "s6"]
    assert next(r for r in records if r["status"] == "skipped")["last"] == {"status": "ok"}
    assert not tally.stopped
    assert run([], worker, records.append, overlap=overlap).counts == {}


def test_reading_and_writing_overlap_fusing():
    worker = Steps(read=0.03, fuse=0.05, write=0.03)
    tally = run(jobs(8), worker, lambda _record: None)
    assert tally.seconds < 8 * 0.11 * 0.8  # in turn it would be 0.88 s
    assert tally.idle_share < 0.35  # of about 0.45 s, 0.03 s for the first to be read and what threads cost
    assert worker.most <= 3
    fused = sorted((start, end) for what, _, start, end in worker.spans if what == "fuse")
    assert all(end <= start for (_, end), (start, _) in pairwise(fused))


def test_the_idle_share_is_the_time_of_reading():
    tally = run(jobs(5), Steps(read=0.06, fuse=0.02), lambda _record: None)
    assert tally.idle_share == pytest.approx(1 - 5 * 0.02 / tally.seconds, abs=0.15)
    assert tally.idle_share > 0.5


def test_without_overlap_one_set_is_in_memory():
    worker = Steps(read=0.01, fuse=0.01, write=0.01)
    tally = run(jobs(4), worker, lambda _record: None, overlap=False)
    assert worker.most == 1
    assert tally.idle_share == pytest.approx(2 / 3, abs=0.15)


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("fail", ["s2", "fuse s2"])
def test_fail_fast_stops_the_run(overlap, fail):
    worker, records = Steps(fuse=0.02, fail=(fail,)), []
    tally = run(jobs(30), worker, records.append, overlap=overlap, fail_fast=True)
    assert tally.stopped
    assert tally.counts["failed"] == 1
    assert len(records) < 6


@pytest.mark.parametrize("overlap", [True, False])
def test_an_interrupt_leaves_no_threads(overlap):
    worker, records = Steps(write=0.05, broken=("s3",)), []
    with pytest.raises(KeyboardInterrupt):
        run(jobs(30), worker, records.append, overlap=overlap)
    assert [t.name for t in threading.enumerate() if t.name.startswith("smarthdr-")] == []
    written = [name for what, name, _, _ in worker.spans if what == "write"]
    assert [r["name"] for r in records] == written  # what was written is recorded
    assert len(records) <= 3


@pytest.mark.parametrize("overlap", [True, False])
def test_a_record_that_cannot_be_written_ends_the_run(overlap):
    def full(_record):
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        run(jobs(9), Steps(), full, overlap=overlap)
    assert [t.name for t in threading.enumerate() if t.name.startswith("smarthdr-")] == []


def test_records_are_given_one_at_a_time():
    inside, most = 0, 0

    def on_record(_record):
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.005)
        inside -= 1

    run(jobs(12), Steps(fail=("s1", "s3", "fuse s5", "s7")), on_record)
    assert most == 1
