"""The loop of every run: updates, the teacher's average, validation, and a state from which a run can be resumed.

    teacher <- d teacher + (1 - d) student   after every update,   d = min(ema, (1 + step) / (10 + step))

(Tarvainen and Valpola 2017). The state is written whole to a temporary file and then moved into place, so that a run
killed at any moment leaves the last good one. Signals end the run cleanly after the update in progress.
"""

import json
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from smarthdr_cli.atomic import atomic_file
from smarthdr_cli.train import distributed
from smarthdr_cli.train.config import TrainConfig
from smarthdr_cli.train.state import STATE, TrainState, save_state

METRICS = "metrics.jsonl"
OnLog = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class TimeBudget:
    """Stop ``minutes`` after the first update, or never where None; let the rate fall to 0 over the last ``cooldown``.

    The fall is linear (Hu et al. 2024, "MiniCPM": warm-up, stable, decay), whatever the schedule of updates says. For a
    machine that is at hand for a fixed time, in which the number of updates is not known. Raises ValueError for a
    cooldown longer than the minutes, or without any.
    """

    minutes: float | None = None
    cooldown: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.cooldown <= (self.minutes or 0) and self.cooldown:
            raise ValueError("the cooldown must not be longer than the time budget")

    def expired(self, seconds: float) -> bool:
        """Whether the time is up, ``seconds`` after the start."""
        return self.minutes is not None and seconds > self.minutes * 60

    def lr_scale(self, seconds: float) -> float:
        """The factor of the rate, in [0, 1], ``seconds`` after the start."""
        if self.minutes is None or not self.cooldown:
            return 1.0
        return min(1.0, max(0.0, (self.minutes - seconds / 60) / self.cooldown))


UNLIMITED = TimeBudget()


class Session(Protocol):
    """What a run learns from. ``patches``: crops an update sees."""

    patches: int

    def step(self, state: TrainState) -> dict[str, float]:
        """One update of the student; the terms of the loss by name."""

    def phase(self, step: int) -> str:
        """What is learned at a step, in a word."""

    def validate(self, state: TrainState) -> dict[str, float]:
        """Scores by name."""

    def before_save(self, state: TrainState) -> None:
        """Put into ``state.extra`` what the session needs after a resume."""

    def after_save(self) -> None:
        """Remove what only an older state needs."""

    def close(self) -> None:
        """End its threads and processes."""


def train(
    config: TrainConfig, session: Session, folder: Path, state: TrainState, on_log: OnLog, *,
    on_step: OnLog = lambda _: None, budget: TimeBudget = UNLIMITED,
) -> TrainState:  # fmt: skip
    """Run until ``config.iterations``, the ``budget`` or a signal ends it; ``folder`` gets state.pt and metrics.jsonl.

    ``on_step`` gets the record of every update, ``on_log`` the means since the last validation with its scores. The
    session is closed at the end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    main_process = distributed.rank() == 0
    if main_process:
        _drop_records_after(folder / METRICS, state.step)
    signals: list[int] = []
    handlers = {
        s: signal.signal(s, lambda number, _frame: signals.append(number)) for s in (signal.SIGTERM, signal.SIGINT)
    }
    started = last_save = window = time.monotonic()
    seconds_before = state.seconds
    sums: dict[str, list[float]] = {}
    updates = 0
    failed = False

    def save() -> None:
        session.before_save(state)
        if main_process:
            save_state(folder / STATE, state, config)
        if not failed:  # an error in one process leaves the others elsewhere: no barrier then
            distributed.barrier()
            session.after_save()

    try:
        while state.step < config.iterations and not distributed.any_process(bool(signals)):
            state.lr_scale = distributed.from_main_process(budget.lr_scale(time.monotonic() - started))
            terms = session.step(state)
            decay = 0.0 if config.teacher == "copy" else ema_decay(config.ema, state.step)
            update_ema(state.teacher.state_dict(), state.student, decay)
            state.step += 1
            state.seconds = seconds_before + time.monotonic() - started
            for name, value in terms.items():
                sums.setdefault(name, []).append(value)
            updates += 1
            speed = updates * session.patches / max(time.monotonic() - window, 1e-9)
            phase = session.phase(state.step - 1)
            on_step({"step": state.step, "phase": phase, "patches_per_second": speed} | terms)
            if state.step % config.validate_every == 0 or state.step == config.iterations:
                record: dict[str, Any] = {"step": state.step, "phase": phase, "seconds": round(state.seconds, 1)}
                record |= {name: sum(values) / len(values) for name, values in sums.items()}
                record["patches_per_second"] = speed
                record |= {f"validation_{k}": v for k, v in session.validate(state).items()}
                if main_process:
                    with (folder / METRICS).open("a") as log:
                        log.write(json.dumps(record) + "\n")
                on_log(record)
                sums, updates, window = {}, 0, time.monotonic()
            if distributed.any_process(time.monotonic() - last_save > config.save_minutes * 60):
                save()
                last_save = time.monotonic()
            if distributed.any_process(budget.expired(time.monotonic() - started)):
                break
    except BaseException:
        failed = True
        raise
    finally:
        try:
            session.close()
            save()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    return state


def ema_decay(decay: float, step: int) -> float:
    """The decay at an update: small at first, so that early weights are forgotten, ``decay`` in the end."""
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def update_ema(average: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    """average <- decay * average + (1 - decay) * weights, in place; buffers that are not floating are copied."""
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value.to(average[name].dtype), 1 - decay)
        else:
            average[name].copy_(value)


def _drop_records_after(path: Path, step: int) -> None:
    """Drop what a killed run logged after its last state: those updates come again."""
    lines = path.read_text(errors="replace").splitlines(keepends=True) if path.exists() else []
    kept = [line for line in lines if 0 <= _step_of(line) <= step]
    if kept != lines:
        with atomic_file(path, overwrite=True) as partial:
            partial.write_text("".join(kept))


def _step_of(line: str) -> int:
    """The step of a line of the log; -1 where the line was cut short."""
    try:
        return int(json.loads(line)["step"]) if line.endswith("\n") else -1
    except (ValueError, LookupError, TypeError):
        return -1
