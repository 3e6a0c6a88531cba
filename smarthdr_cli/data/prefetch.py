"""What the next steps need, made on threads while this one is computed."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Prefetch(Generic[T]):
    """``make(start)``, ``make(start + 1)``, ... in order, without end, ``ahead`` of them made or being made in advance.

    An exception of ``make`` is raised by the ``next`` that would have returned its result, and ends the iteration.
    Close it after use, or use it as a context manager.
    """

    def __init__(self, make: Callable[[int], T], start: int = 0, *, ahead: int = 4, workers: int = 1) -> None:
        if ahead < 1 or workers < 1:
            raise ValueError("ahead and workers must be at least 1")
        self._make = make
        self._next = start
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="prefetch")
        self._coming: deque[Future[T]] = deque()
        self._closed = False
        for _ in range(ahead):
            self._order()

    def _order(self) -> None:
        self._coming.append(self._pool.submit(self._make, self._next))
        self._next += 1

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        if self._closed:
            raise StopIteration
        try:
            made = self._coming.popleft().result()
        except BaseException:
            self.close()
            raise
        self._order()
        return made

    def close(self) -> None:
        """Make no more, drop what waits, and join the threads."""
        self._closed = True
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._coming.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
