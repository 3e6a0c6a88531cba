"""How commands talk: one line and an exit code for an error, notes and progress on stderr, JSON on stdout."""

import contextlib
import functools
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from smarthdr_cli.cli.options import flatten
from smarthdr_cli.errors import MemoryLimitError, OutputError, SmartHDRError, full_path, os_reason, out_of_memory

R = TypeVar("R")
INTERRUPTED = 130  # exit code: 128 + SIGINT, as shells have it
TRACEBACK = "SMARTHDR_TRACEBACK"  # environment variable: show the traceback of a crash
LOG_SECONDS = 10.0  # between two lines about one stage in a log
# What a stage is called on the screen; those not listed by their own name.
_STAGE_WORDS = {
    "read": "reading the files",
    "load": "loading the network",
    "compile": "loading the merge, which the first run compiles",
    "align": "aligning the frames",
    "response": "finding the tone curve",
    "fuse": "fusing",
    "merge": "merging",
    "convert": "converting colours",
    "write": "writing",
    "headers": "reading headers",
    "pictures": "comparing pictures",
    "group": "finding brackets",
    "curves": "finding tone curves",
    "sets": "fusing the sets",
    "make scenes": "making scenes",
    "prepare": "preparing the scenes",
    "load scenes": "loading scenes",
    "time updates": "timing a few updates",
    "evaluate": "evaluating",
}


def cli_command(command: Callable[..., R]) -> Callable[..., R]:
    """Give ``command`` the flags of its dataclasses (see options.py), and turn errors into one line and an exit code.

    A SmartHDRError has its own exit code; an interrupt ends with 130, a crash with 1. A KeyboardInterrupt may hold the
    words that follow "interrupted".
    """
    call, signature = flatten(command)

    @functools.wraps(command)
    def run(**values: Any) -> R:
        try:
            with terminated_as_interrupt():
                return call(**values)
        except SmartHDRError as error:
            print_error(str(error))
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            print_error(f"interrupted; {str(error) or 'nothing was left half-written'}")
            raise typer.Exit(INTERRUPTED) from error
        except BrokenPipeError as error:
            _discard_stdout()
            raise typer.Exit(1) from error
        except Exception as error:
            if isinstance(error, typer.Exit) or os.environ.get(TRACEBACK):
                raise
            if out_of_memory(error):
                print_error("out of memory; close other programs, limit it with --max-memory, or fuse fewer frames")
                raise typer.Exit(MemoryLimitError.exit_code) from error
            message = f"{type(error).__name__}: {error}"
            print_markup(f"smarthdr: crashed ({_one_line(message)}); set {TRACEBACK}=1 to see where")
            raise typer.Exit(1) from error

    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    return run


@contextlib.contextmanager
def terminated_as_interrupt() -> Iterator[None]:
    """SIGTERM cleans up as Ctrl-C does."""

    def interrupt(_number: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    try:
        previous = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread, which alone may set handlers
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextlib.contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn an OSError inside, such as a name too long, into an OutputError about ``path``."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {full_path(path)}: {os_reason(error)}") from error


@contextlib.contextmanager
def stdout_errors() -> Iterator[None]:
    """Turn an OSError of stdout inside, such as a full disk, into an OutputError; a BrokenPipeError stays one."""
    if sys.stdout is None:
        raise OutputError("cannot write to stdout: it is closed")
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _discard_stdout()
        raise OutputError(f"cannot write to stdout: {os_reason(error)}") from error


def _discard_stdout() -> None:
    """Send buffered output nowhere; else Python tries to write it again at exit and changes the exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def stderr() -> Console:
    """A console on the present stderr, which tests and shells redirect; honours NO_COLOR."""
    return Console(stderr=True, highlight=False, emoji=False)


def print_markup(line: str) -> None:
    """Print a line of rich markup on stderr; a stderr that cannot be written is ignored, the exit code remains."""
    with contextlib.suppress(OSError):
        stderr().print(line, soft_wrap=True)


def print_error(message: str) -> None:
    """Print what is wrong in one line on stderr."""
    print_markup(f"[bold red]smarthdr:[/] {_one_line(message)}")


def printable(text: str) -> str:
    """``text`` on one line, with control characters and undecodable bytes of file names as escapes.

    >>> printable("two\\nlines")
    'two\\\\nlines'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _one_line(text: str) -> str:
    return escape(printable(" ".join(text.split())))


def print_notes(notes: Sequence[str], *, quiet: bool, prefix: str = "note: ") -> None:
    """Print notes on stderr, one a line, each after ``prefix``."""
    if not quiet:
        for note in notes:
            print_markup(f"[yellow]{prefix}[/]{_one_line(note)}")


def print_json(value: Any) -> None:
    """Print one JSON object on one line of stdout; NumPy's numbers as numbers, paths as text.

    Raises ValueError for NaN and infinity, which JSON cannot hold, and OutputError if stdout cannot be written.
    """
    line = json.dumps(value, default=_to_json, allow_nan=False)
    with stdout_errors():
        typer.echo(line)


def print_lines(lines: Iterable[str]) -> None:
    """Print lines of text on stdout, see ``printable``. Raises OutputError if stdout cannot be written."""
    with stdout_errors():
        for line in lines:
            typer.echo(printable(line))


def print_table(table: Table) -> None:
    """Print a table on stdout; rows are not folded in a pipe. Raises OutputError if stdout cannot be written."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 10_000
    with stdout_errors():
        console.print(table)


def _to_json(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


@contextlib.contextmanager
def progress(*, quiet: bool) -> Iterator[Callable[[str, float], None]]:
    """A live bar for each stage on a terminal's stderr, plain lines elsewhere. Yields ``report(stage, share_done)``."""
    console = stderr()
    if quiet or not console.is_terminal:
        yield (lambda _stage, _share: None) if quiet else StageLines(print_markup)
        return
    columns = (TextColumn("{task.description:>22}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        tasks: dict[str, Any] = {}

        def report(stage: str, share_done: float) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage_words(stage), total=1.0)
            bars.update(tasks[stage], completed=share_done)

        yield report


class StageLines:
    """Progress for a log: a line as a stage begins, and one every LOG_SECONDS while it runs.

    ``write``: called with each line. ``now``: a clock in seconds.
    """

    def __init__(self, write: Callable[[str], None], now: Callable[[], float] = time.monotonic) -> None:
        self._write, self._now = write, now
        self._start = now()
        self._written: dict[str, float] = {}  # stage to the time of its last line

    def __call__(self, stage: str, share_done: float) -> None:
        """Write the line where one is due."""
        moment = self._now()
        if stage in self._written and moment - self._written[stage] < LOG_SECONDS:
            return
        self._written[stage] = moment
        share = f" {share_done:.0%}" if share_done > 0 else ""
        self._write(f"{moment - self._start:6.1f} s  {stage_words(stage)}{share}")


def stage_words(stage: str) -> str:
    """What a stage is called on the screen."""
    return _STAGE_WORDS.get(stage, stage)
