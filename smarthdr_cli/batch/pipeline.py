"""The sets of a batch in order: while one is fused, the next is read and registered, and the last one written.

    reader thread  | read 1 | read 2 | read 3  |
    this thread    |        | fuse 1 | fuse 2  | fuse 3  |
    writer thread  |        |        | write 1 | write 2 | write 3

At most three sets are in memory.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from smarthdr_cli.batch.jobs import Job
from smarthdr_cli.batch.results import FAILED, OK, Record
from smarthdr_cli.batch.worker import Task, Worker

T = TypeVar("T")
OnRecord = Callable[[Record], None]
Read = Callable[[Job], Task | Record]
Fuse = Callable[[Task], Task | Record]
Finish = Callable[[Job, Task | Record], None]


@dataclass
class Tally:
    """``counts``: number of sets by status. ``stopped``: whether a failure ended the run early.

    ``seconds``: of the whole run. ``idle``: of these, how long the fusion waited for files to be read or written.
    """

    counts: Counter[str] = field(default_factory=Counter)
    idle: float = 0.0
    seconds: float = 0.0
    stopped: bool = False

    @property
    def idle_share(self) -> float:
        """Share of the time in which the fusion waited."""
        return self.idle / self.seconds if self.seconds else 0.0

    def add(self, record: Record, *, fail_fast: bool) -> None:
        """Count ``record``; under ``fail_fast`` a failure stops the run."""
        self.counts[record["status"]] += 1
        self.stopped |= fail_fast and record["status"] == FAILED

    def merge(self, other: "Tally") -> None:
        """Add the counts and times of another run."""
        self.counts += other.counts
        self.idle += other.idle
        self.seconds += other.seconds
        self.stopped |= other.stopped

    def wait(self, blocking: Callable[[], T]) -> tuple[T, float]:
        """(result, seconds) of ``blocking``, which counts as idle time."""
        start = time.perf_counter()
        result = blocking()
        seconds = time.perf_counter() - start
        self.idle += seconds
        return result, seconds


def run(
    jobs: Sequence[Job],
    worker: Worker,
    on_record: OnRecord,
    last_records: Mapping[str, Record] | None = None,
    *,
    fail_fast: bool = False,
    overlap: bool = True,
) -> Tally:
    """Do ``jobs`` in order; ``last_records``: of each set the last record of earlier runs.

    ``on_record`` gets the record of each set, in order, and returns once it is on the disk. ``fail_fast``: stop at the
    first failure. Without ``overlap`` only one set at a time is in memory.
    What ``on_record`` raises, and an interrupt, end the run: the set that is being written is finished.
    """
    tally, last = Tally(), last_records or {}

    def read(job: Job) -> Task | Record:
        return worker.read(job, last.get(job.name))

    def finish(job: Job, result: Task | Record) -> None:
        record = worker.write(result) if isinstance(result, Task) else result
        on_record(record)
        if record["status"] == OK:
            worker.clean_up(job)
        tally.add(record, fail_fast=fail_fast)

    start = time.perf_counter()
    if jobs:
        (_overlapping if overlap else _in_turn)(jobs, read, worker.fuse, finish, tally)
    tally.seconds = time.perf_counter() - start
    return tally


def _in_turn(jobs: Sequence[Job], read: Read, fuse: Fuse, finish: Finish, tally: Tally) -> None:
    for job in jobs:
        result, seconds = tally.wait(partial(read, job))
        if isinstance(result, Task):
            result.waited = seconds
            result = fuse(result)
        tally.wait(partial(finish, job, result))
        if tally.stopped:
            return


def _overlapping(jobs: Sequence[Job], read: Read, fuse: Fuse, finish: Finish, tally: Tally) -> None:
    with ThreadPoolExecutor(1, "smarthdr-read") as reader, ThreadPoolExecutor(1, "smarthdr-write") as writer:
        reading = reader.submit(read, jobs[0])
        writing = writer.submit(lambda: None)
        for job, following in zip(jobs, (*jobs[1:], None), strict=True):
            result, seconds = tally.wait(reading.result)
            if following is not None:
                reading = reader.submit(read, following)
            if isinstance(result, Task):
                result.waited = seconds
                result = fuse(result)
            tally.wait(writing.result)
            if tally.stopped:
                return
            writing = writer.submit(finish, job, result)
        tally.wait(writing.result)
