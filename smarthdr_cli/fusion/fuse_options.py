"""The options of a fusion, shared by ``fuse``, ``smarthdr fuse`` and ``smarthdr batch``. Loads no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from smarthdr_cli.errors import UsageError


@dataclass(frozen=True)
class FuseOptions:
    """Options and their defaults; ``smarthdr_cli.fuse`` explains each.

    ``tile``: "auto" or a number of pixels, as text. ``max_memory``: bytes. ``max_pixels``: of one file, None for the
    built-in limit.
    """

    weights: str | Path | None = None
    device: str = "auto"
    precision: str = "auto"
    tile: str = "auto"
    max_memory: float | None = None
    max_pixels: int | None = None
    reference: int | Literal["auto"] = "auto"
    align: Literal["auto", "none"] = "auto"
    response: str = "auto"
    deghost: Literal["auto", "off", "strong"] = "auto"
    evs: Sequence[float] | None = None
    exposure_times: Sequence[float] | None = None
    exposure_check: Literal["off", "warn", "fix"] = "warn"
    gains: Literal["auto", "off"] = "auto"
    colorspace: str = "rec709"
    anchor: Literal["reference", "short"] = "reference"


_CHOICES: Mapping[str, tuple[str, ...]] = {
    "align": ("auto", "none"),
    "deghost": ("auto", "off", "strong"),
    "exposure_check": ("off", "warn", "fix"),
    "gains": ("auto", "off"),
    "colorspace": ("rec709", "rec2020", "acescg"),
    "anchor": ("reference", "short"),
}


def check_options(options: FuseOptions) -> None:
    """Raises UsageError for a value that is not one of an option's choices."""
    for name, choices in _CHOICES.items():
        value = getattr(options, name)
        if value not in choices:
            raise UsageError(f"--{name.replace('_', '-')} {value}: use {', '.join(choices)}")


def parse_memory(text: str) -> float:
    """Bytes from 800M, 3G, 2.5GiB or a plain number; binary units. Raises UsageError.

    >>> parse_memory("1.5G")
    1610612736.0
    """
    units = {"": 1.0, "K": 2.0**10, "M": 2.0**20, "G": 2.0**30, "T": 2.0**40}
    value = _scaled(text.strip().upper().removesuffix("B").removesuffix("I"), units)
    if value is None:
        raise UsageError(f"--max-memory {text}: use a size such as 800M or 3G")
    if not 0 < value < float("inf"):
        raise UsageError(f"--max-memory {text}: use a size above 0, such as 800M or 3G")
    return value


def parse_pixels(text: str) -> int:
    """A number of pixels from 60M, 24MP, 0.3G or a plain number; decimal units. Raises UsageError."""
    value = _scaled(text.strip().upper().removesuffix("P"), {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9})
    if value is None:
        raise UsageError(f"--max-pixels {text}: use a number such as 60M")
    if not 1 <= value <= 2.0**40:
        raise UsageError(f"--max-pixels {text}: use a number of pixels above 0, such as 60M")
    return int(value)


def _scaled(text: str, units: Mapping[str, float]) -> float | None:
    """A number with an optional unit at its end; None where it is neither."""
    unit = text[-1:] if text[-1:].isalpha() else ""
    try:
        return float(text.removesuffix(unit)) * units[unit]
    except (ValueError, KeyError):
        return None
