"""``results.jsonl``: a line a set, on the disk before the next set is reported, and readable after any crash."""

import contextlib
import errno
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Required, TypedDict

from filelock import FileLock, Timeout

from smarthdr_cli.atomic import RESERVED_PREFIX
from smarthdr_cli.errors import OutputError

OK, FAILED, SKIPPED, AMBIGUOUS = "ok", "failed", "skipped", "ambiguous"
_MAX_SECONDS = 1e9  # seconds, thirty years
_NO_LOCK_ERRORS = (errno.ENOLCK, errno.ENOTSUP)  # what file systems that know no locks say


class Record(TypedDict, total=False):
    """What became of a set: a line of the file. ``parse_record`` says what of it is checked when it is read.

    ``inputs``: "file" of each and, where it was read, "sha256", "ev" and "source". ``outputs``: "path" and "bytes" of
    each. ``settings``: what the result was made with (settings.py). ``seconds``: of each stage. ``finished``: ISO time.
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
    """The results file of one process: appended to, each line flushed to the disk, locked against a second writer.

    Raises OutputError where it cannot be written or another process has it.
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
                if self._file.read(1) != b"\n":  # a line torn by a crash: it ends here, and the next begins whole
                    self._file.write(b"\n")
                    self._file.flush()
        except OSError as error:
            raise OutputError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from error

    def append(self, record: Record) -> None:
        """Add one line. Raises OutputError."""
        line = json.dumps(record, default=plain, allow_nan=False).encode() + b"\n"
        try:
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())
            if not os.path.samestat(os.fstat(self._file.fileno()), self.path.stat()):
                raise OutputError(f"{self.path} was replaced meanwhile; its lines since then are lost")
        except FileNotFoundError as error:
            raise OutputError(f"{self.path} was removed meanwhile, and its lines with it") from error
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {(error.strerror or str(error)).lower()}") from error

    def close(self) -> None:
        """Give the file back."""
        with contextlib.suppress(OSError):
            self._file.close()
        if self._lock.is_locked:
            with contextlib.suppress(OSError):  # while it is held: who takes the lock next sees that its file is gone
                Path(self._lock.lock_file).unlink()
            self._lock.release()

    def _take_lock(self) -> None:
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            self._file.close()
            raise OutputError(f"{self.path} is in use: another smarthdr batch is writing there") from error
        except OSError as error:
            if error.errno not in _NO_LOCK_ERRORS:
                self._file.close()
                raise

    def __enter__(self) -> "Results":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def read_results(path: Path, on_note: Callable[[str], None] = lambda _text: None) -> Iterator[Record]:
    """The lines of a results file in order. One that is no record, such as one torn by a crash, counts as absent, and
    ``on_note`` is told of it.

    Raises OutputError where the file is there and cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            yield parse_record(parse_json(line))
        except ValueError as error:
            on_note(f"{path}, line {number} counts as absent: {error}")


def parse_json(text: bytes) -> Any:
    """What a JSON text means. Raises ValueError for anything else, and for numbers that JSON does not know."""
    try:
        value = json.loads(text)
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise ValueError("it is not JSON") from error
    return value


def parse_record(value: Any) -> Record:
    """``value`` as a record: what is read back of it has the types that it was written with.

    A set that is done (ok, skipped) states its outputs and the digests of its inputs. Raises ValueError for others.
    """
    match value:
        case {"name": str(), "status": "failed" | "ambiguous"}:
            sound = True
        case {"name": str(), "status": "ok" | "skipped", "inputs": list(inputs), "outputs": list(outputs)}:
            sound = all(map(_is_input, inputs)) and all(map(_is_output, outputs))
        case _:
            sound = False
    if not (sound and isinstance(value.get("finished", ""), str) and _are_seconds(value.get("seconds", {}))):
        raise ValueError("it is not the record of a set")
    record: Record = value
    return record


def last_results(paths: Iterable[Path], on_note: Callable[[str], None] = lambda _text: None) -> dict[str, Record]:
    """Of each set the last line that says what became of it, over several files (the shards of one folder), by the
    time each was written. A set skipped stays what it was. ``on_note``: see ``read_results``."""
    found: dict[str, Record] = {}
    for path in paths:
        for record in read_results(path, on_note):
            before = found.get(record["name"])
            if before is not None and before.get("finished", "") > record.get("finished", ""):
                continue
            if record["status"] != SKIPPED or before is None:
                found[record["name"]] = record
    return found


def results_files(folder: Path) -> list[Path]:
    """Every results file in ``folder``: of the whole, and of shards. A pipe, which may have no end, is none."""
    found = sorted(folder.glob("results.jsonl")) + sorted(folder.glob("results-*-of-*.jsonl"))
    return [path for path in found if path.is_file()]


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


def _are_seconds(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(seconds, int | float) and abs(seconds) < _MAX_SECONDS for seconds in value.values()
    )


def plain(value: Any) -> Any:
    """What ``json.dumps`` writes for what it does not know: NumPy's numbers as numbers, all else as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
