"""Which scenes keep their ground truth: drawn from the seed, and some of it held out of training."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from smarthdr_cli.data.datasets import SceneFiles
from smarthdr_cli.errors import InputError, UsageError

WHOLE_FROM = 5  # labelled scenes, from which one of them is held out whole
HELD_BAND = 0.25  # share of the height, at the bottom, held out of each scene where there are fewer
MARGIN = 0.05  # share of the height between the two bands, of use to neither


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
        """Names and bands, for the checkpoint: ``{"labeled": [{"name", "top", "bottom"}], "held_out": ..., ...}``."""
        return {
            role: [{"name": part.scene.name, "top": part.top, "bottom": part.bottom} for part in parts]
            for role, parts in (("labeled", self.labeled), ("held_out", self.held_out), ("unlabeled", self.unlabeled))
        }


def draw_labels(scenes: Sequence[SceneFiles], labeled: int | Sequence[str], seed: int) -> Split:
    """Draw the labelled scenes among those of the train split that have ground truth, and hold some of it out.

    ``labeled``: how many, or their names. One seed puts all candidates in one order, so the draw of N is the first N of
    the draw of N + 1, and naming the scenes of a draw repeats its split. What is held out for calibration and model
    selection counts among the N: from ``WHOLE_FROM`` on the first of them whole, below that the bottom ``HELD_BAND`` of
    each, ``MARGIN`` away from what is trained on. Every other train scene comes back without the path of its truth.
    Raises UsageError for more scenes than there are, and for names that are unknown, ambiguous, of the test split or
    without truth.
    """
    train = sorted((scene for scene in scenes if scene.split == "train"), key=lambda scene: scene.name)
    able = [scene for scene in train if scene.truth is not None]
    order = [able[i] for i in np.random.default_rng([seed, 0x1ABE1]).permutation(len(able))]
    if isinstance(labeled, int):
        if labeled < 0:
            raise UsageError(f"--labeled {labeled}: use a number from 0")
        if labeled > len(order):
            raise UsageError(f"--labeled {labeled}: only {len(order)} training scenes have ground truth")
        chosen = order[:labeled]
    else:
        wanted = _resolved(scenes, labeled)
        chosen = [scene for scene in order if scene.name in wanted]
    whole = len(chosen) >= WHOLE_FROM
    held = [Part(scene) for scene in chosen[:1]] if whole else [Part(s, 1 - HELD_BAND, 1.0) for s in chosen]
    kept = [Part(s) for s in chosen[1:]] if whole else [Part(s, 0.0, 1 - HELD_BAND - MARGIN) for s in chosen]
    names = {scene.name for scene in chosen}
    others = [Part(replace(scene, truth=None)) for scene in train if scene.name not in names]
    return Split(tuple(kept), tuple(held), tuple(others))


def read_ids(path: Path) -> list[str]:
    """Scene names, one a line; ``#`` starts a comment. Raises InputError when it cannot be read or names none."""
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file of scene names") from error
    names = [name for line in lines if (name := line.partition("#")[0].strip())]
    if not names:
        raise InputError(f"{path} names no scene")
    return names


def _resolved(scenes: Sequence[SceneFiles], names: Sequence[str]) -> set[str]:
    """Full names of the scenes called ``names``; the last part of a path will do where only one train scene has it."""
    full = {scene.name: scene for scene in scenes}
    last = Counter(Path(scene.name).name for scene in scenes if scene.split == "train")
    short = {Path(scene.name).name: scene for scene in scenes if scene.split == "train"}
    found: set[str] = set()
    for name in names:
        if name not in full and last[name] > 1:
            raise UsageError(f"--labeled: {last[name]} training scenes are called {name}; write their paths")
        scene = full.get(name) or short.get(name)
        if scene is None:
            near = get_close_matches(name, [*full, *short], n=1)
            raise UsageError(f"--labeled: no scene {name}" + (f"; did you mean {near[0]}?" if near else ""))
        if scene.split != "train":
            raise UsageError(f"--labeled: {name} is a test scene, never trained on")
        if scene.truth is None:
            raise UsageError(f"--labeled: scene {name} has no ground truth")
        if scene.name in found:
            raise UsageError(f"--labeled: scene {name} is named twice")
        found.add(scene.name)
    return found
