"""A whole run: what there is to do, checked before it begins; then every set once, recorded, and taken up again."""

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from smarthdr_cli.batch.anchor import common_exposure
from smarthdr_cli.batch.common_exposure import calibrate_cameras
from smarthdr_cli.batch.jobs import Job, make_jobs
from smarthdr_cli.batch.memory_budget import budget
from smarthdr_cli.batch.names import DEFAULT, real_path
from smarthdr_cli.batch.pipeline import Tally, run
from smarthdr_cli.batch.ray_engine import Cluster, run_on_cluster
from smarthdr_cli.batch.results import FAILED, OK, SKIPPED, Record, Results, last_results, results_files
from smarthdr_cli.batch.session import Session
from smarthdr_cli.batch.settings import Settings, model_digest
from smarthdr_cli.batch.shard import Shard
from smarthdr_cli.batch.transaction import recover
from smarthdr_cli.batch.worker import Plan, Worker, ambiguous_record
from smarthdr_cli.errors import InputError, OutputError, UsageError
from smarthdr_cli.grouping.group import BracketSet
from smarthdr_cli.grouping.header import Header, read_header

_THREADS = 8


@dataclass(frozen=True)
class Batch:
    """What to do with a shoot's sets.

    ``out``: folder of the results. ``name``: template of their names. ``ambiguous``: leave sets alone that the grouping
    was not sure of, or fuse them. ``retry_failed``: only sets whose last line says that they failed. ``common``: anchor
    all to one exposure, ``common_ev`` or the shoot's own, under one curve for each camera. ``cluster``: where to run,
    None for this machine.
    """

    settings: Settings
    out: Path
    name: str = DEFAULT
    shard: Shard = field(default_factory=Shard)
    ambiguous: Literal["skip", "merge"] = "skip"
    skip_existing: bool = False
    overwrite: bool = False
    retry_failed: bool = False
    fail_fast: bool = False
    common: bool = False
    common_ev: float | None = None
    cluster: Cluster | None = None


@dataclass(frozen=True)
class Told:
    """Who is told what: each set's record, notes for people, and how many sets of how many are done."""

    record: Callable[[Record], None] = lambda _record: None
    note: Callable[[str], None] = lambda _note: None
    progress: Callable[[str, int, int], None] = lambda _what, _done, _all: None


def run_batch(sets: Sequence[BracketSet], batch: Batch, told: Told, shoot: Path | None = None) -> Tally:
    """Fuse ``sets`` into ``batch.out``. ``shoot``: the folder whose sub-folders are kept.

    Raises before any work starts: UsageError (options, unsafe names, two sets of one name), ModelError, OutputError
    (outputs exist, folder not writable or in use), InputError (no sets). What befalls one set is in its record and
    in the tally.
    """
    batch.settings.check()
    if not sets:
        raise InputError("there are no sets to fuse")
    if shoot is not None and real_path(shoot) == real_path(batch.out):
        raise UsageError("the results need a folder of their own: previews beside the frames would pass for frames")
    headers = read_headers((p for s in sets for p in (s.frames if _whole(batch) else s.frames[:1])), told)
    settings = batch.settings
    if batch.common or batch.common_ev is not None:
        common, notes = common_exposure([s.frames for s in sets], headers, batch.common_ev)
        settings = replace(settings, common=common)
        for note in (*notes, f"all sets are anchored to an exposure of {common.ev:+.2f} EV"):
            told.note(note)
    settings.check()
    jobs = make_jobs(sets, batch.out, batch.name, settings, headers, shoot)
    model = model_digest(settings.fuse)
    session = Session()
    if batch.cluster is None:
        session.prepare(settings.fuse)
    mine = batch.shard.of(jobs)
    _make_folder(batch.out)
    with Results(batch.out / batch.shard.results_name) as results:
        last = last_results(results_files(batch.out), told.note)

        def keep(record: Record) -> None:
            before = last.get(record["name"])
            known = before is not None and before["status"] in (OK, SKIPPED)
            if not (record["status"] == SKIPPED and known):
                results.append(record)
                last[record["name"]] = record
            told.record(record)

        def found(record: Record) -> None:
            before = last.get(record["name"])
            if before is None or _record_key(before) != _record_key(record):  # not recorded yet
                results.append(record)
                last[record["name"]] = record

        stage = batch.out / batch.shard.staging_name
        recover(stage, found, told.note)
        todo, left = _sift(mine, batch, last)
        if todo and settings.common is not None and settings.fuse.response == "auto":
            responses, notes = calibrate_cameras(
                jobs, settings, batch.out, stage, lambda done, every: told.progress("curves", done, every)
            )
            settings = replace(settings, responses=responses)
            for note in notes:
                told.note(note)
        for job in left:
            keep(ambiguous_record(job))
        overlap = False
        if batch.cluster is None:
            room = budget(settings.fuse, (job.files for job in todo), headers)
            settings, overlap = replace(settings, fuse=room.options), room.overlap
        plan = Plan(settings, stage, model, batch.skip_existing, batch.overwrite)
        done = 0

        def count(record: Record) -> None:
            nonlocal done
            keep(record)
            done += 1
            told.progress("sets", done, len(todo))

        told.progress("sets", 0, len(todo))
        try:
            if batch.cluster is not None:
                tally = run_on_cluster(todo, plan, count, last, batch.cluster, told.note, fail_fast=batch.fail_fast)
            else:
                worker = Worker(plan, session)
                tally = run(todo, worker, count, last, fail_fast=batch.fail_fast, overlap=overlap)
        finally:  # an interrupt may have left something
            with contextlib.suppress(OutputError):
                recover(stage, found)
        if left:
            tally.counts["ambiguous"] = len(left)
        return tally


def read_headers(paths: Iterable[Path], told: Told) -> dict[Path, Header]:
    """What each file says; files that cannot be read are left out, for their set to fail by when its turn comes."""
    files = list(dict.fromkeys(paths))

    def read(path: Path) -> Header | None:
        try:
            return read_header(path)
        except InputError:
            return None

    found: dict[Path, Header] = {}
    with ThreadPoolExecutor(_THREADS) as pool:
        for done, (path, header) in enumerate(zip(files, pool.map(read, files), strict=True), start=1):
            told.progress("headers", done, len(files))
            if header is not None:
                found[path] = header
    return found


def _whole(batch: Batch) -> bool:
    """Whether the headers of all frames are needed, rather than of each set's first."""
    return batch.common or batch.common_ev is not None or batch.settings.fuse.max_memory is not None


def _sift(jobs: Sequence[Job], batch: Batch, last: Mapping[str, Record]) -> tuple[list[Job], list[Job]]:
    """(to do, left alone as ambiguous). Raises OutputError where outputs are in the way and nothing was said of it."""
    todo = [job for job in jobs if not job.ambiguous or batch.ambiguous == "merge"]
    left = [job for job in jobs if job.ambiguous and batch.ambiguous == "skip"]
    if batch.retry_failed:
        todo = [job for job in todo if job.name in last and last[job.name]["status"] == FAILED]
        left = []
    if not (batch.skip_existing or batch.overwrite):
        there = [path for job in todo for path in job.outputs.values() if path.exists()]
        if there:
            raise OutputError(
                f"{there[0]} exists already, and {len(there) - 1} more outputs; "
                "use --skip-existing to go on where it was left, or --overwrite to do all again"
            )
    return todo, left


def _record_key(record: Record) -> tuple[str, str | None, int | None]:
    """What tells one record of a set from the next."""
    return record["status"], record.get("finished"), record.get("pid")


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write in {out}: {(error.strerror or str(error)).lower()}") from error
