"""Fuse the brackets of a folder as they arrive, for tethered shooting.

    wait until the folder is quiet -> group it -> fuse the sets that are new and complete -> wait ...

The folder is quiet when no picture in it has appeared, grown or changed for some seconds. A set is complete when the
grouping is sure of it: one that lacks a frame, or whose evidence is thin, is ambiguous and waits for more.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from smarthdr_cli.batch.batch_options import BatchOptions, EngineOptions, WatchOptions
from smarthdr_cli.batch.jobs import real_path
from smarthdr_cli.batch.pipeline import Tally
from smarthdr_cli.batch.run import Callbacks, group_shoot, run_batch
from smarthdr_cli.batch.settings import Settings
from smarthdr_cli.batch.worker import NetworkCache
from smarthdr_cli.errors import UsageError
from smarthdr_cli.grouping.group import BracketSet, find_pictures

POLL_SECONDS = 1.0
DEFAULT_SETTLE = 5.0  # seconds; longer than a camera takes from one frame of a bracket to the next

State = dict[Path, tuple[int, int]]  # of each picture its size and the time of its last change
Sleep = Callable[[float], None]


def check_watch(watch: WatchOptions, options: BatchOptions, engine: EngineOptions) -> None:
    """Raises UsageError for options that need the whole shoot before the first set is fused."""
    if not watch.watch:
        if watch.settle is not None:
            raise UsageError("--settle belongs to --watch")
        return
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
    taken: set[tuple[Path, ...]] = set()
    told: set[str] = set()
    grouped: State | None = None
    left: list[BracketSet] = []
    while True:
        try:
            grouped = _wait_for_change(shoot, out, grouped, settle, sleep)
            sets, notes = group_shoot(
                shoot, out, bracket=bracket, gap=gap, max_pixels=settings.fuse.max_pixels, required=False
            )
        except KeyboardInterrupt:
            for one in left:
                callbacks.on_note(f"{one.name}: not fused, {'; '.join(one.reasons)}")
            return total
        new = [one for one in sets if one.frames not in taken]
        left = [one for one in new if one.ambiguous and options.ambiguous == "skip"]
        ready = [one for one in new if one not in left]
        notes += [_grown(one) for one in ready if any(set(frames) & set(one.frames) for frames in taken)]
        for note in notes:
            if note not in told:
                callbacks.on_note(note)
        told.update(notes)
        if not ready:
            continue
        taken.update(one.frames for one in ready)
        tally = run_batch(ready, out, settings, options, callbacks=callbacks, shoot=shoot, networks=networks)
        total.merge(tally)
        if total.stopped:
            return total


def _wait_for_change(shoot: Path, out: Path, known: State | None, settle: float, sleep: Sleep) -> State:
    """The state of ``shoot`` once it differs from ``known`` and has not changed for ``settle`` seconds."""
    state, quiet = _state(shoot, out), 0.0
    while state == known or quiet < settle:
        sleep(POLL_SECONDS)
        before, state = state, _state(shoot, out)
        quiet = quiet + POLL_SECONDS if state == before else 0.0
    return state


def _state(shoot: Path, out: Path) -> State:
    """The pictures of ``shoot``, without those in ``out``."""
    real_out, state = real_path(out), State()
    for path in find_pictures(shoot, on_error=lambda _message: None):  # group_shoot reports what cannot be read
        if real_path(path).is_relative_to(real_out):
            continue
        try:
            status = path.stat()
        except OSError:  # removed or renamed since it was listed
            continue
        state[path] = status.st_size, status.st_mtime_ns
    return state


def _grown(one: BracketSet) -> str:
    return (
        f"{one.name}: frames arrived after a part of it was fused, and it is fused again as {len(one.frames)} frames; "
        "a longer --settle waits for them"
    )
