"""How a training run is watched: a live table on a terminal's stderr, a line at each validation elsewhere."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from smarthdr_cli.cli.console import stderr

Told = Callable[[dict[str, Any]], None]
RECENT = 50  # updates that the means shown remember
_KNOWN = ("step", "phase", "patches_per_second", "seconds")


def line(record: dict[str, Any]) -> str:
    """A record of the log in one line."""
    numbers = " ".join(f"{k} {v:.4g}" for k, v in record.items() if isinstance(v, float))
    return f"step {record['step']}: {numbers}"


class Mean:
    """Of all finite values so far, and of about the last ``RECENT`` once there are more."""

    def __init__(self) -> None:
        self.value, self.count = 0.0, 0

    def add(self, value: float) -> None:
        """Take one more into account."""
        if math.isfinite(value):
            self.count = min(self.count + 1, RECENT)
            self.value += (value - self.value) / self.count


class Watch:
    """What is shown of a run of ``iterations`` updates; ``now`` is a clock in seconds."""

    def __init__(self, iterations: int, now: Callable[[], float] = time.monotonic) -> None:
        self.iterations, self.now = iterations, now
        self.step, self.phase, self.speed = 0, "", 0.0
        self.terms: dict[str, Mean] = {}
        self.shares: dict[str, Mean] = {}
        self.scores: dict[str, float] = {}
        self._seconds = Mean()  # an update takes
        self._last: float | None = None

    def on_step(self, told: dict[str, Any]) -> None:
        """An update: its losses and shares go into running means; those of another phase go."""
        at = self.now()
        if told["phase"] != self.phase:
            self.terms, self.shares, self._seconds = {}, {}, Mean()
        elif self._last is not None:
            self._seconds.add(at - self._last)
        self._last = at
        self.step, self.phase, self.speed = told["step"], told["phase"], told["patches_per_second"]
        for name, value in told.items():
            if name not in _KNOWN:
                means = self.shares if name.startswith("kept") else self.terms
                means.setdefault(name, Mean()).add(value)

    def on_log(self, record: dict[str, Any]) -> None:
        """A validation: its scores stay until the next."""
        self.scores = {
            k.removeprefix("validation_"): v for k, v in record.items() if k.startswith("validation_")
        } or self.scores
        self._last = None  # the time it took is no update's

    @property
    def left(self) -> str:
        """Time to the end at the present speed, as H:MM:SS."""
        if not self._seconds.count:
            return "-:--:--"
        return str(timedelta(seconds=round(self._seconds.value * max(self.iterations - self.step, 0))))

    def __rich__(self) -> RenderableType:
        """The table as it stands."""
        head = Table.grid(padding=(0, 2))
        head.add_row(
            Text(self.phase or "preparing", style="bold"),
            f"{self.step}/{self.iterations}",
            ProgressBar(total=self.iterations, completed=self.step, width=30),
            f"{self.speed:.1f} patches/s",
            f"{self.left} left",
        )
        rows = Table.grid(padding=(0, 2))
        rows.add_row("loss", _pairs({k: mean.value for k, mean in self.terms.items()}, "{:.4g}"))
        if self.shares:
            rows.add_row("kept", _pairs({_share(k): 100 * v.value for k, v in self.shares.items()}, "{:.1f} %"))
        if self.scores:
            rows.add_row("validation", _pairs({_score(k): v for k, v in self.scores.items()}, "{:.2f} dB"))
        return Group(head, rows)


def _pairs(values: dict[str, float], form: str) -> Text:
    return Text("  ").join(Text.assemble((name + " ", "dim"), form.format(value)) for name, value in values.items())


def _share(name: str) -> str:
    return {"kept": "of pixels", "kept_patches": "by the patch mask", "kept_filled": "after filling"}.get(name, name)


def _score(name: str) -> str:
    return {"psnr_mu": "teacher PSNR-μ", "student": "student PSNR-μ"}.get(name, name)


@contextlib.contextmanager
def watching(iterations: int, *, quiet: bool) -> Iterator[tuple[Told, Told]]:
    """What to call with each update and with each record of the log. Nothing is shown where ``quiet``."""
    console = stderr()

    def say(record: dict[str, Any]) -> None:
        stderr().print(line(record), soft_wrap=True)

    if quiet:
        yield lambda _told: None, lambda _record: None
    elif not console.is_terminal:
        yield lambda _told: None, say
    else:
        watch = Watch(iterations)
        with Live(watch, console=console, redirect_stdout=False) as live:

            def log(record: dict[str, Any]) -> None:
                watch.on_log(record)
                live.console.print(line(record), soft_wrap=True, style="dim")

            yield watch.on_step, log
