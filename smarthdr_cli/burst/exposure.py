"""Stated exposures of a burst, in this order of precedence: options, EXIF, a sidecar file.

Every assumption, for example a missing aperture, is returned as a note for the user.
"""

import math
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from smarthdr_cli.burst.burst import MIN_EV_RANGE, Exposure
from smarthdr_cli.burst.exif import ExifMetadata, exposure_value
from smarthdr_cli.errors import UsageError

SIDECAR = "exposure.txt"
_SIDECAR_NAMES = (SIDECAR, "input_exp.txt")
_MAX_SIDECAR_BYTES = 1 << 16
_EXAMPLES = {"--ev": "-2,0,2", "--exposure-times": "1/100,1/25,0.25"}
_SHORT_EXPOSURE = 0.3  # seconds, below which a time is written as a fraction, as cameras do
_MAX_EV = 60  # of a stated exposure; beyond it the value is no EV
_SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff"}
_SUFFIXES |= {".dng", ".nef", ".nrw", ".cr2", ".cr3", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw", ".iiq", ".3fr"}


def parse_evs(text: str) -> tuple[float, ...]:
    """EVs of a text such as ``"-2,0,2"``, larger is brighter. Raises UsageError where it is no list of numbers.

    >>> parse_evs("-2, 0, +1/2")
    (-2.0, 0.0, 0.5)
    """
    return tuple(_parse_number(number, "--ev") for number in text.split(","))


def parse_times(text: str) -> tuple[float, ...]:
    """Seconds of a text such as ``"1/100,1/25,0.5s"``. Raises UsageError where it is no list of positive times."""
    times = tuple(_parse_number(time.strip().removesuffix("s"), "--exposure-times") for time in text.split(","))
    for time in times:
        if time <= 0:
            raise UsageError(f"--exposure-times: {time:g} is not a positive time")
    return times


def format_time(seconds: float) -> str:
    """ "1/125" for short times, "2.5" for long ones."""
    return f"1/{round(1 / seconds)}" if 0 < seconds < _SHORT_EXPOSURE else f"{seconds:g}"


def _parse_number(text: str, option: str) -> float:
    try:
        return float(Fraction(text.strip().lstrip("+").replace(" ", "")))
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise UsageError(
            f"{option}: {text.strip()!r} is not a number; separate the values by commas, without spaces: "
            f"{option}={_EXAMPLES[option]}"
        ) from error


def check_overrides(count: int, evs: Sequence[float] | None, times: Sequence[float] | None) -> None:
    """Check the options --ev and --exposure-times for ``count`` files. Raises UsageError."""
    if evs is not None and times is not None:
        raise UsageError("--ev and --exposure-times exclude each other; give one of them")
    for option, values in (("--ev", evs), ("--exposure-times", times)):
        if values is None:
            continue
        if len(values) != count:
            noun = "value" if len(values) == 1 else "values"
            raise UsageError(
                f"{option} has {len(values)} {noun} for {count} files; give one for each file, separated by commas, "
                f"without spaces: {option}={_EXAMPLES[option]}"
            )
        if not all(math.isfinite(value) for value in values):
            raise UsageError(f"{option} holds a value that is not a finite number")
        if option == "--exposure-times" and min(values) <= 0:
            raise UsageError("--exposure-times holds a time that is not positive")
        if option == "--ev" and max(abs(value) for value in values) > _MAX_EV:
            raise UsageError(f"--ev holds a value beyond {_MAX_EV} EV")


def resolve_exposures(
    paths: Sequence[Path],
    exif: Sequence[ExifMetadata],
    evs: Sequence[float] | None = None,
    times: Sequence[float] | None = None,
) -> tuple[tuple[Exposure, ...] | None, tuple[str, ...]]:
    """Exposures in the order of ``paths``, and notes; None where nothing states them.

    In this order: ``evs``; ``times``, with ISO and aperture taken as equal; EXIF where every file has a time; a sidecar
    ``exposure.txt``; EXIF where two files or more have a time, the exposure of the others being of source "none" with
    an ``ev`` of NaN, to be measured. Raises UsageError as ``check_overrides`` does.
    """
    check_overrides(len(paths), evs, times)
    if evs is not None:
        pairs = zip(evs, exif, strict=True)
        return tuple(Exposure(float(ev), e.time, e.aperture, e.iso, "ev") for ev, e in pairs), ()
    if times is not None:
        return _exposures_by_times(exif, times)
    sidecar, sidecar_notes = read_sidecar(paths)
    without_time = [path.name for path, e in zip(paths, exif, strict=True) if e.time is None]
    if not without_time:
        exposures, notes = _exposures_by_exif(paths, exif)
        if sidecar is not None and not _same_ratios(sidecar, [exposure.ev for exposure in exposures]):
            notes += (f"{SIDECAR} disagrees with EXIF and was ignored",)
        return exposures, notes
    if sidecar is not None:
        pairs = zip(sidecar, exif, strict=True)
        exposures = tuple(Exposure(ev, e.time, e.aperture, e.iso, "sidecar") for ev, e in pairs)
        return exposures, (*sidecar_notes, f"exposures taken from {SIDECAR}")
    lacking = "" if len(without_time) == len(paths) else f" in {', '.join(without_time)}"
    if len(paths) - len(without_time) >= 2:
        exposures, notes = _exposures_by_partial_exif(paths, exif)
        missing = f"no exposure time{lacking}: measured from the pixels; --ev states the exposures of all files"
        return exposures, (*sidecar_notes, *notes, missing)
    none = f"no exposures stated{lacking}: ratios are measured from the pixels; --ev states them"
    return None, (*sidecar_notes, none)


def _exposures_by_times(
    exif: Sequence[ExifMetadata], times: Sequence[float]
) -> tuple[tuple[Exposure, ...], tuple[str, ...]]:
    notes: tuple[str, ...] = ()
    if len({e.iso for e in exif}) > 1 or len({e.aperture for e in exif}) > 1:
        notes = ("--exposure-times: EXIF has different ISO or apertures, taken as equal; --ev states whole exposures",)
    pairs = zip(times, exif, strict=True)
    return tuple(Exposure(math.log2(time), float(time), e.aperture, e.iso, "times") for time, e in pairs), notes


def _exposures_by_partial_exif(
    paths: Sequence[Path], exif: Sequence[ExifMetadata]
) -> tuple[tuple[Exposure, ...], tuple[str, ...]]:
    """``_exposures_by_exif`` of the files with a time; the ``ev`` of the others is NaN."""
    stated = [n for n, e in enumerate(exif) if e.time is not None]
    exposures, notes = _exposures_by_exif([paths[n] for n in stated], [exif[n] for n in stated])
    by_index = dict(zip(stated, exposures, strict=True))
    unknown = [Exposure(math.nan, None, e.aperture, e.iso, "none") for e in exif]
    return tuple(by_index.get(n, exposure) for n, exposure in enumerate(unknown)), notes


def _exposures_by_exif(
    paths: Sequence[Path], exif: Sequence[ExifMetadata]
) -> tuple[tuple[Exposure, ...], tuple[str, ...]]:
    notes: list[str] = []
    names = [path.name for path in paths]
    apertures = _fill_missing([e.aperture for e in exif], "aperture", "f/", " (manual lens?)", names, notes)
    isos = _fill_missing([e.iso for e in exif], "ISO", "ISO ", "", names, notes)
    exposures = []
    for e, aperture, iso in zip(exif, apertures, isos, strict=True):
        assert e.time is not None
        exposures.append(Exposure(exposure_value(e.time, aperture, iso), e.time, e.aperture, e.iso, "exif"))
    return tuple(exposures), tuple(notes)


def _fill_missing(
    values: Sequence[float | None], quantity: str, prefix: str, cause: str, names: Sequence[str], notes: list[str]
) -> list[float | None]:
    """``values`` with None replaced by the most frequent value, and a note; unchanged where all are None (equal)."""
    stated = [value for value in values if value is not None]
    if len(stated) == len(values):
        return list(values)
    if not stated:
        notes.append(f"EXIF has no {quantity}{cause}: the same for all frames is assumed")
        return list(values)
    common = Counter(stated).most_common(1)[0][0]
    without = ", ".join(name for name, value in zip(names, values, strict=True) if value is None)
    notes.append(f"EXIF has no {quantity} in {without}: {prefix}{common:g} as in the other frames is assumed")
    return [common if value is None else value for value in values]


def read_sidecar(paths: Sequence[Path]) -> tuple[tuple[float, ...] | None, tuple[str, ...]]:
    """EVs of an ``exposure.txt`` (or ``input_exp.txt``) beside the frames, in the order of ``paths``, and notes.

    One log2 exposure time per line, in the order of file names: of all pictures in the folder if their number matches,
    else of the given frames. A file that matches neither, or cannot be read, is ignored with a note.
    """
    folders = {path.parent for path in paths}
    if len(folders) != 1:
        return None, ()
    folder = folders.pop()
    file = next((folder / name for name in _SIDECAR_NAMES if (folder / name).is_file()), None)
    if file is None:
        return None, ()
    try:
        text = file.read_bytes()[:_MAX_SIDECAR_BYTES].decode("utf-8-sig")
        lines = [line.partition("#")[0] for line in text.splitlines()]
        values = [float(word) for line in lines for word in line.replace(",", " ").split()]
    except (OSError, ValueError):
        return None, (f"{file.name} is not a list of numbers and was ignored",)
    if not all(abs(value) <= _MAX_EV for value in values):
        return None, (f"{file.name} holds values that are no log2 times and was ignored",)
    folder_names = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
    frame_names = sorted(path.name for path in paths)
    for names in (folder_names, frame_names):
        if len(names) == len(values) and len(set(names)) == len(names) and set(frame_names) <= set(names):
            by_name = dict(zip(names, values, strict=True))
            return tuple(by_name[path.name] for path in paths), ()
    return None, (f"{file.name} has {len(values)} values for {len(frame_names)} frames and was ignored",)


def _same_ratios(first: Sequence[float], second: Sequence[float]) -> bool:
    return all(abs((a - first[0]) - (b - second[0])) < MIN_EV_RANGE for a, b in zip(first, second, strict=True))
