"""``smarthdr synth``: a synthetic benchmark with its ground truth."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from smarthdr_cli.cli import options as opt
from smarthdr_cli.cli.console import handled, progress, writing
from smarthdr_cli.errors import OutputError, UsageError


@handled
def command(
    output: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder to write; must not exist or be empty.", show_default=False)
    ],
    panoramas: opt.Panoramas = None,
    scenes: Annotated[int, typer.Option("--scenes", min=0, help="Scenes in Training/.")] = 75,
    test: Annotated[int, typer.Option("--test", min=0, help="Scenes in Test/, from held-out sources.")] = 60,
    kind: Annotated[
        Literal["gamma16", "camera8"],
        typer.Option("--kind", help="16-bit gamma 2.2 TIFF, or 8-bit JPEG under random camera curves."),
    ] = "gamma16",
    size: Annotated[str, typer.Option("--size", metavar="WxH", help="Of the pictures.")] = "512x384",
    frames: Annotated[int, typer.Option("--frames", min=2, max=9, help="Exposures of each burst.")] = 3,
    seed: opt.Seed = 0,
    quiet: opt.Quiet = False,
) -> None:
    """Write handheld bursts of moving scenes in the Kalantari layout, with ground truth, for training and measuring.

    Examples: smarthdr synth scenes/ --scenes 20 --test 5 · smarthdr synth scenes/ --panoramas hdri/ --kind camera8
    """
    shape = opt.parse_size(size)
    if scenes + test == 0:
        raise UsageError("--scenes and --test are both 0; nothing to write")
    with writing(output):
        used = output.exists() and (not output.is_dir() or any(output.iterdir()))
    if used:
        raise OutputError(f"{output} exists and is not an empty folder")
    from smarthdr_cli.data.synth.export import benchmark_config, write_benchmark
    from smarthdr_cli.data.synth.sources import load_bank

    config = benchmark_config(kind, shape, frames)
    with progress(quiet=quiet) as tell:
        for part, count, held_out in (("Training", scenes, False), ("Test", test, True)):
            if count:
                bank = load_bank(panoramas, held_out=held_out, seed=seed)
                told = partial(_scene_done, tell, part, count)
                write_benchmark(output / part, bank, count, seed * 2 + held_out, config, on_scene=told)


def _scene_done(tell: Callable[[str, float], None], part: str, count: int, number: int) -> None:
    tell(part, (number + 1) / count)
