"""What the next steps need, made on threads while this one is computed."""

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Prefetch(Generic[T]):
    """``make(start)``, ``make(start + 1)``, ... in order, at most ``ahead`` of them made or being made in advance."""

    def __init__(self, make: Callable[[int], T], start: int = 0, *, ahead: int = 4, workers: int = 1) -> None:
        raise NotImplementedError

    def __iter__(self) -> "Prefetch[T]":
        return self

    def __next__(self) -> T:
        raise NotImplementedError

    def close(self) -> None:
        """Make no more and wait for the threads."""
        raise NotImplementedError
