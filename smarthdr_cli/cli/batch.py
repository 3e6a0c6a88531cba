"""``smarthdr batch``: fuse every bracket of a shoot, record each, and continue an interrupted run."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smarthdr_cli.batch.batch_options import (
    DEFAULT_SETTLE,
    SETS,
    BatchOptions,
    EngineOptions,
    OutputFiles,
    WatchOptions,
    slurm_shard,
)
from smarthdr_cli.cli import options as opt
from smarthdr_cli.cli.console import cli_command, print_json, print_notes, progress
from smarthdr_cli.command_option import OUTPUT, CommandOption
from smarthdr_cli.errors import PartialFailureError, UsageError
from smarthdr_cli.fusion.fuse_options import FuseOptions
from smarthdr_cli.output.write_options import WriteOptions

if TYPE_CHECKING:
    from smarthdr_cli.batch.pipeline import Tally
    from smarthdr_cli.batch.results import Record


@contextlib.contextmanager
def _continued(output: Path) -> Iterator[None]:
    """An interrupt inside says how to go on."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(
            f"nothing was left half-written, and what is finished stays in {output}: the same command with "
            "--skip-existing continues"
        ) from error


@cli_command
def command(
    output: Annotated[
        Path, CommandOption("Folder for the results and results.jsonl.", OUTPUT, ("--output", "-o"), "DIR")
    ],
    *,
    shoot: Annotated[
        Path | None, typer.Argument(metavar="SHOOT", help="The folder of the frames.", show_default=False)
    ] = None,
    sets: Annotated[
        str | None,
        CommandOption("Fuse the sets in this output of smarthdr group --json; - is stdin.", SETS, metavar="FILE|-"),
    ] = None,
    bracket: opt.Bracket = None,
    gap: opt.Gap = None,
    fuse_options: FuseOptions,
    files: OutputFiles,
    write_options: WriteOptions,
    batch_options: BatchOptions,
    watch_options: WatchOptions,
    engine: EngineOptions,
    as_json: opt.JsonLines = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Find every bracket of a shoot and fuse it. All files of a set appear together, and results.jsonl records it.

    A set that fails is recorded and the others continue (exit code 7 at the end). After a crash, a kill or Ctrl-C the
    same command with --skip-existing continues the run.

    Examples: smarthdr batch shoot/ -o merged/ --preview --uncertainty ·
    smarthdr batch shoot/ -o merged/ --skip-existing · smarthdr batch tethered/ -o merged/ --preview --watch
    """
    if quiet and verbose:
        raise UsageError("--quiet and --verbose exclude each other")
    if (shoot is None) == (sets is None):
        raise UsageError("give either a folder of frames or --sets, for example: smarthdr batch shoot/ -o merged/")
    if sets is not None and (bracket is not None or gap is not None):
        raise UsageError("--bracket and --gap group a folder; the sets of --sets are grouped already: leave them out")
    if sets is not None and watch_options.watch:
        raise UsageError("--watch waits for frames in a folder, and --sets has none: name the folder")
    shard = batch_options.shard or slurm_shard(os.environ)
    batch_options = replace(batch_options, shard=shard)

    from smarthdr_cli.batch.run import Callbacks, group_shoot, run_batch
    from smarthdr_cli.batch.settings import Settings
    from smarthdr_cli.batch.watch import check_watch_options, watch_shoot
    from smarthdr_cli.burst.exposure import check_overrides
    from smarthdr_cli.grouping.group import read_sets

    exposures = fuse_options.ev or fuse_options.exposure_times or ()
    check_overrides(len(exposures), fuse_options.ev, fuse_options.exposure_times)
    check_watch_options(watch_options, batch_options, engine)
    settings = Settings(fuse_options, files, write_options)
    if shard.count > 1:
        print_notes([f"shard {shard.index} of {shard.count}"], quiet=quiet)

    def on_record(record: "Record") -> None:
        if as_json:
            print_json(record)
        _print_record(record, quiet=quiet, verbose=verbose)

    with _continued(output), progress(quiet=quiet) as bar:

        def on_progress(stage: str, done: int, total: int) -> None:
            bar(stage, done / (total or 1))

        callbacks = Callbacks(on_record, lambda note: print_notes([note], quiet=quiet), on_progress)
        if shoot is not None and watch_options.watch:
            print_notes([f"watching {shoot}; Ctrl-C ends it"], quiet=quiet)
            settle = DEFAULT_SETTLE if watch_options.settle is None else watch_options.settle
            tally = watch_shoot(
                shoot, output, settings, batch_options, callbacks, settle=settle, bracket=bracket, gap=gap
            )
        elif shoot is None:
            tally = run_batch(read_sets(Path(str(sets))), output, settings, batch_options, engine, callbacks)
        else:
            brackets, notes = group_shoot(
                shoot, output, bracket=bracket, gap=gap, max_pixels=fuse_options.max_pixels,
                on_file=partial(on_progress, "group"),
            )  # fmt: skip
            print_notes(notes, quiet=quiet)
            tally = run_batch(brackets, output, settings, batch_options, engine, callbacks, shoot)
    if not quiet:
        print_notes([f"{_summary(tally)}; results in {output}"], quiet=False, prefix="")
    if failed := tally.counts.get("failed", 0):
        stopped = "; stopped at the first (--fail-fast)" if tally.stopped else ""
        results = output / shard.results_name
        raise PartialFailureError(f"{failed} of {sum(tally.counts.values())} sets failed{stopped}; {results} says why")


def _print_record(record: "Record", *, quiet: bool, verbose: bool) -> None:
    """One line on stderr about a failed or ambiguous set; under --verbose about every set."""
    if record["status"] == "failed" and (error := record["error"]) is not None:
        print_notes([f"{record['name']}: {error['message']} (exit {error['code']})"], quiet=quiet, prefix="failed: ")
    elif record["status"] == "ambiguous":
        reasons = "; ".join(record["reasons"])
        print_notes([f"{record['name']}: {reasons}"], quiet=quiet, prefix="skipped as ambiguous: ")
    elif verbose:
        seconds = sum(record.get("seconds", {}).values())
        files = ", ".join(entry["path"] for entry in record["outputs"])
        print_notes([f"{record['name']}: {record['status']}, {seconds:.1f} s, {files}"], quiet=False, prefix="")


def _summary(tally: "Tally") -> str:
    """3 ok, 1 failed; 12.3 s, of which the fusion waited 5% for files."""
    counts = ", ".join(f"{number} {status}" for status, number in sorted(tally.counts.items())) or "nothing to do"
    return f"{counts}; {tally.seconds:.1f} s, of which the fusion waited {tally.idle_share:.0%} for files"
