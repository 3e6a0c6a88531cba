"""Several parts of a picture at once: on a CPU one thread a part, each on one core; on a GPU one part after another.

One core a part beats all cores on each part in turn: what does not parallelise inside (copies, resampling, small
layers) runs side by side, and no thread waits for another, which on a busy machine costs many times the work itself.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

A = TypeVar("A")
R = TypeVar("R")


def workers(device: torch.device) -> int:
    """How many parts are computed at once on ``device``: torch's number of threads, or 1 on a GPU."""
    return 1 if device.type != "cpu" else max(1, torch.get_num_threads())


def each(work: Callable[[A], R], parts: Iterable[A], count: int) -> Iterator[R]:
    """``work`` of every part, in order, ``count`` at once, without gradients. The first error ends it and is raised."""

    def alone(part: A) -> R:
        with torch.inference_mode():  # of this thread: neither this nor the number of threads is inherited
            return work(part)

    if count == 1:
        yield from map(alone, parts)
        return
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(alone, parts)
    finally:
        torch.set_num_threads(before)
