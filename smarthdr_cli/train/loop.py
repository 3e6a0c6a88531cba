"""The loop of every run: updates, averaged weights, validation, and a state that can be taken up again.

The state is written whole to a temporary file and then moved into place, so that a run killed at any moment leaves the
last good one. Signals end the run cleanly after the step in progress.
"""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from smarthdr_cli.atomic import atomic_file
from smarthdr_cli.train import distributed
from smarthdr_cli.train.clock import ENDLESS, Clock
from smarthdr_cli.train.config import TrainConfig
from smarthdr_cli.train.ema import update_ema, warm_decay
from smarthdr_cli.train.state import TrainState, save_state

METRICS = "metrics.jsonl"
Told = Callable[[dict[str, Any]], None]


class Session(Protocol):
    """What a run learns from. ``patches``: crops an update sees."""

    patches: int

    def step(self, state: TrainState) -> dict[str, float]:
        """One update of the student; the terms of the loss by name."""

    def phase(self, step: int) -> str:
        """What is learned at a step, in a word."""

    def validate(self, state: TrainState) -> dict[str, float]:
        """Scores by name."""

    def saving(self, state: TrainState) -> None:
        """The state is about to be saved: put into ``state.extra`` what the session must find again."""

    def saved(self) -> None:
        """The state has been saved: what only an older one needs may go."""

    def close(self) -> None:
        """End its threads."""


def train(
    config: TrainConfig, session: Session, folder: Path, state: TrainState, on_log: Told, *,
    on_step: Told = lambda _: None, clock: Clock = ENDLESS,
) -> TrainState:  # fmt: skip
    """Run until ``config.iterations``, the ``clock`` or a signal ends it; ``folder`` gets state.pt and metrics.jsonl.

    ``on_step`` is told every update, ``on_log`` the means since the last validation with its scores. The session is
    closed at the end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    first = distributed.rank() == 0
    if first:
        _forget_after(folder / METRICS, state.step)
    stopping: list[int] = []
    previous = {
        s: signal.signal(s, lambda number, _frame: stopping.append(number)) for s in (signal.SIGTERM, signal.SIGINT)
    }
    started = saved = window = time.monotonic()
    before = state.seconds
    sums: dict[str, list[float]] = {}
    counted = 0
    failed = False

    def save() -> None:
        session.saving(state)
        if first:
            save_state(folder / "state.pt", state, config)
        if not failed:  # the others, who know nothing of it, are somewhere else
            distributed.wait()
            session.saved()

    try:
        while state.step < config.iterations and not distributed.any_of(bool(stopping)):
            state.pace = distributed.first_one(clock.pace(time.monotonic() - started))
            terms = session.step(state)
            decay = 0.0 if config.teacher == "copy" else warm_decay(config.ema, state.step)
            update_ema(state.teacher.state_dict(), state.student, decay)
            state.step += 1
            state.seconds = before + time.monotonic() - started
            for name, value in terms.items():
                sums.setdefault(name, []).append(value)
            counted += 1
            speed = counted * session.patches / max(time.monotonic() - window, 1e-9)
            phase = session.phase(state.step - 1)
            on_step({"step": state.step, "phase": phase, "patches_per_second": speed} | terms)
            if state.step % config.validate_every == 0 or state.step == config.iterations:
                record: dict[str, Any] = {"step": state.step, "phase": phase, "seconds": round(state.seconds, 1)}
                record |= {name: sum(values) / len(values) for name, values in sums.items()}
                record["patches_per_second"] = speed
                record |= {f"validation_{k}": v for k, v in session.validate(state).items()}
                if first:
                    with (folder / METRICS).open("a") as log:
                        log.write(json.dumps(record) + "\n")
                on_log(record)
                sums, counted, window = {}, 0, time.monotonic()
            if distributed.any_of(time.monotonic() - saved > config.save_minutes * 60):
                save()
                saved = time.monotonic()
            if distributed.any_of(clock.over(time.monotonic() - started)):
                break
    except BaseException:
        failed = True
        raise
    finally:
        try:
            session.close()
            save()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
    return state


def _forget_after(path: Path, step: int) -> None:
    """Drop what a killed run has logged since the state that is gone on from: those updates come again."""
    lines = path.read_text(errors="replace").splitlines(keepends=True) if path.exists() else []
    kept = [line for line in lines if 0 <= _step_of(line) <= step]
    if kept != lines:
        with atomic_file(path, overwrite=True) as partial:
            partial.write_text("".join(kept))


def _step_of(line: str) -> int:
    """The update a line of the log is about; -1 where it was cut short."""
    try:
        return int(json.loads(line)["step"]) if line.endswith("\n") else -1
    except (ValueError, LookupError, TypeError):
        return -1
