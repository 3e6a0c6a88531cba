"""A whole batch: group the shoot, check everything before it begins, fuse every set once, record each.

A later run continues where this one ended: from results.jsonl, from what the files state, and from the stages that an
interrupted process left.
"""

import contextlib
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from smarthdr_cli.batch.batch_options import BatchOptions, EngineOptions, Shard
from smarthdr_cli.batch.common_exposure import calibrate_cameras, common_exposure
from smarthdr_cli.batch.jobs import Job, make_jobs, real_path
from smarthdr_cli.batch.memory_budget import batch_budget
from smarthdr_cli.batch.pipeline import Tally, run
from smarthdr_cli.batch.process_engine import ProcessPool, process_count
from smarthdr_cli.batch.ray_engine import run_on_cluster
from smarthdr_cli.batch.report_index import check_index, write_batch_index
from smarthdr_cli.batch.results import AMBIGUOUS, FAILED, OK, SKIPPED, Record, Results, last_results, results_files
from smarthdr_cli.batch.settings import Settings, model_digest
from smarthdr_cli.batch.transaction import recover
from smarthdr_cli.batch.worker import NetworkCache, Worker, WorkerConfig, ambiguous_record
from smarthdr_cli.errors import InputError, OutputError, UsageError, full_path, os_reason
from smarthdr_cli.fusion.fuse_options import FuseOptions
from smarthdr_cli.fusion.result import check_limit
from smarthdr_cli.grouping.group import BracketSet, find_pictures, group_files, no_pictures
from smarthdr_cli.grouping.header import Header, read_header

HEADER_THREADS = 8


@dataclass(frozen=True)
class Callbacks:
    """What a batch calls: with the record of each set, with notes for the user, and with (stage, done, total)."""

    on_record: Callable[[Record], None] = lambda _record: None
    on_note: Callable[[str], None] = lambda _note: None
    on_progress: Callable[[str, int, int], None] = lambda _stage, _done, _total: None


def group_shoot(
    shoot: Path,
    out: Path,
    *,
    bracket: int | None = None,
    gap: float | None = None,
    max_pixels: int | None = None,
    on_file: Callable[[int, int], None] | None = None,
    required: bool = True,
) -> tuple[list[BracketSet], list[str]]:
    """The brackets below ``shoot``, and notes on the other files; files in ``out`` are results of earlier runs.

    ``bracket``, ``gap``, ``max_pixels``: see ``smarthdr group``. ``on_file``: called with (files read, files in all).
    ``required``: raise InputError where there are no pictures or no brackets, and say what was found.
    Raises InputError for a folder that cannot be read.
    """
    notes: list[str] = []
    images, real_out = find_pictures(shoot, on_error=notes.append), real_path(out)
    if real_out != real_path(shoot):  # if they are the same, run_batch refuses it
        images = [path for path in images if not real_path(path).is_relative_to(real_out)]
    if required and not images:
        raise InputError(no_pictures([shoot]))
    grouping = group_files(images, bracket=bracket, gap=gap, on_file=on_file, max_pixels=max_pixels)
    notes += grouping.notes
    notes += [skipped.reason for skipped in grouping.skipped]
    if required and not grouping.sets:
        raise InputError(
            f"no brackets in {full_path(shoot)} ({grouping.summary()}); smarthdr group {shlex.quote(str(shoot))} says "
            "why, and --bracket N states how many frames belong together"
        )
    if grouping.singles:
        notes.append(f"{len(grouping.singles)} frames belong to no bracket (smarthdr group says why)")
    return list(grouping.sets), notes


def run_batch(
    sets: Sequence[BracketSet],
    out: Path,
    settings: Settings,
    options: BatchOptions | None = None,
    engine: EngineOptions | None = None,
    callbacks: Callbacks | None = None,
    shoot: Path | None = None,
    networks: NetworkCache | None = None,
) -> Tally:
    """Fuse ``sets`` into the folder ``out``; sub-folders of ``shoot`` are kept. ``networks``: of earlier runs.

    Raises before any set is read: UsageError (options, unsafe names, two sets of one name), ModelError, InputError (no
    sets, a bad calibration), OutputError (existing outputs, a folder that is not writable or in use). What goes wrong
    with one set is in its record.
    """
    options, engine, callbacks = options or BatchOptions(), engine or EngineOptions(), callbacks or Callbacks()
    shard = options.shard or Shard()
    _check(sets, out, settings, options, shoot)
    settings, headers = _prepare(sets, settings, options, callbacks)
    jobs = make_jobs(sets, out, options.name, settings.files, headers, shoot)
    if settings.files.report:
        check_index(jobs, out)
    model = model_digest(settings.fuse)
    networks = NetworkCache() if networks is None else networks
    shard_jobs, stage = shard.of(jobs), out / shard.staging_name
    with (
        _processes(shard_jobs, headers, settings.fuse, engine, networks) as pool,
        _results(out / shard.results_name) as results,
    ):
        log = _Log(results, last_results(results_files(out), callbacks.on_note), callbacks)
        recover(stage, log.add_recovered, callbacks.on_note)
        todo, ambiguous = _select(shard_jobs, options, log.last)
        if todo and settings.common is not None and settings.fuse.response == "auto":
            responses, notes = calibrate_cameras(
                jobs, settings.fuse, out, stage, lambda done, total: callbacks.on_progress("curves", done, total)
            )
            settings = replace(settings, responses=responses)
            for note in notes:
                callbacks.on_note(note)
        for job in ambiguous:
            log.add(ambiguous_record(job))
        log.start(len(todo))
        try:
            config = WorkerConfig(settings, options, stage, model)
            if engine.engine == "ray":
                tally = run_on_cluster(
                    todo, config, log.add_done, log.last, engine, callbacks.on_note, fail_fast=options.fail_fast
                )
            elif pool is not None:
                config = replace(config, settings=replace(settings, fuse=pool.share_of(settings.fuse)))
                tally = pool.run(todo, config, log.add_done, log.last, fail_fast=options.fail_fast)
            else:
                budget = batch_budget(settings.fuse, (job.files for job in todo), headers)
                config = replace(config, settings=replace(settings, fuse=budget.options))
                tally = run(
                    todo, Worker(config, networks), log.add_done, log.last,
                    fail_fast=options.fail_fast, overlap=budget.overlap,
                )  # fmt: skip
        finally:  # clear up after an interrupt
            with contextlib.suppress(OutputError):
                recover(stage, log.add_recovered)
            if settings.files.report:
                try:
                    write_batch_index(last_results(results_files(out)), out)
                except OutputError as error:
                    callbacks.on_note(str(error))
        if ambiguous:
            tally.counts[AMBIGUOUS] += len(ambiguous)
        return tally


@contextlib.contextmanager
def _processes(
    jobs: Sequence[Job],
    headers: Mapping[Path, Header],
    fuse: FuseOptions,
    engine: EngineOptions,
    networks: NetworkCache,
) -> Iterator[ProcessPool | None]:
    """The processes that fuse ``jobs``, None where this one does or a cluster; the local network is built.

    Where the network runs on a GPU, one process keeps it busy.
    """
    if engine.engine == "ray":
        yield None
        return
    count = min(len(jobs), engine.workers or process_count(jobs, headers, fuse))
    if count > 1:
        with contextlib.closing(ProcessPool(count)) as pool:
            device = pool.open_network(fuse)
            if device == "cpu" or engine.workers:
                yield pool
                return
    networks.prepare(fuse)
    yield None


@contextlib.contextmanager
def _results(path: Path) -> Iterator[Results]:
    """The results file at ``path``, in a folder that is made where there is none."""
    _make_folder(path.parent)
    with Results(path) as results:
        yield results


class _Log:
    """Appends records to the results file and passes them on; ``last``: the last record of each set."""

    def __init__(self, results: Results, last: dict[str, Record], callbacks: Callbacks) -> None:
        self.last = last
        self._results, self._callbacks = results, callbacks
        self._done = self._total = 0

    def start(self, total: int) -> None:
        """Report progress over ``total`` sets from now on."""
        self._total = total
        self._callbacks.on_progress("sets", 0, total)

    def add(self, record: Record) -> None:
        """Append ``record``, unless it skips a set that is recorded as done, and pass it on."""
        before = self.last.get(record["name"])
        recorded_as_done = before is not None and before["status"] in (OK, SKIPPED)
        if not (record["status"] == SKIPPED and recorded_as_done):
            self._append(record)
        self._callbacks.on_record(record)

    def add_done(self, record: Record) -> None:
        """As ``add``, for one of the sets that ``start`` announced."""
        self.add(record)
        self._done += 1
        self._callbacks.on_progress("sets", self._done, self._total)

    def add_recovered(self, record: Record) -> None:
        """Append the record of a set that an earlier process finished, unless it did so itself."""
        before = self.last.get(record["name"])
        if before is None or _record_key(before) != _record_key(record):
            self._append(record)

    def _append(self, record: Record) -> None:
        self._results.append(record)
        self.last[record["name"]] = record


def _record_key(record: Record) -> tuple[str, str | None, int | None]:
    """What differs between two records of one set."""
    return record["status"], record.get("finished"), record.get("pid")


def _check(
    sets: Sequence[BracketSet], out: Path, settings: Settings, options: BatchOptions, shoot: Path | None
) -> None:
    """Raises UsageError or InputError for what is wrong whatever the files say."""
    settings.check()
    if options.fail_above is not None:
        check_limit(options.fail_above)
    if not sets:
        raise InputError("there are no brackets to fuse: smarthdr group --json writes the sets that --sets reads")
    if shoot is not None and real_path(shoot) == real_path(out):
        raise UsageError(
            f"{full_path(out)} is the shoot itself: give -o a folder of its own; later runs would take previews for "
            "frames"
        )


def _prepare(
    sets: Sequence[BracketSet], settings: Settings, options: BatchOptions, callbacks: Callbacks
) -> tuple[Settings, dict[Path, Header]]:
    """``settings`` with the common exposure where one is wanted, and the headers that the run needs."""
    all_frames = options.anchored or settings.fuse.max_memory is not None
    frames = (path for bracket in sets for path in (bracket.frames if all_frames else bracket.frames[:1]))
    headers = read_headers(frames, lambda done, total: callbacks.on_progress("headers", done, total))
    if options.anchored:
        common, notes = common_exposure([bracket.frames for bracket in sets], headers, options.common_ev)
        for note in (*notes, f"all sets are anchored to an exposure of {common.ev:+.2f} EV"):
            callbacks.on_note(note)
        settings = replace(settings, common=common)
    return settings, headers


def read_headers(paths: Iterable[Path], on_progress: Callable[[int, int], None]) -> dict[Path, Header]:
    """The header of each file that can be read; for the others their set fails when it is read."""
    files = list(dict.fromkeys(paths))

    def read(path: Path) -> Header | None:
        try:
            return read_header(path)
        except InputError:
            return None

    headers: dict[Path, Header] = {}
    with ThreadPoolExecutor(HEADER_THREADS) as pool:
        for done, (path, header) in enumerate(zip(files, pool.map(read, files), strict=True), start=1):
            on_progress(done, len(files))
            if header is not None:
                headers[path] = header
    return headers


def _select(
    jobs: Sequence[Job], options: BatchOptions, last_records: Mapping[str, Record]
) -> tuple[list[Job], list[Job]]:
    """(jobs to do, jobs skipped as ambiguous). Raises OutputError for existing outputs that no option allows."""
    todo = [job for job in jobs if not job.ambiguous or options.ambiguous == "merge"]
    ambiguous = [job for job in jobs if job.ambiguous and options.ambiguous == "skip"]
    if options.retry_failed:
        todo = [job for job in todo if job.name in last_records and last_records[job.name]["status"] == FAILED]
        ambiguous = []
    if not (options.skip_existing or options.overwrite):
        existing = [path for job in todo for path in job.outputs.values() if path.exists()]
        if existing:
            more = f" (and {len(existing) - 1} more outputs)" if len(existing) > 1 else ""
            raise OutputError(
                f"{full_path(existing[0])} exists already{more}; use --skip-existing to continue the earlier run, "
                "or --overwrite to replace all"
            )
    return todo, ambiguous


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write in {full_path(out)}: {os_reason(error)}") from error
