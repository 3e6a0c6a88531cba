"""Which implementation of the per-pixel functions runs: loops compiled by numba, or NumPy where it cannot run."""

from functools import lru_cache
from threading import Lock
from types import ModuleType
from typing import NamedTuple

from smarthdr_cli.fusion import pixel_arrays, pixel_kernel
from smarthdr_cli.fusion.result import Kernel

_LOCK = Lock()


class KernelChoice(NamedTuple):
    """``reason``: why the loops are not compiled, "" where they are. ``cache``: the folder of what is compiled, None
    where no folder can be written.
    """

    kernel: Kernel
    reason: str = ""
    cache: str | None = None


def pixel_functions() -> ModuleType:
    """pixel_kernel or pixel_arrays. The first call of a process compiles: seconds where nothing is cached."""
    return pixel_kernel if kernel_choice().kernel == "compiled" else pixel_arrays


def kernel_choice() -> KernelChoice:
    """The implementation for this machine, compiled as ``pixel_functions``."""
    with _LOCK:  # one thread compiles, the others wait
        return _choice()


def is_chosen() -> bool:
    """Whether ``kernel_choice`` answers at once."""
    return _choice.cache_info().currsize > 0


@lru_cache(maxsize=1)
def _choice() -> KernelChoice:
    if pixel_kernel.UNAVAILABLE:
        return KernelChoice("numpy", pixel_kernel.UNAVAILABLE)
    try:
        pixel_kernel.compile_all()
    except Exception as error:  # numba and LLVM raise errors of many types
        return KernelChoice("numpy", f"numba cannot compile ({type(error).__name__}: {error})")
    return KernelChoice("compiled", cache=pixel_kernel.merge.stats.cache_path)
