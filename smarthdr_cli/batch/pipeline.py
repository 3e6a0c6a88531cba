"""The sets one after another on this machine: one is read and another written while a third is fused."""

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from smarthdr_cli.batch.jobs import Job
from smarthdr_cli.batch.results import FAILED, OK, Record
from smarthdr_cli.batch.worker import Task, Worker

T = TypeVar("T")
OnRecord = Callable[[Record], None]


@dataclass
class Tally:
    """``counts``: status to number of sets. ``idle``, ``seconds``: how long the fusing waited for files to be read or
    written, of how long it ran in all, from the first set on."""

    counts: dict[str, int]
    idle: float = 0.0
    seconds: float = 0.0
    stopped: bool = False

    @property
    def idle_share(self) -> float:
        """Share of the time in which the fusing waited."""
        return self.idle / self.seconds if self.seconds else 0.0


def run(
    jobs: Sequence[Job],
    worker: Worker,
    keep: OnRecord,
    last: Mapping[str, Record] | None = None,
    *,
    fail_fast: bool = False,
    overlap: bool = True,
) -> Tally:
    """Do ``jobs`` in order. ``keep`` gets each set's record, one at a time, and must have it on the disk when it
    returns. ``last``: the sets' last lines in the results. ``fail_fast``: stop at the first failure.

    ``overlap``: a thread reads one set ahead and another writes one behind; without it nothing is held twice.
    What ``keep`` raises, and an interrupt, end the run: sets that are being written are finished, others not begun.
    """
    line = _Line(worker, keep, last or {}, fail_fast)
    start = time.perf_counter()
    if overlap:
        line.side_by_side(jobs)
    else:
        line.in_turn(jobs)
    line.tally.seconds = time.perf_counter() - start
    return line.tally


class _Line:
    """The three stations and what goes from one to the next."""

    def __init__(self, worker: Worker, keep: OnRecord, last: Mapping[str, Record], fail_fast: bool) -> None:
        self.worker, self.keep, self.last, self.fail_fast = worker, keep, last, fail_fast
        self.tally = Tally({})
        self.stop = threading.Event()
        self._keeping = threading.Lock()
        self._error: BaseException | None = None

    def in_turn(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            start = time.perf_counter()
            read = self.worker.read(job, self.last.get(job.name))
            if isinstance(read, Task):
                read.waited = time.perf_counter() - start
                self.tally.idle += read.waited
                made = self.worker.fuse(read)
                start = time.perf_counter()
                read = self.worker.write(made) if isinstance(made, Task) else made
                self.tally.idle += time.perf_counter() - start
            self._keep(job, read)
            if self.stop.is_set():
                return

    def side_by_side(self, jobs: Sequence[Job]) -> None:
        ready: queue.Queue[Task | None] = queue.Queue(1)
        made: queue.Queue[Task | None] = queue.Queue(1)
        ahead = threading.Semaphore(1)  # of reading: one set, whether it is being read or waits to be fused
        behind = threading.Semaphore(1)  # of writing: one set; the next waits for it in the hands of the fusing
        threads = [
            threading.Thread(target=self._guarded, args=(self._read_all, jobs, ready, ahead), name="smarthdr-read"),
            threading.Thread(target=self._guarded, args=(self._write_all, made, behind), name="smarthdr-write"),
        ]
        for thread in threads:
            thread.start()
        try:
            while True:
                start = time.perf_counter()
                task = self._take(ready)
                if task is None:
                    break
                task.waited = time.perf_counter() - start
                ahead.release()
                self.tally.idle += task.waited
                outcome = self.worker.fuse(task)
                if not isinstance(outcome, Task):
                    self._keep(task.job, outcome)
                    continue
                start = time.perf_counter()
                if self._acquired(behind):
                    self._put(made, outcome)
                self.tally.idle += time.perf_counter() - start
        except BaseException:
            self.stop.set()
            raise
        finally:
            if not self.stop.is_set():
                self._put(made, None)
            for thread in threads:
                thread.join()
        if self._error is not None:
            raise self._error

    def _read_all(self, jobs: Sequence[Job], ready: "queue.Queue[Task | None]", ahead: threading.Semaphore) -> None:
        for job in jobs:
            if not self._acquired(ahead):
                return
            read = self.worker.read(job, self.last.get(job.name))
            if isinstance(read, Task):
                self._put(ready, read)
            else:
                ahead.release()
                self._keep(job, read)
        self._put(ready, None)

    def _write_all(self, made: "queue.Queue[Task | None]", behind: threading.Semaphore) -> None:
        while (task := self._take(made)) is not None:
            self._keep(task.job, self.worker.write(task))
            behind.release()

    def _keep(self, job: Job, record: Record) -> None:
        with self._keeping:
            self.keep(record)
            status = record["status"]
            if status == OK:
                self.worker.done(job)
            self.tally.counts[status] = self.tally.counts.get(status, 0) + 1
            if status == FAILED and self.fail_fast:
                self.tally.stopped = True
                self.stop.set()

    def _guarded(self, work: Callable[..., None], *arguments: object) -> None:
        try:
            work(*arguments)
        except BaseException as error:
            self._error = self._error or error
            self.stop.set()

    def _acquired(self, turn: threading.Semaphore) -> bool:
        while not self.stop.is_set():
            if turn.acquire(timeout=0.1):
                return True
        return False

    def _put(self, where: "queue.Queue[T | None]", item: T | None) -> None:
        while not self.stop.is_set():
            try:
                where.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def _take(self, where: "queue.Queue[T | None]") -> T | None:
        while not self.stop.is_set():
            try:
                return where.get(timeout=0.1)
            except queue.Empty:
                continue
        return None
