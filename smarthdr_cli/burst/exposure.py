"""Exposures of a burst: overrides first, then EXIF, then a sidecar file, else none (guessed from brightness for order).

Whatever is assumed on the way comes back as a note to be said aloud.
"""

import math
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from smarthdr_cli.burst.exif import Stated, exposure_value
from smarthdr_cli.burst.frame import Exposure
from smarthdr_cli.errors import UsageError

SIDECAR = "exposure.txt"
_SIDECARS = (SIDECAR, "input_exp.txt")
_PICTURES = {".jpg", ".jpeg", ".png", ".tif", ".tiff"}
_PICTURES |= {".dng", ".nef", ".nrw", ".cr2", ".cr3", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw", ".iiq", ".3fr"}


def parse_evs(text: str) -> tuple[float, ...]:
    """``"-2,0,2"`` to EVs, larger = brighter. Raises UsageError for anything that is not a list of numbers."""
    return tuple(_number(part, "--ev") for part in text.split(","))


def parse_times(text: str) -> tuple[float, ...]:
    """``"1/100,1/25,0.5"`` to seconds; fractions and a trailing s are accepted. Raises UsageError otherwise."""
    times = tuple(_number(part.strip().removesuffix("s"), "--exposure-times") for part in text.split(","))
    for time in times:
        if time <= 0:
            raise UsageError(f"--exposure-times: {time:g} is not a positive time")
    return times


def _number(part: str, option: str) -> float:
    try:
        return float(Fraction(part.strip().lstrip("+").replace(" ", "")))
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise UsageError(f"{option}: {part.strip()!r} is not a number") from error


def check_overrides(count: int, evs: Sequence[float] | None, times: Sequence[float] | None) -> None:
    """Validate stated exposures against the number of files, before any file is opened. Raises UsageError."""
    if evs is not None and times is not None:
        raise UsageError("--ev and --exposure-times exclude each other")
    for option, values in (("--ev", evs), ("--exposure-times", times)):
        if values is None:
            continue
        if len(values) != count:
            raise UsageError(f"{option} has {len(values)} values for {count} files")
        if not all(math.isfinite(value) for value in values):
            raise UsageError(f"{option} holds a value that is not a finite number")
        if option == "--exposure-times" and min(values) <= 0:
            raise UsageError("--exposure-times holds a time that is not positive")
        if option == "--ev" and max(abs(value) for value in values) > 60:
            raise UsageError("--ev holds a value beyond 60 EV")


def resolve(
    paths: Sequence[Path],
    stated: Sequence[Stated],
    evs: Sequence[float] | None = None,
    times: Sequence[float] | None = None,
) -> tuple[tuple[Exposure, ...] | None, tuple[str, ...]]:
    """Exposures in the order of ``paths`` and the notes; None when nothing states them.

    Precedence: ``evs``, ``times`` (ISO and aperture then count as equal), EXIF when every file states a time, and only
    without that a sidecar ``exposure.txt``. Raises UsageError as ``check_overrides``.
    """
    check_overrides(len(paths), evs, times)
    if evs is not None:
        return tuple(
            Exposure(float(ev), s.time, s.aperture, s.iso, "ev") for ev, s in zip(evs, stated, strict=True)
        ), ()
    if times is not None:
        return _from_times(stated, times)
    sidecar, sidecar_notes = read_sidecar(paths)
    timed = [s.time is not None for s in stated]
    if all(timed):
        exposures, notes = _from_exif(paths, stated)
        if sidecar is not None and not _agree(sidecar, [e.ev for e in exposures]):
            notes += (f"{SIDECAR} disagrees with EXIF and was ignored",)
        return exposures, notes
    notes = sidecar_notes
    if any(timed):
        lacking = ", ".join(path.name for path, known in zip(paths, timed, strict=True) if not known)
        notes += (f"EXIF ignored: no exposure time in {lacking}",)
    if sidecar is not None:
        exposures = tuple(
            Exposure(ev, s.time, s.aperture, s.iso, "sidecar") for ev, s in zip(sidecar, stated, strict=True)
        )
        return exposures, (*notes, f"exposures taken from {SIDECAR}")
    return None, (*notes, "no exposures stated: ratios are measured from the pixels")


def _from_times(stated: Sequence[Stated], times: Sequence[float]) -> tuple[tuple[Exposure, ...], tuple[str, ...]]:
    notes: tuple[str, ...] = ()
    if len({s.iso for s in stated}) > 1 or len({s.aperture for s in stated}) > 1:
        notes = ("--exposure-times: EXIF has different ISO or apertures, taken as equal; --ev states whole exposures",)
    pairs = zip(times, stated, strict=True)
    return tuple(Exposure(math.log2(time), float(time), s.aperture, s.iso, "times") for time, s in pairs), notes


def _from_exif(paths: Sequence[Path], stated: Sequence[Stated]) -> tuple[tuple[Exposure, ...], tuple[str, ...]]:
    notes: list[str] = []
    names = [path.name for path in paths]
    apertures = _filled([s.aperture for s in stated], "aperture", "f/", " (manual lens?)", names, notes)
    isos = _filled([s.iso for s in stated], "ISO", "ISO ", "", names, notes)
    exposures = []
    for s, aperture, iso in zip(stated, apertures, isos, strict=True):
        assert s.time is not None
        exposures.append(Exposure(exposure_value(s.time, aperture, iso), s.time, s.aperture, s.iso, "exif"))
    return tuple(exposures), tuple(notes)


def _filled(
    values: Sequence[float | None], what: str, unit: str, why: str, names: Sequence[str], notes: list[str]
) -> list[float | None]:
    """The values with gaps filled by the commonest one, and a note of it; all absent stays absent (equal for all)."""
    known = [value for value in values if value is not None]
    if len(known) == len(values):
        return list(values)
    if not known:
        notes.append(f"EXIF has no {what}{why}: the same for all frames is assumed")
        return list(values)
    common = Counter(known).most_common(1)[0][0]
    lacking = ", ".join(name for name, value in zip(names, values, strict=True) if value is None)
    notes.append(f"EXIF has no {what} in {lacking}: {unit}{common:g} as in the other frames is assumed")
    return [common if value is None else value for value in values]


def read_sidecar(paths: Sequence[Path]) -> tuple[tuple[float, ...] | None, tuple[str, ...]]:
    """EVs from an ``exposure.txt`` (or ``input_exp.txt``) beside the frames, in the order of ``paths``, and notes.

    One log2 time a line, in the order of sorted names: of all pictures in the folder when their number fits, else of
    the frames given. A file that does not fit is ignored with a note, as is one that cannot be read.
    """
    folders = {path.parent for path in paths}
    if len(folders) != 1:
        return None, ()
    folder = folders.pop()
    file = next((folder / name for name in _SIDECARS if (folder / name).is_file()), None)
    if file is None:
        return None, ()
    try:
        text = file.read_bytes()[:65536].decode("utf-8-sig")
        lines = [line.partition("#")[0] for line in text.splitlines()]
        values = [float(word) for line in lines for word in line.replace(",", " ").split()]
    except (OSError, ValueError):
        return None, (f"{file.name} is not a list of numbers and was ignored",)
    if not all(abs(value) <= 60 for value in values):
        return None, (f"{file.name} holds values that are no log2 times and was ignored",)
    beside = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in _PICTURES)
    given = sorted(path.name for path in paths)
    for names in (beside, given):
        if len(names) == len(values) and len(set(names)) == len(names) and set(given) <= set(names):
            by_name = dict(zip(names, values, strict=True))
            return tuple(by_name[path.name] for path in paths), ()
    return None, (f"{file.name} has {len(values)} values for {len(given)} frames and was ignored",)


def _agree(first: Sequence[float], second: Sequence[float]) -> bool:
    return all(abs((a - first[0]) - (b - second[0])) < 1 / 3 for a, b in zip(first, second, strict=True))
