"""The exposures a scene folder states: in a file of log2 times, one a line, or in the EXIF of its frames."""

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from smarthdr_cli.burst import scan
from smarthdr_cli.burst.exif import ExifMetadata
from smarthdr_cli.burst.exif_containers import exif_of_block
from smarthdr_cli.burst.exposure import resolve_exposures
from smarthdr_cli.errors import InputError


def read_exposures(path: Path) -> tuple[float, ...]:
    """log2 exposures relative to the first, rising. Raises InputError for anything else."""
    try:
        values = [float(word) for word in path.read_bytes()[:65536].decode("utf-8-sig").replace(",", " ").split()]
    except OSError as error:
        raise InputError(f"{path.name} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path.name} is not a list of log2 exposures") from error
    if len(values) < 2 or not all(math.isfinite(v) and abs(v) <= 60 for v in values):
        raise InputError(f"{path.name} is not a list of two log2 exposures or more")
    return _rising(values, path.name)


def by_exif(frames: Sequence[Path]) -> tuple[tuple[Path, ...], tuple[float, ...]]:
    """JPEG or PNG frames darkest first with their exposures. Raises InputError where a frame states no time."""
    each = []
    for path in frames:
        each.append(_stated(path))
        if each[-1].time is None:
            raise InputError(f"no exposure.txt, and {path.name} states no exposure time")
    exposures, _ = resolve_exposures(frames, each)
    assert exposures is not None  # every frame has a time
    pairs = sorted(zip([exposure.ev for exposure in exposures], frames, strict=True))
    return tuple(path for _, path in pairs), _rising([ev for ev, _ in pairs], "the frames' EXIF")


def _stated(path: Path) -> ExifMetadata:
    data = path.read_bytes()
    kind = scan.sniff(data, path.name)
    found = scan.scan_png(data, path.name) if kind == "png" else scan.scan_jpeg(data, path.name)
    return exif_of_block(found.exif) if found.exif else ExifMetadata()


def _rising(values: Sequence[float], where: str) -> tuple[float, ...]:
    if not all(a < b for a, b in pairwise(values)):
        said = ", ".join(f"{v:g}" for v in values)
        raise InputError(f"the exposures of {where} do not rise from frame to frame: {said}")
    return tuple(v - values[0] for v in values)
