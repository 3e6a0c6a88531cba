"""Crops of prepared scenes as training batches: a pure function of the seed and the step."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.data.prepared import Prepared
from smarthdr_cli.errors import InputError


@dataclass(frozen=True)
class Crops:
    """A batch and where each of its bursts was cut: index of the scene, top row, left column."""

    batch: Batch
    scenes: tuple[int, ...]
    tops: tuple[int, ...]
    lefts: tuple[int, ...]

    def to(self, device: torch.device) -> "Crops":
        """The same crops on another device."""
        return self if device.type == "cpu" else replace(self, batch=self.batch.to(device))


class CropSampler:
    """Square crops of ``size``, ``batch`` at a time.

    Scenes are drawn uniformly, none twice in a batch while there are others, and places uniformly in each part's band.
    All scenes of a batch have one number of frames, which is drawn with the weight of the scenes that have it.
    Raises InputError naming a scene that is smaller than a crop, and ValueError where some scenes have a target and
    some have none.
    """

    def __init__(self, scenes: Sequence[Prepared], size: int, batch: int, seed: int) -> None:
        if not scenes or size < 1 or batch < 1:
            raise ValueError("crops need at least one scene, one pixel and one burst a batch")
        if len({scene.target is None for scene in scenes}) > 1:
            raise ValueError("scenes with and without a target do not go into one batch")
        for scene in scenes:
            top, bottom = scene.rows
            if min(bottom - top, scene.size[1]) < size:
                found = f"{scene.size[1]}x{bottom - top}"
                raise InputError(f"scene {scene.part.scene.name}: {found} pixels hold no crop of {size}x{size}")
        self.scenes, self.size, self.batch, self.seed = tuple(scenes), size, batch, seed
        counts = np.array([len(scene.evs) for scene in self.scenes])
        self._groups = [np.flatnonzero(counts == count) for count in np.unique(counts)]

    def __call__(self, step: int) -> Crops:
        """The batch of one step: the same for the same seed, whatever was drawn before."""
        return self.at(self.places(step))

    def places(self, step: int) -> list[tuple[int, int, int]]:
        """The (scene, top, left) of that batch, of which several processes cut each its own."""
        rng = np.random.default_rng([self.seed, step])
        weights = np.array([len(group) for group in self._groups]) / len(self.scenes)
        group = self._groups[int(rng.choice(len(self._groups), p=weights))]
        rounds = -(-self.batch // len(group))
        chosen = np.concatenate([rng.permutation(group) for _ in range(rounds)])[: self.batch]
        places = []
        for index in chosen.tolist():
            top, bottom = self.scenes[index].rows
            width = self.scenes[index].size[1]
            at = rng.integers(top, bottom - self.size, endpoint=True), rng.integers(0, width - self.size, endpoint=True)
            places.append((index, int(at[0]), int(at[1])))
        return places

    def at(self, places: Sequence[tuple[int, int, int]]) -> Crops:
        """The crops at given (scene, top, left), all of scenes with one number of frames."""
        chosen = [self.scenes[index] for index, _, _ in places]
        batch, count, size = len(places), len(chosen[0].evs), self.size
        frames, valid = torch.empty(batch, count, 3, size, size), torch.empty(batch, count, 1, size, size)
        target = None if chosen[0].target is None else torch.empty(batch, 3, size, size)
        for n, (scene, (_, top, left)) in enumerate(zip(chosen, places, strict=True)):
            scene.fill(top, left, frames[n], valid[n], None if target is None else target[n])
        evs = torch.tensor([scene.evs for scene in chosen], dtype=torch.float32)
        indices, tops, lefts = zip(*places, strict=True)
        return Crops(Batch(frames, evs, valid, target), indices, tops, lefts)

    def grid(self, stride: int) -> list[tuple[int, int, int]]:
        """Every (scene, top, left) of an epoch: on a grid of ``stride`` from each band's first corner, whole crops."""
        return [
            (index, top, left)
            for index, scene in enumerate(self.scenes)
            for top in range(scene.rows[0], scene.rows[1] - self.size + 1, stride)
            for left in range(0, scene.size[1] - self.size + 1, stride)
        ]
