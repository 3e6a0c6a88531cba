"""What the command does about its own process; nothing of it is done to programs that import the package."""

import atexit
import ctypes
import os
import sys
from contextlib import suppress
from typing import NoReturn

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt(3)
_LARGE = 1 << 28


def keep_freed_memory() -> None:
    """Let glibc reuse blocks of megabytes instead of giving them back: each time it asks anew, their pages are zeroed.

    2 to 3 % of a fusion's time. Other C libraries have no such switch, and nothing happens.
    """
    mallopt = getattr(ctypes.pythonapi, "mallopt", None)  # found through the process itself
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGE)
        mallopt(_TRIM_THRESHOLD, _LARGE)


def leave(code: object) -> NoReturn:
    """End the process with what SystemExit was given, without taking the interpreter and its libraries apart.

    That takes half a second with torch loaded, and the system frees everything at once. What was registered for the
    exit is done first.
    """
    if isinstance(code, str):
        print(code, file=sys.stderr)
    atexit._run_exitfuncs()
    status = code if isinstance(code, int) else int(code is not None)
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):  # what was printed has got lost: the interpreter ends with 120 then
            status = status or 120
            with suppress(OSError, ValueError):
                stream.close()
    os._exit(status & 0xFF)
