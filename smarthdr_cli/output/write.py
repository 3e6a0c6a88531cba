"""Write a fusion result. FORMATS is the only list of output formats: the command line and batch read it too.

Importing this module loads no writer: each is loaded when it is used.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from smarthdr_cli.atomic import check_targets
from smarthdr_cli.errors import InputError, UsageError, full_path

if TYPE_CHECKING:
    from smarthdr_cli.fusion.result import FusionResult

Role = Literal["result", "uncertainty", "legend", "preview"]


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
FORMATS = (
    Format("result", (".exr",), "exr:write_exr", EXR_OPTIONS, "exr:read_provenance", "exr:is_intact"),
    Format("result", (".hdr",), "rgbe:write_rgbe", provenance="rgbe:read_provenance"),
    Format("result", (".tif", ".tiff"), "tiff:write_tiff", provenance="tiff:read_provenance"),
    Format("uncertainty", (".png",), "heatmap:write_heatmap"),
    Format("uncertainty", (".exr",), "exr:write_uncertainty_exr"),
    Format("legend", (".png",), "heatmap:write_legend"),
    Format("preview", (".jpg", ".jpeg"), "preview:write_jpeg"),
    Format("preview", (".png",), "preview:write_png"),
    Format("preview", (".tif", ".tiff"), "preview:write_tiff"),
)
# The same as types, for options of the command line: the first suffix of each format, without its dot.
ResultFormat = Literal["exr", "hdr", "tif"]
UncertaintyFormat = Literal["png", "exr"]
PreviewFormat = Literal["jpg", "png", "tif"]

_FLAGS = {"float32": "--float", "compression": "--compression", "embed_uncertainty": "--embed-uncertainty"}
_DEFAULT_COMPRESSION = "zip"


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


def check_write_options(path: Path, **options: Any) -> None:
    """Check options of ``write_result`` against the suffix of ``path``.

    Raises UsageError where an option is set (differs from its default) and the format lacks it.
    """
    for name, value in options.items():
        accepting = [form for form in FORMATS if form.role == "result" and name in form.options]
        if value and value != _DEFAULT_COMPRESSION and not any(path.suffix.lower() in f.suffixes for f in accepting):
            listed_suffixes = ", ".join(form.suffixes[0] for form in accepting)
            raise UsageError(
                f"{_FLAGS[name]} is an option of {listed_suffixes}, not of {path.suffix or path.name}; leave it out"
            )


def check_outputs(
    result: Path,
    uncertainty: Path | None = None,
    preview: Path | None = None,
    legend: Path | None = None,
    *,
    inputs: Iterable[Path] = (),
    overwrite: bool = False,
) -> None:
    """Check before the computation that the outputs can be written.

    Raises OutputError where one exists, is no regular file, or its folder is missing or read-only; UsageError for an
    unknown suffix, two outputs of one name, or an output that is an input.
    """
    outputs: dict[Role, Path | None] = {
        "result": result,
        "uncertainty": uncertainty,
        "preview": preview,
        "legend": legend,
    }
    paths = {role: path for role, path in outputs.items() if path is not None}
    for role, path in paths.items():
        if not path.exists() or path.is_file():  # check_targets refuses devices and folders
            find_format(role, path)
    check_targets(paths.values(), overwrite, inputs)


def write_result(
    result: "FusionResult",
    path: str | Path,
    *,
    compression: str = "zip",
    float32: bool | None = None,
    embed_uncertainty: bool = False,
    overwrite: bool = False,
) -> list[str]:
    """Write the radiance as .exr, .hdr or .tif; returns notes for the user.

    ``compression``, ``float32`` and ``embed_uncertainty`` are options of EXR, see ``write_exr``.
    Raises UsageError for an unknown suffix or an option the format lacks, OutputError where it cannot be written.
    """
    path = Path(path)
    options = {"compression": compression, "float32": float32, "embed_uncertainty": embed_uncertainty}
    form = find_format("result", path)
    check_write_options(path, **options)
    used = {name: value for name, value in options.items() if name in form.options}
    return _write(form, result, path, overwrite=overwrite, **used)


def write_uncertainty(result: "FusionResult", path: str | Path, *, overwrite: bool = False) -> list[str]:
    """Write the uncertainty as a heatmap (.png) or as raw channels (.exr); returns notes for the user."""
    return _write(find_format("uncertainty", Path(path)), result, Path(path), overwrite=overwrite)


def write_legend(path: str | Path, *, overwrite: bool = False) -> list[str]:
    """Write the legend of the heatmap's colours, the same for every result, as .png; returns notes for the user."""
    return _write(find_format("legend", Path(path)), None, Path(path), overwrite=overwrite)


def write_preview(result: "FusionResult", path: str | Path, *, overwrite: bool = False) -> list[str]:
    """Write the tone-mapped image as .jpg, .png or .tif; returns notes for the user."""
    return _write(find_format("preview", Path(path)), result, Path(path), overwrite=overwrite)


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


def _write(form: Format, result: "FusionResult | None", path: Path, **options: Any) -> list[str]:
    notes: list[str] = _load(form.writer)(result, path, **options)
    return notes


def _load(name: str) -> Callable[..., Any]:
    module, function = name.split(":")
    loaded: Callable[..., Any] = getattr(import_module(f"smarthdr_cli.output.{module}"), function)
    return loaded
