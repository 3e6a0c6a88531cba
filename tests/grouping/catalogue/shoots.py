"""The form of the catalogue: a shoot writes its files and returns the sets they hold."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.camera_files import Shoot

AEB = {"mode": 2}
MANUAL = {"mode": 1, "bias": 0.0}


@dataclass
class Expected:
    """``sets``: in capture order; every other file is single. ``options``: of group_files.

    ``uncertain``: evidence is missing. Sets may be ambiguous or left out, but never wrong.
    """

    sets: list[list[Path]]
    options: dict[str, Any] = field(default_factory=dict)
    uncertain: bool = False


Build = Callable[[Path], Expected]


class Catalogue(dict[str, Build]):
    """Shoots by name."""

    def add(self, build: Build) -> Build:
        self[build.__name__] = build
        return build


def brackets(
    shoot: Shoot,
    evs: Sequence[float],
    count: int = 3,
    *,
    gap: float = 0.15,
    between: float = 3.0,
    tags: Callable[[int, float], dict[str, Any]] = lambda _i, ev: {"bias": ev, **AEB},
) -> list[list[Path]]:
    """``count`` brackets of as many views, with ``gap`` seconds within a bracket and ``between`` more after it.

    ``tags(index, ev)``: options of ``Shoot.take`` for each frame.
    """
    sets = []
    for _ in range(count):
        shoot.view += 1
        frames = []
        for index, ev in enumerate(evs):
            frames.append(shoot.take(ev, **tags(index, ev)))
            shoot.wait(gap)
        sets.append(frames)
        shoot.wait(between)
    return sets
