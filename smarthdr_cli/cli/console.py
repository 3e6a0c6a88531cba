"""How commands talk: errors as one line and an exit code, notes and progress on stderr, JSON on stdout."""

import contextlib
import functools
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from smarthdr_cli.errors import MemoryLimitError, OutputError, SmartHDRError, out_of_memory

P = ParamSpec("P")
R = TypeVar("R")
INTERRUPTED = 130
TRACEBACK = "SMARTHDR_TRACEBACK"  # environment variable: show where a crash comes from


def stderr() -> Console:
    """Made when needed, so that it follows a redirected stderr; honours NO_COLOR."""
    return Console(stderr=True, highlight=False, emoji=False)


def handled(command: Callable[P, R]) -> Callable[P, R]:
    """One place where errors end: one line on stderr and the error's own exit code; 130 when interrupted."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with terminated_as_interrupt():
                return command(*args, **kwargs)
        except SmartHDRError as error:
            stderr().print(f"[bold red]smarthdr:[/] {_plain(str(error))}", soft_wrap=True)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            stderr().print("smarthdr: interrupted; nothing was left half-written")
            raise typer.Exit(INTERRUPTED) from error
        except BrokenPipeError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered goes nowhere
            raise typer.Exit(1) from error
        except Exception as error:
            if isinstance(error, typer.Exit) or os.environ.get(TRACEBACK):
                raise
            if out_of_memory(error):
                stderr().print("[bold red]smarthdr:[/] out of memory; free some, or fuse smaller or fewer frames")
                raise typer.Exit(MemoryLimitError.exit_code) from error
            said = f"{type(error).__name__}: {error}"
            stderr().print(f"smarthdr: crashed ({_plain(said)}); set {TRACEBACK}=1 to see where", soft_wrap=True)
            raise typer.Exit(1) from error

    return run


@contextlib.contextmanager
def terminated_as_interrupt() -> Iterator[None]:
    """SIGTERM cleans up as Ctrl-C does."""

    def stop(_number: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    try:
        previous = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread: signals are somebody else's business
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextlib.contextmanager
def writing(what: Path) -> Iterator[None]:
    """What the system refuses inside (a name too long, a disk gone) is an OutputError about ``what``."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {what}: {(error.strerror or str(error)).lower()}") from error


def _plain(text: str) -> str:
    return escape(" ".join(text.split()))


def say(notes: Sequence[str], *, quiet: bool, mark: str = "note: ") -> None:
    """Notes on stderr, one a line, each after ``mark``."""
    if not quiet:
        console = stderr()
        for note in notes:
            console.print(f"[yellow]{mark}[/]{_plain(note)}", soft_wrap=True)


def print_json(value: Any) -> None:
    """One JSON object on one line of stdout; NumPy's numbers are numbers there, paths are text.

    Raises ValueError for NaN and infinity, which JSON cannot hold.
    """
    typer.echo(json.dumps(value, default=_to_json, allow_nan=False))


def _to_json(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


@contextlib.contextmanager
def progress(*, quiet: bool) -> Iterator[Callable[[str, float], None]]:
    """A live bar per stage on a terminal's stderr, nothing elsewhere. Yields what to call with (stage, share done)."""
    console = stderr()
    if quiet or not console.is_terminal:
        yield lambda _stage, _share: None
        return
    columns = (TextColumn("{task.description:>12}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        tasks: dict[str, Any] = {}

        def tell(stage: str, share: float) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=1.0)
            bars.update(tasks[stage], completed=share)

        yield tell
