"""``smarthdr synth`` makes scenes with a ground truth; ``smarthdr evaluate`` measures checkpoints on such scenes."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from smarthdr_cli.cli import options as opt
from smarthdr_cli.cli.console import cli_command, output_errors, print_json, progress, stdout_errors
from smarthdr_cli.command_option import FUSION, INPUT, OUTPUT, CommandOption
from smarthdr_cli.errors import OutputError, UsageError
from smarthdr_cli.fusion.fuse_options import Align, Device, Precision

CLASSICAL_METHODS = "reference,debevec,mtb-debevec,static"


@cli_command
def evaluate_command(
    weights: Annotated[
        list[str],
        typer.Argument(
            metavar="WEIGHTS|RUN...",
            help="Checkpoints: folders of training runs (with their teacher, where kept), files, or names such as "
            "saf-base.",
            show_default=False,
        ),
    ],
    data: Annotated[Path, CommandOption("Folder of scenes with a ground truth.", INPUT, metavar="DIR")],
    split: Annotated[
        Literal["train", "test", "all"], CommandOption("The part of the scenes to measure on.", INPUT)
    ] = "test",
    scenes: Annotated[int | None, CommandOption("Only the first N scenes.", INPUT, metavar="N", minimum=1)] = None,
    rivals: Annotated[
        str,
        CommandOption(
            "Classical methods in the same table; the oracle joins where the set has its frames.",
            FUSION,
            metavar="NAME,NAME,...|none",
        ),
    ] = CLASSICAL_METHODS,
    align: Align = "auto",
    protocol: Annotated[
        Literal["auto", "published", "fitted"],
        CommandOption(
            "published: no rescaling, as in papers; fitted: one scale for each scene and method; auto: published where "
            "the tone curve of every scene is known.",
            opt.OPTIONS,
        ),
    ] = "auto",
    cvvdp: Annotated[
        bool, CommandOption("Also measure ColorVideoVDP (JOD); needs the package cvvdp.", opt.OPTIONS)
    ] = False,
    device: Device = "auto",
    precision: Precision = "auto",
    output: Annotated[
        Path | None,
        CommandOption(
            "Also write results.json, table.md, sheet.png and sparsification.png into this folder.",
            OUTPUT,
            ("--output", "-o"),
            "DIR",
        ),
    ] = None,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Measure image quality and uncertainty of checkpoints on scenes with a ground truth, beside classical methods.

    The table goes to stdout.

    Examples: smarthdr evaluate saf-base --data scenes/ ·
    smarthdr evaluate runs/mine saf-base --data scenes/ -o results/
    """
    if overwrite and output is None:
        raise UsageError("--overwrite belongs to -o DIR")
    from smarthdr_cli.evaluate import evaluate, report
    from smarthdr_cli.evaluate.methods import FusionSettings

    methods = tuple(dict.fromkeys(name.strip() for name in rivals.split(","))) if rivals != "none" else ()
    options = evaluate.EvaluateOptions(
        split, scenes, methods, protocol, cvvdp, FusionSettings(device, precision, align)
    )
    written: list[Path] = []
    plan = evaluate.plan_evaluation(weights, data, options)
    with report.results_folder(output, overwrite=overwrite) if output is not None else nullcontext():
        with progress(quiet=quiet) as report_progress:
            evaluation = evaluate.evaluate(plan, lambda share: report_progress("evaluate", share))
        if output is not None:
            written = report.write_report(evaluation, output, overwrite=overwrite)
    if as_json:
        print_json(report.results(evaluation) | {"outputs": [str(path) for path in written]})
    else:
        with stdout_errors():
            typer.echo(report.markdown(evaluation), nl=False)


@cli_command
def synth_command(
    output: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder to write; must be new or empty.", show_default=False)
    ],
    panoramas: opt.Panoramas = None,
    scenes: Annotated[int, CommandOption("Number of scenes in Training/.", opt.OPTIONS, minimum=0)] = 75,
    test: Annotated[
        int, CommandOption("Number of scenes in Test/, rendered from held-out sources.", opt.OPTIONS, minimum=0)
    ] = 60,
    kind: Annotated[
        Literal["gamma16", "camera8"],
        CommandOption("gamma16: 16-bit TIFF with gamma 2.2; camera8: 8-bit JPEG with random tone curves.", opt.OPTIONS),
    ] = "gamma16",
    size: Annotated[str, CommandOption("Size of the frames in pixels.", opt.OPTIONS, metavar="WxH")] = "512x384",
    frames: Annotated[int, CommandOption("Number of exposures in each burst.", opt.OPTIONS, minimum=2, maximum=9)] = 3,
    seed: opt.Seed = 0,
    quiet: opt.Quiet = False,
) -> None:
    """Render handheld bursts of moving scenes with ground truth, in the Kalantari layout, for training and measuring.

    Examples: smarthdr synth scenes/ --scenes 20 --test 5 · smarthdr synth scenes/ --panoramas hdri/ --kind camera8
    """
    shape = parse_size(size)
    if scenes + test == 0:
        raise UsageError("--scenes and --test are both 0; nothing to write")
    with output_errors(output):
        in_use = output.exists() and (not output.is_dir() or any(output.iterdir()))
    if in_use:
        raise OutputError(f"{output} exists and is not an empty folder")
    from smarthdr_cli.data.synth.export import benchmark_config, write_benchmark
    from smarthdr_cli.data.synth.sources import load_bank

    config = benchmark_config(kind, shape, frames)
    with progress(quiet=quiet) as report_progress:
        for part, count, held_out in (("Training", scenes, False), ("Test", test, True)):
            if count:
                bank = load_bank(panoramas, held_out=held_out, seed=seed)
                on_scene = partial(_report_scene, report_progress, part, count)
                write_benchmark(output / part, bank, count, seed * 2 + held_out, config, on_scene=on_scene)


def _report_scene(report_progress: Callable[[str, float], None], part: str, count: int, number: int) -> None:
    report_progress(part, (number + 1) / count)


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) from WIDTHxHEIGHT, both at least 64. Raises UsageError."""
    width, _, height = text.lower().partition("x")
    if not (text.isascii() and width.isdigit() and height.isdigit()) or min(int(width), int(height)) < 64:
        raise UsageError(f"--size {text}: use WIDTHxHEIGHT in pixels, each at least 64")
    return int(height), int(width)
