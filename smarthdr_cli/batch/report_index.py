"""``index.html`` of a batch: every recorded set with its thumbnail, leading to its page."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from smarthdr_cli.batch.jobs import Job
from smarthdr_cli.batch.results import AMBIGUOUS, FAILED, OK, SKIPPED, Record
from smarthdr_cli.errors import UsageError
from smarthdr_cli.output.report.page import IndexEntry, read_thumbnail, write_index

INDEX_NAME = "index.html"


def check_index(jobs: Iterable[Job], out: Path) -> None:
    """Raises UsageError where the page of a set would take the place of the index."""
    for job in jobs:
        if job.outputs.get("report") == out / INDEX_NAME:
            raise UsageError(
                f"the page of the set {job.name} would be {out / INDEX_NAME}, the index; choose another --name"
            )


def write_batch_index(records: Mapping[str, Record], out: Path) -> Path:
    """Write the index of all sets in ``records`` (the last one of each) and return its path. Raises OutputError."""
    entries = [_index_entry(record, out) for _, record in sorted(records.items())]
    write_index(entries, out / INDEX_NAME, out.resolve().name)
    return out / INDEX_NAME


def _index_entry(record: Record, out: Path) -> IndexEntry:
    page = out / f"{record['name']}.html"
    # The page of a failed set is of an earlier run.
    exists = record["status"] in (OK, SKIPPED) and os.path.isfile(page)  # noqa: PTH113 - is_file() raises on some names
    seconds = record.get("seconds")
    problem = ""
    if record["status"] == FAILED and (error := record.get("error")):
        problem = f"{error['message']} (exit {error['code']})"
    elif record["status"] == AMBIGUOUS:
        problem = "; ".join(record.get("reasons", []))
    return IndexEntry(
        name=record["name"],
        status=record["status"],
        page=f"{record['name']}.html" if exists else None,
        thumbnail=read_thumbnail(page) if exists else None,
        uncertainty=record.get("uncertainty", {}).get("mean"),
        seconds=sum(seconds.values()) if seconds else None,
        problem=problem,
        warnings=tuple(record.get("warnings", ())),
    )
