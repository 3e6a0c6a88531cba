"""A set's files, all or none: written in a folder aside, then moved into place under a note of what is to be moved.

The note (``commit.json``) makes the move one step: before it is there nothing has happened and the folder is thrown
away; once it is there, whoever comes next finishes the move and records the set, however the process ended.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from smarthdr_cli.errors import OutputError
from smarthdr_cli.output.atomic import flush_folder

NOTE = "commit.json"
_TRIES = 50


def open_stage(root: Path, key: str) -> Path:
    """An empty folder for the files of set ``key``. Raises OutputError."""
    stage = root / key
    shutil.rmtree(stage, ignore_errors=True)
    for patience in reversed(range(_TRIES)):
        try:
            stage.mkdir(parents=True)
        except FileNotFoundError as error:  # another process found the parent empty, and removed it, in between
            if not patience:
                raise OutputError(f"cannot write in {root.parent}: no such folder") from error
        except OSError as error:
            raise OutputError(f"cannot write in {root.parent}: {(error.strerror or str(error)).lower()}") from error
        else:
            break
    return stage


def commit(stage: Path, targets: dict[str, Path], record: dict[str, Any], overwrite: bool) -> None:
    """Move the files of ``stage`` (name to target; already flushed to the disk) into place, with ``record`` noted.

    The stage lies two folders below the one that all targets are in: OUT/.smarthdr-batch/KEY.
    The folder stays, with its note, until ``close_stage``: the record has to be kept first.
    Raises OutputError, nothing moved, where a target exists without ``overwrite`` or cannot be written.
    """
    for target in targets.values():
        if target.is_dir() or (not overwrite and target.exists()):
            raise OutputError(f"{target} exists already; use --overwrite to replace it")
    try:
        for folder in {target.parent for target in targets.values()}:
            folder.mkdir(parents=True, exist_ok=True)
        home = stage.parents[1].absolute()
        moves = {name: str(target.absolute().relative_to(home)) for name, target in targets.items()}
        note = {"moves": moves, "record": record}
        partial = stage / f"{NOTE}.part"
        with partial.open("w", encoding="utf-8") as file:
            json.dump(note, file, default=str)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(stage / NOTE)
        flush_folder(stage)
        _move(stage, moves)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {(error.strerror or str(error)).lower()}") from error


def is_committed(stage: Path) -> bool:
    """Whether the move of the stage's files has been decided: it will be finished, now or by the next process."""
    return (stage / NOTE).exists()


def close_stage(stage: Path) -> None:
    """Remove the folder of a set that is recorded or given up, and its parent when that is empty."""
    with contextlib.suppress(OSError):
        (stage / NOTE).unlink(missing_ok=True)
    shutil.rmtree(stage, ignore_errors=True)
    with contextlib.suppress(OSError):
        stage.parent.rmdir()


def recover(root: Path, keep: Callable[[dict[str, Any]], None]) -> int:
    """Finish or throw away what an earlier process left under ``root``; ``keep`` is given each finished set's record.

    Returns the number of sets finished. Raises OutputError.
    """
    if not root.is_dir():
        return 0
    finished = 0
    for stage in sorted(path for path in root.iterdir() if path.is_dir()):
        record = finish(stage)
        if record is not None:
            keep(record)
            finished += 1
        close_stage(stage)
    shutil.rmtree(root, ignore_errors=True)
    return finished


def finish(stage: Path) -> dict[str, Any] | None:
    """Finish the move that was decided in ``stage``; the set's record, None where none was. Raises OutputError."""
    note = _read_note(stage)
    if note is None:
        return None
    try:
        _move(stage, note["moves"])
    except OSError as error:
        raise OutputError(f"cannot finish writing a set of an earlier run: {error}") from error
    return dict(note["record"])


def _move(stage: Path, moves: dict[str, str]) -> None:
    """In the order given; what is no longer in the stage has been moved already."""
    home = stage.parents[1]
    for name, target in moves.items():
        if (stage / name).exists():
            (stage / name).replace(home / target)
    for folder in {(home / target).parent for target in moves.values()}:
        flush_folder(folder)


def _read_note(stage: Path) -> dict[str, Any] | None:
    try:
        note = json.loads((stage / NOTE).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return note if isinstance(note, dict) and set(note) == {"moves", "record"} else None
