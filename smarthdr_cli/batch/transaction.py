"""A set's files, all or none: written into a stage, then moved into place under a note of what is to be moved.

The stage of a set is OUT/.smarthdr-batch/KEY. Its note, ``commit.json``, makes the move one step: before it is there
nothing has happened and the stage is thrown away; once it is there, whoever comes next finishes the move and records
the set, however the process ended.

OUT may come from anywhere, so nothing below it is believed. Only regular files with the names a batch gives are moved
or removed, and only inside OUT; links are not followed. Everything else is reported and left alone.
"""

import contextlib
import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from smarthdr_cli.atomic import RESERVED_PREFIX, atomic_file, flush_folder
from smarthdr_cli.batch.names import is_reserved, real_path
from smarthdr_cli.batch.results import Record, parse_json, parse_record, plain
from smarthdr_cli.errors import OutputError
from smarthdr_cli.output.write import FORMATS

NOTE = "commit.json"
CURVE = "curve"  # key of the stage for response curves; all others are of sets, see stage_key
_OUTPUTS = frozenset(form.suffixes[0] for form in FORMATS)
_TRIES = 50

OnNote = Callable[[str], None]


@dataclass(frozen=True)
class _Note:
    """``moves``: name in the stage to path below OUT. ``overwrite``: whether the moves may replace files."""

    moves: dict[str, str]
    record: Record
    overwrite: bool


def stage_key(name: str) -> str:
    """The name of the stage of the set called ``name``."""
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:16]


def open_stage(root: Path, key: str) -> Path:
    """An empty folder ``key`` in ``root`` for the files of a set. Raises OutputError."""
    stage = root / key
    _check_root(root)
    close_stage(stage)
    if os.path.lexists(stage):
        raise OutputError(f"{stage} holds something that smarthdr batch did not make; move it away")
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


def commit(stage: Path, targets: dict[str, Path], record: Record, overwrite: bool) -> None:
    """Move the files of ``stage`` (name to target; already flushed to the disk) into place, with ``record`` noted.

    The stage lies two folders below the one that all targets are in: OUT/.smarthdr-batch/KEY.
    The folder stays, with its note, until ``close_stage``: the record has to be kept first.
    Raises OutputError, nothing moved, where a target exists without ``overwrite``, is no regular file, or cannot be
    written.
    """
    out = stage.parents[1].absolute()
    moves = {name: str(target.absolute().relative_to(out)) for name, target in targets.items()}
    if (obstacle := _obstacle(stage, moves, overwrite)) is not None:
        raise OutputError(obstacle)
    note = {"moves": moves, "record": record, "overwrite": overwrite}
    try:
        _make_folders(out, moves)
        with atomic_file(stage / NOTE) as partial:
            partial.write_text(json.dumps(note, default=plain, allow_nan=False), encoding="utf-8")
        _move(stage, moves)
    except OSError as error:
        raise OutputError(f"cannot write in {out}: {(error.strerror or str(error)).lower()}") from error


def is_committed(stage: Path) -> bool:
    """Whether the move of the stage's files has been decided: it will be finished, now or by the next process."""
    return _is_file(stage / NOTE)


def close_stage(stage: Path) -> None:
    """Remove the files of a set that is recorded or given up, its stage, and the parent when that is empty."""
    if not _is_stage(stage):
        return
    with contextlib.suppress(OSError):
        for path in (stage / NOTE, *stage.iterdir()):  # the note first: without it nothing will be moved
            if _is_made(path.name) and _is_file(path):
                path.unlink(missing_ok=True)
        stage.rmdir()
    with contextlib.suppress(OSError):
        stage.parent.rmdir()


def recover(root: Path, keep: Callable[[Record], None], on_note: OnNote = lambda _text: None) -> int:
    """Finish or throw away what an earlier process left under ``root``; ``keep`` is given each finished set's record.

    ``on_note`` is told what is left alone. Returns the number of sets finished. Raises OutputError.
    """
    if not _check_root(root):
        return 0
    finished = 0
    try:
        stages = sorted(root.iterdir())
    except OSError as error:
        raise OutputError(f"cannot read {root}: {(error.strerror or str(error)).lower()}") from error
    for stage in stages:
        record = finish(stage, on_note)
        if record is not None:
            keep(record)
            finished += 1
        close_stage(stage)
        if os.path.lexists(stage):
            on_note(f"{stage} is left alone: smarthdr batch did not make it, or not all that it holds")
    with contextlib.suppress(OSError):
        root.rmdir()
    return finished


def finish(stage: Path, on_note: OnNote = lambda _text: None) -> Record | None:
    """Finish the move that was decided in ``stage``; the set's record, None where none was.

    ``on_note`` is told why a note is not followed. Raises OutputError.
    """
    try:
        note = _read_note(stage)
        if note is None:
            return None
        _make_folders(stage.parents[1], note.moves)
        _move(stage, note.moves)
    except (ValueError, FileExistsError, NotADirectoryError) as error:  # something else is where its folders would be
        on_note(f"{stage / NOTE} is not followed: {error}")
        return None
    except OSError as error:
        raise OutputError(f"cannot finish writing a set of an earlier run from {stage}: {error}") from error
    return note.record


def _move(stage: Path, moves: dict[str, str]) -> None:
    """In the order given; what is no longer in the stage has been moved already."""
    out = stage.parents[1]
    for name, place in moves.items():
        if (stage / name).exists():
            (stage / name).replace(out / place)
    for folder in _folders(out, moves):
        flush_folder(folder)


def _make_folders(out: Path, moves: dict[str, str]) -> None:
    for folder in _folders(out, moves):
        folder.mkdir(parents=True, exist_ok=True)


def _folders(out: Path, moves: dict[str, str]) -> Iterable[Path]:
    return {(out / place).parent for place in moves.values()}


def _read_note(stage: Path) -> _Note | None:
    """None where there is none. Raises ValueError, saying why, for one that no batch writes or that must not be
    followed."""
    path = stage / NOTE
    if not _is_stage(stage) or not os.path.lexists(path):
        return None
    if not _is_file(path):
        raise ValueError("it is not a regular file")
    try:
        value = parse_json(path.read_bytes())
    except OSError as error:
        raise ValueError(f"it cannot be read: {(error.strerror or str(error)).lower()}") from error
    match value:
        case {"moves": dict(moves), "record": record} if all(isinstance(place, str) for place in moves.values()):
            note = _Note(moves, parse_record(record), value.get("overwrite") is True)
        case _:
            raise ValueError("it is not a note of smarthdr batch")
    if (obstacle := _obstacle(stage, note.moves, note.overwrite)) is not None:
        raise ValueError(obstacle)
    return note


def _obstacle(stage: Path, moves: dict[str, str], overwrite: bool) -> str | None:
    """Why the files of ``stage`` must not be moved; None where they may."""
    out = stage.parents[1]
    for name, place in moves.items():
        target = out / place
        if "\0" in place or target.name != name or Path(name).suffix not in _OUTPUTS:
            return f"{place!r} is not the name of a result"
        if is_reserved(Path(place)) or not real_path(target.parent).is_relative_to(real_path(out)):
            return f"{target} is not a place for results of {out}"
        if not os.path.lexists(stage / name):
            continue  # moved already
        if not _is_file(stage / name):
            return f"{stage / name} is not a regular file"
        if os.path.lexists(target) and not _is_file(target):
            return f"{target} exists already and is not a regular file; move it away"
        if os.path.lexists(target) and not overwrite:
            return f"{target} exists already; use --overwrite to replace it"
    return None


def _check_root(root: Path) -> bool:
    """Whether the folder of all stages is there. Raises OutputError where it is something else, such as a link."""
    if os.path.lexists(root) and not _is_folder(root):
        raise OutputError(f"{root} is where smarthdr batch writes, and it is not a folder of its own; move it away")
    return _is_folder(root)


def _is_stage(path: Path) -> bool:
    named = path.name == CURVE or re.fullmatch(r"[0-9a-f]{16}", path.name) is not None
    return named and _is_folder(path.parent) and _is_folder(path)


def _is_made(name: str) -> bool:
    """Whether a batch gives files in a stage such names."""
    return name == NOTE or name.startswith(RESERVED_PREFIX) or Path(name).suffix in _OUTPUTS


def _is_folder(path: Path) -> bool:
    return stat.S_ISDIR(_mode(path))


def _is_file(path: Path) -> bool:
    return stat.S_ISREG(_mode(path))


def _mode(path: Path) -> int:
    """Of the path itself, not of what a link leads to; 0 where there is nothing."""
    try:
        return path.lstat().st_mode
    except OSError:
        return 0
