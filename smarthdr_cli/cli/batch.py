"""``smarthdr batch``: a whole shoot, set by set, recorded as it goes and taken up again where it was left."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from smarthdr_cli.cli import options as opt
from smarthdr_cli.cli.console import handled, print_json, progress, say, stderr
from smarthdr_cli.errors import PartialFailureError, UsageError
from smarthdr_cli.output.write import PreviewFormat, ResultFormat, UncertaintyFormat

if TYPE_CHECKING:
    from smarthdr_cli.batch.results import Record

Sets: dict[str, Any] = {"rich_help_panel": "Sets"}
Running: dict[str, Any] = {"rich_help_panel": "Running"}
Output: dict[str, Any] = {"rich_help_panel": opt.OUTPUT}


@handled
def command(
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder of the results and results.jsonl.",
            show_default=False,
            **Output,
        ),
    ],
    shoot: Annotated[
        Path | None, typer.Argument(metavar="SHOOT", help="The folder of the frames.", show_default=False)
    ] = None,
    sets: Annotated[
        str | None,
        typer.Option(
            "--sets",
            metavar="FILE|-",
            help="The sets of smarthdr group --json instead of a folder; - is stdin.",
            **Sets,
        ),
    ] = None,
    bracket: opt.Bracket = None,
    gap: opt.Gap = None,
    ambiguous: Annotated[
        Literal["skip", "merge"],
        typer.Option("--ambiguous", help="Sets the grouping is not sure of: leave them alone, or fuse them.", **Sets),
    ] = "skip",
    ev: opt.Evs = None,
    exposure_times: opt.Times = None,
    exposure_check: opt.ExposureCheck = "warn",
    gains: opt.Gains = "auto",
    response: opt.ResponseCurve = "auto",
    reference: opt.ReferenceFrame = "auto",
    align: opt.Align = "auto",
    deghost: opt.Deghost = "auto",
    weights: opt.Weights = None,
    device: opt.Device = "auto",
    precision: opt.Precision = "auto",
    tile: opt.Tile = "auto",
    max_memory: opt.MaxMemory = None,
    max_pixels: opt.MaxPixels = None,
    name: Annotated[
        str,
        typer.Option(
            "--name",
            metavar="TEMPLATE",
            help="Names of the results, from {first} {last} {stem} {date} {n} {camera}; sub-folders are kept.",
            **Output,
        ),
    ] = "{first}-{last}",
    form: Annotated[ResultFormat, typer.Option("--format", help="What the results are written as.", **Output)] = "exr",
    preview: Annotated[
        bool, typer.Option("--preview", help="A tone-mapped picture beside each result.", **Output)
    ] = False,
    preview_format: Annotated[
        PreviewFormat | None,
        typer.Option(
            "--preview-format", help="What previews are written as; asks for them.", show_default="jpg", **Output
        ),
    ] = None,
    uncertainty: Annotated[
        bool, typer.Option("--uncertainty", help="How far each pixel can be trusted, beside each result.", **Output)
    ] = False,
    uncertainty_format: Annotated[
        UncertaintyFormat | None,
        typer.Option(
            "--uncertainty-format", help="A heatmap, or raw channels; asks for it.", show_default="png", **Output
        ),
    ] = None,
    common_exposure: Annotated[
        bool,
        typer.Option(
            "--common-exposure",
            help="Anchor all sets to one exposure, the shoot's median, under one curve for each camera: for panoramas.",
            **Output,
        ),
    ] = False,
    common_ev: Annotated[
        float | None,
        typer.Option(
            "--common-ev",
            metavar="EV",
            help="That exposure itself: log2 of seconds x ISO/100 / f-number squared; asks for --common-exposure.",
            **Output,
        ),
    ] = None,
    colorspace: opt.ColorSpaceName = "rec709",
    anchor: opt.Anchor = "reference",
    float32: opt.Float32 = False,
    compression: opt.Compression = "zip",
    embed_uncertainty: opt.EmbedUncertainty = False,
    fail_above: opt.UncertaintyLimit = None,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing",
            help="Go on where it was left: sets are skipped whose results state the same inputs and settings.",
            **Running,
        ),
    ] = False,
    overwrite: opt.Overwrite = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Only the sets that results.jsonl says failed.", **Running)
    ] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first set that fails.", **Running)
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="I/N|all",
            help="The I-th of N equal parts of the sets, with results-I-of-N.jsonl. In a Slurm array: this task's.",
            show_default=False,
            **Running,
        ),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option("--engine", help="This process, or a Ray cluster (needs the extra ray).", **Running),
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            "--address", metavar="auto|local|HOST:PORT", help="The Ray cluster.", show_default="auto", **Running
        ),
    ] = None,
    num_cpus: Annotated[
        float | None,
        typer.Option("--num-cpus", min=0.0, help="CPU cores of each Ray worker.", show_default="1", **Running),
    ] = None,
    num_gpus: Annotated[
        float | None,
        typer.Option(
            "--num-gpus",
            min=0.0,
            help="GPUs of each Ray worker.",
            show_default="1 where the cluster has some",
            **Running,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Ray workers at most.", show_default="all that fit", **Running),
    ] = None,
    as_json: opt.JsonLines = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Fuse every bracket of a shoot: grouped, each written whole or not at all, each with its line in results.jsonl.

    A set that fails is recorded and the others go on (exit 7 at the end). After a crash, a kill or Ctrl-C the same
    command with --skip-existing goes on where it was left.

    Examples: smarthdr batch shoot/ -o merged/ --preview --uncertainty ·
    smarthdr batch shoot/ -o merged/ --skip-existing
    """  # fmt: skip
    from smarthdr_cli.batch.shard import parse_shard
    from smarthdr_cli.burst.exposure import check_overrides, parse_evs, parse_times

    if quiet and verbose:
        raise UsageError("--quiet and --verbose exclude each other")
    if (shoot is None) == (sets is None):
        raise UsageError("give either a folder of frames or --sets")
    if sets is not None and (bracket is not None or gap is not None):
        raise UsageError("--bracket and --gap group a folder; the sets of --sets are grouped already")
    ray = {"--address": address, "--num-cpus": num_cpus, "--num-gpus": num_gpus, "--workers": workers}
    if engine != "ray" and any(value is not None for value in ray.values()):
        given = next(option for option, value in ray.items() if value is not None)
        raise UsageError(f"{given} belongs to --engine ray")
    evs = None if ev is None else parse_evs(ev)
    times = None if exposure_times is None else parse_times(exposure_times)
    check_overrides(len(evs or times or ()), evs, times)
    part = parse_shard(shard, os.environ)
    chosen, memory = opt.parse_reference(reference), opt.parse_memory(max_memory)
    pixels = opt.parse_pixels(max_pixels)

    from smarthdr_cli.batch.find import group_shoot
    from smarthdr_cli.batch.ray_engine import Cluster
    from smarthdr_cli.batch.run import Batch, Told, run_batch
    from smarthdr_cli.batch.settings import Settings, Writing
    from smarthdr_cli.fusion.fuse_options import FuseOptions
    from smarthdr_cli.grouping.group import read_sets

    settings = Settings(
        FuseOptions(
            weights=weights, device=device, precision=precision, tile=tile, max_memory=memory, reference=chosen,
            align=align, response=response, deghost=deghost, evs=evs, exposure_times=times,
            exposure_check=exposure_check, gains=gains, colorspace=colorspace, anchor=anchor, max_pixels=pixels,
        ),
        Writing(
            form, preview_format or ("jpg" if preview else None),
            uncertainty_format or ("png" if uncertainty else None), compression, float32, embed_uncertainty,
        ),
        fail_above=fail_above,
    )  # fmt: skip
    batch = Batch(
        settings, output, name, part, ambiguous, skip_existing, overwrite, retry_failed, fail_fast, common_exposure,
        common_ev, Cluster(address or "auto", num_cpus, num_gpus, workers) if engine == "ray" else None,
    )  # fmt: skip
    if part.count > 1:
        say([f"shard {part.index} of {part.count}"], quiet=quiet)

    def tell(record: "Record") -> None:
        if as_json:
            print_json(record)
        if record["status"] == "failed" and (error := record["error"]) is not None:
            say([f"{record['name']}: {error['message']} (exit {error['code']})"], quiet=quiet, mark="failed: ")
        elif record["status"] == "ambiguous":
            say([f"{record['name']}: {'; '.join(record['reasons'])}"], quiet=quiet, mark="left alone, ambiguous: ")
        elif verbose:
            say([_one_line(record)], quiet=False, mark="")

    with progress(quiet=quiet) as bar:

        def advance(what: str, done: int, every: int) -> None:
            bar(what, done / (every or 1))

        if shoot is None:
            found = read_sets(Path(str(sets)))
        else:
            found, notes = group_shoot(
                shoot, output, bracket=bracket, gap=gap, max_pixels=pixels, on_file=partial(advance, "group")
            )
            say(notes, quiet=quiet)

        tally = run_batch(found, batch, Told(tell, lambda note: say([note], quiet=quiet), advance), shoot)
    counts = tally.counts
    if not quiet:
        parts = ", ".join(f"{number} {status}" for status, number in sorted(counts.items())) or "nothing to do"
        stderr().print(
            f"{parts}; {tally.seconds:.1f} s, in {tally.idle_share:.0%} of which the fusing waited for files",
            soft_wrap=True,
        )
    failed = counts.get("failed", 0)
    if failed:
        stopped = "; stopped at the first (--fail-fast)" if tally.stopped else ""
        where = output / part.results_name
        raise PartialFailureError(f"{failed} of {sum(counts.values())} sets failed{stopped}; {where} says why")


def _one_line(record: "Record") -> str:
    seconds = record.get("seconds", {})
    files = ", ".join(entry["path"] for entry in record["outputs"])
    return f"{record['name']}: {record['status']}, {sum(seconds.values()):.1f} s, {files}"
