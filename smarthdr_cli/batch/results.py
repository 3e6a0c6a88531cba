"""``results.jsonl``: one line of JSON for each set, on the disk before the next set is reported.

A line that a crash tore is skipped by every reader; the lines around it stay readable.
"""

import contextlib
import errno
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePath
from typing import IO, Any, Required, TypedDict

from filelock import FileLock, Timeout

from smarthdr_cli.atomic import RESERVED_PREFIX
from smarthdr_cli.errors import MemoryLimitError, OutputError, SmartHDRError, os_reason, out_of_memory

OK, FAILED, SKIPPED, AMBIGUOUS = "ok", "failed", "skipped", "ambiguous"
MAX_NUMBER = 1e9  # as seconds thirty years; a record with more is damaged
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP)  # errors of file systems without locks


class Record(TypedDict, total=False):
    """The line of one set; ``parse_record`` checks it when it is read.

    ``inputs``: "file" of each and, where it was read, "sha256", "ev" and "source". ``outputs``: "path" and "bytes" of
    each. ``settings``: see ``recorded`` in settings.py. ``seconds``: of each stage. ``waited``: seconds that the fusion
    was idle before the set. ``finished``: ISO time.
    """

    name: Required[str]
    status: Required[str]
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    settings: dict[str, Any]
    seconds: dict[str, float]
    finished: str
    host: str
    pid: int
    camera: str | None
    reasons: list[str]
    error: dict[str, Any] | None
    waited: float
    reference: str
    evs: list[float]
    size: list[int]
    peak_memory: int
    changed_share: float | None
    uncertainty: dict[str, float]
    anchor_ev: float
    model: Any
    device: str
    warnings: list[str]


class Results:
    """The results file of one process: append only, each line flushed to the disk, locked against a second writer.

    Raises OutputError if it cannot be written or another process has locked it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path.with_name(f"{RESERVED_PREFIX}{path.name}.lock"))
        try:
            self._file: IO[bytes] = path.open("ab+")
            self._take_lock()
            size = self._file.seek(0, os.SEEK_END)
            if size:
                self._file.seek(size - 1)
                if self._file.read(1) != b"\n":  # a crash tore the last line: end it, so that the next one is whole
                    self._file.write(b"\n")
                    self._file.flush()
        except OSError as error:
            raise OutputError(f"cannot write {path}: {os_reason(error)}") from error

    def append(self, record: Record) -> None:
        """Add one line and flush it to the disk. Raises OutputError."""
        line = json.dumps(record, default=to_json, allow_nan=False).encode() + b"\n"
        try:
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())
            if not os.path.samestat(os.fstat(self._file.fileno()), self.path.stat()):
                raise OutputError(f"{self.path} was replaced meanwhile; its lines since then are lost")
        except FileNotFoundError as error:
            raise OutputError(f"{self.path} was removed meanwhile, and its lines with it") from error
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {os_reason(error)}") from error

    def close(self) -> None:
        """Close the file and release the lock."""
        with contextlib.suppress(OSError):
            self._file.close()
        if self._lock.is_locked:
            with contextlib.suppress(OSError):  # while the lock is held; the next process notices that the file is gone
                Path(self._lock.lock_file).unlink()
            self._lock.release()

    def _take_lock(self) -> None:
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            self._file.close()
            raise OutputError(f"{self.path} is in use: another smarthdr batch is writing there") from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                self._file.close()
                raise

    def __enter__(self) -> "Results":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def read_results(path: Path, on_note: Callable[[str], None] = lambda _text: None) -> Iterator[Record]:
    """The records of a results file in order; nothing for a missing file. ``on_note``: gets a note on each bad line.

    Raises OutputError if the file exists and cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f"{path} cannot be read: {os_reason(error)}") from error
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            yield parse_record(parse_json(line))
        except ValueError as error:
            on_note(f"{path}, line {number} counts as absent: {error}")


def parse_json(text: bytes) -> Any:
    """The value of a JSON text. Raises ValueError for anything else, NaN and infinity included."""
    try:
        value = json.loads(text)
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise ValueError("it is not JSON") from error
    return value


def parse_record(value: Any) -> Record:
    """``value`` as a record. Raises ValueError unless the fields that a later run reads have the right types.

    Resuming reads them, and the index of pages. A set that is done (ok, skipped) states its outputs and the digests of
    its inputs. A name that leads out of the results folder is invalid.
    """
    match value:
        case {"name": str(), "status": "failed" | "ambiguous"}:
            valid = True
        case {"name": str(), "status": "ok" | "skipped", "inputs": list(inputs), "outputs": list(outputs)}:
            valid = all(map(_is_input, inputs)) and all(map(_is_output, outputs))
        case _:
            valid = False
    if not (valid and _stays_in_folder(value["name"]) and _has_valid_optional_fields(value)):
        raise ValueError("it is not the record of a set")
    record: Record = value
    return record


def last_results(paths: Iterable[Path], on_note: Callable[[str], None] = lambda _text: None) -> dict[str, Record]:
    """The last record of each set by its time, over several files (the shards of one folder).

    "skipped" does not replace an earlier record. ``on_note``: see ``read_results``.
    """
    last: dict[str, Record] = {}
    for path in paths:
        for record in read_results(path, on_note):
            before = last.get(record["name"])
            if before is not None and before.get("finished", "") > record.get("finished", ""):
                continue
            if record["status"] != SKIPPED or before is None:
                last[record["name"]] = record
    return last


def results_files(folder: Path) -> list[Path]:
    """The results files in ``folder``, those of shards included; regular files only, since a pipe may never end."""
    paths = sorted(folder.glob("results.jsonl")) + sorted(folder.glob("results-*-of-*.jsonl"))
    return [path for path in paths if path.is_file()]


def _is_input(entry: Any) -> bool:
    match entry:
        case {"file": str(), "sha256": str()}:
            return True
    return False


def _is_output(entry: Any) -> bool:
    match entry:
        case {"path": str(), "bytes": int()}:
            return True
    return False


def _stays_in_folder(name: str) -> bool:
    path = PurePath(name)
    return not path.is_absolute() and ".." not in path.parts


def _has_valid_optional_fields(record: dict[str, Any]) -> bool:
    """Whether the optional fields of ``record`` that are read have the right types."""
    texts = (record.get("reasons", []), record.get("warnings", []))
    match record.get("error"):
        case None | {"code": int(), "message": str()}:
            return (
                isinstance(record.get("finished", ""), str)
                and all(isinstance(lines, list) and all(isinstance(line, str) for line in lines) for lines in texts)
                and _maps_to_numbers(record.get("seconds", {}))
                and _maps_to_numbers(record.get("uncertainty", {}))
            )
    return False


def _maps_to_numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(number, int | float) and abs(number) < MAX_NUMBER for number in value.values()
    )


def to_json(value: Any) -> Any:
    """``default`` of ``json.dumps``: NumPy's numbers as numbers, everything else as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def error_record(error: BaseException) -> dict[str, Any]:
    """``{"code", "type", "message"}``: the exit code of ``smarthdr fuse``, the class, one line."""
    kind, message = type(error).__name__, " ".join(str(error).split())
    if isinstance(error, SmartHDRError):
        return {"code": error.exit_code, "type": kind, "message": message}
    if out_of_memory(error):
        return {"code": MemoryLimitError.exit_code, "type": "MemoryLimitError", "message": "out of memory"}
    return {"code": 1, "type": kind, "message": f"crashed ({kind}: {message})"}
