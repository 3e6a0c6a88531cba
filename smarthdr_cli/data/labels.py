"""Which scenes keep their ground truth: drawn from the seed, and some of it held out of training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smarthdr_cli.data.layouts import SceneFiles


@dataclass(frozen=True)
class Part:
    """A scene, or a horizontal band of it; ``top`` and ``bottom`` are shares of its height."""

    scene: SceneFiles
    top: float = 0.0
    bottom: float = 1.0


@dataclass(frozen=True)
class Split:
    """What is trained on with truth, what calibrates and selects, and what is trained on without truth."""

    labeled: tuple[Part, ...]
    held_out: tuple[Part, ...]
    unlabeled: tuple[Part, ...]

    def to_dict(self) -> dict[str, Any]:
        """Names and bands, for the checkpoint."""
        raise NotImplementedError


def draw_labels(scenes: Sequence[SceneFiles], labeled: int | Sequence[str], seed: int) -> Split:
    """Draw the labelled scenes among the train ones with truth. Raises UsageError."""
    raise NotImplementedError


def read_ids(path: Path) -> list[str]:
    """Scene names, one a line, ``#`` starts a comment. Raises InputError."""
    raise NotImplementedError
