"""Exceptions for errors of users and their files, each with the exit code of the command; and out-of-memory errors."""

import os


class SmartHDRError(Exception):
    """Base class; ``str(error)`` is the one line that the user reads (exit 1)."""

    exit_code: int = 1


class UsageError(SmartHDRError):
    """Options that contradict each other or do not fit the inputs (exit 2)."""

    exit_code = 2


class InputError(SmartHDRError):
    """A file that is missing, damaged or unfit to fuse (exit 3)."""

    exit_code = 3


class DamagedFileError(InputError):
    """A file whose content is damaged or cut short; the message ends with what to do (exit 3)."""

    def __str__(self) -> str:
        return f"{super().__str__()}; copy the file again from its source, or leave it out"


class ModelError(SmartHDRError):
    """Weights that are missing, damaged or of another program (exit 4)."""

    exit_code = 4


class OutputError(SmartHDRError):
    """An output that exists already or cannot be written (exit 5)."""

    exit_code = 5


class MemoryLimitError(SmartHDRError):
    """Not enough memory even for the smallest tile (exit 6)."""

    exit_code = 6


class PartialFailureError(SmartHDRError):
    """Some bursts of several failed (exit 7)."""

    exit_code = 7


class UncertaintyLimitError(SmartHDRError):
    """The uncertainty of the result exceeds the given limit (exit 8)."""

    exit_code = 8


# Parts of the messages of OpenCV (StsNoMem) and torch, on CPU and GPU; they share no exception type.
_OUT_OF_MEMORY_MESSAGES = (
    "Failed to allocate",
    "Insufficient memory",
    "can't allocate memory",
    "not enough memory",
    "CUDA out of memory",
)


def full_path(path: str | os.PathLike[str]) -> str:
    """``path`` from the root, as messages name files: a log is read in another folder than it was written in."""
    return os.path.abspath(path)  # noqa: PTH100 - resolve() would follow links


def os_reason(error: OSError) -> str:
    """Why the system refused, in lower case, such as "permission denied"."""
    return (error.strerror or str(error)).lower()


def out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` is an out-of-memory error of Python, NumPy, OpenCV or torch; imports none of them."""
    if isinstance(error, SmartHDRError):  # its text may contain the name of a file
        return False
    if isinstance(error, MemoryError) or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    return any(message in str(error) for message in _OUT_OF_MEMORY_MESSAGES)
