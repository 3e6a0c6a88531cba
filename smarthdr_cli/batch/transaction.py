"""All files of a set or none: written into a stage, then moved into place under a commit file.

The stage of a set is OUT/.smarthdr-batch/KEY. Its commit file, ``commit.json``, lists the moves and makes them one
step: before it exists nothing has happened, and the stage is deleted; once it exists the next process finishes the
moves and records the set, however this one ended.

OUT may come from anywhere, so nothing below it is trusted. Only regular files with names that a batch gives are moved
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
from smarthdr_cli.batch.jobs import is_reserved, real_path
from smarthdr_cli.batch.results import Record, parse_json, parse_record, to_json
from smarthdr_cli.errors import OutputError, os_reason
from smarthdr_cli.output.write import FORMATS

COMMIT_FILE = "commit.json"
CURVE = "curve"  # key of the stage for response curves; all others belong to sets, see stage_key
OUTPUT_SUFFIXES = frozenset(form.suffixes[0] for form in FORMATS)
MAX_TRIES = 50  # to make a folder whose parent other processes remove when it is empty

OnNote = Callable[[str], None]


@dataclass(frozen=True)
class _Commit:
    """``moves``: name in the stage to path below OUT. ``overwrite``: whether the moves may replace files."""

    moves: dict[str, str]
    record: Record
    overwrite: bool


def stage_key(name: str) -> str:
    """The folder name of the stage of the set ``name``."""
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:16]


def open_stage(root: Path, key: str) -> Path:
    """An empty stage ``key`` in ``root``. Raises OutputError."""
    stage = root / key
    _check_root(root)
    close_stage(stage)
    if os.path.lexists(stage):
        raise OutputError(f"{stage} holds something that smarthdr batch did not make; move it away")
    for tries_left in reversed(range(MAX_TRIES)):
        try:
            stage.mkdir(parents=True)
        except FileNotFoundError as error:  # another process removed the empty parent in between
            if not tries_left:
                raise OutputError(f"cannot write in {root.parent}: no such folder") from error
        except OSError as error:
            raise OutputError(f"cannot write in {root.parent}: {os_reason(error)}") from error
        else:
            break
    return stage


def commit(stage: Path, targets: dict[str, Path], record: Record, overwrite: bool) -> None:
    """Move the files of ``stage`` into place; ``targets``: name in the stage to path below OUT.

    The files are flushed to the disk already. The stage and its commit file stay until ``close_stage``, which is called
    once ``record`` is on the disk. Raises OutputError, and moves nothing, if a target exists without ``overwrite``, is
    no regular file, or cannot be written.
    """
    out = stage.parents[1].absolute()
    moves = {name: str(target.absolute().relative_to(out)) for name, target in targets.items()}
    if (obstacle := _obstacle(stage, moves, overwrite)) is not None:
        raise OutputError(obstacle)
    content = {"moves": moves, "record": record, "overwrite": overwrite}
    try:
        _make_folders(out, moves)
        with atomic_file(stage / COMMIT_FILE) as partial:
            partial.write_text(json.dumps(content, default=to_json, allow_nan=False), encoding="utf-8")
        _move(stage, moves)
    except OSError as error:
        raise OutputError(f"cannot write in {out}: {os_reason(error)}") from error


def is_committed(stage: Path) -> bool:
    """Whether the moves of ``stage`` will be finished, by this process or the next one."""
    return _is_file(stage / COMMIT_FILE)


def close_stage(stage: Path) -> None:
    """Remove the stage of a set that is recorded or failed, and its parent when that is empty."""
    if not _is_stage(stage):
        return
    with contextlib.suppress(OSError):
        for path in (stage / COMMIT_FILE, *stage.iterdir()):  # the commit file first: without it nothing is moved
            if _has_batch_name(path.name) and _is_file(path):
                path.unlink(missing_ok=True)
        stage.rmdir()
    with contextlib.suppress(OSError):
        stage.parent.rmdir()


def recover(root: Path, on_record: Callable[[Record], None], on_note: OnNote = lambda _text: None) -> int:
    """Finish or delete the stages that an earlier process left in ``root``; the number of sets finished.

    ``on_record`` gets the record of each of these, ``on_note`` a note on what is left alone. Raises OutputError.
    """
    if not _check_root(root):
        return 0
    finished = 0
    try:
        stages = sorted(root.iterdir())
    except OSError as error:
        raise OutputError(f"cannot read {root}: {os_reason(error)}") from error
    for stage in stages:
        record = finish_commit(stage, on_note)
        if record is not None:
            on_record(record)
            finished += 1
        close_stage(stage)
        if os.path.lexists(stage):
            on_note(f"{stage} is left alone: smarthdr batch did not make it, or not all that it holds")
    with contextlib.suppress(OSError):
        root.rmdir()
    return finished


def finish_commit(stage: Path, on_note: OnNote = lambda _text: None) -> Record | None:
    """Finish the moves of ``stage``; the set's record, or None without a valid commit file.

    ``on_note`` gets the reason why a commit file is ignored. Raises OutputError.
    """
    try:
        committed = _read_commit(stage)
        if committed is None:
            return None
        _make_folders(stage.parents[1], committed.moves)
        _move(stage, committed.moves)
    except (ValueError, FileExistsError, NotADirectoryError) as error:  # files stand where its folders would be
        on_note(f"{stage / COMMIT_FILE} is ignored: {error}")
        return None
    except OSError as error:
        raise OutputError(f"cannot finish writing a set of an earlier run from {stage}: {error}") from error
    return committed.record


def _move(stage: Path, moves: dict[str, str]) -> None:
    """Move in the order given; what is no longer in the stage was moved earlier."""
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


def _read_commit(stage: Path) -> _Commit | None:
    """None without a commit file. Raises ValueError for one that no batch writes or that must not be followed."""
    path = stage / COMMIT_FILE
    if not _is_stage(stage) or not os.path.lexists(path):
        return None
    if not _is_file(path):
        raise ValueError("it is not a regular file")
    try:
        value = parse_json(path.read_bytes())
    except OSError as error:
        raise ValueError(f"it cannot be read: {os_reason(error)}") from error
    match value:
        case {"moves": dict(moves), "record": record} if all(isinstance(place, str) for place in moves.values()):
            content = _Commit(moves, parse_record(record), value.get("overwrite") is True)
        case _:
            raise ValueError("it is not a commit file of smarthdr batch")
    if (obstacle := _obstacle(stage, content.moves, content.overwrite)) is not None:
        raise ValueError(obstacle)
    return content


def _obstacle(stage: Path, moves: dict[str, str], overwrite: bool) -> str | None:
    """Why the files of ``stage`` must not be moved; None where they may."""
    out = stage.parents[1]
    for name, place in moves.items():
        target = out / place
        if "\0" in place or target.name != name or Path(name).suffix not in OUTPUT_SUFFIXES:
            return f"{place!r} is not the name of a result"
        if is_reserved(Path(place)) or not real_path(target.parent).is_relative_to(real_path(out)):
            return f"{target} is not a place for results of {out}"
        if not os.path.lexists(stage / name):
            continue  # moved earlier
        if not _is_file(stage / name):
            return f"{stage / name} is not a regular file"
        if os.path.lexists(target) and not _is_file(target):
            return f"{target} exists already and is not a regular file; move it away"
        if os.path.lexists(target) and not overwrite:
            return f"{target} exists already; use --overwrite to replace it"
    return None


def _check_root(root: Path) -> bool:
    """Whether the folder of all stages exists. Raises OutputError if it is something else, such as a link."""
    if os.path.lexists(root) and not _is_folder(root):
        raise OutputError(f"{root} is where smarthdr batch writes, and it is not a folder of its own; move it away")
    return _is_folder(root)


def _is_stage(path: Path) -> bool:
    is_key = path.name == CURVE or re.fullmatch(r"[0-9a-f]{16}", path.name) is not None
    return is_key and _is_folder(path.parent) and _is_folder(path)


def _has_batch_name(name: str) -> bool:
    """Whether a batch gives files in a stage such names."""
    return name == COMMIT_FILE or name.startswith(RESERVED_PREFIX) or Path(name).suffix in OUTPUT_SUFFIXES


def _is_folder(path: Path) -> bool:
    return stat.S_ISDIR(_mode(path))


def _is_file(path: Path) -> bool:
    return stat.S_ISREG(_mode(path))


def _mode(path: Path) -> int:
    """The mode of ``path`` itself, links not followed; 0 where nothing exists."""
    try:
        return path.lstat().st_mode
    except OSError:
        return 0
