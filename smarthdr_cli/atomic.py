"""Atomic writing of files: write a temporary file, flush it to disk, rename it onto the target.

rename(2) replaces a file atomically within one file system: a reader sees the old content or the new one, even if the
process or the machine stops. All files of this package that must be complete are written through ``atomic_file``;
within ``all_or_none`` several of them appear together. ``check_targets`` tests before a long computation whether its
outputs can be written.
"""

import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from smarthdr_cli.errors import OutputError, UsageError, full_path, os_reason

RESERVED_PREFIX = ".smarthdr-"  # of temporary files, staging folders and locks; no result has it
_LINK_LOOP_ERRORS = (OSError, RuntimeError)  # of Path.resolve() on a loop of links, by Python version


@dataclass(frozen=True)
class _PendingMove:
    """A verified file ``temporary`` that is to become ``target``, whose links lead to ``resolved``."""

    temporary: Path
    target: Path
    resolved: Path
    overwrite: bool


_pending: ContextVar[list[_PendingMove] | None] = ContextVar("_pending", default=None)  # of ``all_or_none``


def check_targets(paths: Iterable[Path], overwrite: bool = False, inputs: Iterable[Path] = ()) -> None:
    """Check that the files ``paths`` can be written.

    Raises UsageError when two targets, or a target and an input, are one file; OutputError when a target exists and
    ``overwrite`` is False, is no regular file, or its folder is missing or refuses a new file.
    """
    targets = [(target, _resolve(target)) for target in paths]
    resolved_inputs = [(file, _resolve_input(file)) for file in inputs]
    checked: set[Path] = set()
    for target, real in targets:  # wrong names first: they are to be changed whatever exists
        if real in checked:
            raise UsageError(f"two outputs have the same name, {full_path(target)}; choose another for one of them")
        checked.add(real)
        for file, real_input in resolved_inputs:
            if real == real_input or _same_file(real, real_input):
                raise UsageError(
                    f"the output {full_path(target)} is also an input ({full_path(file)}); choose another output"
                )
    for target, real in targets:
        _check_target(target, real, overwrite)
        try:
            temporary = _create_temporary(real)
            temporary.unlink()
        except OSError as error:
            raise OutputError(f"cannot write {full_path(target)}: {_reason(error)}") from error


@contextlib.contextmanager
def atomic_file(
    target: Path,
    *,
    overwrite: bool = False,
    is_as_written: Callable[[Path], bool] | None = None,
    staging_folder: Path | None = None,
) -> Iterator[Path]:
    """Yield an empty file beside ``target``; on leaving, flush it to disk, verify it and move it onto ``target``.

    ``staging_folder``: folder of the yielded file, on the file system of the target; a killed process leaves the file
    there. ``is_as_written``: whether the finished file reads back right. After any exception, Ctrl-C included, the
    target is unchanged and no temporary file remains. Symbolic links are followed. A replaced file keeps
    its mode, a new one follows the umask.

    Raises OutputError where the target exists (without ``overwrite``) or cannot be written, where the file does not
    read back, and for an OSError inside the block.
    """
    resolved = _resolve(target)
    _check_target(target, resolved, overwrite)
    temporary: Path | None = None
    try:
        temporary = _create_temporary(resolved if staging_folder is None else staging_folder / resolved.name)
        yield temporary
        _flush_file(temporary)
        if is_as_written is not None and not is_as_written(temporary):
            raise OutputError(f"{full_path(target)} does not read back as it was written; it was not kept")
        move = _PendingMove(temporary, target, resolved, overwrite)
        if (pending := _pending.get()) is None:
            _commit(move)
        else:
            pending.append(move)
        temporary = None
    except OSError as error:
        raise OutputError(f"cannot write {full_path(target)}: {_reason(error)}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()


@contextlib.contextmanager
def all_or_none() -> Iterator[None]:
    """Move the files of every ``atomic_file`` inside the block into place when it ends: all of them, or none.

    Until then each is finished and verified under a temporary name beside its target. After an exception, Ctrl-C
    included, the targets are as before the block. Only the death of the process between two moves can part them.
    Raises OutputError where a target cannot be written.
    """
    pending: list[_PendingMove] = []
    token = _pending.set(pending)
    try:
        yield
        with contextlib.ExitStack() as stack:
            for move in pending:
                stack.enter_context(_rolled_back_on_error(move))
                _commit(move)
    finally:
        _pending.reset(token)
        for move in pending:
            with contextlib.suppress(OSError):
                move.temporary.unlink()


def _commit(move: _PendingMove) -> None:
    """Move a verified file onto its target. Raises OutputError."""
    temporary, target, resolved = move.temporary, move.target, move.resolved
    try:
        if resolved.exists():
            _check_target(target, resolved, move.overwrite)  # another process may have created it
            temporary.chmod(stat.S_IMODE(resolved.stat().st_mode))
        os.replace(temporary, resolved)  # noqa: PTH105 - tests replace this name
        flush_folder(resolved.parent)
    except OSError as error:
        raise OutputError(f"cannot write {full_path(target)}: {_reason(error)}") from error


@contextlib.contextmanager
def _rolled_back_on_error(move: _PendingMove) -> Iterator[None]:
    """After an exception inside, the target is as before, if the file was moved onto it.

    Raises OutputError where the old file cannot be backed up.
    """
    resolved = move.resolved
    backup = _temporary_name(resolved) if resolved.exists() else None
    try:
        if backup is not None:
            _link_or_copy(resolved, backup)
        yield
    except OSError as error:  # of the backup
        raise OutputError(f"cannot write {full_path(move.target)}: {_reason(error)}") from error
    except BaseException:
        if not move.temporary.exists():
            if backup is None:
                resolved.unlink(missing_ok=True)
            else:
                backup.replace(resolved)
        raise
    finally:
        if backup is not None:
            backup.unlink(missing_ok=True)


def _link_or_copy(file: Path, copy: Path) -> None:
    try:
        os.link(file, copy)
    except OSError:  # a file system without hard links
        shutil.copy2(file, copy)


def _resolve(path: Path) -> Path:
    try:
        return path.resolve()
    except _LINK_LOOP_ERRORS as error:
        raise OutputError(f"cannot write {full_path(path)}: too many symbolic links") from error


def _resolve_input(file: Path) -> Path:
    """The resolved path of an input; a loop of links stays as it is, because its reader reports the error."""
    try:
        return _resolve(file)
    except OutputError:
        return file


def _same_file(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except OSError:
        return False


def _check_target(target: Path, resolved: Path, overwrite: bool) -> None:
    try:
        mode = resolved.stat().st_mode
    except FileNotFoundError:
        if not resolved.parent.is_dir():
            raise OutputError(
                f"cannot write {full_path(target)}: the folder {full_path(target.parent)} does not exist; make it first"
            ) from None
        return
    except OSError as error:
        raise OutputError(f"cannot write {full_path(target)}: {_reason(error)}") from error
    if stat.S_ISDIR(mode):
        raise OutputError(f"cannot write {full_path(target)}: it is a folder; name a file in it")
    if not stat.S_ISREG(mode):
        raise OutputError(f"cannot write {full_path(target)}: it is not a regular file")
    if not overwrite:
        raise OutputError(f"{full_path(target)} exists already; use --overwrite to replace it")


def _temporary_name(resolved: Path) -> Path:
    """A random name in the folder of ``resolved``."""
    return resolved.with_name(f"{RESERVED_PREFIX}{secrets.token_hex(6)}{resolved.suffix}")


def _create_temporary(resolved: Path) -> Path:
    """An empty file with a random name in the folder of ``resolved``."""
    while True:
        temporary = _temporary_name(resolved)
        try:
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileExistsError:
            continue
        return temporary


def _flush_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(folder: Path) -> None:
    """Flush a rename in ``folder`` to disk, where the system can (not on Windows)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _reason(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "no space left on the disk"
    if error.errno is None:  # of NumPy, "N requested and M written"
        return f"it could not be written in full; is the disk full? ({error})"
    return os_reason(error)
