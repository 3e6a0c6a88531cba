"""``smarthdr train``: train a network on folders of scenes, a few of them labelled, or on streamed synthetic bursts."""

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from smarthdr_cli.cli import options as opt
from smarthdr_cli.cli.console import handled, writing
from smarthdr_cli.errors import InputError, OutputError, UsageError

if TYPE_CHECKING:
    from smarthdr_cli.train.clock import Clock
    from smarthdr_cli.train.request import Request

Input: dict[str, Any] = {"rich_help_panel": opt.INPUT}
Schedule: dict[str, Any] = {"rich_help_panel": "Schedule"}
Computation: dict[str, Any] = {"rich_help_panel": opt.COMPUTATION}
Output: dict[str, Any] = {"rich_help_panel": opt.OUTPUT}


@handled
def command(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="RUN",
            help="The run's folder; on scenes the first free runs/NNN without it.",
            show_default=False,
            **Output,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Scene folders. Without it: synthetic scenes, made once.", **Input),
    ] = None,
    labeled: Annotated[
        str | None,
        typer.Option("--labeled", metavar="N|IDS.txt", help="How many scenes keep their truth, or which.", **Input),
    ] = None,
    unlabeled: Annotated[
        list[Path] | None,
        typer.Option("--unlabeled", metavar="DIR", help="Folder of bursts without truth; again for more.", **Input),
    ] = None,
    panoramas: opt.Panoramas = None,
    method: Annotated[
        Literal["supervised", "smarthdr", "smae", "fshdr", "selfhdr"] | None,
        typer.Option(
            "--method",
            help="How unlabelled bursts are learned from; supervised leaves them alone.",
            show_default="smarthdr on scenes",
        ),
    ] = None,
    backbone: Annotated[
        Literal["saf", "gfhdr"] | None,
        typer.Option("--backbone", help="The network; the table model of --config has its sizes.", show_default="saf"),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option("--init", metavar="NAME|PATH", help="Start from these weights instead of from nothing."),
    ] = None,
    vgg: Annotated[
        str | None,
        typer.Option(
            "--vgg",
            metavar="PATH|OWNER/NAME:FILE",
            help="VGG16 weights (safetensors) for the perceptual term; without them it is left out.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE.toml", help="Training options; those of the command go before it."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="What the random numbers start from.", show_default="0")
    ] = None,
    epochs: Annotated[
        str | None,
        typer.Option(
            "--epochs",
            metavar="A+B",
            help="A passes over the labelled crops, then B over the unlabelled, instead of iterations.",
            **Schedule,
        ),
    ] = None,
    iterations: Annotated[
        int | None,
        typer.Option(
            "--iterations",
            min=1,
            help="Where the schedule ends.",
            show_default="1000000; on scenes 12000",
            **Schedule,
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option("--batch", min=1, help="Labelled bursts a step.", show_default="4; on scenes 4", **Schedule),
    ] = None,
    decay: Annotated[
        float | None,
        typer.Option(
            "--decay",
            min=0,
            help="Steps (below 1: share of them) over which the rate falls to 0 at the end.",
            show_default="0.0; on scenes 0.3",
            **Schedule,
        ),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0.01, help="Stop after so long; --resume goes on.", **Schedule)
    ] = None,
    cooldown: Annotated[
        float,
        typer.Option(
            "--cooldown",
            min=0,
            metavar="MINUTES",
            help="Let the rate fall to 0 over the last so many of --minutes.",
            show_default="0",
            **Schedule,
        ),
    ] = 0.0,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the run in the folder, under its own options.", **Schedule),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Only print the options, the data and what it would cost, by a few updates.", **Schedule
        ),
    ] = False,
    device: opt.Device = "auto",
    precision: Annotated[
        Literal["auto", "fp32", "bf16"] | None,
        typer.Option(
            "--precision",
            help="The network's arithmetic; auto: bf16 where the processor has it.",
            show_default="auto",
            **Computation,
        ),
    ] = None,
    tensorboard: Annotated[
        bool,
        typer.Option("--tensorboard", help="Write events to RUN/board; needs the extra tensorboard.", **Output),
    ] = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Train on scenes, a few with ground truth and many without, or on synthetic bursts made as it goes.

    --data, --labeled, --unlabeled or --method train on scenes. Ctrl-C saves the state and the weights so far.

    The run's folder holds state.pt (to resume), metrics.jsonl and model.safetensors (for smarthdr fuse --weights).

    Examples: smarthdr train --unlabeled brackets/ --labeled 5 --init saf-base -o runs/mine ·
    smarthdr train -o runs/mine --resume
    """
    chosen = {"method": method, "vgg": vgg, "seed": seed, "iterations": iterations, "batch": batch, "decay": decay}
    given = {name: value for name, value in chosen.items() if value is not None}
    file = _read(config)
    on_scenes = any((data, labeled is not None, unlabeled, method)) or file.get("method", "supervised") != "supervised"
    if epochs is not None and iterations is not None:
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
    where = distributed.join(resolve_device(device))
    quiet = quiet or distributed.rank() > 0
    if init is not None:
        find_weights(init)
    values = run_folder.with_backbone(run_folder.merged(file, given), backbone)
    before = run_folder.earlier(output) if resume and output is not None else None
    if before is not None and output is not None:
        if on_scenes and before.request is None:
            raise UsageError(f"{output} holds a run on streamed bursts; it has no scenes to resume on")
        on_scenes = before.request is not None
        values = run_folder.going_on(before, values, output)
    if vgg is not None and Path(vgg).expanduser().is_file():
        values["vgg"] = str(Path(vgg).expanduser().resolve())  # found again whence ever the run is resumed
    values = run_folder.completed(values, init=init, precision=precision, device=where)
    if not on_scenes and (epochs is not None or vgg is not None):
        raise UsageError(f"--{'vgg' if epochs is None else 'epochs'} belongs to a run on scenes; give --labeled N")
    from smarthdr_cli.cli.training import How, run_on_scenes, run_on_stream

    how = How(output, device, init, _clock(minutes, cooldown), dry_run, tensorboard, as_json, quiet, before)
    if on_scenes:
        run_on_scenes(how, values, _request(data, panoramas, labeled, unlabeled or [], epochs))
    else:
        run_on_stream(how, values, panoramas)


def _clock(minutes: float | None, cooldown: float) -> "Clock":
    from smarthdr_cli.train.clock import Clock

    try:
        return Clock(minutes, cooldown)
    except ValueError as error:
        raise UsageError(f"--cooldown {cooldown:g}: give --minutes too, at least as many") from error


def _check_folder(output: Path | None, *, resume: bool, init: str | None) -> None:
    """Before anything heavy is loaded."""
    if resume and init is not None:
        raise UsageError("--init starts a run and --resume goes on with one; give one of them")
    if output is None:
        if resume:
            raise UsageError("--resume needs the run's folder: -o RUN")
        return
    state_file = output / "state.pt"
    with writing(output):
        begun = state_file.exists()
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output} is a file, not a folder for the run")
    if begun and not resume:
        raise UsageError(f"{output} holds a run already; add --resume to go on with it, or choose another folder")
    if resume and not begun:
        raise InputError(f"{state_file}: no training state there to resume")


def _request(
    data: Path | None, panoramas: Path | None, labeled: str | None, unlabeled: list[Path], epochs: str | None
) -> "Request":
    from smarthdr_cli.data.splits import read_scene_names
    from smarthdr_cli.train.request import Request

    names: int | tuple[str, ...] | None = None
    if labeled is not None:
        try:
            names = int(labeled)
        except ValueError:
            names = tuple(read_scene_names(Path(labeled)))
    folders = [str(path.expanduser().resolve()) for path in unlabeled]
    own, source = (None if path is None else str(path.expanduser().resolve()) for path in (data, panoramas))
    return Request(own, source, names, tuple(folders), None if epochs is None else _epochs(epochs))


def _epochs(text: str) -> tuple[int, int]:
    first, plus, then = text.partition("+")
    if not (plus and text.isascii() and first.isdigit() and then.isdigit()) or int(first) + int(then) == 0:
        raise UsageError(f"--epochs {text}: use A+B, passes over labelled and then over unlabelled crops, as 30+170")
    return int(first), int(then)


def _read(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a readable TOML file ({error})") from error
