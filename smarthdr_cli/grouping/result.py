"""What grouping finds, and its form on disk: JSON lines, each file of the shoot on exactly one of them."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smarthdr_cli.errors import InputError

MAX_LINE = 1 << 20  # characters; a set of 32 frames with the longest paths has 130,000


@dataclass(frozen=True)
class BracketSet:
    """Frames that belong together.

    ``name``: stable within a shoot, the stem of the first frame. ``frames``: in capture order. ``confidence``: 0 to 1.
    ``reasons``: plain words. ``ambiguous``: the evidence does not settle it; left alone unless somebody says otherwise.
    ``evs``: relative to the middle exposure, brighter positive, in frame order; None where EXIF does not say.
    """

    name: str
    frames: tuple[Path, ...]
    confidence: float
    reasons: tuple[str, ...]
    ambiguous: bool
    evs: tuple[float, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """One JSON line's worth of plain values, paths as strings."""
        return {
            "kind": "set",
            "name": self.name,
            "frames": [str(path) for path in self.frames],
            "confidence": round(self.confidence, 3),
            "ambiguous": self.ambiguous,
            "evs": None if self.evs is None else [round(ev, 2) for ev in self.evs],
            "reasons": list(self.reasons),
        }

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "BracketSet":
        """The set of one JSON line; confidence, reasons, ambiguous and evs may be absent. Raises InputError."""
        frames = values.get("frames")
        if not isinstance(frames, list) or not frames or not all(isinstance(f, str) and f for f in frames):
            raise InputError("a set needs frames, a list of file names")
        if not all(map(_is_name, frames)):
            raise InputError("a file name of a set holds characters that no file name can hold")
        if len(set(frames)) != len(frames):
            raise InputError("a set names a frame twice")
        name = values.get("name", Path(frames[0]).stem)
        if not isinstance(name, str) or not name or "/" in name or not _is_name(name):
            raise InputError("a set's name has to be text without a slash")
        confidence = values.get("confidence", 1.0)
        if not _is_number(confidence) or not 0 <= confidence <= 1:
            raise InputError(f"set {name}: confidence has to be a number from 0 to 1")
        reasons, ambiguous, evs = values.get("reasons", []), values.get("ambiguous", False), values.get("evs")
        if not isinstance(reasons, list) or not all(isinstance(reason, str) for reason in reasons):
            raise InputError(f"set {name}: reasons has to be a list of texts")
        if not isinstance(ambiguous, bool):
            raise InputError(f"set {name}: ambiguous has to be true or false")
        if evs is not None and not (
            isinstance(evs, list) and len(evs) == len(frames) and all(_is_number(ev) and abs(ev) < 100 for ev in evs)
        ):
            raise InputError(f"set {name}: evs has to be a number for each frame, or null")
        return BracketSet(
            name,
            tuple(Path(frame) for frame in frames),
            float(confidence),
            tuple(reasons),
            ambiguous,
            None if evs is None else tuple(float(ev) for ev in evs),
        )


@dataclass(frozen=True)
class Single:
    """A frame that belongs to no bracket, and why."""

    path: Path
    reasons: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """One JSON line's worth of plain values."""
        return {"kind": "single", "file": str(self.path), "reasons": list(self.reasons)}


@dataclass(frozen=True)
class Skipped:
    """A file that is no picture we read, and why."""

    path: Path
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """One JSON line's worth of plain values."""
        return {"kind": "skipped", "file": str(self.path), "reasons": [self.reason]}


@dataclass(frozen=True)
class Twin:
    """A file left aside because ``of`` holds the same exposure: the JPEG beside a RAW, or a copy."""

    path: Path
    of: Path
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """One JSON line's worth of plain values."""
        return {"kind": "twin", "file": str(self.path), "of": str(self.of), "reasons": [self.reason]}


@dataclass(frozen=True)
class Grouping:
    """Every file given, exactly once: in a set, as a single, as the twin of another file, or skipped."""

    sets: tuple[BracketSet, ...]
    singles: tuple[Single, ...] = ()
    twins: tuple[Twin, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()


def read_sets(path: Path) -> list[BracketSet]:
    """The sets of a JSON-lines file ("-": stdin); lines of kind single, twin and skipped are passed over.

    Raises InputError, with the line's number, for a missing or damaged file, a set named twice, or a file without sets.
    """
    label = "stdin" if str(path) == "-" else path.name
    sets: list[BracketSet] = []
    named: dict[str, int] = {}
    for number, line in enumerate(_lines(path, label), 1):
        if not line.strip():
            continue
        where = f"{label}, line {number}"
        found = _parse(line, where)
        if found is None:
            continue
        if found.name in named:
            raise InputError(f"{where}: the set {found.name} stands on line {named[found.name]} already")
        named[found.name] = number
        sets.append(found)
    if not sets:
        raise InputError(f"{label} holds no sets")
    return sets


def _lines(path: Path, label: str) -> Iterator[str]:
    """The lines of a file or, for "-", of stdin; of one longer than MAX_LINE only its beginning, and nothing after."""
    try:
        if str(path) == "-" and sys.stdin is None:
            raise InputError("stdin is closed")
        with contextlib.nullcontext(sys.stdin) if str(path) == "-" else path.open(encoding="utf-8") as file:
            while line := file.readline(MAX_LINE + 1):
                line = line.removesuffix("\n")
                yield line
                if len(line) > MAX_LINE:
                    return
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is not UTF-8 text"
        raise InputError(f"{label} cannot be read: {reason}") from error


def _parse(line: str, where: str) -> BracketSet | None:
    try:
        if len(line) > MAX_LINE:
            raise InputError("the line is too long")
        values = json.loads(line)
        if not isinstance(values, dict):
            raise InputError("not a JSON object")
        kind = values.get("kind", "set")
        if kind in ("single", "twin", "skipped"):
            return None
        if kind != "set":
            raise InputError(f"kind {str(kind)[:20]!r} is not known")
        return BracketSet.from_dict(values)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON, or cut short") from error


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_name(text: str) -> bool:
    """Whether a file can be called so: JSON writes NUL, and halves of characters that no encoding has."""
    with contextlib.suppress(UnicodeEncodeError):
        return b"\0" not in os.fsencode(text)
    return False
