"""How commands talk: errors as one line and an exit code, notes and progress on stderr, JSON on stdout."""

import contextlib
import functools
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

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
            tell(f"[bold red]smarthdr:[/] {_plain(str(error))}")
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            tell("smarthdr: interrupted; nothing was left half-written")
            raise typer.Exit(INTERRUPTED) from error
        except BrokenPipeError as error:
            _forget_stdout()
            raise typer.Exit(1) from error
        except Exception as error:
            if isinstance(error, typer.Exit) or os.environ.get(TRACEBACK):
                raise
            if out_of_memory(error):
                tell("[bold red]smarthdr:[/] out of memory; free some, or fuse smaller or fewer frames")
                raise typer.Exit(MemoryLimitError.exit_code) from error
            said = f"{type(error).__name__}: {error}"
            tell(f"smarthdr: crashed ({_plain(said)}); set {TRACEBACK}=1 to see where")
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


@contextlib.contextmanager
def printing() -> Iterator[None]:
    """What stdout refuses inside (a full disk) is an OutputError; a reader that is gone stays a BrokenPipeError."""
    if sys.stdout is None:
        raise OutputError("cannot write to stdout: it is closed")
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _forget_stdout()
        raise OutputError(f"cannot write to stdout: {(error.strerror or str(error)).lower()}") from error


def _forget_stdout() -> None:
    """What is still buffered goes nowhere, or Python would try again at the end and change the exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def tell(line: str) -> None:
    """A line of markup on stderr; where that cannot be written, the exit code has to speak for itself."""
    with contextlib.suppress(OSError):
        stderr().print(line, soft_wrap=True)


def shown(text: str) -> str:
    """``text`` on one line as a terminal may have it: control characters and broken bytes of names as escapes."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _plain(text: str) -> str:
    return escape(shown(" ".join(text.split())))


def say(notes: Sequence[str], *, quiet: bool, mark: str = "note: ") -> None:
    """Notes on stderr, one a line, each after ``mark``."""
    if not quiet:
        for note in notes:
            tell(f"[yellow]{mark}[/]{_plain(note)}")


def print_json(value: Any) -> None:
    """One JSON object on one line of stdout; NumPy's numbers are numbers there, paths are text.

    Raises ValueError for NaN and infinity, which JSON cannot hold, and OutputError where stdout takes no more.
    """
    line = json.dumps(value, default=_to_json, allow_nan=False)
    with printing():
        typer.echo(line)


def print_lines(lines: Iterable[str]) -> None:
    """Lines of text on stdout, as a terminal may have them. Raises OutputError where stdout takes no more."""
    with printing():
        for line in lines:
            typer.echo(shown(line))


def print_table(table: Table) -> None:
    """A table on stdout, whole rows wherever it goes: a pipe has no width to fold them to. Raises OutputError."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 10_000
    with printing():
        console.print(table)


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
