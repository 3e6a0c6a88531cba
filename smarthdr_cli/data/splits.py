"""Split of a training set into labelled, held-out and unlabelled scenes, as a function of seed and number of labels.

The seed puts all scenes with truth in one order and the first n are labelled, so that the labels of n are among those
of n + 1. Calibration and model selection hold out the first of the n scenes where n is at least
``MIN_LABELS_FOR_WHOLE_SCENE``, else the bottom ``HELD_OUT_BAND`` of every one, ``MARGIN`` below its training band.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from smarthdr_cli.data.datasets import SceneFiles
from smarthdr_cli.errors import InputError, UsageError

MIN_LABELS_FOR_WHOLE_SCENE = 5
HELD_OUT_BAND = 0.25  # of the height
MARGIN = 0.05  # of the height, between the two bands


@dataclass(frozen=True)
class SceneBand:
    """A scene, or a horizontal band of it from ``top`` to ``bottom``, as fractions of the height."""

    scene: SceneFiles
    top: float = 0.0
    bottom: float = 1.0


@dataclass(frozen=True)
class Split:
    """Bands trained on with truth, those for calibration and model selection, and those trained on without truth."""

    labeled: tuple[SceneBand, ...]
    held_out: tuple[SceneBand, ...]
    unlabeled: tuple[SceneBand, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON for the checkpoint: ``{"labeled": [{"name", "top", "bottom"}], "held_out": ..., "unlabeled": ...}``."""
        return {
            role: [{"name": band.scene.name, "top": band.top, "bottom": band.bottom} for band in bands]
            for role, bands in (("labeled", self.labeled), ("held_out", self.held_out), ("unlabeled", self.unlabeled))
        }


def draw_split(scenes: Sequence[SceneFiles], labeled: int | Sequence[str], seed: int) -> Split:
    """Split the training scenes; ``labeled`` is the number of labelled scenes, or their names.

    Naming the scenes of a drawn split gives the same split. Unlabelled scenes lose the path of their truth. Raises
    UsageError for more labels than scenes with truth, and for names that are unknown, ambiguous, of the test split or
    without truth.
    """
    train = sorted((scene for scene in scenes if scene.split == "train"), key=lambda scene: scene.name)
    with_truth = [scene for scene in train if scene.truth is not None]
    order = [with_truth[i] for i in np.random.default_rng([seed, 0x1ABE1]).permutation(len(with_truth))]
    if isinstance(labeled, int):
        if labeled < 0:
            raise UsageError(f"--labeled {labeled}: use a number from 0")
        if labeled > len(order):
            raise UsageError(f"--labeled {labeled}: only {len(order)} training scenes have ground truth")
        selected = order[:labeled]
    else:
        full_names = _full_names(scenes, labeled)
        selected = [scene for scene in order if scene.name in full_names]
    if len(selected) >= MIN_LABELS_FOR_WHOLE_SCENE:
        training = [SceneBand(scene) for scene in selected[1:]]
        held_out = [SceneBand(selected[0])]
    else:
        training = [SceneBand(scene, 0.0, 1 - HELD_OUT_BAND - MARGIN) for scene in selected]
        held_out = [SceneBand(scene, 1 - HELD_OUT_BAND, 1.0) for scene in selected]
    names = {scene.name for scene in selected}
    unlabeled = [SceneBand(replace(scene, truth=None)) for scene in train if scene.name not in names]
    return Split(tuple(training), tuple(held_out), tuple(unlabeled))


def read_scene_names(path: Path) -> list[str]:
    """Scene names, one per line; ``#`` starts a comment. Raises InputError where there is none, or no text file."""
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


def _full_names(scenes: Sequence[SceneFiles], names: Sequence[str]) -> set[str]:
    """Names of the scenes called ``names``: whole, or the last part of a path that only one training scene has."""
    by_name = {scene.name: scene for scene in scenes}
    last_parts = Counter(Path(scene.name).name for scene in scenes if scene.split == "train")
    by_last_part = {Path(scene.name).name: scene for scene in scenes if scene.split == "train"}
    full_names: set[str] = set()
    for name in names:
        if name not in by_name and last_parts[name] > 1:
            raise UsageError(f"--labeled: {last_parts[name]} training scenes are called {name}; write their paths")
        scene = by_name.get(name) or by_last_part.get(name)
        if scene is None:
            similar = get_close_matches(name, [*by_name, *by_last_part], n=1)
            raise UsageError(f"--labeled: no scene {name}" + (f"; did you mean {similar[0]}?" if similar else ""))
        if scene.split != "train":
            raise UsageError(f"--labeled: {name} is a test scene, never trained on")
        if scene.truth is None:
            raise UsageError(f"--labeled: scene {name} has no ground truth")
        if scene.name in full_names:
            raise UsageError(f"--labeled: scene {name} is named twice")
        full_names.add(scene.name)
    return full_names
