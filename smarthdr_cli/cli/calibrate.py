"""``smarthdr calibrate``: a camera's tone curve from its own brackets."""

from pathlib import Path
from typing import Annotated

import typer

from smarthdr_cli.cli import options as opt
from smarthdr_cli.cli.console import handled, print_json, progress, say, writing
from smarthdr_cli.errors import InputError, UsageError


@handled
def command(
    files: opt.Files,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.toml",
            help="The calibration file.",
            show_default=False,
            rich_help_panel=opt.OUTPUT,
        ),
    ],
    ev: opt.Evs = None,
    exposure_times: opt.Times = None,
    align: opt.Align = "auto",
    max_pixels: opt.MaxPixels = None,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Save a camera's tone curve, found from two or more frames of one scene, for smarthdr fuse --response FILE.

    Examples: smarthdr calibrate *.jpg -o camera.toml · smarthdr fuse more/*.jpg -o out.exr --response camera.toml
    """
    from smarthdr_cli.align import align_burst
    from smarthdr_cli.atomic import check_targets
    from smarthdr_cli.burst.exposure import check_overrides, parse_evs, parse_times
    from smarthdr_cli.burst.load import load_burst
    from smarthdr_cli.response import calibrate, save_response

    if output.suffix.lower() != ".toml":
        raise UsageError(f"the calibration is written as .toml; {output.name} is not")
    evs = None if ev is None else parse_evs(ev)
    times = None if exposure_times is None else parse_times(exposure_times)
    check_overrides(len(files), evs, times)
    pixels = opt.parse_pixels(max_pixels)
    with writing(output):
        check_targets([output], overwrite, files)
    with progress(quiet=quiet) as tell:
        tell("read", 0.0)
        burst, notes = load_burst(files, evs=evs, times=times, max_pixels=pixels)
        if any(frame.exposure.source in ("none", "pixels") for frame in burst.frames):
            raise InputError("a curve can only be found under known exposures: give --ev or --exposure-times")
        tell("align", 0.0)
        alignment = align_burst(burst, None, mode=align)
        tell("response", 0.0)
        response = calibrate(burst, alignment)
    save_response(response, output, overwrite=overwrite)
    say(notes, quiet=quiet)
    if as_json:
        print_json({"output": str(output), "response": response.record, "notes": list(notes)})
