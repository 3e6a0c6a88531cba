"""``smarthdr evaluate``: checkpoints and classical rivals on scenes with a ground truth."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from smarthdr_cli.cli import options as opt
from smarthdr_cli.cli.console import handled, print_json, printing, progress
from smarthdr_cli.errors import UsageError

Input: dict[str, Any] = {"rich_help_panel": opt.INPUT}
RIVALS = "reference,debevec,mtb-debevec,static"


@handled
def command(
    weights: Annotated[
        list[str],
        typer.Argument(
            metavar="WEIGHTS|RUN...",
            help="Checkpoints: run folders (with their teacher, where kept), files, or names such as saf-base.",
            show_default=False,
        ),
    ],
    data: Annotated[
        Path,
        typer.Option("--data", metavar="DIR", help="The set: scene folders with a truth.", show_default=False, **Input),
    ],
    split: Annotated[
        Literal["train", "test", "all"], typer.Option("--split", help="The part of the set to measure on.", **Input)
    ] = "test",
    scenes: Annotated[int | None, typer.Option("--scenes", min=1, help="Only the first N scenes.", **Input)] = None,
    rivals: Annotated[
        str,
        typer.Option(
            "--rivals",
            metavar="NAME,NAME,...|none",
            help="In the same table; the oracle joins where the set has its frames.",
            rich_help_panel=opt.FUSION,
        ),
    ] = RIVALS,
    align: opt.Align = "auto",
    protocol: Annotated[
        Literal["auto", "published", "fitted"],
        typer.Option(
            "--protocol",
            help="published: nothing rescaled, as in papers; fitted: one scale per scene and method; "
            "auto: published where every scene's curve is known.",
        ),
    ] = "auto",
    cvvdp: Annotated[bool, typer.Option("--cvvdp", help="Add ColorVideoVDP (JOD); needs the package cvvdp.")] = False,
    device: opt.Device = "auto",
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"],
        typer.Option("--precision", help="The network's arithmetic.", rich_help_panel=opt.COMPUTATION),
    ] = "auto",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder for results.json, table.md, sheet.png and sparsification.png.",
            rich_help_panel=opt.OUTPUT,
        ),
    ] = None,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Measure checkpoints on scenes with a ground truth, beside classical baselines, and their uncertainty.

    The table goes to stdout; with -o everything goes to files too.

    Examples: smarthdr evaluate saf-base --data scenes/ ·
    smarthdr evaluate runs/mine saf-base --data scenes/ -o results/
    """
    if overwrite and output is None:
        raise UsageError("--overwrite belongs to -o DIR")
    from contextlib import nullcontext

    from smarthdr_cli.evaluate import evaluate, report
    from smarthdr_cli.evaluate.methods import FusionSettings

    chosen = tuple(dict.fromkeys(name.strip() for name in rivals.split(","))) if rivals != "none" else ()
    options = evaluate.EvaluateOptions(split, scenes, chosen, protocol, cvvdp, FusionSettings(device, precision, align))
    written: list[Path] = []
    planned = evaluate.plan_evaluation(weights, data, options)
    with report.results_folder(output, overwrite=overwrite) if output is not None else nullcontext():
        with progress(quiet=quiet) as tell:
            found = evaluate.evaluate(planned, lambda share: tell("evaluate", share))
        if output is not None:
            written = report.write_report(found, output, overwrite=overwrite)
    if as_json:
        print_json(report.results(found) | {"outputs": [str(path) for path in written]})
    else:
        with printing():
            typer.echo(report.markdown(found), nl=False)
