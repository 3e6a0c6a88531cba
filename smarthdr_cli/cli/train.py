"""``smarthdr train``: train a network on streamed synthetic bursts."""

import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from smarthdr_cli.cli import options as opt
from smarthdr_cli.cli.console import handled, print_json, stderr, writing
from smarthdr_cli.errors import InputError, OutputError, UsageError


@handled
def command(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="The run's folder.", show_default=False)
    ],
    panoramas: opt.Panoramas = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE.toml", help="Training options; the ones below go before it."),
    ] = None,
    iterations: Annotated[
        int | None, typer.Option("--iterations", min=1, help="Where the schedule ends.", show_default="1000000")
    ] = None,
    decay: Annotated[
        int | None,
        typer.Option("--decay", min=0, help="Steps over which the rate falls to 0 at the end.", show_default="0"),
    ] = None,
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="Bursts a step.", show_default="4")] = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0.01, help="Stop after so long; the state is kept.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the state in the run's folder.")] = False,
    init: Annotated[
        str | None,
        typer.Option("--init", metavar="NAME|PATH", help="Start from these weights instead of from nothing."),
    ] = None,
    device: opt.Device = "auto",
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="What the random numbers start from.", show_default="0")
    ] = None,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Train on synthetic bursts made from HDR images as it goes; Ctrl-C saves the state and the weights so far.

    The run's folder holds state.pt (to resume), metrics.jsonl and model.safetensors (for smarthdr fuse --weights).
    """
    values = _read(config)
    given = {"iterations": iterations, "decay": decay, "batch": batch, "seed": seed}
    values |= {name: value for name, value in given.items() if value is not None}
    state_file = output / "state.pt"
    with writing(output):
        begun = state_file.exists()
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output} is a file, not a folder for the run")
    if begun and not resume:
        raise UsageError(f"{output} holds a run already; add --resume to go on with it, or choose another folder")
    if resume and init is not None:
        raise UsageError("--init starts a run and --resume goes on with one; give one of them")
    if resume and not begun:
        raise InputError(f"{state_file}: no training state there to resume")
    from smarthdr_cli.train.run import run_training

    def log(record: dict[str, Any]) -> None:
        if not quiet:
            numbers = " ".join(f"{k} {v:.4g}" for k, v in record.items() if isinstance(v, float))
            stderr().print(f"step {record['step']}: {numbers}", soft_wrap=True)

    with writing(output):
        summary = run_training(
            output, values, panoramas, device=device, resume=resume, init=init, minutes=minutes, on_log=log
        )
    if as_json:
        print_json(summary)


def _read(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: not a readable TOML file ({error})") from error
