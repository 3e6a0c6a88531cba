"""What results are made with, and the part of it that a result must state to count as done."""

import hashlib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from smarthdr_cli.batch.batch_options import OutputFiles
from smarthdr_cli.batch.common_exposure import CommonExposure
from smarthdr_cli.errors import InputError, UsageError, os_reason
from smarthdr_cli.fusion.fuse_options import FuseOptions, check_options
from smarthdr_cli.models.weights import find_weights
from smarthdr_cli.output.write import LOOK_OPTIONS, check_write_options, find_format
from smarthdr_cli.output.write_options import WriteOptions
from smarthdr_cli.radiometry import is_response_name
from smarthdr_cli.response import load_response

# Options that change a result by rounding at most (where it is computed, in parts of which size) or that are recorded
# in another form (the weights and the curve by a digest, the precision as resolved).
NOT_RECORDED = frozenset({"device", "tile", "max_memory", "max_pixels", "weights", "response", "precision"})


@dataclass(frozen=True)
class Settings:
    """How every set of a run is fused and written.

    ``common``: the exposure that all sets are scaled to, or None. ``responses``: for each ``Job.curve`` what
    --response is instead of ``fuse.response``. Raises UsageError for an option that the format lacks, and
    for --common-exposure with --anchor.
    """

    fuse: FuseOptions = field(default_factory=FuseOptions)
    files: OutputFiles = field(default_factory=OutputFiles)
    write: WriteOptions = field(default_factory=WriteOptions)
    common: CommonExposure | None = None
    responses: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        files = self.files.paths(Path("set"))
        check_write_options(files["result"], files.get("preview"), **vars(self.write))
        if self.common is not None and self.fuse.anchor != "reference":
            raise UsageError("--common-exposure and --anchor exclude each other")

    def check(self) -> None:
        """Raises UsageError for unknown words, InputError for a bad calibration."""
        check_options(self.fuse)
        if not is_response_name(self.fuse.response):
            load_response(Path(self.fuse.response))

    def of_curve(self, curve: str) -> FuseOptions:
        """The options for a set of this ``Job.curve``."""
        responses = dict(self.responses)
        return replace(self.fuse, response=responses[curve]) if curve in responses else self.fuse


def recorded(settings: Settings, curve: str, model: str) -> dict[str, Any]:
    """What a result of ``curve`` must state to count as made with ``settings``; plain values, ready for JSON.

    Options at their defaults are left out. ``model``: see ``model_digest``. Previews and maps are not part of it: they
    count as done where they exist.
    """
    options, default = settings.of_curve(curve), FuseOptions()
    values: dict[str, Any] = {
        "model": model, "response": response_digest(options.response), "precision": network_precision(options),
    }  # fmt: skip
    for name in (option.name for option in fields(FuseOptions)):
        value = getattr(options, name)
        if name not in NOT_RECORDED and value != getattr(default, name):
            values[name] = list(value) if isinstance(value, tuple) else value
    if settings.common is not None:
        values["common_exposure"] = round(settings.common.ev, 4)
    form = find_format("result", Path(f"result.{settings.files.format}"))
    write, write_default = vars(settings.write), vars(WriteOptions())
    for name in LOOK_OPTIONS:
        if name in form.options and write[name] != write_default[name]:
            values[name] = write[name]
    return values | {
        "format": settings.files.format, "compression": settings.write.compression, "float": settings.write.float32,
        "embed_uncertainty": settings.write.embed_uncertainty,
    }  # fmt: skip


def model_digest(options: FuseOptions) -> str:
    """sha256 of the weights that ``options`` mean, "none" where no network is used. Loads no torch.

    Raises ModelError for weights that do not exist.
    """
    if options.deghost == "off":
        return "none"
    return _sha256(find_weights(options.weights))


def network_precision(options: FuseOptions) -> str:
    """fp32, bf16 or fp16: what the network computes in on this machine; fp32 where none is used.

    Raises UsageError for a device or a precision that this machine lacks.
    """
    from smarthdr_cli.fusion.device import PRECISION_NAMES, resolve_device, resolve_precision

    if options.deghost == "off":
        return "fp32"
    return PRECISION_NAMES[resolve_precision(options.precision, resolve_device(options.device))]


def response_digest(option: str) -> str:
    """A curve's name, or a digest of a calibration file's contents. Raises InputError where the file is missing."""
    if is_response_name(option):
        return option
    return f"sha256:{_sha256(Path(option))[:16]}"


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {os_reason(error)}") from error
