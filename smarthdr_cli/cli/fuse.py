"""``smarthdr fuse``: one burst in, one linear HDR file out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from smarthdr_cli.cli import options as opt
from smarthdr_cli.cli.console import cli_command, output_errors, print_json, print_notes, progress
from smarthdr_cli.command_option import OUTPUT, CommandOption
from smarthdr_cli.errors import UncertaintyLimitError, UsageError
from smarthdr_cli.fusion.fuse_options import FuseOptions, UncertaintyLimit
from smarthdr_cli.output.write import Role, check_outputs, check_write_options, listed, write_file, write_results
from smarthdr_cli.output.write_options import WriteOptions


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
    from smarthdr_cli.fusion.result import check_limit

    if quiet and verbose:
        raise UsageError("--quiet and --verbose exclude each other")
    check_write_options(output, preview, **vars(write_options))
    check_overrides(len(files), fuse_options.evs, fuse_options.exposure_times)
    if fail_above is not None:
        check_limit(fail_above)
    with output_errors(output[0]):
        check_outputs(output, uncertainty, preview, page, inputs=files, overwrite=overwrite)
    from smarthdr_cli.fusion.pipeline import fuse

    others: list[tuple[Role, Path]] = [("uncertainty", uncertainty)] if uncertainty is not None else []
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
        print_notes(summary(report), quiet=False, prefix="")
    print_notes(report["notes"], quiet=quiet)
    if as_json:
        print_json(report)
    if fail_above is not None:
        try:
            result.check_uncertainty(fail_above)
        except UncertaintyLimitError as error:
            raise UncertaintyLimitError(f"{error}; {output[0]} was written all the same") from error


def summary(report: Mapping[str, Any]) -> list[str]:
    """The report of a fusion in a few lines, for --verbose."""
    frames = ", ".join(f"{file} {ev:+.2f} EV" for file, ev in zip(report["files"], report["evs"], strict=True))
    aligned = [entry["file"] for entry in report["alignment"] if entry["moved"]]
    lines = [
        f"frames: {frames}; reference {report['reference']}",
        f"alignment: {', '.join(aligned) if aligned else 'no frame'} moved onto the reference",
        f"response: {report['options'].get('response', 'auto')}; {_pairs(report['response'])}",
        f"model: {_model(report['model'])} on {report['device']}, {report['precision']}{_tiles(report)}",
    ]
    if (difference := report.get("guard")) is not None:
        lines.append(f"against the classical merge: {_pairs(difference)}")
    if (network_share := report.get("network_share")) is not None:
        lines.append(f"the frames agree in {1 - network_share:.1%} of the picture, which is merged without the network")
    lines.append(f"uncertainty: {_pairs(report['uncertainty'])}")
    seconds: Mapping[str, float] = report["seconds"]
    lines.append(f"seconds: {_pairs(seconds)} (in all {sum(seconds.values()):.2f})")
    return lines


def _model(model: Any) -> str:
    if isinstance(model, Mapping):
        return f"{model['name']} ({model['network']}, sha256 {str(model['sha256'])[:12]})"
    return str(model)


def _tiles(report: Mapping[str, Any]) -> str:
    side = report.get("tile_after_retreat", report.get("tile"))
    if side is None:
        return ""
    return ", untiled" if side == 0 else f", tiles of {side}"


def _pairs(values: Mapping[str, Any]) -> str:
    """ "key value" for each number and text; tables, such as the curve's, are in the JSON only."""
    return ", ".join(
        f"{key.replace('_', ' ')} {value:.3g}" if isinstance(value, float) else f"{key.replace('_', ' ')} {value}"
        for key, value in values.items()
        if isinstance(value, float | int | str)
    )
