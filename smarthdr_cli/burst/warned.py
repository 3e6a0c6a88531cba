"""What libjpeg and LibRaw print of the data they are given: caught, so that damage has a file's name.

Both go on decoding behind a damaged place and say so on the process's stderr alone; OpenCV and rawpy offer no other way
to hear of it.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from threading import Lock
from typing import IO, TypeVar

T = TypeVar("T")

_LIBJPEG = (b"Corrupt JPEG data", b"Premature end of", b"Invalid SOS", b"Inconsistent progression", b"Invalid JPEG")
_LIBRARIES = (*_LIBJPEG, b"unknown file: ")  # LibRaw calls a file in memory so


class _Capture:
    """The process's stderr turned into a file until it is closed; where there is none, nothing is heard."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._file: IO[bytes] | None = None
        try:
            self._kept = os.dup(2)
            self._stack.callback(os.close, self._kept)
            file = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - closed with the stack
            os.dup2(file.fileno(), 2)
            self._file = file
        except OSError:
            self._stack.close()

    def said(self) -> list[str]:
        """The libraries' lines so far."""
        return [line.decode(errors="replace").strip() for line in self._lines() if line.startswith(_LIBRARIES)]

    def close(self) -> None:
        """Stderr as it was; what anybody else printed meanwhile is printed now."""
        if self._file is None:
            return
        os.dup2(self._kept, 2)
        others = b"".join(line for line in self._lines() if not line.startswith(_LIBRARIES))
        if others:
            with contextlib.suppress(OSError):
                os.write(2, others)
        self._stack.close()
        self._file = None

    def _lines(self) -> list[bytes]:
        if self._file is None:
            return []
        if hasattr(os, "pread"):  # the libraries write where the shared position stands: better not to move it
            return os.pread(self._file.fileno(), 1 << 24, 0).splitlines(keepends=True)
        self._file.seek(0)
        return self._file.read().splitlines(keepends=True)


_TURN = Lock()  # one capture at a time: there is one stderr
_MUTEX = Lock()  # over the two below
_inside: dict[object, bool] = {}  # who shares the capture, and whether anybody else was ever in it with them
_shared: list[_Capture] = []


@contextlib.contextmanager
def heard() -> Iterator[list[str]]:
    """Yields a list that holds the libraries' lines afterwards. Takes 25 microseconds, and its turn."""
    found: list[str] = []
    with _TURN:
        capture = _Capture()
        try:
            yield found
        finally:
            found += capture.said()
            capture.close()


def listened(work: Callable[[], T]) -> tuple[T, list[str]]:
    """The result of ``work``, and what the libraries said meanwhile. Several may run side by side.

    Where something was said while others ran too, nobody can tell by whom: ``work`` is then done again in a turn of its
    own, which damaged data alone cost.
    """
    token = _enter()
    try:
        result = work()
    finally:
        said, alone = _leave(token)
    if not said or alone:
        return result, said
    with heard() as said:
        result = work()
    return result, said


def _enter() -> object:
    token = object()
    with _MUTEX:
        if not _inside:
            _TURN.acquire()  # given back by the last to leave
            _shared.append(_Capture())
        for other in _inside:
            _inside[other] = True
        _inside[token] = bool(_inside)
    return token


def _leave(token: object) -> tuple[list[str], bool]:
    with _MUTEX:
        accompanied = _inside.pop(token)
        said = _shared[0].said()
        if not _inside:
            _shared.pop().close()
            _TURN.release()
    return said, not accompanied
