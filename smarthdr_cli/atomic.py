"""Files that appear whole or not at all: written under another name, flushed to disk, renamed onto the target.

rename(2) replaces a file atomically on one file system, so that a reader sees the old content or the new, whenever the
process or the machine stops. Every file of this package that must not be torn is written here. Where a long computation
comes before the writing, ``check_targets`` finds out first whether its outputs can be written.
"""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from smarthdr_cli.errors import OutputError, UsageError

RESERVED_PREFIX = ".smarthdr-"  # of files being written, staging folders and locks; never of a result
_LINK_LOOPS = (OSError, RuntimeError)  # Path.resolve() on a loop of links, by Python version


def check_targets(paths: Iterable[Path], overwrite: bool = False, inputs: Iterable[Path] = ()) -> None:
    """Refuse targets that cannot be written, before the long computation rather than after it.

    Raises UsageError when two targets, or a target and an input, are one file; OutputError when a target exists and
    ``overwrite`` is False, is no regular file, or its folder is missing or refuses a new file.
    """
    seen: dict[Path, Path] = {}
    sources = [(source, _followed(source)) for source in inputs]
    for target in paths:
        real = _resolve(target)
        if real in seen:
            raise UsageError(f"two outputs have the same name: {target}")
        seen[real] = target
        for source, resolved in sources:
            if real == resolved or _same_file(real, resolved):
                raise UsageError(f"the output {target} is also an input ({source.name})")
        _check_one(target, real, overwrite)
        try:
            temporary = _create_beside(real)
            temporary.unlink()
        except OSError as error:
            raise OutputError(f"cannot write {target}: {_reason(error)}") from error


@contextlib.contextmanager
def atomic_file(
    target: Path,
    *,
    overwrite: bool = False,
    verify: Callable[[Path], None] | None = None,
    aside: Path | None = None,
) -> Iterator[Path]:
    """Yield an empty file beside ``target``; on leaving, flush it to disk, verify it and move it onto ``target``.

    ``aside``: the folder of the yielded file, on the target's file system, where a killed process may leave it.
    ``verify`` re-opens the finished file and raises when it is not what was meant. Whatever goes wrong, Ctrl-C
    included, the target stays as it was and no temporary file remains. A link is followed: its file is replaced. The
    mode of a replaced file is kept, a new one follows the umask.

    Raises OutputError when the target exists (without ``overwrite``) or cannot be written; OSError raised inside the
    block becomes one.
    """
    real = _resolve(target)
    _check_one(target, real, overwrite)
    temporary: Path | None = None
    try:
        temporary = _create_beside(real if aside is None else aside / real.name)
        yield temporary
        _flush(temporary)
        if verify is not None:
            verify(temporary)
        if real.exists():
            _check_one(target, real, overwrite)  # it may have appeared meanwhile
            temporary.chmod(stat.S_IMODE(real.stat().st_mode))
        os.replace(temporary, real)  # noqa: PTH105 - the one atomic move, named as the tests break it
        temporary = None
        flush_folder(real.parent)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {_reason(error)}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()


def _resolve(path: Path) -> Path:
    try:
        return path.resolve()
    except _LINK_LOOPS as error:
        raise OutputError(f"cannot write {path}: too many symbolic links") from error


def _followed(source: Path) -> Path:
    """Where an input lies; one that is a loop of links stays what it is, for its reader to refuse."""
    try:
        return _resolve(source)
    except OutputError:
        return source


def _same_file(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except OSError:
        return False


def _check_one(target: Path, real: Path, overwrite: bool) -> None:
    try:
        mode = real.stat().st_mode
    except FileNotFoundError:
        if not real.parent.is_dir():
            raise OutputError(f"cannot write {target}: the folder {target.parent} does not exist") from None
        return
    except OSError as error:
        raise OutputError(f"cannot write {target}: {_reason(error)}") from error
    if stat.S_ISDIR(mode):
        raise OutputError(f"cannot write {target}: it is a folder")
    if not stat.S_ISREG(mode):
        raise OutputError(f"cannot write {target}: it is not a regular file")
    if not overwrite:
        raise OutputError(f"{target} exists already; use --overwrite to replace it")


def _create_beside(real: Path) -> Path:
    while True:
        temporary = real.with_name(f"{RESERVED_PREFIX}{secrets.token_hex(6)}{real.suffix}")
        try:
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileExistsError:
            continue
        return temporary


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(folder: Path) -> None:
    """Make the move itself durable, where the system can (not on Windows); the file is whole either way."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _reason(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "no space left on the disk"
    if error.errno is None:  # NumPy's own, "N requested and M written"
        return f"it could not be written in full; is the disk full? ({error})"
    return (error.strerror or str(error)).lower()
