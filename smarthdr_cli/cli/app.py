"""The command ``smarthdr`` and its subcommands."""

from typing import Annotated

import typer

from smarthdr_cli.cli import batch, doctor, evaluate, fuse, group, info, models, train
from smarthdr_cli.cli.usage import Commands
from smarthdr_cli.system import exit_process, keep_freed_memory
from smarthdr_cli.version import __version__

app = typer.Typer(
    name="smarthdr",
    cls=Commands,
    help="Ghost-free HDR from handheld exposure brackets, with a map of how far each pixel can be trusted.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("fuse")(fuse.command)
app.command("batch")(batch.command)
app.command("group")(group.command)
app.command("info")(info.info_command)
app.command("calibrate")(info.calibrate_command)
app.command("synth")(evaluate.synth_command)
app.command("train")(train.command)
app.command("evaluate")(evaluate.evaluate_command)
app.add_typer(models.app, name="models")
app.command("doctor")(doctor.command)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"smarthdr {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Ghost-free HDR fusion of bracketed bursts."""


def main() -> None:
    """Entry point of the console script. Ends the process."""
    keep_freed_memory()
    try:
        app()
    except SystemExit as ending:
        exit_process(ending.code)
