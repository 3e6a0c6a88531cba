"""The actors of a cluster, and how sets are given to them and come back."""

import contextlib
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

from smarthdr_cli.batch.jobs import Job
from smarthdr_cli.batch.results import FAILED, OK, Record
from smarthdr_cli.batch.run import OnRecord, Tally
from smarthdr_cli.batch.transaction import finish, is_committed
from smarthdr_cli.batch.worker import Plan, Task, Worker, lost_record

RESTARTS = 3  # by Ray, of an actor that died and of the sets it had
LOSSES = 2  # actors a set may take with it for good
EACH = 2  # sets in flight an actor: one fused while the next is read


class Actor:
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


class Crew:
    """The actors, each in its place, and the sets that they have in hand."""

    def __init__(self, ray: Any, plan: Plan, options: dict[str, Any], count: int, each: int) -> None:
        self._ray, self._plan, self._options, self._each = ray, plan, options, each
        self._steps = Worker(plan)
        self._lost: Counter[str] = Counter()
        self.actors = [self._actor() for _ in range(count)]

    def _actor(self) -> Any:
        return self._ray.remote(Actor).options(**self._options).remote(self._plan)

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
