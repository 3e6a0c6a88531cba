"""Whether a set is done: its files are there, open, and say that they were made from these inputs, with these settings.

Where nothing says so, a file is somebody else's and stays.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from smarthdr_cli.batch.jobs import Job
from smarthdr_cli.batch.results import OK, SKIPPED, Record
from smarthdr_cli.errors import InputError, OutputError
from smarthdr_cli.output.write import is_intact, read_provenance

State = Literal["absent", "done", "ours"]


def digests(files: Sequence[Path]) -> list[str]:
    """sha256 of each file. Raises InputError."""
    out = []
    for path in files:
        try:
            with path.open("rb") as file:
                out.append(hashlib.file_digest(file, "sha256").hexdigest())
        except FileNotFoundError as error:
            raise InputError(f"{path.name} does not exist") from error
        except OSError as error:
            raise InputError(f"{path.name} cannot be read: {(error.strerror or str(error)).lower()}") from error
    return out


def judge(job: Job, settings: dict[str, Any], record: Record | None) -> State:
    """What there is of ``job``: "absent", "done", or "ours" (this very set's, but something beside it is missing).

    ``settings`` as ``recorded`` gives them; ``record``: the set's last line in the results.
    Raises OutputError where a file is in the way that is not this set's with these inputs and settings, saying why.
    """
    there = {role: path for role, path in job.outputs.items() if path.exists()}
    if not there:
        return "absent"
    for path in there.values():
        if not path.is_file():  # a pipe would be waited for
            raise OutputError(f"{path} exists already and is not a regular file; move it away")
    kept = record if record is not None and record["status"] in (OK, SKIPPED) else None
    sizes = {} if kept is None else {Path(o["path"]).name: o["bytes"] for o in kept["outputs"]}
    if "result" not in there:
        strange = [p for p in there.values() if sizes.get(p.name) != p.stat().st_size]
        if strange:
            raise OutputError(f"{strange[0]} exists, and nothing says that it is this set's; {_HINT}")
        return "ours"
    path = job.result
    size = sizes.get(path.name)
    if size is not None and size != path.stat().st_size:
        raise OutputError(f"{path} is not as it was written; {_HINT}")
    stated = _stated(path, whole=size is None)
    if stated is None and (kept is None or size is None):
        raise OutputError(f"{path} exists, and nothing says what it was made from; {_HINT}")
    if stated is not None:
        made_with, made_from = stated
    elif kept is not None:  # a format that says nothing of itself
        made_with, made_from = kept.get("settings"), sorted(entry["sha256"] for entry in kept["inputs"])
    if isinstance(made_with, dict):  # older results state the precision elsewhere or nowhere
        made_with = {"precision": settings.get("precision")} | made_with
    if made_with != settings:
        raise OutputError(f"{path} was made with other settings ({_difference(made_with, settings)}); {_HINT}")
    if made_from != sorted(digests(job.files)):
        raise OutputError(f"{path} was made from other inputs; {_HINT}")
    beside = [p for role, p in job.outputs.items() if role != "result"]
    return "done" if all(path.exists() and _is_whole(path, sizes.get(path.name)) for path in beside) else "ours"


_HINT = "use --overwrite to replace it"


def _stated(path: Path, whole: bool) -> tuple[Any, list[str]] | None:
    """(settings, sorted sha256 of the inputs) that the file itself states; None where it states none.

    ``whole``: read every pixel, where nothing else vouches for the file's end. Raises OutputError for a damaged one.
    """
    try:
        texts = read_provenance(path)
        if texts is None:
            return None
        if whole and not is_intact(path):
            raise OutputError(f"{path} exists and cannot be read; {_HINT}")
        if not {"smarthdr:settings", "smarthdr:inputs"} <= set(texts):
            return None
        inputs = json.loads(texts["smarthdr:inputs"])
        stated = json.loads(texts["smarthdr:settings"])
        if "smarthdr:precision" in texts:
            stated = {"precision": texts["smarthdr:precision"]} | stated
        return stated, sorted(entry["sha256"] for entry in inputs)
    except OutputError:
        raise
    except Exception as error:  # each format's library has its own exceptions
        raise OutputError(f"{path} exists and cannot be read; {_HINT}") from error


def _is_whole(path: Path, size: int | None) -> bool:
    return path.stat().st_size == size if size is not None else is_intact(path)


def _difference(before: Any, now: dict[str, Any]) -> str:
    if not isinstance(before, dict):
        return "unknown ones"
    keys = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    return ", ".join(f"{key} {_short(before.get(key))}, now {_short(now.get(key))}" for key in keys)


def _short(value: Any) -> str:
    return "default" if value is None else str(value)[:16]
