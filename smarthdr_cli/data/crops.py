"""Training batches of crops from prepared scenes, as a function of seed and step, and their read-ahead on threads."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Generic, Self, TypeVar

import numpy as np
import torch

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.data.prepared import PreparedScene
from smarthdr_cli.errors import InputError

T = TypeVar("T")
Position = tuple[int, int, int]  # index of the scene, top row, left column


@dataclass(frozen=True)
class Crops:
    """A batch, and for each of its bursts the index of its scene and the position of the crop."""

    batch: Batch
    scenes: tuple[int, ...]
    tops: tuple[int, ...]
    lefts: tuple[int, ...]

    def to(self, device: torch.device) -> "Crops":
        """A copy on another device."""
        return self if device.type == "cpu" else replace(self, batch=self.batch.to(device))


class CropSampler:
    """Draws ``batch`` square crops of ``size`` pixels per step.

    Scenes are drawn uniformly and without repetition while there are others; positions uniformly in each scene's band.
    The scenes of a batch have the same number of frames, drawn in proportion to the scenes that have it. Raises
    InputError with the name of a scene smaller than a crop, ValueError where only some scenes have a target.
    """

    def __init__(self, scenes: Sequence[PreparedScene], size: int, batch: int, seed: int) -> None:
        if not scenes or size < 1 or batch < 1:
            raise ValueError("a crop sampler needs at least one scene, one pixel and one burst per batch")
        if len({scene.target is None for scene in scenes}) > 1:
            raise ValueError("scenes with and without a target do not go into one batch")
        for scene in scenes:
            top, bottom = scene.rows
            if min(bottom - top, scene.size[1]) < size:
                available = f"{scene.size[1]}x{bottom - top}"
                raise InputError(f"scene {scene.band.scene.name}: {available} pixels hold no crop of {size}x{size}")
        self.scenes, self.size, self.batch, self.seed = tuple(scenes), size, batch, seed
        counts = np.array([len(scene.evs) for scene in self.scenes])
        self._groups = [np.flatnonzero(counts == count) for count in np.unique(counts)]

    def __call__(self, step: int) -> Crops:
        """The batch of a step."""
        return self.cut(self.draw_positions(step))

    def draw_positions(self, step: int) -> list[Position]:
        """The positions of the step's batch; processes that share a batch cut some of them each."""
        rng = np.random.default_rng([self.seed, step])
        weights = np.array([len(group) for group in self._groups]) / len(self.scenes)
        group = self._groups[int(rng.choice(len(self._groups), p=weights))]
        rounds = -(-self.batch // len(group))
        indices = np.concatenate([rng.permutation(group) for _ in range(rounds)])[: self.batch]
        positions = []
        for index in indices.tolist():
            top, bottom = self.scenes[index].rows
            width = self.scenes[index].size[1]
            row = rng.integers(top, bottom - self.size, endpoint=True)
            column = rng.integers(0, width - self.size, endpoint=True)
            positions.append((index, int(row), int(column)))
        return positions

    def cut(self, positions: Sequence[Position]) -> Crops:
        """The crops at ``positions``, whose scenes have the same number of frames."""
        scenes = [self.scenes[index] for index, _, _ in positions]
        batch, count, size = len(positions), len(scenes[0].evs), self.size
        frames, valid = torch.empty(batch, count, 3, size, size), torch.empty(batch, count, 1, size, size)
        target = None if scenes[0].target is None else torch.empty(batch, 3, size, size)
        for n, (scene, (_, top, left)) in enumerate(zip(scenes, positions, strict=True)):
            scene.crop_into(top, left, frames[n], valid[n], None if target is None else target[n])
        evs = torch.tensor([scene.evs for scene in scenes], dtype=torch.float32)
        indices, tops, lefts = zip(*positions, strict=True)
        return Crops(Batch(frames, evs, valid, target), indices, tops, lefts)

    def grid(self, stride: int) -> list[Position]:
        """The positions of an epoch: a grid of ``stride`` pixels from the first corner of every band."""
        return [
            (index, top, left)
            for index, scene in enumerate(self.scenes)
            for top in range(scene.rows[0], scene.rows[1] - self.size + 1, stride)
            for left in range(0, scene.size[1] - self.size + 1, stride)
        ]


class Prefetch(Generic[T]):
    """Iterator over ``make(start)``, ``make(start + 1)``, ..., computed ``ahead`` steps in advance on threads.

    An exception in ``make`` is raised by the ``next`` of its step and ends the iteration. Close it after use, or use it
    as a context manager.
    """

    def __init__(self, make: Callable[[int], T], start: int = 0, *, ahead: int = 4, workers: int = 1) -> None:
        if ahead < 1 or workers < 1:
            raise ValueError("ahead and workers must be at least 1")
        self._make = make
        self._next_step = start
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="prefetch")
        self._pending: deque[Future[T]] = deque()
        self._closed = False
        for _ in range(ahead):
            self._submit()

    def _submit(self) -> None:
        self._pending.append(self._pool.submit(self._make, self._next_step))
        self._next_step += 1

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        if self._closed:
            raise StopIteration
        try:
            result = self._pending.popleft().result()
        except BaseException:
            self.close()
            raise
        self._submit()
        return result

    def close(self) -> None:
        """Cancel pending steps and join the threads."""
        self._closed = True
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._pending.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
