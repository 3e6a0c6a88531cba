"""``smarthdr fuse``: one burst in, one linear HDR file out."""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from smarthdr_cli.cli import options as opt
from smarthdr_cli.cli.console import cli_command, output_errors, print_json, print_notes, progress, stage_words
from smarthdr_cli.cli.usage import check_stray_values
from smarthdr_cli.command_option import OUTPUT, CommandOption
from smarthdr_cli.errors import UncertaintyLimitError, UsageError
from smarthdr_cli.fusion.fuse_options import FuseOptions, UncertaintyLimit, check_options
from smarthdr_cli.output.write import Role, check_outputs, check_write_options, listed, write_file, write_results
from smarthdr_cli.output.write_options import WriteOptions

if TYPE_CHECKING:
    from smarthdr_cli.fusion.result import FuserRecord, FusionReport, FusionResult

_SOURCES = {
    "exif": "as EXIF states them",
    "ev": "by --ev",
    "times": "by --exposure-times",
    "sidecar": "of exposure.txt",
    "pixels": "measured from the pixels",
    "none": "measured from the pixels",
}


@cli_command
def command(
    files: opt.Files,
    output: Annotated[
        list[Path],
        CommandOption(
            f"The HDR file to write: {listed('result')}. Several times for several formats, all written or none.",
            OUTPUT,
            ("--output", "-o"),
            "FILE",
        ),
    ],
    *,
    uncertainty: Annotated[
        Path | None,
        CommandOption(
            "Also write a map of how far each pixel can be trusted: .png heatmap or .exr channels.",
            OUTPUT,
            metavar="FILE",
        ),
    ] = None,
    legend: Annotated[
        Path | None,
        CommandOption(
            "Also write the legend of the heatmap's colours, the same for every picture: .png.", OUTPUT, metavar="FILE"
        ),
    ] = None,
    preview: Annotated[
        Path | None, CommandOption(f"Also write a tone-mapped preview: {listed('preview')}.", OUTPUT, metavar="FILE")
    ] = None,
    page: Annotated[
        Path | None,
        CommandOption(
            "Also write a page to look at in a browser: before and after, any exposure, uncertainty, alignment, notes.",
            OUTPUT,
            ("--report",),
            "FILE.html",
        ),
    ] = None,
    fuse_options: FuseOptions,
    write_options: WriteOptions,
    fail_above: UncertaintyLimit = None,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Fuse bracketed exposures, handheld and with moving subjects, into one linear HDR image.

    The result shows the scene at the moment and from the viewpoint of the reference frame.

    Examples: smarthdr fuse *.jpg -o out.exr · smarthdr fuse *.png -o out.exr --ev -2,0,2 ·
    smarthdr fuse *.dng -o out.exr --preview out.jpg --uncertainty out.png
    """
    from smarthdr_cli.burst.exposure import check_overrides
    from smarthdr_cli.burst.load import check_burst_files
    from smarthdr_cli.fusion.result import check_limit

    start = time.perf_counter()
    if quiet and verbose:
        raise UsageError("--quiet and --verbose exclude each other")
    check_write_options(output, preview, **vars(write_options))
    check_stray_values(files, ev=fuse_options.ev, exposure_times=fuse_options.exposure_times)
    check_overrides(len(files), fuse_options.ev, fuse_options.exposure_times)
    check_options(fuse_options)
    if fail_above is not None:
        check_limit(fail_above)
    check_burst_files(files, fuse_options.reference)
    with output_errors(output[0]):
        check_outputs(output, uncertainty, preview, page, legend, inputs=files, overwrite=overwrite)
    from smarthdr_cli.fusion.pipeline import fuse

    others: list[tuple[Role, Path]] = [("uncertainty", uncertainty)] if uncertainty is not None else []
    others += [("legend", legend)] if legend is not None else []
    others += [("preview", preview)] if preview is not None else []
    others += [("report", page)] if page is not None else []
    with progress(quiet=quiet) as report_progress:
        result = fuse(files, progress=report_progress, **vars(fuse_options))
        report_progress("write", 0.0)
        notes = write_results(result, output, write_options, overwrite=overwrite)
        report_progress("write", 0.5)
        for role, path in others:
            notes += write_file(role, result, path, write_options, overwrite=overwrite)
    report = result.report.to_dict()
    report["outputs"] = [str(path) for path in (*output, *(path for _, path in others))]
    report["notes"] = [*report["notes"], *notes]
    if verbose:
        print_notes(summary(result), quiet=False, prefix="")
    print_notes(report["notes"], quiet=quiet)
    if as_json:
        print_json(report)
    if fail_above is not None:
        try:
            result.check_uncertainty(fail_above)
        except UncertaintyLimitError as error:
            raise UncertaintyLimitError(f"{error}; {output[0]} was written all the same") from error
    print_notes([ending(result, report["outputs"], time.perf_counter() - start)], quiet=quiet, prefix="")


def ending(result: "FusionResult", outputs: Sequence[str], seconds: float) -> str:
    """What was done, in one line: files, reference, share changed, mean uncertainty, seconds."""
    statistics = result.report.statistics
    changed = [] if statistics is None else [f"{statistics.difference.changed:.1%} changed from a plain merge"]
    parts = [
        f"wrote {', '.join(outputs)}",
        f"reference {result.report.reference}",
        *changed,
        f"mean uncertainty {result.mean_uncertainty:.4f}",
        f"{seconds:.1f} s",
    ]
    return "; ".join(parts)


def summary(result: "FusionResult") -> list[str]:
    """How a fusion was made in a few lines, for --verbose."""
    report = result.report
    sources = dict.fromkeys(_SOURCES[frame.exposure.source] for frame in result.burst.frames)
    frames = ", ".join(f"{file} {ev:+.2f} EV" for file, ev in zip(report.files, report.evs, strict=True))
    moved = [file for file, was_moved in zip(report.files, report.moved, strict=True) if was_moved]
    lines = [
        f"frames: {frames}; exposures {' and '.join(sources)}; the result shows the moment of {report.reference}",
        f"camera movement: {', '.join(moved)} moved onto {report.reference}"
        if moved
        else "camera movement: none that needed correction",
        f"tone curve: {_tone_curve(report)}",
        f"network: {_model(report.fuser)}{_tiles(report)}",
    ]
    if (statistics := report.statistics) is not None:
        lines.append(f"ghosts: {statistics.difference.changed:.1%} of the picture differs from a plain merge")
        if statistics.network_share is not None:
            agreeing = 1 - statistics.network_share
            lines.append(f"motion: none in {agreeing:.1%} of the picture, which is merged without the network")
    sigma = report.uncertainty
    lines.append(
        f"uncertainty: {sigma.mean:.4f} on average ({_stops(sigma.mean)}), below {sigma.p95:.4f} in 95 % of the "
        f"picture; {sigma.clipped_share:.1%} is clipped in every frame"
    )
    seconds = ", ".join(f"{stage_words(stage)} {value:.2f}" for stage, value in report.seconds.items())
    lines.append(f"seconds: {seconds} (in all {sum(report.seconds.values()):.2f})")
    return lines


def _stops(mu_law: float) -> str:
    """An error in the mu-law domain as a photographer counts it; exact but for the deepest shadows."""
    from smarthdr_cli.radiometry import MU

    return f"{mu_law * math.log2(1 + MU):.2f} stops"


def _tone_curve(report: "FusionReport") -> str:
    record, option = report.response, report.options.get("response", "auto")
    if "agreeing" in record and "exponent" in record:
        return (
            f"estimated from the frames, much like a gamma of {record['exponent']:.1f}; {record['agreeing']:.0%} of "
            "what two frames show in common agrees with it"
        )
    return f"{record['name']}, assumed" if option == "auto" and record["name"] == "srgb" else str(record["name"])


def _model(fuser: "FuserRecord") -> str:
    if isinstance(fuser.model, Mapping):
        name = f"{fuser.model['name']} ({fuser.model['network']}, sha256 {str(fuser.model['sha256'])[:12]})"
    else:
        name = str(fuser.model)
    return f"{name} on {fuser.device}, {fuser.precision}"


def _tiles(report: "FusionReport") -> str:
    side = report.tile_after_retreat
    if side is None and report.statistics is not None:
        side = report.statistics.tile
    if side is None:
        return ""
    return ", untiled" if side == 0 else f", tiles of {side} pixels"
