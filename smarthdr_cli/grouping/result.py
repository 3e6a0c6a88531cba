"""The result of grouping, and its JSON lines: one line per set, single frame, twin and skipped file."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smarthdr_cli.errors import InputError

MAX_LINE_LENGTH = 1 << 20  # characters; a set of 32 frames with the longest paths has 130,000
_MAX_EV = 100.0
_OTHER_KINDS = ("single", "twin", "skipped")


@dataclass(frozen=True)
class BracketSet:
    """Frames that belong together.

    ``name``: unique within a shoot, mostly the stem of the first frame. ``frames``: in capture order. ``confidence``: 0
    to 1. ``reasons``: for people. ``ambiguous``: the evidence does not settle it; batch leaves it alone by default.
    ``evs``: relative to the middle exposure, brighter positive, in frame order; None where EXIF does not state them.
    """

    name: str
    frames: tuple[Path, ...]
    confidence: float
    reasons: tuple[str, ...]
    ambiguous: bool
    evs: tuple[float, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The values of its JSON line, paths as strings."""
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
        """The set of one JSON line; only ``frames`` is required. Raises InputError where a value is invalid."""
        frames = values.get("frames")
        if not isinstance(frames, list) or not frames or not all(isinstance(f, str) and f for f in frames):
            raise InputError("a set needs frames, a list of file names")
        if not all(map(_is_file_name, frames)):
            raise InputError("a file name of a set holds characters that no file name can hold")
        if len(set(frames)) != len(frames):
            raise InputError("a set names a frame twice")
        name = values.get("name", Path(frames[0]).stem)
        if not isinstance(name, str) or not name or "/" in name or not _is_file_name(name):
            raise InputError("a set's name has to be text without a slash")
        confidence = values.get("confidence", 1.0)
        if not _is_number(confidence) or not 0 <= confidence <= 1:
            raise InputError(f"set {name}: confidence has to be a number from 0 to 1")
        reasons, ambiguous, evs = values.get("reasons", []), values.get("ambiguous", False), values.get("evs")
        if not isinstance(reasons, list) or not all(isinstance(reason, str) for reason in reasons):
            raise InputError(f"set {name}: reasons has to be a list of texts")
        if not isinstance(ambiguous, bool):
            raise InputError(f"set {name}: ambiguous has to be true or false")
        if evs is not None and not _are_evs(evs, len(frames)):
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
    """A frame that belongs to no set, and why."""

    path: Path
    reasons: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The values of its JSON line."""
        return {"kind": "single", "file": str(self.path), "reasons": list(self.reasons)}


@dataclass(frozen=True)
class Skipped:
    """A file that cannot be read, and why."""

    path: Path
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """The values of its JSON line."""
        return {"kind": "skipped", "file": str(self.path), "reasons": [self.reason]}


@dataclass(frozen=True)
class Twin:
    """A file left out because ``of`` holds the same exposure: the JPEG beside a RAW, or a copy."""

    path: Path
    of: Path
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """The values of its JSON line."""
        return {"kind": "twin", "file": str(self.path), "of": str(self.of), "reasons": [self.reason]}


@dataclass(frozen=True)
class Grouping:
    """Every file of a shoot, exactly once: in a set, as a single, as a twin, or skipped."""

    sets: tuple[BracketSet, ...]
    singles: tuple[Single, ...] = ()
    twins: tuple[Twin, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()

    def summary(self) -> str:
        """12 sets (1 ambiguous), 3 single frames, 2 files skipped."""
        ambiguous = sum(bracket.ambiguous for bracket in self.sets)
        parts = [
            _count(len(self.sets), "set") + (f" ({ambiguous} ambiguous)" if ambiguous else ""),
            _count(len(self.singles), "single frame"),
        ]
        if self.skipped:
            parts.append(f"{_count(len(self.skipped), 'file')} skipped")
        return ", ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def read_sets(path: Path) -> list[BracketSet]:
    """The sets of a JSON-lines file ("-": stdin); lines of kind single, twin and skipped are ignored.

    Raises InputError, with the number of the line, for a missing or damaged file, two sets of one name, or no sets.
    """
    label = "stdin" if str(path) == "-" else path.name
    sets: list[BracketSet] = []
    line_of_name: dict[str, int] = {}
    for number, line in enumerate(_lines(path, label), 1):
        if not line.strip():
            continue
        location = f"{label}, line {number}"
        bracket_set = _parse_line(line, location)
        if bracket_set is None:
            continue
        if bracket_set.name in line_of_name:
            first = line_of_name[bracket_set.name]
            raise InputError(f"{location}: the set {bracket_set.name} stands on line {first} already")
        line_of_name[bracket_set.name] = number
        sets.append(bracket_set)
    if not sets:
        raise InputError(f"{label} holds no sets")
    return sets


def _lines(path: Path, label: str) -> Iterator[str]:
    """The lines of a file, or of stdin for "-"; ends with the beginning of a line longer than MAX_LINE_LENGTH."""
    try:
        if str(path) == "-" and sys.stdin is None:
            raise InputError("stdin is closed")
        with contextlib.nullcontext(sys.stdin) if str(path) == "-" else path.open(encoding="utf-8") as file:
            while line := file.readline(MAX_LINE_LENGTH + 1):
                line = line.removesuffix("\n")
                yield line
                if len(line) > MAX_LINE_LENGTH:
                    return
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is not UTF-8 text"
        raise InputError(f"{label} cannot be read: {reason}") from error


def _parse_line(line: str, location: str) -> BracketSet | None:
    """The set of a line, None for a line of another kind."""
    try:
        if len(line) > MAX_LINE_LENGTH:
            raise InputError("the line is too long")
        values = json.loads(line)
        if not isinstance(values, dict):
            raise InputError("not a JSON object")
        kind = values.get("kind", "set")
        if kind in _OTHER_KINDS:
            return None
        if kind != "set":
            raise InputError(f"kind {str(kind)[:20]!r} is not known")
        return BracketSet.from_dict(values)
    except InputError as error:
        raise InputError(f"{location}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{location}: not JSON, or cut short") from error


def _are_evs(values: Any, count: int) -> bool:
    return isinstance(values, list) and len(values) == count and all(_is_number(v) and abs(v) < _MAX_EV for v in values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_file_name(text: str) -> bool:
    """Whether a file can have this name; JSON can write NUL and lone surrogates, which no file system encodes."""
    with contextlib.suppress(UnicodeEncodeError):
        return b"\0" not in os.fsencode(text)
    return False
