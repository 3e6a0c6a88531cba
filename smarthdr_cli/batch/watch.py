"""Fuse the brackets of a folder as they arrive, for tethered shooting.

    wait until the folder is quiet -> group it -> fuse the sets that are new and complete -> wait ...

The folder is quiet when no picture in it has appeared, grown or changed for some seconds. A set is complete when the
grouping is sure of it: one that lacks a frame, or whose evidence is thin, is ambiguous and waits for more.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from smarthdr_cli.batch.batch_options import DEFAULT_SETTLE, BatchOptions, EngineOptions, WatchOptions
from smarthdr_cli.batch.jobs import real_path
from smarthdr_cli.batch.pipeline import Tally
from smarthdr_cli.batch.run import Callbacks, group_shoot, run_batch
from smarthdr_cli.batch.settings import Settings
from smarthdr_cli.batch.worker import NetworkCache
from smarthdr_cli.errors import UsageError
from smarthdr_cli.grouping.group import BracketSet, find_pictures

POLL_SECONDS = 1.0
ONE_PROCESS = EngineOptions(workers=1)  # whose network waits for the next bracket

Listing = dict[Path, tuple[int, int]]  # of each picture its size in bytes and the time of its last change
Sleep = Callable[[float], None]


def check_watch_options(watch: WatchOptions, options: BatchOptions, engine: EngineOptions) -> None:
    """Raises UsageError for options that need the whole shoot before the first set is fused."""
    if not watch.watch:
        if watch.settle is not None:
            raise UsageError("--settle belongs to --watch")
        return
    if engine.workers is not None:
        raise UsageError("--watch fuses each bracket as it arrives, in one process: leave out --workers")
    refused = {
        "--common-exposure": options.anchored,
        "--retry-failed": options.retry_failed,
        "--shard": options.shard is not None and options.shard.count > 1,
        "--engine ray": engine.engine != "local",
        "{n} in --name": "{n" in options.name,
    }
    for name, is_set in refused.items():
        if is_set:
            raise UsageError(
                f"{name} needs all brackets from the start, and --watch does not have them; "
                "run the batch once more without --watch when the shoot is over"
            )


def watch_shoot(
    shoot: Path,
    out: Path,
    settings: Settings,
    options: BatchOptions,
    callbacks: Callbacks,
    *,
    settle: float = DEFAULT_SETTLE,
    bracket: int | None = None,
    gap: float | None = None,
    sleep: Sleep = time.sleep,
) -> Tally:
    """Fuse what is in ``shoot`` and what arrives there, until Ctrl-C; returns the tally of everything.

    ``settle``: seconds for which the folder must be quiet. ``bracket``, ``gap``: of ``group_shoot``. ``sleep``: waits
    so many seconds. Sets that are done already are skipped. An interrupt while waiting ends the watch; one during a
    fusion is raised on, after the set that is being written. Raises as ``group_shoot`` and ``run_batch`` do.
    """
    options = replace(options, skip_existing=not options.overwrite)
    total, networks = Tally(), NetworkCache()
    fused: set[tuple[Path, ...]] = set()  # frames of each set
    printed_notes: set[str] = set()
    listing: Listing | None = None
    waiting: list[BracketSet] = []
    while True:
        try:
            listing = _wait_until_changed_and_quiet(shoot, out, listing, settle, sleep)
            sets, notes = group_shoot(
                shoot, out, bracket=bracket, gap=gap, max_pixels=settings.fuse.max_pixels, required=False
            )
        except KeyboardInterrupt:
            for bracket_set in waiting:
                callbacks.on_note(f"{bracket_set.name}: not fused, {'; '.join(bracket_set.reasons)}")
            return total
        new = [bracket_set for bracket_set in sets if bracket_set.frames not in fused]
        waiting = [bracket_set for bracket_set in new if bracket_set.ambiguous and options.ambiguous == "skip"]
        ready = [bracket_set for bracket_set in new if bracket_set not in waiting]
        fused_frames = {path for frames in fused for path in frames}
        notes += [
            _late_frames_note(bracket_set) for bracket_set in ready if fused_frames.intersection(bracket_set.frames)
        ]
        for note in notes:
            if note not in printed_notes:
                callbacks.on_note(note)
        printed_notes.update(notes)
        if not ready:
            continue
        fused.update(bracket_set.frames for bracket_set in ready)
        tally = run_batch(ready, out, settings, options, ONE_PROCESS, callbacks, shoot, networks)
        total.merge(tally)
        if total.stopped:
            return total


def _wait_until_changed_and_quiet(shoot: Path, out: Path, last: Listing | None, settle: float, sleep: Sleep) -> Listing:
    """The listing of ``shoot`` once it differs from ``last`` and has not changed for ``settle`` seconds."""
    listing, quiet = _list_pictures(shoot, out), 0.0
    while listing == last or quiet < settle:
        sleep(POLL_SECONDS)
        before, listing = listing, _list_pictures(shoot, out)
        quiet = quiet + POLL_SECONDS if listing == before else 0.0
    return listing


def _list_pictures(shoot: Path, out: Path) -> Listing:
    """The pictures of ``shoot``, without those in ``out``."""
    real_out, listing = real_path(out), Listing()
    for path in find_pictures(shoot, on_error=lambda _message: None):  # group_shoot reports what cannot be read
        if real_path(path).is_relative_to(real_out):
            continue
        try:
            status = path.stat()
        except OSError:  # removed or renamed since it was listed
            continue
        listing[path] = status.st_size, status.st_mtime_ns
    return listing


def _late_frames_note(bracket_set: BracketSet) -> str:
    return (
        f"{bracket_set.name}: frames arrived after a part of it was fused, and it is fused again as "
        f"{len(bracket_set.frames)} frames; a longer --settle waits for them"
    )
