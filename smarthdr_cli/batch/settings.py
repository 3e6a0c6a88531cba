"""What a batch was told: how to fuse, what to write, and the part of it that a result must record to count as done."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from smarthdr_cli.batch.anchor import CommonExposure
from smarthdr_cli.errors import InputError, UsageError
from smarthdr_cli.fusion.fuse_options import FuseOptions, check_options
from smarthdr_cli.fusion.result import check_limit
from smarthdr_cli.models.weights import find_weights
from smarthdr_cli.output.write import ResultFormat, check_write_options
from smarthdr_cli.radiometry import RESPONSE_NAMES
from smarthdr_cli.response import load_response, named_response

# What does not change the picture beyond rounding: where it is computed, and in how large parts.
_FREE = {"device", "tile", "max_memory", "max_pixels", "weights", "response", "precision"}


@dataclass(frozen=True)
class Writing:
    """The files of each set and their form: endings without a dot, ``None`` for a file that is not wanted."""

    result: ResultFormat = "exr"
    preview: str | None = None
    uncertainty: str | None = None
    compression: str = "zip"
    float32: bool = False
    embed_uncertainty: bool = False

    def __post_init__(self) -> None:
        options = {"compression": self.compression, "embed_uncertainty": self.embed_uncertainty}
        check_write_options(Path(f"result.{self.result}"), float32=self.float32, **options)

    def paths(self, base: Path) -> dict[str, Path]:
        """Role to path for the set whose path without an ending is ``base``; the result last."""
        out: dict[str, Path] = {}
        if self.uncertainty is not None:
            out["uncertainty"] = base.with_name(f"{base.name}-uncertainty.{self.uncertainty}")
        if self.preview is not None:
            mark = "-preview" if self.preview == self.result else ""
            out["preview"] = base.with_name(f"{base.name}{mark}.{self.preview}")
        out["result"] = base.with_name(f"{base.name}.{self.result}")
        return out

    def recorded(self) -> dict[str, Any]:
        """What shapes the result's own bytes; previews and maps beside it are judged by being there."""
        return {
            "format": self.result, "compression": self.compression, "float": self.float32,
            "embed_uncertainty": self.embed_uncertainty,
        }  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """``fuse``: as for one burst. ``common``: the absolute exposure every set is anchored to, or None.
    ``responses``: of each ``Job.curve`` the calibration file to use instead of ``fuse.response``. ``fail_above``: mean
    uncertainty above which a set fails and is not written; what is written does not depend on it."""

    fuse: FuseOptions
    writing: Writing
    common: CommonExposure | None = None
    responses: tuple[tuple[str, str], ...] = ()
    fail_above: float | None = None

    def check(self) -> None:
        """Raises UsageError for words an option does not know and options that exclude each other, InputError for a
        calibration file that is none: once, and not for each set."""
        check_options(self.fuse)
        if self.fail_above is not None:
            check_limit(self.fail_above)
        option = self.fuse.response
        if _is_word(option):
            named_response("srgb" if option == "auto" else option)
        else:
            load_response(Path(option))
        if self.common is not None and self.fuse.anchor != "reference":
            raise UsageError("--common-exposure and --anchor exclude each other")

    def of_curve(self, curve: str) -> FuseOptions:
        """The options for a set of this ``Job.curve``."""
        known = dict(self.responses)
        return replace(self.fuse, response=known[curve]) if curve in known else self.fuse


def recorded(settings: Settings, curve: str, model: str) -> dict[str, Any]:
    """What a result of ``curve`` must state to count as made with ``settings``; plain values, ready for JSON.

    Only what differs from the defaults. The ``model`` and a calibration file go in by the digest of their contents, the
    precision as this machine resolves it.
    """
    options, default = settings.of_curve(curve), FuseOptions()
    out: dict[str, Any] = {
        "model": model, "response": response_digest(options.response), "precision": network_precision(options),
    }  # fmt: skip
    for name in FuseOptions.__dataclass_fields__:
        value = getattr(options, name)
        if name not in _FREE and value != getattr(default, name):
            out[name] = list(value) if isinstance(value, tuple) else value
    if settings.common is not None:
        out["common_exposure"] = round(settings.common.ev, 4)
    return out | settings.writing.recorded()


def model_digest(options: FuseOptions) -> str:
    """sha256 of the weights that ``options`` mean, "none" where no network is used. Loads no torch.

    Raises ModelError for weights that are not there.
    """
    if options.deghost == "off":
        return "none"
    return _sha256(find_weights(options.weights))


def network_precision(options: FuseOptions) -> str:
    """fp32, bf16 or fp16: what the network of ``options`` computes in on this machine; fp32 where none is used.

    Raises UsageError for a device or a precision that is not there.
    """
    from smarthdr_cli.fusion.device import PRECISION_NAMES, resolve_device, resolve_precision

    if options.deghost == "off":
        return "fp32"
    return PRECISION_NAMES[resolve_precision(options.precision, resolve_device(options.device))]


def response_digest(option: str) -> str:
    """A named curve's name, or what tells a calibration file's contents. Raises InputError where there is none."""
    if _is_word(option):
        return option
    return f"sha256:{_sha256(Path(option))[:16]}"


def _is_word(option: str) -> bool:
    """Whether ``--response`` means a name, a wrong one included, rather than a file."""
    return option == "auto" or option in RESPONSE_NAMES or (not Path(option).suffix and not Path(option).exists())


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
