"""How many cores are ours: a job that is given eight of a machine's 128 must not start 128 of anything."""

import os


def usable() -> int:
    """Cores that this process may run on, at least 1; all of the machine's where the system does not tell."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
