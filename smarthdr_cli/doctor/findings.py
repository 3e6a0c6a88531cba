"""What was found, part by part, for people and for JSON."""

from dataclasses import dataclass, field
from typing import Any, Literal

from smarthdr_cli.errors import SmartHDRError

Mark = Literal["ok", "-", "!"]  # works; absent or of no use here, and not needed; broken


@dataclass
class Part:
    """One part of the findings: ``facts`` for JSON, ``lines`` (mark, what, words) for people."""

    name: str
    facts: Any = None
    lines: list[tuple[Mark, str, str]] = field(default_factory=list)

    def say(self, mark: Mark, what: str, words: str) -> None:
        """Add a line."""
        self.lines.append((mark, what, " ".join(words.split())))


@dataclass(frozen=True)
class Checkup:
    """All parts, and what stands in the way of fusing, None where nothing does."""

    parts: tuple[Part, ...]
    error: SmartHDRError | None

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: ``ok``, ``exit_code``, ``problems`` (lines marked as broken), and a key for each part."""
        broken = [f"{what}: {words}" for part in self.parts for mark, what, words in part.lines if mark == "!"]
        code = 0 if self.error is None else self.error.exit_code
        return {"ok": code == 0, "exit_code": code, "problems": broken} | {p.name: p.facts for p in self.parts}


def said(error: BaseException) -> str:
    """An error on one line; its kind where it is none of ours."""
    words = " ".join(str(error).split())
    return words if isinstance(error, SmartHDRError) else f"{type(error).__name__}: {words}".rstrip(": ")


def size(count: float) -> str:
    """Bytes for people: 1.5 GiB, 300 MiB, 12 KiB."""
    for unit, power in (("GiB", 30), ("MiB", 20)):
        if count >= 1 << power:
            return f"{count / (1 << power):.1f} {unit}"
    return f"{count / 1024:.0f} KiB"
