"""``smarthdr info``: exposures and pixels of a burst's files. ``smarthdr calibrate``: a camera's tone curve."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from smarthdr_cli.cli import options as opt
from smarthdr_cli.cli.console import (
    cli_command,
    output_errors,
    print_json,
    print_notes,
    print_table,
    printable,
    progress,
)
from smarthdr_cli.command_option import OUTPUT, CommandOption
from smarthdr_cli.errors import InputError, UsageError
from smarthdr_cli.fusion.fuse_options import Align, Evs, ExposureTimes, MaxPixels, Reference

if TYPE_CHECKING:
    from smarthdr_cli.burst.inspect import FrameRecord


@cli_command
def info_command(
    files: opt.Files,
    ev: Evs = None,
    exposure_times: ExposureTimes = None,
    reference: Reference = "auto",
    max_pixels: MaxPixels = None,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Show each file's exposure, stated and measured, its clipping and sharpness, and which frame is the reference.

    Examples: smarthdr info *.jpg · smarthdr info *.png --ev -2,0,2 --json
    """
    from smarthdr_cli.burst.inspect import inspect

    inspection = inspect(files, evs=ev, times=exposure_times, reference=reference, max_pixels=max_pixels)
    if as_json:
        print_json(inspection.to_dict())
        return
    print_frames(inspection.records)
    print_notes(inspection.notes, quiet=quiet)


def print_frames(records: "Sequence[FrameRecord]") -> None:
    """Print a row for each frame on stdout."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("file", "size", "time", "f/", "ISO", "EV", "measured", "clipped", "black", "sharpness", ""):
        table.add_column(name, justify="left" if name in ("file", "") else "right", no_wrap=name != "file")
    for r in records:
        table.add_row(
            Text(printable(r.file)), f"{r.width}x{r.height}", seconds(r.time), number(r.aperture), number(r.iso),
            signed(r.ev), signed(r.ev_measured), f"{r.clipped:.1%}", f"{r.black:.1%}", f"{r.sharpness:.2f}",
            "reference" if r.reference else "",
        )  # fmt: skip
    print_table(table)


def seconds(time: float | None) -> str:
    """A time as cameras show it, or a dash."""
    from smarthdr_cli.burst.exposure import format_time

    return "-" if time is None else format_time(time)


def number(value: float | None) -> str:
    """A plain number, or a dash."""
    return "-" if value is None else f"{value:g}"


def signed(value: float | None) -> str:
    """An EV with its sign, or a dash."""
    return "-" if value is None else f"{value:+.2f}"


@cli_command
def calibrate_command(
    files: opt.Files,
    output: Annotated[Path, CommandOption("The calibration file to write.", OUTPUT, ("--output", "-o"), "FILE.toml")],
    ev: Evs = None,
    exposure_times: ExposureTimes = None,
    align: Align = "auto",
    max_pixels: MaxPixels = None,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Estimate a camera's tone curve from two or more frames of one scene, for smarthdr fuse --response FILE.

    Examples: smarthdr calibrate *.jpg -o camera.toml · smarthdr fuse more/*.jpg -o out.exr --response camera.toml
    """
    from smarthdr_cli.align import align_burst
    from smarthdr_cli.atomic import check_targets
    from smarthdr_cli.burst.exposure import check_overrides
    from smarthdr_cli.burst.load import load_burst
    from smarthdr_cli.response import calibrate, save_response

    if output.suffix.lower() != ".toml":
        raise UsageError(f"the calibration is written as .toml; {output.name} is not")
    check_overrides(len(files), ev, exposure_times)
    with output_errors(output):
        check_targets([output], overwrite, files)
    with progress(quiet=quiet) as report_progress:
        report_progress("read", 0.0)
        burst, notes = load_burst(files, evs=ev, times=exposure_times, max_pixels=max_pixels)
        if not all(frame.exposure.is_stated for frame in burst.frames):
            raise InputError("a curve can only be found under known exposures: give --ev or --exposure-times")
        report_progress("align", 0.0)
        alignment = align_burst(burst, mode=align)
        report_progress("response", 0.0)
        response = calibrate(burst, alignment)
    save_response(response, output, overwrite=overwrite)
    print_notes(notes, quiet=quiet)
    if as_json:
        print_json({"output": str(output), "response": response.record, "notes": list(notes)})
