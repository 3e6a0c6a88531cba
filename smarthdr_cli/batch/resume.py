"""Whether a set is done: its files exist, can be read, and state that they were made from these inputs and settings.

A file that neither states this itself nor has a record in results.jsonl belongs to somebody else and is not replaced.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from smarthdr_cli.batch.jobs import Job
from smarthdr_cli.batch.results import OK, SKIPPED, Record
from smarthdr_cli.errors import InputError, OutputError, os_reason
from smarthdr_cli.output.write import is_intact, read_provenance

State = Literal["absent", "done", "incomplete"]
_HINT = "use --overwrite to replace it"


def sha256_of(files: Sequence[Path]) -> list[str]:
    """sha256 of each file. Raises InputError."""
    digests = []
    for path in files:
        try:
            with path.open("rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").hexdigest())
        except FileNotFoundError as error:
            raise InputError(f"{path.name} does not exist") from error
        except OSError as error:
            raise InputError(f"{path.name} cannot be read: {os_reason(error)}") from error
    return digests


def existing_outputs(job: Job, settings: dict[str, Any], last_record: Record | None) -> State:
    """ "absent", "done", or "incomplete": files of this very set, of which a preview or map is missing or damaged.

    ``settings``: as ``recorded`` gives them. ``last_record``: the last one of the set in the results.
    Raises OutputError, saying why, for a file that is not this set's with these inputs and settings.
    """
    existing = {role: path for role, path in job.outputs.items() if path.exists()}
    if not existing:
        return "absent"
    for path in existing.values():
        if not path.is_file():  # reading a pipe would wait
            raise OutputError(f"{path} exists already and is not a regular file; move it away")
    record = last_record if last_record is not None and last_record["status"] in (OK, SKIPPED) else None
    sizes = {} if record is None else {Path(o["path"]).name: o["bytes"] for o in record["outputs"]}
    if "result" not in existing:
        foreign = [path for path in existing.values() if sizes.get(path.name) != path.stat().st_size]
        if foreign:
            raise OutputError(f"{foreign[0]} exists, and nothing says that it is this set's; {_HINT}")
        return "incomplete"
    _check_result(job, settings, record, sizes.get(job.result.name))
    others = [path for role, path in job.outputs.items() if role != "result"]
    complete = all(path.exists() and _is_complete(path, sizes.get(path.name)) for path in others)
    return "done" if complete else "incomplete"


def _check_result(job: Job, settings: dict[str, Any], record: Record | None, size: int | None) -> None:
    """Raises OutputError unless the result was made from the job's files with ``settings``.

    ``size``: what ``record`` states, None without a record of the file.
    """
    path = job.result
    if size is not None and size != path.stat().st_size:
        raise OutputError(f"{path} is not as it was written; {_HINT}")
    provenance = _stated_provenance(path, read_to_end=size is None)
    if provenance is None:  # a format without metadata
        if record is None or size is None:
            raise OutputError(f"{path} exists, and nothing says what it was made from; {_HINT}")
        provenance = record.get("settings"), sorted(entry["sha256"] for entry in record["inputs"])
    made_with, made_from = provenance
    if isinstance(made_with, dict):  # older results state the precision elsewhere or not at all
        made_with = {"precision": settings.get("precision")} | made_with
    if made_with != settings:
        raise OutputError(f"{path} was made with other settings ({_difference(made_with, settings)}); {_HINT}")
    if made_from != sorted(sha256_of(job.files)):
        raise OutputError(f"{path} was made from other inputs; {_HINT}")


def _stated_provenance(path: Path, *, read_to_end: bool) -> tuple[Any, list[str]] | None:
    """(settings, sorted sha256 of the inputs) in the file's metadata; None where it has none.

    ``read_to_end``: read every pixel, for a file whose size no record states. Raises OutputError for a damaged file.
    """
    try:
        texts = read_provenance(path)
        if texts is None:
            return None
        if read_to_end and not is_intact(path):
            raise OutputError(f"{path} exists and cannot be read; {_HINT}")
        if not {"smarthdr:settings", "smarthdr:inputs"} <= set(texts):
            return None
        inputs = json.loads(texts["smarthdr:inputs"])
        settings = json.loads(texts["smarthdr:settings"])
        if "smarthdr:precision" in texts:
            settings = {"precision": texts["smarthdr:precision"]} | settings
        return settings, sorted(entry["sha256"] for entry in inputs)
    except OutputError:
        raise
    except Exception as error:  # the libraries have no common class of errors
        raise OutputError(f"{path} exists and cannot be read; {_HINT}") from error


def _is_complete(path: Path, size: int | None) -> bool:
    """Whether the file has the recorded ``size`` or, without a record, can be read to its end."""
    return path.stat().st_size == size if size is not None else is_intact(path)


def _difference(before: Any, now: dict[str, Any]) -> str:
    """ "key old, now new" for every setting that differs."""
    if not isinstance(before, dict):
        return "unknown ones"
    keys = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    return ", ".join(f"{key} {_short(before.get(key))}, now {_short(now.get(key))}" for key in keys)


def _short(value: Any) -> str:
    return "default" if value is None else str(value)[:16]
