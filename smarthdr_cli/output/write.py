"""Every output by its extension: what may be written where, and the writing."""

from collections.abc import Iterable
from pathlib import Path

from smarthdr_cli.atomic import check_targets
from smarthdr_cli.errors import UsageError
from smarthdr_cli.fusion.result import FusionResult

RESULT_SUFFIXES = (".exr", ".hdr", ".tif", ".tiff")
UNCERTAINTY_SUFFIXES = (".png", ".exr")
PREVIEW_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")


def check_outputs(
    result: Path,
    uncertainty: Path | None = None,
    preview: Path | None = None,
    *,
    inputs: Iterable[Path] = (),
    overwrite: bool = False,
) -> None:
    """Refuse outputs that cannot be written, before the long computation.

    Raises OutputError (exists, missing or unwritable folder, not a regular file) or UsageError (unknown extension, two
    outputs of one name, an output that is an input).
    """
    roles: list[tuple[str, Path, tuple[str, ...]]] = [("result", result, RESULT_SUFFIXES)]
    if uncertainty is not None:
        roles.append(("uncertainty", uncertainty, UNCERTAINTY_SUFFIXES))
    if preview is not None:
        roles.append(("preview", preview, PREVIEW_SUFFIXES))
    for role, path, suffixes in roles:
        if not path.exists() or path.is_file():  # a device or folder is refused as such, below
            _suffix(path, role, suffixes)
    check_targets([path for _, path, _ in roles], overwrite, inputs)


def write_result(
    fused: FusionResult,
    path: Path,
    *,
    compression: str = "zip",
    float32: bool | None = None,
    embed_uncertainty: bool = False,
    overwrite: bool = False,
) -> list[str]:
    """Write the radiance as .exr, .hdr or .tif; returns what is to be said aloud.

    ``float32`` (EXR): None is half, promoted where values need it; True float; False half, refused where it overflows.
    ``compression`` and ``embed_uncertainty`` belong to EXR.
    Raises UsageError for another extension or an option the format lacks, OutputError when it cannot be written.
    """
    suffix = _suffix(path, "result", RESULT_SUFFIXES)
    if suffix == ".exr":
        from smarthdr_cli.output.exr import Depth, write_exr

        depth: Depth = "auto" if float32 is None else "float" if float32 else "half"
        return write_exr(
            fused,
            path,
            compression=compression,
            depth=depth,
            embed_uncertainty=embed_uncertainty,
            overwrite=overwrite,
        )
    if embed_uncertainty:
        raise UsageError(f"the uncertainty can be embedded in .exr only, not in {path.name}")
    if suffix == ".hdr":
        from smarthdr_cli.output.rgbe import write_rgbe

        return write_rgbe(fused, path, overwrite=overwrite)
    from smarthdr_cli.output.tiff import write_tiff

    return write_tiff(fused, path, overwrite=overwrite)


def write_uncertainty(fused: FusionResult, path: Path, *, overwrite: bool = False) -> list[str]:
    """Write the uncertainty as a heatmap (.png) or as raw channels (.exr); returns what is to be said aloud."""
    if _suffix(path, "uncertainty", UNCERTAINTY_SUFFIXES) == ".png":
        from smarthdr_cli.output.heatmap import write_heatmap

        return write_heatmap(fused, path, overwrite=overwrite)
    from smarthdr_cli.output.exr import write_uncertainty_exr

    return write_uncertainty_exr(fused, path, overwrite=overwrite)


def write_preview(fused: FusionResult, path: Path, *, overwrite: bool = False) -> list[str]:
    """Write the tone-mapped picture as .jpg, .png or .tif; returns what is to be said aloud."""
    _suffix(path, "preview", PREVIEW_SUFFIXES)
    from smarthdr_cli.output.preview import write_preview_file

    return write_preview_file(fused, path, overwrite=overwrite)


def _suffix(path: Path, role: str, known: tuple[str, ...]) -> str:
    suffix = path.suffix.lower()
    if suffix not in known:
        raise UsageError(f"the {role} is written as {', '.join(known)}; {path.name} is none of these")
    return suffix
