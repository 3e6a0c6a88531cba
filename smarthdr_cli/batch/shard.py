"""Which part of a shoot is this process's: ``--shard i/n``, or the place in a Slurm array."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from smarthdr_cli.atomic import RESERVED_PREFIX
from smarthdr_cli.errors import UsageError

T = TypeVar("T")
_TASK = "SLURM_ARRAY_TASK_"


@dataclass(frozen=True)
class Shard:
    """Part ``index`` (from 1) of ``count``."""

    index: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise UsageError(f"--shard {self.index}/{self.count}: the first number goes from 1 to the second")

    def of(self, items: Sequence[T]) -> list[T]:
        """Every ``count``-th item from ``index`` on: the shards of one list are disjoint, cover it, and differ in
        size by one at most. It rests on every process seeing the same list in the same order."""
        return list(items[self.index - 1 :: self.count])

    @property
    def results_name(self) -> str:
        """The results file: one for each shard, so that no two processes write to one."""
        return "results.jsonl" if self.count == 1 else f"results-{self.index}-of-{self.count}.jsonl"

    @property
    def staging_name(self) -> str:
        """The folder of what is being written, likewise."""
        part = "" if self.count == 1 else f"-{self.index}-of-{self.count}"
        return f"{RESERVED_PREFIX}batch{part}"


def parse_shard(text: str | None, environment: Mapping[str, str]) -> Shard:
    """``i/n`` with i from 1; ``all`` for everything; None for the place in a Slurm array, or everything outside one.

    Slurm (sbatch, "output environment variables"): the task's ID counts from _MIN in steps of _STEP, _COUNT tasks.
    Raises UsageError for anything else, and for an array whose IDs do not tell the place.
    """
    if text == "all":
        return Shard()
    if text is not None:
        first, slash, second = text.partition("/")
        if not slash or not all(part.isascii() and part.isdigit() and len(part) < 8 for part in (first, second)):
            raise UsageError(f"--shard {text}: use i/n, such as 3/32, or all")
        return Shard(int(first), int(second))
    if f"{_TASK}ID" not in environment:
        return Shard()
    try:
        task, count = int(environment[f"{_TASK}ID"]), int(environment[f"{_TASK}COUNT"])
        low = int(environment.get(f"{_TASK}MIN", "0"))
        step = int(environment.get(f"{_TASK}STEP") or 1)
        high = int(environment.get(f"{_TASK}MAX", low + (count - 1) * step))
    except (KeyError, ValueError) as error:
        raise UsageError(f"{_TASK}ID is set, but not as Slurm sets it ({error}); give --shard i/n or all") from error
    if step < 1 or high - low != (count - 1) * step or (task - low) % step or not low <= task <= high:
        raise UsageError(f"the IDs of this Slurm array do not tell which part of {count} is meant; give --shard i/n")
    return Shard((task - low) // step + 1, count)
