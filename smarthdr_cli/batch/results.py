"""``results.jsonl``: a line a set, on the disk before the next set is reported, and readable after any crash."""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from smarthdr_cli.errors import OutputError

Record = dict[str, Any]
OK, FAILED, SKIPPED, AMBIGUOUS = "ok", "failed", "skipped", "ambiguous"


class Results:
    """The results file of one process: appended to, each line flushed to the disk, locked against a second writer.

    Raises OutputError where it cannot be written or another process has it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file: IO[bytes] = path.open("ab+")
            _lock(self._file, path)
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
        line = json.dumps(record, default=_plain, allow_nan=False).encode() + b"\n"
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

    def __enter__(self) -> "Results":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def read_results(path: Path) -> Iterator[Record]:
    """The lines of a results file in order; lines that are no whole record (torn by a crash) are passed over.

    Raises OutputError where the file is there and cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
    for line in data.splitlines():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and isinstance(record.get("name"), str) and isinstance(record.get("status"), str):
            yield record


def last_results(paths: Iterable[Path]) -> dict[str, Record]:
    """Of each set the last line that says what became of it, over several files (the shards of one folder), by the
    time each was written. A set skipped stays what it was."""
    found: dict[str, Record] = {}
    for path in paths:
        for record in read_results(path):
            before = found.get(record["name"])
            if before is not None and str(before.get("finished", "")) > str(record.get("finished", "")):
                continue
            if record["status"] != SKIPPED or before is None:
                found[record["name"]] = record
    return found


def results_files(folder: Path) -> list[Path]:
    """Every results file in ``folder``: of the whole, and of shards."""
    return sorted(folder.glob("results.jsonl")) + sorted(folder.glob("results-*-of-*.jsonl"))


def _lock(file: IO[bytes], path: Path) -> None:
    """Refuse a second process, where the system and the file system know locks."""
    with contextlib.suppress(ImportError):
        import fcntl

        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(f"{path} is in use: another smarthdr batch is writing there") from error
        except OSError:
            return  # a file system without locks


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)
