"""``smarthdr train``: train a network on folders of scenes, a few of them labelled, or on streamed synthetic bursts."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from smarthdr_cli.cli import options as opt
from smarthdr_cli.cli.console import cli_command, output_errors
from smarthdr_cli.command_option import COMPUTATION, INPUT, OUTPUT, CommandOption
from smarthdr_cli.errors import InputError, OutputError, UsageError
from smarthdr_cli.fusion.fuse_options import Device
from smarthdr_cli.train.methods import METHODS

if TYPE_CHECKING:
    from smarthdr_cli.train.loop import TimeBudget
    from smarthdr_cli.train.run_folder import DataRequest

    MethodName = str
else:
    MethodName = Literal[tuple(METHODS)]

SCHEDULE = "Schedule"  # heading of --help


def parse_epochs(text: str) -> tuple[int, int]:
    """ "30+170" to passes over the labelled and the unlabelled crops. Raises UsageError."""
    first, plus, second = text.partition("+")
    if not (plus and text.isascii() and first.isdigit() and second.isdigit()) or int(first) + int(second) == 0:
        raise UsageError(f"--epochs {text}: use A+B, passes over labelled and then over unlabelled crops, as 30+170")
    return int(first), int(second)


def parse_labeled(text: str) -> int | tuple[str, ...]:
    """A number of scenes, or the names of scenes listed in a file. Raises InputError."""
    try:
        return int(text)
    except ValueError:
        from smarthdr_cli.data.splits import read_scene_names

        return tuple(read_scene_names(Path(text)))


@dataclass(frozen=True)
class ConfigFlags:
    """The fields of ``TrainConfig`` that are flags, by the same names; None: as --config or the defaults say."""

    method: Annotated[
        MethodName | None,
        CommandOption(
            "How to learn from unlabelled bursts; supervised ignores them.",
            opt.OPTIONS,
            show_default="smarthdr on scenes",
        ),
    ] = None
    vgg: Annotated[
        str | None,
        CommandOption(
            "VGG16 weights (safetensors) for the perceptual loss. Without them: no such loss.",
            opt.OPTIONS,
            metavar="PATH|OWNER/NAME:FILE",
        ),
    ] = None
    seed: Annotated[
        int | None, CommandOption("Seed of the random numbers.", opt.OPTIONS, minimum=0, show_default="0")
    ] = None
    iterations: Annotated[
        int | None,
        CommandOption(
            "Number of updates in the whole schedule.", SCHEDULE, minimum=1, show_default="1000000; on scenes 12000"
        ),
    ] = None
    batch: Annotated[
        int | None,
        CommandOption("Labelled bursts in each update.", SCHEDULE, minimum=1, show_default="4; on scenes 4"),
    ] = None
    decay: Annotated[
        float | None,
        CommandOption(
            "Number of updates (below 1: share of them) at the end over which the learning rate falls to 0.",
            SCHEDULE,
            minimum=0,
            show_default="0.0; on scenes 0.3",
        ),
    ] = None

    def given(self) -> dict[str, Any]:
        """The flags on the command line."""
        return {name: value for name, value in vars(self).items() if value is not None}


@cli_command
def command(
    output: Annotated[
        Path | None,
        CommandOption(
            "The run's folder.", OUTPUT, ("--output", "-o"), "RUN", show_default="on scenes the first free runs/NNN"
        ),
    ] = None,
    *,
    data: Annotated[
        Path | None,
        CommandOption("Folder of scenes. Without it: synthetic scenes, rendered once.", INPUT, metavar="DIR"),
    ] = None,
    labeled: Annotated[
        int | tuple[str, ...] | None,
        CommandOption(
            "How many scenes keep their ground truth, or a file with their names.",
            INPUT,
            metavar="N|IDS.txt",
            parse=parse_labeled,
        ),
    ] = None,
    unlabeled: Annotated[
        list[Path] | None,
        CommandOption("Folder of bursts without ground truth; repeat it for more.", INPUT, metavar="DIR"),
    ] = None,
    panoramas: opt.Panoramas = None,
    people: Annotated[
        Path | None,
        CommandOption(
            "Folder of sprites of people who move through streamed bursts (benchmarks/people/make_people.py).",
            INPUT,
            metavar="DIR",
        ),
    ] = None,
    flags: ConfigFlags,
    backbone: Annotated[
        Literal["saf", "gfhdr"] | None,
        CommandOption("The network; its sizes are in the table [model] of --config.", opt.OPTIONS, show_default="saf"),
    ] = None,
    init: Annotated[
        str | None,
        CommandOption("Start from these weights instead of random ones.", opt.OPTIONS, metavar="NAME|PATH"),
    ] = None,
    config: Annotated[
        Path | None,
        CommandOption("Training options; flags override them.", opt.OPTIONS, metavar="FILE.toml"),
    ] = None,
    epochs: Annotated[
        tuple[int, int] | None,
        CommandOption(
            "A passes over the labelled crops, then B over the unlabelled ones, instead of --iterations.",
            SCHEDULE,
            metavar="A+B",
            parse=parse_epochs,
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        CommandOption("Stop after this time; --resume continues.", SCHEDULE, minimum=0.01),
    ] = None,
    cooldown: Annotated[
        float,
        CommandOption(
            "Let the learning rate fall to 0 over the last part of --minutes.",
            SCHEDULE,
            metavar="MINUTES",
            minimum=0,
            show_default="0",
        ),
    ] = 0.0,
    resume: Annotated[bool, CommandOption("Continue the run in the folder, with its own options.", SCHEDULE)] = False,
    dry_run: Annotated[
        bool,
        CommandOption(
            "Print the options, the data and the time that training would take, measured by a few scenes and updates; "
            "train nothing.",
            SCHEDULE,
        ),
    ] = False,
    device: Device = "auto",
    precision: Annotated[
        Literal["auto", "fp32", "bf16"] | None,
        CommandOption(
            "The network's number format; auto: bf16 where the processor supports it.",
            COMPUTATION,
            show_default="auto",
        ),
    ] = None,
    tensorboard: Annotated[
        bool, CommandOption("Write TensorBoard events to RUN/board; needs the extra tensorboard.", OUTPUT)
    ] = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Train a network on scenes, a few with ground truth and many without, or on streamed synthetic bursts.

    --data, --labeled, --unlabeled and --method train on scenes. Ctrl-C saves the state and the weights so far.

    The run's folder holds state.pt (for --resume), metrics.jsonl and model.safetensors (for smarthdr fuse --weights).

    Examples: smarthdr train --unlabeled brackets/ --labeled 5 --init saf-base -o runs/mine ·
    smarthdr train -o runs/mine --resume
    """
    file = _read_toml(config)
    on_scenes = (
        any((data, labeled is not None, unlabeled, flags.method)) or file.get("method", "supervised") != "supervised"
    )
    ends = epochs is not None or minutes is not None or flags.iterations is not None
    if not (on_scenes or resume or dry_run or config or panoramas or people or ends):
        raise UsageError(
            "nothing says what to train on: --unlabeled DIR with your own brackets (and --init saf-base), --data DIR "
            "with scenes and their truth, --panoramas DIR with HDR images, or --minutes N for procedural scenes"
        )
    if epochs is not None and flags.iterations is not None:
        raise UsageError("--epochs and --iterations both end the schedule; give one of them")
    _check_folder(output, resume=resume, init=init)
    if output is None and not on_scenes and not dry_run:
        raise UsageError("give -o RUN for a run on streamed bursts, or --labeled N for one on scenes")
    if data is not None and panoramas is not None:
        raise UsageError("--panoramas makes the scenes that --data names; give one of them")

    from smarthdr_cli.fusion.device import resolve_device
    from smarthdr_cli.models.weights import find_weights
    from smarthdr_cli.train import distributed, run_folder
    from smarthdr_cli.train.tensorboard import require_tensorboard

    if tensorboard:
        require_tensorboard()
    if distributed.launched() and (output is None or dry_run):
        raise UsageError("several processes on one run need -o RUN, and --dry-run needs one process")
    training_device = distributed.join_group(resolve_device(device))
    quiet = quiet or distributed.rank() > 0
    if init is not None:
        find_weights(init)
    values = run_folder.with_backbone(run_folder.merge_options(file, flags.given()), backbone)
    before = run_folder.read_saved_run(output) if resume and output is not None else None
    if before is not None and output is not None:
        if on_scenes and before.request is None:
            raise UsageError(f"{output} holds a run on streamed bursts; it has no scenes to resume on")
        on_scenes = before.request is not None
        values = run_folder.resumed_options(before, values, output)
    if flags.vgg is not None and Path(flags.vgg).expanduser().is_file():
        values["vgg"] = str(Path(flags.vgg).expanduser().resolve())  # --resume may start in another folder
    values = run_folder.complete_options(values, init=init, precision=precision, device=training_device)
    if not on_scenes and (epochs is not None or flags.vgg is not None):
        raise UsageError(f"--{'vgg' if epochs is None else 'epochs'} belongs to a run on scenes; give --labeled N")
    from smarthdr_cli.cli.training import RunOptions, run_on_scenes, run_on_stream

    run = RunOptions(
        output, device, init, _time_budget(minutes, cooldown), dry_run, tensorboard, as_json, quiet, before
    )
    if on_scenes:
        if people is not None:
            raise UsageError(
                "--people belongs to a run on streamed bursts: without --data, --labeled, --unlabeled and --method"
            )
        run_on_scenes(run, values, _request(data, panoramas, labeled, unlabeled or [], epochs))
    else:
        run_on_stream(run, values, panoramas, people)


def _time_budget(minutes: float | None, cooldown: float) -> "TimeBudget":
    from smarthdr_cli.train.loop import TimeBudget

    try:
        return TimeBudget(minutes, cooldown)
    except ValueError as error:
        raise UsageError(f"--cooldown {cooldown:g}: give --minutes too, at least as many") from error


def _check_folder(output: Path | None, *, resume: bool, init: str | None) -> None:
    """Raises UsageError, InputError or OutputError for a folder that does not fit --resume; loads no torch."""
    if resume and init is not None:
        raise UsageError("--init starts a run and --resume continues one; give one of them")
    if output is None:
        if resume:
            raise UsageError("--resume needs the run's folder: -o RUN")
        return
    state_file = output / "state.pt"
    with output_errors(output):
        started = state_file.exists()
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output} is a file, not a folder for the run")
    if started and not resume:
        raise UsageError(f"{output} holds a run already; add --resume to continue it, or choose another folder")
    if resume and not started:
        raise InputError(f"{state_file}: no training state there to resume")


def _request(
    data: Path | None,
    panoramas: Path | None,
    labeled: int | tuple[str, ...] | None,
    unlabeled: list[Path],
    epochs: tuple[int, int] | None,
) -> "DataRequest":
    from smarthdr_cli.train.run_folder import DataRequest

    folders = tuple(str(path.expanduser().resolve()) for path in unlabeled)
    scenes, hdr_images = (None if path is None else str(path.expanduser().resolve()) for path in (data, panoramas))
    return DataRequest(scenes, hdr_images, labeled, folders, epochs)


def _read_toml(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a readable TOML file ({error})") from error
