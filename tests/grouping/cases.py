"""What a shoot of the tests is, and the list of them all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .shoot import Shoot


@dataclass
class Truth:
    """What a shoot is: its sets in capture order; every other file is single. ``options`` for group_files."""

    sets: list[list[Path]]
    options: dict[str, Any] = field(default_factory=dict)
    unsure: bool = False  # evidence is missing: sets may be ambiguous or left out, never wrong


Case = Callable[[Path], Truth]
CASES: dict[str, Case] = {}
AEB = {"mode": 2}
MANUAL = {"mode": 1, "bias": 0.0}


def case(build: Case) -> Case:
    CASES[build.__name__] = build
    return build


def brackets(
    shoot: Shoot,
    evs: Sequence[float],
    count: int = 3,
    *,
    pause: float = 0.15,
    between: float = 3.0,
    say: Callable[[int, float], dict[str, Any]] = lambda _i, ev: {"bias": ev, **AEB},
) -> list[list[Path]]:
    """``count`` brackets of as many views."""
    sets = []
    for _ in range(count):
        shoot.view += 1
        frames = []
        for index, ev in enumerate(evs):
            frames.append(shoot.take(ev, **say(index, ev)))
            shoot.wait(pause)
        sets.append(frames)
        shoot.wait(between)
    return sets
