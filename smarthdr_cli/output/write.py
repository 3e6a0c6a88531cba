"""Write a fusion result. FORMATS is the only list of output formats: the command line and batch read it too.

Importing this module loads no writer: each is loaded when it is used.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from smarthdr_cli.atomic import all_or_none, check_targets
from smarthdr_cli.errors import InputError, UsageError, full_path
from smarthdr_cli.output.write_options import Look, WriteOptions

if TYPE_CHECKING:
    from smarthdr_cli.fusion.result import FusionResult

Role = Literal["result", "uncertainty", "legend", "preview", "report"]


@dataclass(frozen=True)
class Format:
    """One file format in one role. Functions are named "module:function" in smarthdr_cli.output.

    ``suffixes``: batch writes the first. ``writer``: (result, path, *, overwrite, **options) to notes for the user.
    ``options``: keywords of the writer. ``provenance``: path to the smarthdr:* strings in the file, or None where it
    has none; raises where the file is damaged. ``is_intact``: path to whether every pixel can be read, for all files of
    these suffixes; without one, smarthdr's own image reader decides.
    """

    role: Role
    suffixes: tuple[str, ...]
    writer: str
    options: tuple[str, ...] = ()
    provenance: str | None = None
    is_intact: str | None = None


EXR_OPTIONS = ("float32", "compression", "embed_uncertainty")
LOOK_OPTIONS = ("look", "preview_ev")
FORMATS = (
    Format("result", (".exr",), "exr:write_exr", EXR_OPTIONS, "exr:read_provenance", "exr:is_intact"),
    Format("result", (".hdr",), "rgbe:write_rgbe", provenance="rgbe:read_provenance"),
    Format("result", (".tif", ".tiff"), "tiff:write_tiff", provenance="tiff:read_provenance"),
    Format(
        "result",
        (".jpg", ".jpeg"),
        "ultra_hdr:write_ultra_hdr",
        LOOK_OPTIONS,
        "ultra_hdr:read_provenance",
        "ultra_hdr:is_intact",
    ),
    Format("result", (".dng",), "dng:write_dng", LOOK_OPTIONS, "dng:read_provenance", "dng:is_intact"),
    Format("result", (".avif",), "avif:write_avif", ("preview_ev",), "avif:read_provenance", "avif:is_intact"),
    Format("uncertainty", (".png",), "heatmap:write_heatmap"),
    Format("uncertainty", (".exr",), "exr:write_uncertainty_exr"),
    Format("legend", (".png",), "heatmap:write_legend"),
    Format("preview", (".jpg", ".jpeg"), "preview:write_jpeg", LOOK_OPTIONS),
    Format("preview", (".png",), "preview:write_png", LOOK_OPTIONS),
    Format("preview", (".tif", ".tiff"), "preview:write_tiff", LOOK_OPTIONS),
    Format("report", (".html", ".htm"), "report.page:write_report", LOOK_OPTIONS, is_intact="report.page:is_intact"),
)
# The same as types, for options of the command line: the first suffix of each format, without its dot.
ResultFormat = Literal["exr", "hdr", "tif", "jpg", "dng", "avif"]
UncertaintyFormat = Literal["png", "exr"]
PreviewFormat = Literal["jpg", "png", "tif"]

_FLAGS = {
    "float32": "--float",
    "compression": "--compression",
    "embed_uncertainty": "--embed-uncertainty",
    "look": "--look",
    "preview_ev": "--preview-ev",
}
_DEFAULTS = vars(WriteOptions())


def listed(role: Role) -> str:
    """The first suffix of each format of ``role``, for help texts: ".exr, .hdr or .tif"."""
    *others, last = (form.suffixes[0] for form in FORMATS if form.role == role)
    return f"{', '.join(others)} or {last}" if others else last


def find_format(role: Role, path: Path) -> Format:
    """The format of ``path`` by its suffix, case ignored. Raises UsageError for a suffix that ``role`` lacks."""
    of_role = [form for form in FORMATS if form.role == role]
    for form in of_role:
        if path.suffix.lower() in form.suffixes:
            return form
    accepted = ", ".join("/".join(form.suffixes) for form in of_role)
    raise UsageError(f"{full_path(path)}: the {role} is written as {accepted}; choose a name with one of these endings")


def check_write_options(results: Path | Sequence[Path], preview: Path | None = None, **options: Any) -> None:
    """Check the options of the writers against the suffixes of the files that are written.

    Raises UsageError where an option is set (differs from its default) and no file has a format with it.
    """
    results = [results] if isinstance(results, Path) else results
    previews = [] if preview is None else [preview]
    written = [("result", path.suffix.lower()) for path in results] + [("preview", p.suffix.lower()) for p in previews]
    for name, value in options.items():
        if value in (None, _DEFAULTS[name]):
            continue
        accepting = [form for form in FORMATS if name in form.options]
        if not any(role == form.role and suffix in form.suffixes for form in accepting for role, suffix in written):
            results_with = [form.suffixes[0] for form in accepting if form.role == "result"]
            of = [*(["--preview"] if len(results_with) < len(accepting) else []), *results_with]
            given = ", ".join(path.suffix or path.name for path in results)
            raise UsageError(f"{_FLAGS[name]} is an option of {', '.join(of)}, not of {given}; leave it out")


def check_outputs(
    results: Path | Sequence[Path],
    uncertainty: Path | None = None,
    preview: Path | None = None,
    report: Path | None = None,
    legend: Path | None = None,
    *,
    inputs: Iterable[Path] = (),
    overwrite: bool = False,
) -> None:
    """Check before the computation that the outputs can be written.

    Raises OutputError where one exists, is no regular file, or its folder is missing or read-only; UsageError for an
    unknown suffix, two outputs of one name, or an output that is an input.
    """
    results = [results] if isinstance(results, Path) else results
    outputs: list[tuple[Role, Path | None]] = [
        *(("result", path) for path in results),
        ("uncertainty", uncertainty),
        ("legend", legend),
        ("preview", preview),
        ("report", report),
    ]
    paths = [(role, path) for role, path in outputs if path is not None]
    for role, path in paths:
        if not path.exists() or path.is_file():  # check_targets refuses devices and folders
            find_format(role, path)
    check_targets([path for _, path in paths], overwrite, inputs)


def write_result(
    result: "FusionResult",
    path: str | Path,
    *,
    compression: str = "piz",
    float32: bool | None = None,
    embed_uncertainty: bool = False,
    look: Look = "natural",
    preview_ev: float = 0.0,
    overwrite: bool = False,
) -> list[str]:
    """Write the radiance as .exr, .hdr, .tif, .jpg (Ultra HDR), .dng or .avif; returns notes for the user.

    ``compression``, ``float32`` and ``embed_uncertainty`` are options of EXR, see ``write_exr``; ``look`` and
    ``preview_ev`` of Ultra HDR and of the preview in a DNG, ``preview_ev`` of AVIF too, see ``write_preview``.
    Raises UsageError for an unknown suffix or an option the format lacks, OutputError where it cannot be written.
    """
    path = Path(path)
    options: dict[str, Any] = {"compression": compression, "float32": float32, "embed_uncertainty": embed_uncertainty}
    options |= {"look": look, "preview_ev": preview_ev}
    form = find_format("result", path)
    check_write_options(path, **options)
    return _write(form, result, path, options, overwrite)


def write_uncertainty(result: "FusionResult", path: str | Path, *, overwrite: bool = False) -> list[str]:
    """Write the uncertainty as a heatmap (.png) or as raw channels (.exr); returns notes for the user."""
    return write_file("uncertainty", result, Path(path), WriteOptions(), overwrite=overwrite)


def write_legend(path: str | Path, *, overwrite: bool = False) -> list[str]:
    """Write the legend of the heatmap's colours, the same for every result, as .png; returns notes for the user."""
    return write_file("legend", None, Path(path), WriteOptions(), overwrite=overwrite)


def write_preview(
    result: "FusionResult",
    path: str | Path,
    *,
    look: Look = "natural",
    preview_ev: float = 0.0,
    overwrite: bool = False,
) -> list[str]:
    """Write the tone-mapped image as .jpg, .png or .tif; returns notes for the user.

    ``look``: "natural", "vivid" or "neutral". ``preview_ev``: EV by which the preview is brighter.
    """
    options = WriteOptions(look=look, preview_ev=preview_ev)
    return write_file("preview", result, Path(path), options, overwrite=overwrite)


def write_file(
    role: Role, result: "FusionResult | None", path: Path, options: WriteOptions, *, overwrite: bool = False
) -> list[str]:
    """Write ``path`` in ``role`` with those of ``options`` that its format has; returns notes for the user.

    ``result``: None for the legend alone.
    """
    return _write(find_format(role, path), result, path, options.arguments(), overwrite)


def write_results(
    result: "FusionResult", paths: Sequence[Path], options: WriteOptions, *, overwrite: bool = False
) -> list[str]:
    """Write one result in several formats: all files appear together, or none does. Returns notes for the user."""
    with all_or_none():
        return [note for path in paths for note in write_file("result", result, path, options, overwrite=overwrite)]


def write_report(
    result: "FusionResult",
    path: str | Path,
    *,
    look: Look = "natural",
    preview_ev: float = 0.0,
    overwrite: bool = False,
) -> list[str]:
    """Write one HTML page that shows the fusion, pictures included, to a person; returns notes for the user.

    ``look``, ``preview_ev``: of its tone-mapped picture, as in ``write_preview``.
    """
    return write_file("report", result, Path(path), WriteOptions(look=look, preview_ev=preview_ev), overwrite=overwrite)


def read_provenance(path: Path) -> Mapping[str, str] | None:
    """The smarthdr:* strings of a result file; None where its format has none. Raises where the file is damaged."""
    name = find_format("result", path).provenance
    provenance: Mapping[str, str] | None = None if name is None else _load(name)(path)
    return provenance


def is_intact(path: Path) -> bool:
    """Whether every pixel of an output can be read, within the limit of pixels of an input frame."""
    for form in FORMATS:
        if path.suffix.lower() in form.suffixes and form.is_intact is not None:
            return bool(_load(form.is_intact)(path))
    from smarthdr_cli.burst.read import read_file

    try:
        read_file(path)
    except InputError:
        return False
    return True


def _write(
    form: Format, result: "FusionResult | None", path: Path, options: Mapping[str, Any], overwrite: bool
) -> list[str]:
    used = {name: value for name, value in options.items() if name in form.options}
    notes: list[str] = _load(form.writer)(result, path, **used, overwrite=overwrite)
    return notes


def _load(name: str) -> Callable[..., Any]:
    module, function = name.split(":")
    loaded: Callable[..., Any] = getattr(import_module(f"smarthdr_cli.output.{module}"), function)
    return loaded
