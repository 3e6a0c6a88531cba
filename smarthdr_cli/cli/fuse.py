"""``smarthdr fuse``: one burst in, one linear HDR file out."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from smarthdr_cli.cli import options as opt
from smarthdr_cli.cli.console import handled, print_json, progress, say, writing
from smarthdr_cli.cli.summary import summary
from smarthdr_cli.errors import UsageError

Fusion: dict[str, Any] = {"rich_help_panel": opt.FUSION}
Computation: dict[str, Any] = {"rich_help_panel": opt.COMPUTATION}
Output: dict[str, Any] = {"rich_help_panel": opt.OUTPUT}


@handled
def command(
    files: opt.Files,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE", help="The result: .exr, .hdr or .tif.", show_default=False, **Output
        ),
    ],
    ev: opt.Evs = None,
    exposure_times: opt.Times = None,
    exposure_check: Annotated[
        Literal["off", "warn", "fix"],
        typer.Option(
            "--exposure-check",
            help="Where the pixels contradict the stated exposures: say nothing, warn, or use what the pixels say.",
            rich_help_panel=opt.INPUT,
        ),
    ] = "warn",
    response: Annotated[
        str,
        typer.Option(
            "--response",
            metavar="auto|srgb|gamma2.2|linear|FILE",
            help="The camera's tone curve: estimated from the burst, named, or a FILE from smarthdr calibrate.",
            rich_help_panel=opt.INPUT,
        ),
    ] = "auto",
    reference: opt.ReferenceFrame = "auto",
    align: opt.Align = "auto",
    deghost: Annotated[
        Literal["auto", "off", "strong"],
        typer.Option(
            "--deghost",
            help="auto: the network decides what moved; strong: it trusts the other frames less; "
            "off: the aligned merge by the physics alone.",
            **Fusion,
        ),
    ] = "auto",
    weights: Annotated[
        str | None,
        typer.Option("--weights", metavar="NAME|PATH", help="Other weights than the ones installed.", **Fusion),
    ] = None,
    device: opt.Device = "auto",
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"],
        typer.Option("--precision", help="The network's arithmetic; auto measures whether bf16 pays.", **Computation),
    ] = "auto",
    tile: Annotated[
        str,
        typer.Option("--tile", metavar="auto|N|0", help="Side of a tile in pixels; 0: no tiles.", **Computation),
    ] = "auto",
    max_memory: Annotated[
        str | None, typer.Option("--max-memory", metavar="SIZE", help="Memory to stay within, e.g. 3G.", **Computation)
    ] = None,
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
        typer.Option("--preview", metavar="FILE", help="A tone-mapped picture: .jpg, .png or .tif.", **Output),
    ] = None,
    colorspace: Annotated[
        Literal["rec709", "rec2020", "acescg"], typer.Option("--colorspace", help="Primaries of the result.", **Output)
    ] = "rec709",
    anchor: Annotated[
        Literal["reference", "short"],
        typer.Option("--anchor", help="The frame whose clip level is pixel value 1.", **Output),
    ] = "reference",
    float32: Annotated[bool, typer.Option("--float", help="32-bit float EXR instead of half.", **Output)] = False,
    compression: Annotated[
        Literal["zip", "piz", "dwaa"],
        typer.Option("--compression", help="The EXR's compression; dwaa is lossy.", **Output),
    ] = "zip",
    embed_uncertainty: Annotated[
        bool, typer.Option("--embed-uncertainty", help="Add the uncertainty to the EXR as a second part.", **Output)
    ] = False,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Fuse a bracketed burst, handheld and moving, into linear radiance at the reference frame's moment and pose."""
    from smarthdr_cli.burst.exposure import check_overrides, parse_evs, parse_times
    from smarthdr_cli.output.write import check_outputs, write_preview, write_result, write_uncertainty

    if quiet and verbose:
        raise UsageError("--quiet and --verbose exclude each other")
    if (embed_uncertainty or float32 or compression != "zip") and output.suffix.lower() != ".exr":
        raise UsageError("--float, --compression and --embed-uncertainty belong to .exr outputs")
    evs = None if ev is None else parse_evs(ev)
    times = None if exposure_times is None else parse_times(exposure_times)
    check_overrides(len(files), evs, times)
    chosen = opt.parse_reference(reference)
    memory = opt.parse_memory(max_memory)
    with writing(output):
        check_outputs(output, uncertainty, preview, inputs=files, overwrite=overwrite)
    from smarthdr_cli.fusion.pipeline import fuse

    with progress(quiet=quiet) as tell:
        fused = fuse(
            files, progress=tell, weights=weights, device=device, precision=precision, tile=tile, max_memory=memory,
            reference=chosen, align=align, response=response, deghost=deghost, evs=evs, exposure_times=times,
            exposure_check=exposure_check, colorspace=colorspace, anchor=anchor,
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
    report: dict[str, Any] = dict(fused.report)
    report["outputs"] = [str(path) for path in (output, uncertainty, preview) if path is not None]
    report["notes"] = [*report.get("notes", []), *notes]
    if verbose:
        say(summary(report), quiet=False, mark="")
    say(report["notes"], quiet=quiet)
    if as_json:
        print_json(report)
