"""The most memory the process has held since it was last asked."""

import contextlib
import sys
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def forget_peak() -> None:
    """Start the measure anew, where the system can (Linux); elsewhere the peak is the process's own."""
    with contextlib.suppress(OSError):
        _RESET.write_text("5")  # proc(5): resets the peak resident set size


def peak_memory() -> int:
    """Bytes of the largest resident set since ``forget_peak``; 0 where the system does not tell."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    with contextlib.suppress(ImportError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return 0
