"""What libjpeg and LibRaw print of the data they are given: caught, so that damage has a file's name.

Both go on decoding behind a damaged place and say so on the process's stderr alone; OpenCV and rawpy offer no other way
to hear of it.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from threading import Lock

_LOCK = Lock()  # one at a time: there is one stderr
_LIBJPEG = (b"Corrupt JPEG data", b"Premature end of", b"Invalid SOS", b"Inconsistent progression", b"Invalid JPEG")
_LIBRARIES = (*_LIBJPEG, b"unknown file: ")  # LibRaw calls a file in memory so


@contextlib.contextmanager
def heard() -> Iterator[list[str]]:
    """Yields a list that holds the libraries' lines afterwards; what anybody else printed meanwhile is printed then.

    Takes 25 microseconds, and its turn. Where there is no stderr, or no temporary file, nothing is heard.
    """
    found: list[str] = []
    with _LOCK, contextlib.ExitStack() as stack:
        try:
            kept = os.dup(2)
            stack.callback(os.close, kept)
            file = stack.enter_context(tempfile.TemporaryFile())
            os.dup2(file.fileno(), 2)
        except OSError:
            yield found
            return
        try:
            yield found
        finally:
            os.dup2(kept, 2)
            file.seek(0)
            lines = file.read().splitlines(keepends=True)
            found += [line.decode(errors="replace").strip() for line in lines if line.startswith(_LIBRARIES)]
            others = b"".join(line for line in lines if not line.startswith(_LIBRARIES))
            if others:
                with contextlib.suppress(OSError):
                    os.write(2, others)
