"""The display of a training run: a live table on a terminal's stderr; elsewhere a line at times and validations."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, NamedTuple

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from smarthdr_cli.cli.console import stderr

OnRecord = Callable[[dict[str, Any]], None]
OnScene = Callable[[int, int], None]
LOG_SECONDS = 30.0  # between two lines in a log
MEAN_UPDATES = 50  # that the displayed means cover
_NOT_TERMS = ("step", "phase", "patches_per_second", "seconds")


def line(record: dict[str, Any]) -> str:
    """A record of the log in one line."""
    numbers = " ".join(f"{k} {v:.4g}" for k, v in record.items() if isinstance(v, float))
    return f"step {record['step']}: {numbers}"


class RunningMean:
    """Mean of all finite values at first, and of about the last ``MEAN_UPDATES`` once there are more."""

    def __init__(self) -> None:
        self.value, self.count = 0.0, 0

    def add(self, value: float) -> None:
        """Include ``value``, unless it is not finite."""
        if math.isfinite(value):
            self.count = min(self.count + 1, MEAN_UPDATES)
            self.value += (value - self.value) / self.count


class TrainingTable:
    """The live table of a run of ``iterations`` updates, or as many as ``minutes`` allow; ``now``: a clock, seconds."""

    def __init__(
        self, iterations: int, minutes: float | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.iterations, self.now = iterations, now
        self._end = math.inf if minutes is None else now() + 60 * minutes
        self.step, self.phase, self.patches_per_second = 0, "", 0.0
        self.losses: dict[str, RunningMean] = {}
        self.shares: dict[str, RunningMean] = {}
        self.scores: dict[str, float] = {}
        self._update_seconds = RunningMean()
        self._last_update: float | None = None

    def on_step(self, record: dict[str, Any]) -> None:
        """Include an update in the running means; another phase starts them anew."""
        time_now = self.now()
        if record["phase"] != self.phase:
            self.losses, self.shares, self._update_seconds = {}, {}, RunningMean()
        elif self._last_update is not None:
            self._update_seconds.add(time_now - self._last_update)
        self._last_update = time_now
        self.step, self.phase = record["step"], record["phase"]
        self.patches_per_second = record["patches_per_second"]
        for name, value in record.items():
            if name not in _NOT_TERMS:
                means = self.shares if name.startswith("kept") else self.losses
                means.setdefault(name, RunningMean()).add(value)

    def on_labels(self, done: int, total: int) -> None:
        """Show how many of ``total`` scenes have their pseudo-labels."""
        self.phase = f"pseudo-labels of scene {done + 1} of {total}"
        self._last_update = None

    def on_log(self, record: dict[str, Any]) -> None:
        """Show the scores of a validation until the next one."""
        self.scores = {
            k.removeprefix("validation_"): v for k, v in record.items() if k.startswith("validation_")
        } or self.scores
        self._last_update = None  # the time of a validation is no update's

    @property
    def time_left(self) -> str:
        """Time to the end at the present speed, as H:MM:SS."""
        if not self._update_seconds.count:
            return "-:--:--"
        seconds = min(self._update_seconds.value * (self.iterations - self.step), self._end - self.now())
        return str(timedelta(seconds=round(max(seconds, 0))))

    def __rich__(self) -> RenderableType:
        """The table at this moment."""
        head = Table.grid(padding=(0, 2))
        head.add_row(
            Text(self.phase or "preparing", style="bold"),
            f"{self.step}/{self.iterations}",
            ProgressBar(total=self.iterations, completed=self.step, width=30),
            f"{self.patches_per_second:.1f} patches/s",
            f"{self.time_left} left",
        )
        rows = Table.grid(padding=(0, 2))
        rows.add_row("loss", _pairs({k: mean.value for k, mean in self.losses.items()}, "{:.4g}"))
        if self.shares:
            rows.add_row("kept", _pairs({_share(k): 100 * v.value for k, v in self.shares.items()}, "{:.1f} %"))
        if self.scores:
            rows.add_row("validation", _pairs({_score(k): v for k, v in self.scores.items()}, "{:.2f} dB"))
        return Group(head, rows)


class StepLines:
    """The progress of a run for a log: a line every LOG_SECONDS.

    ``write``: called with each line. ``now``: a clock in seconds; the others as of ``TrainingTable``.
    """

    def __init__(
        self,
        iterations: int,
        write: Callable[[str], None],
        minutes: float | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._table, self._write, self._now = TrainingTable(iterations, minutes, now), write, now
        self._written = now()

    def _is_due(self) -> bool:
        due = self._now() - self._written >= LOG_SECONDS
        if due:
            self._written = self._now()
        return due

    def on_labels(self, done: int, total: int) -> None:
        """Write a line for the first scene, and where one is due."""
        self._table.on_labels(done, total)
        if self._is_due() or not done:
            self._write(self._table.phase)

    def on_step(self, record: dict[str, Any]) -> None:
        """Include an update, and write the line where one is due."""
        self._table.on_step(record)
        if self._is_due():
            losses = " ".join(f"{name} {mean.value:.4g}" for name, mean in self._table.losses.items())
            self._write(f"step {record['step']} of {self._table.iterations}: {losses}, {self._table.time_left} left")


def _pairs(values: dict[str, float], form: str) -> Text:
    return Text("  ").join(Text.assemble((name + " ", "dim"), form.format(value)) for name, value in values.items())


def _share(name: str) -> str:
    return {"kept": "of pixels", "kept_patches": "by the patch mask", "kept_filled": "after filling"}.get(name, name)


def _score(name: str) -> str:
    return {"psnr_mu": "teacher PSNR-μ", "student": "student PSNR-μ"}.get(name, name)


class TrainingDisplay(NamedTuple):
    """What to call with each update, with each record of the log, and with (scenes done, all) of pseudo-labels."""

    on_step: OnRecord = lambda _record: None
    on_log: OnRecord = lambda _record: None
    on_labels: OnScene = lambda _done, _total: None


@contextlib.contextmanager
def training_display(
    iterations: int, minutes: float | None = None, *, quiet: bool, console: Console | None = None
) -> Iterator[TrainingDisplay]:
    """The display of a run of ``iterations`` updates, or as many as ``minutes`` allow, on ``console``: stderr."""
    console = console or stderr()

    def print_text(text: str) -> None:
        console.print(text, soft_wrap=True)

    def print_line(record: dict[str, Any]) -> None:
        print_text(line(record))

    if quiet:
        yield TrainingDisplay()
    elif not console.is_terminal:
        lines = StepLines(iterations, print_text, minutes)
        yield TrainingDisplay(lines.on_step, print_line, lines.on_labels)
    else:
        table = TrainingTable(iterations, minutes)
        with Live(table, console=console, redirect_stdout=False) as live:

            def on_log(record: dict[str, Any]) -> None:
                table.on_log(record)
                live.console.print(line(record), soft_wrap=True, style="dim")

            yield TrainingDisplay(table.on_step, on_log, table.on_labels)
