"""The options of a batch: which files each set gets, which sets are done, and where the work runs.

A new option of ``smarthdr batch`` is a field here. Loads neither NumPy nor torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from smarthdr_cli.atomic import RESERVED_PREFIX
from smarthdr_cli.command_option import OUTPUT, CommandOption
from smarthdr_cli.errors import UsageError
from smarthdr_cli.fusion.fuse_options import UncertaintyLimit
from smarthdr_cli.output.write import PreviewFormat, ResultFormat, Role, UncertaintyFormat

DEFAULT_SETTLE = 5.0  # seconds; longer than a camera takes from one frame of a bracket to the next

T = TypeVar("T")

SETS, RUNNING = "Sets", "Running"  # headings of --help
DEFAULT_NAME = "{first}-{last}"
_SLURM = "SLURM_ARRAY_TASK_"


@dataclass(frozen=True)
class OutputFiles:
    """The files that each set gets."""

    format: Annotated[ResultFormat, CommandOption("File format of the results.", OUTPUT)] = "exr"
    preview: Annotated[bool, CommandOption("Write a tone-mapped preview beside each result.", OUTPUT)] = False
    preview_format: Annotated[
        PreviewFormat | None,
        CommandOption("File format of the previews; implies --preview.", OUTPUT, show_default="jpg"),
    ] = None
    uncertainty: Annotated[
        bool, CommandOption("Write a map of how far each pixel can be trusted beside each result.", OUTPUT)
    ] = False
    uncertainty_format: Annotated[
        UncertaintyFormat | None,
        CommandOption(
            "png: the map as a heatmap; exr: as raw channels; implies --uncertainty.", OUTPUT, show_default="png"
        ),
    ] = None

    report: Annotated[
        bool,
        CommandOption(
            "Write a page to look at in a browser beside each result, and index.html, which leads to all of them.",
            OUTPUT,
        ),
    ] = False

    def paths(self, base: Path) -> dict[Role, Path]:
        """Role to path for the set whose path without an ending is ``base``; the result is last."""
        paths: dict[Role, Path] = {}
        if self.report:
            paths["report"] = base.with_name(f"{base.name}.html")
        if self.uncertainty or self.uncertainty_format:
            paths["uncertainty"] = base.with_name(f"{base.name}-uncertainty.{self.uncertainty_format or 'png'}")
        if self.preview or self.preview_format:
            ending = self.preview_format or "jpg"
            infix = "-preview" if ending == self.format else ""
            paths["preview"] = base.with_name(f"{base.name}{infix}.{ending}")
        paths["result"] = base.with_name(f"{base.name}.{self.format}")
        return paths


@dataclass(frozen=True)
class Shard:
    """Part ``index`` (from 1) of ``count`` equal parts of a shoot. Raises UsageError for a part that is not there."""

    index: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise UsageError(f"--shard {self.index}/{self.count}: the first number goes from 1 to the second")

    def of(self, items: Sequence[T]) -> list[T]:
        """Every ``count``-th item from ``index`` on.

        The shards of one list are disjoint, cover it, and differ in size by one at most, provided that every process
        has the same list in the same order.
        """
        return list(items[self.index - 1 :: self.count])

    @property
    def results_name(self) -> str:
        """The results file of the shard; no two processes write to one file."""
        return "results.jsonl" if self.count == 1 else f"results-{self.index}-of-{self.count}.jsonl"

    @property
    def staging_name(self) -> str:
        """The folder for files being written, likewise."""
        suffix = "" if self.count == 1 else f"-{self.index}-of-{self.count}"
        return f"{RESERVED_PREFIX}batch{suffix}"


def parse_shard(text: str) -> Shard:
    """ "3/32" to its shard, "all" to everything. Raises UsageError."""
    if text == "all":
        return Shard()
    first, slash, second = text.partition("/")
    if not slash or not all(part.isascii() and part.isdigit() and len(part) < 8 for part in (first, second)):
        raise UsageError(f"--shard {text}: use i/n, such as 3/32, or all")
    return Shard(int(first), int(second))


def slurm_shard(environment: Mapping[str, str]) -> Shard:
    """The shard of this task of a Slurm array; everything outside one.

    Slurm (sbatch, "output environment variables"): the task's ID counts from _MIN in steps of _STEP, _COUNT tasks.
    Raises UsageError for an array with gaps, whose IDs do not give the place of a task.
    """
    if f"{_SLURM}ID" not in environment:
        return Shard()
    try:
        task, count = int(environment[f"{_SLURM}ID"]), int(environment[f"{_SLURM}COUNT"])
        low = int(environment.get(f"{_SLURM}MIN", "0"))
        step = int(environment.get(f"{_SLURM}STEP") or 1)
        high = int(environment.get(f"{_SLURM}MAX", low + (count - 1) * step))
    except (KeyError, ValueError) as error:
        raise UsageError(f"{_SLURM}ID is set, but not as Slurm sets it ({error}); give --shard i/n or all") from error
    if step < 1 or high - low != (count - 1) * step or (task - low) % step or not low <= task <= high:
        raise UsageError(f"the IDs of this Slurm array do not give the place of this task; give --shard i/n of {count}")
    return Shard((task - low) // step + 1, count)


@dataclass(frozen=True)
class BatchOptions:
    """Which sets of a shoot are fused, under which names and checks. ``shard`` None: all of them."""

    ambiguous: Annotated[
        Literal["skip", "merge"],
        CommandOption(
            "What to do with sets that the grouping is not sure of, or whose frames seem to show two scenes: skip "
            "them, or fuse them too.",
            SETS,
        ),
    ] = "skip"
    name: Annotated[
        str,
        CommandOption(
            "Names of the results, built from {first} {last} {stem} {date} {n} {camera}; sub-folders are kept.",
            OUTPUT,
            metavar="TEMPLATE",
        ),
    ] = DEFAULT_NAME
    common_exposure: Annotated[
        bool,
        CommandOption(
            "Scale all results to one exposure, the median of the shoot, and use one tone curve for each camera: for "
            "panoramas.",
            OUTPUT,
        ),
    ] = False
    common_ev: Annotated[
        float | None,
        CommandOption(
            "Use this exposure instead of the median: log2 of seconds x ISO/100 / f-number squared; implies "
            "--common-exposure.",
            OUTPUT,
            metavar="EV",
        ),
    ] = None
    fail_above: UncertaintyLimit = None
    skip_existing: Annotated[
        bool,
        CommandOption("Continue an earlier run: skip sets whose results state the same inputs and settings.", RUNNING),
    ] = False
    overwrite: Annotated[bool, CommandOption("Replace existing files.", OUTPUT)] = False
    retry_failed: Annotated[
        bool, CommandOption("Fuse only the sets that failed according to results.jsonl.", RUNNING)
    ] = False
    fail_fast: Annotated[bool, CommandOption("Stop at the first set that fails.", RUNNING)] = False
    shard: Annotated[
        Shard | None,
        CommandOption(
            "Fuse only the I-th of N equal parts of the sets, recorded in results-I-of-N.jsonl.",
            RUNNING,
            metavar="I/N|all",
            parse=parse_shard,
            show_default="all; in a Slurm array, the task's part",
        ),
    ] = None

    @property
    def anchored(self) -> bool:
        """Whether all sets are scaled to one exposure."""
        return self.common_exposure or self.common_ev is not None


@dataclass(frozen=True)
class WatchOptions:
    """Whether a batch stays and waits for more brackets; ``check_watch_options`` says what that excludes."""

    watch: Annotated[
        bool,
        CommandOption(
            "Stay, and fuse each bracket once it is complete, for tethered shooting. Ctrl-C ends it.", RUNNING
        ),
    ] = False
    settle: Annotated[
        float | None,
        CommandOption(
            "With --watch: how long the folder must be quiet before its new frames are looked at.",
            RUNNING,
            metavar="SECONDS",
            minimum=0.0,
            show_default=f"{DEFAULT_SETTLE:g}",
        ),
    ] = None


@dataclass(frozen=True)
class EngineOptions:
    """Where the sets are fused: on this machine, or on a Ray cluster. Raises UsageError for options of the other.

    ``patience``: seconds to wait for another machine after the last one with room for a worker is lost.
    """

    engine: Annotated[
        Literal["local", "ray"],
        CommandOption("local: on this machine; ray: on a Ray cluster (needs the extra ray).", RUNNING),
    ] = "local"
    address: Annotated[
        str | None,
        CommandOption(
            "The Ray cluster; auto: the one of this machine or of $RAY_ADDRESS; local: start one here.",
            RUNNING,
            metavar="auto|local|HOST:PORT",
            show_default="auto",
        ),
    ] = None
    num_cpus: Annotated[
        float | None, CommandOption("CPU cores of each Ray worker.", RUNNING, minimum=0.0, show_default="1")
    ] = None
    num_gpus: Annotated[
        float | None,
        CommandOption(
            "GPUs of each Ray worker.", RUNNING, minimum=0.0, show_default="1 where the cluster has some, else 0"
        ),
    ] = None
    workers: Annotated[
        int | None,
        CommandOption(
            "At most this many processes, each of which fuses a set at a time.",
            RUNNING,
            minimum=1,
            show_default="local: a core each if the pictures are small, else 1; ray: as many as fit",
        ),
    ] = None
    patience: float = 300.0

    def __post_init__(self) -> None:
        for name in ("address", "num_cpus", "num_gpus"):
            if self.engine != "ray" and getattr(self, name) is not None:
                raise UsageError(f"--{name.replace('_', '-')} belongs to --engine ray")
