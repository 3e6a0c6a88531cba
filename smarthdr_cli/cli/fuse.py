"""``smarthdr fuse``: one burst in, one linear HDR file out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from smarthdr_cli.cli import options as opt
from smarthdr_cli.cli.console import handled, print_json, progress, say, writing
from smarthdr_cli.cli.summary import summary
from smarthdr_cli.errors import UncertaintyLimitError, UsageError
from smarthdr_cli.output.write import (
    check_outputs,
    check_write_options,
    listed,
    write_preview,
    write_result,
    write_uncertainty,
)

Output: dict[str, Any] = {"rich_help_panel": opt.OUTPUT}


@handled
def command(
    files: opt.Files,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE", help=f"The result: {listed('result')}.", show_default=False, **Output
        ),
    ],
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
    uncertainty: Annotated[
        Path | None,
        typer.Option(
            "--uncertainty",
            metavar="FILE",
            help="How far each pixel can be trusted: .png heatmap or .exr channels.",
            **Output,
        ),
    ] = None,
    preview: Annotated[
        Path | None,
        typer.Option("--preview", metavar="FILE", help=f"A tone-mapped picture: {listed('preview')}.", **Output),
    ] = None,
    colorspace: opt.ColorSpaceName = "rec709",
    anchor: opt.Anchor = "reference",
    float32: opt.Float32 = False,
    compression: opt.Compression = "zip",
    embed_uncertainty: opt.EmbedUncertainty = False,
    fail_above: opt.UncertaintyLimit = None,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Fuse a bracketed burst, handheld and moving, into linear radiance at the reference frame's moment and pose.

    Examples: smarthdr fuse *.jpg -o out.exr · smarthdr fuse *.png -o out.exr --ev -2,0,2 ·
    smarthdr fuse *.dng -o out.exr --preview out.jpg --uncertainty out.png
    """
    from smarthdr_cli.burst.exposure import check_overrides, parse_evs, parse_times
    from smarthdr_cli.fusion.result import check_limit

    if quiet and verbose:
        raise UsageError("--quiet and --verbose exclude each other")
    check_write_options(output, float32=float32, compression=compression, embed_uncertainty=embed_uncertainty)
    evs = None if ev is None else parse_evs(ev)
    times = None if exposure_times is None else parse_times(exposure_times)
    check_overrides(len(files), evs, times)
    if fail_above is not None:
        check_limit(fail_above)
    chosen = opt.parse_reference(reference)
    memory, pixels = opt.parse_memory(max_memory), opt.parse_pixels(max_pixels)
    with writing(output):
        check_outputs(output, uncertainty, preview, inputs=files, overwrite=overwrite)
    from smarthdr_cli.fusion.pipeline import fuse

    with progress(quiet=quiet) as tell:
        fused = fuse(
            files, progress=tell, weights=weights, device=device, precision=precision, tile=tile, max_memory=memory,
            reference=chosen, align=align, response=response, deghost=deghost, evs=evs, exposure_times=times,
            exposure_check=exposure_check, gains=gains, colorspace=colorspace, anchor=anchor, max_pixels=pixels,
        )  # fmt: skip
        tell("write", 0.0)
        notes = write_result(
            fused, output, compression=compression, float32=True if float32 else None,
            embed_uncertainty=embed_uncertainty, overwrite=overwrite,
        )  # fmt: skip
        tell("write", 0.4)
        if uncertainty is not None:
            notes += write_uncertainty(fused, uncertainty, overwrite=overwrite)
        tell("write", 0.7)
        if preview is not None:
            notes += write_preview(fused, preview, overwrite=overwrite)
    report = fused.report.to_dict()
    report["outputs"] = [str(path) for path in (output, uncertainty, preview) if path is not None]
    report["notes"] = [*report["notes"], *notes]
    if verbose:
        say(summary(report), quiet=False, mark="")
    say(report["notes"], quiet=quiet)
    if as_json:
        print_json(report)
    if fail_above is not None:
        try:
            fused.check_uncertainty(fail_above)
        except UncertaintyLimitError as error:
            raise UncertaintyLimitError(f"{error}; {output} was written all the same") from error
