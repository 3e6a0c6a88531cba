"""Fuses the sets of a batch in processes of this machine, one core each.

A small burst waits for Python's lock and for memory more than for cores: two processes of one thread fuse it 1.6 times
as fast as two threads of one process. What a process does is `fuse_set`, as on a cluster; this process alone writes the
results file.
"""

import multiprocessing.connection
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

from smarthdr_cli.batch.jobs import Job
from smarthdr_cli.batch.pipeline import OnRecord, Tally
from smarthdr_cli.batch.results import OK, Record
from smarthdr_cli.batch.transaction import is_committed
from smarthdr_cli.batch.worker import Task, Worker, WorkerConfig, fuse_set, lost_record, open_network
from smarthdr_cli.fusion.fuse_options import FuseOptions
from smarthdr_cli.grouping.header import Header
from smarthdr_cli.system import keep_freed_memory, physical_memory, usable_cores

SMALL_PIXELS = 3_000_000  # of a set: larger ones keep the cores of one process busy
SETS_PER_PROCESS = 5  # at least, for what it takes to start one
BYTES_PER_PROCESS = 1_500_000_000  # of three frames of SMALL_PIXELS
TASKS_PER_PROCESS = 2  # in flight: one runs while another waits


def process_count(jobs: Sequence[Job], headers: Mapping[Path, Header], options: FuseOptions) -> int:
    """How many processes ``jobs`` are worth: one for each core where all pictures are small and memory suffices.

    Otherwise, and under ``--max-memory``, 1. ``headers``: of the first frame of each set.
    """
    sizes = [headers[job.files[0]].size for job in jobs if job.files[0] in headers]
    small = all(size is not None and size[0] * size[1] <= SMALL_PIXELS for size in sizes)
    if not small or options.max_memory is not None:
        return 1
    _, available = physical_memory()
    fitting = usable_cores() if available is None else available // BYTES_PER_PROCESS
    return max(1, min(usable_cores(), fitting, len(jobs) // SETS_PER_PROCESS))


def prepare_process(count: int) -> None:
    """Limit this process, one of ``count``, to its share of the cores. It ignores Ctrl-C and ends with its parent."""
    import cv2
    import torch

    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threads = max(1, usable_cores() // count)
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    keep_freed_memory()


def _end_with_parent() -> None:
    """End this process once its parent is gone, whose next run clears the stages up."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


class ProcessPool:
    """Processes that fuse sets, ``count`` at once. Close it after use."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._executor = self._started(count)

    def _started(self, processes: int) -> ProcessPoolExecutor:
        spawn = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
        return ProcessPoolExecutor(processes, spawn, prepare_process, (self.count,))

    def open_network(self, options: FuseOptions) -> str:
        """Build the network of ``options`` in one of the processes; the type of the device it runs on.

        Raises UsageError (device, precision) or ModelError.
        """
        return self._executor.submit(open_network, options).result()

    def share_of(self, options: FuseOptions) -> FuseOptions:
        """``options`` of one process, which has its share of ``max_memory``."""
        limit = options.max_memory
        return options if limit is None else replace(options, max_memory=limit / self.count)

    def close(self) -> None:
        """Finish the sets that are being fused, and end the processes."""
        self._executor.shutdown(cancel_futures=True)

    def run(
        self, jobs: Sequence[Job], config: WorkerConfig, on_record: OnRecord, last_records: Mapping[str, Record], *,
        fail_fast: bool = False,
    ) -> Tally:  # fmt: skip
        """As ``run`` of pipeline.py, but records come as sets are done.

        The sets that were in flight when a process died are done again, each in a process of its own, and fail if that
        one dies too. An interrupt, what ``on_record`` raises, and the first failure under ``fail_fast`` let the sets in
        flight finish; their records are in their stages.
        """
        tally, start, worker = Tally(), time.perf_counter(), Worker(config)

        def submit(executor: ProcessPoolExecutor, job: Job) -> Future[Record]:
            return executor.submit(fuse_set, config, Path.cwd(), job, last_records.get(job.name))

        def record_of(job: Job, future: Future[Record]) -> Record:
            try:
                return future.result()
            except BrokenProcessPool:
                raise
            except Exception as error:
                return worker.failed(Task(job), error)

        def finish(job: Job, record: Record) -> None:
            on_record(record)
            if record["status"] == OK or not is_committed(worker.stage(job)):
                worker.clean_up(job)
            tally.add(record, fail_fast=fail_fast)

        waiting, in_flight, lost = deque(jobs), dict[Future[Record], Job](), list[Job]()
        try:
            while (waiting or in_flight) and not tally.stopped:
                try:
                    while waiting and len(in_flight) < TASKS_PER_PROCESS * self.count:
                        in_flight[submit(self._executor, waiting[0])] = waiting[0]
                        waiting.popleft()
                    for future in wait(in_flight, return_when=FIRST_COMPLETED).done:
                        finish(in_flight[future], record_of(in_flight[future], future))
                        del in_flight[future]
                except BrokenProcessPool:
                    self.close()
                    self._executor = self._started(self.count)
                    for future, job in in_flight.items():
                        if future.exception() is None:
                            finish(job, future.result())
                        else:
                            lost.append(job)
                    in_flight.clear()
            for job in lost if not tally.stopped else ():
                with self._started(1) as executor:
                    try:
                        record = record_of(job, submit(executor, job))
                    except BrokenProcessPool:
                        record = lost_record(job, "its process died twice: killed, or out of memory")
                finish(job, record)
        finally:
            self.close()
        tally.seconds = time.perf_counter() - start
        return tally
