"""One family of errors, each with the exit code the command ends with."""


class SmartHDRError(Exception):
    """Base of every error a user can meet; ``str(error)`` is the one line they read."""

    exit_code: int = 1


class UsageError(SmartHDRError):
    """Options that contradict each other or do not fit the inputs (exit 2)."""

    exit_code = 2


class InputError(SmartHDRError):
    """A file that is missing, damaged or unfit to fuse (exit 3)."""

    exit_code = 3


class ModelError(SmartHDRError):
    """Weights that are missing, damaged or not ours (exit 4)."""

    exit_code = 4


class OutputError(SmartHDRError):
    """A result that exists already or cannot be written (exit 5)."""

    exit_code = 5


class MemoryLimitError(SmartHDRError):
    """Not enough memory even for the smallest tile (exit 6)."""

    exit_code = 6


class PartialFailureError(SmartHDRError):
    """Some bursts of several failed (exit 7)."""

    exit_code = 7


class UncertaintyLimitError(SmartHDRError):
    """The result is less certain than the stated limit (exit 8)."""

    exit_code = 8


# In the messages of OpenCV (StsNoMem) and of torch, on a CPU and on a GPU, which have no common type for it.
_OUT_OF_MEMORY = (
    "Failed to allocate",
    "Insufficient memory",
    "can't allocate memory",
    "not enough memory",
    "CUDA out of memory",
)


def out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` is what Python, NumPy, OpenCV or torch raise when memory runs out; imports none of them."""
    if isinstance(error, SmartHDRError):  # its text may quote a file's name
        return False
    if isinstance(error, MemoryError) or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    return any(words in str(error) for words in _OUT_OF_MEMORY)
