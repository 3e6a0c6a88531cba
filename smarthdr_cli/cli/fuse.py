"""``smarthdr fuse``: one burst in, one linear HDR file out."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from smarthdr_cli.cli import options as opt
from smarthdr_cli.cli.console import handled, print_json, progress, say
from smarthdr_cli.errors import UsageError


@handled
def command(
    files: opt.Files,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The result: .exr, .hdr or .tif.", show_default=False)
    ],
    uncertainty: Annotated[
        Path | None,
        typer.Option(
            "--uncertainty", metavar="FILE", help="How far each pixel can be trusted: .png heatmap or .exr channels."
        ),
    ] = None,
    preview: Annotated[
        Path | None, typer.Option("--preview", metavar="FILE", help="Tone-mapped picture: .jpg, .png or .tif.")
    ] = None,
    ev: opt.Evs = None,
    exposure_times: opt.Times = None,
    exposure_check: Annotated[
        Literal["off", "warn", "fix"],
        typer.Option("--exposure-check", help="What to do where measured exposures contradict the stated ones."),
    ] = "warn",
    response: Annotated[
        str,
        typer.Option(
            "--response",
            metavar="auto|srgb|gamma2.2|linear|FILE",
            help="The camera's tone curve; FILE from smarthdr calibrate.",
        ),
    ] = "auto",
    reference: opt.ReferenceFrame = "auto",
    align: opt.Align = "auto",
    deghost: Annotated[
        Literal["auto", "off", "strong"],
        typer.Option(
            "--deghost", help="off: aligned merge by the physics alone; strong: trusts the other frames less."
        ),
    ] = "auto",
    weights: Annotated[
        str | None, typer.Option("--weights", metavar="NAME|PATH", help="Other weights than the default ones.")
    ] = None,
    device: opt.Device = "auto",
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"],
        typer.Option("--precision", help="Of the network; auto measures whether bf16 pays."),
    ] = "auto",
    tile: Annotated[
        str, typer.Option("--tile", metavar="auto|N|0", help="Side of a tile in pixels; 0 is the whole picture.")
    ] = "auto",
    max_memory: Annotated[
        str | None, typer.Option("--max-memory", metavar="SIZE", help="Memory to stay within, such as 3G.")
    ] = None,
    colorspace: Annotated[
        Literal["rec709", "rec2020", "acescg"], typer.Option("--colorspace", help="Primaries of the result.")
    ] = "rec709",
    anchor: Annotated[
        Literal["reference", "short"], typer.Option("--anchor", help="The frame whose clip level is pixel value 1.")
    ] = "reference",
    float32: Annotated[bool, typer.Option("--float", help="32-bit EXR instead of half.")] = False,
    compression: Annotated[
        Literal["zip", "piz", "dwaa"], typer.Option("--compression", help="Of the EXR; dwaa is lossy.")
    ] = "zip",
    embed_uncertainty: Annotated[
        bool, typer.Option("--embed-uncertainty", help="Add the uncertainty to the EXR as a second part.")
    ] = False,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Fuse a bracketed burst, handheld and moving, into linear radiance at the reference frame's moment and pose."""
    from smarthdr_cli.burst.exposure import parse_evs, parse_times
    from smarthdr_cli.output.write import check_outputs, write_preview, write_result, write_uncertainty

    if (embed_uncertainty or float32 or compression != "zip") and output.suffix.lower() != ".exr":
        raise UsageError("--float, --compression and --embed-uncertainty belong to .exr outputs")
    evs = None if ev is None else parse_evs(ev)
    times = None if exposure_times is None else parse_times(exposure_times)
    chosen = opt.parse_reference(reference)
    memory = opt.parse_memory(max_memory)
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
    say(report["notes"], quiet=quiet)
    if as_json:
        print_json(report)
